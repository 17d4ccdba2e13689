//! The Redis protocol, without sockets and threads: bytes to requests, requests to commands, commands to
//! answers.
//!
//! * [`request`] and [`inline`]: bytes in, arguments out; [`reply`]: values in, bytes out; [`error`]: the
//!   words for what is wrong;
//! * [`number`], [`decimal`], [`glob`]: integers, fractions and patterns as Redis reads them.

pub mod decimal;
pub mod error;
pub mod glob;
pub mod inline;
pub mod number;
pub mod reply;
pub mod request;
