//! Reachability: a node is admitted only after it was reached at the address that it reports.
//!
//! The node reaches the manager, which proves nothing of the other direction: the address may be
//! wrong, or mean something else to others (`0.0.0.0`), or a firewall may block it. As a member the
//! node would own its share of the keys, and every write of these would wait for it. So its address
//! is dialled before it registers, and must answer as this very process. Until it does the node is
//! held back: it retries by itself, and the health reports what is wrong.

use std::fmt::Write as _;

use crate::ids::{Address, NodeId};
use crate::membership::{Answer, Effect, Membership, Newcomer};
use crate::time::Millis;

/// Unreached nodes that are remembered at a time: many more than an operator starts by mistake.
/// Further ones are held back too, but not reported.
const MAX_UNREACHED: usize = 64;

/// A node that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    id: NodeId,
    address: Address,
    why: String,
    heard: Millis,
}

impl Membership {
    /// A node that the manager does not know is not reached: it is held back.
    pub(super) fn hold_unreached(
        &mut self,
        now: Millis,
        who: &Newcomer,
        why: String,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let (id, address) = (&who.id, &who.address);
        let text = format!("{id} is not taken in, nobody reaches it at {address}: {why}");
        let known = self.unreached.get(&who.incarnation);
        if known.is_none_or(|known| known.why != why) {
            effects.push(Effect::Log(text.clone()));
        }
        if known.is_some() || self.unreached.len() < MAX_UNREACHED {
            let unreached = Unreached { id: id.clone(), address: address.clone(), why, heard: now };
            self.unreached.insert(who.incarnation, unreached);
        }
        Answer::Unreached(text)
    }

    /// What there is to add to the health where nodes are held back because they cannot be reached;
    /// else nothing.
    pub fn unreached(&self) -> String {
        let mut text = String::new();
        for Unreached { id, address, why, .. } in self.unreached.values() {
            _ = write!(text, "; {id} is not taken in, nobody reaches it at {address}: {why}");
        }
        text
    }

    /// Forgets those that do not come again.
    pub(super) fn forget_unreached(&mut self, now: Millis) {
        // A node that is held back comes again every two seconds, and dialling it may take as long.
        let patience = self.settings.return_ms.max(2 * self.settings.lease_ms());
        self.unreached.retain(|_, node| now.saturating_sub(node.heard) < patience);
    }
}
