//! Dumps: copying all of a cluster's keys to a file and back while the cluster serves.
//!
//! `save` follows the order of a listing ([`crate::listing`]), so each key that exists throughout
//! is met once, even if nodes join or leave meanwhile, and reads each key as any client does. So a
//! dump has each key as of some moment between its start and its end, but is not a consistent
//! snapshot. `load` puts the records of a dump as any client does. `file` handles the file;
//! [`mod@format`] defines its bytes.
//!
//! A few threads call the nodes, each with a batch of its own; the caller's thread accesses the
//! file. The queues between them are short, so memory use does not grow with the cluster.

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

/// Batches under way at once. One waits for the slowest of its nodes; a few more keep the other
/// nodes busy without crowding out other clients.
const THREADS: usize = 4;

/// The figures of a complete dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// The number of its keys.
    pub keys: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The figures of a load.
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
    /// Whether the load stopped because the cluster did not accept anything any more.
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

/// The reason a dump or a load failed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The cluster did not return all its keys. No dump was written.
    #[error("no dump was made: {0}")]
    Client(#[from] ClientError),
    /// The manager started another cluster meanwhile. No dump was written.
    #[error("no dump was made: the manager began another cluster meanwhile")]
    OtherCluster,
    /// Standard output is a terminal.
    #[error("a dump is not for a terminal: give a file, or > FILE")]
    Terminal,
    /// The file cannot be written. No dump was written.
    #[error("cannot write {name}: {source}")]
    Write {
        /// The target.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be read, is no dump, or is damaged. Nothing was changed.
    #[error("{name}: {source}; nothing was changed")]
    Read {
        /// The source.
        name: String,
        /// The cause.
        source: ReadError,
    },
    /// Some keys or values exceed the cluster's limits. Nothing was changed.
    #[error(
        "{name}: {too_long} of {} would not be taken; the first: {}: {}; nothing was changed (client --limits raises \
         what the cluster takes)", Count(*.keys, "key"), escaped(&.first.0), .first.1
    )]
    TooLong {
        /// The source.
        name: String,
        /// How many of its keys, or their values, are too long.
        too_long: u64,
        /// The number of its keys.
        keys: u64,
        /// The first of them, and its error.
        first: Box<(Vec<u8>, ClientError)>,
    },
    /// A stream that cannot be checked in advance is damaged. The records before the damage were
    /// put.
    #[error("{name}: {source}; before that {}", loaded.counts(None))]
    ReadLate {
        /// The source.
        name: String,
        /// The cause.
        source: ReadError,
        /// The figures of the part before the damage.
        loaded: Box<Loaded>,
    },
    /// The cluster did not accept everything.
    #[error("{name}: {}", loaded.counts(*total))]
    Partly {
        /// The source.
        name: String,
        /// The figures of the load.
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
