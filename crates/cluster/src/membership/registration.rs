//! How a node becomes known to the manager: it registers, and waits outside until the view can
//! admit it.

use crate::claim::Claim;
use crate::durability::Durability;
use crate::ids::Incarnation;
use crate::limits::MAX_MEMBERS;
use crate::membership::condition::DiskHealth;
use crate::membership::lifecycle::NodeEvent;
use crate::membership::{Answer, Effect, Membership, Newcomer, Node, holders, recovery};
use crate::time::Millis;

impl Membership {
    /// Takes a registration. `returns` means that the node has been a member of this cluster
    /// before; `claim` is what it held then by its data folder; `reached` is whether it answers at
    /// its address.
    pub(super) fn register(
        &mut self,
        now: Millis,
        who: Newcomer,
        returns: bool,
        claim: Option<Claim>,
        reached: Result<(), String>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let claim = claim.map(|claim| self.judged(claim));
        if let Some(claim) = &claim {
            if let Some(held) = self.hold_back(now, &who, claim, effects) {
                return held;
            }
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
        let (lease_ms, steps) = (self.durable_terms.lease_ms(), self.steps);
        if let Some(node) = self.nodes.get_mut(&who.incarnation) {
            node.heard = now;
            node.extend(now, lease_ms);
            node.on(NodeEvent::Registers, steps);
            return self.known(None);
        }
        if let Err(why) = reached {
            return self.hold_unreached(now, &who, why, effects);
        }
        self.unreached.remove(&who.incarnation);
        if self.nodes.values().filter(|node| !node.is_gone()).count() >= MAX_MEMBERS {
            return Answer::Taken(format!("the cluster has its {MAX_MEMBERS} members"));
        }
        effects.push(Effect::Log(format!("{} registered at {}", who.id, who.address)));
        let who = Newcomer { weight: self.weight_of(&who), ..who };
        let met = self.steps;
        self.nodes
            .insert(who.incarnation, Node { returns, claim, met, ..Node::new(who, now, lease_ms) });
        self.known(None)
    }

    /// Its share of the ring: what its start asks for; or else what an operator has given the node
    /// of its name (H5), as long as that is known.
    fn weight_of(&self, who: &Newcomer) -> u32 {
        if who.weight > 0 {
            return who.weight;
        }
        let view = self.newest().view();
        let weights = |place: usize| match &view.coming {
            Some(coming) => coming.weights[place],
            None => view.members[place].weight,
        };
        let lost = || self.losses.owner(&who.id).map(|lost| lost.weight);
        view.place_of(&who.id).map(weights).or_else(lost).unwrap_or(1)
    }

    /// Of a node that ended while its disk was in trouble, with `async`, the folder may not even
    /// record that.
    fn judged(&self, claim: Claim) -> Claim {
        let wrote = self.nodes.get(&claim.of);
        let was_well = wrote.is_none_or(|node| !matches!(node.report.disk, DiskHealth::Failing(_)));
        let is_sync = self.active.view().durability == Durability::Sync;
        Claim { is_whole: claim.is_whole && (is_sync || was_well), ..claim }
    }

    /// A node has the lock on a data folder that is not held back as a copy: the folder's last
    /// writer has ended (L5).
    fn retire_claimed(&mut self, who: &Newcomer, claim: &Claim, effects: &mut Vec<Effect>) {
        if self.nodes.get(&claim.of).is_some_and(|node| node.who.id == who.id) {
            self.retire_by_claim(claim, |node| node.who.incarnation == claim.of, effects);
        }
    }

    /// A newcomer is alive, and has the lock on a data folder: all starts before it that had the
    /// same have ended, and have left what the folder records. Its registration alone does not
    /// prove that of starts that the folder does not name: they may be later ones (see
    /// [`Membership::retire_predecessors`]).
    fn retire_earlier_starts(&mut self, incarnation: Incarnation, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(&incarnation) else { return };
        let (Some(claim), met) = (node.claim.clone(), node.met) else { return };
        let (id, address) = (node.who.id.clone(), node.who.address.clone());
        let active = self.active.clone();
        let replacement =
            active.view().place_of(&id).and_then(|place| active.view().replacement(place));
        let situation = self.situation(self.last_step);
        let replacement = replacement.filter(|replacement| {
            replacement.of == claim.of
                && holders::has_yet_to_adopt(&situation, active.view(), replacement)
        });
        let replacement =
            replacement.map(|replacement| active.member(replacement.place).incarnation);
        let had_it = |node: &Node| {
            let claims = node.claim.as_ref().is_some_and(|c| c.of == claim.of);
            let is_replacement = Some(node.who.incarnation) == replacement;
            // Or it has had another folder, of which this is a copy.
            let is_known = claim.starts.contains(&incarnation);
            let has_had_it = !is_known || claim.starts.contains(&node.who.incarnation);
            // A copy may be that of a node that is there, or only silent.
            let is_over = node.is_gone() || node.who.address == address;
            node.who.id == id
                && node.met < met
                && is_over
                && has_had_it
                && (claims || is_replacement)
        };
        self.retire_by_claim(&claim, had_it, effects);
    }

    /// Records that the starts that had a folder before have ended, and what they held by its
    /// content: the manager may never have received it, or their last report may not have reached
    /// the disk.
    fn retire_by_claim(
        &mut self,
        claim: &Claim,
        is_meant: impl Fn(&Node) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let active = self.active.clone();
        let meant = self.nodes.values().filter(|node| is_meant(node));
        let meant: Vec<Incarnation> = meant.map(|node| node.who.incarnation).collect();
        let mut has_ended = false;
        for incarnation in meant {
            // What belongs to a view that is still being made is reported when that is active.
            let place = active.view().place_at(incarnation);
            let place = place.filter(|_| claim.epoch <= active.epoch());
            let situation = self.situation(self.last_step);
            let mut held = place.map(|place| recovery::counted(&situation, claim, place));
            // A sole holder for more arcs in the view that is being made has those as well (H6).
            if let (Some(held), Some(coming)) = (&mut held, &self.coming)
                && let Some(place) = coming.view().place_at(incarnation)
            {
                held.union_with(&recovery::counted_in(&situation, coming, claim, place));
            }
            let Some(node) = self.nodes.get_mut(&incarnation) else { continue };
            if !node.is_gone() {
                node.on(NodeEvent::IsReplaced, self.steps);
                has_ended = true;
            }
            if let Some(held) = held {
                node.on(NodeEvent::FolderShown, self.steps);
                node.report.synced = held;
                node.report.revived.clear();
            }
        }
        if has_ended {
            self.ask_who_is_left(effects);
        }
    }

    /// The replacement of a node that has ended must be there after its end
    /// ([`repair`](super::plan)).
    pub(super) fn ask_who_is_left(&self, effects: &mut Vec<Effect>) {
        let others = self.members().into_iter().filter(|i| self.nodes[i].is_connected());
        let steps = self.steps;
        effects.extend(others.map(|i| Effect::Probe(i, steps)));
    }

    /// The reply to a newcomer whose name or address another incarnation has that may be alive.
    fn collision(&self, now: Millis, who: &Newcomer) -> Option<Answer> {
        let members = self.members();
        for holder in self.nodes.values().filter(|n| n.who.incarnation != who.incarnation) {
            let same_name = holder.who.id == who.id;
            let same_address = holder.who.address == who.address;
            let is_silent = holder.is_out(now);
            // A member keeps its name while it is one: it may come back, and be needed (L2).
            let may_return =
                !holder.is_gone() && (!is_silent || members.contains(&holder.who.incarnation));
            if !(same_name || same_address) || !may_return {
                continue;
            }
            let what = if same_name {
                format!("the name {} is taken by a node at {}", who.id, holder.who.address)
            } else {
                format!("the address {} is taken by {}", who.address, holder.who.id)
            };
            if holder.is_connected() && !is_silent {
                return Some(if same_name && same_address {
                    // A restart that was quicker than the news of the end of the process before it.
                    Answer::Wait(format!("{what}, whose connection has not ended yet"))
                } else {
                    Answer::Taken(what)
                });
            }
            // Nobody can listen where another process still does: the one before has ended, or this
            // is a late registration of a process that has ended. Its first heartbeat will show
            // which.
            if !same_address {
                return Some(Answer::Wait(format!("{what}, which may come back")));
            }
        }
        None
    }

    /// A newcomer is alive and listens at its address: the process that listened there before has
    /// ended. A registration alone does not prove that, since it may arrive long after its process
    /// has ended, and would retire the one that took its place.
    pub(super) fn retire_predecessors(
        &mut self,
        now: Millis,
        incarnation: Incarnation,
        effects: &mut Vec<Effect>,
    ) {
        let Some(node) = self.nodes.get(&incarnation).filter(|node| !node.is_gone()) else {
            return;
        };
        let address = node.who.address.clone();
        let steps = self.steps;
        let mut asks = false;
        // The end of its connection may have been lost on the way; nothing comes on it for a lease
        // then.
        let is_over = |other: &Node| !other.is_connected() || other.is_out(now);
        for other in self.nodes.values_mut().filter(|other| !other.is_gone() && is_over(other)) {
            if other.who.address == address && other.who.incarnation != incarnation {
                other.on(NodeEvent::AddressTaken, steps);
                asks |= other.who.on_disk;
            }
        }
        if asks {
            self.ask_who_is_left(effects);
        }
        self.retire_earlier_starts(incarnation, effects);
    }
}
