//! What became of the arcs of members that were lost, in case they return.
//!
//! A dead member's arcs fall to its neighbours, who hold them already, and stay there for a while: a node
//! that was only restarted, or cut off, gets back just what it owned, and nothing else moves. When it stays
//! away for long ([`Settings::rebalance_ms`]), the arcs are rebalanced, as a planned change.
//!
//! What it does not do: it is not saved. A manager that restarts deals arcs out evenly to whoever returns,
//! and looks after the time it would have waited whether an even deal is due.
//!
//! [`Settings::rebalance_ms`]: crate::membership::Settings::rebalance_ms

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use crate::ids::NodeId;
use crate::membership::Membership;
use crate::membership::change::{self, Change};
use crate::time::Millis;
use crate::view::{MemberState, Routes, View};

/// What a lost member owned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    /// Its weight when it was lost.
    pub(super) weight: u32,
    /// Its arcs then, but for those that it had inherited itself.
    pub(super) arcs: Vec<u16>,
}

/// What is remembered of lost members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Losses {
    owners: BTreeMap<NodeId, Owned>,
    /// Since when the deal may be uneven; an even one is due some time after.
    uneven_since: Option<Millis>,
}

impl Losses {
    /// Nobody is known to be lost; whether the deal is even is to be seen.
    pub(super) fn new(now: Millis) -> Losses {
        Losses { owners: BTreeMap::new(), uneven_since: Some(now) }
    }

    /// What a member of this name owned when it was lost.
    pub(super) fn owner(&self, id: &NodeId) -> Option<&Owned> {
        self.owners.get(id)
    }

    /// Whether the deal has been uneven for long enough.
    pub(super) fn is_even_deal_due(&self, now: Millis, rebalance_ms: Millis) -> bool {
        self.uneven_since.is_some_and(|since| now.saturating_sub(since) >= rebalance_ms)
    }
}

impl Membership {
    /// What members that were lost have owned: for those who tell states of the manager apart.
    pub fn remembered(&self) -> impl Hash + '_ {
        &self.losses.owners
    }

    /// Finds out whether there is anything to deal out once the time has come.
    pub(super) fn review_losses(&mut self, now: Millis) {
        let view = self.active.view();
        if self.situation(now).is_even_deal_due() && !view.is_changing() && change::is_even(view) {
            self.losses = Losses { owners: BTreeMap::new(), uneven_since: None };
        }
    }

    /// Remembers what members that a new view drops, or lets sole holder, have owned; and after a switch, who has left and who
    /// has returned. A cluster that begins anew has no past.
    pub(super) fn note_departures(
        &mut self,
        now: Millis,
        before: &Routes,
        made: &Routes,
        change: Option<Change>,
    ) {
        let (old, new) = (before.view(), made.view());
        let is_lost =
            |id: &NodeId| new.place_of(id).is_none_or(|place| new.sole_holder(place).is_some());
        let gone = (0u16..).zip(&old.members).filter(|(_, m)| is_lost(&m.id));
        if !old.members.iter().any(|m| new.member(&m.id, m.incarnation).is_some()) {
            self.losses = Losses::new(now);
            return;
        }
        if change == Some(Change::Switch) {
            for (_, leaver) in gone.filter(|(_, m)| m.state == MemberState::Leaving) {
                let node = self.nodes.get_mut(&leaver.incarnation);
                node.into_iter().for_each(|node| node.has_left = true);
            }
            self.losses.owners.retain(|id, _| is_lost(id));
            if change::is_even(new) {
                self.losses = Losses { owners: BTreeMap::new(), uneven_since: None };
            }
            self.note_unevenness(now, new);
            return;
        }
        let inherited: BTreeSet<u16> =
            self.losses.owners.values().flat_map(|owned| owned.arcs.iter().copied()).collect();
        for (place, lost) in gone {
            let arcs: Vec<u16> = (0u16..)
                .zip(&old.arcs)
                .filter(|(arc, owner)| **owner == place && !inherited.contains(arc))
                .map(|(arc, _)| arc)
                .collect();
            if old.arcs.contains(&place) {
                self.losses.uneven_since = Some(now);
                self.losses.owners.insert(lost.id.clone(), Owned { weight: lost.weight, arcs });
            }
        }
        self.note_unevenness(now, new);
    }

    /// A change that somebody died in the middle of ends with what became of its deal.
    fn note_unevenness(&mut self, now: Millis, view: &View) {
        if self.losses.uneven_since.is_none() && !view.is_changing() && !change::is_even(view) {
            self.losses.uneven_since = Some(now);
        }
    }
}
