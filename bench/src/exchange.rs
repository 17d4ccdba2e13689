//! Sends batches of a [workload](crate::workload), measures their time and checks every answer.

use std::time::{Duration, Instant};

use client::{ClientError, Done};
use harness::history::Outcome;
use harness::recorder;
use thiserror::Error;

use crate::target::StoreTarget;
use crate::workload::{Expectation, PendingGet, PendingPut, WorkloadOp, WrongAnswer};

/// A store, and the checks of its answers.
#[derive(Debug)]
pub struct Exchange<'a, T> {
    /// The store.
    pub target: &'a T,
    /// The permitted answers.
    pub expectation: &'a Expectation,
    /// The text of every key.
    pub keys: &'a [String],
}

/// The result of one batch.
#[derive(Debug)]
pub struct Answered {
    /// When the last answer arrived.
    pub at: Instant,
    /// How long the batch took.
    pub took: Duration,
    /// Wrong answers and failed operations.
    pub errors: Vec<AnswerError>,
}

/// A wrong answer or a failed operation.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// A wrong answer.
    #[error("WRONG ANSWER: {0}")]
    Wrong(#[from] WrongAnswer),
    /// The operation failed.
    #[error("{key}: {source}")]
    Failed {
        /// The key.
        key: String,
        /// The cause.
        source: ClientError,
    },
    /// The store answered a batch with another number of results.
    #[error("a batch of {sent} operations has {answered} results")]
    Miscounted {
        /// Operations of the batch.
        sent: usize,
        /// Results that came.
        answered: usize,
    },
}

/// An operation in progress, in terms of the expectation.
enum PendingOp {
    Put(PendingPut),
    Get(PendingGet),
}

impl<T: StoreTarget> Exchange<'_, T> {
    /// Sends one batch, waits for its answers and checks them all.
    pub fn send(&self, batch: &[WorkloadOp]) -> Answered {
        let (pending, ops): (Vec<PendingOp>, Vec<client::Op<'_>>) = batch
            .iter()
            .map(|op| {
                let key = self.keys[op.key_index() as usize].as_bytes();
                match op {
                    WorkloadOp::Put { key_index, sequence, value } => (
                        PendingOp::Put(self.expectation.begin_put(*key_index, *sequence)),
                        client::Op::Put { key, value },
                    ),
                    WorkloadOp::Get { key_index } => (
                        PendingOp::Get(self.expectation.begin_get(*key_index)),
                        client::Op::Get { key },
                    ),
                }
            })
            .unzip();
        let start = Instant::now();
        let results = self.target.run(&ops);
        let at = Instant::now();
        let mut errors = Vec::new();
        if results.len() != batch.len() {
            errors.push(AnswerError::Miscounted { sent: batch.len(), answered: results.len() });
        }
        let answers = batch.iter().zip(pending).zip(results);
        errors
            .extend(answers.filter_map(|((op, sent), result)| self.check(op, sent, result).err()));
        Answered { at, took: at - start, errors }
    }

    fn check(
        &self,
        op: &WorkloadOp,
        pending: PendingOp,
        result: Result<Done, ClientError>,
    ) -> Result<(), AnswerError> {
        match (pending, result) {
            (PendingOp::Put(put), Ok(_)) => {
                self.expectation.end_put(put, Outcome::Ok)?;
            }
            (PendingOp::Put(put), Err(source)) => {
                self.expectation.end_put(put, recorder::outcome(Some(&source)))?;
                return Err(self.failed(op, source));
            }
            (PendingOp::Get(get), Ok(Done::Got(got))) => {
                self.expectation.end_get(get, got.as_ref().map(|got| got.value.as_slice()))?;
            }
            (PendingOp::Get(_), Ok(Done::Placed(_))) => {
                unreachable!("a get ends in a value or none");
            }
            (PendingOp::Get(_), Err(source)) => return Err(self.failed(op, source)),
        }
        Ok(())
    }

    fn failed(&self, op: &WorkloadOp, source: ClientError) -> AnswerError {
        AnswerError::Failed { key: self.keys[op.key_index() as usize].clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fake::{Fake, PlantedFault};
    use crate::workload::Workload;

    #[test]
    fn every_wrong_answer_is_reported() {
        let workload = Workload::new(1, 3, 0.5, 16).expect("a good workload");
        let keys: Vec<String> = (0..3).map(|index| workload.key(index)).collect();
        let errors = |fault| {
            let target = Fake::new(1, 1, fault);
            let expectation = Expectation::new(&workload, 1);
            let exchange = Exchange { target: &target, expectation: &expectation, keys: &keys };
            let mut stream = workload.stream(0, 1, 1).expect("one worker");
            let puts = |stream: &mut crate::workload::Stream| {
                (0..3).map(|key| stream.put(key)).collect::<Vec<WorkloadOp>>()
            };
            for _ in 0..2 {
                assert!(exchange.send(&puts(&mut stream)).errors.is_empty());
            }
            let gets: Vec<WorkloadOp> =
                (0..3).map(|key_index| WorkloadOp::Get { key_index }).collect();
            exchange.send(&gets).errors
        };
        assert!(errors(PlantedFault::None).is_empty());
        let stale = errors(PlantedFault::KeepsFirst);
        assert_eq!(stale.len(), 3);
        assert!(matches!(stale[0], AnswerError::Wrong(WrongAnswer::Stale { key_index: 0, .. })));
    }
}
