//! The plan of a batch: from commands to store operations.
//!
//! The parts of a plan are in the order of their commands; those of merged operations come last.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use client::{BatchItem, ItemOutcome, Op};
use cluster::limits::Limits;
use resp::command::Command;
use resp::update::{Update, UpdateReply};

use super::item::PipelineItem;
use super::local::LocalReplies;
use crate::redis::coalesce::Coalesced;
use crate::redis::translate;

/// The context that all parts of a batch share.
#[derive(Clone, Copy)]
pub struct Context<'p> {
    /// This node's wall clock.
    pub clock: &'p dyn Fn() -> u64,
    /// Its time when the batch began.
    pub now_ms: u64,
    /// The longest keys and values that the store accepts.
    pub limits: Limits,
    /// The results of local reads.
    pub seen: &'p LocalReplies,
    /// The reply of each update, in the order of their parts: known once it was last applied.
    pub answers: &'p RefCell<Vec<UpdateReply>>,
}

/// The operations that a batch needs from the store.
pub struct BatchPlan<'p> {
    /// The operations and later their results, until they are read.
    pub parts: Vec<Option<ItemOutcome<'p>>>,
    /// The end of each command's parts.
    pub ends: VecDeque<usize>,
    /// The index of the first part of a merged operation.
    pub first_coalesced: usize,
}

impl<'p> BatchPlan<'p> {
    /// The plan for these items and operations.
    pub fn new<'b: 'p>(
        items: &[PipelineItem<'b>],
        coalesced: &'p [Coalesced<'b>],
        context: Context<'p>,
    ) -> BatchPlan<'p> {
        let (mut parts, mut ends) = (Vec::new(), VecDeque::new());
        for item in items {
            let PipelineItem::Command(command) = item else { continue };
            plain(command, context, &mut parts);
            match command {
                Command::Update { key, update } => {
                    parts.push(read_modify_write(key, update.clone(), context))
                }
                Command::RemoveMany(keys) => parts.extend(
                    different(keys.iter())
                        .map(|key| read_modify_write(key, Update::Remove, context)),
                ),
                _ => {}
            }
            ends.push_back(parts.len());
        }
        let first_coalesced = parts.len();
        let mut parts: Vec<_> =
            parts.into_iter().map(|part| Some(ItemOutcome::Left(part))).collect();
        let Context { clock, limits, .. } = context;
        parts.extend(coalesced.iter().map(|one| one.part(clock, limits).map(ItemOutcome::Left)));
        BatchPlan { parts, ends, first_coalesced }
    }
}

/// A read-modify-write.
fn read_modify_write<'p, 'b: 'p>(
    key: &'b [u8],
    update: Update<'b>,
    context: Context<'p>,
) -> BatchItem<'p> {
    let Context { clock, answers, .. } = context;
    let place = answers.borrow().len();
    answers.borrow_mut().push(UpdateReply::Null);
    let decide = Box::new(move |found: Option<client::CurrentValue<'_>>| {
        let (change, answer) = update.apply(found.map(translate::current), clock());
        answers.borrow_mut()[place] = answer;
        translate::change(change)
    });
    BatchItem::Update { key, decide }
}

/// Each key once.
fn different<'b>(keys: impl Iterator<Item = &'b [u8]>) -> impl Iterator<Item = &'b [u8]> {
    let mut seen = HashSet::new();
    keys.filter(move |key| seen.insert(*key))
}

/// The plain operations of a command.
fn plain<'p, 'b: 'p>(command: &Command<'b>, context: Context<'_>, parts: &mut Vec<BatchItem<'p>>) {
    let Context { seen, now_ms, .. } = context;
    let mut op = |op| parts.push(BatchItem::Op(op));
    match command {
        Command::Read { key, .. } => op(Op::Get { key }),
        // A time that has already passed removes the key at once.
        Command::Put { key, expiry: Some(at), .. } if *at <= now_ms => op(Op::Delete { key }),
        Command::Put { key, value, expiry: Some(until) } => {
            op(Op::PutUntil { key, value, until: *until });
        }
        Command::Put { key, value, expiry: None } => op(Op::Put { key, value }),
        Command::GetMany(keys) | Command::CountMany(keys) => {
            keys.iter().filter(|key| seen.can_exist(key)).for_each(|key| op(Op::Get { key }));
        }
        Command::PutMany(pairs) => {
            let mut places = HashMap::with_capacity(pairs.len() / 2);
            for (key, value) in pairs.pairs() {
                let put = BatchItem::Op(Op::Put { key, value });
                match places.entry(key) {
                    // The last value of a repeated key wins.
                    Entry::Occupied(place) => parts[*place.get()] = put,
                    Entry::Vacant(place) => {
                        place.insert(parts.len());
                        parts.push(put);
                    }
                }
            }
        }
        _ => {}
    }
}
