//! Kills processes with SIGKILL, and checks that every acknowledged write survives.
//!
//! `bench crash` starts a manager and nodes that keep their records on disk ([`testbed`]), and runs
//! rounds. In each round many clients write ([`load`]) values that contain their key and sequence
//! number ([`value`]). At a random moment processes are killed ([`kill`]): all of them at once, or
//! fewer nodes than there are copies. They are restarted with the same flags and folders. Once the
//! cluster is healthy every key is read, and must have the last acknowledged value, or a later one
//! of unknown outcome ([`key_history`], [`check`]). [`report`] prints the results.
//!
//! It stops at the first round that breaks the promise, and keeps folders and logs. It does not
//! simulate a power loss: data that a process has written to the operating system survives its
//! death.

pub mod check;
pub mod key_history;
pub mod kill;
pub mod load;
pub mod report;
pub mod testbed;
pub mod value;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use client::ClientError;
use cluster::durability::Durability;
use harness::process::{self, SpawnError};
use harness::scratch::Scratch;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::progress::RunProgress;
use crate::report::ReportError;
use kill::{KillPlan, KillScope};
use load::{CrashWorker, LoadGate, WriteCounts};
use report::{CrashReport, Round};
use testbed::{CrashTestbed, KillRecord};

/// Settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashSettings {
    /// Number of rounds.
    pub rounds: u32,
    /// The seed of all random choices.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// The durability of the cluster.
    pub durability: Durability,
    /// The processes that are killed.
    pub kill: KillScope,
    /// Clients that write at the same time.
    pub clients: u32,
    /// Number of keys.
    pub keys: u32,
    /// Bytes of the longest value.
    pub value_bytes: usize,
    /// Interval between heartbeats in milliseconds; a lease is three of them.
    pub heartbeat_ms: u64,
    /// Time limit until every key can be read, and again until the cluster is healthy.
    pub patience: Duration,
    /// The folder with the programs, if it is not that of this one.
    pub bin: Option<PathBuf>,
}

impl Default for CrashSettings {
    fn default() -> CrashSettings {
        CrashSettings {
            rounds: 100,
            seed: 1,
            nodes: 3,
            copies: 2,
            durability: Durability::Sync,
            kill: KillScope::All,
            clients: 16,
            keys: 2_000,
            value_bytes: 4_096,
            heartbeat_ms: 200,
            patience: Duration::from_secs(60),
            bin: None,
        }
    }
}

impl CrashSettings {
    /// The keys, by number.
    pub fn keys(&self) -> Vec<String> {
        (0..self.keys).map(|key| format!("c{key}")).collect()
    }

    /// The keys of a client, numbered from 0. No other client writes them.
    fn keys_of(&self, client: u32) -> Vec<String> {
        let keys = self.keys();
        keys.into_iter().skip(client as usize).step_by(self.clients as usize).collect()
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// The promise is broken.
    #[error("round {round} broke the promise {violations} times")]
    Violations {
        /// The round.
        round: u32,
        /// The number of violations.
        violations: u64,
    },
    /// Keys that cannot be read again.
    #[error(
        "{unread} of {keys} keys cannot be read {} s after the start, the last since: {why}\n{how}",
        patience.as_secs()
    )]
    Unreadable {
        /// Number of unreadable keys.
        unread: usize,
        /// Number of all keys.
        keys: usize,
        /// The time limit.
        patience: Duration,
        /// The last error of the client.
        why: String,
        /// The state of the cluster.
        how: String,
    },
    /// Another error that no kill explains.
    #[error("{0}")]
    Unexpected(String),
    /// An error, with its round and the killed processes.
    #[error("round {0}, kill -9 {1}: {2}")]
    Round(u32, String, Box<CrashError>),
    /// The processes.
    #[error(transparent)]
    Child(#[from] SpawnError),
    /// A client cannot connect.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The result file.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Standard output, or the system.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// Deadline of a write: longer than a view change, so that few outcomes are unknown, but not much
/// longer, since a round waits for the last write.
const DEADLINE: Duration = Duration::from_secs(3);

/// Runs all rounds and reports; the result file goes into the folder `out`.
///
/// # Errors
/// [`CrashError`]; the loss of one promised write is enough.
pub fn run(settings: &CrashSettings, out: &Path, print: &mut impl Write) -> Result<(), CrashError> {
    let bin = process::programs(settings.bin.as_deref())?;
    let mut scratch = Scratch::temporary("crash");
    let mut rounds = Vec::new();
    // The testbed stops the processes before their logs are removed.
    let outcome = CrashTestbed::new(settings, &bin, scratch.path())
        .and_then(|mut testbed| run_rounds(settings, &mut testbed, &mut rounds));
    let report = CrashReport { settings, rounds: &rounds };
    write!(print, "{report}")?;
    writeln!(print, "{}", report.write(out)?.display())?;
    if outcome.is_err() {
        scratch.keep();
        writeln!(print, "the processes' logs and data are in {}", scratch.path().display())?;
    }
    writeln!(print, "{}", report.summary())?;
    outcome
}

fn run_rounds(
    settings: &CrashSettings,
    testbed: &mut CrashTestbed,
    rounds: &mut Vec<Round>,
) -> Result<(), CrashError> {
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let config = testbed.config(DEADLINE);
    let mut workers = (0..settings.clients)
        .map(|client| {
            let keys = settings.keys_of(client);
            CrashWorker::new(config.clone(), rng.random(), keys, settings.value_bytes)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let progress = RunProgress::new("crash", u64::from(settings.rounds));
    for number in 1..=settings.rounds {
        let plan = KillPlan::draw(&mut rng, settings);
        let round = round(settings, testbed, &mut workers, number, &plan)
            .map_err(|error| CrashError::Round(number, plan.to_string(), error.into()))?;
        let violations = round.findings.violations();
        rounds.push(round);
        progress.advance(1);
        if violations > 0 {
            return Err(CrashError::Violations { round: number, violations });
        }
    }
    progress.finish();
    Ok(())
}

fn round(
    settings: &CrashSettings,
    testbed: &mut CrashTestbed,
    workers: &mut [CrashWorker],
    number: u32,
    plan: &KillPlan,
) -> Result<Round, CrashError> {
    let gate = LoadGate::new(number);
    let record = thread::scope(|scope| {
        for worker in workers.iter_mut() {
            let gate = &gate;
            scope.spawn(move || worker.run(gate));
        }
        let record = testbed.kill(plan, &gate);
        gate.stop();
        record
    });
    let KillRecord { in_flight, killed, readable } = record?;
    let mut counts = WriteCounts::default();
    for worker in workers.iter_mut() {
        counts.add(&worker.take_counts().map_err(CrashError::Unexpected)?);
    }
    testbed.settle()?;
    let names = settings.keys();
    let names = names.iter().map(String::as_str);
    let found = names.zip(testbed.read()?).collect();
    Ok(Round {
        number,
        load: plan.load,
        in_flight,
        killed: plan.to_string(),
        kills: 1 + u32::from(plan.again.is_some()),
        counts,
        readable,
        findings: check::check(
            workers.iter_mut().flat_map(CrashWorker::histories),
            &found,
            killed,
            |age| kill::is_promised(settings.kill, settings.durability, age),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_has_one_owner() {
        let settings = CrashSettings { keys: 50, clients: 7, ..CrashSettings::default() };
        let mut all = BTreeSet::new();
        for client in 0..settings.clients {
            let keys = settings.keys_of(client);
            assert!(keys.len() >= 7, "{keys:?}");
            keys.into_iter().for_each(|key| assert!(all.insert(key)));
        }
        assert_eq!(all, settings.keys().into_iter().collect());
    }
}
