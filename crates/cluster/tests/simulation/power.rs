//! Outages: nodes end at once, and come back from their disks (H6).
//!
//! What may happen, and what must survive, by the durability of a run:
//!
//! * `none`: nothing of this happens.
//! * `sync`: any nodes may end in any way at any time, all of them too, and the manager. All come
//!   back, or those that the cluster's health names. No acknowledged write may be lost. A disk may
//!   be lost while a live node holds all its records.
//! * `async`: as many nodes may end in any way at any time as without a disk (`faults.rs`), and
//!   lose what was not durable, even at the same moment as all others. All others may end where
//!   their disks have all logged entries: then nothing may be lost either, and the first nodes to
//!   come back must wait for those with more records.

use cluster::durability::Durability;
use cluster::ids::{Epoch, Incarnation};
use cluster::membership::{Health, Saved};

use crate::disk::{Disk, End};
use crate::network::{Party, Pid};
use crate::world::{Event, Key, Micros, Slot, World};

impl World {
    /// Ends the process at an address; its disk keeps all certain entries, and perhaps more.
    pub fn end_node(&mut self, slot: usize, end: End) {
        if self.listener(Party::Node(slot)).is_none() {
            return;
        }
        self.drop_node(slot);
        if self.plan.durability == Durability::None {
            return;
        }
        let (least, all) = self.slots[slot].disk.left(self.now, end);
        let left = self.rng.within(least as u64, all as u64) as usize;
        self.log(|_| {
            format!("{end:?}: {left} of {all} entries are left on the disk of node{slot}")
        });
        let now = self.now;
        self.slots[slot].disk.cut(left, now);
        self.counts.power += u64::from(end == End::Power);
    }

    /// Kills the process at an address, whose records other nodes hold too.
    pub fn kill_node(&mut self, slot: usize) {
        if self.plan.durability == Durability::None {
            return self.end_node(slot, End::Kill);
        }
        let end = if self.rng.chance(300) { End::Power } else { End::Kill };
        self.end_node(slot, end);
        if self.rng.chance(self.plan.disk_losses) {
            self.counts.disks += 1;
            self.log(|_| format!("the disk of node{slot} is lost"));
            self.slots[slot].disk = Disk::default();
            self.slots[slot].starts.clear();
        }
    }

    /// How a process may end whose records perhaps no other node holds.
    fn hard_end(&mut self) -> End {
        match self.plan.durability {
            Durability::Sync if self.rng.chance(600) => End::Power,
            Durability::Sync => End::Kill,
            Durability::Async | Durability::None => End::Quiet,
        }
    }

    /// Ends all replicas of a key, or all nodes, at about the same time; and perhaps the manager.
    pub fn outage(&mut self) {
        let key = self.rng.below(self.keys.len() as u64) as Key;
        let slots = if self.rng.chance(500) {
            (0..self.slots.len()).collect()
        } else {
            self.write_set_of(key)
        };
        if self.manager.gate.is_some() && self.rng.chance(300) {
            self.counts.manager_crashes += 1;
            self.crash_manager();
            let wait = self.rng.within(1_000, self.plan.longest);
            self.after(wait, Event::ManagerStart);
        }
        let spread = self.rng.pick(&[0, 0, 2_000, 30_000]);
        self.end_all(slots, spread);
    }

    /// A write was just answered. Sometimes ends all replicas of the key.
    pub fn doom(&mut self, key: Key) {
        if self.plan.outages && !self.is_calm && self.rng.chance(5) {
            let slots = self.write_set_of(key);
            self.end_all(slots, 0);
        }
    }

    fn write_set_of(&self, key: Key) -> Vec<usize> {
        let (active, _) = self.views();
        if active.arcs() == 0 {
            return Vec::new();
        }
        let members = active.write_set(self.keys[usize::from(key)].arc).iter();
        members.map(|&p| usize::from(active.member(p).address.port() - 6000)).collect()
    }

    /// Ends nodes within some time. Most of them come back.
    fn end_all(&mut self, mut slots: Vec<usize>, spread: Micros) {
        self.counts.outages += 1;
        let longest = self.rng.within(2_000, self.plan.longest);
        if self.plan.durability == Durability::Async && !slots.is_empty() {
            // The others have what one of them loses.
            let weak = self.rng.below(slots.len() as u64) as usize;
            slots.swap(0, weak);
            if self.is_covered_without(slots[0]) {
                self.end_node(slots[0], End::Power);
            }
        }
        for slot in slots {
            let (at, end) = (self.rng.within(0, spread), self.hard_end());
            match at {
                0 => self.end_node(slot, end),
                at => self.after(at, Event::NodeEnd(slot, end)),
            }
            if self.rng.chance(850) {
                let pause = at + self.rng.within(500, longest);
                self.after(pause, Event::NodeStart(slot));
            }
        }
    }

    /// Sometimes ends a node whether or not others hold its records. Returns whether it did.
    pub fn kill_uncovered(&mut self, slot: usize, pause: Micros) -> bool {
        let is_due = self.plan.outages && self.listener(Party::Node(slot)).is_some();
        if !is_due || !self.rng.chance(300) {
            return false;
        }
        let end = self.hard_end();
        self.end_node(slot, end);
        self.after(pause, Event::NodeStart(slot));
        true
    }

    /// A node has become a replacement, which is on its disk only at `until`. Sometimes ends it
    /// before.
    pub fn shake(&mut self, slot: usize, until: Micros) {
        if self.is_calm || !self.plan.outages || !self.rng.chance(200) {
            return;
        }
        let end = self.hard_end();
        let at = self.rng.below(2 * (until - self.now) + 1);
        let pause = at + self.rng.within(500, self.plan.longest);
        self.after(at, Event::NodeEnd(slot, end));
        self.after(pause, Event::NodeStart(slot));
    }

    /// Copies the data folder of a running node, and starts the copy; or starts or ends an existing
    /// copy.
    pub fn copy_folder(&mut self) {
        let Some(place) = self.copies_at.filter(|_| !self.is_calm) else { return };
        let pause = self.rng.within(20_000, 200_000);
        self.after(pause, Event::CopyFolder);
        if self.slots[place].copy_of.is_some() {
            self.drop_node(place);
            if self.rng.chance(700) {
                self.start_node(place)
            } else {
                self.forget_copy(place)
            }
            return;
        }
        let original = self.rng.below(place as u64) as usize;
        let Slot { process, disk, starts, .. } = &self.slots[original];
        if process.is_none() || disk.life(&self.keys).is_none_or(|life| life.claim().is_none()) {
            return;
        }
        let (mut copy, starts) = (disk.clone(), starts.clone());
        let (least, all) = copy.left(self.now, End::Kill);
        copy.cut(self.rng.within(least as u64, all as u64) as usize, self.now);
        self.counts.copied += 1;
        self.log(|_| format!("the disk of node{original} is copied"));
        let slot = &mut self.slots[place];
        (slot.disk, slot.starts, slot.copy_of) = (copy, starts, Some(original));
        self.start_node(place);
    }

    /// Whether the manager has saved that a disk is a copy.
    fn is_known_copy(&self, place: usize) -> bool {
        let starts = &self.slots[place].starts;
        let copies = &self.manager.disk.folders.copies;
        copies.iter().any(|copy| copy.starts.iter().any(|start| starts.contains(&start.0)))
    }

    fn forget_copy(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        (slot.disk, slot.copy_of) = (Disk::default(), None);
        slot.starts.clear();
    }

    /// A node has ended. A copy of its disk that was not seen beside it looks like a moved folder:
    /// it is not started here.
    pub fn original_ends(&mut self, original: usize) {
        let Some(place) = self.copies_at else { return };
        if self.slots[place].copy_of == Some(original) && !self.is_known_copy(place) {
            self.drop_node(place);
            self.forget_copy(place);
        }
    }

    /// A copy was accepted. It may not have been recognised as one: then it is not used further
    /// here.
    pub fn copy_is_taken(&mut self, place: usize) {
        if self.is_known_copy(place) {
            return self.fail("a copy that was seen beside its original is taken in".into());
        }
        self.drop_node(place);
        self.forget_copy(place);
    }

    /// Ends all replicas of a key but one, and that one some milliseconds later. All the others
    /// keep their disks, and come back.
    pub fn topple(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        let (active, newest) = self.views();
        let key = self.rng.below(self.keys.len() as u64) as Key;
        if active.arcs() == 0 || active.epoch() != newest.epoch() {
            return;
        }
        let members: Vec<u16> = active.write_set(self.keys[usize::from(key)].arc).to_vec();
        let slot_of = |place: u16| usize::from(active.member(place).address.port() - 6000);
        let is_in_order = |&place: &u16| {
            let pid = active.member(place).incarnation.0;
            let known = membership.nodes().find(|node| node.who.incarnation.0 == pid);
            let is_known =
                known.is_some_and(|n| !n.is_unreported() && n.report.epoch == active.epoch());
            is_known && self.listener(Party::Node(slot_of(place))) == Some(pid)
        };
        if members.len() < 2 || !members.iter().all(is_in_order) {
            return;
        }
        let last = self.rng.pick(&members);
        let (last_slot, last_pid) = (slot_of(last), active.member(last).incarnation.0);
        let others: Vec<usize> =
            members.iter().filter(|&&place| place != last).map(|&place| slot_of(place)).collect();
        let spread = self.rng.pick(&[2_000, 8_000, 30_000]);
        for slot in others {
            let end = self.hard_end();
            self.end_node(slot, end);
            let pause = self.rng.within(2 * spread, 2 * spread + self.plan.longest);
            self.after(pause, Event::NodeStart(slot));
        }
        let wait = self.rng.within(100, spread);
        self.after(wait, Event::Topple(last_slot, last_pid, active.epoch(), self.manager.pid));
    }

    /// The last of them ends, and its disk is lost: its records are on the others' disks, or on
    /// live nodes.
    pub fn topple_last(&mut self, slot: usize, pid: Pid, epoch: Epoch, manager: Pid) {
        if self.is_calm || self.listener(Party::Node(slot)) != Some(pid) || self.toppled.is_some() {
            return;
        }
        let membership = self.manager.membership().filter(|_| self.manager.pid == manager);
        let knows = membership.is_some_and(|membership| {
            membership.nodes().any(|n| n.who.incarnation.0 == pid && n.has_last_adopted(epoch))
        });
        if !knows {
            return;
        }
        let process = self.slots[slot].process.as_ref().expect("it runs");
        let Some(routes) =
            process.holdings.routes().filter(|routes| routes.epoch() == epoch).cloned()
        else {
            return;
        };
        let Some(own) = routes.view().place_at(Incarnation(pid)) else { return };
        let is_elsewhere = |arc: usize| {
            let others = routes.write_set(arc).iter().filter(|&&place| usize::from(place) != own);
            others.copied().any(|place| {
                let member = routes.member(place);
                let slot = &self.slots[usize::from(member.address.port() - 6000)];
                match &slot.process {
                    Some(p) if p.pid == member.incarnation.0 => {
                        // The next view may have dropped what was not reported to the manager.
                        let known = self.manager.membership().and_then(|membership| {
                            membership.nodes().find(|node| node.who.incarnation.0 == p.pid)
                        });
                        let is_known = known.is_some_and(|node| {
                            !node.is_unreported() && node.report.synced.contains(arc)
                        });
                        is_known && p.holdings.epoch() >= epoch && p.holdings.synced().contains(arc)
                    }
                    _ => {
                        let claim = slot.disk.life(&self.keys).and_then(|life| life.claim());
                        claim.is_some_and(|claim| {
                            claim.of == member.incarnation
                                && claim.epoch == epoch
                                && claim.synced.contains(arc)
                        })
                    }
                }
            })
        };
        if !routes.arcs_of(own as u16).ones().all(is_elsewhere) {
            return;
        }
        self.toppled = Some(pid);
        self.counts.toppled += 1;
        self.end_node(slot, End::Kill);
        self.log(|_| format!("the disk of node{slot} is lost"));
        self.slots[slot].disk = Disk::default();
        let pause = self.rng.within(500, self.plan.longest);
        self.after(pause, Event::NodeStart(slot));
    }

    /// Whether only the manager knows that the last replica of a key has ended: it must not die
    /// before that is saved, or before it knows.
    pub fn is_to_know(&self) -> bool {
        let Some(pid) = self.toppled.filter(|_| self.manager.gate.is_some()) else { return false };
        let is_saved = |saved: &Saved| {
            saved.ended.iter().any(|ended| ended.incarnation.0 == pid)
                || saved.active.place_at(Incarnation(pid)).is_none()
        };
        !is_saved(&self.manager.disk)
    }

    /// Starts the nodes that the cluster's health asks for. The lost records are on their disks.
    pub fn bring_back(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        let health = membership.health(self.now / 1000);
        let Health::Unavailable { bring_back, .. } = &health else { return };
        let named = |slot: &usize| bring_back.contains(&format!("node{slot}"));
        let is_away = |slot: &usize| self.slots[*slot].process.is_none();
        let away: Vec<usize> = (0..self.slots.len()).filter(named).filter(is_away).collect();
        if away.is_empty() {
            // They are back without records.
            self.counts.nothings += 1;
            return self.look_and_accept();
        }
        for slot in away {
            self.start_node(slot);
        }
    }
}
