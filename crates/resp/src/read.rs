//! The pure core of each command that reads one key.

use crate::reply::Replies;
use crate::update::Current;

/// What to read of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// GET: its value.
    Value,
    /// STRLEN: its length.
    Length,
    /// GETRANGE: part of its value. Negative indexes count from the end.
    Range {
        /// The first index.
        start: i64,
        /// The last index, inclusive.
        end: i64,
    },
    /// EXISTS: whether it exists.
    Exists,
    /// TYPE: its type.
    Type,
    /// TTL: its time to live in seconds.
    Seconds,
    /// PTTL: the same in milliseconds.
    Milliseconds,
    /// EXPIRETIME: its expiry in seconds since 1970.
    ExpirySeconds,
    /// PEXPIRETIME: the same in milliseconds.
    ExpiryMilliseconds,
}

/// What TTL and its variants return for a key without an expiry.
const FOR_EVER: i64 = -1;
/// What they return for a key that does not exist.
const ABSENT: i64 = -2;

impl Read {
    /// Writes the reply for a key with this content, on a node whose wall clock shows `now_ms`.
    #[inline]
    pub fn answer(self, current: Option<Current<'_>>, now_ms: u64, out: &mut Replies<'_>) {
        let value = current.map(|current| current.value);
        match self {
            Read::Value => out.bulk_or_null(value),
            Read::Length => out.count(value.map_or(0, <[u8]>::len)),
            Read::Range { start, end } => out.bulk(range(value.unwrap_or_default(), start, end)),
            Read::Exists => out.integer(i64::from(current.is_some())),
            Read::Type => out.simple(if current.is_some() { "string" } else { "none" }),
            Read::Seconds => {
                out.integer(time(current, |at| (at.saturating_sub(now_ms) + 500) / 1000))
            }
            Read::Milliseconds => out.integer(time(current, |at| at.saturating_sub(now_ms))),
            Read::ExpirySeconds => out.integer(time(current, |at| at.saturating_add(500) / 1000)),
            Read::ExpiryMilliseconds => out.integer(time(current, |at| at)),
        }
    }
}

fn time(current: Option<Current<'_>>, of_expiry: impl FnOnce(u64) -> u64) -> i64 {
    match current.map(|current| current.expiry) {
        None => ABSENT,
        Some(None) => FOR_EVER,
        Some(Some(at)) => i64::try_from(of_expiry(at)).unwrap_or(i64::MAX),
    }
}

/// The bytes from `start` to `end`, inclusive.
fn range(value: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    // Indexes before the beginning mean the beginning, on either side: as in Redis, where 0 to -100
    // is the first byte.
    let place = |at: i64| match at {
        ..0 => value.len().saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
        _ => usize::try_from(at).unwrap_or(usize::MAX),
    };
    let (start, end) = (place(start), place(end).saturating_add(1).min(value.len()));
    value.get(start..end).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Protocol;

    const NOW: u64 = 1_000_000;

    fn read(read: Read, expiry: Option<u64>) -> String {
        let mut out = Vec::new();
        let current = Current { value: b"value", expiry };
        read.answer(Some(current), NOW, &mut Replies::new(&mut out, Protocol::Resp2));
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    #[test]
    fn times_are_rounded_as_in_redis() {
        for (expiry, seconds, milliseconds, at_second) in [
            (NOW + 10_000, 10, 10_000, 1010),
            (NOW + 9_500, 10, 9_500, 1010),
            (NOW + 9_499, 9, 9_499, 1009),
            (NOW + 1, 0, 1, 1000),
            (NOW - 1, 0, 0, 1000),
        ] {
            assert_eq!(read(Read::Seconds, Some(expiry)), format!(":{seconds}"));
            assert_eq!(read(Read::Milliseconds, Some(expiry)), format!(":{milliseconds}"));
            assert_eq!(read(Read::ExpirySeconds, Some(expiry)), format!(":{at_second}"));
            assert_eq!(read(Read::ExpiryMilliseconds, Some(expiry)), format!(":{expiry}"));
        }
        assert_eq!(read(Read::Seconds, None), ":-1");
        assert_eq!(read(Read::ExpirySeconds, Some(u64::MAX)), ":18446744073709551");
    }

    #[test]
    fn ranges_never_panic() {
        let edges = [i64::MIN, i64::MIN + 1, -6, -5, -1, 0, 1, 4, 5, i64::MAX - 1, i64::MAX];
        for start in edges {
            for end in edges {
                for value in [&b""[..], b"a", b"value"] {
                    range(value, start, end);
                }
            }
        }
    }
}
