//! The Redis protocol, as far as it needs no node.
//!
//! Bytes become a *request*, a request becomes a *command*, and the result of a command becomes a
//! *reply*, which is bytes again. Each layer knows only the one below it, and all of them are plain
//! values and functions: no sockets, threads or clocks (`clippy.toml` enforces that). A server with
//! a store and connections puts them together.
//!
//! On the way in:
//! 1. [`request`] and [`inline`]: bytes in, [arguments](args) out;
//! 2. [`spec`]: the table of commands; [`lookup`]: finds the command that a request names;
//!    [`parse`]: turns arguments into a typed [`command`], grouped by the operation that it needs
//!    from a store;
//! 3. [`mod@read`], [`update`]: compute the reply to a command about a key, and the key's new
//!    content; [`transaction`]: queues commands after MULTI, and executes none of them.
//!
//! On the way out: [`reply`] writes values in either version of the protocol, [`error`] has the
//! error texts; [`listing`] replies to SCAN. Replies that are not about keys are built from plain
//! facts: [`docs`] from the table, [`topology`] and [`lolwut`] from the cluster, [`info`],
//! [`config`] and [`client`] from the node's own state.
//!
//! Also: [`number`], [`decimal`] and [`glob`] parse integers, fractions and patterns as Redis does.

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
