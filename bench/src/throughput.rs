//! Operations a second of the running cluster, with one request at a time and
//! saturated, each beside the [`floor`] of that very moment.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::floor::{self, Floor};
use crate::report::{Mode, Throughput};
use crate::runner::{self, Drive, RunError};
use crate::series::Row;
use crate::target::StoreTarget;
use crate::workload::{Workload, WorkloadError};

/// The warm-up is this fraction of the operations, unless a flag sets it.
pub const WARM_UP_PART: u64 = 10;

/// Half of the operations are reads.
const READ_FRACTION: f64 = 0.5;

/// How long the floor is measured before, between and after the measurements.
const FLOOR_TIME: Duration = Duration::from_secs(1);

/// Settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ThroughputSettings {
    /// The seed of all random choices.
    pub seed: u64,
    /// Operations of each measurement.
    pub ops: u64,
    /// Operations before the measured ones.
    pub warm_up: u64,
    /// Keys that are read and written.
    pub keys: u32,
    /// Bytes of a value.
    pub value_len: usize,
    /// How the cluster is saturated.
    pub saturated: Drive,
    /// The modes, in this order.
    pub modes: Vec<Mode>,
}

impl Default for ThroughputSettings {
    fn default() -> Self {
        let ops = 200_000;
        Self {
            seed: 1,
            ops,
            warm_up: ops / WARM_UP_PART,
            keys: 10_000,
            value_len: 64,
            saturated: Drive { threads: 4, batch: 512 },
            modes: vec![Mode::Sequential, Mode::Saturated],
        }
    }
}

/// A measurement that failed.
#[derive(Debug, Error)]
pub enum ThroughputError {
    /// Against the cluster.
    #[error("K={copies}, {mode}: {source}")]
    Run {
        /// Copies of each key.
        copies: u8,
        /// The mode.
        mode: Mode,
        /// The cause.
        source: RunError,
    },
    /// Of the floor.
    #[error("cannot measure the floor: {0}")]
    Floor(#[from] io::Error),
}

/// Measures a cluster that keeps `copies` of each key: a row for each mode.
///
/// # Errors
/// [`ThroughputError`]; a single wrong answer is one.
pub fn measure(
    target: &impl StoreTarget,
    copies: u8,
    settings: &ThroughputSettings,
) -> Result<Vec<Row>, ThroughputError> {
    let mut rows = Vec::with_capacity(settings.modes.len());
    let mut before = floor::measure(FLOOR_TIME)?;
    for &mode in &settings.modes {
        let throughput = measure_mode(target, copies, settings, mode)
            .map_err(|source| ThroughputError::Run { copies, mode, source })?;
        let after = floor::measure(FLOOR_TIME)?;
        rows.push(Row { throughput, floor: mean(before, after) });
        before = after;
    }
    Ok(rows)
}

fn mean(before: Floor, after: Floor) -> f64 {
    f64::midpoint(before.per_second(), after.per_second())
}

fn measure_mode(
    target: &impl StoreTarget,
    copies: u8,
    settings: &ThroughputSettings,
    mode: Mode,
) -> Result<Throughput, RunError> {
    let drive = match mode {
        Mode::Sequential => Drive::SEQUENTIAL,
        Mode::Saturated => settings.saturated,
    };
    let measured = runner::run(
        target,
        &workload(settings, mode)?,
        drive,
        settings.warm_up,
        settings.ops,
        &format!("K={copies} {mode}"),
    )?;
    Ok(Throughput {
        replicas: u32::from(copies),
        ops: measured.ops,
        seconds: measured.elapsed.as_secs_f64(),
        mode,
        threads: drive.threads,
        batch: drive.batch,
        p50_us: measured.latency.p50_us(),
        p99_us: measured.latency.p99_us(),
    })
}

/// Keys of its own for each mode, since a key's values are numbered by run.
fn workload(settings: &ThroughputSettings, mode: Mode) -> Result<Workload, WorkloadError> {
    let prefix = match mode {
        Mode::Sequential => "sq_key_",
        Mode::Saturated => "tp_key_",
    };
    Workload::new(settings.seed, settings.keys, READ_FRACTION, settings.value_len)?
        .with_prefix(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fake::{Fake, PlantedFault};

    fn small(modes: Vec<Mode>) -> ThroughputSettings {
        ThroughputSettings {
            ops: 2_000,
            warm_up: 10,
            keys: 100,
            saturated: Drive { threads: 2, batch: 10 },
            modes,
            ..ThroughputSettings::default()
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = ThroughputSettings::default();
        let Drive { threads, batch } = settings.saturated;
        for mode in &settings.modes {
            let workload = workload(&settings, *mode).expect("a good workload");
            workload.stream(0, threads, batch).expect("batches can be filled");
        }
    }

    #[test]
    fn a_row_has_its_mode_and_sizes() {
        let rows = measure(&Fake::new(3, 2, PlantedFault::None), 2, &small(vec![Mode::Saturated]))
            .expect("runs");
        let [Row { throughput, floor }] = &rows[..] else { panic!("one row") };
        assert_eq!((throughput.replicas, throughput.ops), (2, 2_000));
        assert_eq!((throughput.threads, throughput.batch), (2, 10));
        assert!(throughput.seconds > 0.0 && *floor > 0.0);
    }

    #[test]
    fn one_wrong_answer_fails_the_measurement() {
        let error =
            measure(&Fake::new(3, 2, PlantedFault::KeepsFirst), 2, &small(vec![Mode::Sequential]))
                .expect_err("stale");
        assert!(error.to_string().starts_with("K=2, sequential: WRONG ANSWER"), "{error}");
    }
}
