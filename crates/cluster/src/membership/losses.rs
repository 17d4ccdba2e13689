//! Remembers the arcs of lost members in case these return.
//!
//! A dead member's arcs fall to its neighbours, which hold them already, and stay there for a
//! while: a node that was only restarted or cut off gets back exactly what it owned, and nothing
//! else moves. If it stays away for long ([`Settings::rebalance_ms`]), the arcs are rebalanced in a
//! planned change.
//!
//! This is not saved. After a restart the manager assigns arcs evenly when members return, and
//! checks after the same delay whether a rebalance is due.
//!
//! [`Settings::rebalance_ms`]: crate::membership::Settings::rebalance_ms

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use crate::ids::NodeId;
use crate::time::Millis;

/// What a lost member owned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    /// Its weight when it was lost.
    pub(super) weight: u32,
    /// Its arcs then, except those that it had inherited itself.
    pub(super) arcs: Vec<u16>,
}

/// The record of lost members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Losses {
    owners: BTreeMap<NodeId, Owned>,
    /// Since when the assignment may be uneven; a rebalance is due some time later.
    uneven_since: Option<Millis>,
}

impl Losses {
    /// No member is known to be lost; whether the assignment is even is still to be checked.
    pub(super) fn new(now: Millis) -> Losses {
        Losses { owners: BTreeMap::new(), uneven_since: Some(now) }
    }

    /// No member is lost, and the assignment is even.
    pub(super) fn none() -> Losses {
        Losses { owners: BTreeMap::new(), uneven_since: None }
    }

    /// What a member of this name owned when it was lost.
    pub(super) fn owner(&self, id: &NodeId) -> Option<&Owned> {
        self.owners.get(id)
    }

    /// What lost members owned, for tests that compare states of the manager.
    pub(super) fn owners(&self) -> impl Hash + '_ {
        &self.owners
    }

    /// The arcs that lost members owned.
    pub(super) fn arcs(&self) -> BTreeSet<u16> {
        self.owners.values().flat_map(|owned| owned.arcs.iter().copied()).collect()
    }

    /// Whether the assignment has been uneven for long enough.
    pub(super) fn is_rebalance_due(&self, now: Millis, rebalance_ms: Millis) -> bool {
        self.uneven_since.is_some_and(|since| now.saturating_sub(since) >= rebalance_ms)
    }

    /// Records the loss of a member that owned something. From now on the assignment may be uneven.
    pub(super) fn note(&mut self, now: Millis, id: NodeId, owned: Owned) {
        self.uneven_since = Some(now);
        self.owners.insert(id, owned);
    }

    /// Records that the assignment is uneven, unless that is known already.
    pub(super) fn note_uneven(&mut self, now: Millis) {
        self.uneven_since.get_or_insert(now);
    }

    /// Forgets members that are no longer lost.
    pub(super) fn retain(&mut self, is_lost: impl Fn(&NodeId) -> bool) {
        self.owners.retain(|id, _| is_lost(id));
    }
}
