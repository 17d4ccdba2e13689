//! A read-modify-write from call to outcome (rule C5): put-if, increment, and every other operation
//! that computes a value from the present one.
//!
//! It makes a *successor* of the version that it found, and the key's primary stores the successor
//! only in place of that version. Four steps, all under one epoch:
//!
//! 1. *fence*: ask every member of the write set, also those that are not synced. The highest
//!    version is the base; it is written back first, unless all hold it as committed;
//! 2. the caller chooses the successor's content, or no change;
//! 3. *swap*: the primary stores the successor if it still holds the base;
//! 4. *spread*: the others store it, like a put.
//!
//! When the epoch is refused on the way, the fence is repeated under the new one. If the successor
//! may have been stored by then, the fence decides. If the successor is the highest version, it is
//! completed. If a lower version or a sibling is, the successor is lost. If a higher version is,
//! the outcome is unknown.
//!
//! Invariants: a successor is sent only under the epoch of the fence that found its base (R1);
//! after a lost reply in the same epoch the identical swap is sent again, never another one (R8);
//! the outcome is *not done* only if the successor is stored nowhere.

use crate::holdings::Standing;
use crate::ids::Epoch;
use crate::mutation::{Mutation, is_on};
use crate::operation::exchange::{Body, Choice, Found, Need, Outcome, ReadAnswer, Request};
use crate::operation::write::{WriteReply, WriteRound, WriteVerdict};
use crate::replica::{State, WriteAnswer};
use crate::version::{Clock, Op, Version};
use crate::view::Routes;

/// A read-modify-write under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RmwRound<V> {
    step: Step<V>,
    /// The epoch of the steps after the fence.
    epoch: Epoch,
    own: Option<Successor<V>>,
    /// The version that the last fence found, once every member holds it.
    resolved: Option<Version>,
    /// It is a get, and changes nothing.
    only_looks: bool,
    /// The smallest number of synced members that must hold its write.
    least: usize,
    /// The last fence found fewer.
    is_short: bool,
}

/// The record that is to replace the base.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Successor<V> {
    base: Version,
    version: Version,
    body: Body<V>,
    born: Clock,
    /// Whether any member may have stored it.
    may_exist: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step<V> {
    Fence(Fence<V>),
    /// Completes the highest version that the fence found. If that is the own successor, the
    /// operation is done then.
    Resolve {
        base: Base<V>,
        round: WriteRound,
    },
    /// The caller's turn.
    Choose(Base<V>),
    Swap {
        reply: Option<WriteReply>,
        members: usize,
    },
    Spread(WriteRound),
}

/// The result of a fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Base<V> {
    found: Found<V>,
    /// The lowest clock in the answers: the successor's birth (N5, R7).
    born: Clock,
    /// The primary's clock, if it is synced; only then may it swap.
    primary: Option<Clock>,
    /// The number of members, and of synced ones. Under one epoch the latter only grows (H1).
    members: usize,
    synced: usize,
}

/// The answers to a fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fence<V> {
    members: Vec<u16>,
    answers: Vec<(u16, Standing, Found<V>)>,
    /// Members whose answers did not fit: they are asked again at once.
    later: usize,
    refused: Option<WriteAnswer>,
}

impl<V: Clone> Default for RmwRound<V> {
    fn default() -> RmwRound<V> {
        RmwRound::new()
    }
}

impl<V: Clone> RmwRound<V> {
    /// A round that has not begun.
    pub fn new() -> RmwRound<V> {
        let step = Step::Fence(Fence::new(&[]));
        RmwRound {
            step,
            epoch: Epoch::NONE,
            own: None,
            resolved: None,
            only_looks: false,
            least: 1,
            is_short: false,
        }
    }

    /// A round for a get: it asks every member and completes the highest version, but makes no
    /// successor.
    pub fn looking() -> RmwRound<V> {
        RmwRound { only_looks: true, ..RmwRound::new() }
    }

    /// Starts an attempt under a view. Returns the members to send [`RmwRound::request`] to.
    pub fn begin<'r>(&mut self, routes: &'r Routes, arc: usize) -> &'r [u16] {
        let members = routes.write_set(arc);
        self.least = routes.view().least_copies();
        if routes.epoch() != self.epoch && !self.is_carried_over() {
            self.step = Step::Fence(Fence::new(members));
            self.epoch = routes.epoch();
        }
        match &mut self.step {
            Step::Fence(fence) => {
                *fence = Fence::new(members);
                members
            }
            Step::Resolve { round, .. } => {
                round.begin(members.len());
                members
            }
            // The primary is the first of the replicas, and these come first in the write set.
            Step::Swap { reply, members: all } => {
                (*reply, *all) = (None, members.len());
                &members[..members.len().min(1)]
            }
            Step::Spread(round) => {
                round.begin_with(members.len(), self.least);
                if routes.epoch() != self.epoch {
                    return members;
                }
                round.take(WriteReply::Answer(WriteAnswer::Stored));
                members.get(1..).unwrap_or(&[])
            }
            Step::Choose(_) => &[],
        }
    }

    /// Mutations: a successor that continues under another epoch than its base's.
    fn is_carried_over(&self) -> bool {
        match self.step {
            Step::Swap { .. } => is_on(Mutation::SwapMoved),
            Step::Spread(_) => is_on(Mutation::SpreadMoved),
            _ => false,
        }
    }

    /// The request of this attempt.
    pub fn request(&self) -> Request<'_, V> {
        let own = self.own.as_ref();
        match (&self.step, own) {
            (Step::Resolve { base, .. }, _) => base.found.write_back(),
            (Step::Swap { .. } | Step::Spread(_), Some(own)) => Request::Write {
                version: own.version,
                body: &own.body,
                born: own.born,
                expected: matches!(self.step, Step::Swap { .. }).then_some(own.base),
            },
            _ => Request::Fence,
        }
    }

    /// Counts one member's reply to a write.
    pub fn wrote(&mut self, came: WriteReply) {
        match &mut self.step {
            Step::Resolve { base, round } => round.take(came.to_write_back(&base.found.version)),
            Step::Spread(round) => round.take(came),
            Step::Swap { reply, .. } => *reply = Some(came),
            Step::Fence(_) | Step::Choose(_) => {}
        }
    }

    /// Counts one member's answer to the fence.
    pub fn got(&mut self, place: u16, answer: ReadAnswer<V>) {
        let Step::Fence(fence) = &mut self.step else { return };
        match answer {
            ReadAnswer::Found(found) => fence.answers.push((place, Standing::Synced, found)),
            ReadAnswer::Blind(found) => fence.answers.push((place, Standing::Blind, found)),
            ReadAnswer::BadKey => fence.refused = Some(WriteAnswer::BadKey),
            ReadAnswer::Later => fence.later += 1,
            ReadAnswer::Syncing | ReadAnswer::WrongEpoch | ReadAnswer::NoLease => {}
        }
    }

    /// Concludes an attempt from its replies.
    pub fn conclude(&mut self) -> (Need, Option<Outcome<V>>) {
        match &self.step {
            Step::Fence(fence) => match (fence.refused, fence.base()) {
                (Some(why), _) if !self.may_exist() => (Need::Nothing, Some(Outcome::Refused(why))),
                (_, None) if fence.is_to_be_continued() => (Need::Attempt, None),
                (_, None) => (Need::View, None),
                (_, Some((base, is_committed))) => self.fenced(base, is_committed),
            },
            Step::Resolve { base, round } if round.is_complete() => {
                let base = base.clone();
                self.is_resolved(base)
            }
            Step::Resolve { .. } => self.again(Need::View),
            Step::Swap { reply, members } => {
                let (reply, is_alone) = (reply.unwrap_or(WriteReply::Unsent), *members == 1);
                self.swapped(reply, is_alone)
            }
            Step::Spread(round) => match round.verdict() {
                WriteVerdict::Done => (Need::Nothing, Some(Outcome::Written)),
                WriteVerdict::Again => (Need::View, None),
                // After the primary's STORED a fresh version is not needed, and *not done* is
                // impossible.
                WriteVerdict::Rest
                | WriteVerdict::Fresh(_)
                | WriteVerdict::NotDone(_)
                | WriteVerdict::Unknown => (Need::Nothing, Some(Outcome::Unknown)),
            },
            Step::Choose(_) => (Need::Choice, None),
        }
    }

    /// Every member has answered the fence.
    fn fenced(&mut self, base: Base<V>, is_committed: bool) -> (Need, Option<Outcome<V>>) {
        if let Some(own) = self.own.as_ref().filter(|own| own.may_exist) {
            let top = base.found.version;
            if top != own.version && !top.is_sibling_of(&own.version) && top > own.version {
                // Another write has built on it, or has overwritten it or its base.
                return (Need::Nothing, Some(Outcome::Unknown));
            }
            if top != own.version {
                // No member holds it, and under this epoch none will store it (R8).
                self.own = None;
            }
        }
        if is_committed || base.found.version == Version::ABSENT {
            return self.is_resolved(base);
        }
        self.step = Step::Resolve { base, round: WriteRound::new() };
        (Need::Attempt, None)
    }

    /// Every member holds the base.
    fn is_resolved(&mut self, base: Base<V>) -> (Need, Option<Outcome<V>>) {
        self.resolved = Some(base.found.version);
        if self.own.as_ref().is_some_and(|own| own.version == base.found.version) {
            if base.synced < self.least && !is_on(Mutation::FewCopies) {
                return self.again(Need::View);
            }
            return (Need::Nothing, Some(Outcome::Written));
        }
        if self.only_looks {
            return (Need::Nothing, Some(Outcome::Got(base.found.body, 0)));
        }
        self.step = Step::Choose(base);
        (Need::Choice, None)
    }

    /// The primary has answered; `is_alone`: it is the whole write set.
    fn swapped(&mut self, reply: WriteReply, is_alone: bool) -> (Need, Option<Outcome<V>>) {
        let Some(own) = &mut self.own else { return self.again(Need::View) };
        match reply {
            WriteReply::Answer(WriteAnswer::Stored) if is_alone => {
                (Need::Nothing, Some(Outcome::Written))
            }
            WriteReply::Answer(WriteAnswer::Stored) => {
                own.may_exist = true;
                self.step = Step::Spread(WriteRound::new());
                (Need::Attempt, None)
            }
            WriteReply::Answer(WriteAnswer::Differs(held) | WriteAnswer::Superseded(held)) => {
                let is_elsewhere = own.may_exist && !held.is_sibling_of(&own.version);
                if is_elsewhere && !is_on(Mutation::LostIsNot) {
                    return (Need::Nothing, Some(Outcome::Unknown));
                }
                self.own = None;
                self.again(Need::Turn)
            }
            WriteReply::Lost | WriteReply::Answer(WriteAnswer::BlindStored) => {
                own.may_exist = true;
                if is_on(Mutation::LostIsNot) {
                    self.own = None;
                    return self.again(Need::View);
                }
                (Need::View, None)
            }
            WriteReply::Unsent
            | WriteReply::Answer(
                WriteAnswer::WrongEpoch
                | WriteAnswer::NoLease
                | WriteAnswer::TooOld
                | WriteAnswer::BlindBelow(_),
            ) => (Need::View, None),
            WriteReply::Answer(
                why @ (WriteAnswer::Conflict
                | WriteAnswer::BadVersion
                | WriteAnswer::BadKey
                | WriteAnswer::BadValue),
            ) => {
                let outcome = if own.may_exist { Outcome::Unknown } else { Outcome::Refused(why) };
                (Need::Nothing, Some(outcome))
            }
        }
    }

    /// Starts again with the fence.
    fn again(&mut self, need: Need) -> (Need, Option<Outcome<V>>) {
        self.step = Step::Fence(Fence::new(&[]));
        (need, None)
    }

    /// The record that was found, when the caller is to choose ([`Need::Choice`]).
    pub fn found(&self) -> Option<&Found<V>> {
        match &self.step {
            Step::Choose(base) => Some(&base.found),
            _ => None,
        }
    }

    /// Takes the caller's choice. `op` must never have been used before, by anyone. Returns the
    /// outcome if the choice ends the operation.
    pub fn choose(&mut self, op: Op, choice: Choice<V>) -> (Need, Option<Outcome<V>>) {
        let Step::Choose(base) = &self.step else { return (Need::Nothing, None) };
        let Choice::Replace(body) = choice else {
            return (Need::Nothing, Some(Outcome::Got(base.found.body.clone(), 0)));
        };
        let (members, synced, least) = (base.members, base.synced, self.least);
        if members < least && !is_on(Mutation::FewCopies) {
            return (Need::Nothing, Some(Outcome::FewCopies));
        }
        self.is_short = synced < least && !is_on(Mutation::FewCopies);
        if self.is_short {
            return self.again(Need::View);
        }
        let Some(clock) = base.primary else { return self.again(Need::View) };
        let version = match base.found.version {
            Version::ABSENT => Version::first(clock, op),
            version => version.successor(op),
        };
        let (base, born) = (base.found.version, base.born);
        self.own = Some(Successor { base, version, body, born, may_exist: false });
        self.step = Step::Swap { reply: None, members: 0 };
        (Need::Attempt, None)
    }

    /// The version that every member holds, or a newer one, now that there is an outcome.
    pub fn committed(&self, outcome: &Outcome<V>) -> Option<Version> {
        match outcome {
            Outcome::Written => self.own.as_ref().map(|own| own.version),
            Outcome::Got(..) => self.resolved.filter(|version| *version != Version::ABSENT),
            Outcome::Refused(_) | Outcome::FewCopies | Outcome::Unknown => None,
        }
    }

    /// Whether only the number of synced members keeps it from writing.
    pub fn waits_for_copies(&self) -> bool {
        self.is_short && !self.may_exist()
    }

    /// Whether it has yet to read the key, and nothing of it was stored.
    pub fn has_yet_to_read(&self) -> bool {
        matches!(self.step, Step::Fence(_)) && !self.may_exist()
    }

    /// Whether any member may hold the successor.
    pub fn may_exist(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.may_exist)
    }
}

impl<V: Clone> Fence<V> {
    fn new(members: &[u16]) -> Fence<V> {
        Fence { members: members.to_vec(), answers: Vec::new(), later: 0, refused: None }
    }

    /// Whether only answers that did not fit are missing.
    fn is_to_be_continued(&self) -> bool {
        self.later > 0 && self.answers.len() + self.later == self.members.len()
    }

    /// The base, and whether every member holds it committed; `None` unless all have answered, one
    /// of them synced. Of members that are not synced only successors count: a plain write that
    /// they alone hold may have been abandoned and replaced by its writer (R3).
    fn base(&self) -> Option<(Base<V>, bool)> {
        let is_synced = |standing: &Standing| *standing == Standing::Synced;
        let has_all = self.answers.len() == self.members.len();
        if !has_all || !self.answers.iter().any(|(_, standing, _)| is_synced(standing)) {
            return None;
        }
        let counts = |standing: &Standing, found: &Found<V>| {
            let is_successor = found.version.step > 0 && !is_on(Mutation::FenceSkipsBlind);
            is_synced(standing) || is_successor
        };
        let top = self.answers.iter().filter(|(_, standing, found)| counts(standing, found));
        let found = top.map(|(_, _, found)| found).max_by_key(|found| found.version)?;
        let is_committed = self
            .answers
            .iter()
            .all(|(_, _, other)| other.version == found.version && other.state == State::Committed);
        let primary = self.answers.iter().find(|(place, standing, _)| {
            self.members.first() == Some(place) && is_synced(standing)
        });
        let base = Base {
            found: found.clone(),
            born: self.answers.iter().map(|(_, _, found)| found.clock).min()?,
            primary: primary.map(|(_, _, found)| found.clock),
            members: self.members.len(),
            synced: self.answers.iter().filter(|(_, standing, _)| is_synced(standing)).count(),
        };
        Some((base, is_committed))
    }
}

#[cfg(test)]
mod tests;
