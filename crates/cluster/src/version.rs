//! Versions: which of two writes of a key is the newer.
//!
//! A version is `(clock, writer, step, op)`, compared in that order. The clock is a hybrid logical
//! clock (Kulkarni et al., *Logical Physical Clocks*, 2014): milliseconds of wall time in the high
//! 48 bits, a counter in the low 16. Clients never read their own wall clock: they take one more
//! than the highest clock that they have received from a server or used themselves
//! ([`WriterClock`]). Servers fold their wall clocks in ([`ServerClock`]).
//!
//! Invariants: [`Version::ABSENT`] is below every version of a record; two operations of one writer
//! never share a version.

use std::ops::Range;

use crate::mutation::{Mutation, is_on};

/// Bits of a clock below the milliseconds.
pub const COUNTER_BITS: u32 = 16;

/// A hybrid logical clock reading: `ms << 16 | counter`.
pub type Clock = u64;

/// A clock reading at `ms` milliseconds since the Unix epoch, counter 0.
pub fn clock_at(ms: u64) -> Clock {
    ms << COUNTER_BITS
}

/// The identity of a read-modify-write, unique in a cluster: the client's writer id and a counter
/// of its own. Zero for a plain put or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Op {
    /// The client that runs the operation.
    pub writer: u64,
    /// That client's own count.
    pub count: u64,
}

/// The version of a record. Field order is the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// The hybrid logical clock of the plain write that this descends from.
    pub clock: Clock,
    /// The writer of that write, never 0. A client has a writer for each call that is under way,
    /// and no other client has any of them.
    pub writer: u64,
    /// 0 for a plain write; read-modify-writes count up from the write they build on.
    pub step: u64,
    /// The read-modify-write; zero for a plain write.
    pub op: Op,
}

impl Version {
    /// Below every version of a record: the version of a key that a node has never stored.
    pub const ABSENT: Version =
        Version { clock: 0, writer: 0, step: 0, op: Op { writer: 0, count: 0 } };

    /// The version of a plain put or delete.
    pub fn plain(clock: Clock, writer: u64) -> Version {
        Version { clock, writer, ..Version::ABSENT }
    }

    /// The successor that the read-modify-write `op` makes of this: above it, and below every plain
    /// write that is above it. Steps of successors are even; the odd ones between are reserved for
    /// expiry (C6).
    pub fn successor(&self, op: Op) -> Version {
        if is_on(Mutation::SuccessorClock) {
            return Version { clock: self.clock + 1, writer: op.writer, ..Version::ABSENT };
        }
        let op = if is_on(Mutation::SameOp) { Op { writer: 1, count: 1 } } else { op };
        Version { step: (self.step & !1).saturating_add(2), op, ..*self }
    }

    /// The version of this value's tombstone when it expires (C6): above it, and below every
    /// successor.
    pub fn expired(&self) -> Version {
        if is_on(Mutation::ExpirySame) {
            return *self;
        }
        Version { step: self.step.saturating_add(1), op: Op::default(), ..*self }
    }

    /// Whether this is the tombstone of an expired value.
    pub fn is_expiry(&self) -> bool {
        self.step % 2 == 1
    }

    /// Whether both descend from the same plain write.
    pub fn is_of_line(&self, other: &Version) -> bool {
        (self.clock, self.writer) == (other.clock, other.writer)
    }

    /// The version that the read-modify-write `op` makes where there is no record, from the clock
    /// that the key's primary reported: above every tombstone that a node may have dropped, below
    /// every plain write that a node still accepts (R5).
    pub fn first(primary_clock: Clock, op: Op) -> Version {
        let clock = primary_clock.saturating_sub(clock_at(RETENTION_MS / 2));
        Version { clock, ..Version::ABSENT }.successor(op)
    }

    /// Whether both are successors of the same version, by two read-modify-writes.
    pub fn is_sibling_of(&self, other: &Version) -> bool {
        let line = |version: &Version| (version.clock, version.writer, version.step);
        self.step > 0 && line(self) == line(other) && self.op != other.op
    }

    /// Whether this is a plain put's or delete's.
    pub fn is_plain(&self) -> bool {
        self.step == 0 && self.op == Op::default()
    }
}

/// A client's source of versions.
///
/// One per client instance; batches and threads of the instance share it (behind a lock of the
/// caller's), so no two of its operations can have one version, whichever of its writers they are
/// of (F1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct WriterClock {
    highest: Clock,
}

impl WriterClock {
    /// Observes a clock that a server reported.
    pub fn observe(&mut self, clock: Clock) {
        self.highest = self.highest.max(clock);
    }

    /// The highest clock that was observed or used.
    pub fn highest(&self) -> Clock {
        self.highest
    }

    /// A version of `writer` (random, not 0) above every clock that was observed or used.
    pub fn draw(&mut self, writer: u64) -> Version {
        debug_assert_ne!(writer, 0, "writer 0 is reserved for versions made from nothing");
        let range = self.reserve(1);
        if is_on(Mutation::ClockReuse) {
            self.highest -= 1;
        }
        Version::plain(range.start, writer)
    }

    /// Reserves clocks for the versions of one batch.
    pub fn reserve(&mut self, count: usize) -> Range<Clock> {
        let first = self.highest + 1;
        self.highest += count as Clock;
        first..self.highest + 1
    }
}

/// A server's clock: never behind its wall clock, never behind a version it has stored, never back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ServerClock {
    highest: Clock,
}

/// R: how long a tombstone is kept at least, in milliseconds (N5). Everything that must be over
/// before a tombstone is dropped takes a fraction of it.
pub const RETENTION_MS: u64 = 3_600_000;

/// How far ahead of its own clock a server lets a version be, in milliseconds (N2). A damaged frame
/// must not push a key's clock out of reach (F20).
pub const MAX_AHEAD_MS: u64 = RETENTION_MS / 16;

impl ServerClock {
    /// The reading at wall time `now_ms`.
    pub fn read(&mut self, now_ms: u64) -> Clock {
        self.highest = self.highest.max(clock_at(now_ms));
        self.highest
    }

    /// Folds in the clock of a stored version.
    pub fn fold(&mut self, clock: Clock) {
        self.highest = self.highest.max(clock);
    }
}

/// Whether a version's clock is further ahead of a server's than N2 allows.
pub fn is_too_far_ahead(clock: Clock, own: Clock) -> bool {
    clock >> COUNTER_BITS > (own >> COUNTER_BITS) + MAX_AHEAD_MS
}

/// Whether two wall clocks differ by more than N5 allows: a node beyond that must not be a member,
/// since it would refuse others' writes, or others its own.
pub fn are_apart(one_ms: u64, other_ms: u64) -> bool {
    one_ms.abs_diff(other_ms) > MAX_AHEAD_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_clock_writer_step_op() {
        let v = |clock, writer, step, count| Version {
            clock,
            writer,
            step,
            op: Op { writer: 1, count },
        };
        let sorted = [v(1, 9, 9, 9), v(2, 1, 9, 9), v(2, 2, 1, 9), v(2, 2, 2, 1), v(2, 2, 2, 2)];
        assert!(sorted.windows(2).all(|w| w[0] < w[1]));
        assert!(Version::ABSENT < Version::plain(0, 1));
    }

    #[test]
    fn successors_are_between_their_base_and_the_next_plain_write() {
        let op = |count| Op { writer: 9, count };
        let plain = Version::plain(5, 1);
        let first = plain.successor(op(1));
        let second = first.successor(op(2));
        assert!(plain < first && first < second && second < Version::plain(5, 2));
        assert_eq!((first.step, second.step), (2, 4));
        assert_eq!(Version { step: 3, ..plain }.successor(op(1)).step, 4, "after an expiry");
        let sibling = plain.successor(op(3));
        assert!(first.is_sibling_of(&sibling) && !first.is_sibling_of(&first));
        assert!(!second.is_sibling_of(&sibling) && !plain.is_sibling_of(&Version::plain(5, 1)));
    }

    #[test]
    fn r5_the_first_successor_is_above_dropped_tombstones_and_below_accepted_writes() {
        let now = 3 * RETENTION_MS;
        let first = Version::first(clock_at(now), Op { writer: 9, count: 1 });
        assert!(first > Version::plain(clock_at(now - RETENTION_MS), u64::MAX));
        assert!(first < Version::plain(clock_at(now - RETENTION_MS / 4), 1));
        assert!(first > Version::ABSENT);
    }

    #[test]
    fn a_writer_never_repeats_a_version_and_stays_above_observed_clocks() {
        let mut clock = WriterClock::default();
        let first = clock.draw(7);
        let second = clock.draw(7);
        assert!(first < second && second < clock.draw(6));
        clock.observe(clock_at(1_000));
        assert!(clock.draw(7).clock > clock_at(1_000));
        clock.observe(5);
        assert!(clock.draw(7).clock > clock_at(1_000));
    }

    #[test]
    fn a_server_clock_never_goes_back() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.read(50), clock_at(50));
        clock.fold(clock_at(90) + 3);
        assert_eq!(clock.read(60), clock_at(90) + 3);
        assert_eq!(clock.read(91), clock_at(91));
    }

    #[test]
    fn clocks_too_far_ahead_are_detected() {
        let own = clock_at(1_000_000);
        assert!(!is_too_far_ahead(clock_at(1_000_000 + MAX_AHEAD_MS), own));
        assert!(is_too_far_ahead(clock_at(1_000_001 + MAX_AHEAD_MS), own));
        assert!(is_too_far_ahead(u64::MAX, own));
        assert!(!are_apart(1_000_000 + MAX_AHEAD_MS, 1_000_000));
        assert!(are_apart(1_000_001 + MAX_AHEAD_MS, 1_000_000));
        assert!(are_apart(1_000_000, 1_000_001 + MAX_AHEAD_MS));
    }
}
