//! A node's log entries, and actions that wait for the disk.
//!
//! As in `storage`: with `sync` an answer that acknowledges a record is sent when the record is
//! durable, and an arc counts as fetched when its records are; with `async` nothing waits for
//! records. With both, a view is acknowledged only when it is durable (`storage/src/control.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::durability::Durability;
use cluster::holdings::{Adoption, Holdings};
use cluster::ids::{Epoch, Incarnation};
use cluster::mutation::{Mutation, is_on};
use cluster::replica::{self, State, WriteAnswer};
use cluster::version::Version;
use cluster::view::Routes;

use super::{Process, Stored};
use crate::disk::{Disk, Entry, Noted, RecoveredRecords, set_aside, take_arc};
use crate::network::{Dir, Frame, LinkId, Party, Pid};
use crate::world::{Event, Key, KeyInfo, Micros, Slot, World};

/// An action that waits for the disk.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are answers")]
pub enum Due {
    /// An answer to a write, on its connection, if there is one; and the stored version where this
    /// node is the whole write set.
    Answer(Option<LinkId>, Frame, Option<(Key, Version)>),
    /// Arcs were fully fetched under a view.
    Fetched(Epoch, Vec<u16>),
    /// The reader of the manager's frames continues.
    Control,
}

impl Process {
    /// A process that starts with a disk.
    fn with_disk(self, disk: &Disk, starts: Vec<Incarnation>, keys: &[KeyInfo]) -> Process {
        let Some(life) = disk.life(keys) else { return self };
        let holdings = Holdings::new(self.who.id.clone(), self.who.incarnation);
        let stale = life.stale.iter().map(|(&arc, held)| (arc, stored(held))).collect();
        let claim = life.claim().map(|claim| Claim { starts, ..claim });
        Process { holdings: holdings.with_claim(claim), held: life.held, stale, ..self }
    }

    fn promise(&self) -> Durability {
        let routes = self.holdings.routes().filter(|_| self.who.on_disk);
        routes.map_or(Durability::None, |routes| routes.view().durability)
    }

    /// Whether answers wait for the disk.
    pub(super) fn is_sync(&self) -> bool {
        self.promise() == Durability::Sync
    }

    /// Logs its record of a key where an answer acknowledges it; with `async` where it was just
    /// stored.
    pub(super) fn vouch(&mut self, key: Key, answer: WriteAnswer) {
        let vouches = match answer {
            WriteAnswer::Stored | WriteAnswer::BlindStored => true,
            WriteAnswer::Superseded(_) | WriteAnswer::BlindBelow(_) => self.is_sync(),
            _ => false,
        };
        if let Some(stored) = self.table.get(&key).filter(|_| vouches) {
            let entry = Entry::Record(self.holdings.epoch(), key, stored.version, stored.body);
            self.outbox.push(entry);
        }
    }

    /// Adopts a view, and updates its records accordingly. `None` if it is not newer.
    fn adopt(&mut self, keys: &[KeyInfo], routes: Arc<Routes>, wall: u64) -> Option<Adoption> {
        let follows = routes.view().before() == self.holdings.epoch();
        let adoption = self.holdings.adopt(routes.clone())?;
        self.clear(keys, &adoption, follows);
        self.gathered.clear();
        if !self.holdings.has_been_member() {
            // The disk's last incarnation stays the one before.
            return Some(adoption);
        }
        let mut held = std::mem::take(&mut self.held);
        let since = self.clock.read(wall);
        for arc in adoption.to_revive.ones() {
            let state = replica::state_when_stored(routes.write_set(arc).len() == 1);
            for (key, (version, body)) in take_arc(&mut held, arc, keys) {
                self.clock.fold(version.clock);
                let stored = Stored { version, state, body, since, is_marked: false };
                self.table.insert(key, stored);
            }
        }
        for arc in adoption.to_set_aside.ones() {
            let taken = take_arc(&mut held, arc, keys);
            set_aside(&mut self.stale, arc, stored(&taken));
        }
        self.outbox.push(Entry::View(Noted {
            epoch: routes.epoch(),
            emptied: adoption.to_drop.clone(),
            held: self.holdings.synced().union(self.holdings.revived()).collect(),
            revived: adoption.to_revive.clone(),
        }));
        Some(adoption)
    }
}

/// Stale records, as a process keeps them.
fn stored(held: &RecoveredRecords) -> std::collections::BTreeMap<Key, Stored> {
    let of = |(key, (version, body)): (&Key, &(Version, _))| {
        let (version, body, state) = (*version, *body, State::Pending);
        (*key, Stored { version, state, body, since: 0, is_marked: false })
    };
    held.iter().map(of).collect()
}

impl World {
    /// A process that starts at an address, with the disk there.
    pub(super) fn started(&self, pid: Pid, slot: usize) -> Process {
        let on_disk = self.plan.durability != Durability::None;
        let Slot { disk, starts, copy_of, .. } = &self.slots[slot];
        let starts = starts.iter().map(|start| Incarnation(*start)).collect();
        let process = Process::new(pid, copy_of.unwrap_or(slot), slot, on_disk);
        process.with_disk(disk, starts, &self.keys)
    }

    /// Logs a process's new entries. Returns when they are durable.
    pub(super) fn hand_in(&mut self, slot: usize) -> Micros {
        let now = self.now;
        let Some(process) = self.slots[slot].process.as_mut() else { return now };
        let (pid, promise) = (process.pid, process.promise());
        let entries = std::mem::take(&mut process.outbox);
        if entries.is_empty() || promise == Durability::None {
            return now;
        }
        let durable = now + self.rng.within(20, self.plan.fsync);
        let (written, flushed) = match promise {
            Durability::Sync => (durable, durable),
            _ => (now + self.rng.below(500), now + self.rng.within(20, self.plan.flush)),
        };
        for entry in entries {
            match entry {
                Entry::View(noted) => {
                    // The disk is synced at once.
                    let late = self.rng.below(8) as usize;
                    let times = (written.min(durable), durable);
                    self.slots[slot].disk.note(now, late, pid, noted, times);
                }
                entry => self.slots[slot].disk.push(pid, entry, (written, flushed)),
            }
        }
        durable
    }

    /// Answers a write, when the acknowledged record is on the disk.
    pub(super) fn answer_write(
        &mut self,
        slot: usize,
        link: Option<LinkId>,
        answer: Frame,
        (key, version): (Key, Version),
    ) {
        let durable = self.hand_in(slot);
        let Some(process) = &self.slots[slot].process else { return };
        let arc = self.keys[usize::from(key)].arc;
        let is_alone = process.holdings.routes().is_some_and(|r| r.write_set(arc).len() == 1);
        let is_stored = matches!(answer, Frame::Wrote(_, WriteAnswer::Stored, _));
        let alone = (is_alone && is_stored).then_some((key, version));
        let waits = process.is_sync() && durable > self.now && !is_on(Mutation::AnswersUnsynced);
        if waits {
            let due = Due::Answer(link, answer, alone);
            self.after(durable - self.now, Event::OnDisk(process.pid, due));
        } else {
            self.answer_now(slot, link, answer, alone)
        }
    }

    fn answer_now(
        &mut self,
        slot: usize,
        link: Option<LinkId>,
        answer: Frame,
        alone: Option<(Key, Version)>,
    ) {
        // Rule N3. Members that joined the write set since have fetched it from here.
        if let Some((key, version)) = alone
            && let Some(process) = self.slots[slot].process.as_mut()
            && let Some(stored) = process.table.get_mut(&key)
        {
            stored.state = replica::commit(stored.version, stored.state, version);
        }
        if let Some(link) = link {
            self.send(link, Dir::Down, answer);
        }
    }

    /// Arcs were fully fetched under a view: they count when this is on the disk.
    pub(super) fn complete(&mut self, slot: usize, epoch: Epoch, arcs: Vec<u16>) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.outbox.push(Entry::Synced(epoch, arcs.clone()));
        let (pid, is_sync) = (process.pid, process.is_sync());
        let durable = self.hand_in(slot);
        if is_sync && durable > self.now {
            self.after(durable - self.now, Event::OnDisk(pid, Due::Fetched(epoch, arcs)))
        } else {
            self.completed(slot, epoch, &arcs)
        }
    }

    fn completed(&mut self, slot: usize, epoch: Epoch, arcs: &[u16]) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.fetched(epoch, arcs);
        let (pid, control) = (process.pid, process.control);
        self.log(|_| format!("node{slot} is synced in {arcs:?} at epoch {epoch}"));
        if let Some(control) = control {
            self.after(1, Event::NodeBeat(pid, control, false));
        }
    }

    /// The disk has reached an entry that a node waits for.
    pub fn on_disk(&mut self, pid: Pid, due: Due) {
        let slot = self.slot_of(pid);
        if self.listener(Party::Node(slot)) != Some(pid) {
            return;
        }
        match due {
            Due::Answer(link, answer, alone) => self.answer_now(slot, link, answer, alone),
            Due::Fetched(epoch, arcs) => self.completed(slot, epoch, &arcs),
            Due::Control => self.go_on_reading(slot),
        }
    }

    /// Passes on a frame from the manager; `None` if the reader waits.
    pub(super) fn take_in(&mut self, slot: usize, link: LinkId, frame: Frame) -> Option<Frame> {
        match &mut self.slots[slot].process.as_mut()?.inbox {
            Some(inbox) => {
                inbox.push_back((link, frame));
                None
            }
            None => Some(frame),
        }
    }

    /// The reader of the manager's frames waits until then.
    fn stop_reading(&mut self, slot: usize, until: Micros) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.inbox = Some(VecDeque::new());
        let pid = process.pid;
        self.after(until.saturating_sub(self.now), Event::OnDisk(pid, Due::Control));
    }

    fn go_on_reading(&mut self, slot: usize) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let inbox = process.inbox.take();
        let (pid, control) = (process.pid, process.control);
        if process.unconfirmed.take().is_some() {
            self.log(|_| format!("the disk of node{slot} has its view"));
            if let Some(control) = control {
                self.after(1, Event::NodeBeat(pid, control, false));
            }
        }
        for (link, frame) in inbox.into_iter().flatten() {
            self.control_frame(Party::Node(slot), link, frame);
        }
    }

    /// A node has received a view from the manager.
    pub(super) fn adopt_pushed(&mut self, slot: usize, (routes, active): (Arc<Routes>, Epoch)) {
        let wall = self.node_now(slot).wall;
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let before = process.report();
        process.active = process.active.max(active);
        let epoch = routes.epoch();
        let leaves = process.holdings.leaves_with(routes.view());
        let Some(adoption) = process.adopt(&self.keys, routes, wall) else { return };
        if leaves {
            process.left_with = Some(epoch);
        }
        let (pid, control) = (process.pid, process.control);
        self.log(|w| {
            let ones = |set: &ArcSet| format!("{:?}", set.ones().collect::<Vec<_>>());
            let Adoption { to_drop, to_set_aside, to_revive, .. } = &adoption;
            let synced =
                w.slots[slot].process.as_ref().map_or_else(String::new, |p| ones(p.holdings.synced()));
            format!(
                "node{slot} adopts view {epoch}: drops {to_drop:?}, sets aside {}, revives {}, is synced in {synced}",
                ones(to_set_aside),
                ones(to_revive)
            )
        });
        let durable = self.hand_in(slot);
        let is_replacement = !adoption.to_revive.is_clear();
        self.counts.replacements += u64::from(is_replacement);
        let process = self.slots[slot].process.as_mut().expect("it runs");
        if durable > self.now && !is_on(Mutation::ReplacementEarly) {
            process.unconfirmed = Some(before);
            self.stop_reading(slot, durable);
        } else {
            if let Some(link) = control {
                self.after(1, Event::NodeBeat(pid, link, false));
            }
        }
        if is_replacement {
            self.shake(slot, durable);
        }
    }
}
