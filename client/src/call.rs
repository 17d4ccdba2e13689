//! A call: it sends its operations in one attempt after the other, until each has a result or the
//! deadline has passed.
//!
//! Between two attempts it obtains what the operations need: a newer view, a fresh version, the
//! caller's decision on a value, a turn among the calls that change the same key.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use cluster::limits::LimitError;
use cluster::operation::{Choice, Need, Operation, Outcome, Request};
use cluster::replica::{WriteAnswer, is_covered};
use cluster::version::{Clock, Version};
use cluster::view::Routes;
use fxhash::FxHashSet;
use log::debug;
use net_common::connection::{Connection, FIRST_RATE, NetError, Waits};
use net_common::progress::LEAST_RATE;

use crate::backoff::{Backoff, after};
use crate::chunk::{Lengths, bytes_of};
use crate::commits;
use crate::error::ClientError;
use crate::fanout::{Attempt, Fanout};
use crate::operation::{CurrentValue, Done, Got, Placed, UpdateAction};
use crate::store::GTStoreClient;
use crate::task::{Task, Valued, check};
use crate::turns;
use crate::writers::Writer;

/// The divisor of a path's assumed rate after its node was silent: after four such attempts the
/// time-out suits a path of 64 KiB a second. Except for large frames the cost of a node that hangs
/// stays the same.
const SLOWER: u64 = 4;

/// A call under way.
pub(crate) struct Call<'c, 'a> {
    client: &'c GTStoreClient,
    writer: Writer<'c>,
    batch: Vec<Task<'a>>,
    /// The number of bytes after which further reads are left undone.
    most: usize,
    /// Bytes that were read.
    read: usize,
    /// The deadline.
    until: Instant,
    waits: Waits,
    backoff: Backoff,
    turns: turns::HeldTurns<'c>,
    /// The last refusal of an operation, and its node. The last failed attempt itself may have met
    /// no refusal.
    refusal: Option<String>,
}

/// How far an attempt has brought a call.
struct Step<'a> {
    needs_view: bool,
    is_over: bool,
    /// Whether every write has a result. Gets may still be under way: a watermark covers writes
    /// only.
    is_written: bool,
    /// Tasks whose replicas need a commit notice.
    written: Vec<usize>,
    /// Keys that another call has changed first.
    lost: Vec<&'a [u8]>,
    /// Keys that this very call may have changed.
    changed: FxHashSet<&'a [u8]>,
}

impl<'c, 'a> Call<'c, 'a> {
    /// A call that is about to begin.
    pub(crate) fn new(
        client: &'c GTStoreClient,
        writer: Writer<'c>,
        batch: Vec<Task<'a>>,
        most: usize,
    ) -> Call<'c, 'a> {
        let until = after(client.config.deadline);
        let waits = Waits { silence: client.config.patience, until: Some(until), rate: FIRST_RATE };
        let (backoff, turns) = (Backoff::new(), client.turns.none());
        Call { client, writer, batch, most, read: 0, until, waits, backoff, turns, refusal: None }
    }

    /// Runs it. Returns the tasks once they are over, and how many bytes were read for them.
    pub(crate) fn run(mut self) -> (Vec<Task<'a>>, usize) {
        if self.client.router.is_loss_to_be_reviewed() {
            self.client.ask_for_view();
        }
        self.queue();
        loop {
            let routes = self.client.router.routes();
            self.refuse_lost(&routes);
            let attempt = self.attempt(&routes);
            let step = self.take(&routes, &attempt.needs);
            let watermark = if step.is_written { self.writer.watermark() } else { None };
            self.commit(&step.written, watermark, &routes, attempt.used);
            if step.is_over {
                break;
            }
            if let Some((place, why)) = attempt.refusal {
                self.refusal = Some(format!("{} {why}", routes.member(place).id));
            }
            let trouble = step
                .needs_view
                .then(|| self.client.refresh(&routes, &mut self.backoff, self.until));
            self.take_turns(step);
            if Instant::now() >= self.until {
                self.give_up(attempt.trouble, trouble.flatten());
                self.writer.doubt();
                break;
            }
        }
        (self.batch, self.read)
    }

    /// Queues for its turn where others change the same keys.
    fn queue(&mut self) {
        let updates = self.batch.iter().filter(|task| task.decide.is_some());
        if self.turns.queue(updates.map(|task| task.key), self.until) {
            // A guess: it was the first obstacle.
            self.batch.iter_mut().for_each(|task| task.is_contended = task.decide.is_some());
        }
    }

    /// Fails operations on lost keys at once, so that the batch does not wait for them. A write
    /// that may have been stored already is retried until the deadline: its holder may return.
    fn refuse_lost(&mut self, routes: &Routes) {
        let lost = self.client.router.lost();
        if lost.is_clear() {
            return;
        }
        for task in self.batch.iter_mut().filter(|task| !task.is_over()) {
            let is_lost = routes.arc_of(task.key).is_some_and(|arc| lost.contains(arc));
            if is_lost && !task.operation.may_exist() {
                task.fail(ClientError::Unavailable);
            }
        }
    }

    /// Sends the open operations to the nodes, and records what the nodes report of themselves.
    fn attempt(&mut self, routes: &Routes) -> Attempt {
        let client = self.client;
        let is_own = |version: &Version| client.writers.cover(version);
        let (pool, commits) = (&*client.pool, &*client.commits);
        let fanout = Fanout { pool, commits, routes, waits: self.waits, is_own: &is_own };
        let attempt = fanout.attempt(&mut self.batch);
        if attempt.is_silent {
            // The request may still be on its way.
            self.waits.rate = (self.waits.rate / SLOWER).max(LEAST_RATE);
        }
        if attempt.clock != 0 {
            client.writers.observe(attempt.clock);
        }
        client.capacity.note(routes, &attempt.fullness);
        attempt
    }

    /// Processes the results of an attempt, task by task.
    fn take(&mut self, routes: &Routes, needs: &[Need]) -> Step<'a> {
        let mut step = Step {
            needs_view: false,
            is_over: true,
            is_written: true,
            written: Vec::new(),
            lost: Vec::new(),
            changed: FxHashSet::default(),
        };
        for (i, need) in needs.iter().enumerate() {
            self.meet(i, *need, routes, &mut step);
            let task = &mut self.batch[i];
            let was_over = task.is_over();
            if settle(self.client, task, routes, &mut self.writer) {
                step.written.push(i);
            }
            if !was_over && task.decide.is_none() {
                self.read += task.result.as_ref().map_or(0, bytes_of);
            }
            // The first operation is never left undone, so that repeated calls make progress.
            task.is_left |= i > 0 && self.read >= self.most && task.operation.has_yet_to_read();
            step.is_over &= task.is_over();
            step.is_written &= task.result.is_some() || !task.operation.is_write();
        }
        step
    }

    /// Provides what a task needs before it can continue.
    fn meet(&mut self, i: usize, need: Need, routes: &Routes, step: &mut Step<'a>) {
        let task = &mut self.batch[i];
        match need {
            Need::View => {
                step.needs_view = true;
                task.is_contended = false;
            }
            Need::Version(above) => task.operation.freshen(self.writer.draw_above(above)),
            Need::Choice => {
                let found = task.operation.found().and_then(Option::as_ref);
                self.read += found.map_or(0, |found| found.bytes.len());
                step.needs_view |= choose(self.client, task, routes) == Need::View;
            }
            Need::Turn => {
                task.losses += 1;
                task.is_contended = true;
                step.lost.push(task.key);
            }
            Need::Nothing | Need::Attempt => {
                if task.decide.is_some() && task.operation.may_exist() {
                    step.changed.insert(task.key);
                }
            }
        }
    }

    /// Keeps the turns that are still needed, and queues or rests where others were quicker.
    fn take_turns(&mut self, step: Step<'a>) {
        let Step { mut lost, changed, .. } = step;
        let open = |task: &&Task<'_>| !task.is_over() && task.decide.is_some();
        self.turns.keep(self.batch.iter().filter(open).map(|task| task.key));
        // A loss to another operation of this call needs no pause.
        lost.retain(|key| !changed.contains(key));
        if !lost.is_empty() {
            self.turns.lost(lost.into_iter(), self.until);
        }
    }

    /// Notifies replicas which of these tasks are committed: by the call's watermark, which counts
    /// on the connections that carried its writes, or one by one. Returns the connections to the
    /// pool.
    fn commit(
        &self,
        written: &[usize],
        watermark: Option<(u64, Clock)>,
        routes: &Routes,
        used: Vec<(u16, Connection)>,
    ) {
        let members = if watermark.is_some() { routes.view().members.len() } else { 0 };
        let (mut covered, mut is_used) = (vec![false; members], vec![false; members]);
        for (place, _) in used.iter().filter(|_| watermark.is_some()) {
            is_used[usize::from(*place)] = true;
        }
        let mut wakes = false;
        for &i in written {
            let task = &self.batch[i];
            let (Some(version), Some(arc)) = (task.committed, routes.arc_of(task.key)) else {
                continue;
            };
            let covers = |(id, clock)| id == version.writer && is_covered(&version, clock);
            let is_covered = watermark.is_some_and(covers);
            let mut named = Vec::new();
            for &place in routes.write_set(arc) {
                // Nodes that got it in a previous step got it over a connection that is back in the
                // pool by now.
                if is_covered && is_used[usize::from(place)] {
                    covered[usize::from(place)] = true;
                } else {
                    named.push(&routes.member(place).address);
                }
            }
            if !named.is_empty() {
                wakes |= self.client.commits.version(named.into_iter(), task.key, version);
            }
        }
        for (place, mut link) in used {
            if let Some(watermark) = watermark.filter(|_| covered[usize::from(place)]) {
                commits::watermark(&mut link, watermark);
                wakes = true;
            }
            self.client.pool.put_back(link);
        }
        if wakes {
            self.client.flusher.wake();
        }
    }

    /// Fails the operations that are not done at the deadline.
    fn give_up(&mut self, trouble: Option<String>, manager: Option<NetError>) {
        let why = trouble.or(self.refusal.take());
        let mut why = why.unwrap_or_else(|| "it takes longer than that".into());
        if let Some(error) = manager {
            debug!("at the deadline: {error}");
            why = format!("{why}; and no newer view: {error}");
        }
        let deadline: Duration = self.client.config.deadline;
        for task in self.batch.iter_mut().filter(|task| !task.is_over()) {
            if task.operation.waits_for_copies() {
                let least = self.client.router.routes().view().least_copies();
                task.fail(ClientError::TooFewCopies { least });
                continue;
            }
            let why = why.clone();
            task.fail(if task.is_contended {
                ClientError::Contended { deadline, losses: task.losses, why }
            } else {
                ClientError::NotEnoughReplicas { deadline, why }
            });
        }
    }
}

/// Passes the value that a read-modify-write found to the caller's decision. With a full replica
/// the value must not grow.
fn choose(client: &GTStoreClient, task: &mut Task<'_>, routes: &Routes) -> Need {
    let Some(decide) = &mut task.decide else { return Need::Nothing };
    let found = task.operation.found().and_then(Option::as_ref);
    let held = found.map(|found| CurrentValue { value: &found.bytes, expiry: found.expiry });
    let (value, expiry) = match decide(held) {
        UpdateAction::Leave => return task.operation.choose(client.writers.op(), Choice::Leave),
        UpdateAction::Delete => (None, None),
        UpdateAction::Put(value) => (Some(value), None),
        UpdateAction::PutUntil(value, until) => (Some(value), Some(until)),
    };
    if value.as_ref().is_some_and(|value| held.is_none_or(|held| held.value.len() < value.len()))
        && let Some(node) = client.capacity.full(routes, task.key)
    {
        task.fail(ClientError::Full(node));
        return Need::Nothing;
    }
    let choice = match value {
        None => Choice::Replace(None),
        Some(value) => match check_value(client, &value) {
            Ok(()) => Choice::Replace(Some(Valued { bytes: Cow::Owned(value), expiry })),
            Err(error) => {
                task.fail(ClientError::BadValue(error));
                return Need::Nothing;
            }
        },
    };
    task.operation.choose(client.writers.op(), choice)
}

fn check_value(client: &GTStoreClient, value: &[u8]) -> Result<(), LimitError> {
    client.learn_limits([Lengths { key: 0, value: value.len() }].into_iter());
    client.limits().check_value(value)
}

/// Turns an operation's outcome, if it has one, into the caller's result. Returns whether its
/// replicas need a commit notice.
fn settle(
    client: &GTStoreClient,
    task: &mut Task<'_>,
    routes: &Routes,
    writer: &mut Writer<'_>,
) -> bool {
    if task.result.is_some() || task.operation.outcome().is_none() {
        return false;
    }
    let arc = routes.arc_of(task.key).expect("somebody has answered for this key");
    let replicas = routes.replicas(arc);
    let write_set = routes.write_set(arc);
    task.committed = task.operation.committed();
    let node = |place: usize| routes.member(replicas[place]).id.clone();
    let limits = routes.view().limits_for_writes();
    let is_refused = matches!(task.operation.outcome(), Some(Outcome::Refused(_)));
    let is_beyond = match task.operation.request() {
        _ if !is_refused => None,
        Request::Write { body: Some(value), .. } => check(task.key, &value.bytes, &limits).err(),
        _ => check(task.key, &[], &limits).err(),
    };
    let operation = std::mem::replace(&mut task.operation, Operation::read());
    task.result = operation.into_outcome().map(|outcome| match outcome {
        Outcome::Written => {
            client.copied.note(routes, arc);
            Ok(Done::Placed(Placed { primary: node(0), copies: write_set.len() }))
        }
        Outcome::Got(value, place) => Ok(Done::Got(value.map(|value| Got {
            value: value.bytes.into_owned(),
            expiry: value.expiry,
            primary: node(place),
        }))),
        Outcome::FewCopies => {
            Err(ClientError::TooFewCopies { least: routes.view().least_copies() })
        }
        // Values above lowered limits get the error of the new limits.
        Outcome::Refused(why) => {
            Err(is_beyond.unwrap_or_else(|| ClientError::Refused(refusal(why).into())))
        }
        Outcome::Unknown => {
            writer.doubt();
            Err(ClientError::Unknown {
                why: "some replica may hold this write, and newer ones are around".into(),
            })
        }
    });
    task.committed.is_some() && write_set.len() > 1
}

fn refusal(answer: WriteAnswer) -> &'static str {
    match answer {
        WriteAnswer::BadKey => "the key is longer than the cluster takes",
        WriteAnswer::BadValue => "the value is longer than the cluster takes",
        WriteAnswer::BadVersion => "this client's clock is too far ahead of the replicas'",
        WriteAnswer::Conflict => {
            "another write has the same version: two clients with one identity"
        }
        WriteAnswer::Stored
        | WriteAnswer::Superseded(_)
        | WriteAnswer::BlindStored
        | WriteAnswer::BlindBelow(_)
        | WriteAnswer::Differs(_)
        | WriteAnswer::WrongEpoch
        | WriteAnswer::NoLease
        | WriteAnswer::TooOld => "an answer that refuses nothing",
    }
}
