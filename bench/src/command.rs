//! Runs the commands of the bench.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use client::{ClientError, Config, GTStoreClient};
use net_common::flags::{FAILED, REFUSED};
use net_common::output;
use thiserror::Error;

use crate::args::{BenchArgs, BenchCommand};
use crate::chaos::{self, ChaosError};
use crate::chart::{self, ChartError};
use crate::crash::{self, CrashError};
use crate::elastic::{self, ElasticError};
use crate::figures::thousands;
use crate::floor;
use crate::load::{self, LoadError};
use crate::processes::PidFile;
use crate::report::{self, CsvReadError, ReportError};
use crate::scenario::{self, ClusterShape, Scenario, ScenarioError};
use crate::series::Series;
use crate::throughput::{self, ThroughputError};

/// Name of the chart of all throughput rows.
pub const THROUGHPUT_CHART: &str = "perf_throughput.svg";

/// Name of the chart of the keys on each node.
pub const LOAD_CHART: &str = "perf_loadbalance.svg";

/// Why a command failed.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster does not have the size that the scenario needs.
    #[error("this cluster has {found}; the scenario is made for {wanted}")]
    ClusterShape {
        /// The cluster's size.
        found: ClusterShape,
        /// The required size.
        wanted: ClusterShape,
    },
    /// A scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The throughput.
    #[error(transparent)]
    Throughput(#[from] ThroughputError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A result file to write.
    #[error("{}", chain(.0))]
    Report(#[from] ReportError),
    /// A result file to read.
    #[error(transparent)]
    Read(#[from] CsvReadError),
    /// There is nothing to report.
    #[error("no throughput has been measured yet")]
    NoRows,
    /// A chart.
    #[error("{}", chain(.0))]
    Chart(#[from] ChartError),
    /// The floor.
    #[error("cannot measure the floor: {0}")]
    Floor(io::Error),
    /// The elastic run.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// Faults, or a history.
    #[error(transparent)]
    Chaos(#[from] ChaosError),
    /// The crash run.
    #[error(transparent)]
    Crash(#[from] CrashError),
    /// Standard output.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

impl BenchError {
    /// Its exit code.
    pub fn code(&self) -> u8 {
        match self {
            BenchError::Chaos(ChaosError::Undecided) => REFUSED,
            _ => FAILED,
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs one command.
///
/// # Errors
/// [`BenchError`]; a wrong answer of the store is one.
pub fn run(args: &BenchArgs) -> Result<(), BenchError> {
    let BenchArgs { config, out, .. } = args;
    let mut print = output::LenientStdout::lock();
    match &args.command {
        BenchCommand::Throughput { settings, append } => {
            let mut series = if *append { Series::read(out)? } else { Series::default() };
            measure_throughput(config, settings, &mut series, &mut print)?;
            series.write(out)?;
            Ok(())
        }
        BenchCommand::Report => report_throughput(out, &mut print),
        BenchCommand::Load(settings) => measure_load(config, *settings, out, &mut print),
        BenchCommand::Scenario { scenario, seed, pids } => {
            play(config, *scenario, *seed, pids, &mut print)
        }
        BenchCommand::Elastic(settings) => Ok(elastic::run(settings, out, &mut print)?),
        BenchCommand::Chaos(settings) => Ok(chaos::run(settings, &mut print)?),
        BenchCommand::Crash(settings) => Ok(crash::run(settings, out, &mut print)?),
        BenchCommand::Check(history) => Ok(chaos::check_file(history, &mut print)?),
        BenchCommand::Floor(duration) => measure_floor(*duration, &mut print),
    }
}

fn measure_throughput(
    config: &Config,
    settings: &throughput::ThroughputSettings,
    series: &mut Series,
    print: &mut impl Write,
) -> Result<(), BenchError> {
    let store = GTStoreClient::init(config.clone())?;
    let copies = store.status()?.copies;
    let rows = throughput::measure(&store, copies, settings)?;
    store.finalize();
    for row in &rows {
        let report::Throughput { mode, threads, batch, p50_us, p99_us, .. } = row.throughput;
        writeln!(
            print,
            "K={copies} {mode}: {} operations/s, {:.2} x the floor of {}/s \
             ({threads} threads, batches of {batch}, p50 {p50_us:.1} us, p99 {p99_us:.1} us)",
            thousands(row.throughput.ops_per_sec().round() as u64),
            row.ratio(),
            thousands(row.floor.round() as u64),
        )?;
    }
    series.add(rows);
    Ok(())
}

fn report_throughput(out: &Path, print: &mut impl Write) -> Result<(), BenchError> {
    let series = Series::read(out)?;
    if series.rows().is_empty() {
        return Err(BenchError::NoRows);
    }
    let chart = series.chart();
    let drawn = out.join(THROUGHPUT_CHART);
    chart.write_svg(&drawn)?;
    writeln!(print, "{}\n{}", series.table(), chart.text())?;
    writeln!(print, "{} and {}", out.join(report::THROUGHPUT_FILE).display(), drawn.display())?;
    Ok(())
}

fn measure_load(
    config: &Config,
    settings: load::LoadSettings,
    out: &Path,
    print: &mut impl Write,
) -> Result<(), BenchError> {
    let store = GTStoreClient::init(config.clone())?;
    let copies = store.status()?.copies;
    load::check_empty(&load::counts(&store.node_infos()?))?;
    load::insert(&store, settings)?;
    let loads = load::counts(&store.node_infos()?);
    store.finalize();
    let table = report::write_load(out, &loads)?;
    let chart = chart::load(&loads);
    let drawn = out.join(LOAD_CHART);
    chart.write_svg(&drawn)?;
    writeln!(print, "{}", chart.text())?;
    writeln!(print, "{} and {}", table.display(), drawn.display())?;
    Ok(load::check(&loads, settings.inserts, copies)?)
}

fn play(
    config: &Config,
    scenario: Scenario,
    seed: u64,
    pids: &Path,
    print: &mut impl Write,
) -> Result<(), BenchError> {
    let store = GTStoreClient::init(config.clone())?;
    let status = store.status()?;
    store.finalize();
    let found = ClusterShape {
        nodes: client::status::serving(&status).len(),
        copies: usize::from(status.copies),
    };
    let wanted = scenario.shape();
    if found != wanted {
        return Err(BenchError::ClusterShape { found, wanted });
    }
    let connect = || GTStoreClient::init(config.clone());
    Ok(scenario::play(scenario, connect, &PidFile::new(pids), seed, print)?)
}

fn measure_floor(duration: Duration, print: &mut impl Write) -> Result<(), BenchError> {
    let floor = floor::measure(duration).map_err(BenchError::Floor)?;
    let per_second = thousands(floor.per_second().round() as u64);
    writeln!(print, "{per_second} bare round trips/s of one blocking client")?;
    Ok(())
}
