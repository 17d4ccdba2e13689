//! A cluster that loses, gains and replaces nodes under full load.
//!
//! `bench elastic` starts its own manager and nodes ([`service`](harness::service)), fills them,
//! and reads and writes all keys without a pause ([`load`]); every answer is checked. Meanwhile it
//! runs the steps of a [`plan`] ([`testbed`]): nodes are killed, started, asked to leave or given
//! other weights. After each step it waits until the cluster is healthy. The clients measure the
//! effect on them ([`meter`]); the data that had to move is computed from the views ([`movement`],
//! [`watch`]). [`report`] prints both. At the end every key is read back.
//!
//! It fails if any answer was wrong or missing, if an operation failed, if the cluster does not
//! become healthy after a step, or if the nodes hold too many or too few copies at the end. Waits
//! above the target are reported but are no failure, since other work of the machine makes them
//! long.

pub mod load;
pub mod meter;
pub mod movement;
pub mod plan;
pub mod report;
pub mod testbed;

pub mod watch;

use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use client::{ClientError, Config, GTStoreClient};
use harness::operator::{self, OperatorError};
use harness::process::{self, SpawnError};
use harness::scratch::Scratch;

use crate::chart::ChartError;
use crate::figures::thousands;
use crate::machine::WorkSample;
use crate::progress::RunProgress;
use crate::report::ReportError;
use crate::runner::Drive;
use crate::throughput;
use crate::workload::{Stream, Workload, WorkloadError};
use load::{ElasticFindings, ElasticWorker, LoadKeys};
use meter::{LatencySource, Meter};
use plan::ElasticPlan;
use report::ElasticReport;
use testbed::ElasticTestbed;

/// Settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ElasticSettings {
    /// Keys that are read and written.
    pub keys: u32,
    /// Bytes of a key; it is longer if the number of keys needs more.
    pub key_len: usize,
    /// Bytes of a value.
    pub value_len: usize,
    /// How hard the cluster is driven.
    pub drive: Drive,
    /// The seed of the choice of nodes.
    pub seed: u64,
    /// Number of nodes at the start.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// The steps.
    pub plan: ElasticPlan,
    /// The folder with the programs, if it is not that of this one.
    pub bin: Option<PathBuf>,
}

impl Default for ElasticSettings {
    fn default() -> ElasticSettings {
        ElasticSettings {
            keys: 1_000_000,
            key_len: 16,
            value_len: 100,
            drive: throughput::ThroughputSettings::default().saturated,
            seed: 1,
            nodes: 7,
            copies: 3,
            plan: ElasticPlan::default(),
            bin: None,
        }
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ElasticError {
    /// Wrong answers or failed operations.
    #[error("{wrong} wrong answers and {failed} failed operations, the first: {first}")]
    Answers {
        /// Answers that no correct store gives.
        wrong: u64,
        /// Operations that should have succeeded.
        failed: u64,
        /// The first of them.
        first: String,
    },
    /// A step that failed.
    #[error("{0}")]
    Step(String),
    /// The nodes hold too many or too few copies.
    #[error(
        "WRONG COUNT: the nodes hold {} copies, yet {} are due",
        thousands(*.held),
        thousands(*.due)
    )]
    Count {
        /// The number of copies that they hold.
        held: u64,
        /// Keys times copies.
        due: u64,
    },
    /// The workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The processes.
    #[error(transparent)]
    Child(#[from] SpawnError),
    /// The client command.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A client cannot connect.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A result file.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The chart.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// Standard output, or the system.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// Half of the operations are reads.
const READ_FRACTION: f64 = 0.5;

/// Keys of the single operations: four for each arc.
const PROBE_KEYS: u32 = 16_384;

/// Runs the plan and reports; results go into the folder `out`.
///
/// # Errors
/// [`ElasticError`]; one wrong answer is enough.
pub fn run(
    settings: &ElasticSettings,
    out: &Path,
    print: &mut impl Write,
) -> Result<(), ElasticError> {
    let bin = process::programs(settings.bin.as_deref())?;
    let work = Work::new(settings)?;
    operator::check(&bin, &settings.plan.verbs())?;
    let before = WorkSample::now();
    let mut scratch = Scratch::temporary("elastic");
    // The testbed stops the processes before their logs are removed.
    let outcome = ElasticTestbed::new(settings, &bin, scratch.path())
        .and_then(|mut testbed| stretch(settings, &work, &mut testbed, out, print));
    if let (Some(before), Some(after)) = (before, WorkSample::now()) {
        let others = after.others_since(&before);
        writeln!(print, "other programs kept {others:.1} cores busy meanwhile")?;
    }
    if outcome.is_err() {
        scratch.keep();
        writeln!(print, "the processes' logs are in {}", scratch.path().display())?;
    }
    outcome
}

/// The two sets of keys: those of the load, and those of the single operations beside it.
struct Work {
    keys: LoadKeys,
    probes: LoadKeys,
}

impl Work {
    fn new(settings: &ElasticSettings) -> Result<Work, WorkloadError> {
        let of = |keys, prefix: &str, workers| {
            let workload = Workload::new(settings.seed, keys, READ_FRACTION, settings.value_len)?;
            let workload = workload.with_prefix(prefix)?.with_key_len(settings.key_len)?;
            Ok(LoadKeys::new(workload, workers))
        };
        let keys = of(settings.keys, "el_key_", settings.drive.threads)?;
        Ok(Work { keys, probes: of(PROBE_KEYS, "probe_", 1)? })
    }
}

/// The clients: all threads of the load share one, each kind of single operation has its own.
struct ElasticClients {
    store: GTStoreClient,
    writer: GTStoreClient,
    reader: GTStoreClient,
}

impl ElasticClients {
    fn connect(config: &Config) -> Result<ElasticClients, ClientError> {
        let connect = || GTStoreClient::init(config.clone());
        Ok(ElasticClients { store: connect()?, writer: connect()?, reader: connect()? })
    }
}

/// The streams of operations.
struct Streams {
    load: Vec<Stream>,
    puts: Stream,
    gets: Stream,
}

impl Streams {
    fn new(drive: Drive, work: &Work) -> Result<Streams, WorkloadError> {
        let Drive { threads, batch } = drive;
        let load = (0..threads).map(|worker| work.keys.workload().stream(worker, threads, batch));
        let single = |reads| -> Result<Stream, WorkloadError> {
            work.probes.workload().clone().with_read_fraction(reads)?.stream(0, 1, 1)
        };
        Ok(Streams {
            load: load.collect::<Result<_, _>>()?,
            puts: single(0.0)?,
            gets: single(1.0)?,
        })
    }

    /// Stores a first value for every key.
    fn fill(&mut self, work: &Work, clients: &ElasticClients, findings: &ElasticFindings) {
        let all = work.keys.names().count() + work.probes.names().count();
        let progress = RunProgress::new("fill", all as u64);
        thread::scope(|scope| {
            for stream in &mut self.load {
                let (exchange, progress) = (work.keys.exchange(&clients.store), &progress);
                scope.spawn(move || load::fill(&exchange, stream, findings, progress));
            }
            let exchange = work.probes.exchange(&clients.writer);
            load::fill(&exchange, &mut self.puts, findings, &progress);
        });
        progress.finish();
    }

    /// Sends operations without a pause during the steps.
    fn drive<R>(
        self,
        work: &Work,
        clients: &ElasticClients,
        meter: &Meter,
        findings: &ElasticFindings,
        happen: impl FnOnce() -> R,
    ) -> R {
        let worker =
            |exchange, stream, source| ElasticWorker { exchange, stream, source, meter, findings };
        thread::scope(|scope| {
            let exchange = |target| work.probes.exchange(target);
            let mut put = worker(exchange(&clients.writer), self.puts, LatencySource::Writes);
            let mut get = worker(exchange(&clients.reader), self.gets, LatencySource::Reads);
            scope.spawn(move || put.probe("single put"));
            scope.spawn(move || get.probe("single get"));
            for stream in self.load {
                let mut all =
                    worker(work.keys.exchange(&clients.store), stream, LatencySource::Load);
                scope.spawn(move || all.drive());
            }
            let result = happen();
            findings.stop();
            result
        })
    }
}

/// The conditions, in a line.
fn conditions(settings: &ElasticSettings) -> String {
    let Drive { threads, batch } = settings.drive;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    format!(
        "{} nodes, K={}, {} keys of {} bytes with {}-byte values, half reads, {threads} threads with \
         batches of {batch}, seed {}, {cores} cores for all",
        settings.nodes,
        settings.copies,
        thousands(u64::from(settings.keys)),
        settings.key_len,
        settings.value_len,
        settings.seed,
    )
}

fn stretch(
    settings: &ElasticSettings,
    work: &Work,
    testbed: &mut ElasticTestbed,
    out: &Path,
    print: &mut impl Write,
) -> Result<(), ElasticError> {
    let conditions = conditions(settings);
    writeln!(print, "{conditions}")?;
    let clients = ElasticClients::connect(&Config::new(testbed.service.manager()))?;
    let findings = ElasticFindings::default();
    let mut streams = Streams::new(settings.drive, work)?;
    streams.fill(work, &clients, &findings);
    testbed.watch.begin(work.keys.names().chain(work.probes.names()));

    let meter = Arc::new(Meter::start());
    testbed.meter = meter.clone();
    let mut events = Vec::new();
    let (ended, end) = streams.drive(work, &clients, &meter, &findings, || {
        let ended = testbed.run_steps(&settings.plan, &findings, &mut events, print);
        (ended, meter.now())
    });
    let tracks = meter.tracks();
    let threads = settings.drive.threads as usize;
    let read = [(&work.keys, &clients.store), (&work.probes, &clients.writer)];
    let read = read
        .map(|(keys, store)| load::read_back(keys, store, threads, &findings, meter.now()))
        .iter()
        .sum();
    let health = testbed.watch.health().to_vec();
    ElasticReport { conditions, events, tracks, health, end }.publish(out, print)?;
    let operations = meter.tracks().total();
    writeln!(
        print,
        "{} operations in {:.1} s, {} keys read back: {} wrong or missing, {} failed",
        thousands(operations),
        end.as_secs_f64(),
        thousands(read),
        findings.wrong(),
        findings.failed(),
    )?;
    for details in findings.details() {
        writeln!(print, "  {details}")?;
    }
    let (wrong, failed) = (findings.wrong(), findings.failed());
    if wrong + failed > 0 {
        let first = findings.details().into_iter().next().unwrap_or_default();
        return Err(ElasticError::Answers { wrong, failed, first });
    }
    ended?;
    testbed.count(read * settings.copies as u64, print)
}
