//! What a replica does with one write (rule N2).
//!
//! A pure comparison: the version it holds, the version that came, its own clock. Whether it may
//! take writes of this arc at all is [`crate::tenure`]'s to say.

use crate::tenure::Standing;
use crate::version::{Clock, Version, is_too_far_ahead};

/// A replica's answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAnswer {
    /// It is synced there and holds this version.
    Stored,
    /// It is synced there and holds a newer one, whose version this is.
    Superseded(Version),
    /// It is not synced there, and holds this version.
    BlindStored,
    /// It is not synced there, and holds a newer one, whose version this is.
    BlindBelow(Version),
    /// Not under this epoch, or not a keeper of this key: refresh the view.
    WrongEpoch,
    /// It holds other bytes under this very version: a bug of the writer's. Nothing changed.
    Conflict,
    /// The version's clock is too far ahead of the replica's. Nothing stored or taken over.
    BadVersion,
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

/// Decides on a write that was admitted with `standing`.
///
/// `held` is the version in store ([`Version::ABSENT`] if none) and `same` whether the bytes in store
/// are those that came; `same` matters only for equal versions.
pub fn decide(
    held: Version,
    came: Version,
    same: bool,
    own_clock: Clock,
    standing: Standing,
) -> Decision {
    let stored = match standing {
        Standing::Synced => WriteAnswer::Stored,
        Standing::Blind => WriteAnswer::BlindStored,
    };
    if is_too_far_ahead(came.clock, own_clock) || came <= Version::ABSENT {
        return Decision { keep: false, answer: WriteAnswer::BadVersion };
    }
    match came.cmp(&held) {
        std::cmp::Ordering::Greater => Decision { keep: true, answer: stored },
        std::cmp::Ordering::Equal if same => Decision { keep: false, answer: stored },
        std::cmp::Ordering::Equal => Decision { keep: false, answer: WriteAnswer::Conflict },
        std::cmp::Ordering::Less => Decision {
            keep: false,
            answer: match standing {
                Standing::Synced => WriteAnswer::Superseded(held),
                Standing::Blind => WriteAnswer::BlindBelow(held),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::clock_at;

    #[test]
    fn n2_as_a_table() {
        use Standing::{Blind, Synced};
        use WriteAnswer::{BadVersion, BlindBelow, BlindStored, Conflict, Stored, Superseded};
        let v = |clock| Version::plain(clock, 1);
        let own = clock_at(1_000);
        let far = clock_at(1_000_000_000);
        for (held, came, same, standing, keep, answer) in [
            (Version::ABSENT, v(5), false, Synced, true, Stored),
            (v(4), v(5), false, Synced, true, Stored),
            (v(5), v(5), true, Synced, false, Stored),
            (v(5), v(5), false, Synced, false, Conflict),
            (v(6), v(5), false, Synced, false, Superseded(v(6))),
            (v(4), v(5), false, Blind, true, BlindStored),
            (v(5), v(5), true, Blind, false, BlindStored),
            (v(6), v(5), false, Blind, false, BlindBelow(v(6))),
            (v(4), v(far), false, Synced, false, BadVersion),
            (Version::ABSENT, Version::ABSENT, false, Synced, false, BadVersion),
        ] {
            let got = decide(held, came, same, own, standing);
            assert_eq!(got, Decision { keep, answer }, "{came:?} over {held:?}, {standing:?}");
        }
    }
}
