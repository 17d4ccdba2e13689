//! The load while the cluster changes: batches of reads and writes over all keys at full speed, and
//! single puts and gets beside them, which measure the wait of an operation instead of a batch.
//!
//! Every answer is checked. A wrong answer ends the run. A failed operation is counted and the load
//! continues: with at most K-1 nodes dead at once every operation should succeed, so each failure
//! is a finding.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::meter::{LatencySource, Meter};
use crate::exchange::{AnswerError, Answered, Exchange};
use crate::progress::RunProgress;
use crate::target::StoreTarget;
use crate::workload::{Expectation, Stream, Workload, WorkloadOp};

/// Keys that are put at once before the load begins.
const FILL_BATCH: usize = 256;

/// Pause between two single operations, so that they take little from the load.
const PAUSE: Duration = Duration::from_millis(1);

/// Number of findings kept as text; all are counted.
const KEPT: usize = 10;

/// A set of keys and the values that they may have.
#[derive(Debug)]
pub struct LoadKeys {
    workload: Workload,
    expectation: Expectation,
    names: Vec<String>,
}

impl LoadKeys {
    /// The keys of a workload with this many workers.
    pub fn new(workload: Workload, workers: u32) -> LoadKeys {
        LoadKeys {
            expectation: Expectation::new(&workload, workers),
            names: (0..workload.keys()).map(|index| workload.key(index)).collect(),
            workload,
        }
    }

    /// The workload.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The text of each key.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// An exchange of operations on these keys with a store.
    pub fn exchange<'a, T>(&'a self, target: &'a T) -> Exchange<'a, T> {
        Exchange { target, expectation: &self.expectation, keys: &self.names }
    }
}

/// The findings of a run.
#[derive(Debug, Default)]
pub struct ElasticFindings {
    is_stopped: AtomicBool,
    wrong: AtomicU64,
    failed: AtomicU64,
    details: Mutex<Vec<String>>,
}

impl ElasticFindings {
    /// Stops the load.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    /// Whether the load is stopped.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Answers that no correct store gives.
    pub fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::SeqCst)
    }

    /// Operations that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// Descriptions of the first findings.
    pub fn details(&self) -> Vec<String> {
        self.details.lock().clone()
    }

    fn add(&self, what: &str, at: Duration, errors: &[AnswerError]) {
        for error in errors {
            let is_wrong = matches!(error, AnswerError::Wrong(_));
            let count = if is_wrong { &self.wrong } else { &self.failed };
            count.fetch_add(1, Ordering::SeqCst);
            let mut details = self.details.lock();
            if details.len() < KEPT {
                details.push(format!("{:.2} s, {what}: {error}", at.as_secs_f64()));
            }
            if is_wrong {
                self.stop();
            }
        }
    }
}

/// Stores a first value for each of a stream's own keys.
pub fn fill<T: StoreTarget>(
    exchange: &Exchange<'_, T>,
    stream: &mut Stream,
    findings: &ElasticFindings,
    progress: &RunProgress,
) {
    let own: Vec<u32> = stream.own_keys().collect();
    for keys in own.chunks(FILL_BATCH) {
        if findings.is_stopped() {
            return;
        }
        let ops: Vec<WorkloadOp> = keys.iter().map(|&key| stream.put(key)).collect();
        let answered = exchange.send(&ops);
        findings.add("fill", Duration::ZERO, &answered.errors);
        // If keys are missing from the start, no later result is meaningful.
        if !answered.errors.is_empty() {
            findings.stop();
        }
        progress.advance(ops.len() as u64);
    }
}

/// One thread's part of the load.
#[derive(Debug)]
pub struct ElasticWorker<'a, T> {
    /// The store with its checks.
    pub exchange: Exchange<'a, T>,
    /// The operations.
    pub stream: Stream,
    /// The source under which it counts.
    pub source: LatencySource,
    /// The meter.
    pub meter: &'a Meter,
    /// Takes wrong answers and failures.
    pub findings: &'a ElasticFindings,
}

impl<T: StoreTarget> ElasticWorker<'_, T> {
    /// Sends batches until stopped.
    pub fn drive(&mut self) {
        while !self.findings.is_stopped() {
            let ops = self.stream.next_batch();
            let answered = self.exchange.send(&ops);
            self.note("load", ops.len(), &answered);
        }
    }

    /// Sends single operations until stopped.
    pub fn probe(&mut self, what: &str) {
        while !self.findings.is_stopped() {
            let answered = self.exchange.send(&[self.stream.next_op()]);
            self.note(what, 1, &answered);
            thread::sleep(PAUSE);
        }
    }

    fn note(&self, what: &str, ops: usize, answered: &Answered) {
        let Answered { at, took, errors } = answered;
        let (ops, bad) = (ops as u32, errors.len() as u32);
        self.meter.note(self.source, *at, *took, ops, bad);
        self.findings.add(what, self.meter.now(), errors);
    }
}

/// Reads every key back with `threads` threads, and returns the number of keys.
pub fn read_back<T: StoreTarget>(
    keys: &LoadKeys,
    target: &T,
    threads: usize,
    findings: &ElasticFindings,
    at: Duration,
) -> u64 {
    let count = keys.names.len();
    thread::scope(|scope| {
        for part in 0..threads {
            scope.spawn(move || {
                let indexes: Vec<u32> = (0..count as u32).skip(part).step_by(threads).collect();
                for batch in indexes.chunks(FILL_BATCH) {
                    let gets: Vec<WorkloadOp> =
                        batch.iter().map(|&key_index| WorkloadOp::Get { key_index }).collect();
                    let answered = keys.exchange(target).send(&gets);
                    findings.add("read back", at, &answered.errors);
                }
            });
        }
    });
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::KillNode;
    use crate::target::fake::{Fake, PlantedFault};

    const SECOND: Duration = Duration::from_secs(1);

    /// Fills 100 keys, runs the load until there is a finding or some time has passed, and kills a
    /// node in the middle.
    fn run(fault: PlantedFault) -> (ElasticFindings, LoadKeys, Fake, u64) {
        let target = Fake::new(3, 2, fault);
        let workload = Workload::new(1, 100, 0.5, 32).expect("a good workload");
        let keys = LoadKeys::new(workload, 1);
        let (findings, meter) = (ElasticFindings::default(), Meter::start());
        let exchange = keys.exchange(&target);
        let mut stream = keys.workload().stream(0, 1, 10).expect("one worker");
        fill(&exchange, &mut stream, &findings, &RunProgress::new("fill", 100));
        let meter = &meter;
        let source = LatencySource::Load;
        let mut worker = ElasticWorker { exchange, stream, source, meter, findings: &findings };
        thread::scope(|scope| {
            scope.spawn(move || worker.drive());
            let ops = || meter.tracks().load.total();
            while ops() < 500 && !findings.is_stopped() {
                thread::yield_now();
            }
            let dead = cluster::ids::NodeId::new("node1").expect("a name");
            target.kill(&[dead]).expect("killed");
            let before = ops();
            while ops() < before + 500 && findings.failed() == 0 && !findings.is_stopped() {
                thread::yield_now();
            }
            findings.stop();
        });
        let read = read_back(&keys, &target, 3, &findings, SECOND);
        (findings, keys, target, read)
    }

    #[test]
    fn a_correct_store_has_no_findings() {
        let (findings, keys, _, read) = run(PlantedFault::None);
        assert_eq!((findings.wrong(), findings.failed(), read), (0, 0, 100));
        assert!(findings.details().is_empty());
        assert_eq!(keys.names().count(), 100);
    }

    #[test]
    fn lost_values_are_found() {
        let (findings, ..) = run(PlantedFault::LosesTheKilled);
        assert!(findings.wrong() > 0);
        assert!(findings.details()[0].contains("WRONG ANSWER"), "{:?}", findings.details());
    }

    #[test]
    fn failed_operations_are_counted() {
        let (findings, ..) = run(PlantedFault::FailsWrites);
        assert!(findings.failed() > 0);
        assert_eq!(findings.wrong(), 0);
        assert!(findings.details().len() <= KEPT);
    }

    #[test]
    fn the_final_read_checks_keys_that_were_not_read_before() {
        let (findings, keys, target, _) = run(PlantedFault::None);
        // Another client overwrites a key.
        StoreTarget::put(&target, keys.names().nth(7).expect("a key"), "strange").expect("put");
        read_back(&keys, &target, 3, &findings, SECOND);
        assert_eq!(findings.wrong(), 1);
        assert!(findings.details()[0].starts_with("1.00 s, read back: WRONG ANSWER"));
    }
}
