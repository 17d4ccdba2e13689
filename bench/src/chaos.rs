//! Faults in a cluster of real processes, and a check of every answer.
//!
//! `bench chaos` starts its own manager and nodes ([`testbed`]), each behind a proxy that can cut
//! single links ([`proxy`](harness::proxy)). Many clients work on few keys ([`load`]). Meanwhile a
//! schedule that follows from the seed ([`schedule`]) kills and stops processes, cuts links
//! ([`fault`]), makes nodes join and leave, and changes weights and K, within the limits of the
//! promise ([`roster`]). The history of every key ([`history`]) is checked for linearizability
//! ([`linearizable`](harness::linearizable)). At the end all faults are removed, every key is read
//! once more, and the history with that read is checked again, which finds lost acknowledged
//! writes.
//!
//! The seed repeats the random choices, not the run: real processes have their own timing, and a
//! fault that the state of the cluster does not allow is drawn again.

pub mod draw;
pub mod fault;
pub mod load;
pub mod report;
pub mod roster;
pub mod schedule;
pub mod testbed;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient};
use harness::history::{self, Histories, HistoryError, Kind, Outcome};
use harness::linearizable::Check;
use harness::operator::OperatorError;
use harness::process::SpawnError;
use harness::proxy::Faults;
use harness::scratch::Scratch;
use harness::service::Service;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::progress::RunProgress;
use fault::{EventKind, WantedChanges};
use load::{CheckResult, Load};
use report::ChaosReport;
use roster::Roster;
use schedule::Schedule;
use testbed::ChaosTestbed;

/// Settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ChaosSettings {
    /// Duration of the faults, in seconds.
    pub seconds: u64,
    /// The seed of all random choices.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// Interval between heartbeats; a lease is three of them.
    pub heartbeat_ms: u64,
    /// The planned changes among the faults.
    pub changes: WantedChanges,
    /// The file that the history is saved to.
    pub history: Option<PathBuf>,
    /// The folder with the programs, if it is not that of this one.
    pub bin: Option<PathBuf>,
    /// The folder for data and logs of the processes, if they are kept.
    pub out: Option<PathBuf>,
}

impl Default for ChaosSettings {
    fn default() -> ChaosSettings {
        ChaosSettings {
            seconds: 60,
            seed: 1,
            nodes: 5,
            copies: 3,
            heartbeat_ms: 200,
            changes: WantedChanges::ALL,
            history: None,
            bin: None,
            out: None,
        }
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The promise is broken.
    #[error("{0} of {1} keys are not linearizable")]
    Violations(usize, usize),
    /// An error that no fault explains.
    #[error("{0}")]
    Unexpected(String),
    /// The processes.
    #[error(transparent)]
    Child(#[from] SpawnError),
    /// The client command.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A client cannot connect.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// This build has no complete check.
    #[error("this build of bench cannot check a history: build it with --features porcupine")]
    Undecided,
    /// A history.
    #[error("{}: {source}", path.display())]
    History {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: HistoryError,
    },
    /// Standard output, or the system.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// Interval between steps of the schedule.
const STEP: Duration = Duration::from_millis(10);

/// Time after a lease by which the manager has certainly noticed an absence.
const SETTLING: Duration = Duration::from_millis(500);

/// The note of a build without a complete check.
const INCOMPLETE: &str = "checked in O(n log n), by the times of unique values, which does not \
    find everything; built with --features porcupine bench decides";

/// The number of the client that reads all keys at the end.
const LAST_READER: u32 = 999;

/// Runs the faults and reports.
///
/// # Errors
/// [`ChaosError`]; one violation is enough.
pub fn run(settings: &ChaosSettings, print: &mut impl Write) -> Result<(), ChaosError> {
    let mut scratch = match &settings.out {
        Some(out) => Scratch::at(out.join(format!("chaos-{}", settings.seed)))?,
        None => Scratch::temporary("chaos"),
    };
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let faults = Arc::new(Faults::default());
    let mut testbed = ChaosTestbed::start(settings, scratch.path(), &faults)?;
    let (finished, histories) = mpsc::channel();
    let load = Load::new(testbed.config(), rng.random(), finished);
    let seeded = StdRng::seed_from_u64(rng.random());
    let clients = load.connect()?;
    let lease = Duration::from_millis(3 * settings.heartbeat_ms);
    let most = testbed::most_nodes(settings);
    let roster = Roster::new(settings.nodes, most, settings.copies, lease + SETTLING);
    let operator = testbed.operator.clone();
    let mut schedule = Schedule::new(seeded, roster, settings.changes, lease, faults, operator);

    let mut run = thread::scope(|scope| {
        let all = &load;
        let checker = scope.spawn(move || load::check(all, histories));
        let clients = scope.spawn(|| load.run(clients));
        let mut run = disturb(settings.seconds, &mut testbed, &mut schedule, &load);
        load.stop();
        if clients.join().is_err() {
            run.trouble.get_or_insert_with(|| "a client's thread panicked".into());
        }
        // The load has ended; the checker ends with the last history.
        load.disconnect();
        run.checked = checker.join().unwrap_or_default();
        run
    });
    if run.checked.violations.is_empty() && run.trouble.is_none() {
        run.trouble = read_everything(&testbed.service, &load, &mut run.checked);
    }
    drop(testbed);
    if let Some(unexpected) = load.unexpected() {
        let trouble = || format!("an error that no fault explains: {unexpected}");
        run.trouble.get_or_insert_with(trouble);
    }
    if let Some(path) = &settings.history {
        save(path, &run.checked.histories, &schedule)?;
    }
    writeln!(print, "seed {}", settings.seed)?;
    run.print_summary(&schedule, &load, print)?;
    if run.is_bad() {
        fs::write(scratch.path().join("schedule.txt"), schedule.to_string())?;
        scratch.keep();
        let path = scratch.path().display();
        writeln!(print, "the processes' logs and the schedule are in {path}")?;
    }
    run.outcome()
}

/// The result of a run. Times are on the histories' clock.
struct Run {
    checked: CheckResult,
    /// An error that no fault explains.
    trouble: Option<String>,
    started: u64,
    faults_end: u64,
    healed: u64,
}

/// Runs the schedule for this many seconds, ends all faults, and waits until the cluster is
/// healthy.
fn disturb(seconds: u64, testbed: &mut ChaosTestbed, schedule: &mut Schedule, load: &Load) -> Run {
    let started = load.now();
    let mut trouble = go_through(seconds, testbed, schedule, load);
    if let Err(error) = schedule.end(&mut testbed.service) {
        trouble.get_or_insert(error.to_string());
    }
    let faults_end = load.now();
    // Clients continue while the cluster heals. After a violation the run does not wait for that.
    if !load.is_stopped() && trouble.is_none() {
        trouble = testbed.recover(|service| count(schedule, service)).err();
    }
    let healed = load.now();
    Run { checked: CheckResult::default(), trouble, started, faults_end, healed }
}

/// Runs the schedule; returns an error that no fault explains, if there was one.
fn go_through(
    seconds: u64,
    testbed: &mut ChaosTestbed,
    schedule: &mut Schedule,
    load: &Load,
) -> Option<String> {
    let progress = RunProgress::new("chaos", seconds);
    let (started, until) = (load.now(), Instant::now() + Duration::from_secs(seconds));
    let mut trouble = None;
    let mut shown = 0;
    while Instant::now() < until && !load.is_stopped() && trouble.is_none() {
        thread::sleep(STEP);
        if testbed.interrupt.has_come() {
            trouble = Some("interrupted".into());
        }
        let ChaosTestbed { service, watcher, .. } = &mut *testbed;
        if let Err(error) = schedule.step(service, watcher, || load.now()) {
            trouble = Some(error.to_string());
        }
        let second = (load.now() - started) / 1_000_000_000;
        progress.advance(second.saturating_sub(shown));
        shown = second.max(shown);
    }
    progress.finish();
    trouble
}

impl Run {
    fn print_summary(
        &self,
        schedule: &Schedule,
        load: &Load,
        print: &mut impl Write,
    ) -> io::Result<()> {
        let CheckResult { histories, violations } = &self.checked;
        let report = ChaosReport {
            histories,
            past: &schedule.past,
            errors: &load.errors(),
            faults_end: self.faults_end,
            healed: self.healed,
            started: self.started,
        };
        write!(print, "{report}")?;
        for (violation, after) in violations {
            writeln!(print, "{violation}  caught after {:.1} s", after.as_secs_f64())?;
        }
        writeln!(print, "violations: {} in {} keys", violations.len(), histories.len())?;
        if Check::complete().is_none() {
            writeln!(print, "{INCOMPLETE}")?;
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.trouble.is_some() || !self.checked.violations.is_empty()
    }

    fn outcome(self) -> Result<(), ChaosError> {
        let CheckResult { histories, violations } = self.checked;
        match (violations.len(), self.trouble) {
            (0, None) => Ok(()),
            (0, Some(trouble)) => Err(ChaosError::Unexpected(trouble)),
            (broken, _) => Err(ChaosError::Violations(broken, histories.len())),
        }
    }
}

/// Checks a saved history.
///
/// # Errors
/// [`ChaosError::Undecided`] if this build has no complete check; otherwise one violation is
/// enough.
pub fn check_file(path: &Path, print: &mut impl Write) -> Result<(), ChaosError> {
    let check = Check::complete().ok_or(ChaosError::Undecided)?;
    let wrong = |source| ChaosError::History { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| wrong(error.into()))?;
    let histories = history::read(BufReader::new(file)).map_err(wrong)?;
    let violations = check.all(&histories);
    for violation in &violations {
        writeln!(print, "{violation}")?;
    }
    let operations: usize = histories.values().map(Vec::len).sum();
    let (keys, broken) = (histories.len(), violations.len());
    writeln!(print, "{operations} operations on {keys} keys, violations: {broken}")?;
    match broken {
        0 => Ok(()),
        broken => Err(ChaosError::Violations(broken, keys)),
    }
}

fn save(path: &Path, histories: &Histories, schedule: &Schedule) -> Result<(), ChaosError> {
    let wrong = |error: io::Error| ChaosError::History { path: path.into(), source: error.into() };
    let mut out = BufWriter::new(File::create(path).map_err(wrong)?);
    history::write(&mut out, histories).map_err(wrong)?;
    for past in &schedule.past {
        let what = if past.nature == EventKind::Change { "change" } else { "fault" };
        writeln!(out, "# {} {what}: {}, for {:?}", past.from, past.what, past.lasts)
            .map_err(wrong)?;
    }
    out.flush().map_err(wrong)
}

/// The number of running nodes, after removing those that have left.
fn count(schedule: &mut Schedule, service: &mut Service) -> Result<usize, String> {
    schedule.count_ended(service).map_err(|error| error.to_string())?;
    Ok(service.running())
}

/// Reads every key once more and checks its history with that read, which finds lost acknowledged
/// writes.
fn read_everything(service: &Service, load: &Load, checked: &mut CheckResult) -> Option<String> {
    let reader = match GTStoreClient::init(Config::new(service.manager_of_clients())) {
        Ok(reader) => reader,
        Err(error) => return Some(format!("at the end: {error}")),
    };
    for (key, history) in &mut checked.histories {
        let record = load.operate(&reader, LAST_READER, key, Kind::Get(None));
        if record.outcome != Outcome::Ok {
            return Some(format!("at the end, with all well, {key} cannot be read"));
        }
        history.push(record);
        if let Err(violation) = Check::best().key(history) {
            checked.violations.push((violation, load.elapsed()));
        }
    }
    None
}
