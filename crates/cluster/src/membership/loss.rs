//! What an operator gives up by going on without members that are out (rule H4).
//!
//! The operator looks at a loss, thinks about it, and accepts it. Meanwhile a member that was only
//! silent may be found to be out as well, or one that had come back with its data folder may end
//! again: then there is more to give up than was shown. So the command carries the [`Loss`] that
//! was shown, and is refused if the loss is a different one now.
//!
//! Nor does the command give up what is not lost yet: if a member that is out may be needed for an
//! arc whose live holder has missed a heartbeat, the command has to wait until that holder either
//! sends one or is out too (and then the loss is a different one).

use crate::ids::{Epoch, Incarnation};
use crate::membership::lifecycle::NodeEvent;
use crate::membership::{Answer, Effect, Membership, recovery, repair};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;

/// What is given up if an operator goes on without the members that are out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Loss {
    /// The active view that it is about.
    pub epoch: Epoch,
    /// The arcs that no live member holds, in ascending order.
    pub arcs: Vec<u16>,
    /// Those of them that begin empty, in ascending order. In the others a live member has a part.
    pub empty: Vec<u16>,
    /// The members that are given up with what they hold of these arcs, in ascending order.
    pub without: Vec<Incarnation>,
    /// The nodes that have come back with a data folder and take a dead member's place, in
    /// ascending order.
    pub with: Vec<Incarnation>,
}

impl Loss {
    /// Whether this gives up the same as another, regardless of the view.
    pub fn gives_up_what(&self, other: &Loss) -> bool {
        *self == Loss { epoch: self.epoch, ..other.clone() }
    }
}

impl Membership {
    /// What an operator would give up by going on now without members that are out. `None` if
    /// nothing is lost.
    pub fn loss(&self, now: Millis) -> Option<Loss> {
        if self.lost(now).is_empty() {
            return None;
        }
        // Salvaged data counts once the loss is accepted.
        let accepting = self.planning(now, true);
        let (arcs, without) = recovery::losses(&accepting);
        if arcs.is_empty() {
            return None;
        }
        let candidates = recovery::candidates(&accepting);
        let members = &self.active.view().members;
        let out: Vec<bool> = members.iter().map(|m| self.is_out(m.incarnation, now)).collect();
        let begins_empty = |arc: &usize| !recovery::is_revived(&accepting, &out, &candidates, *arc);
        let mut with: Vec<Incarnation> =
            candidates.values().map(|replacement| replacement.incarnation()).collect();
        with.sort_unstable();
        Some(Loss {
            epoch: self.active.epoch(),
            empty: arcs.iter().copied().filter(begins_empty).map(|arc| arc as u16).collect(),
            arcs: arcs.into_iter().map(|arc| arc as u16).collect(),
            without,
            with,
        })
    }

    /// Goes on without what is lost, if the loss is the one that was shown and this can be done
    /// now. Members that are out count as gone, so that their names are free; if that is all of
    /// them, the next node to register begins an empty cluster.
    pub(super) fn accept_loss(
        &mut self,
        now: Millis,
        shown: &Loss,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let Some(loss) = self.loss(now) else {
            effects.push(Effect::LossAccepted(0));
            return Answer::Done;
        };
        if loss != *shown && !is_on(Mutation::AcceptMore) {
            return Answer::Changed(self.health(now).to_string());
        }
        if recovery::may_come(&self.situation(now)) {
            return Answer::Wait("a node has just come back with its data folder".into());
        }
        if self.coming.is_some() {
            return Answer::Wait("a view is being made".into());
        }
        if let Some(member) = repair::needed(&self.planning(now, true)) {
            return Answer::Wait(format!(
                "{} may be needed: somebody else who holds what it holds has not been heard of just now",
                member.id
            ));
        }
        let before = self.active.epoch();
        let steps = self.steps;
        for node in self.nodes.values_mut().filter(|node| node.is_out(now)) {
            node.on(NodeEvent::LossAccepted, steps);
        }
        self.all_given_up = Some(before);
        self.advance(now, true, effects);
        if self.newest().epoch() == before && self.nodes.values().any(|node| !node.is_gone()) {
            return Answer::Wait("not every member has adopted the view yet".into());
        }
        effects.push(Effect::LossAccepted(loss.arcs.len()));
        Answer::Done
    }
}
