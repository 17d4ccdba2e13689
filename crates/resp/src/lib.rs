//! The Redis protocol, as far as it needs no node.
//!
//! Bytes become a *request*, a request becomes a *command*, and what came of a command becomes a
//! *reply*, which is bytes again. Each layer knows only the one below it, and all of them are plain
//! values and functions: no sockets, threads or clocks (`clippy.toml` holds that). Whoever has a
//! store and a connection puts them together.
//!
//! On the way in:
//! 1. [`request`] and [`inline`]: bytes in, [arguments](args) out;
//! 2. [`spec`]: the table of commands; [`lookup`]: which of them a request names; [`parse`]:
//!    arguments to a typed [`command`], sorted by what it asks of a store;
//! 3. [`mod@read`], [`update`]: what a command tells of a key, and what it makes of it;
//!    [`transaction`] keeps what follows a MULTI from being done.
//!
//! On the way out: [`reply`] writes values in either version of the protocol, [`error`] has the
//! words for what is wrong; [`listing`] answers SCAN. Replies that are not about keys are made of
//! plain facts: [`docs`] of the table, [`topology`] and [`lolwut`] of the cluster, [`info`],
//! [`config`] and [`client`] of what a node knows of itself.
//!
//! Beside: [`number`], [`decimal`] and [`glob`] read integers, fractions and patterns as Redis
//! does.

pub mod args;
pub mod client;
pub mod command;
pub mod config;
pub mod decimal;
pub mod docs;
pub mod error;
pub mod glob;
pub mod info;
pub mod inline;
pub mod listing;
pub mod lolwut;
pub mod lookup;
pub mod number;
pub mod parse;
pub mod read;
pub mod reply;
pub mod request;
pub mod spec;
pub mod topology;
pub mod transaction;
pub mod update;

#[cfg(test)]
mod testing;
