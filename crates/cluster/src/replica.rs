//! What a replica does with one request for one key (rules N2 to N5).
//!
//! Pure comparisons: what it holds, what came, its own clock. Whether it may take requests for this arc
//! at all is [`crate::holdings`]'s and [`crate::lease`]'s to say.

use std::cmp::Ordering;

use crate::holdings::Standing;
use crate::mutation::{Mutation, is_on};
use crate::version::{COUNTER_BITS, Clock, RETENTION_MS, Version, is_too_far_ahead};

/// Whether every replica is known to hold a record or something newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Some may not: a reader must make sure before it shows the record to anyone (C3).
    Pending,
    /// All do.
    Committed,
}

/// A replica's answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteAnswer {
    /// It is synced there and holds this version.
    Stored,
    /// It is synced there and holds a newer one, whose version this is.
    Superseded(Version),
    /// It is not synced there, and holds this version.
    BlindStored,
    /// It is not synced there, and holds a newer one, whose version this is.
    BlindBelow(Version),
    /// It was to be stored in place of another version than the one that is held, which is this.
    Differs(Version),
    /// Not under this epoch, or not a keeper of this key: refresh the view.
    WrongEpoch,
    /// It holds no lease: nothing is served until the manager has answered it again.
    NoLease,
    /// It holds other bytes under this very version: a bug of the writer's. Nothing changed.
    Conflict,
    /// The version's clock is too far ahead of the replica's. Nothing stored or taken over.
    BadVersion,
    /// The write was born too long ago (N5). Nothing stored.
    TooOld,
    /// The key is empty or longer than the cluster takes.
    BadKey,
    /// The value is longer than the cluster takes.
    BadValue,
}

/// What is to be done with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the record is to be stored in place of the present one.
    pub keep: bool,
    /// What to answer.
    pub answer: WriteAnswer,
}

/// Rule N2: decides on a write that was admitted with `standing`.
///
/// `held` is the version in store ([`Version::ABSENT`] if none) and `same` whether the bytes in store
/// are those that came; `same` matters only for equal versions. `born` is N5's.
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

/// Rule C6: whether a value's time has passed by a replica's clock. If the replica is synced it then puts a
/// tombstone in its place ([`expire`]).
pub fn is_expired(expiry_ms: u64, own_clock: Clock) -> bool {
    expiry_ms <= own_clock >> COUNTER_BITS
}

/// Rule C6: version and state of the tombstone that takes the place of a value whose time has passed. It is
/// pending: nobody is told that the value is gone before all replicas know. `alone` says that this node is
/// all of them.
pub fn expire(held: Version, alone: bool) -> (Version, State) {
    (held.expired(), state_when_stored(alone || is_on(Mutation::ExpiryAlone)))
}

/// Rule N5: a write may travel for a quarter of the retention; a tombstone that it might have to meet
/// lives four times as long.
fn is_too_old(born: Clock, own_clock: Clock) -> bool {
    (born >> COUNTER_BITS) + RETENTION_MS / 4 < own_clock >> COUNTER_BITS
}

/// Rule N3: the state of a stored record once somebody says that `version` is committed. A commit of
/// any other version says nothing about it.
pub fn commit(held: Version, state: State, version: Version) -> State {
    if held == version { State::Committed } else { state }
}

/// Rule N3, for many at once: whether a version is committed by its writer's mark. A writer tells a mark
/// when every plain write of its own up to that clock is done, or certainly stored nowhere. Successors are
/// not covered: their clock and writer are those of what they were made from.
pub fn is_covered(version: &Version, mark: Clock) -> bool {
    version.is_plain() && version.clock <= mark
}

/// The state of a record that is stored now: pending, unless this node is the whole write set (N3).
pub fn state_when_stored(alone: bool) -> State {
    if alone || is_on(Mutation::CommitEarly) { State::Committed } else { State::Pending }
}

/// Rule N2's CAS: decides on a write that is to take the place of `expected` and of nothing else. Only a
/// synced replica is asked for that.
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

/// Rule C4: whether a record that is still pending since it was stored has waited so long that its writer
/// must have died: about a second. Both by the replica's own clock.
pub fn is_abandoned(stored_at: Clock, own_clock: Clock) -> bool {
    const WAIT_MS: u64 = 1000;
    (stored_at >> COUNTER_BITS) + WAIT_MS < own_clock >> COUNTER_BITS
}

/// Rule N5: whether a tombstone may be dropped. It must be older than the retention, and have been
/// committed here for half of that: `was_committed` says that a sweep half a retention ago found it so.
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
    fn n3_commits_only_what_it_names() {
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
            // Also where the successor would be higher than what is held: nothing but its base will do.
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
