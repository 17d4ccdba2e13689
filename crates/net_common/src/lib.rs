//! Bytes and sockets: everything between the rules (`cluster`) and the network.
//!
//! Layers, each knowing only the one below:
//! 1. [`codec`]: numbers and strings to bytes and back, never trusting a length;
//! 2. [`frame`]: an 8-byte header and a payload, cut out of a byte stream;
//! 3. [`error`]: the word of an ERROR; [`message`]: typed payloads (`message::data`,
//!    `message::control`), and [`text`], the original's format 0;
//! 4. [`connection`]: the calling side; [`server`]: the answering side, on a [`pool`] of threads,
//!    guarded by [`auth`] where a cluster has a secret.
//!
//! Beside them: [`logging`], [`worker`], [`signals`], [`clock`], [`bind`], [`descriptors`],
//! [`folder`] and [`flags`], which all programs of the workspace share.

pub mod auth;
pub mod bind;
pub mod clock;
pub mod codec;
pub mod connection;
pub mod descriptors;
pub mod error;
pub mod flags;
pub mod folder;
pub mod foreign;
pub mod frame;
pub mod handover;
pub mod in_place;
pub mod logging;
pub mod message;
pub mod output;
pub mod pool;
pub mod progress;
pub mod server;
pub mod signals;
pub mod text;
pub mod worker;
