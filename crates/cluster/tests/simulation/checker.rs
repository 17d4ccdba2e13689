//! The checker of the promise: linearizability.
//!
//! Values are unique, so two checks are possible. During the run no get may return a value that was
//! already overwritten when it began, or that was never put ([`History::end`]; a binary search
//! each). At the end each key's history must be linearizable ([`is_linearizable`], Wing and Gong's
//! search with Lowe's memory of visited states).
//!
//! A value with an expiry time may vanish, once, while it is the key's value, and not before the
//! first of all clocks has reached that time (C6).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use cluster::operation::Body;

use crate::client::body_of;
use crate::world::{Key, Value};

/// A client's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Put this value, which is put only once.
    Put(Value),
    /// Remove the key.
    Delete,
    /// Fetch the value.
    Get,
    /// Read the key and replace its value with this one, in one step.
    Update(Value),
    /// The same, but a key without a value stays as it is.
    Renew(Value),
    /// A read-modify-write that changes nothing.
    Check,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A put, delete or update took effect.
    Done,
    /// The value that a get found.
    Got(Body<Value>),
    /// It certainly had no effect.
    Failed,
    /// Unknown.
    Unknown,
}

/// An operation with its times and its outcome.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The operation.
    pub action: Action,
    /// When it was called.
    pub called: u64,
    /// When and how it ended, if it has.
    pub ended: Option<(u64, Ending)>,
    /// The last base of an update.
    pub base: Option<Body<Value>>,
}

/// The state of one key during the run.
#[derive(Default)]
struct Progress {
    /// Each written value's operation.
    puts: BTreeMap<Value, usize>,
    /// When each value was certainly in place: its put's end, or the first get that found it.
    in_place: BTreeMap<Value, u64>,
    /// In order of time: when a write was certainly in place, and the latest call of any such
    /// write.
    latest_calls: Vec<(u64, u64)>,
    /// Deletes that may have had effect: when called, and when in place.
    deletes: Vec<(u64, u64)>,
    /// Values that have expired by some clock.
    over: Vec<Value>,
}

impl Progress {
    /// Notes that a write that was called then is certainly in place now.
    fn note_in_place(&mut self, now: u64, called: u64) {
        let latest = self.latest_calls.last().map_or(0, |(_, latest)| *latest);
        self.latest_calls.push((now, latest.max(called)));
    }

    /// The latest call of any write that was in place before `time`: everything that was in place
    /// before that call had been overwritten.
    fn overwritten_before(&self, time: u64) -> u64 {
        let before = self.latest_calls.partition_point(|(at, _)| *at < time);
        before.checked_sub(1).map_or(0, |last| self.latest_calls[last].1)
    }
}

/// All operations of a run.
#[derive(Default)]
pub struct History {
    records: Vec<Record>,
    keys: BTreeMap<Key, Progress>,
    /// Losses of a key's records, by their operations.
    losses: BTreeSet<usize>,
    /// Writes that were under way during a loss, and the time of the loss: their effect before it
    /// is lost, and they may yet take effect again, or find no value and change nothing.
    again: Vec<(usize, u64)>,
    /// Values with an expiry time, in order of time.
    mortals: BTreeSet<(u64, Value, Key)>,
    /// Since when values may have expired.
    over: BTreeMap<Value, u64>,
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
        self.records.push(Record { key, action, called, ended: None, base: None });
        if let Some(value) = body_of(action) {
            self.keys.entry(key).or_default().puts.insert(value, record);
            self.mortals.extend(value.until.map(|until| (until, value, key)));
        }
        record
    }

    /// The first of all clocks shows this.
    pub fn look_at_clock(&mut self, clock: u64) {
        while let Some(&(until, value, key)) = self.mortals.first().filter(|(at, ..)| *at <= clock)
        {
            self.mortals.remove(&(until, value, key));
            let now = self.tick();
            self.over.insert(value, now);
            self.keys.entry(key).or_default().over.push(value);
        }
    }

    /// A key's records are about to be lost, and the loss is accepted: as if a client deleted the
    /// key, some time until [`History::end`].
    pub fn lose(&mut self, key: Key) -> usize {
        let loss = self.begin(key, Action::Delete);
        self.losses.insert(loss);
        loss
    }

    /// The key of an operation.
    pub fn key(&self, record: usize) -> Key {
        self.records[record].key
    }

    /// An operation's action.
    pub fn action(&self, record: usize) -> Action {
        self.records[record].action
    }

    /// An update has this base; or, at last, an unknown one.
    pub fn update_from(&mut self, record: usize, base: Option<Body<Value>>) {
        self.records[record].base = base;
    }

    /// Whether a value with one of these expiry times was put.
    pub fn has_mortal(&self, key: Key, times: RangeInclusive<u64>) -> bool {
        let is_meant = |value: &Value| value.until.is_some_and(|until| times.contains(&until));
        self.keys.get(&key).is_some_and(|progress| progress.puts.keys().any(is_meant))
    }

    /// Whether an operation has put a value in place of one that was to expire.
    pub fn has_renewed(&self, record: usize) -> bool {
        let Record { action, base, .. } = self.records[record];
        let was_mortal = base.flatten().is_some_and(|value| value.until.is_some());
        was_mortal && matches!(action, Action::Renew(_))
    }

    /// The operations.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// An operation ends.
    ///
    /// # Errors
    /// A description of the violation.
    pub fn end(&mut self, record: usize, ending: Ending) -> Result<(), String> {
        let now = self.tick();
        self.records[record].ended = Some((now, ending));
        let Record { key, action, called, base, .. } = self.records[record];
        match (action, ending) {
            (_, Ending::Got(body)) => self.found(record, body, now)?,
            (Action::Update(_) | Action::Renew(_), Ending::Done) => {
                self.found(record, base.flatten(), now)?;
            }
            _ => {}
        }
        let progress = self.keys.entry(key).or_default();
        match (action, ending) {
            (Action::Put(value) | Action::Update(value) | Action::Renew(value), Ending::Done) => {
                progress.in_place.entry(value).or_insert(now);
                progress.note_in_place(now, called);
            }
            (Action::Delete, Ending::Done) => {
                progress.deletes.push((called, now));
                progress.note_in_place(now, called);
            }
            (Action::Delete, Ending::Unknown) => progress.deletes.push((called, NEVER)),
            _ => {}
        }
        if self.losses.contains(&record) && ending == Ending::Done {
            let under_way = |r: &Record| r.key == key && r.ended.is_none();
            for (i, open) in self.records.iter().enumerate().filter(|(_, r)| under_way(r)) {
                if let Some(value) = body_of(open.action) {
                    progress.in_place.remove(&value);
                }
                self.again.push((i, called));
            }
        }
        Ok(())
    }

    /// Checks the value that an operation has found which ends now.
    fn found(&mut self, record: usize, body: Body<Value>, now: u64) -> Result<(), String> {
        let Record { key, called, .. } = self.records[record];
        let progress = self.keys.entry(key).or_default();
        let overwritten = progress.overwritten_before(called);
        let Some(value) = body else {
            let is_open =
                |r: &Record| r.key == key && r.action == Action::Delete && r.ended.is_none();
            let may_be_over = |value: &Value| {
                progress.in_place.get(value).is_none_or(|since| *since >= overwritten)
            };
            let is_possible = overwritten == 0
                || progress.over.iter().any(may_be_over)
                || progress.deletes.iter().any(|(_, since)| *since >= overwritten)
                || self.records.iter().any(is_open);
            return if is_possible {
                Ok(())
            } else {
                Err(format!("#{record} found nothing at k{key}, where there is a value"))
            };
        };
        let Some(&put) = progress.puts.get(&value) else {
            return Err(format!("#{record} found {value:?} at k{key}, which was never put"));
        };
        let is_twice = self.again.iter().any(|(twice, _)| *twice == put);
        let put = self.records[put];
        if matches!(put.ended, Some((_, Ending::Failed))) && !is_twice {
            return Err(format!("#{record} found {value:?} at k{key}, whose put had failed"));
        }
        let since = *progress.in_place.entry(value).or_insert(now);
        if overwritten > since {
            return Err(format!("#{record} found {value:?} at k{key}, overwritten before"));
        }
        if since == now {
            progress.note_in_place(now, put.called);
        }
        Ok(())
    }

    /// Checks that each key's history is linearizable.
    ///
    /// # Errors
    /// The key whose history is not.
    pub fn check(&self) -> Result<(), String> {
        let keys: BTreeSet<Key> = self.records.iter().map(|r| r.key).collect();
        for key in keys {
            let twice = self.again.iter().filter(|(i, _)| self.records[*i].key == key);
            // For an operation that changed nothing in the end, also its effect before the loss.
            let has_left = |i: usize| matches!(self.records[i].ended, Some((_, Ending::Got(_))));
            let firsts: BTreeSet<usize> = twice.clone().map(|(i, _)| *i).collect();
            let before = firsts.into_iter().filter(|i| has_left(*i)).map(|i| self.records[i]);
            let after = twice.map(|&(i, called)| Record { called, ..self.records[i] });
            let again: Vec<Record> = before.chain(after).collect();
            // The base of an update that may have happened twice is unknown.
            let is_twice = |i: usize| self.again.iter().any(|(twice, _)| *twice == i);
            let of_key = self.records.iter().enumerate().filter(|(_, r)| r.key == key);
            // A failed operation has no effect from then on; before the loss it may have had one.
            let ended = |i: usize, ended: Option<(u64, Ending)>| match ended {
                Some((at, Ending::Failed)) if is_twice(i) => Some((at, Ending::Unknown)),
                ended => ended,
            };
            let records: Vec<Record> = of_key
                .map(|(i, r)| Record {
                    base: r.base.filter(|_| !is_twice(i)),
                    ended: ended(i, r.ended),
                    ..*r
                })
                .collect();
            if !is_linearizable(&records, &again, &self.over) {
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
    /// The value that a write leaves, or that a get found.
    body: Body<Value>,
    is_get: bool,
    /// The value that must be there for it to happen, where that is known.
    needs: Option<Body<Value>>,
    /// Whether it may be left out: a delete whose outcome is unknown.
    may_miss: bool,
}

/// Which operations have been placed.
type Placed = Vec<u64>;

/// Whether the operations of one key could have happened one after the other, each between its call
/// and its end, each get finding the value of the last write. Those in `again` may happen once
/// more, or not. Values may vanish from the times in `over` on.
pub fn is_linearizable(records: &[Record], again: &[Record], over: &BTreeMap<Value, u64>) -> bool {
    let mut seen: BTreeMap<Value, u64> = BTreeMap::new();
    for record in records {
        let ended = record.ended.map_or(NEVER, |(at, _)| at);
        // An update has found its base, whatever its outcome.
        let found = match record.ended {
            Some((_, Ending::Got(body))) => Some(body),
            _ => record.base,
        };
        if let Some(Some(value)) = found {
            let first = seen.entry(value).or_insert(ended);
            *first = (*first).min(ended);
        }
    }
    let mut moves: Vec<Move> = Vec::new();
    for record in records {
        let Record { action, called, base, .. } = *record;
        let (ended, ending) = record.ended.unwrap_or((NEVER, Ending::Unknown));
        let body = body_of(action);
        let write = Move { called, ended, body, is_get: false, needs: base, may_miss: false };
        match (action, ending) {
            (_, Ending::Got(body)) => moves.push(Move { body, is_get: true, ..write }),
            (Action::Get | Action::Check, _) | (_, Ending::Failed) => {}
            (
                Action::Put(value) | Action::Update(value) | Action::Renew(value),
                Ending::Unknown,
            ) => {
                // It matters only if a get found its value, by which time it had happened, or if a
                // get found no value while it was there.
                if let Some(&first) = seen.get(&value) {
                    moves.push(Move { ended: first, ..write });
                } else if over.contains_key(&value) {
                    moves.push(Move { ended: NEVER, may_miss: true, ..write });
                }
            }
            (Action::Delete, Ending::Unknown) => {
                moves.push(Move { ended: NEVER, may_miss: true, ..write });
            }
            (_, _) => moves.push(write),
        }
    }
    for record in again {
        let body = body_of(record.action);
        let ended = record.ended.map_or(NEVER, |(at, _)| at);
        let is_write = !matches!(record.action, Action::Get | Action::Check);
        let write =
            Move { called: record.called, ended, body, is_get: false, needs: None, may_miss: true };
        moves.extend(is_write.then_some(write));
    }
    moves.sort_by_key(|m| m.called);
    search(&moves, over)
}

impl Move {
    /// Whether it is a delete that may have happened at any time since its call, or never. Of two
    /// such the one that was called first can stand for the other, so they need only be tried in
    /// that order, and where there is something to delete: a dozen of them would be a thousand ways
    /// otherwise.
    fn is_loose(&self) -> bool {
        let is_free = self.needs.is_none() && self.ended == NEVER;
        !self.is_get && self.may_miss && self.body.is_none() && is_free
    }
}

fn search(moves: &[Move], over: &BTreeMap<Value, u64>) -> bool {
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
        let is_over = body.and_then(|value| over.get(&value)).is_some_and(|since| *since <= limit);
        if is_over {
            // A value that has vanished cannot come back, so this need not be recorded.
            open.push((placed.clone(), None));
        }
        let loose = (0..moves.len()).find(|&i| moves[i].is_loose() && !is_in(&placed, i));
        for (i, next) in moves.iter().enumerate().rev() {
            let is_of_use = !next.is_loose() || body.is_some() && loose == Some(i);
            let fits = is_of_use && next.needs.is_none_or(|needs| needs == body);
            if !next.is_get && fits && next.called <= limit && !is_in(&placed, i) {
                let mut after = placed.clone();
                after[i / 64] |= 1 << (i % 64);
                open.push((after, next.body));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = 3;

    fn value(number: u32) -> Value {
        Value { number, until: None }
    }

    /// A history in which a get finds an update's value before everything is lost (or not), and the
    /// update's reply arrives last. Returns whether it is linearizable.
    fn with_update(action: fn(Value) -> Action, is_lost: bool, ending: Ending) -> bool {
        let mut history = History::default();
        let put = history.begin(KEY, Action::Put(value(1)));
        history.end(put, Ending::Done).unwrap();
        let update = history.begin(KEY, action(value(2)));
        history.update_from(update, Some(Some(value(1))));
        let get = history.begin(KEY, Action::Get);
        history.end(get, Ending::Got(Some(value(2)))).unwrap();
        let late = history.begin(KEY, Action::Get);
        if is_lost {
            let loss = history.lose(KEY);
            history.end(loss, Ending::Done).unwrap();
        }
        history.update_from(update, None);
        let ended = history.end(update, ending);
        // Its answer was delayed.
        let ended = ended.and_then(|()| history.end(late, Ending::Got(Some(value(2)))));
        ended.and_then(|()| history.check()).is_ok()
    }

    #[test]
    fn a_write_under_way_during_a_loss_may_have_happened_before() {
        let renew: fn(Value) -> Action = Action::Renew;
        for (action, ending) in [(renew, Ending::Got(None)), (Action::Update, Ending::Failed)] {
            assert!(with_update(action, true, ending), "{ending:?}");
            assert!(!with_update(action, false, ending), "{ending:?}");
        }
    }
}
