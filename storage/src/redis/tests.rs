//! Commands from end to end, against a store that is a map.
//!
//! [`transcripts`]: what Redis's own test suite looks at, case by case, as the transcripts of a session;
//! [`keyspace`]: the store and the shell around it.

mod keyspace;
mod transcripts;
