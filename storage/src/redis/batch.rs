//! Requests of one connection that go to the nodes together.
//!
//! A pipeline is answered as if its requests were executed one after the other. As long as no two
//! of them use the same key, except to read it, the order cannot be observed; so these form one
//! batch, each node gets one frame, and the nodes work at the same time. Keys that this node can
//! read locally are answered without a round trip. Requests about the same key, and about no other,
//! become one operation ([`Coalesced`]). A request with many keys that would use a key again, or
//! one that uses a key of such a request again, waits for the next batch.
//!
//! Each key of a command with many keys is linearizable by itself; the command as a whole is not
//! atomic.
//!
//! The length of the values that a batch reads is not known in advance. So a batch is executed in
//! rounds: reads that would exceed the memory bound wait until earlier ones are answered, and
//! replies are sent between two rounds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

use client::ClientError;
use cluster::limits::Limits;
use resp::command::Command;
use resp::error::Error;
use resp::reply::Replies;

use super::bounds::{BYTES, OPERATIONS, SENT};
use super::coalesce::Coalesced;
use super::translate;
use crate::node::Node;
use footprint::{check, each_key, keys, single_key, value_bytes};
use item::{PipelineItem, step};
use local::{LocalReplies, read_here};
use outcome::BatchOutcome;
use plan::{BatchPlan, Context};
use rounds::BatchRounds;
use store::Store;

mod answers;
mod footprint;
mod item;
mod local;
pub mod outcome;
mod plan;
mod rounds;
pub mod store;

/// Requests that wait to be executed, in their order.
#[derive(Default)]
pub struct Batch<'b> {
    items: Vec<PipelineItem<'b>>,
    /// Operations that each merge several requests.
    coalesced: Vec<Coalesced<'b>>,
    /// The keys, and their uses. Seeded anew in each process, since clients choose the keys.
    keys: HashMap<&'b [u8], Use>,
    operations: usize,
    bytes: usize,
}

/// The use of a key.
#[derive(Debug, Clone, Copy)]
struct Use {
    is_written: bool,
    by: By,
}

/// The user of a key.
#[derive(Debug, Clone, Copy)]
enum By {
    /// This item, which uses no other key.
    Item(usize),
    /// This coalesced operation.
    Coalesced(usize),
    /// A command with many keys.
    Many,
}

impl<'b> Batch<'b> {
    /// Whether a command is about keys that it names.
    pub fn is_for(command: &Command<'_>) -> bool {
        matches!(
            command,
            Command::Read { .. }
                | Command::Put { .. }
                | Command::Update { .. }
                | Command::GetMany(_)
                | Command::PutMany(_)
                | Command::RemoveMany(_)
                | Command::CountMany(_)
        )
    }

    /// Whether there is nothing to execute or to reply.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether one more command can be executed together with the commands in the batch.
    pub fn accepts(&self, command: &Command<'b>) -> bool {
        let mut is_free = self.operations < OPERATIONS && self.bytes < BYTES;
        if !is_free || self.keys.is_empty() {
            return is_free;
        }
        let is_single = single_key(command).is_some();
        each_key(command, |key, writes| {
            is_free &= self.keys.get(key).is_none_or(|used| match used.by {
                By::Item(_) | By::Coalesced(_) if is_single => true,
                _ => !used.is_written && !writes,
            });
        });
        is_free
    }

    /// Adds a command.
    pub fn add(&mut self, command: Command<'b>) {
        self.bytes += value_bytes(&command);
        let before = self.use_keys(&command);
        let item = match before {
            None => PipelineItem::Command(command),
            Some((key, by)) => self.coalesce(key, by, command),
        };
        self.items.push(item);
    }

    /// Records the uses of a command's keys. Returns the previous user of its only key.
    fn use_keys(&mut self, command: &Command<'b>) -> Option<(&'b [u8], By)> {
        let is_single = single_key(command).is_some();
        let mut before = None;
        // A command that fills the batch is its last one, so its keys need not be recorded.
        let is_last = self.operations + keys(command) >= OPERATIONS;
        each_key(command, |key, writes| {
            self.operations += 1;
            self.bytes += key.len();
            if is_last && !is_single {
                return;
            }
            match self.keys.entry(key) {
                Entry::Occupied(mut used) => {
                    let used = used.get_mut();
                    used.is_written |= writes;
                    match (is_single, used.by) {
                        (true, By::Many) => {}
                        (true, by) => before = Some((key, by)),
                        (false, _) => used.by = By::Many,
                    }
                }
                Entry::Vacant(place) => {
                    let by = if is_single { By::Item(self.items.len()) } else { By::Many };
                    place.insert(Use { is_written: writes, by });
                }
            }
        });
        before
    }

    /// Merges a command into the operation on its key, which is created if necessary.
    fn coalesce(&mut self, key: &'b [u8], by: By, command: Command<'b>) -> PipelineItem<'b> {
        let place = match by {
            By::Coalesced(place) => place,
            By::Item(item) => {
                let place = self.coalesced.len();
                let first =
                    std::mem::replace(&mut self.items[item], PipelineItem::Coalesced(place));
                let PipelineItem::Command(first) = first else {
                    unreachable!("a key that an item uses has it as a command")
                };
                self.coalesced.push(Coalesced::new(key, step(first)));
                self.keys.entry(key).and_modify(|used| used.by = By::Coalesced(place));
                place
            }
            By::Many => return PipelineItem::Command(command),
        };
        self.coalesced[place].push(step(command));
        PipelineItem::Coalesced(place)
    }

    /// Adds an error reply to a request that cannot be executed.
    pub fn refuse(&mut self, error: Error) {
        self.items.push(PipelineItem::Refused(error));
    }

    /// Executes all of it, on a node with this wall clock: local reads are answered in place, the
    /// rest goes to the store. Writes the replies, and leaves the batch empty. When many bytes of
    /// replies have accumulated, `send` is called to take them.
    ///
    /// # Errors
    /// Those of `send`; the rest is then not executed.
    pub fn run<S: Store>(
        &mut self,
        here: Option<&Node>,
        store: impl FnOnce() -> Result<S, ClientError>,
        clock: &dyn Fn() -> u64,
        out: &mut Replies<'_>,
        mut send: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<BatchOutcome> {
        let now_ms = clock();
        let mut items = std::mem::take(&mut self.items);
        let mut coalesced = std::mem::take(&mut self.coalesced);
        let operations = std::mem::take(&mut self.operations);
        self.bytes = 0;
        self.keys.clear();
        let here = here.map(|node| read_here(&mut items, node, now_ms, out.protocol()));
        let (seen, outcome) = here.unwrap_or_default();
        let needs_store = operations > outcome.reads();
        let store = match needs_store.then(store).transpose() {
            Ok(store) => store,
            Err(error) => {
                refuse_all(items, &seen, &translate::refusal(&error), out);
                return Ok(outcome);
            }
        };
        let limits = check_limits(&mut items, &mut coalesced, store.as_ref(), &seen);
        let answers = RefCell::new(Vec::new());
        let context = Context { clock, now_ms, limits, seen: &seen, answers: &answers };
        let plan = BatchPlan::new(&items, &coalesced, context);
        let mut rounds = BatchRounds::new(store, plan, &coalesced, context, outcome);
        for item in items {
            if out.len() >= SENT {
                out.hand_over(&mut send)?;
            }
            answers::answer(item, &seen, &mut rounds, out);
        }
        Ok(rounds.outcome())
    }
}

/// Replies to requests where there is no store.
fn refuse_all(
    items: Vec<PipelineItem<'_>>,
    seen: &LocalReplies,
    why: &Error,
    out: &mut Replies<'_>,
) {
    for item in items {
        match item {
            PipelineItem::Local(place) => out.raw(seen.answer(place)),
            PipelineItem::Refused(error) => out.error(&error.to_string()),
            PipelineItem::Command(_) | PipelineItem::Coalesced(_) => out.error(&why.to_string()),
        }
    }
}

/// Refuses keys and values beyond the cluster's limits. Before it refuses, it asks for the newest
/// limits.
fn check_limits(
    items: &mut [PipelineItem<'_>],
    coalesced: &mut [Coalesced<'_>],
    store: Option<&impl Store>,
    seen: &LocalReplies,
) -> Limits {
    let mut limits = store.map(Store::limits).unwrap_or_default();
    let is_beyond = |item: &PipelineItem<'_>| match item {
        PipelineItem::Command(command) => check(command, &limits).is_err(),
        _ => false,
    };
    if items.iter().any(is_beyond) || coalesced.iter().any(|one| one.is_beyond(&limits)) {
        limits = store.map(Store::newest_limits).unwrap_or_default();
    }
    for item in items {
        if let PipelineItem::Command(command) = item
            && let Err(error) = check(command, &limits)
        {
            *item = PipelineItem::Refused(translate::beyond(error));
        }
    }
    for one in coalesced {
        one.check(&limits, |key| seen.can_exist(key));
    }
    limits
}

#[cfg(test)]
mod tests;
