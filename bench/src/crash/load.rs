//! Clients that write, each to its own keys, and record the outcomes.
//!
//! A later write to a key hides the loss of a previous one. So half of the keys rest in each round,
//! for four rounds in a row, and are only read. When processes are killed the clients stop; if the
//! other nodes continue to serve, the clients leave half of the remaining keys alone (`Share`).

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient};
use harness::history::Outcome;
use harness::recorder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::key_history::{KeyHistory, Verb};
use super::value;

/// Percentage of deletes among the writes.
const DELETE_PERCENT: u32 = 10;

/// The length of a value is drawn up to the longest, or up to half of it, a quarter …, halved at
/// most this often, so that short values occur too.
const HALVINGS: u32 = 6;

/// Pause after an error: the nodes may be down for a while.
const PAUSE: Duration = Duration::from_millis(2);

/// Rounds after which the turns of a key repeat. A client has at least this many keys, so that it
/// can always write one.
pub const TURN: u32 = 8;

/// When a key is written in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Never.
    Rests,
    /// Up to the kill.
    UntilKill,
    /// Until the load ends.
    Throughout,
}

impl Share {
    /// The share of a key, by its index among the keys of its client.
    fn of(key: usize, round: u32) -> Share {
        match (key as u32).wrapping_add(round) % TURN {
            0..4 => Share::Rests,
            4 | 6 => Share::UntilKill,
            _ => Share::Throughout,
        }
    }
}

/// The phases of a round, in order.
#[derive(Debug, Clone, Copy)]
enum LoadPhase {
    BeforeKill,
    /// Processes were killed, and the others serve.
    AfterKill,
    /// No new writes begin.
    Stopped,
}

/// Controls the clients of one round.
#[derive(Debug)]
pub struct LoadGate {
    round: u32,
    /// A [`LoadPhase`].
    phase: AtomicU8,
    in_flight: AtomicUsize,
}

impl LoadGate {
    /// The gate of this round, in the phase before the kill.
    pub fn new(round: u32) -> LoadGate {
        LoadGate {
            round,
            phase: AtomicU8::new(LoadPhase::BeforeKill as u8),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Stops new writes.
    pub fn stop(&self) {
        self.reach(LoadPhase::Stopped);
    }

    /// Some keys are no longer written, since processes were killed.
    pub fn narrow(&self) {
        self.reach(LoadPhase::AfterKill);
    }

    fn reach(&self, phase: LoadPhase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    fn has_reached(&self, phase: LoadPhase) -> bool {
        self.phase.load(Ordering::SeqCst) >= phase as u8
    }

    /// Writes in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn is_open(&self, key: usize) -> bool {
        match Share::of(key, self.round) {
            Share::Rests => false,
            Share::UntilKill => !self.has_reached(LoadPhase::AfterKill),
            Share::Throughout => true,
        }
    }
}

/// Numbers of writes by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Acknowledged puts.
    pub puts: u64,
    /// Acknowledged deletes.
    pub deletes: u64,
    /// Of unknown outcome.
    pub unknown: u64,
    /// Certainly not done.
    pub failed: u64,
}

impl WriteCounts {
    /// All acknowledged writes.
    pub fn acknowledged(&self) -> u64 {
        self.puts + self.deletes
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &WriteCounts) {
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.unknown += other.unknown;
        self.failed += other.failed;
    }

    fn note(&mut self, verb: Verb, outcome: Outcome) {
        match (outcome, verb) {
            (Outcome::Ok, Verb::Put) => self.puts += 1,
            (Outcome::Ok, Verb::Delete) => self.deletes += 1,
            (Outcome::Unknown, _) => self.unknown += 1,
            (Outcome::Failed, _) => self.failed += 1,
        }
    }
}

/// One client with its keys.
pub struct CrashWorker {
    client: GTStoreClient,
    rng: StdRng,
    longest: usize,
    keys: Vec<String>,
    histories: Vec<KeyHistory>,
    /// Counts since the last round.
    counts: WriteCounts,
    unexpected: Option<String>,
}

impl CrashWorker {
    /// Connects a client that owns these keys, at least [`TURN`] of them, and writes values of at
    /// most `longest` bytes; its choices follow from `seed`.
    ///
    /// # Errors
    /// [`ClientError`] if the cluster does not reply.
    pub fn new(
        config: Config,
        seed: u64,
        keys: Vec<String>,
        longest: usize,
    ) -> Result<CrashWorker, ClientError> {
        let now = Instant::now();
        Ok(CrashWorker {
            client: GTStoreClient::init(config)?,
            rng: StdRng::seed_from_u64(seed),
            longest,
            histories: keys.iter().map(|_| KeyHistory::new(now)).collect(),
            keys,
            counts: WriteCounts::default(),
            unexpected: None,
        })
    }

    /// Writes until stopped; returns after its last write, within the client's deadline.
    pub fn run(&mut self, gate: &LoadGate) {
        while !gate.has_reached(LoadPhase::Stopped) && self.unexpected.is_none() {
            let key = self.rng.random_range(0..self.keys.len());
            if gate.is_open(key) {
                self.write(key, gate);
            }
        }
    }

    fn write(&mut self, key: usize, gate: &LoadGate) {
        let is_delete = self.rng.random_range(0..100) < DELETE_PERCENT;
        let verb = if is_delete { Verb::Delete } else { Verb::Put };
        let most = self.longest >> self.rng.random_range(0..=HALVINGS);
        let len = self.rng.random_range(0..=most);
        let name = &self.keys[key];
        let value = value::encode(name, self.histories[key].next(), len);
        gate.in_flight.fetch_add(1, Ordering::SeqCst);
        let done = match verb {
            Verb::Put => self.client.put(name.as_bytes(), &value),
            Verb::Delete => self.client.delete(name.as_bytes()),
        };
        gate.in_flight.fetch_sub(1, Ordering::SeqCst);
        let outcome = recorder::outcome(done.as_ref().err());
        self.histories[key].note(verb, outcome, Instant::now());
        self.counts.note(verb, outcome);
        if let Err(error) = done {
            if !error.is_retryable() {
                self.unexpected = Some(format!("{name}: {error}"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Its keys and their histories.
    pub fn histories(&mut self) -> impl Iterator<Item = (&str, &mut KeyHistory)> {
        self.keys.iter().map(String::as_str).zip(&mut self.histories)
    }

    /// Returns and resets its counts.
    ///
    /// # Errors
    /// An error that no kill explains.
    pub fn take_counts(&mut self) -> Result<WriteCounts, String> {
        match self.unexpected.take() {
            Some(why) => Err(format!("an error that no kill explains: {why}")),
            None => Ok(std::mem::take(&mut self.counts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_keys_rest_in_turns() {
        let turn = TURN as usize;
        for round in 1..=TURN {
            let gate = LoadGate::new(round);
            let open = || (0..turn).filter(|&key| gate.is_open(key)).count();
            assert_eq!(open(), 4);
            gate.narrow();
            assert_eq!(open(), 2, "a client always has a key to write");
        }
        for key in 0..turn {
            let shares: Vec<Share> = (1..=TURN).map(|round| Share::of(key, round)).collect();
            let count = |share| shares.iter().filter(|&&one| one == share).count();
            let counts = [Share::Rests, Share::UntilKill, Share::Throughout].map(count);
            assert_eq!(counts, [4, 2, 2]);
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = WriteCounts::default();
        counts.note(Verb::Put, Outcome::Ok);
        counts.note(Verb::Delete, Outcome::Ok);
        counts.note(Verb::Delete, Outcome::Unknown);
        counts.note(Verb::Put, Outcome::Failed);
        assert_eq!(counts, WriteCounts { puts: 1, deletes: 1, unknown: 1, failed: 1 });
        let mut sum = counts;
        sum.add(&counts);
        assert_eq!((sum.acknowledged(), sum.unknown, sum.failed), (4, 2, 2));
    }
}
