//! A replica's decision on one request for one key (rules N2 to N5).
//!
//! Pure comparisons of the stored record, the received one and the replica's clock.
//! [`crate::holdings`] and [`crate::lease`] decide whether it may serve the arc at all.

use std::cmp::Ordering;

use crate::holdings::Standing;
use crate::mutation::{Mutation, is_on};
use crate::version::{COUNTER_BITS, Clock, RETENTION_MS, Version, is_too_far_ahead};

/// Whether every replica is known to hold a record or a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Some may not: a reader completes the record before it returns it (C3).
    Pending,
    /// All do.
    Committed,
}

/// A replica's answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteAnswer {
    /// The node is synced and holds this version.
    Stored,
    /// The node is synced and holds a newer version, this one.
    Superseded(Version),
    /// The node is not synced, and holds this version.
    BlindStored,
    /// The node is not synced, and holds a newer version, this one.
    BlindBelow(Version),
    /// A swap expected another version than the stored one, which is this.
    Differs(Version),
    /// The epochs differ, or the node is no replica of the key: refresh the view.
    WrongEpoch,
    /// The node has no lease: it serves nothing until the manager answers a heartbeat.
    NoLease,
    /// The node holds another value under the same version: a bug of the writer's. Nothing changed.
    Conflict,
    /// The version's clock is too far ahead of the replica's. Nothing was stored.
    BadVersion,
    /// The write was born too long ago (N5). Nothing was stored.
    TooOld,
    /// The key is longer than the cluster allows.
    BadKey,
    /// The value is longer than the cluster allows.
    BadValue,
}

/// The decision on a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the record replaces the stored one.
    pub keep: bool,
    /// The answer.
    pub answer: WriteAnswer,
}

/// Rule N2: decides on a write that was admitted with `standing`.
///
/// `held` is the stored version ([`Version::ABSENT`] if none). `same`, which matters only for equal
/// versions, says that the stored value equals the received one. `born` is N5's.
pub fn write(
    held: Version,
    came: Version,
    same: bool,
    born: Clock,
    own_clock: Clock,
    standing: Standing,
) -> Decision {
    let refuse = |answer| Decision { keep: false, answer };
    let stored = match standing {
        Standing::Synced => WriteAnswer::Stored,
        Standing::Blind => WriteAnswer::BlindStored,
    };
    if is_too_far_ahead(came.clock, own_clock) || came <= Version::ABSENT {
        return refuse(WriteAnswer::BadVersion);
    }
    if is_too_old(born, own_clock) {
        return refuse(WriteAnswer::TooOld);
    }
    match came.cmp(&held) {
        Ordering::Greater => Decision { keep: true, answer: stored },
        Ordering::Equal if same => refuse(stored),
        Ordering::Equal => refuse(WriteAnswer::Conflict),
        Ordering::Less => refuse(match standing {
            Standing::Synced => WriteAnswer::Superseded(held),
            Standing::Blind => WriteAnswer::BlindBelow(held),
        }),
    }
}

/// Rule C6: whether a value has expired by a replica's clock. A synced replica then replaces it
/// with a tombstone ([`expire`]).
pub fn is_expired(expiry_ms: u64, own_clock: Clock) -> bool {
    expiry_ms <= own_clock >> COUNTER_BITS
}

/// Rule C6: version and state of the tombstone that replaces an expired value. It is pending: no
/// read reports the value as absent before all replicas know. `alone` says that this node is the
/// whole write set.
pub fn expire(held: Version, alone: bool) -> (Version, State) {
    (held.expired(), state_when_stored(alone || is_on(Mutation::ExpiryAlone)))
}

/// Rule N5: a write may travel for a quarter of the retention. A tombstone that it may conflict
/// with lives four times as long.
fn is_too_old(born: Clock, own_clock: Clock) -> bool {
    (born >> COUNTER_BITS) + RETENTION_MS / 4 < own_clock >> COUNTER_BITS
}

/// Rule N3: the state of a stored record after a commit of `version`. A commit of another version
/// does not concern it.
pub fn commit(held: Version, state: State, version: Version) -> State {
    if held == version { State::Committed } else { state }
}

/// Rule N3, for many at once: whether a version is committed by its writer's watermark. A writer
/// sends a watermark when each of its plain writes up to that clock is done, or certainly stored
/// nowhere. Successors are not covered: their clock and writer are those of their base.
pub fn is_covered(version: &Version, watermark: Clock) -> bool {
    version.is_plain() && version.clock <= watermark
}

/// The state of a newly stored record: pending, unless this node is the whole write set (N3).
pub fn state_when_stored(alone: bool) -> State {
    if alone || is_on(Mutation::CommitEarly) { State::Committed } else { State::Pending }
}

/// Rule N2's compare-and-swap: decides on a write that may replace only `expected`. Only synced
/// replicas receive one.
///
/// The other arguments are those of [`write()`].
pub fn swap(
    held: Version,
    expected: Version,
    came: Version,
    same: bool,
    born: Clock,
    own_clock: Clock,
) -> Decision {
    let decision = write(held, came, same, born, own_clock, Standing::Synced);
    match decision.answer {
        WriteAnswer::Stored | WriteAnswer::Superseded(_) if held != expected && held != came => {
            Decision { keep: false, answer: WriteAnswer::Differs(held) }
        }
        _ => decision,
    }
}

/// Rule C4: whether a record has been pending for so long, about a second, that its writer must
/// have died. Both times are by the replica's own clock.
pub fn is_abandoned(stored_at: Clock, own_clock: Clock) -> bool {
    const WAIT_MS: u64 = 1000;
    (stored_at >> COUNTER_BITS) + WAIT_MS < own_clock >> COUNTER_BITS
}

/// Rule N5: whether a tombstone may be dropped. It must be older than the retention, and must have
/// been committed here for half of that: `was_committed` says that the sweep half a retention ago
/// found it committed.
pub fn may_drop_tombstone(version: Version, was_committed: bool, own_clock: Clock) -> bool {
    was_committed && (version.clock >> COUNTER_BITS) + RETENTION_MS < own_clock >> COUNTER_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::clock_at;

    const NOW: u64 = 2 * RETENTION_MS;

    fn v(clock: u64) -> Version {
        Version::plain(clock_at(NOW) + clock, 1)
    }

    #[test]
    fn n2_as_a_table() {
        use Standing::{Blind, Synced};
        use WriteAnswer::{BadVersion, BlindBelow, BlindStored, Conflict, Stored, Superseded};
        let far = Version::plain(clock_at(2 * NOW), 1);
        for (held, came, same, standing, keep, answer) in [
            (Version::ABSENT, v(5), false, Synced, true, Stored),
            (v(4), v(5), false, Synced, true, Stored),
            (v(5), v(5), true, Synced, false, Stored),
            (v(5), v(5), false, Synced, false, Conflict),
            (v(6), v(5), false, Synced, false, Superseded(v(6))),
            (v(4), v(5), false, Blind, true, BlindStored),
            (v(5), v(5), true, Blind, false, BlindStored),
            (v(6), v(5), false, Blind, false, BlindBelow(v(6))),
            // F20: one damaged clock must not poison a key.
            (v(4), far, false, Synced, false, BadVersion),
            (Version::ABSENT, Version::ABSENT, false, Synced, false, BadVersion),
        ] {
            let got = write(held, came, same, clock_at(NOW), clock_at(NOW), standing);
            assert_eq!(got, Decision { keep, answer }, "{came:?} over {held:?}, {standing:?}");
        }
    }

    #[test]
    fn n5_a_write_travels_for_a_quarter_of_the_retention() {
        let at = |born_ms| {
            let born = clock_at(born_ms);
            write(Version::ABSENT, v(1), false, born, clock_at(NOW), Standing::Synced).answer
        };
        assert_eq!(at(NOW - RETENTION_MS / 4), WriteAnswer::Stored);
        assert_eq!(at(NOW - RETENTION_MS / 4 - 1), WriteAnswer::TooOld);
    }

    #[test]
    fn n3_a_commit_covers_only_the_version_it_names() {
        assert_eq!(commit(v(1), State::Pending, v(1)), State::Committed);
        assert_eq!(commit(v(2), State::Pending, v(1)), State::Pending);
        assert_eq!(commit(v(2), State::Committed, v(1)), State::Committed);
    }

    #[test]
    fn n3_a_mark_covers_plain_versions_only() {
        assert!(is_covered(&v(3), v(3).clock));
        assert!(!is_covered(&v(4), v(3).clock));
        let successor = v(3).successor(crate::version::Op { writer: 1, count: 1 });
        assert!(!is_covered(&successor, v(3).clock));
    }

    #[test]
    fn n2_swap_as_a_table() {
        use WriteAnswer::{Conflict, Differs, Stored, TooOld};
        let now = clock_at(NOW);
        let old = clock_at(NOW - RETENTION_MS / 4 - 1);
        for (held, expected, came, same, born, keep, answer) in [
            (v(1), v(1), v(2), false, now, true, Stored),
            (v(2), v(1), v(2), true, now, false, Stored),
            (v(2), v(1), v(2), false, now, false, Conflict),
            // Also where the successor would be higher than what is held: nothing but its base will
            // do.
            (v(3), v(1), v(4), false, now, false, Differs(v(3))),
            (v(5), v(1), v(4), false, now, false, Differs(v(5))),
            (Version::ABSENT, v(1), v(2), false, now, false, Differs(Version::ABSENT)),
            (Version::ABSENT, Version::ABSENT, v(2), false, now, true, Stored),
            (v(1), v(1), v(2), false, old, false, TooOld),
        ] {
            let got = swap(held, expected, came, same, born, now);
            assert_eq!(got, Decision { keep, answer }, "{came:?} for {expected:?} at {held:?}");
        }
    }

    #[test]
    fn n5_a_tombstone_outlives_every_write_that_it_must_stop() {
        let old = Version::plain(clock_at(NOW - RETENTION_MS - 1), 1);
        assert!(may_drop_tombstone(old, true, clock_at(NOW)));
        assert!(!may_drop_tombstone(old, false, clock_at(NOW)), "F11: committed only now");
        let young = Version::plain(clock_at(NOW - RETENTION_MS), 1);
        assert!(!may_drop_tombstone(young, true, clock_at(NOW)));
    }

    #[test]
    fn c4_waits_about_a_second() {
        assert!(!is_abandoned(clock_at(NOW), clock_at(NOW + 1000)));
        assert!(is_abandoned(clock_at(NOW), clock_at(NOW + 1001)));
    }
}
