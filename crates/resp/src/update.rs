//! The pure core of each read-modify-write: the key's content and the time in, the change and the
//! reply out.
//!
//! A server runs [`Update::apply`] inside the store's atomic update of the key, perhaps several
//! times, since the update starts again when another writer was quicker. The reply of the last run
//! is the one that counts, and only if the update succeeds.
//!
//! It never treats a record as expired. A key whose time has passed is absent because the store
//! reports it so ([`Current`]), never because of a clock: the clock of the calling node may be
//! ahead (rule C6). The time decides only whether a *new* expiry has already passed, which removes
//! the key at once, as in Redis.

use crate::decimal::{self, Number};
use crate::error::Error;
use crate::number::{self, write_integer};
use crate::reply::Replies;

/// The content of a key, as the store reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current<'a> {
    /// Its value.
    pub value: &'a [u8],
    /// When it expires, in milliseconds since 1970; `None`: never.
    pub expiry: Option<u64>,
}

/// A change of one key that depends on its content.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'b> {
    /// SET with a condition, KEEPTTL or GET; SETNX; GETSET.
    Set {
        /// The new value.
        value: &'b [u8],
        /// The condition.
        when: SetCondition<'b>,
        /// The time to live.
        lifetime: Lifetime,
        /// The reply.
        answering: Answering,
    },
    /// DEL: removes it, and replies whether it existed.
    Remove,
    /// GETDEL: removes it, and replies with its value.
    Take,
    /// DELIFEQ: removes it if it has this value, and replies whether it did.
    RemoveIf(&'b [u8]),
    /// APPEND: appends to its value, and replies with the length.
    Append(&'b [u8]),
    /// INCR and its variants: adds to the integer that it holds, and replies with the sum.
    Add(i64),
    /// INCRBYFLOAT: the same with a decimal number.
    AddDecimal(Number),
    /// EXPIRE and its variants: sets its expiry, and replies whether it did.
    Expire {
        /// The expiry, in milliseconds since 1970.
        at: i64,
        /// The condition.
        only: Only,
    },
    /// Extends a lock: its time to live, if it has this value; replies whether it did.
    ProlongIf {
        /// The value.
        token: &'b [u8],
        /// By this many milliseconds.
        by_ms: i64,
        /// Relative to this.
        how: Prolong,
    },
    /// PERSIST: removes its expiry, and replies whether that is a change.
    Persist,
    /// GETEX with an option: sets or removes its expiry, and replies with its value.
    GetUntil(Option<u64>),
}

/// When SET sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetCondition<'b> {
    /// Unconditionally.
    Always,
    /// NX: if the key is absent.
    Absent,
    /// XX: if the key is present.
    Present,
    /// IFEQ: if the key has this value.
    Equals(&'b [u8]),
}

/// The time to live of a key that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// KEEPTTL: unchanged.
    Keep,
    /// Until this time, in milliseconds since 1970, or for ever.
    Until(Option<u64>),
}

/// What SET and its variants reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// `OK`, or a null if it was not set.
    Ok,
    /// 1, or 0 if it was not set.
    Number,
    /// The previous value, whether it was set or not.
    Before,
}

/// How a lock is extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prolong {
    /// From now on.
    Reset,
    /// From now on, if it has an expiry.
    Replace,
    /// Beyond the remaining time, if it has an expiry.
    Add,
}

/// When EXPIRE sets an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Unconditionally.
    Always,
    /// NX: if the key has no expiry.
    Absent,
    /// XX: if the key has an expiry.
    Present,
    /// GT, with XX or without: if it is later than the present one; no expiry is later than any.
    Later,
    /// LT: if it is earlier than the present one, or there is none.
    Sooner,
    /// LT and XX: if it is earlier than the present one.
    PresentAndSooner,
}

/// The change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// Leave the key unchanged.
    Leave,
    /// Remove the key.
    Remove,
    /// Store another value, or the same value with another expiry.
    Put {
        /// The value.
        value: Vec<u8>,
        /// When it expires.
        expiry: Option<u64>,
    },
}

/// The reply to an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateReply {
    /// `OK`.
    Ok,
    /// A null.
    Null,
    /// A number.
    Integer(i64),
    /// A value.
    Bulk(Vec<u8>),
    /// The key's content does not allow the operation.
    Error(Error),
}

impl UpdateReply {
    /// Writes the reply.
    pub fn write(&self, out: &mut Replies<'_>) {
        match self {
            UpdateReply::Ok => out.ok(),
            UpdateReply::Null => out.null(),
            UpdateReply::Integer(number) => out.integer(*number),
            UpdateReply::Bulk(bytes) => out.bulk(bytes),
            UpdateReply::Error(error) => out.error(&error.to_string()),
        }
    }

    fn value_of(current: Option<Current<'_>>) -> UpdateReply {
        current.map_or(UpdateReply::Null, |current| UpdateReply::Bulk(current.value.to_vec()))
    }
}

impl Update<'_> {
    /// The value that it stores, where that does not depend on the key's content.
    pub fn given(&self) -> Option<&[u8]> {
        match self {
            Update::Set { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The change and the reply for a key with this content, on a node whose wall clock shows
    /// `now_ms`.
    pub fn apply(&self, current: Option<Current<'_>>, now_ms: u64) -> (KeyChange, UpdateReply) {
        match self {
            Update::Set { value, when, lifetime, answering } => {
                set(current, value, *when, *lifetime, *answering, now_ms)
            }
            Update::Remove => remove(current.is_some()),
            Update::RemoveIf(value) => {
                remove(current.is_some_and(|current| current.value == *value))
            }
            Update::Take => match current {
                None => (KeyChange::Leave, UpdateReply::Null),
                Some(_) => (KeyChange::Remove, UpdateReply::value_of(current)),
            },
            Update::Append(more) => append(current, more),
            Update::Add(by) => add(current, *by).unwrap_or_else(refuse),
            Update::AddDecimal(by) => add_decimal(current, by).unwrap_or_else(refuse),
            Update::Expire { at, only } => match current {
                Some(current) if only.allows(*at, current.expiry) => {
                    // A time before 1970 has passed anyway.
                    let at = u64::try_from(*at).unwrap_or(0);
                    (keep_until(current, Some(at), now_ms), UpdateReply::Integer(1))
                }
                _ => (KeyChange::Leave, UpdateReply::Integer(0)),
            },
            Update::ProlongIf { token, by_ms, how } => {
                prolong(current, token, *by_ms, *how, now_ms)
            }
            Update::Persist => match current {
                Some(current) if current.expiry.is_some() => {
                    (keep_until(current, None, now_ms), UpdateReply::Integer(1))
                }
                _ => (KeyChange::Leave, UpdateReply::Integer(0)),
            },
            Update::GetUntil(expiry) => {
                let change = current
                    .map_or(KeyChange::Leave, |current| keep_until(current, *expiry, now_ms));
                (change, UpdateReply::value_of(current))
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

fn refuse(error: Error) -> (KeyChange, UpdateReply) {
    (KeyChange::Leave, UpdateReply::Error(error))
}

fn remove(does: bool) -> (KeyChange, UpdateReply) {
    (if does { KeyChange::Remove } else { KeyChange::Leave }, UpdateReply::Integer(i64::from(does)))
}

/// The same value with this expiry. Nothing changes, and nothing is written, if it has that expiry
/// already.
fn keep_until(current: Current<'_>, expiry: Option<u64>, now_ms: u64) -> KeyChange {
    match expiry {
        Some(at) if at <= now_ms => KeyChange::Remove,
        _ if expiry == current.expiry => KeyChange::Leave,
        _ => KeyChange::Put { value: current.value.to_vec(), expiry },
    }
}

fn set(
    current: Option<Current<'_>>,
    value: &[u8],
    when: SetCondition<'_>,
    lifetime: Lifetime,
    answering: Answering,
    now_ms: u64,
) -> (KeyChange, UpdateReply) {
    let does = match when {
        SetCondition::Always => true,
        SetCondition::Absent => current.is_none(),
        SetCondition::Present => current.is_some(),
        SetCondition::Equals(expected) => current.is_some_and(|current| current.value == expected),
    };
    let put = |expiry| KeyChange::Put { value: value.to_vec(), expiry };
    let change = match lifetime {
        _ if !does => KeyChange::Leave,
        Lifetime::Keep => put(current.and_then(|current| current.expiry)),
        Lifetime::Until(Some(at)) if at <= now_ms => KeyChange::Remove,
        Lifetime::Until(expiry) => put(expiry),
    };
    let answer = match answering {
        Answering::Ok if does => UpdateReply::Ok,
        Answering::Ok => UpdateReply::Null,
        Answering::Number => UpdateReply::Integer(i64::from(does)),
        Answering::Before => UpdateReply::value_of(current),
    };
    (change, answer)
}

fn prolong(
    current: Option<Current<'_>>,
    token: &[u8],
    by_ms: i64,
    how: Prolong,
    now_ms: u64,
) -> (KeyChange, UpdateReply) {
    let at = |current: Current<'_>| match (how, current.expiry) {
        (Prolong::Replace | Prolong::Add, None) => None,
        (Prolong::Add, Some(at)) => Some(at.max(now_ms).saturating_add_signed(by_ms)),
        (Prolong::Reset | Prolong::Replace, _) => Some(now_ms.saturating_add_signed(by_ms)),
    };
    match current
        .filter(|current| current.value == token)
        .and_then(|current| Some((current, at(current)?)))
    {
        Some((current, at)) => (keep_until(current, Some(at), now_ms), UpdateReply::Integer(1)),
        None => (KeyChange::Leave, UpdateReply::Integer(0)),
    }
}

/// A new value with the expiry of the old one.
fn replace(current: Option<Current<'_>>, value: Vec<u8>) -> KeyChange {
    KeyChange::Put { value, expiry: current.and_then(|current| current.expiry) }
}

fn append(current: Option<Current<'_>>, more: &[u8]) -> (KeyChange, UpdateReply) {
    let value = [current.map_or(&[][..], |current| current.value), more].concat();
    let answer = UpdateReply::Integer(value.len() as i64);
    let is_same = current.is_some() && more.is_empty();
    (if is_same { KeyChange::Leave } else { replace(current, value) }, answer)
}

fn add(current: Option<Current<'_>>, by: i64) -> Result<(KeyChange, UpdateReply), Error> {
    let number = match current {
        None => 0,
        Some(current) => number::integer(current.value).ok_or(Error::NotAnInteger)?,
    };
    let sum = number.checked_add(by).ok_or(Error::Overflow)?;
    let mut text = Vec::new();
    write_integer(sum, &mut text);
    Ok((replace(current, text), UpdateReply::Integer(sum)))
}

fn add_decimal(
    current: Option<Current<'_>>,
    by: &Number,
) -> Result<(KeyChange, UpdateReply), Error> {
    let number =
        decimal::parse(current.map_or(b"0", |current| current.value)).ok_or(Error::NotAFloat)?;
    let sum = number.plus(by).ok_or(Error::NotFinite)?.to_text();
    Ok((replace(current, sum.clone()), UpdateReply::Bulk(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn current(value: &str, expiry: Option<u64>) -> Option<Current<'_>> {
        Some(Current { value: value.as_bytes(), expiry })
    }

    fn put(value: &str, expiry: Option<u64>) -> KeyChange {
        KeyChange::Put { value: value.into(), expiry }
    }

    fn set<'b>(value: &'b str, when: SetCondition<'b>, lifetime: Lifetime) -> Update<'b> {
        Update::Set { value: value.as_bytes(), when, lifetime, answering: Answering::Ok }
    }

    #[test]
    fn commands_without_an_expiry_keep_the_expiry() {
        let later = Some(NOW + 5);
        for (update, value) in [
            (Update::Append(b"1"), "11"),
            (Update::Add(1), "2"),
            (Update::AddDecimal(decimal::parse(b"0.5").unwrap()), "1.5"),
            (set("7", SetCondition::Always, Lifetime::Keep), "7"),
        ] {
            assert_eq!(update.apply(current("1", later), NOW).0, put(value, later), "{update:?}");
        }
        let update = set("7", SetCondition::Present, Lifetime::Until(None));
        assert_eq!(update.apply(current("1", later), NOW).0, put("7", None));
    }

    #[test]
    fn an_update_without_a_change_writes_nothing() {
        let later = Some(NOW + 5);
        for (update, found) in [
            (Update::Remove, None),
            (Update::Take, None),
            (Update::RemoveIf(b"x"), None),
            (Update::RemoveIf(b"x"), current("y", None)),
            (Update::Append(b""), current("y", None)),
            (Update::Persist, None),
            (Update::Persist, current("y", None)),
            (Update::GetUntil(None), current("y", None)),
            (Update::GetUntil(later), current("y", later)),
            (Update::GetUntil(later), None),
            (Update::Expire { at: 7, only: Only::Always }, None),
            (Update::Add(1), current("y", None)),
            (Update::Add(1), current("9223372036854775807", None)),
            (set("7", SetCondition::Absent, Lifetime::Keep), current("y", None)),
            (set("7", SetCondition::Present, Lifetime::Keep), None),
            (set("7", SetCondition::Equals(b"x"), Lifetime::Keep), None),
            (set("7", SetCondition::Equals(b"x"), Lifetime::Keep), current("y", None)),
        ] {
            assert_eq!(update.apply(found, NOW).0, KeyChange::Leave, "{update:?}");
        }
        assert_eq!(Update::Append(b"").apply(None, NOW).0, put("", None), "as in Redis 7");
    }

    #[test]
    fn an_expiry_in_the_past_removes_the_key() {
        let at = |at| Update::Expire { at, only: Only::Always };
        for at in [at(NOW as i64), at(0), at(i64::MIN)] {
            assert_eq!(
                at.apply(current("y", None), NOW),
                (KeyChange::Remove, UpdateReply::Integer(1)),
                "{at:?}"
            );
        }
        assert_eq!(at(NOW as i64 + 1).apply(current("y", None), NOW).0, put("y", Some(NOW + 1)));
        for (when, found) in [
            (SetCondition::Always, None),
            (SetCondition::Absent, None),
            (SetCondition::Present, current("y", None)),
            (SetCondition::Equals(b"y"), current("y", None)),
        ] {
            let until = |at| set("7", when, Lifetime::Until(Some(at))).apply(found, NOW);
            assert_eq!(until(NOW), (KeyChange::Remove, UpdateReply::Ok), "{when:?}");
            assert_eq!(until(NOW + 1), (put("7", Some(NOW + 1)), UpdateReply::Ok), "{when:?}");
        }
        let (change, answer) = Update::GetUntil(Some(1)).apply(current("y", None), NOW);
        assert_eq!((change, answer), (KeyChange::Remove, UpdateReply::Bulk(b"y".into())));
    }

    #[test]
    fn a_clock_ahead_does_not_make_a_key_absent() {
        let (change, answer) = Update::Add(1).apply(current("1", Some(NOW - 5)), NOW);
        assert_eq!((change, answer), (put("2", Some(NOW - 5)), UpdateReply::Integer(2)));
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
