//! When a write is acknowledged (rule C1).
//!
//! A put or delete sends one version to the whole write set of its key under one epoch and collects
//! the answers. [`WriteRound`] counts them and returns what follows: done, another attempt under a
//! newer view or with a fresh version, or an error, which is either *not done* or *unknown*.
//!
//! While a reconfiguration moves a key, its write set has nodes that are not its replicas yet, and
//! that are mostly not synced. A put goes to the replicas first, and to these nodes only after a
//! synced replica has stored its version. Otherwise two concurrent writes of one key could leave
//! the lower version at such a node alone. The replicas would hold a newer version, so the write
//! could not be acknowledged; and it would be stored somewhere, so it could not take another
//! version (R3). Its outcome would be unknown. The second step costs such puts another round trip;
//! members and epoch are the same.
//!
//! A round lasts through all attempts of one operation: what earlier attempts may have stored
//! limits what a later one may report.
//!
//! Invariants: the outcome is *done* only if every member of one epoch's write set holds this
//! version or a newer one, at least one of them is synced, and either a synced replica has stored
//! this version, or the version was chosen above one that a synced replica reported during this
//! operation. It is *not done* only if no member can hold any version of the operation (F17).

use crate::ids::Epoch;
use crate::mutation::{Mutation, is_on};
use crate::replica::WriteAnswer;
use crate::version::Version;

/// One member's reply to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteReply {
    /// It answered.
    Answer(WriteAnswer),
    /// The request never reached it: it certainly stored nothing.
    Unsent,
    /// The request may have reached it, but no answer came: it may have stored the version.
    Lost,
}

impl WriteReply {
    /// Rule C6: whether this answers the write-back of `version`, an expired value's tombstone,
    /// with a newer version of the same line. Then a client has extended the value's life, and the
    /// value may not have expired.
    pub fn is_prolonged(&self, version: &Version) -> bool {
        match self {
            WriteReply::Answer(WriteAnswer::Superseded(other) | WriteAnswer::BlindBelow(other)) => {
                version.is_expiry() && version.is_of_line(other) && !is_on(Mutation::ExpiryCounts)
            }
            _ => false,
        }
    }

    /// Rule C6: the reply as it counts for the write-back of `version`.
    #[must_use]
    pub fn to_write_back(self, version: &Version) -> WriteReply {
        if self.is_prolonged(version) { WriteReply::Unsent } else { self }
    }
}

/// The conclusion from an attempt's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerdict {
    /// Acknowledged: it has taken effect, and only the loss of all copies can undo it.
    Done,
    /// Refresh the view and send the same version again.
    Again,
    /// The replicas have stored it: send it to the rest of the write set.
    Rest,
    /// Every synced replica holds a newer version and no member holds this one: try again with a
    /// version above the given one.
    Fresh(Version),
    /// It has not taken effect and will not.
    NotDone(WriteAnswer),
    /// It may or may not have taken effect.
    Unknown,
}

/// The state of one put or delete.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WriteRound {
    is_fresh: bool,
    /// A synced replica has answered STORED for this version in some attempt.
    is_taken: bool,
    /// Some member may hold this version although no synced replica has confirmed it.
    may_linger: bool,
    attempt: Attempt,
}

/// Replies of the attempt under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Attempt {
    epoch: Epoch,
    members: usize,
    /// The smallest number of synced members that must hold it.
    least: usize,
    /// The number of members to which it was sent so far.
    asked: usize,
    holding: usize,
    synced: usize,
    newest: Version,
    refused: Option<WriteAnswer>,
}

impl Default for WriteRound {
    fn default() -> WriteRound {
        WriteRound::new()
    }
}

impl WriteRound {
    /// A round with a version that was chosen without asking a replica (not fresh).
    pub fn new() -> WriteRound {
        WriteRound {
            is_fresh: false,
            is_taken: false,
            may_linger: false,
            attempt: Attempt::default(),
        }
    }

    /// Starts an attempt under one epoch whose write set has `members` members: all are asked at
    /// once.
    pub fn begin(&mut self, members: usize) {
        self.begin_with(members, 1);
    }

    /// The same, with at least `least` synced members that must hold it.
    pub fn begin_with(&mut self, members: usize, least: usize) {
        self.attempt = Attempt { members, asked: members, least, ..Attempt::default() };
    }

    /// Starts an attempt of a put or delete under an epoch, or continues it after
    /// [`WriteVerdict::Rest`]. The first members are the key's replicas. Returns the members to ask
    /// now.
    pub fn begin_in_steps<'m>(
        &mut self,
        epoch: Epoch,
        members: &'m [u16],
        replicas: usize,
        least: usize,
    ) -> &'m [u16] {
        let is_same = epoch == self.attempt.epoch && members.len() == self.attempt.members;
        if is_same && self.verdict() == WriteVerdict::Rest {
            let asked = std::mem::replace(&mut self.attempt.asked, members.len());
            return &members[asked..];
        }
        let at_once = self.is_taken || self.is_fresh || replicas == 0;
        let asked = if at_once { members.len() } else { replicas.min(members.len()) };
        let all = members.len();
        self.attempt = Attempt { epoch, members: all, asked, least, ..Attempt::default() };
        &members[..asked]
    }

    /// Continues with a version above the one in [`WriteVerdict::Fresh`].
    pub fn freshen(&mut self) {
        self.is_fresh = true;
    }

    /// Counts one member's reply.
    pub fn take(&mut self, reply: WriteReply) {
        let attempt = &mut self.attempt;
        match reply {
            WriteReply::Answer(WriteAnswer::Stored) => {
                attempt.holding += 1;
                attempt.synced += 1;
                self.is_taken = true;
            }
            WriteReply::Answer(WriteAnswer::Superseded(version)) => {
                attempt.holding += 1;
                attempt.synced += 1;
                attempt.newest = attempt.newest.max(version);
            }
            WriteReply::Answer(WriteAnswer::BlindStored) if is_on(Mutation::BlindStored) => {
                self.take(WriteReply::Answer(WriteAnswer::Stored));
            }
            WriteReply::Answer(WriteAnswer::BlindStored) => {
                attempt.holding += 1;
                self.may_linger = true;
                self.is_taken |= is_on(Mutation::Vacuous);
            }
            WriteReply::Answer(WriteAnswer::BlindBelow(_)) => attempt.holding += 1,
            // None of these says which version the member holds; and only swaps are answered by
            // Differs.
            WriteReply::Answer(
                WriteAnswer::WrongEpoch
                | WriteAnswer::NoLease
                | WriteAnswer::TooOld
                | WriteAnswer::Differs(_),
            )
            | WriteReply::Unsent => {}
            WriteReply::Answer(
                refusal @ (WriteAnswer::Conflict
                | WriteAnswer::BadVersion
                | WriteAnswer::BadKey
                | WriteAnswer::BadValue),
            ) => attempt.refused = Some(refusal),
            WriteReply::Lost => self.may_linger = true,
        }
    }

    /// The conclusion, once every member's reply is counted.
    pub fn verdict(&self) -> WriteVerdict {
        let attempt = &self.attempt;
        if let Some(refusal) = attempt.refused {
            return if self.may_exist() {
                WriteVerdict::Unknown
            } else {
                WriteVerdict::NotDone(refusal)
            };
        }
        // Members that are still fetching will be synced, unless views change.
        let is_short = attempt.synced < attempt.least && !is_on(Mutation::FewCopies);
        let is_first_step = attempt.asked < attempt.members;
        if is_first_step && attempt.holding == attempt.asked && attempt.synced > 0 {
            if self.is_taken {
                return WriteVerdict::Rest;
            }
        } else if !self.is_complete() || is_short {
            if is_on(Mutation::RetryNew) && !self.is_fresh {
                return WriteVerdict::Fresh(attempt.newest);
            }
            return WriteVerdict::Again;
        }
        if self.is_taken || self.is_fresh {
            return WriteVerdict::Done;
        }
        // All synced replicas hold a newer version.
        if self.may_linger && !is_on(Mutation::RetryMay) {
            WriteVerdict::Unknown
        } else {
            WriteVerdict::Fresh(attempt.newest)
        }
    }

    /// Whether every member holds this version or a newer one, and at least one of them is synced:
    /// the condition of a write-back, for which a newer version suffices (C3, F12).
    pub fn is_complete(&self) -> bool {
        let attempt = &self.attempt;
        if is_on(Mutation::AnyAnswered) {
            return attempt.synced > 0;
        }
        attempt.members > 0
            && attempt.refused.is_none()
            && attempt.holding == attempt.members
            && (attempt.synced > 0 || is_on(Mutation::Vacuous))
    }

    /// Whether any member may hold a version of this operation: at the deadline, the difference
    /// between *not done* and *unknown*.
    pub fn may_exist(&self) -> bool {
        self.is_taken || self.may_linger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_an_extended_life_outranks_its_expiry() {
        let value = Version::plain(5, 1);
        let op = crate::version::Op { writer: 9, count: 1 };
        let (end, prolonged) = (value.expired(), value.successor(op));
        assert!(value < end && end < prolonged && end.is_expiry() && !prolonged.is_expiry());
        assert!(prolonged < Version::plain(6, 0) && end.successor(op) == prolonged);
        for (version, reply, counts) in [
            (end, WriteAnswer::Stored, true),
            (end, WriteAnswer::Superseded(prolonged), false),
            (end, WriteAnswer::BlindBelow(prolonged), false),
            (end, WriteAnswer::Superseded(Version::plain(6, 1)), true),
            (end, WriteAnswer::Superseded(Version::plain(5, 2)), true),
            (value, WriteAnswer::Superseded(end), true),
            (value, WriteAnswer::Superseded(prolonged), true),
        ] {
            let mut round = WriteRound::new();
            round.begin(2);
            round.take(WriteReply::Answer(WriteAnswer::Stored));
            round.take(WriteReply::Answer(reply).to_write_back(&version));
            assert_eq!(round.is_complete(), counts, "{version:?} {reply:?}");
        }
    }
    use WriteAnswer::{BadKey, BlindBelow, BlindStored, Stored, Superseded, WrongEpoch};

    const NEWER: Version = Version::plain_for_tests(9);

    impl Version {
        const fn plain_for_tests(clock: u64) -> Version {
            Version { clock, writer: 1, ..Version::ABSENT }
        }
    }

    fn answers(round: &mut WriteRound, replies: &[WriteReply]) -> WriteVerdict {
        round.begin(replies.len());
        for &reply in replies {
            round.take(reply);
        }
        round.verdict()
    }

    #[test]
    fn c1_in_one_attempt() {
        let a = WriteReply::Answer;
        for (replies, want) in [
            (vec![a(Stored)], WriteVerdict::Done),
            (vec![a(Stored), a(Stored), a(Stored)], WriteVerdict::Done),
            (vec![a(Stored), a(Superseded(NEWER))], WriteVerdict::Done),
            (vec![a(Stored), a(BlindStored)], WriteVerdict::Done),
            (vec![a(Stored), a(WrongEpoch)], WriteVerdict::Again),
            (vec![a(Stored), WriteReply::Lost], WriteVerdict::Again),
            (vec![a(Stored), WriteReply::Unsent], WriteVerdict::Again),
            (vec![], WriteVerdict::Again),
            // F12: blind answers alone never finish a write.
            (vec![a(BlindStored), a(BlindStored)], WriteVerdict::Again),
            (vec![a(Superseded(NEWER)), a(Superseded(NEWER))], WriteVerdict::Fresh(NEWER)),
            (vec![a(Superseded(NEWER)), a(BlindBelow(NEWER))], WriteVerdict::Fresh(NEWER)),
            // R3: a blind member stored it, so it could surface beside the fresh version.
            (vec![a(Superseded(NEWER)), a(BlindStored)], WriteVerdict::Unknown),
            (vec![a(BadKey)], WriteVerdict::NotDone(BadKey)),
            // F17: *not done* only if no member can hold it.
            (vec![a(BadKey), a(Stored)], WriteVerdict::Unknown),
            (vec![a(BadKey), WriteReply::Lost], WriteVerdict::Unknown),
        ] {
            assert_eq!(answers(&mut WriteRound::new(), &replies), want, "{replies:?}");
        }
    }

    /// The replicas are asked first, and the others only once a replica has stored it.
    #[test]
    fn c1_in_two_steps_while_the_key_moves() {
        let (a, newer) = (WriteReply::Answer, WriteReply::Answer(Superseded(NEWER)));
        let members = [4, 2, 7];
        for (first, want) in [
            ([a(Stored), a(Stored)], WriteVerdict::Rest),
            ([a(Stored), newer], WriteVerdict::Rest),
            // No member can hold it: the one that is not synced was not asked.
            ([newer, newer], WriteVerdict::Fresh(NEWER)),
            ([newer, a(WrongEpoch)], WriteVerdict::Again),
            ([a(Stored), WriteReply::Lost], WriteVerdict::Again),
            ([a(BlindStored), a(BlindStored)], WriteVerdict::Again),
            ([newer, a(BlindStored)], WriteVerdict::Unknown),
        ] {
            let mut round = WriteRound::new();
            assert_eq!(round.begin_in_steps(Epoch(1), &members, 2, 1), [4, 2]);
            first.iter().for_each(|&reply| round.take(reply));
            assert_eq!(round.verdict(), want, "{first:?}");
            if want != WriteVerdict::Rest {
                continue;
            }
            // Under another epoch all are asked, since one of them has stored it.
            assert_eq!(round.clone().begin_in_steps(Epoch(2), &members, 2, 1), members);
            assert_eq!(round.begin_in_steps(Epoch(1), &members, 2, 1), [7]);
            let mut lost = round.clone();
            lost.take(WriteReply::Lost);
            assert_eq!(lost.verdict(), WriteVerdict::Again);
            assert_eq!(lost.begin_in_steps(Epoch(1), &members, 2, 1), members);
            round.take(a(BlindBelow(NEWER)));
            assert_eq!(round.verdict(), WriteVerdict::Done);
        }
        // The least copies are checked at the end.
        let mut round = WriteRound::new();
        round.begin_in_steps(Epoch(1), &members, 2, 3);
        (0..2).for_each(|_| round.take(a(Stored)));
        assert_eq!(round.begin_in_steps(Epoch(1), &members, 2, 3), [7]);
        round.take(a(BlindStored));
        assert_eq!(round.verdict(), WriteVerdict::Again);
        let mut round = WriteRound::new();
        round.freshen();
        assert_eq!(round.begin_in_steps(Epoch(1), &members, 2, 1), members);
        assert_eq!(WriteRound::new().begin_in_steps(Epoch(1), &members, 3, 1), members);
        assert_eq!(WriteRound::new().begin_in_steps(Epoch(1), &[], 0, 1), [0; 0]);
    }

    #[test]
    fn c1_a_write_is_done_when_as_many_synced_members_hold_it_as_are_asked_for() {
        let a = WriteReply::Answer;
        for (least, replies, want) in [
            (2, vec![a(Stored), a(Stored)], WriteVerdict::Done),
            (2, vec![a(Stored), a(Superseded(NEWER))], WriteVerdict::Done),
            (2, vec![a(Stored), a(BlindStored)], WriteVerdict::Again),
            (2, vec![a(Stored), a(Stored), a(BlindStored)], WriteVerdict::Done),
            (3, vec![a(Stored), a(Stored), a(BlindStored)], WriteVerdict::Again),
            (2, vec![a(Stored)], WriteVerdict::Again),
            (2, vec![a(Superseded(NEWER)), a(BlindBelow(NEWER))], WriteVerdict::Again),
            (1, vec![a(Stored), a(BlindStored)], WriteVerdict::Done),
            (2, vec![a(BadKey), a(BadKey)], WriteVerdict::NotDone(BadKey)),
        ] {
            let mut round = WriteRound::new();
            round.begin_with(replies.len(), least);
            replies.iter().for_each(|&reply| round.take(reply));
            assert_eq!(round.verdict(), want, "{least} of {replies:?}");
        }
    }

    #[test]
    fn a_fresh_version_is_done_when_all_hold_it_or_newer() {
        let mut round = WriteRound::new();
        let superseded = WriteReply::Answer(Superseded(NEWER));
        assert_eq!(answers(&mut round, &[superseded]), WriteVerdict::Fresh(NEWER));
        round.freshen();
        assert_eq!(answers(&mut round, &[superseded]), WriteVerdict::Done);
    }

    #[test]
    fn a_lost_reply_forbids_a_fresh_version_later() {
        let mut round = WriteRound::new();
        assert_eq!(answers(&mut round, &[WriteReply::Lost]), WriteVerdict::Again);
        assert!(round.may_exist());
        let superseded = WriteReply::Answer(Superseded(NEWER));
        assert_eq!(answers(&mut round, &[superseded]), WriteVerdict::Unknown);
    }

    #[test]
    fn taken_once_stays_taken_across_views() {
        let mut round = WriteRound::new();
        let a = WriteReply::Answer;
        assert_eq!(answers(&mut round, &[a(Stored), a(WrongEpoch)]), WriteVerdict::Again);
        assert_eq!(answers(&mut round, &[a(Superseded(NEWER))]), WriteVerdict::Done);
    }

    #[test]
    fn a_write_that_was_never_sent_is_not_done() {
        let mut round = WriteRound::new();
        assert_eq!(
            answers(&mut round, &[WriteReply::Unsent, WriteReply::Unsent]),
            WriteVerdict::Again
        );
        assert!(!round.may_exist());
    }
}
