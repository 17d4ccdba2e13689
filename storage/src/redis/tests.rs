//! Commands from end to end, against a store that is a map ([`keyspace`]): what Redis's own test
//! suite looks at, case by case, as transcripts ([`transcripts`]); random ones, beside a real Redis
//! ([`differential`]); and random pipelines beside the same commands one by one ([`coalescing`]).

#![allow(clippy::print_stdout, reason = "what is skipped is told")]

mod coalescing;
mod differential;
pub mod keyspace;
mod random;
mod transcripts;
