//! Commands from end to end, against a store that is a map ([`keyspace`]): what Redis's own test suite looks
//! at, case by case, as transcripts ([`transcripts`]); and random ones, beside a real Redis
//! ([`differential`]).

mod differential;
mod keyspace;
mod transcripts;
