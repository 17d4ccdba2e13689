//! Processes that are killed with SIGKILL, and a search for every acknowledged write.
//!
//! `bench crash` starts a manager and nodes that keep their records on disk ([`testbed`]), and goes
//! through rounds. In each, many clients write ([`load`]) values that say whose they are
//! ([`value`]); at a random moment processes are killed ([`kill`]): all of them at once, or fewer
//! nodes than there are copies. They are started again with the same flags and folders. Once the
//! cluster is healthy every key is read, and must have the last value that was acknowledged, or one
//! of unknown outcome that was tried after it ([`key_history`], [`check`]). What came of it is told
//! by [`report`].
//!
//! It stops at the first round that breaks the promise, with folders and logs as they are then.
//! Power is not cut: what a process has handed to the system survives its death. What the disk
//! loses is beyond this.

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

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashSettings {
    /// How often processes are killed.
    pub rounds: u32,
    /// What random choices follow from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// How records are kept on disk.
    pub durability: Durability,
    /// Who is killed.
    pub kill: KillScope,
    /// Clients that write at the same time.
    pub clients: u32,
    /// Keys that they write.
    pub keys: u32,
    /// Bytes of the longest value.
    pub value_bytes: usize,
    /// Between heartbeats, in milliseconds; a lease is three of them.
    pub heartbeat_ms: u64,
    /// How long the cluster may take until every key can be read, and as long again until it is
    /// healthy.
    pub patience: Duration,
    /// Where the programs are, if not where this one is.
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

    /// The keys of this client, from 0: its own, and nobody else's.
    fn keys_of(&self, client: u32) -> Vec<String> {
        let keys = self.keys();
        keys.into_iter().skip(client as usize).step_by(self.clients as usize).collect()
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// The promise was broken.
    #[error("round {round} broke the promise {violations} times")]
    Violations {
        /// In which round.
        round: u32,
        /// How often.
        violations: u64,
    },
    /// Keys that cannot be read again.
    #[error(
        "{unread} of {keys} keys cannot be read {} s after the start, the last since: {why}\n{how}",
        patience.as_secs()
    )]
    Unreadable {
        /// How many keys.
        unread: usize,
        /// Of how many.
        keys: usize,
        /// How long it was tried.
        patience: Duration,
        /// What the client was told.
        why: String,
        /// How the cluster is.
        how: String,
    },
    /// Something else went wrong that no kill explains.
    #[error("{0}")]
    Unexpected(String),
    /// An error, in which round it came, and who had been killed.
    #[error("round {0}, kill -9 {1}: {2}")]
    Round(u32, String, Box<CrashError>),
    /// The processes.
    #[error(transparent)]
    Child(#[from] SpawnError),
    /// A client cannot even begin.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The result file.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Standard output, or the system.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// How long a client tries a write: longer than a view change takes, so that few outcomes are
/// unknown, and not much longer, since a round waits for the last one.
const DEADLINE: Duration = Duration::from_secs(3);

/// Goes through the rounds and reports; the result file goes into the folder `out`.
///
/// # Errors
/// [`CrashError`]; one acknowledged write that is gone is enough, where it was promised.
pub fn run(settings: &CrashSettings, out: &Path, print: &mut impl Write) -> Result<(), CrashError> {
    let bin = process::programs(settings.bin.as_deref())?;
    let mut scratch = Scratch::temporary("crash");
    let mut rounds = Vec::new();
    // The processes end with the testbed, before their logs may go.
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
