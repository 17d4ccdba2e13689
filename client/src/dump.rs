//! Dumps: all of a cluster's keys to one file, and from one, while the cluster serves.
//!
//! `save` goes along the line on which a listing goes ([`crate::listing`]), so that each key that
//! is there from beginning to end is met once, whoever joins or leaves meanwhile; what each holds
//! is read as any client reads it. So a dump holds each key as it was at some moment between its
//! beginning and its end, and not all keys as they were at one moment. `load` puts what a dump
//! holds, as any client puts. `file` is where the bytes go to or come from; [`mod@format`] says
//! what they are.
//!
//! A few threads talk to the nodes, each about a batch of its own; the caller's own thread does the
//! file. Between them are short queues, so that what is held in memory does not grow with the
//! cluster.

use std::io;
use std::time::Duration;

use cluster::text::{Bytes, Count};
use net_common::logging::escaped;

use crate::error::ClientError;

mod file;
pub mod format;
mod load;
mod save;

pub(crate) use file::{from_file, to_file};

use format::ReadError;

/// Batches under way at once. One waits for the slowest of its nodes; a few more keep the others at
/// work, and there are not so many that they crowd out other clients.
const THREADS: usize = 4;

/// A dump that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// How many keys it has.
    pub keys: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What became of the keys of a dump that was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// How many were put.
    pub done: u64,
    /// How many had expired, and were left out.
    pub expired: u64,
    /// How many were certainly not put.
    pub failed: u64,
    /// Of how many the outcome is unknown.
    pub unknown: u64,
    /// Bytes of the dump that were read.
    pub bytes: u64,
    /// The first key that was not put for certain, and why.
    pub first: Option<(Vec<u8>, ClientError)>,
    /// The cluster did not take anything any more: what came then was not tried.
    pub gave_up: bool,
}

impl Loaded {
    fn is_whole(&self) -> bool {
        self.failed == 0 && self.unknown == 0 && !self.gave_up
    }

    fn tried(&self) -> u64 {
        self.done + self.expired + self.failed + self.unknown
    }

    /// `3 keys put, 1 failed, 0 unknown; the first: key1: bad value: …`.
    fn counts(&self, total: Option<u64>) -> String {
        let Loaded { done, failed, unknown, .. } = self;
        let mut text = format!("{} put, {failed} failed, {unknown} unknown", Count(*done, "key"));
        if self.expired > 0 {
            text += &format!(", {} expired", self.expired);
        }
        match (self.gave_up, total) {
            (false, _) => {}
            (true, Some(total)) => {
                text += &format!(", {} not tried", total.saturating_sub(self.tried()));
            }
            (true, None) => text += ", the rest not tried",
        }
        if let Some((key, error)) = &self.first {
            text += &format!("; the first: {}: {error}", escaped(key));
        }
        text
    }
}

/// Why a dump was not made, or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The cluster does not tell all that it holds. No dump was made.
    #[error("no dump was made: {0}")]
    Client(#[from] ClientError),
    /// The manager began another cluster in the middle of it. No dump was made.
    #[error("no dump was made: the manager began another cluster meanwhile")]
    OtherCluster,
    /// Standard output is where a person would get the bytes.
    #[error("a dump is not for a terminal: give a file, or > FILE")]
    Terminal,
    /// It cannot be written. No dump was made.
    #[error("cannot write {name}: {source}")]
    Write {
        /// Where it was to go.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be read, or is none, or is damaged. Nothing was changed.
    #[error("{name}: {source}; nothing was changed")]
    Read {
        /// Where it was to come from.
        name: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// Some of it is longer than the cluster takes. Nothing was changed.
    #[error(
        "{name}: {too_long} of {} would not be taken; the first: {}: {}; nothing was changed (client --limits raises \
         what the cluster takes)", Count(*.keys, "key"), escaped(&.first.0), .first.1
    )]
    TooLong {
        /// Where it was to come from.
        name: String,
        /// How many of its keys, or their values, are too long.
        too_long: u64,
        /// How many keys it has.
        keys: u64,
        /// The first of them, and what is said of it.
        first: Box<(Vec<u8>, ClientError)>,
    },
    /// Not everything could be read, of what could not be read twice. What came before was put.
    #[error("{name}: {source}; before that {}", loaded.counts(None))]
    ReadLate {
        /// Where it came from.
        name: String,
        /// What is wrong with it.
        source: ReadError,
        /// What came before.
        loaded: Box<Loaded>,
    },
    /// The cluster did not take everything.
    #[error("{name}: {}", loaded.counts(*total))]
    Partly {
        /// Where it came from.
        name: String,
        /// What became of it.
        loaded: Box<Loaded>,
        /// How many keys the dump has, if that is known.
        total: Option<u64>,
    },
    /// The system has no more threads or no random bytes. Nothing was done.
    #[error("the system refuses: {0}")]
    System(io::Error),
}

/// `200000 keys, 23.4 MB, in 0.7 s`.
pub(crate) fn amount(keys: u64, bytes: u64, took: Duration) -> String {
    format!("{}, {}, in {:.1} s", Count(keys, "key"), Bytes(bytes), took.as_secs_f64())
}
