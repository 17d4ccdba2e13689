//! A put, get or delete from call to outcome (rules C1 and C3).
//!
//! One state machine for whoever acts as a client: the client library, a node that coordinates, a node
//! that finishes what a dead writer left (C4), the simulation, the model. It says to whom to send what
//! under a view, counts the replies, and says what it needs next.
//!
//! A get that meets a *pending* record may not show it yet: some replica may not hold it, and a later
//! reader there would see the past. It first writes the record back to the whole write set, under the
//! very epoch it was read under; only then is it shown. When the epoch is refused meanwhile, it reads
//! again.

use crate::ids::Epoch;
use crate::mutation::{Mutation, is_on};
use crate::read_round::{self, ReadRound};
use crate::replica::{State, WriteAnswer};
use crate::version::{Clock, Version};
use crate::view::Routes;
use crate::write_round::{self, WriteRound};

/// What a key holds: a value, or `None` for a tombstone.
pub type Body<V> = Option<V>;

/// What to send to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'o, V> {
    /// WRITE.
    Write {
        /// The version.
        version: Version,
        /// What the key holds.
        body: &'o Body<V>,
        /// When the write was born (N5).
        born: Clock,
    },
    /// READ.
    Read,
}

/// A replica's answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAnswer<V> {
    /// What it holds.
    Found(Found<V>),
    /// It keeps the key but is still fetching it.
    Syncing,
    /// It does not keep the key in the newest view it knows.
    WrongEpoch,
    /// It holds no lease.
    NoLease,
    /// The key is not one that the cluster takes.
    BadKey,
}

/// What a replica holds of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found<V> {
    /// [`Version::ABSENT`] where there is no record.
    pub version: Version,
    /// What the record holds; `None` as well where there is none.
    pub body: Body<V>,
    /// Whether all replicas are known to hold it.
    pub state: State,
    /// The epoch of the replica.
    pub epoch: Epoch,
    /// Its clock.
    pub clock: Clock,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// A put or delete took effect.
    Written,
    /// What a get found, and which place of the key's replicas answered.
    Got(Body<V>, usize),
    /// It was refused, and certainly not done.
    Refused(WriteAnswer),
    /// It may or may not have taken effect, or yet take it.
    Unknown,
}

/// What an operation needs after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing more: there is an outcome.
    Nothing,
    /// Another attempt at once.
    Attempt,
    /// A newer view, then another attempt.
    View,
    /// A version above this one ([`Operation::freshen`]), then another attempt.
    Version(Version),
}

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
    /// A get that found a pending record at this place and completes it before it shows it.
    WriteBack { found: Found<V>, place: usize, round: WriteRound },
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

    /// Completes a record that a replica holds as pending (C4): as a get of it that nobody waits for.
    pub fn finish(found: Found<V>) -> Operation<V> {
        let phase = Phase::WriteBack { found, place: 0, round: WriteRound::new() };
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

    /// Starts an attempt under a view. Returns the members to send [`Operation::request`] to, as places
    /// in the view; none if nobody serves the key.
    pub fn begin<'r>(&mut self, routes: &'r Routes, key: &[u8]) -> &'r [u16] {
        let arc = routes.arc_of(key);
        if let Phase::WriteBack { found, .. } = &self.phase
            && found.epoch != routes.epoch()
        {
            // Under another epoch the record is read again before it is passed on (RULES-WHY R1).
            self.phase = Operation::<V>::read().phase;
        }
        match &mut self.phase {
            Phase::Write { round, .. } | Phase::WriteBack { round, .. } => {
                let members = arc.map_or(&[][..], |arc| routes.write_set(arc));
                round.begin(members.len());
                members
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
        }
    }

    /// What to send in this attempt.
    pub fn request(&self) -> Request<'_, V> {
        match &self.phase {
            Phase::Write { version, body, born, .. } => {
                Request::Write { version: *version, body, born: *born }
            }
            Phase::WriteBack { found, .. } => {
                Request::Write { version: found.version, body: &found.body, born: found.clock }
            }
            Phase::Read { .. } => Request::Read,
        }
    }

    /// Whether this attempt sends a write.
    pub fn is_writing(&self) -> bool {
        !matches!(self.phase, Phase::Read { .. })
    }

    /// Counts one member's reply to a write.
    pub fn wrote(&mut self, reply: write_round::Reply) {
        if let Phase::Write { round, .. } | Phase::WriteBack { round, .. } = &mut self.phase {
            round.take(reply);
        }
    }

    /// Takes the reply to a read; `None` if none came. Returns what follows.
    pub fn got(&mut self, answer: Option<ReadAnswer<V>>) -> Need {
        let Phase::Read { round, place, epoch } = &mut self.phase else { return Need::Nothing };
        let reply = match answer {
            Some(ReadAnswer::Found(found))
                if found.state == State::Committed || is_on(Mutation::NoWriteback) =>
            {
                self.outcome = Some(Outcome::Got(found.body, *place));
                return Need::Nothing;
            }
            Some(ReadAnswer::Found(found)) if found.epoch != *epoch => {
                // The replica is in another view than we are: it may be read, but what it holds as
                // pending can be completed only under its own.
                self.phase = Operation::<V>::read().phase;
                return Need::View;
            }
            Some(ReadAnswer::Found(found)) => {
                let place = *place;
                self.phase = Phase::WriteBack { found, place, round: WriteRound::new() };
                return Need::Attempt;
            }
            Some(ReadAnswer::BadKey) => {
                self.outcome = Some(Outcome::Refused(WriteAnswer::BadKey));
                return Need::Nothing;
            }
            Some(ReadAnswer::WrongEpoch) => read_round::Reply::WrongEpoch,
            Some(ReadAnswer::Syncing | ReadAnswer::NoLease) => read_round::Reply::Syncing,
            None => read_round::Reply::Lost,
        };
        match round.take(reply) {
            read_round::Verdict::Ask(next) => {
                *place = next;
                Need::Attempt
            }
            read_round::Verdict::Again | read_round::Verdict::Done => {
                *place = 0;
                Need::View
            }
        }
    }

    /// Draws the conclusion from a write's replies, once all are counted.
    pub fn conclude(&mut self) -> Need {
        let (need, outcome) = match &self.phase {
            Phase::Read { .. } => return Need::Nothing,
            Phase::Write { round, .. } => match round.verdict() {
                write_round::Verdict::Done => (Need::Nothing, Some(Outcome::Written)),
                write_round::Verdict::Again => (Need::View, None),
                write_round::Verdict::Fresh(above) => (Need::Version(above), None),
                write_round::Verdict::NotDone(why) => (Need::Nothing, Some(Outcome::Refused(why))),
                write_round::Verdict::Unknown => (Need::Nothing, Some(Outcome::Unknown)),
            },
            Phase::WriteBack { found, place, round } => {
                if round.is_complete() {
                    (Need::Nothing, Some(Outcome::Got(found.body.clone(), *place)))
                } else {
                    // Whatever stood in the way: read again, under what view there is then.
                    self.phase = Operation::<V>::read().phase;
                    (Need::View, None)
                }
            }
        };
        self.outcome = outcome;
        need
    }

    /// Goes on with a version above the one that was needed.
    pub fn freshen(&mut self, fresh: Version) {
        if let Phase::Write { version, born, round, .. } = &mut self.phase {
            *version = fresh;
            *born = fresh.clock;
            round.freshen();
        }
    }

    /// The version that every member of the write set holds, or a newer one, now that the write or
    /// write-back at hand is complete: what COMMIT may say of it (C2).
    pub fn committed(&self) -> Option<Version> {
        match (&self.outcome, &self.phase) {
            (Some(Outcome::Written), Phase::Write { version, .. }) => Some(*version),
            (Some(Outcome::Got(..)), Phase::WriteBack { found, .. }) => Some(found.version),
            _ => None,
        }
    }

    /// Whether the write may have been stored anywhere: at the deadline, the difference between *not
    /// done* and *unknown*. A get has no effect to be unsure of.
    pub fn may_exist(&self) -> bool {
        matches!(&self.phase, Phase::Write { round, .. } if round.may_exist())
    }
}

#[cfg(test)]
mod tests;
