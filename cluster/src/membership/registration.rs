//! How a node becomes known to the manager: it registers, and waits outside until the view can take it in.

use crate::claim::Claim;
use crate::ids::Incarnation;
use crate::limits::MAX_MEMBERS;
use crate::membership::{Answer, Effect, Membership, Millis, Newcomer, Node};

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
            self.retire_claimed(&who, claim, effects);
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
        self.nodes.insert(who.incarnation, Node { returns, claim, ..Node::new(who, now) });
        self.known(false)
    }

    /// A node has the lock on a data folder: whoever wrote to that has ended (L5). And what it held is what the
    /// folder says: the manager may never have heard it, or its last word may not have reached the disk.
    fn retire_claimed(&mut self, who: &Newcomer, claim: &Claim, effects: &mut Vec<Effect>) {
        let active = self.active.clone();
        let place = active.view().place_of(&who.id);
        let is_same = |node: &Node| node.claim.as_ref().is_some_and(|c| c.of == claim.of);
        let heir = place.and_then(|place| active.view().heir(place));
        let heir = heir.filter(|heir| heir.of == claim.of);
        let heir = heir.map(|heir| active.member(heir.place).incarnation);
        let id = &who.id;
        let dead = |node: &&mut Node| {
            let incarnation = node.who.incarnation;
            let wrote = incarnation == claim.of || Some(incarnation) == heir || is_same(node);
            node.who.id == *id && incarnation != who.incarnation && wrote
        };
        let steps = self.steps;
        let mut has_ended = false;
        for node in self.nodes.values_mut().filter(dead) {
            if !node.gone {
                (node.gone, node.step, has_ended) = (true, steps, true);
            }
            node.is_unheard = false;
            if let Some(place) = active.view().place_at(node.who.incarnation) {
                node.report.synced = claim.counts(&active, place as u16);
                node.report.revived.clear();
            }
        }
        if has_ended {
            self.ask_who_is_left(effects);
        }
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
    }
}
