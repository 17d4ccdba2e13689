//! Clusters of real processes, the faults that happen to them, and what their clients saw.

pub mod health;
pub mod history;
pub mod interrupt;
pub mod linearizable;
pub mod operator;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod service;
