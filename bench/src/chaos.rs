//! Faults in a cluster of real processes, and a check of every answer.
//!
//! `bench chaos` starts a manager and nodes of its own ([`service`]), each behind a forwarder in which
//! single links can be cut ([`proxy`](harness::proxy)), lets many clients work on few keys ([`load`]), kills, stops and
//! cuts ([`fault`]) by a schedule that follows from the seed ([`schedule`]), has nodes join and leave and
//! weights and K changed in between, within what the promise allows ([`roster`]), and holds the history of every key
//! ([`history`](harness::history)) against what a linearizable store may answer ([`linearizable`](harness::linearizable)). In the end everything is
//! mended, every key is read once more, and the history with that read is checked again, so that an
//! acknowledged write that was lost is found.
//!
//! The seed repeats what is drawn, not the run: real processes take their own time, and a fault that the
//! state of the cluster forbids at its moment is drawn anew.

pub mod draw;
pub mod fault;
pub mod load;
pub mod report;
pub mod roster;
pub mod schedule;
pub mod service;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient};
use harness::health;
use harness::history::{Histories, HistoryError, Kind, Outcome};
use harness::interrupt::Interrupt;
use harness::linearizable::Check;
use harness::operator::{self, Operator, OperatorError};
use harness::process::{self, ChildError};
use harness::proxy::Cuts;
use harness::scratch::Scratch;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::progress::Progress;
use fault::Wanted;
use load::{Checked, Load};
use report::Report;
use roster::Crew;
use schedule::Schedule;
use service::{Plan, Service};

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long faults come.
    pub seconds: u64,
    /// What they follow from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// Between heartbeats; a lease is three of them.
    pub heartbeat_ms: u64,
    /// Which planned changes there are among the faults.
    pub changes: Wanted,
    /// Where the history goes, if anywhere.
    pub history: Option<PathBuf>,
    /// Where the programs are, if not where this one is.
    pub bin: Option<PathBuf>,
    /// Where the data and logs of the processes go, if they are to be kept.
    pub out: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seconds: 60,
            seed: 1,
            nodes: 5,
            copies: 3,
            heartbeat_ms: 200,
            changes: Wanted::ALL,
            history: None,
            bin: None,
            out: None,
        }
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The promise was broken.
    #[error("{0} of {1} keys are not linearizable")]
    Violations(usize, usize),
    /// Something went wrong that no fault explains.
    #[error("{0}")]
    Unexpected(String),
    /// The processes.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The client command.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A client cannot even begin.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// This build cannot decide whether a history is linearizable.
    #[error("this build of bench cannot check a history: build it with --features porcupine")]
    Undecided,
    /// A history.
    #[error("{}: {source}", path.display())]
    History {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: HistoryError,
    },
    /// Standard output, or the system.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// How long a client tries an operation. Longer than most faults, so that few outcomes are unknown.
const DEADLINE: Duration = Duration::from_secs(6);

/// How long it waits for one node.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long the operator's command tries. Shorter than some faults, so that it gives up now and then.
const ORDER: Duration = Duration::from_secs(2);

/// How long the cluster may take to come up, and to be healthy again in the end.
const RECOVERY: Duration = Duration::from_secs(30);

/// Nodes that may join beside those that run from the beginning.
const SPARES: usize = 3;

/// How often the schedule is looked at.
const STEP: Duration = Duration::from_millis(10);

/// What a build says that has no check that decides.
const INCOMPLETE: &str = "checked in O(n log n), by the times of unique values, which does not \
    find everything; built with --features porcupine bench decides";

/// The number of the client that reads everything in the end.
const LAST_READER: u32 = 999;

/// Runs the faults and reports.
///
/// # Errors
/// [`ChaosError`]; one violation is enough.
pub fn run(settings: &Settings, print: &mut impl Write) -> Result<(), ChaosError> {
    let mut scratch = match &settings.out {
        Some(out) => Scratch::at(out.join(format!("chaos-{}", settings.seed)))?,
        None => Scratch::temporary("chaos"),
    };
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let cuts = Arc::new(Cuts::default());
    let bin = match &settings.bin {
        Some(bin) => bin.clone(),
        None => process::own_folder()?,
    };
    operator::check(&bin, &settings.changes.verbs())?;
    let plan = Plan {
        bin,
        folder: scratch.path().to_owned(),
        nodes: settings.nodes,
        spares: if settings.changes.join { SPARES } else { 0 },
        copies: settings.copies,
        heartbeat_ms: settings.heartbeat_ms,
    };
    let interrupt = Interrupt::watch("chaos")?;

    // Not from the seeded generator: a port that is taken must not change the schedule.
    let mut ports = StdRng::seed_from_u64(u64::from(std::process::id()) << 20 ^ settings.seed);
    let mut service = Service::start(&plan, cuts.clone(), || ports.random())?;
    let operator = Operator::new(&plan.bin, service.manager(), ORDER);
    let watcher = wait_until_up(&service, settings, &interrupt)?;

    let mut config = Config::new(service.manager_of_clients());
    config.deadline = DEADLINE;
    config.patience = PATIENCE;
    let (finished, histories) = mpsc::channel();
    let load = Load::new(config, rng.random(), finished);
    let lease = Duration::from_millis(3 * settings.heartbeat_ms);
    let seeded = StdRng::seed_from_u64(rng.random());
    let connected = load.connect()?;
    let settling = lease + Duration::from_millis(500);
    let crew = Crew::new(settings.nodes, plan.nodes + plan.spares, settings.copies, settling);
    let mut schedule = Schedule::new(seeded, crew, settings.changes, lease, &cuts, operator);
    let started = load.now();

    let (mut checked, mut trouble, faults_end, healed) = thread::scope(|scope| {
        let all = &load;
        let checker = scope.spawn(move || load::check(all, histories));
        let clients = scope.spawn(|| load.run(connected));
        let progress = Progress::new("chaos", settings.seconds);
        let mut trouble = None;
        let until = Instant::now() + Duration::from_secs(settings.seconds);
        let mut shown = 0;
        while Instant::now() < until && !load.is_stopped() && trouble.is_none() {
            thread::sleep(STEP);
            if interrupt.has_come() {
                trouble = Some("interrupted".into());
            }
            if let Err(error) = schedule.step(&mut service, &watcher, || load.now()) {
                trouble = Some(error.to_string());
            }
            let second = (load.now() - started) / 1_000_000_000;
            progress.advance(second.saturating_sub(shown));
            shown = second.max(shown);
        }
        progress.finish();
        if let Err(error) = schedule.end(&mut service) {
            trouble.get_or_insert(error.to_string());
        }
        let faults_end = load.now();
        // Clients go on while it heals. After a violation, nobody waits for that.
        let mut unhealed = None;
        if !load.is_stopped() && trouble.is_none() {
            let nodes = || count(&mut schedule, &mut service);
            unhealed = health::wait(&watcher, &interrupt, RECOVERY, nodes).err();
        }
        let healed = load.now();
        load.stop();
        if clients.join().is_err() {
            trouble.get_or_insert_with(|| "a client's thread panicked".into());
        }
        // The load has sent its last; the checker ends when there is nothing more to come.
        load.hang_up();
        let checked = checker.join().unwrap_or_default();
        (checked, trouble.or(unhealed), faults_end, healed)
    });
    if checked.violations.is_empty() && trouble.is_none() {
        trouble = read_everything(&service, &load, &mut checked);
    }
    drop(service);
    let errors = load.errors();
    if let Some(unexpected) = errors.keys().find(|kind| kind.contains(load::UNEXPECTED)) {
        trouble.get_or_insert_with(|| format!("an error that no fault explains: {unexpected}"));
    }

    if let Some(path) = &settings.history {
        save(path, &checked.histories, &schedule)?;
    }
    writeln!(print, "seed {}", settings.seed)?;
    let report = Report {
        histories: &checked.histories,
        past: &schedule.past,
        errors: &errors,
        faults_end,
        healed,
        started,
    };
    write!(print, "{report}")?;
    let broken = checked.violations.len();
    for (violation, after) in &checked.violations {
        writeln!(print, "{violation}  caught after {:.1} s", after.as_secs_f64())?;
    }
    writeln!(print, "violations: {broken} in {} keys", checked.histories.len())?;
    if Check::complete().is_none() {
        writeln!(print, "{INCOMPLETE}")?;
    }
    if broken > 0 || trouble.is_some() {
        std::fs::write(scratch.path().join("schedule.txt"), schedule.to_string())?;
        scratch.keep();
        let path = scratch.path().display();
        writeln!(print, "the processes' logs and the schedule are in {path}")?;
    }
    match (broken, trouble) {
        (0, None) => Ok(()),
        (0, Some(trouble)) => Err(ChaosError::Unexpected(trouble)),
        (broken, _) => Err(ChaosError::Violations(broken, checked.histories.len())),
    }
}

/// Checks a saved history.
///
/// # Errors
/// [`ChaosError::Undecided`] where this build has no check that decides. One violation is enough.
pub fn check_file(path: &Path, print: &mut impl Write) -> Result<(), ChaosError> {
    let check = Check::complete().ok_or(ChaosError::Undecided)?;
    let wrong = |source| ChaosError::History { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| wrong(error.into()))?;
    let histories = harness::history::read(BufReader::new(file)).map_err(wrong)?;
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

fn save(path: &Path, histories: &Histories, schedule: &Schedule<'_>) -> Result<(), ChaosError> {
    let wrong = |error: io::Error| ChaosError::History { path: path.into(), source: error.into() };
    let mut out = BufWriter::new(File::create(path).map_err(wrong)?);
    harness::history::write(&mut out, histories).map_err(wrong)?;
    for past in &schedule.past {
        let what = if past.is_planned { "change" } else { "fault" };
        writeln!(out, "# {} {what}: {}, for {:?}", past.from, past.what, past.lasts)
            .map_err(wrong)?;
    }
    out.flush().map_err(wrong)
}

fn wait_until_up(
    service: &Service,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<GTStoreClient, ChaosError> {
    let mut config = Config::new(service.manager());
    config.patience = Duration::from_millis(300);
    let watcher = health::connect(&config, RECOVERY)?;
    let nodes = || Ok(settings.nodes);
    health::wait(&watcher, interrupt, RECOVERY, nodes).map_err(ChaosError::Unexpected)?;
    Ok(watcher)
}

/// The nodes that run, once those that have left are counted out.
fn count(schedule: &mut Schedule<'_>, service: &mut Service) -> Result<usize, String> {
    schedule.bury(service).map_err(|error| error.to_string())?;
    Ok(service.running())
}

/// Reads every key once more, and checks its history with that read: what was acknowledged is there.
fn read_everything(service: &Service, load: &Load, checked: &mut Checked) -> Option<String> {
    let reader = match GTStoreClient::init(Config::new(service.manager_of_clients())) {
        Ok(reader) => reader,
        Err(error) => return Some(format!("at the end: {error}")),
    };
    for (key, history) in &mut checked.histories {
        let record = load.operate(&reader, LAST_READER, key.clone(), Kind::Get(None));
        if record.outcome != Outcome::Ok {
            return Some(format!("at the end, with all well, {key} cannot be read"));
        }
        history.push(record);
        if let Err(violation) = Check::best().key(history) {
            checked.violations.push((violation, Duration::from_nanos(load.now())));
        }
    }
    None
}
