//! The values that a read may return, so that a run checks every answer while it measures.
//!
//! Each key has one writer that numbers its values, and does not begin a put
//! of a key before the last one of that key has ended. Two numbers a key are
//! then enough:
//!
//! - *begun*: the highest value whose put was begun;
//! - *settled*: the highest value known to be in the store, because its put was
//!   acknowledged or because a read returned it.
//!
//! A read loads *settled* before it is sent and *begun* after its answer has arrived; the value
//! must lie between the two, inclusive. Absent counts as value 0: a run starts on keys that are not
//! in the store yet.
//!
//! Puts that fail are the exception. One whose outcome is *unknown* may take
//! effect at any later time, so its value is allowed from then on. One that was
//! *refused* never happened, so its value must never be seen.
//!
//! It raises no false alarm on a linearizable store. It does not find every
//! fault: two reads in flight at once are not compared with one another, and a
//! value of an unknown put is not traced. The fault driver's history check does
//! that, for far fewer operations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::history::Outcome;
use parking_lot::Mutex;
use thiserror::Error;

use super::{Stamp, Workload};

/// Bytes of a foreign value that an error shows.
const SHOWN_BYTES: usize = 48;

/// An answer that no correct store gives.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WrongAnswer {
    /// No value was found although one was certainly present.
    #[error("key {key_index} is absent, yet its value {settled} was there before the read")]
    Absent {
        /// The key that was read.
        key_index: u32,
        /// The value that was certainly present, or a later one.
        settled: u64,
    },
    /// An old value was returned although a newer one was certainly present.
    #[error("key {key_index} has value {sequence}, yet {settled} was there before the read")]
    Stale {
        /// The key that was read.
        key_index: u32,
        /// The returned value.
        sequence: u64,
        /// The value that was certainly present, or a later one.
        settled: u64,
    },
    /// A value was returned that its writer has not sent yet.
    #[error("key {key_index} has value {sequence}, yet only {begun} were ever sent")]
    NeverWritten {
        /// The key that was read.
        key_index: u32,
        /// The returned value.
        sequence: u64,
        /// The last value that was sent.
        begun: u64,
    },
    /// A value was returned whose put was refused.
    #[error("key {key_index} had value {sequence}, yet its put was refused")]
    Refused {
        /// The key.
        key_index: u32,
        /// The value that was refused.
        sequence: u64,
    },
    /// A value that was never written to this key: that of another key, or damaged.
    #[error("key {key_index} has a value that is not its own: {value:?}")]
    Foreign {
        /// The key that was read.
        key_index: u32,
        /// The front of the value.
        value: String,
    },
}

/// A put in progress.
#[derive(Debug)]
#[must_use = "a put must be ended, or the next one of its key raises false alarms"]
pub struct PendingPut {
    key_index: u32,
    sequence: u64,
}

/// A read in progress. Drop it if the read fails: a read without an answer proves nothing.
#[derive(Debug)]
#[must_use = "the answer is checked when the read is ended"]
pub struct PendingGet {
    key_index: u32,
    settled: u64,
}

/// The known state of every key, shared by the workers of a run. 16 bytes a key, and some 30 for
/// each put that failed.
///
/// All its numbers are sequentially consistent, since the relevant order goes through sockets and
/// other processes, which weaker orderings do not cover.
#[derive(Debug)]
pub struct Expectation {
    keys: Box<[KeyState]>,
    workers: u32,
    value_len: usize,
    /// Whether `failed` has entries; avoids the lock while nothing fails.
    any_failed: AtomicBool,
    /// Puts that were not acknowledged, by key and sequence.
    failed: Mutex<HashMap<(u32, u64), Outcome>>,
}

#[derive(Debug, Default)]
struct KeyState {
    begun: AtomicU64,
    settled: AtomicU64,
}

impl Expectation {
    /// For a run of `workload` by `workers` workers (at least 1), in which all
    /// its keys are absent at first.
    pub fn new(workload: &Workload, workers: u32) -> Self {
        Self {
            keys: (0..workload.keys).map(|_| KeyState::default()).collect(),
            workers: workers.max(1),
            value_len: workload.value_len,
            any_failed: AtomicBool::new(false),
            failed: Mutex::new(HashMap::new()),
        }
    }

    /// Call this before a put is sent. Only the key's own worker may call it, and only after its
    /// previous put of this key has ended.
    pub fn begin_put(&self, key_index: u32, sequence: u64) -> PendingPut {
        self.keys[key_index as usize].begun.fetch_max(sequence, Ordering::SeqCst);
        PendingPut { key_index, sequence }
    }

    /// Call this when the put was answered or given up. The answer is wrong if the put was refused
    /// although a read has returned its value.
    pub fn end_put(&self, put: PendingPut, outcome: Outcome) -> Result<(), WrongAnswer> {
        let PendingPut { key_index, sequence } = put;
        let settled = &self.keys[key_index as usize].settled;
        if outcome == Outcome::Ok {
            settled.fetch_max(sequence, Ordering::SeqCst);
            return Ok(());
        }
        self.failed.lock().insert((key_index, sequence), outcome);
        self.any_failed.store(true, Ordering::SeqCst);
        // Checked after the entry is inserted; a read checks the entry after it has settled the
        // value. So one of the two notices.
        let seen = settled.load(Ordering::SeqCst) >= sequence;
        if seen && outcome == Outcome::Failed {
            return Err(WrongAnswer::Refused { key_index, sequence });
        }
        Ok(())
    }

    /// Call this before a read is sent.
    pub fn begin_get(&self, key_index: u32) -> PendingGet {
        let settled = self.keys[key_index as usize].settled.load(Ordering::SeqCst);
        PendingGet { key_index, settled }
    }

    /// Call this when the read was answered with this value, or with none. The error explains why
    /// that is wrong.
    pub fn end_get(&self, get: PendingGet, value: Option<&[u8]>) -> Result<(), WrongAnswer> {
        let PendingGet { key_index, settled } = get;
        let Some(value) = value else {
            return match settled {
                0 => Ok(()),
                _ => Err(WrongAnswer::Absent { key_index, settled }),
            };
        };
        let sequence = self.own_sequence(key_index, value)?;
        let key = &self.keys[key_index as usize];
        let begun = key.begun.load(Ordering::SeqCst);
        if sequence > begun {
            return Err(WrongAnswer::NeverWritten { key_index, sequence, begun });
        }
        key.settled.fetch_max(sequence, Ordering::SeqCst);
        match self.failure(key_index, sequence) {
            Some(Outcome::Failed) => Err(WrongAnswer::Refused { key_index, sequence }),
            None if sequence < settled => Err(WrongAnswer::Stale { key_index, sequence, settled }),
            _ => Ok(()),
        }
    }

    /// The place of `value` among those of its key, if it is one of them.
    fn own_sequence(&self, key_index: u32, value: &[u8]) -> Result<u64, WrongAnswer> {
        match Stamp::decode(value, self.value_len) {
            Some(stamp)
                if stamp.key_index == key_index
                    && stamp.worker == key_index % self.workers
                    && stamp.sequence > 0 =>
            {
                Ok(stamp.sequence)
            }
            _ => {
                let shown = &value[..value.len().min(SHOWN_BYTES)];
                Err(WrongAnswer::Foreign {
                    key_index,
                    value: String::from_utf8_lossy(shown).into_owned(),
                })
            }
        }
    }

    fn failure(&self, key_index: u32, sequence: u64) -> Option<Outcome> {
        if !self.any_failed.load(Ordering::SeqCst) {
            return None;
        }
        self.failed.lock().get(&(key_index, sequence)).copied()
    }
}

#[cfg(test)]
mod tests;
