//! Batches: operations that go together, and are independent of each other.

use std::collections::VecDeque;

use cluster::view::Routes;

use crate::call::Call;
use crate::chunk::{Lengths, bytes_of, chunk, size};
use crate::error::ClientError;
use crate::operation::{BatchItem, CurrentValue, Decide, Done, ItemOutcome, Op, UpdateAction};
use crate::store::GTStoreClient;
use crate::task::{self, Task};
use crate::writers::Writer;

impl GTStoreClient {
    /// Runs a mixed batch. The operations are independent of each other, even those of one key;
    /// each has its own result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let mut results = Vec::with_capacity(ops.len());
        let mut rest = ops;
        while !rest.is_empty() {
            let sizes = rest.iter().map(size);
            let (chunk, later) = rest.split_at(chunk(sizes));
            results.extend(self.run_chunk(chunk));
            rest = later;
        }
        results
    }

    /// The same for a batch that may have read-modify-writes. Independent means here, too, that two
    /// of one key get in each other's way, and take turns.
    #[must_use = "each operation has an error of its own"]
    pub fn run_mixed(&self, parts: Vec<BatchItem<'_>>) -> Vec<Result<Done, ClientError>> {
        let results = self.run_within(parts, usize::MAX).into_iter();
        results.map(|ran| ran.over().expect("an operation has a result")).collect()
    }

    /// The same, until about `most` bytes have been read: items that have not been read or started
    /// by then are returned undone. The first item is never returned undone.
    #[must_use = "each operation has an error of its own"]
    pub fn run_within<'a>(&self, parts: Vec<BatchItem<'a>>, most: usize) -> Vec<ItemOutcome<'a>> {
        let mut left = most;
        let mut results = Vec::with_capacity(parts.len());
        let mut rest: VecDeque<BatchItem<'a>> = parts.into();
        while !rest.is_empty() && (results.is_empty() || left > 0) {
            let sizes = rest.iter().map(|part| match part {
                BatchItem::Op(op) => size(op),
                BatchItem::Update { key, .. } => key.len(),
            });
            let chunk = chunk(sizes);
            // It goes alone, and as such (see there).
            if let (1, Some(&BatchItem::Op(op))) = (chunk, rest.front()) {
                rest.pop_front();
                let done = self.one(op);
                left = left.saturating_sub(bytes_of(&done));
                results.push(ItemOutcome::Over(done));
                continue;
            }
            self.stay_fresh();
            self.learn_limits(rest.iter().take(chunk).map(|part| match part {
                BatchItem::Op(op) => Lengths::of(op),
                BatchItem::Update { key, .. } => Lengths::of_key(key),
            }));
            let is_write = |part: &&BatchItem<'_>| matches!(part, BatchItem::Op(op) if !matches!(op, Op::Get { .. }));
            let mut writer = self.writers.take(rest.iter().take(chunk).filter(is_write).count());
            let routes = self.router.routes();
            let limits = routes.view().limits_for_writes();
            let tasks = rest
                .drain(..chunk)
                .map(|part| match part {
                    BatchItem::Op(op) => self.start(&op, &routes, &mut writer),
                    BatchItem::Update { key, decide } => task::update(key, decide, &limits),
                })
                .collect();
            let (run, read) = Call::new(self, writer, tasks, left).run();
            left = left.saturating_sub(read);
            results.extend(run.into_iter().map(Task::into_ran));
        }
        results.extend(rest.into_iter().map(ItemOutcome::Left));
        results
    }

    /// Runs a batch as one attempt after the other, however large it is.
    fn run_chunk(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let results = self.run_chunk_within(ops, usize::MAX);
        results.into_iter().map(|done| done.expect("an operation has a result")).collect()
    }

    /// The same, until about `most` bytes have been read. Operations that have not been read by
    /// then have no result; the first always has one.
    pub(crate) fn run_chunk_within(
        &self,
        ops: &[Op<'_>],
        most: usize,
    ) -> Vec<Option<Result<Done, ClientError>>> {
        self.stay_fresh();
        self.learn_limits(ops.iter().map(Lengths::of));
        let routes = self.router.routes();
        if let [Op::Put { key, .. } | Op::PutUntil { key, .. }] = *ops
            && self.capacity.is_any_unknown(&routes, key)
            // It asks all replicas, which report whether they are full.
            && let Err(error) = self.decide(key, Box::new(|_| UpdateAction::Leave))
        {
            return vec![Some(Err(error))];
        }
        let writes = ops.iter().filter(|op| !matches!(op, Op::Get { .. })).count();
        let mut writer = self.writers.take(writes);
        let batch = ops.iter().map(|op| self.start(op, &routes, &mut writer)).collect();
        let (batch, _) = Call::new(self, writer, batch, most).run();
        batch.into_iter().map(|task| task.result).collect()
    }

    /// An operation of a batch. A put of a key with a full replica becomes a read-modify-write, and
    /// so does any write whose arc is not known to have the least number of synced copies.
    fn start<'a>(&self, op: &Op<'a>, routes: &Routes, writer: &mut Writer<'_>) -> Task<'a> {
        let limits = &routes.view().limits_for_writes();
        let (key, value) = match *op {
            Op::Put { key, value } | Op::PutUntil { key, value, .. } => (key, value),
            Op::Delete { key } => (key, &[][..]),
            Op::Get { .. } => return task::start(op, limits, writer),
        };
        let adds = !matches!(op, Op::Delete { .. });
        let is_full = || adds && self.capacity.full(routes, key).is_some();
        if task::check(key, value, limits).is_err()
            || self.copied.is_sure(routes, key) && !is_full()
        {
            return task::start(op, limits, writer);
        }
        let op = *op;
        let decide = move |_: Option<CurrentValue<'_>>| match op {
            Op::Put { value, .. } => UpdateAction::Put(value.to_vec()),
            Op::PutUntil { value, until, .. } => UpdateAction::PutUntil(value.to_vec(), until),
            Op::Delete { .. } | Op::Get { .. } => UpdateAction::Delete,
        };
        task::update(key, Box::new(decide), limits)
    }

    /// Runs a single operation.
    pub(crate) fn one(&self, op: Op<'_>) -> Result<Done, ClientError> {
        self.run_chunk(&[op]).pop().expect("an operation has a result")
    }

    /// Runs a single read-modify-write.
    pub(crate) fn decide(&self, key: &[u8], decide: Decide<'_>) -> Result<Done, ClientError> {
        self.learn_limits([Lengths::of_key(key)].into_iter());
        let task = task::update(key, decide, &self.limits());
        let (mut batch, _) = Call::new(self, self.writers.take(0), vec![task], usize::MAX).run();
        batch.pop().and_then(|task| task.result).expect("an operation has a result")
    }
}
