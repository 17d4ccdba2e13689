//! The promise, checked.
//!
//! Values are unique, so two checks are possible. While the run goes: no get may show what was already
//! overwritten when it began, or what nobody has put ([`History::end`]; a binary search each). At its end:
//! each key's history must be linearizable ([`is_linearizable`], Wing and Gong's search with Lowe's memory of
//! where it has been).

use std::collections::{BTreeMap, BTreeSet};

use cluster::operation::Body;

use crate::world::{Key, Value};

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give the key this value; nobody else ever puts it.
    Put(Value),
    /// Remove the key.
    Delete,
    /// Fetch the value.
    Get,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A put or delete took effect.
    Done,
    /// What a get found.
    Got(Body<Value>),
    /// It certainly had no effect.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// An operation: what, when, and what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// What was to be done.
    pub action: Action,
    /// When it was called.
    pub called: u64,
    /// When and how it ended, if it did.
    pub ended: Option<(u64, Ending)>,
}

/// What is known of one key while the run goes.
#[derive(Default)]
struct Progress {
    /// Each written value's operation.
    puts: BTreeMap<Value, usize>,
    /// From when on each value was certainly in place: its put's end, or the first get that found it.
    in_place: BTreeMap<Value, u64>,
    /// In order of time: when some write was certainly in place, and the latest call of any such write.
    marks: Vec<(u64, u64)>,
    /// Deletes that may have had effect: when called, and when in place.
    deletes: Vec<(u64, u64)>,
}

/// All operations of a run.
#[derive(Default)]
pub struct History {
    records: Vec<Record>,
    keys: BTreeMap<Key, Progress>,
    time: u64,
}

const NEVER: u64 = u64::MAX;

impl History {
    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// An operation is called.
    pub fn begin(&mut self, key: Key, action: Action) -> usize {
        let called = self.tick();
        let record = self.records.len();
        self.records.push(Record { key, action, called, ended: None });
        if let Action::Put(value) = action {
            self.keys.entry(key).or_default().puts.insert(value, record);
        }
        record
    }

    /// The key of an operation.
    pub fn key(&self, record: usize) -> Key {
        self.records[record].key
    }

    /// The operations.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// An operation ends.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn end(&mut self, record: usize, ending: Ending) -> Result<(), String> {
        let now = self.tick();
        self.records[record].ended = Some((now, ending));
        let Record { key, action, called, .. } = self.records[record];
        let Progress { puts, in_place, marks, deletes } = self.keys.entry(key).or_default();
        let mut mark = |called: u64| {
            let latest = marks.last().map_or(0, |(_, latest)| *latest);
            marks.push((now, latest.max(called)));
        };
        match (action, ending) {
            (Action::Put(value), Ending::Done) => {
                in_place.entry(value).or_insert(now);
                mark(called);
            }
            (Action::Delete, Ending::Done) => {
                deletes.push((called, now));
                mark(called);
            }
            (Action::Delete, Ending::Unknown) => deletes.push((called, NEVER)),
            (Action::Get, Ending::Got(Some(value))) => {
                let Some(&put) = puts.get(&value) else {
                    return Err(format!("#{record} found {value} at k{key}, which nobody put"));
                };
                let put = self.records[put];
                if let Some((_, Ending::Failed)) = put.ended {
                    return Err(format!("#{record} found {value} at k{key}, whose put had failed"));
                }
                let since = *in_place.entry(value).or_insert(now);
                let before = marks.partition_point(|(at, _)| *at < called);
                if before > 0 && marks[before - 1].1 > since {
                    return Err(format!("#{record} found {value} at k{key}, overwritten before"));
                }
                if since == now {
                    let latest = marks.last().map_or(0, |(_, latest)| *latest);
                    marks.push((now, latest.max(put.called)));
                }
            }
            (Action::Get, Ending::Got(None)) => {
                let before = marks.partition_point(|(at, _)| *at < called);
                let overwritten = if before > 0 { marks[before - 1].1 } else { 0 };
                let is_open =
                    |r: &Record| r.key == key && r.action == Action::Delete && r.ended.is_none();
                let is_possible = overwritten == 0
                    || deletes.iter().any(|(_, since)| *since >= overwritten)
                    || self.records.iter().any(is_open);
                if !is_possible {
                    return Err(format!("#{record} found nothing at k{key}, where something is"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Holds each key's history against the promise.
    ///
    /// # Errors
    /// Which key's is not linearizable.
    pub fn check(&self) -> Result<(), String> {
        let keys: BTreeSet<Key> = self.records.iter().map(|r| r.key).collect();
        for key in keys {
            let records: Vec<Record> =
                self.records.iter().copied().filter(|r| r.key == key).collect();
            if !is_linearizable(&records) {
                return Err(format!("the history of k{key} is not linearizable"));
            }
        }
        Ok(())
    }
}

/// An operation as the search sees it.
#[derive(Clone, Copy)]
struct Move {
    called: u64,
    ended: u64,
    /// What a write leaves, or a get found.
    body: Body<Value>,
    is_get: bool,
    /// Whether it may be left out: a delete of which nobody knows whether it happened.
    may_miss: bool,
}

/// Which operations have been placed.
type Placed = Vec<u64>;

/// Whether the operations of one key could have happened one after the other, each between its call and
/// its end, each get finding what the last write left.
pub fn is_linearizable(records: &[Record]) -> bool {
    let mut seen: BTreeMap<Value, u64> = BTreeMap::new();
    for record in records {
        if let Some((at, Ending::Got(Some(value)))) = record.ended {
            let first = seen.entry(value).or_insert(at);
            *first = (*first).min(at);
        }
    }
    let mut moves: Vec<Move> = Vec::new();
    for record in records {
        let Record { action, called, .. } = *record;
        let (ended, ending) = record.ended.unwrap_or((NEVER, Ending::Unknown));
        let body = crate::client::body_of(action);
        let (is_get, may_miss) = (false, false);
        match (action, ending) {
            (Action::Get, Ending::Got(body)) => {
                moves.push(Move { called, ended, body, is_get: true, may_miss });
            }
            (Action::Get, _) | (_, Ending::Failed) => {}
            (Action::Put(value), Ending::Unknown) => {
                // Of no consequence unless somebody found it; and then it had happened by that time.
                if let Some(&first) = seen.get(&value) {
                    moves.push(Move { called, ended: first, body, is_get, may_miss });
                }
            }
            (Action::Delete, Ending::Unknown) => {
                moves.push(Move { called, ended: NEVER, body, is_get, may_miss: true });
            }
            (_, _) => moves.push(Move { called, ended, body, is_get, may_miss }),
        }
    }
    moves.sort_by_key(|m| m.called);
    search(&moves)
}

fn search(moves: &[Move]) -> bool {
    let words = moves.len().div_ceil(64);
    let is_in = |placed: &Placed, i: usize| placed[i / 64] >> (i % 64) & 1 == 1;
    let mut been: BTreeSet<(Placed, Body<Value>)> = BTreeSet::new();
    let mut open: Vec<(Placed, Body<Value>)> = vec![(vec![0; words], None)];
    while let Some((mut placed, body)) = open.pop() {
        // Gets that fit change nothing: they are placed as soon as they can be.
        let limit = loop {
            let missing = (0..moves.len()).filter(|&i| !is_in(&placed, i));
            let limit = missing.clone().map(|i| moves[i].ended).min().unwrap_or(NEVER);
            let fits =
                |&i: &usize| moves[i].is_get && moves[i].body == body && moves[i].called < limit;
            let Some(i) = missing.clone().find(fits) else { break limit };
            placed[i / 64] |= 1 << (i % 64);
        };
        if (0..moves.len()).all(|i| is_in(&placed, i) || moves[i].may_miss) {
            return true;
        }
        if !been.insert((placed.clone(), body)) {
            continue;
        }
        for (i, next) in moves.iter().enumerate().rev() {
            if !next.is_get && next.called <= limit && !is_in(&placed, i) {
                let mut after = placed.clone();
                after[i / 64] |= 1 << (i % 64);
                open.push((after, next.body));
            }
        }
    }
    false
}
