//! How a node becomes known to the manager: it registers, and waits outside until the view can take it in.

use crate::claim::Claim;
use crate::ids::{Incarnation, NodeId};
use crate::limits::MAX_MEMBERS;
use crate::membership::{Answer, Effect, Membership, Millis, Newcomer, Node};
use crate::tenure::ArcSet;

impl Membership {
    /// Takes a registration. `returns` tells that the node has been a member of this cluster before, `claim` what it
    /// held then by its data folder.
    pub(super) fn register(
        &mut self,
        now: Millis,
        who: Newcomer,
        returns: bool,
        claim: Option<Claim>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let newest = self.newest().epoch();
        if let Some(claim) = claim.as_ref().filter(|claim| claim.epoch > newest) {
            let why = "give the manager the --data that it had last, not an older copy";
            return Answer::Taken(format!(
                "the data folder of {} has seen view {}, and the manager knows none after {newest}: {why}",
                who.id, claim.epoch
            ));
        }
        if let Some(claim) = &claim {
            self.retire_claimed(&who.id, claim, effects);
        }
        // Not the weight: a member may have been given another than it was started with (H5).
        let is_other = |n: &Node| n.who.id != who.id || n.who.address != who.address;
        if self.nodes.get(&who.incarnation).is_some_and(is_other) {
            return Answer::Taken(format!("incarnation {} is another node's", who.incarnation));
        }
        if let Some(answer) = self.collision(now, &who) {
            return answer;
        }
        if let Some(node) = self.nodes.get_mut(&who.incarnation) {
            node.heard = now;
            node.extended = now;
            node.connected = true;
            node.gone = false;
            return self.known(false);
        }
        if self.nodes.len() >= MAX_MEMBERS {
            return Answer::Taken(format!("the cluster has its {MAX_MEMBERS} members"));
        }
        effects.push(Effect::Say(format!("{} registered at {}", who.id, who.address)));
        let met = self.steps;
        self.nodes.insert(who.incarnation, Node { returns, claim, met, ..Node::new(who, now) });
        self.known(false)
    }

    /// A node has the lock on a data folder: whoever wrote to that has ended (L5). And what it held is what the
    /// folder says: the manager may never have heard it, or its last word may not have reached the disk.
    fn retire_claimed(&mut self, id: &NodeId, claim: &Claim, effects: &mut Vec<Effect>) {
        let is_meant = |node: &Node| node.who.id == *id && node.who.incarnation == claim.of;
        self.retire_by_claim(claim, is_meant, effects);
    }

    /// A newcomer is alive, and has the lock on a data folder: all starts of its process before it have ended, and
    /// have left what the folder says. That it has registered is not enough to say so of those that are not the
    /// one whom the folder names: they may be later ones (see [`Membership::retire_predecessors`]).
    fn retire_earlier_starts(&mut self, incarnation: Incarnation, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(&incarnation) else { return };
        let (Some(claim), met) = (node.claim.clone(), node.met) else { return };
        let id = node.who.id.clone();
        let is_meant = |node: &Node| node.who.id == id && node.met < met;
        self.retire_by_claim(&claim, is_meant, effects);
    }

    fn retire_by_claim(
        &mut self,
        claim: &Claim,
        is_meant: impl Fn(&Node) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let (active, before, steps) = (self.active.clone(), self.before.clone(), self.steps);
        let mut has_ended = false;
        for node in self.nodes.values_mut().filter(|node| is_meant(node)) {
            if !node.gone {
                (node.gone, node.step, has_ended) = (true, steps, true);
            }
            node.is_unheard = false;
            if let Some(place) = active.view().place_at(node.who.incarnation) {
                node.report.synced = claim.counts(&active, before.as_deref(), place as u16);
                node.report.revived.clear();
            }
        }
        if has_ended {
            self.ask_who_is_left(effects);
        }
    }

    /// The arcs in which a claim counts, for the member at a place of the active view.
    pub(super) fn counts(&self, claim: &Claim, place: usize) -> ArcSet {
        claim.counts(&self.active, self.before.as_deref(), place as u16)
    }

    /// Who is to stand in for one that has ended has to be there after its end ([`plan`](super::plan)).
    pub(super) fn ask_who_is_left(&self, effects: &mut Vec<Effect>) {
        let others = self.members().into_iter().filter(|i| self.nodes[i].connected);
        effects.extend(others.map(Effect::Probe));
    }

    /// What to say to a newcomer whose name or address another incarnation has that may be alive.
    fn collision(&self, now: Millis, who: &Newcomer) -> Option<Answer> {
        let members = self.members();
        for holder in self.nodes.values().filter(|n| n.who.incarnation != who.incarnation) {
            let same_name = holder.who.id == who.id;
            let same_address = holder.who.address == who.address;
            let is_silent = holder.is_out(now, self.settings.lease_ms());
            // A member keeps its name while it is one: it may come back, and be needed (L2).
            let may_return =
                !holder.gone && (!is_silent || members.contains(&holder.who.incarnation));
            if !(same_name || same_address) || !may_return {
                continue;
            }
            let what = match same_name {
                true => format!("the name {} is taken by a node at {}", who.id, holder.who.address),
                false => format!("the address {} is taken by {}", who.address, holder.who.id),
            };
            match holder.connected && !is_silent {
                // A restart that was quicker than the news of the end of the process before it.
                true if same_name && same_address => {
                    return Some(Answer::Wait(format!(
                        "{what}, whose connection has not ended yet"
                    )));
                }
                true => return Some(Answer::Taken(what)),
                // Nobody can listen where another process still does: the one before has ended, or this
                // registration is a late one of a process that has. Its first heartbeat will tell.
                false if same_address => {}
                false => return Some(Answer::Wait(format!("{what}, which may come back"))),
            }
        }
        None
    }

    /// A newcomer is alive and listens at its address: whoever listened there before has ended. That it
    /// has registered is not enough, since a registration may arrive long after its process has ended,
    /// and would retire the one that took its place.
    pub(super) fn retire_predecessors(
        &mut self,
        incarnation: Incarnation,
        effects: &mut Vec<Effect>,
    ) {
        let Some(node) = self.nodes.get(&incarnation).filter(|node| !node.gone) else { return };
        let address = node.who.address.clone();
        let steps = self.steps;
        let mut asks = false;
        for other in self.nodes.values_mut().filter(|other| !other.connected && !other.gone) {
            if other.who.address == address && other.who.incarnation != incarnation {
                (other.gone, other.step) = (true, steps);
                asks |= other.who.on_disk;
            }
        }
        if asks {
            self.ask_who_is_left(effects);
        }
        self.retire_earlier_starts(incarnation, effects);
    }
}
