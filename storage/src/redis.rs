//! The Redis protocol, without sockets and threads: bytes to requests, requests to commands, commands to
//! answers.
//!
//! On the way in:
//! 1. [`request`] and [`inline`]: bytes in, arguments out;
//! 2. [`spec`]: the table of commands; [`command`]: arguments to a typed command, sorted by what it asks of a
//!    store;
//! 3. [`look`], [`edit`]: what a command tells of a key, and what it makes of it; [`scan`]: how keys are
//!    listed.
//!
//! On the way out: [`reply`] writes values in either version of the protocol, [`error`] has the words for
//! what is wrong.
//!
//! Beside: [`number`], [`decimal`] and [`glob`] read integers, fractions and patterns as Redis does.

pub mod command;
pub mod decimal;
pub mod edit;
pub mod error;
pub mod glob;
pub mod inline;
pub mod look;
pub mod number;
pub mod reply;
pub mod request;
pub mod scan;
pub mod spec;

#[cfg(test)]
mod tests;
