//! What became of the arcs of members that were lost, in case they return.
//!
//! A dead member's arcs fall to its neighbours, who hold them already, and stay there for a while:
//! a node that was only restarted, or cut off, gets back just what it owned, and nothing else
//! moves. When it stays away for long ([`Settings::rebalance_ms`]), the arcs are rebalanced, as a
//! planned change.
//!
//! What it does not do: it is not saved. A manager that restarts deals arcs out evenly to whoever
//! returns, and looks after the time it would have waited whether an even deal is due.
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

    /// Nobody is lost, and the deal is even.
    pub(super) fn none() -> Losses {
        Losses { owners: BTreeMap::new(), uneven_since: None }
    }

    /// What a member of this name owned when it was lost.
    pub(super) fn owner(&self, id: &NodeId) -> Option<&Owned> {
        self.owners.get(id)
    }

    /// What lost members have owned: for those who tell states of the manager apart.
    pub(super) fn owners(&self) -> impl Hash + '_ {
        &self.owners
    }

    /// The arcs that lost members have owned.
    pub(super) fn arcs(&self) -> BTreeSet<u16> {
        self.owners.values().flat_map(|owned| owned.arcs.iter().copied()).collect()
    }

    /// Whether the deal has been uneven for long enough.
    pub(super) fn is_even_deal_due(&self, now: Millis, rebalance_ms: Millis) -> bool {
        self.uneven_since.is_some_and(|since| now.saturating_sub(since) >= rebalance_ms)
    }

    /// A member that owned something was lost. From now on the deal may be uneven.
    pub(super) fn note(&mut self, now: Millis, id: NodeId, owned: Owned) {
        self.uneven_since = Some(now);
        self.owners.insert(id, owned);
    }

    /// The deal was found to be uneven, if that is news.
    pub(super) fn note_uneven(&mut self, now: Millis) {
        self.uneven_since.get_or_insert(now);
    }

    /// Forgets those that are not lost any more.
    pub(super) fn retain(&mut self, is_lost: impl Fn(&NodeId) -> bool) {
        self.owners.retain(|id, _| is_lost(id));
    }
}
