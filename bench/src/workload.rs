//! The operations of a run, and the answers that are permitted.
//!
//! A [`Workload`] determines the number of keys, the fraction of reads and the size of the values.
//! Each worker thread draws its own endless [`Stream`] of operations from it; the same seed draws
//! the same operations again (with the same build: the generator may change between releases of
//! `rand`).
//!
//! Every key is written by exactly one worker, the one whose number is the key's index modulo the
//! number of workers; all workers read every key. So the order of a key's values is known locally,
//! each value contains its place in it ([`Stamp`]), and the shared [`Expectation`] can judge every
//! read by itself.

mod expectation;
mod key_choice;
mod stamp;

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

pub use expectation::{Expectation, PendingGet, PendingPut, WrongAnswer};
use key_choice::KeyChoice;
pub use key_choice::YCSB_SKEW;
pub use stamp::Stamp;

/// Longest key in bytes: what a cluster accepts by default.
pub const MAX_KEY_BYTES: usize = 20;

/// Most keys of a workload. Beyond it the tables, 24 bytes a key, would outgrow
/// a small machine's memory.
pub const MAX_KEYS: u32 = 100_000_000;

/// The prefix of keys without [`Workload::with_prefix`].
const DEFAULT_PREFIX: &str = "tp_key_";

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadOp {
    /// Write `value` to a key.
    Put {
        /// Which key; [`Workload::key`] has its text.
        key_index: u32,
        /// Which value of this key it is, from 1.
        sequence: u64,
        /// What to write.
        value: Vec<u8>,
    },
    /// Read a key.
    Get {
        /// Which key; [`Workload::key`] has its text.
        key_index: u32,
    },
}

impl WorkloadOp {
    /// The key that is written or read.
    pub fn key_index(&self) -> u32 {
        match self {
            WorkloadOp::Put { key_index, .. } | WorkloadOp::Get { key_index } => *key_index,
        }
    }
}

/// Why a workload cannot be run.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum WorkloadError {
    /// No keys, or too many.
    #[error("{0} keys: a workload has 1 to {MAX_KEYS}")]
    Keys(u32),
    /// Not a fraction.
    #[error("the fraction of reads is {0}, which is not from 0 to 1")]
    ReadFraction(f64),
    /// Outside of the domain of the generator of skewed keys.
    #[error("the skew is {0}, which is not between 0 and 1 (both excluded)")]
    Skew(f64),
    /// A key that the cluster would refuse.
    #[error(
        "the key {0:?} has more than {MAX_KEY_BYTES} bytes: use fewer keys or a shorter prefix"
    )]
    KeyTooLong(String),
    /// No such worker.
    #[error("worker {worker} of {workers}: workers are numbered from 0")]
    Worker {
        /// The requested worker.
        worker: u32,
        /// The number of workers.
        workers: u32,
    },
    /// A worker could not fill a batch with keys of its own.
    #[error("{keys} keys among {workers} workers do not fill batches of {batch}")]
    Batch {
        /// Keys of the workload.
        keys: u32,
        /// Workers that share them.
        workers: u32,
        /// Operations in one batch.
        batch: u32,
    },
}

/// The parameters of a run's operations.
#[derive(Debug, Clone)]
pub struct Workload {
    seed: u64,
    keys: u32,
    read_fraction: f64,
    value_len: usize,
    prefix: String,
    /// Digits of a key at least, with zeros in front.
    digits: usize,
    choice: KeyChoice,
}

impl Workload {
    /// `keys` keys, all equally likely; `read_fraction` (0 to 1) of the
    /// operations are reads. Values have `value_len` bytes, or as many as their
    /// [`Stamp`] needs if that is more.
    pub fn new(
        seed: u64,
        keys: u32,
        read_fraction: f64,
        value_len: usize,
    ) -> Result<Self, WorkloadError> {
        if !(1..=MAX_KEYS).contains(&keys) {
            return Err(WorkloadError::Keys(keys));
        }
        let workload = Self {
            seed,
            keys,
            read_fraction: 0.0,
            value_len,
            prefix: String::new(),
            digits: 0,
            choice: KeyChoice::uniform(keys),
        };
        workload.with_read_fraction(read_fraction)?.with_prefix(DEFAULT_PREFIX)
    }

    /// The same with keys `<prefix>0`, `<prefix>1`, …
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, WorkloadError> {
        prefix.clone_into(&mut self.prefix);
        let longest = self.key(self.keys - 1);
        if longest.len() > MAX_KEY_BYTES {
            return Err(WorkloadError::KeyTooLong(longest));
        }
        Ok(self)
    }

    /// The same with keys of `length` bytes where they would be shorter: zeros go
    /// before the number.
    pub fn with_key_len(mut self, length: usize) -> Result<Self, WorkloadError> {
        self.digits = length.saturating_sub(self.prefix.len());
        let longest = self.key(self.keys - 1);
        if longest.len() > MAX_KEY_BYTES {
            return Err(WorkloadError::KeyTooLong(longest));
        }
        Ok(self)
    }

    /// The same keys with another fraction of reads.
    pub fn with_read_fraction(mut self, read_fraction: f64) -> Result<Self, WorkloadError> {
        if !(0.0..=1.0).contains(&read_fraction) {
            return Err(WorkloadError::ReadFraction(read_fraction));
        }
        self.read_fraction = read_fraction;
        Ok(self)
    }

    /// The same with some keys far more popular than others, lower indexes
    /// first. `skew` is between 0 (nearly even) and 1; [`YCSB_SKEW`] is usual.
    pub fn with_zipf(mut self, skew: f64) -> Result<Self, WorkloadError> {
        if !(skew > 0.0 && skew < 1.0) {
            return Err(WorkloadError::Skew(skew));
        }
        self.choice = KeyChoice::zipf(self.keys, skew);
        Ok(self)
    }

    /// Number of keys; their indexes are below it.
    pub fn keys(&self) -> u32 {
        self.keys
    }

    /// The text of a key.
    pub fn key(&self, key_index: u32) -> String {
        format!("{}{key_index:0digits$}", self.prefix, digits = self.digits)
    }

    /// The operations of one worker of `workers`, in batches of `batch`.
    ///
    /// A worker has one stream for as long as the [`Expectation`] lives: a
    /// second would number the values of its keys from 1 again.
    pub fn stream(&self, worker: u32, workers: u32, batch: u32) -> Result<Stream, WorkloadError> {
        if worker >= workers {
            return Err(WorkloadError::Worker { worker, workers });
        }
        // Uses the fewest keys of any worker, so that all workers agree.
        if batch == 0 || self.keys / workers < batch {
            return Err(WorkloadError::Batch { keys: self.keys, workers, batch });
        }
        // Worker 0 uses the seed itself; seed_from_u64 mixes the others.
        let seed = self.seed ^ u64::from(worker).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Ok(Stream {
            rng: StdRng::seed_from_u64(seed),
            workload: self.clone(),
            worker,
            workers,
            batch,
            sequences: vec![0; self.keys.div_ceil(workers) as usize],
            taken: HashSet::with_capacity(batch as usize),
        })
    }
}

/// The endless operations of one worker.
#[derive(Debug)]
pub struct Stream {
    workload: Workload,
    worker: u32,
    workers: u32,
    batch: u32,
    rng: StdRng,
    /// Number of values of each own key so far, by index divided by workers.
    sequences: Vec<u64>,
    /// Keys of the batch being drawn; kept to reuse its memory.
    taken: HashSet<u32>,
}

impl Stream {
    /// The next operation.
    pub fn next_op(&mut self) -> WorkloadOp {
        self.taken.clear();
        self.draw()
    }

    /// The next batch, of the size passed to [`Workload::stream`]. All its keys are different, so
    /// its operations may run in any order.
    ///
    /// A popular key occurs at most once in a batch, and the next popular ones replace it: batches
    /// flatten a skew.
    pub fn next_batch(&mut self) -> Vec<WorkloadOp> {
        self.taken.clear();
        (0..self.batch).map(|_| self.draw()).collect()
    }

    /// The keys that this worker writes, in order.
    pub fn own_keys(&self) -> impl Iterator<Item = u32> + use<> {
        (self.worker..self.workload.keys).step_by(self.workers as usize)
    }

    /// The next value for one of the [own keys](Stream::own_keys), out of order, for example to
    /// fill the store before a measurement.
    ///
    /// # Panics
    /// If the key is another worker's, whose order of values it would break.
    pub fn put(&mut self, key_index: u32) -> WorkloadOp {
        assert!(
            key_index % self.workers == self.worker && key_index < self.workload.keys,
            "key {key_index} is not worker {}'s",
            self.worker
        );
        let count = &mut self.sequences[(key_index / self.workers) as usize];
        *count += 1;
        let stamp = Stamp { key_index, worker: self.worker, sequence: *count };
        WorkloadOp::Put {
            key_index,
            sequence: stamp.sequence,
            value: stamp.encode(self.workload.value_len),
        }
    }

    /// One operation on a key that is not taken yet.
    fn draw(&mut self) -> WorkloadOp {
        let read = self.rng.random_bool(self.workload.read_fraction);
        let drawn = self.workload.choice.draw(&mut self.rng);
        // A reader walks over all keys, a writer over its own; the walk ends,
        // since a batch is no larger than any worker's share of the keys.
        let (mut key_index, first, step) = if read {
            (drawn, 0, 1)
        } else {
            (self.own_key_near(drawn), self.worker, self.workers)
        };
        while !self.taken.insert(key_index) {
            key_index += step;
            if key_index >= self.workload.keys {
                key_index = first;
            }
        }
        if read { WorkloadOp::Get { key_index } } else { self.put(key_index) }
    }

    /// The own key among the `workers` keys around `drawn`, which is almost as popular.
    fn own_key_near(&self, drawn: u32) -> u32 {
        let key_index = drawn - drawn % self.workers + self.worker;
        if key_index < self.workload.keys { key_index } else { key_index - self.workers }
    }
}

#[cfg(test)]
mod tests;
