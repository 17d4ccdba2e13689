//! Measuring GT Store, and checking it while it is measured.
//!
//! A run draws operations from a seeded [`workload`], sends them to a cluster, checks every answer
//! against the values that may have been written, and records the time of each ([`latency`]). The
//! figures go into two CSV files ([`report`]) and into charts for the terminal and as SVG
//! ([`chart`]), beside the [`floor`]: the least that one blocking request costs on this machine.
//!
//! Absolute times differ between machines; the project's targets are ratios to the floor.

pub mod args;
pub mod chaos;
pub mod chart;
pub mod command;
pub mod crash;
pub mod elastic;
pub mod exchange;
pub mod floor;
pub mod latency;
pub mod load;
pub mod machine;
pub mod processes;
pub mod progress;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod series;
pub mod summary;
pub mod target;
pub mod throughput;
pub mod workload;

mod figures;
mod files;
