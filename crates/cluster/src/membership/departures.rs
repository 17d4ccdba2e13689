//! Updates the record of lost members ([`Losses`]) when a view is created: members that it drops
//! are noted, and those that have left or returned are forgotten.

use std::hash::Hash;

use crate::ids::NodeId;
use crate::membership::Membership;
use crate::membership::change::{self, Step};
use crate::membership::lifecycle::NodeEvent;
use crate::membership::losses::{Losses, Owned};
use crate::time::Millis;
use crate::view::{MemberState, Routes, View};

impl Membership {
    /// What lost members owned, for tests that compare states of the manager.
    pub fn remembered(&self) -> impl Hash + '_ {
        self.losses.owners()
    }

    /// Finds out whether there is anything to rebalance once the time has come.
    pub(super) fn review_losses(&mut self, now: Millis) {
        let view = self.active.view();
        if self.situation(now).is_rebalance_due() && !view.is_changing() && change::is_even(view) {
            self.losses = Losses::none();
        }
    }

    /// Records what members owned that a new view drops or makes sole holders; and after a switch,
    /// which members have left and which have returned. A cluster that begins anew has no past.
    pub(super) fn note_departures(
        &mut self,
        now: Millis,
        before: &Routes,
        made: &Routes,
        step: Option<Step>,
    ) {
        let (old, new, steps) = (before.view(), made.view(), self.steps);
        let is_lost =
            |id: &NodeId| new.place_of(id).is_none_or(|place| new.sole_holder(place).is_some());
        let gone = (0u16..).zip(&old.members).filter(|(_, m)| is_lost(&m.id));
        if !old.members.iter().any(|m| new.member(&m.id, m.incarnation).is_some()) {
            self.losses = Losses::new(now);
            return;
        }
        if step == Some(Step::Switch) {
            for (_, leaver) in gone.filter(|(_, m)| m.state == MemberState::Leaving) {
                let node = self.nodes.get_mut(&leaver.incarnation);
                node.into_iter().for_each(|node| node.on(NodeEvent::HasLeft, steps));
            }
            self.losses.retain(is_lost);
            if change::is_even(new) {
                self.losses = Losses::none();
            }
            self.note_unevenness(now, new);
            return;
        }
        let inherited = self.losses.arcs();
        for (place, lost) in gone {
            let arcs: Vec<u16> = (0u16..)
                .zip(&old.arcs)
                .filter(|(arc, owner)| **owner == place && !inherited.contains(arc))
                .map(|(arc, _)| arc)
                .collect();
            if old.arcs.contains(&place) {
                self.losses.note(now, lost.id.clone(), Owned { weight: lost.weight, arcs });
            }
        }
        self.note_unevenness(now, new);
    }

    /// A change during which a member died may end with an uneven assignment.
    fn note_unevenness(&mut self, now: Millis, view: &View) {
        if !view.is_changing() && !change::is_even(view) {
            self.losses.note_uneven(now);
        }
    }
}
