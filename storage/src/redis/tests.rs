//! Commands from end to end, against a store that is a map ([`keyspace`]): the cases of Redis's own
//! test suite as transcripts ([`transcripts`]); random commands, compared with a real Redis
//! ([`differential`]); and random pipelines, compared with the same commands one by one
//! ([`coalescing`]).

#![allow(clippy::print_stdout, reason = "skipped tests are reported")]

mod coalescing;
mod differential;
pub mod keyspace;
mod random;
mod transcripts;
