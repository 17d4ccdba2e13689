//! The Redis protocol: bytes to requests, requests to commands, commands to answers.
//!
//! [`door`] is the port, [`session`] a connection to it, over a [`link`]. [`talk`] answers what is about the connection, the
//! node or the cluster, [`batch`] carries out what is about keys that are named,
//! [`listing`] what is about all keys; [`transaction`] keeps what follows a MULTI from being done,
//! [`pause`] lets requests wait. All else has
//! no sockets, threads or clocks.
//!
//! On the way in:
//! 1. [`request`] and [`inline`]: bytes in, arguments out;
//! 2. [`spec`]: the table of commands; [`command`]: arguments to a typed command, sorted by what it asks of a
//!    store;
//! 3. [`look`], [`edit`]: what a command tells of a key, and what it makes of it; [`cluster::scan`]: how
//!    keys are listed.
//!
//! On the way out: [`reply`] writes values in either version of the protocol, [`error`] has the words for
//! what is wrong. Answers that are not about keys are made of plain facts: [`docs`] of the table,
//! [`topology`] and [`lolwut`] of a view, [`info`], [`config`] and [`client`] of what the node knows of
//! itself.
//!
//! Beside: [`number`], [`decimal`] and [`glob`] read integers, fractions and patterns as Redis does.

pub mod batch;
pub mod client;
pub mod command;
pub mod config;
pub mod decimal;
pub mod docs;
pub mod door;
pub mod edit;
pub mod error;
pub mod fold;
pub mod glob;
pub mod info;
pub mod inline;
pub mod link;
pub mod listing;
pub mod lolwut;
pub mod look;
pub mod number;
pub mod pause;
pub mod reply;
pub mod request;
pub mod session;
pub mod spec;
pub mod talk;
pub mod topology;
pub mod transaction;

#[cfg(test)]
mod tests;
