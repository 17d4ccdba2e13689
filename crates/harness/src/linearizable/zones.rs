//! A check in O(n log n), by zones (Gibbons and Korach, *Testing Shared Memories*, 1997).
//!
//! No value is written twice, so all operations on one value belong together. A value was current
//! from the first return of any of them (at the latest) until the last call of any of them (at
//! least). If the first return comes before the last call, the time between them is the value's
//! *forward zone*: no other value was current during it. Otherwise all of its operations overlap,
//! and the time between is its *backward zone*: the value was current at some moment of it. An
//! update joins its value to the one it found, so a zone belongs to a chain of updates.
//!
//! Every reported violation is real, but the check is incomplete: deletes and absent values have no
//! number, so each is checked by itself and not in combination.

use std::collections::{HashMap, HashSet};

use crate::history::{Kind, Outcome, Record};

/// The return time of an operation of unknown outcome: later than any other.
const NEVER: u64 = u64::MAX;

/// The time between call and return.
#[derive(Debug, Clone, Copy)]
struct Interval {
    invoke: u64,
    ret: u64,
}

/// All operations on one value.
#[derive(Debug)]
struct ValueOperations {
    write: Interval,
    /// The value that the update replaced.
    made_from: Option<u64>,
    /// The last call of an operation that wrote or found it.
    last_call: u64,
    /// The first return of such an operation.
    first_return: u64,
    /// The update that replaced it.
    next: Option<u64>,
}

/// Values by number.
type Values = HashMap<u64, ValueOperations>;

/// The zone of a value, or of a chain of them.
#[derive(Debug, Clone, Copy)]
struct Zone {
    /// The first return.
    first_return: u64,
    /// The last call.
    last_call: u64,
}

impl Zone {
    fn is_forward(&self) -> bool {
        self.first_return < self.last_call
    }
}

/// Looks for certain violations in a key's history. No value may be written twice in it.
///
/// # Errors
/// What is wrong.
pub(super) fn check(history: &[Record]) -> Result<(), &'static str> {
    let values = values(history)?;
    let chains = chains(&values)?;
    let forward = forward(&chains)?;
    let mut backward = chains.iter().filter(|zone| !zone.is_forward());
    if backward.any(|zone| is_within(&forward, zone.last_call, zone.first_return)) {
        return Err("not linearizable: a value comes between others that are one");
    }
    let is_hidden = |span: &Interval| is_within(&forward, span.invoke, span.ret);
    let deletes = deletes(history);
    if deletes.iter().any(is_hidden) {
        return Err("not linearizable: a deleted value is back");
    }
    let absences: Vec<Interval> = absences(history, &values).collect();
    if absences.iter().any(is_hidden) {
        return Err("not linearizable: a value is away for a while");
    }
    let emptiness = Emptiness::new(&values, &deletes);
    if absences.iter().any(|span| !emptiness.may_be(span)) {
        return Err("not linearizable: a value is missing");
    }
    Ok(())
}

/// The time of an operation.
fn span(record: &Record) -> Interval {
    let ret = if record.outcome == Outcome::Unknown { NEVER } else { record.ret };
    Interval { invoke: record.invoke, ret }
}

/// Whether an operation has certainly happened, so that its result counts.
fn has_happened(record: &Record, values: &Values) -> bool {
    match (record.outcome, record.kind) {
        (Outcome::Ok, _) => true,
        (Outcome::Unknown, Kind::Update(value, _)) => values.contains_key(&value),
        _ => false,
    }
}

/// The values that were certainly written, with all operations on them.
fn values(history: &[Record]) -> Result<Values, &'static str> {
    let mut values = Values::new();
    let found: HashSet<u64> = history.iter().filter_map(Record::found).collect();
    for record in history {
        let (value, made_from) = match record.kind {
            Kind::Put(value) => (value, None),
            Kind::Update(value, found) => (value, found),
            Kind::Get(_) | Kind::Delete => continue,
        };
        let is_certain = match record.outcome {
            Outcome::Ok => true,
            Outcome::Unknown => found.contains(&value),
            Outcome::Failed => false,
        };
        if is_certain {
            let write = span(record);
            let (last_call, first_return) = (write.invoke, write.ret);
            let next = None;
            let value_of = ValueOperations { write, made_from, last_call, first_return, next };
            values.insert(value, value_of);
        }
    }
    for record in history {
        let (Some(found), true) = (record.found(), has_happened(record, &values)) else {
            continue;
        };
        let reader = span(record);
        let value = values
            .get_mut(&found)
            .ok_or("not linearizable: a value is found that was never written")?;
        if reader.ret < value.write.invoke {
            return Err("not linearizable: a value is found before it was written");
        }
        value.last_call = value.last_call.max(reader.invoke);
        value.first_return = value.first_return.min(reader.ret);
        if let Kind::Update(next, _) = record.kind
            && value.next.replace(next).is_some()
        {
            return Err("not linearizable: two updates have found the same value");
        }
    }
    Ok(values)
}

/// The zone of each chain: a value that was put, or that replaced an absent one, and the updates
/// that followed it.
fn chains(values: &Values) -> Result<Vec<Zone>, &'static str> {
    let mut zones = Vec::new();
    let mut seen = 0;
    for first in values.values().filter(|value| value.made_from.is_none()) {
        let mut zone = Zone { first_return: NEVER, last_call: 0 };
        // The earliest moment at which the value can have been written.
        let mut earliest = 0;
        let mut value = first;
        loop {
            seen += 1;
            earliest = earliest.max(value.write.invoke);
            if earliest > value.first_return {
                return Err(
                    "not linearizable: updates that follow each other did not happen in that order",
                );
            }
            zone.first_return = zone.first_return.min(value.first_return);
            zone.last_call = zone.last_call.max(value.last_call);
            // Every read of this value came before the next one was written.
            earliest = earliest.max(value.last_call);
            match value.next.and_then(|next| values.get(&next)) {
                Some(next) => value = next,
                None => break,
            }
        }
        zones.push(zone);
    }
    // Values without a first one form a circle.
    if seen == values.len() {
        Ok(zones)
    } else {
        Err("not linearizable: updates have found each other's values")
    }
}

/// The forward zones by time.
fn forward(zones: &[Zone]) -> Result<Vec<Zone>, &'static str> {
    let mut forward: Vec<Zone> = zones.iter().copied().filter(Zone::is_forward).collect();
    forward.sort_unstable_by_key(|zone| zone.first_return);
    let overlap = |pair: &[Zone]| pair[1].first_return < pair[0].last_call;
    if forward.windows(2).any(overlap) {
        return Err("not linearizable: two values are current at the same time");
    }
    Ok(forward)
}

/// Whether the time from `from` to `to` lies within a forward zone of another chain.
fn is_within(forward: &[Zone], from: u64, to: u64) -> bool {
    let after = forward.partition_point(|zone| zone.first_return < from);
    after.checked_sub(1).is_some_and(|at| to < forward[at].last_call)
}

/// Deletes that may have happened.
fn deletes(history: &[Record]) -> Vec<Interval> {
    let is_one =
        |record: &&Record| record.kind == Kind::Delete && record.outcome != Outcome::Failed;
    history.iter().filter(is_one).map(span).collect()
}

/// The times of reads that found no value.
fn absences<'a>(history: &'a [Record], values: &'a Values) -> impl Iterator<Item = Interval> + 'a {
    let is_one = |record: &&Record| {
        matches!(record.kind, Kind::Get(None) | Kind::Update(_, None))
            && has_happened(record, values)
    };
    history.iter().filter(is_one).map(span)
}

/// The times at which a key may have been absent.
struct Emptiness {
    /// By the time at which a value was certainly present: the latest call of a write that was
    /// complete by then.
    written: Vec<(u64, u64)>,
    /// By the call of a delete: the latest return of the deletes called by then.
    deleted: Vec<(u64, u64)>,
}

impl Emptiness {
    fn new(values: &Values, deletes: &[Interval]) -> Emptiness {
        let written = values.values().map(|value| (value.first_return, value.write.invoke));
        let deleted = deletes.iter().map(|delete| (delete.invoke, delete.ret));
        Emptiness { written: rising(written.collect()), deleted: rising(deleted.collect()) }
    }

    /// Whether the key may have been absent at some moment of `span`: no value was certainly
    /// written before, or a delete may have followed every one.
    fn may_be(&self, span: &Interval) -> bool {
        let Some(written) = latest(&self.written, |at| at < span.invoke) else { return true };
        latest(&self.deleted, |at| at <= span.ret).is_some_and(|deleted| deleted >= written)
    }
}

/// Running maxima by time.
fn rising(mut pairs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    pairs.sort_unstable();
    let mut highest = 0;
    for (_, value) in &mut pairs {
        highest = highest.max(*value);
        *value = highest;
    }
    pairs
}

/// The running maximum at the last time that is early enough.
fn latest(rising: &[(u64, u64)], is_early: impl Fn(u64) -> bool) -> Option<u64> {
    let after = rising.partition_point(|(at, _)| is_early(*at));
    after.checked_sub(1).map(|at| rising[at].1)
}
