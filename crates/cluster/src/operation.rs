//! A put, get, delete or read-modify-write from call to outcome (rules C1, C3 and C5).
//!
//! One state machine for everything that acts as a client: the client library, a node that
//! coordinates, a node that completes a dead writer's record (C4), the simulation, the model. It
//! returns the members of a view to send a request to, counts the replies, and returns what it
//! needs next.
//!
//! A get may not return a *pending* record yet: some replica may not hold it, and a later reader
//! there would see an older value. So it first writes the record back to the whole write set, under
//! the epoch under which it was read. If the epoch is refused meanwhile, it reads again.
//!
//! An expired value is read as a pending tombstone (C6). Its write-back may find that another
//! client has extended the value's life. That record may be at a replica that is not synced yet, or
//! a replica may report the tombstone at each read. So the get continues as a read-modify-write
//! that changes nothing: it asks every member, and completes the newest record.

mod exchange;
pub mod read;
pub mod update;
pub mod write;

use crate::durability::Durability;
use crate::ids::Epoch;
use crate::mutation::{Mutation, is_on};
use crate::operation::read::{ReadReply, ReadRound, ReadVerdict};
use crate::operation::update::RmwRound;
use crate::operation::write::{WriteReply, WriteRound, WriteVerdict};
use crate::replica::{State, WriteAnswer};
use crate::version::{Clock, Op, Version};
use crate::view::Routes;

pub use crate::operation::exchange::{Body, Choice, Found, Need, Outcome, ReadAnswer, Request};

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation<V> {
    phase: Phase<V>,
    outcome: Option<Outcome<V>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase<V> {
    /// A put or delete.
    Write { version: Version, body: Body<V>, born: Clock, round: WriteRound },
    /// A get, at this place of the replicas, under this epoch.
    Read { round: ReadRound, place: usize, epoch: Epoch },
    /// A get that found a pending record, at this place of the replicas, and completes it before it
    /// returns it; or a finisher. `is_prolonged`: another client has extended the life of the value
    /// that it read as expired (C6).
    WriteBack { found: Found<V>, place: Option<usize>, round: WriteRound, is_prolonged: bool },
    /// A read-modify-write, or a get that continues as one. Boxed: it is large and rare, and a
    /// batch has hundreds of operations.
    Rmw(Box<RmwRound<V>>),
}

impl<V> Phase<V> {
    fn write_back(found: Found<V>, place: Option<usize>) -> Phase<V> {
        Phase::WriteBack { found, place, round: WriteRound::new(), is_prolonged: false }
    }
}

impl<V: Clone> Operation<V> {
    /// A put of a value, or a delete (`None`), with a version drawn for it.
    pub fn write(version: Version, body: Body<V>) -> Operation<V> {
        let born = version.clock;
        Operation {
            phase: Phase::Write { version, body, born, round: WriteRound::new() },
            outcome: None,
        }
    }

    /// A get.
    pub fn read() -> Operation<V> {
        let phase = Phase::Read { round: ReadRound::new(0), place: 0, epoch: Epoch::NONE };
        Operation { phase, outcome: None }
    }

    /// A read-modify-write: the caller chooses what follows the value that was found
    /// ([`Need::Choice`]).
    pub fn read_modify_write() -> Operation<V> {
        Operation { phase: Phase::Rmw(Box::default()), outcome: None }
    }

    /// Completes a record that a replica holds as pending (C4), like a get that nobody waits for.
    pub fn finish(found: Found<V>) -> Operation<V> {
        let phase = Phase::write_back(found, None);
        Operation { phase, outcome: None }
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome<V>> {
        self.outcome.as_ref()
    }

    /// Takes the outcome out.
    pub fn into_outcome(self) -> Option<Outcome<V>> {
        self.outcome
    }

    /// Starts an attempt under a view. Returns the members to send [`Operation::request`] to, as
    /// places in the view; none if nobody serves the key.
    pub fn begin<'r>(&mut self, routes: &'r Routes, key: &[u8]) -> &'r [u16] {
        let arc = routes.arc_of(key);
        if let Phase::WriteBack { found, .. } = &self.phase
            && found.epoch != routes.epoch()
            && !is_on(Mutation::BackMoved)
        {
            // Under another epoch the record is read again before it is written back (R1).
            self.phase = Operation::<V>::read().phase;
        }
        match &mut self.phase {
            Phase::Write { round, .. } => {
                let members = arc.map_or(&[][..], |arc| routes.write_set(arc));
                let least = routes.view().least_copies();
                if (1..least).contains(&members.len()) && !round.may_exist() {
                    self.outcome = Some(Outcome::FewCopies);
                    return &[];
                }
                // The replicas come first in the write set.
                let replicas = arc.map_or(0, |arc| routes.replicas(arc).len());
                round.begin_in_steps(routes.epoch(), members, replicas, least)
            }
            Phase::WriteBack { found, place, round, is_prolonged } => {
                let members = arc.map_or(&[][..], |arc| routes.write_set(arc));
                round.begin(members.len());
                *is_prolonged = false;
                match (place, members) {
                    // The primary, which comes first, has returned the record under this epoch, so
                    // it holds it. With `sync` its disk may not hold it yet (F14).
                    (Some(0), [_, others @ ..])
                        if found.epoch == routes.epoch()
                            && !others.is_empty()
                            && (routes.view().durability != Durability::Sync
                                || is_on(Mutation::BackSkips)) =>
                    {
                        round.take(WriteReply::Answer(WriteAnswer::Stored));
                        others
                    }
                    _ => members,
                }
            }
            Phase::Read { round, place, epoch } => {
                *epoch = routes.epoch();
                let replicas = arc.map_or(&[][..], |arc| routes.replicas(arc));
                if *place == 0 || *place >= replicas.len() {
                    *round = ReadRound::new(replicas.len());
                    *place = 0;
                }
                replicas.get(*place..=*place).unwrap_or(&[])
            }
            Phase::Rmw(round) => arc.map_or(&[][..], |arc| round.begin(routes, arc)),
        }
    }

    /// The request of this attempt.
    pub fn request(&self) -> Request<'_, V> {
        match &self.phase {
            Phase::Write { version, body, born, .. } => {
                Request::Write { version: *version, body, born: *born, expected: None }
            }
            Phase::WriteBack { found, .. } => found.write_back(),
            Phase::Read { .. } => Request::Read,
            Phase::Rmw(round) => round.request(),
        }
    }

    /// Whether this is a put or delete: one with a version drawn for it.
    pub fn is_write(&self) -> bool {
        matches!(self.phase, Phase::Write { .. })
    }

    /// Whether this attempt waits for all replies and then concludes; a read needs one.
    pub fn is_collecting(&self) -> bool {
        !matches!(self.phase, Phase::Read { .. })
    }

    /// Whether only the number of synced copies keeps it from writing: it may grow.
    pub fn waits_for_copies(&self) -> bool {
        match &self.phase {
            Phase::Rmw(round) => round.waits_for_copies(),
            _ => false,
        }
    }

    /// Whether it has yet to read the key, and no member can hold anything of it: then it can be
    /// postponed as if it had not begun.
    pub fn has_yet_to_read(&self) -> bool {
        match &self.phase {
            Phase::Read { .. } => true,
            Phase::Rmw(round) => round.has_yet_to_read(),
            Phase::Write { .. } | Phase::WriteBack { .. } => false,
        }
    }

    /// Counts one member's reply to a write.
    pub fn wrote(&mut self, reply: WriteReply) {
        match &mut self.phase {
            Phase::Write { round, .. } => round.take(reply),
            Phase::WriteBack { found, round, is_prolonged, .. } => {
                *is_prolonged |= reply.is_prolonged(&found.version);
                round.take(reply.to_write_back(&found.version));
            }
            Phase::Rmw(round) => round.wrote(reply),
            Phase::Read { .. } => {}
        }
    }

    /// Counts the reply to a read or fence of the member at `member` in the view; `None` if none
    /// came. Returns what a read needs next.
    pub fn got(&mut self, member: u16, answer: Option<ReadAnswer<V>>) -> Need {
        if let Phase::Rmw(round) = &mut self.phase {
            if let Some(answer) = answer {
                round.got(member, answer);
            }
            return Need::Nothing;
        }
        let Phase::Read { round, place, epoch } = &mut self.phase else { return Need::Nothing };
        let reply = match answer {
            Some(ReadAnswer::Found(found))
                if found.state == State::Committed || is_on(Mutation::NoWriteback) =>
            {
                self.outcome = Some(Outcome::Got(found.body, *place));
                return Need::Nothing;
            }
            Some(ReadAnswer::Found(found)) if found.epoch != *epoch => {
                // The replica is in another view. Reads allow that, but a pending record can be
                // completed only under the replica's view.
                self.phase = Operation::<V>::read().phase;
                return Need::View;
            }
            Some(ReadAnswer::Found(found)) => {
                self.phase = Phase::write_back(found, Some(*place));
                return Need::Attempt;
            }
            // A node that serves is in the active view or a newer one (L3): a key that is too long
            // for these has never been put.
            Some(ReadAnswer::BadKey) => {
                self.outcome = Some(Outcome::Got(None, *place));
                return Need::Nothing;
            }
            // Ask again: the operations before it in the batch are done by then.
            Some(ReadAnswer::Later) => return Need::Attempt,
            Some(ReadAnswer::WrongEpoch) => ReadReply::WrongEpoch,
            Some(ReadAnswer::Syncing | ReadAnswer::NoLease | ReadAnswer::Blind(_)) => {
                ReadReply::Syncing
            }
            None => ReadReply::Lost,
        };
        match round.take(reply) {
            ReadVerdict::Ask(next) => {
                *place = next;
                Need::Attempt
            }
            ReadVerdict::Again | ReadVerdict::Done => {
                *place = 0;
                Need::View
            }
        }
    }

    /// Concludes the attempt, once all replies are counted.
    pub fn conclude(&mut self) -> Need {
        let (need, outcome) = match &mut self.phase {
            Phase::Rmw(round) => round.conclude(),
            Phase::Read { .. } => return Need::Nothing,
            Phase::Write { round, .. } => match round.verdict() {
                WriteVerdict::Done => (Need::Nothing, Some(Outcome::Written)),
                WriteVerdict::Again => (Need::View, None),
                WriteVerdict::Rest => (Need::Attempt, None),
                WriteVerdict::Fresh(above) => (Need::Version(above), None),
                WriteVerdict::NotDone(why) => (Need::Nothing, Some(Outcome::Refused(why))),
                WriteVerdict::Unknown => (Need::Nothing, Some(Outcome::Unknown)),
            },
            Phase::WriteBack { is_prolonged: true, .. } => {
                self.phase = Phase::Rmw(Box::new(RmwRound::looking()));
                (Need::Attempt, None)
            }
            Phase::WriteBack { found, place, round, .. } => {
                if round.is_complete() {
                    (Need::Nothing, Some(Outcome::Got(found.body.clone(), place.unwrap_or(0))))
                } else {
                    // Whatever the reason: read again, under the view of that time.
                    self.phase = Operation::<V>::read().phase;
                    (Need::View, None)
                }
            }
        };
        self.outcome = outcome;
        need
    }

    /// Continues with a version above the one in [`Need::Version`].
    pub fn freshen(&mut self, fresh: Version) {
        if let Phase::Write { version, born, round, .. } = &mut self.phase {
            *version = fresh;
            *born = fresh.clock;
            round.freshen();
        }
    }

    /// The value that a read-modify-write found, when the caller is to choose ([`Need::Choice`]).
    pub fn found(&self) -> Option<&Body<V>> {
        match &self.phase {
            Phase::Rmw(round) => round.found().map(|found| &found.body),
            _ => None,
        }
    }

    /// Takes the caller's choice. `op` must never have been used before, by anyone.
    pub fn choose(&mut self, op: Op, choice: Choice<V>) -> Need {
        let Phase::Rmw(round) = &mut self.phase else { return Need::Nothing };
        let (need, outcome) = round.choose(op, choice);
        self.outcome = outcome;
        need
    }

    /// The version to send in a COMMIT (C2): every member of the write set holds it or a newer one,
    /// since the write or write-back is complete.
    pub fn committed(&self) -> Option<Version> {
        match (&self.outcome, &self.phase) {
            (Some(Outcome::Written), Phase::Write { version, .. }) => Some(*version),
            (Some(Outcome::Got(..)), Phase::WriteBack { found, .. }) => Some(found.version),
            (Some(outcome), Phase::Rmw(round)) => round.committed(outcome),
            _ => None,
        }
    }

    /// Whether the write may have been stored anywhere: at the deadline, the difference between
    /// *not done* and *unknown*. A get has no effect.
    pub fn may_exist(&self) -> bool {
        match &self.phase {
            Phase::Write { round, .. } => round.may_exist(),
            Phase::Rmw(round) => round.may_exist(),
            Phase::Read { .. } | Phase::WriteBack { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
