//! The pure core of each read-modify-write: what a key holds and the time in, what becomes of it and the
//! answer out.
//!
//! A shell runs [`Edit::apply`] inside the store's atomic update of the key, perhaps several times, since
//! the update begins anew when somebody was quicker; the answer of the last run is the one that counts,
//! and only if the update succeeds.
//!
//! What it does not do: it takes no record for expired. A key whose time has passed is absent because
//! the store says so ([`Held`]), never because a clock does: the clock of the node that asks may be ahead
//! (rule C6). The time decides only whether a *new* expiry has passed already, which ends the key at
//! once, as in Redis.

use crate::decimal::{self, Number};
use crate::error::Error;
use crate::number::{self, write_integer};
use crate::reply::Replies;

/// What a key holds, as the store shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// Its value.
    pub value: &'a [u8],
    /// Until when it lives, in milliseconds since 1970; `None`: for ever.
    pub expiry: Option<u64>,
}

/// A change of one key that depends on what it holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit<'b> {
    /// SET with a condition, KEEPTTL or GET; SETNX; GETSET.
    Set {
        /// The value to give it.
        value: &'b [u8],
        /// On which condition.
        when: When<'b>,
        /// How long it is to live.
        lifetime: Lifetime,
        /// What to answer.
        answering: Answering,
    },
    /// DEL: removes it, and answers whether it was there.
    Remove,
    /// GETDEL: removes it, and answers with its value.
    Take,
    /// DELIFEQ: removes it if it has this value, and answers whether.
    RemoveIf(&'b [u8]),
    /// APPEND: adds to its value, and answers with its length.
    Append(&'b [u8]),
    /// INCR and its like: adds to the integer that it holds, and answers with the sum.
    Add(i64),
    /// INCRBYFLOAT: the same with a decimal number.
    AddDecimal(Number),
    /// EXPIRE and its like: lets it live until then, and answers whether.
    Expire {
        /// Until when, in milliseconds since 1970.
        at: i64,
        /// On which condition.
        only: Only,
    },
    /// A lock is prolonged: lets it live longer if it has this value, and answers whether.
    ProlongIf {
        /// The value.
        token: &'b [u8],
        /// How much longer, in milliseconds.
        by_ms: i64,
        /// Counted from when.
        how: Prolong,
    },
    /// PERSIST: lets it live for ever, and answers whether that is a change.
    Persist,
    /// GETEX with an option: lets it live until then or for ever, and answers with its value.
    GetUntil(Option<u64>),
}

/// When SET sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When<'b> {
    /// In any case.
    Always,
    /// NX: if there is nothing.
    Absent,
    /// XX: if there is something.
    Present,
    /// IFEQ: if there is this.
    Equals(&'b [u8]),
}

/// How long a key lives that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// KEEPTTL: as long as before.
    Keep,
    /// Until then, in milliseconds since 1970, or for ever.
    Until(Option<u64>),
}

/// What SET and its like answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// `OK`, or no value if it was not set.
    Ok,
    /// 1, or 0 if it was not set.
    Number,
    /// The value before, whether it was set or not.
    Before,
}

/// How a lock is prolonged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prolong {
    /// From now on.
    Reset,
    /// From now on, if it is to expire at all.
    Replace,
    /// Beyond what is left, if it is to expire at all.
    Add,
}

/// When EXPIRE sets an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// In any case.
    Always,
    /// NX: if there is none yet.
    Absent,
    /// XX: if there is one.
    Present,
    /// GT, with XX or without: if it is later than the one there is; none is later than any.
    Later,
    /// LT: if it is sooner, or there is none.
    Sooner,
    /// LT and XX: if there is one, and it is sooner.
    PresentAndSooner,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Leave,
    /// It goes.
    Remove,
    /// It has another value, or the same with another expiry.
    Put {
        /// The value.
        value: Vec<u8>,
        /// Until when it lives.
        expiry: Option<u64>,
    },
}

/// What to tell the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `OK`.
    Ok,
    /// No value.
    Null,
    /// A number.
    Integer(i64),
    /// A value.
    Bulk(Vec<u8>),
    /// It cannot be done with what the key holds.
    Error(Error),
}

impl Answer {
    /// Writes it.
    pub fn write(&self, out: &mut Replies<'_>) {
        match self {
            Answer::Ok => out.ok(),
            Answer::Null => out.null(),
            Answer::Integer(number) => out.integer(*number),
            Answer::Bulk(bytes) => out.bulk(bytes),
            Answer::Error(error) => out.error(&error.to_string()),
        }
    }

    fn value_of(held: Option<Held<'_>>) -> Answer {
        held.map_or(Answer::Null, |held| Answer::Bulk(held.value.to_vec()))
    }
}

impl Edit<'_> {
    /// The value that it gives the key, where that is known before what the key holds.
    pub fn given(&self) -> Option<&[u8]> {
        match self {
            Edit::Set { value, .. } => Some(value),
            _ => None,
        }
    }

    /// What becomes of a key that holds this, at a node whose wall clock shows `now_ms`, and the answer.
    pub fn apply(&self, held: Option<Held<'_>>, now_ms: u64) -> (Change, Answer) {
        match self {
            Edit::Set { value, when, lifetime, answering } => {
                set(held, value, *when, *lifetime, *answering, now_ms)
            }
            Edit::Remove => remove(held.is_some()),
            Edit::RemoveIf(value) => remove(held.is_some_and(|held| held.value == *value)),
            Edit::Take => match held {
                None => (Change::Leave, Answer::Null),
                Some(_) => (Change::Remove, Answer::value_of(held)),
            },
            Edit::Append(more) => append(held, more),
            Edit::Add(by) => add(held, *by).unwrap_or_else(refuse),
            Edit::AddDecimal(by) => add_decimal(held, by).unwrap_or_else(refuse),
            Edit::Expire { at, only } => match held {
                Some(held) if only.allows(*at, held.expiry) => {
                    // Before 1970 is long ago.
                    let at = u64::try_from(*at).unwrap_or(0);
                    (keep_until(held, Some(at), now_ms), Answer::Integer(1))
                }
                _ => (Change::Leave, Answer::Integer(0)),
            },
            Edit::ProlongIf { token, by_ms, how } => prolong(held, token, *by_ms, *how, now_ms),
            Edit::Persist => match held {
                Some(held) if held.expiry.is_some() => {
                    (keep_until(held, None, now_ms), Answer::Integer(1))
                }
                _ => (Change::Leave, Answer::Integer(0)),
            },
            Edit::GetUntil(expiry) => {
                let change = held.map_or(Change::Leave, |held| keep_until(held, *expiry, now_ms));
                (change, Answer::value_of(held))
            }
        }
    }
}

impl Only {
    fn allows(self, at: i64, present: Option<u64>) -> bool {
        // An expiry beyond 63 bits cannot be given.
        let present = present.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        match self {
            Only::Always => true,
            Only::Absent => present.is_none(),
            Only::Present => present.is_some(),
            Only::Later => present.is_some_and(|present| at > present),
            Only::Sooner => present.is_none_or(|present| at < present),
            Only::PresentAndSooner => present.is_some_and(|present| at < present),
        }
    }
}

fn refuse(error: Error) -> (Change, Answer) {
    (Change::Leave, Answer::Error(error))
}

fn remove(does: bool) -> (Change, Answer) {
    (if does { Change::Remove } else { Change::Leave }, Answer::Integer(i64::from(does)))
}

/// The same value, until then. Nothing changes, and nothing is written, where it lived until then already.
fn keep_until(held: Held<'_>, expiry: Option<u64>, now_ms: u64) -> Change {
    match expiry {
        Some(at) if at <= now_ms => Change::Remove,
        _ if expiry == held.expiry => Change::Leave,
        _ => Change::Put { value: held.value.to_vec(), expiry },
    }
}

fn set(
    held: Option<Held<'_>>,
    value: &[u8],
    when: When<'_>,
    lifetime: Lifetime,
    answering: Answering,
    now_ms: u64,
) -> (Change, Answer) {
    let does = match when {
        When::Always => true,
        When::Absent => held.is_none(),
        When::Present => held.is_some(),
        When::Equals(expected) => held.is_some_and(|held| held.value == expected),
    };
    let put = |expiry| Change::Put { value: value.to_vec(), expiry };
    let change = match lifetime {
        _ if !does => Change::Leave,
        Lifetime::Keep => put(held.and_then(|held| held.expiry)),
        Lifetime::Until(Some(at)) if at <= now_ms => Change::Remove,
        Lifetime::Until(expiry) => put(expiry),
    };
    let answer = match answering {
        Answering::Ok if does => Answer::Ok,
        Answering::Ok => Answer::Null,
        Answering::Number => Answer::Integer(i64::from(does)),
        Answering::Before => Answer::value_of(held),
    };
    (change, answer)
}

fn prolong(
    held: Option<Held<'_>>,
    token: &[u8],
    by_ms: i64,
    how: Prolong,
    now_ms: u64,
) -> (Change, Answer) {
    let at = |held: Held<'_>| match (how, held.expiry) {
        (Prolong::Replace | Prolong::Add, None) => None,
        (Prolong::Add, Some(at)) => Some(at.max(now_ms).saturating_add_signed(by_ms)),
        (Prolong::Reset | Prolong::Replace, _) => Some(now_ms.saturating_add_signed(by_ms)),
    };
    match held.filter(|held| held.value == token).and_then(|held| Some((held, at(held)?))) {
        Some((held, at)) => (keep_until(held, Some(at), now_ms), Answer::Integer(1)),
        None => (Change::Leave, Answer::Integer(0)),
    }
}

/// A new value, for as long as the old one.
fn replace(held: Option<Held<'_>>, value: Vec<u8>) -> Change {
    Change::Put { value, expiry: held.and_then(|held| held.expiry) }
}

fn append(held: Option<Held<'_>>, more: &[u8]) -> (Change, Answer) {
    let value = [held.map_or(&[][..], |held| held.value), more].concat();
    let answer = Answer::Integer(value.len() as i64);
    let is_same = held.is_some() && more.is_empty();
    (if is_same { Change::Leave } else { replace(held, value) }, answer)
}

fn add(held: Option<Held<'_>>, by: i64) -> Result<(Change, Answer), Error> {
    let number = match held {
        None => 0,
        Some(held) => number::integer(held.value).ok_or(Error::NotAnInteger)?,
    };
    let sum = number.checked_add(by).ok_or(Error::Overflow)?;
    let mut text = Vec::new();
    write_integer(sum, &mut text);
    Ok((replace(held, text), Answer::Integer(sum)))
}

fn add_decimal(held: Option<Held<'_>>, by: &Number) -> Result<(Change, Answer), Error> {
    let number = decimal::parse(held.map_or(b"0", |held| held.value)).ok_or(Error::NotAFloat)?;
    let sum = number.plus(by).ok_or(Error::NotFinite)?.to_text();
    Ok((replace(held, sum.clone()), Answer::Bulk(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn held(value: &str, expiry: Option<u64>) -> Option<Held<'_>> {
        Some(Held { value: value.as_bytes(), expiry })
    }

    fn put(value: &str, expiry: Option<u64>) -> Change {
        Change::Put { value: value.into(), expiry }
    }

    fn set<'b>(value: &'b str, when: When<'b>, lifetime: Lifetime) -> Edit<'b> {
        Edit::Set { value: value.as_bytes(), when, lifetime, answering: Answering::Ok }
    }

    #[test]
    fn whatever_is_not_about_time_keeps_the_time() {
        let later = Some(NOW + 5);
        for (edit, value) in [
            (Edit::Append(b"1"), "11"),
            (Edit::Add(1), "2"),
            (Edit::AddDecimal(decimal::parse(b"0.5").unwrap()), "1.5"),
            (set("7", When::Always, Lifetime::Keep), "7"),
        ] {
            assert_eq!(edit.apply(held("1", later), NOW).0, put(value, later), "{edit:?}");
        }
        let edit = set("7", When::Present, Lifetime::Until(None));
        assert_eq!(edit.apply(held("1", later), NOW).0, put("7", None));
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let later = Some(NOW + 5);
        for (edit, found) in [
            (Edit::Remove, None),
            (Edit::Take, None),
            (Edit::RemoveIf(b"x"), None),
            (Edit::RemoveIf(b"x"), held("y", None)),
            (Edit::Append(b""), held("y", None)),
            (Edit::Persist, None),
            (Edit::Persist, held("y", None)),
            (Edit::GetUntil(None), held("y", None)),
            (Edit::GetUntil(later), held("y", later)),
            (Edit::GetUntil(later), None),
            (Edit::Expire { at: 7, only: Only::Always }, None),
            (Edit::Add(1), held("y", None)),
            (Edit::Add(1), held("9223372036854775807", None)),
            (set("7", When::Absent, Lifetime::Keep), held("y", None)),
            (set("7", When::Present, Lifetime::Keep), None),
            (set("7", When::Equals(b"x"), Lifetime::Keep), None),
            (set("7", When::Equals(b"x"), Lifetime::Keep), held("y", None)),
        ] {
            assert_eq!(edit.apply(found, NOW).0, Change::Leave, "{edit:?}");
        }
        assert_eq!(Edit::Append(b"").apply(None, NOW).0, put("", None), "as in Redis 7");
    }

    #[test]
    fn an_expiry_that_has_passed_ends_the_key() {
        let at = |at| Edit::Expire { at, only: Only::Always };
        for at in [at(NOW as i64), at(0), at(i64::MIN)] {
            assert_eq!(
                at.apply(held("y", None), NOW),
                (Change::Remove, Answer::Integer(1)),
                "{at:?}"
            );
        }
        assert_eq!(at(NOW as i64 + 1).apply(held("y", None), NOW).0, put("y", Some(NOW + 1)));
        for (when, found) in [
            (When::Always, None),
            (When::Absent, None),
            (When::Present, held("y", None)),
            (When::Equals(b"y"), held("y", None)),
        ] {
            let until = |at| set("7", when, Lifetime::Until(Some(at))).apply(found, NOW);
            assert_eq!(until(NOW), (Change::Remove, Answer::Ok), "{when:?}");
            assert_eq!(until(NOW + 1), (put("7", Some(NOW + 1)), Answer::Ok), "{when:?}");
        }
        let (change, answer) = Edit::GetUntil(Some(1)).apply(held("y", None), NOW);
        assert_eq!((change, answer), (Change::Remove, Answer::Bulk(b"y".into())));
    }

    #[test]
    fn a_clock_ahead_does_not_make_a_key_absent() {
        let (change, answer) = Edit::Add(1).apply(held("1", Some(NOW - 5)), NOW);
        assert_eq!((change, answer), (put("2", Some(NOW - 5)), Answer::Integer(2)));
    }

    #[test]
    fn conditions_on_the_expiry() {
        for (only, at, present, want) in [
            (Only::Absent, 10, None, true),
            (Only::Absent, 10, Some(5), false),
            (Only::Present, 10, None, false),
            (Only::Present, 10, Some(5), true),
            (Only::Later, 10, Some(5), true),
            (Only::Later, 5, Some(5), false),
            (Only::Later, 10, None, false),
            (Only::Sooner, 4, Some(5), true),
            (Only::Sooner, 5, Some(5), false),
            (Only::Sooner, 10, None, true),
            (Only::PresentAndSooner, 4, Some(5), true),
            (Only::PresentAndSooner, 10, None, false),
        ] {
            assert_eq!(only.allows(at, present), want, "{only:?} {at} {present:?}");
        }
    }
}
