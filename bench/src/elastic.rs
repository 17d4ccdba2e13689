//! A cluster that loses, gains and hands over nodes while it is under full load.
//!
//! `bench elastic` starts a manager and nodes of its own ([`service`](harness::service)), fills
//! them, and drives reads and writes over all keys without a pause ([`load`]), every answer
//! checked. Meanwhile it goes through a [`plan`] ([`testbed`]): nodes are killed, started, asked to
//! leave, given other weights; after each step it waits until the cluster says that it is healthy.
//! What that did to the clients is measured by the clients ([`meter`]), what had to move is worked
//! out from the views ([`movement`], [`watch`]), and both are told ([`report`]). In the end every
//! key is read back.
//!
//! It fails if any answer was wrong or missing, if any operation failed, if a step does not heal,
//! or if the nodes hold more or fewer copies in the end than they should. Waits over the promised
//! ones are told, and fail nothing: a machine that is busy with something else makes them long.

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

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct ElasticSettings {
    /// Keys that are read and written.
    pub keys: u32,
    /// Bytes of a key; it is longer if the number of keys takes more.
    pub key_len: usize,
    /// Bytes of a value.
    pub value_len: usize,
    /// How hard the cluster is driven.
    pub drive: Drive,
    /// What whom it hits follows from.
    pub seed: u64,
    /// Nodes at first.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// What happens.
    pub plan: ElasticPlan,
    /// Where the programs are, if not where this one is.
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
    /// Answers.
    #[error("{wrong} wrong answers and {failed} failed operations, the first: {first}")]
    Answers {
        /// That no correct store gives.
        wrong: u64,
        /// That should have succeeded.
        failed: u64,
        /// One of them.
        first: String,
    },
    /// A step that did not do what it should.
    #[error("{0}")]
    Step(String),
    /// The nodes hold more or less than they should.
    #[error(
        "WRONG COUNT: the nodes hold {} copies, yet {} are due",
        thousands(*.held),
        thousands(*.due)
    )]
    Count {
        /// What they hold.
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
    /// A client cannot even begin.
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

/// Goes through the plan and reports; results go into the folder `out`.
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
    // The processes end with the testbed, before their logs may go.
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

/// Who sends it: all threads of the load share one client, each kind of single operation has one.
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

/// What is sent.
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

    /// Gives every key a first value.
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

    /// Sends without a pause while something happens.
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
