//! The input to planning: the views, the nodes, the settings and orders, the losses, and the time.
//!
//! The planners of the next view ([`repair`](super::repair), [`change`](super::change),
//! [`recovery`](super::recovery)) get this instead of the whole state machine: it is read-only.
//! Assumptions that do not hold yet, such as that the operator gives up what is lost, are stated
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{Epoch, Incarnation, NodeId};
use crate::membership::admin_command::{AdminCommand, Reconfiguration};
use crate::membership::losses::{Losses, Owned};
use crate::membership::node::{Newcomer, Node};
use crate::membership::past_view::PastView;
use crate::membership::{Membership, Settings, incarnations};
use crate::time::Millis;
use crate::view::{Member, Routes};

/// What the manager knows at a point in time, as far as the next view depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'m> {
    pub(super) now: Millis,
    pub(super) active: &'m Arc<Routes>,
    /// The pending view.
    pub(super) coming: Option<&'m Arc<Routes>>,
    pub(super) nodes: &'m BTreeMap<Incarnation, Node>,
    pub(super) settings: &'m Settings,
    /// The operator's command that has not begun yet.
    pub(super) order: Option<&'m AdminCommand>,
    pub(super) losses: &'m Losses,
    /// Views before the active one, the oldest first (H6).
    pub(super) past_views: &'m [PastView],
    /// Whether the operator now gives up what is lost (H4).
    pub(super) accepts_loss: bool,
    /// The view in which the operator has given up everything.
    pub(super) all_given_up: Option<Epoch>,
}

impl<'m> Situation<'m> {
    /// The view that clients use.
    pub(super) fn active(&self) -> &'m Arc<Routes> {
        self.active
    }

    /// The newest view.
    fn newest(&self) -> &'m Arc<Routes> {
        self.coming.unwrap_or(self.active)
    }

    /// Whether an incarnation has been silent for a lease, or its process has ended.
    pub(super) fn is_out(&self, incarnation: Incarnation) -> bool {
        self.nodes.get(&incarnation).is_none_or(|node| node.is_out(self.now))
    }

    /// Registered nodes that are alive and in no view yet. Their name and address belong to no
    /// member that may be alive, and to no other new node that was in contact more recently.
    pub(super) fn waiting(self) -> impl Iterator<Item = &'m Newcomer> {
        let view = self.newest().view();
        let may_live = |i: &Incarnation| self.nodes.get(i).is_some_and(|node| !node.is_gone());
        let holders: Vec<&Member> =
            view.members.iter().filter(|m| may_live(&m.incarnation)).collect();
        let members: BTreeSet<Incarnation> = incarnations([self.newest()]);
        let is_later =
            |a: &Node, b: &Node| (a.heard, a.who.incarnation) > (b.heard, b.who.incarnation);
        let is_outside = move |node: &Node| {
            !members.contains(&node.who.incarnation)
                && !self.is_out(node.who.incarnation)
                && !node.has_left()
        };
        let waits = move |node: &Node| {
            let who = &node.who;
            let mut rivals =
                self.nodes.values().filter(|o| o.who.id == who.id || o.who.address == who.address);
            is_outside(node)
                && !rivals.any(|other| is_outside(other) && is_later(other, node))
                && holders.iter().all(|m| m.id != who.id && m.address != who.address)
        };
        self.nodes.values().filter(move |node| waits(node)).map(|node| &node.who)
    }

    /// Whether a member is no longer waited for: its process has ended, or it has been silent for
    /// longer than it would need to reconnect. After a restart of the manager all members are
    /// waited for.
    pub(super) fn is_given_up(&self, incarnation: Incarnation) -> bool {
        let (lease_ms, node) = (self.settings.lease_ms(), &self.nodes[&incarnation]);
        let patience = lease_ms.max(self.settings.return_ms.saturating_sub(lease_ms));
        node.is_gone() || self.now >= node.until + patience
    }

    /// What a member of this name owned when it was lost.
    pub(super) fn lost_owner(&self, id: &NodeId) -> Option<&'m Owned> {
        self.losses.owner(id)
    }

    /// Whether the assignment has been uneven for long enough.
    pub(super) fn is_rebalance_due(&self) -> bool {
        self.losses.is_rebalance_due(self.now, self.settings.rebalance_ms)
    }

    /// The change that waits to begin.
    pub(super) fn change(&self) -> Option<&'m Reconfiguration> {
        match self.order {
            Some(AdminCommand::Reconfigure { change, .. }) => Some(change),
            _ => None,
        }
    }

    /// Whether the operator wants the change under way to be cancelled.
    pub(super) fn is_cancelling(&self) -> bool {
        matches!(self.order, Some(AdminCommand::Cancel))
    }
}

impl Membership {
    /// The input to planning now.
    pub(super) fn situation(&self, now: Millis) -> Situation<'_> {
        self.planning(now, false)
    }

    /// The same, given whether the operator accepts the loss.
    pub(super) fn planning(&self, now: Millis, accepts_loss: bool) -> Situation<'_> {
        Situation {
            now,
            active: &self.active,
            coming: self.coming.as_ref(),
            nodes: &self.nodes,
            settings: &self.settings,
            order: self.order.as_ref().map(|(order, _)| order),
            losses: &self.losses,
            past_views: &self.past_views,
            accepts_loss,
            all_given_up: self.all_given_up,
        }
    }
}
