//! Runs a [`Workload`] against a store and times it: fill, warm up, measure.
//!
//! Each worker thread has its own stream of operations and sends one batch at a time, which the
//! [`Expectation`] relies on. The phases are separate: all workers have filled their keys before
//! the first one reads, and have warmed up before the clock starts. Every answer of every phase is
//! checked, and the first wrong one ends the run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::exchange::{AnswerError, Exchange};
use crate::latency::Latency;
use crate::progress::RunProgress;
use crate::target::StoreTarget;
use crate::workload::{Expectation, Stream, Workload, WorkloadError, WorkloadOp};

/// How hard the store is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    /// Threads that each have one request under way.
    pub threads: u32,
    /// Operations in one request.
    pub batch: u32,
}

impl Drive {
    /// One thread, one operation at a time.
    pub const SEQUENTIAL: Drive = Drive { threads: 1, batch: 1 };
}

/// The measurements of a run.
#[derive(Debug)]
pub struct Measured {
    /// Operations that were measured.
    pub ops: u64,
    /// From before the first was sent until the last was answered.
    pub elapsed: Duration,
    /// How long each request (batch) took.
    pub latency: Latency,
}

/// A run that failed.
#[derive(Debug, Error)]
pub enum RunError {
    /// The workload is invalid.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A wrong answer or a failed operation.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A client thread cannot be started.
    #[error("cannot start {threads} client threads: {source}")]
    Threads {
        /// The requested number.
        threads: u32,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Runs `ops` operations of `workload` after `warm_up` others that do not count. The store may hold
/// anything before, as long as no other client writes the keys.
///
/// # Errors
/// [`RunError`] with the first wrong answer or failed operation.
pub fn run(
    target: &impl StoreTarget,
    workload: &Workload,
    drive: Drive,
    warm_up: u64,
    ops: u64,
    label: &str,
) -> Result<Measured, RunError> {
    let expectation = Expectation::new(workload, drive.threads);
    let keys: Vec<String> = (0..workload.keys()).map(|index| workload.key(index)).collect();
    let mut workers = (0..drive.threads)
        .map(|worker| {
            Ok(RunWorker {
                exchange: Exchange { target, expectation: &expectation, keys: &keys },
                batch: drive.batch as usize,
                stream: workload.stream(worker, drive.threads, drive.batch)?,
                latency: Latency::new(),
            })
        })
        .collect::<Result<Vec<_>, WorkloadError>>()?;
    phase(&mut workers, RunWorker::fill)?;
    let quota = Quota::new(warm_up);
    phase(&mut workers, |worker, stop| worker.work(&quota, stop, None))?;
    for worker in &mut workers {
        worker.latency = Latency::new();
    }
    let progress = RunProgress::new(label, ops);
    let quota = Quota::new(ops);
    let start = Instant::now();
    phase(&mut workers, |worker, stop| worker.work(&quota, stop, Some(&progress)))?;
    let elapsed = start.elapsed();
    progress.finish();
    let mut latency = Latency::new();
    for worker in &workers {
        latency.merge(&worker.latency);
    }
    Ok(Measured { ops, elapsed, latency })
}

/// Runs a phase in all workers at once and waits for them. If one fails, the shared flag is set,
/// and the others stop too.
fn phase<W: Send>(
    workers: &mut [W],
    work: impl Fn(&mut W, &AtomicBool) -> Result<(), RunError> + Sync,
) -> Result<(), RunError> {
    let stop = AtomicBool::new(false);
    let threads = workers.len() as u32;
    thread::scope(|scope| {
        let (stop, work) = (&stop, &work);
        let mut first = Ok(());
        let mut started = Vec::with_capacity(workers.len());
        for worker in workers {
            let run =
                move || work(worker, stop).inspect_err(|_| stop.store(true, Ordering::Relaxed));
            match thread::Builder::new().name("bench-worker".to_owned()).spawn_scoped(scope, run) {
                Ok(thread) => started.push(thread),
                Err(source) => {
                    stop.store(true, Ordering::Relaxed);
                    first = Err(RunError::Threads { threads, source });
                    break;
                }
            }
        }
        for thread in started {
            first = first.and(thread.join().expect("a worker does not panic"));
        }
        first
    })
}

/// Remaining operations, shared by the workers so that all are busy until the end.
struct Quota(AtomicU64);

impl Quota {
    fn new(ops: u64) -> Self {
        Self(AtomicU64::new(ops))
    }

    /// Takes up to `most` operations; 0 if none are left.
    fn take(&self, most: u64) -> u64 {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left > 0).then(|| left.saturating_sub(most))
        });
        left.map_or(0, |left| left.min(most))
    }
}

/// One client thread.
struct RunWorker<'a, T> {
    exchange: Exchange<'a, T>,
    batch: usize,
    stream: Stream,
    latency: Latency,
}

impl<T: StoreTarget> RunWorker<'_, T> {
    /// Stores a first value for each of its own keys.
    fn fill(&mut self, stop: &AtomicBool) -> Result<(), RunError> {
        let own: Vec<u32> = self.stream.own_keys().collect();
        // Batches, since filling one by one takes long and is not measured.
        const FILL_BATCH: usize = 256;
        for keys in own.chunks(FILL_BATCH) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let ops: Vec<WorkloadOp> = keys.iter().map(|&key| self.stream.put(key)).collect();
            self.send(&ops)?;
        }
        Ok(())
    }

    /// Sends batches until the quota is used up.
    fn work(
        &mut self,
        quota: &Quota,
        stop: &AtomicBool,
        progress: Option<&RunProgress>,
    ) -> Result<(), RunError> {
        while !stop.load(Ordering::Relaxed) {
            let count = quota.take(self.batch as u64);
            if count == 0 {
                break;
            }
            let mut ops = self.stream.next_batch();
            ops.truncate(count as usize);
            let took = self.send(&ops)?;
            self.latency.record(took);
            if let Some(progress) = progress {
                progress.advance(count);
            }
        }
        Ok(())
    }

    /// Sends one batch and checks its answers; the first wrong or failed one is the error.
    fn send(&self, batch: &[WorkloadOp]) -> Result<Duration, RunError> {
        let answered = self.exchange.send(batch);
        match answered.errors.into_iter().next() {
            None => Ok(answered.took),
            Some(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fake::{Fake, PlantedFault};
    use crate::workload::WrongAnswer;

    fn run_on(fault: PlantedFault, drive: Drive) -> Result<Measured, RunError> {
        let workload = Workload::new(1, 100, 0.5, 32).expect("a good workload");
        run(&Fake::new(3, 2, fault), &workload, drive, 100, 1_001, "test")
    }

    #[test]
    fn the_requested_number_of_operations_is_measured() {
        for (threads, batch, requests) in [(1, 1, 1_001), (1, 10, 101), (4, 25, 41)] {
            let measured = run_on(PlantedFault::None, Drive { threads, batch }).expect("runs");
            assert_eq!(measured.ops, 1_001);
            assert_eq!(measured.latency.count(), requests, "{threads} threads of {batch}");
        }
    }

    #[test]
    fn a_stale_value_fails_the_run() {
        for drive in [Drive::SEQUENTIAL, Drive { threads: 4, batch: 10 }] {
            let error = run_on(PlantedFault::KeepsFirst, drive).expect_err("stale");
            assert!(
                matches!(error, RunError::Answer(AnswerError::Wrong(WrongAnswer::Stale { .. }))),
                "{error}"
            );
        }
    }

    #[test]
    fn batches_that_cannot_be_filled_are_refused() {
        let error =
            run_on(PlantedFault::None, Drive { threads: 10, batch: 11 }).expect_err("too large");
        assert!(matches!(error, RunError::Workload(WorkloadError::Batch { .. })), "{error}");
    }

    #[test]
    fn a_quota_is_used_up_once() {
        let quota = Quota::new(25);
        assert_eq!([10, 10, 10, 10].map(|most| quota.take(most)), [10, 10, 5, 0]);
    }
}
