//! A node's shell: it applies the rules to each request, as `storage` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster::holdings::{Holdings, Refusal, Standing};
use cluster::ids::{Address, Epoch, Incarnation, NodeId};
use cluster::lease::{self, LeaseHolder};
use cluster::membership::{Newcomer, Report, starts};
use cluster::operation::{Body, Found, Operation, ReadAnswer};
use cluster::replica::{self, State, WriteAnswer};
use cluster::time::Millis;
use cluster::version::{Clock, ServerClock, Version};
use cluster::watermarks::WrittenClocks;

use crate::client::{Owner, Task};
use crate::disk::{Entry, RecoveredRecords};
use crate::network::{Buckets, CommitNotice, Dir, Frame, LinkId, Pid};
use crate::world::Key;
use crate::world::{Event, HEARTBEAT_MS, KeyInfo, Micros, Value, World};

mod control;
mod storing;
mod transfer;

pub use storing::Due;
use transfer::Fetch;

/// A node's record of a key.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// Whether all replicas are known to hold it.
    pub state: State,
    /// A value or a tombstone.
    pub body: Body<Value>,
    /// When it was stored, by the node's clock.
    since: Clock,
    /// A tombstone that the last sweep found committed.
    is_marked: bool,
}

/// One start of a node's process.
pub struct Process {
    /// This start; also its incarnation.
    pub pid: Pid,
    /// Its registration.
    pub who: Newcomer,
    /// The state of its ranges.
    pub holdings: Holdings,
    /// When its lease ends, by its own clock.
    pub until: Millis,
    /// Its records.
    pub table: BTreeMap<Key, Stored>,
    /// Stale records, by arc: a cache that no read returns (H3).
    stale: BTreeMap<usize, BTreeMap<Key, Stored>>,
    /// For arcs whose stale records have been compared: the buckets that are still to be fetched.
    differing: BTreeMap<u16, Buckets>,
    /// Records recovered from its disk, until it joins a view (H6).
    held: RecoveredRecords,
    /// Members that have answered a gather: arcs, and places in the view.
    gathered: BTreeSet<(usize, u16)>,
    /// Entries that are not logged yet.
    outbox: Vec<Entry>,
    /// Its report from before it adopted a view that is not on its disk yet.
    unconfirmed: Option<Report>,
    /// Frames from the manager that wait while its reader waits for the disk.
    inbox: Option<VecDeque<(LinkId, Frame)>>,
    /// The view with which it has left the cluster. It runs until that is active.
    left_with: Option<Epoch>,
    /// Commit watermarks by writer.
    watermarks: BTreeMap<u64, Clock>,
    /// The number of the last probe on that connection.
    probe: u64,
    /// Its connection to the manager.
    pub control: Option<LinkId>,
    /// Until when it is stopped.
    pub paused_until: Micros,
    lease: LeaseHolder,
    /// How often it sends heartbeats.
    pub heartbeat_ms: Millis,
    is_registered: bool,
    /// Whether the manager has asked for the newest view that it has seen.
    shows_view: bool,
    last_received: Micros,
    active: Epoch,
    clock: ServerClock,
    fetch: Option<Fetch>,
    turn: usize,
    /// How many values it has expired.
    pub expired: u64,
}

/// The two clocks of a node.
#[derive(Clone, Copy)]
pub struct Now {
    /// Since boot: leases.
    pub boot: Millis,
    /// Of the day: versions.
    pub wall: u64,
}

impl Process {
    fn new(pid: Pid, name: usize, slot: usize, on_disk: bool) -> Process {
        let id = NodeId::new(&format!("node{name}")).expect("a valid name");
        let incarnation = Incarnation(pid);
        let address = Address::new("127.0.0.1", 6000 + slot as u16).expect("a valid address");
        Process {
            pid,
            who: Newcomer {
                id: id.clone(),
                incarnation,
                address,
                redis_port: 0,
                on_disk,
                weight: 1,
            },
            holdings: Holdings::new(id, incarnation),
            until: 0,
            table: BTreeMap::new(),
            stale: BTreeMap::new(),
            differing: BTreeMap::new(),
            held: RecoveredRecords::new(),
            gathered: BTreeSet::new(),
            outbox: Vec::new(),
            unconfirmed: None,
            inbox: None,
            left_with: None,
            watermarks: BTreeMap::new(),
            probe: 0,
            control: None,
            paused_until: 0,
            lease: LeaseHolder::new(),
            heartbeat_ms: HEARTBEAT_MS,
            is_registered: false,
            shows_view: false,
            last_received: 0,
            active: Epoch::NONE,
            clock: ServerClock::default(),
            fetch: None,
            turn: 0,
            expired: 0,
        }
    }

    /// Whether it may serve.
    pub fn has_lease(&self, now: Now) -> bool {
        lease::is_valid(self.until, now.boot)
    }

    fn write(
        &mut self,
        now: Now,
        info: &KeyInfo,
        (epoch, key, version, born): (Epoch, Key, Version, Clock),
        body: Body<Value>,
        expected: Option<Version>,
    ) -> (WriteAnswer, Clock) {
        let own = self.clock.read(now.wall);
        if !self.has_lease(now) {
            return (WriteAnswer::NoLease, own);
        }
        let Some(routes) = self.holdings.routes() else { return (WriteAnswer::WrongEpoch, own) };
        let Ok(standing) = self.holdings.admit_write(epoch, info.arc) else {
            return (WriteAnswer::WrongEpoch, own);
        };
        let may_swap = standing == Standing::Synced && self.holdings.is_primary(info.arc);
        if expected.is_some() && !may_swap {
            return (WriteAnswer::WrongEpoch, own);
        }
        let is_alone = routes.write_set(info.arc).len() == 1;
        let held = self.table.get(&key);
        let (before, same) =
            held.map_or((Version::ABSENT, false), |stored| (stored.version, stored.body == body));
        let decision = match expected {
            None => replica::write(before, version, same, born, own, standing),
            Some(expected) => replica::swap(before, expected, version, same, born, own),
        };
        if decision.keep {
            // Reads return committed records: so not before it is on the disk.
            let state = replica::state_when_stored(is_alone && !self.is_sync());
            self.table.insert(key, Stored { version, state, body, since: own, is_marked: false });
        }
        self.vouch(key, decision.answer);
        if matches!(decision.answer, WriteAnswer::Stored | WriteAnswer::BlindStored) {
            self.clock.fold(version.clock);
            return (decision.answer, own.max(version.clock));
        }
        (decision.answer, own)
    }

    fn commit(&mut self, commits: CommitNotice) {
        for (writer, clock) in commits.watermarks {
            let watermark = self.watermarks.entry(writer).or_default();
            *watermark = clock.max(*watermark);
        }
        for (key, version) in commits.versions {
            if let Some(stored) = self.table.get_mut(&key) {
                stored.state = replica::commit(stored.version, stored.state, version);
            }
        }
    }

    /// Applies the watermarks to the records.
    fn note_watermarks(&mut self) {
        for stored in self.table.values_mut() {
            stored.state = state(&self.watermarks, stored);
        }
    }

    /// Replaces an expired value with a tombstone, where this node is synced (C6). Returns whether
    /// it did.
    fn expire(&mut self, clock: Clock, arc: usize, key: Key) -> bool {
        let is_sync = self.is_sync();
        let Some(stored) = self.table.get_mut(&key) else { return false };
        let until = stored.body.and_then(|value| value.until);
        let is_due = until.is_some_and(|until| replica::is_expired(until, clock));
        let is_mine = self.holdings.synced().contains(arc);
        let Some(routes) = self.holdings.routes().filter(|_| is_due && is_mine) else {
            return false;
        };
        // Reads return committed records: so not before it is on the disk.
        let is_alone = routes.write_set(arc).len() == 1 && !is_sync;
        let (version, state) = replica::expire(stored.version, is_alone);
        *stored = Stored { version, state, body: None, since: clock, is_marked: false };
        self.outbox.push(Entry::Record(self.holdings.epoch(), key, version, None));
        self.expired += 1;
        true
    }

    /// The same for all its records. Like real nodes it does this rarely; readers find most expired
    /// values.
    fn expire_all(&mut self, now: Now, keys: &[KeyInfo]) {
        let clock = self.clock.read(now.wall);
        if self.has_lease(now) {
            for (key, info) in (0..).zip(keys) {
                self.expire(clock, info.arc, key);
            }
        }
    }

    fn read(&mut self, now: Now, info: &KeyInfo, key: Key) -> (ReadAnswer<Value>, Clock) {
        let clock = self.clock.read(now.wall);
        let answer = if !self.has_lease(now) {
            ReadAnswer::NoLease
        } else {
            match self.holdings.admit_read(info.arc) {
                Err(Refusal::WrongEpoch) => ReadAnswer::WrongEpoch,
                Err(Refusal::Syncing) => ReadAnswer::Syncing,
                Ok(()) => {
                    self.expire(clock, info.arc, key);
                    ReadAnswer::Found(self.found(key, clock))
                }
            }
        };
        (answer, clock)
    }

    fn fence(
        &mut self,
        now: Now,
        info: &KeyInfo,
        epoch: Epoch,
        key: Key,
    ) -> (ReadAnswer<Value>, Clock) {
        let clock = self.clock.read(now.wall);
        let answer = if !self.has_lease(now) {
            ReadAnswer::NoLease
        } else {
            match self.holdings.admit_write(epoch, info.arc) {
                Err(_) => ReadAnswer::WrongEpoch,
                Ok(Standing::Synced) => {
                    self.expire(clock, info.arc, key);
                    ReadAnswer::Found(self.found(key, clock))
                }
                Ok(Standing::Blind) => ReadAnswer::Blind(self.found(key, clock)),
            }
        };
        (answer, clock)
    }

    fn found(&self, key: Key, clock: Clock) -> Found<Value> {
        let held = self.table.get(&key).map(|s| (s.version, state(&self.watermarks, s), s.body));
        let (version, state, body) = held.unwrap_or((Version::ABSENT, State::Committed, None));
        Found { version, body, state, epoch: self.holdings.epoch(), clock }
    }

    fn sweep(&mut self, now: Now) {
        self.note_watermarks();
        let own = self.clock.read(now.wall);
        self.table.retain(|_, stored| {
            if stored.body.is_some() || stored.state == State::Pending {
                return true;
            }
            let drop = replica::may_drop_tombstone(stored.version, stored.is_marked, own);
            stored.is_marked = true;
            !drop
        });
    }

    fn report(&self) -> Report {
        if let Some(before) = &self.unconfirmed {
            return Report { probe: self.probe, ..before.clone() };
        }
        let rest = Report { keys: self.table.len() as u64, probe: self.probe, ..Report::default() };
        let (synced, revived) = (self.holdings.synced().clone(), self.holdings.revived().clone());
        Report { epoch: self.holdings.epoch(), synced, revived, ..rest }
    }
}

/// The state of a record, by the record itself and its writer's watermark.
fn state(watermarks: &BTreeMap<u64, Clock>, stored: &Stored) -> State {
    match watermarks.get(&stored.version.writer) {
        Some(&watermark) if replica::is_covered(&stored.version, watermark) => State::Committed,
        _ => stored.state,
    }
}

impl World {
    /// Starts a process at an address where none runs.
    pub fn start_node(&mut self, slot: usize) {
        if self.copies_at == Some(slot) && self.slots[slot].copy_of.is_none() {
            return;
        }
        let pid = self.fresh();
        self.log(|_| format!("node{slot} starts as {pid}"));
        starts::note(&mut self.slots[slot].starts, pid);
        self.slots_by_pid.insert(pid, slot);
        let process = self.started(pid, slot);
        self.slots[slot].process = Some(process);
        let connect = self.rng.within(50, 3_000);
        self.after(connect, Event::NodeConnect(pid));
        self.after(4_000, Event::NodeFetch(pid));
        self.after(self.plan.look, Event::NodeFinish(pid));
        self.after(self.plan.sweep, Event::NodeSweep(pid));
    }

    /// Ends the process at an address, and drops its memory.
    pub fn drop_node(&mut self, slot: usize) {
        if let Some(process) = self.slots[slot].process.take() {
            self.counts.expired += process.expired;
            self.log(|_| format!("node{slot} ({}) dies", process.pid));
            self.tasks.retain(|_, task| task.owner != Owner::Node(process.pid));
            self.close_all(process.pid);
        }
        self.original_ends(slot);
    }

    fn process(&mut self, pid: Pid) -> Option<&mut Process> {
        let slot = *self.slots_by_pid.get(&pid)?;
        self.slots[slot].process.as_mut().filter(|process| process.pid == pid)
    }

    /// A frame reaches a node, which answers on `link`.
    pub fn node_frame(&mut self, slot: usize, link: Option<LinkId>, frame: Frame) {
        let now = self.node_now(slot);
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let answer = match frame {
            Frame::Commit(commits) => return self.node_commits(slot, link, commits),
            Frame::Write(..) => return self.node_write(slot, link, frame),
            Frame::Read(tag, key) => {
                let (answer, clock) = process.read(now, &self.keys[usize::from(key)], key);
                self.hand_in(slot);
                self.log(|_| format!("node{slot}: read k{key}: {answer:?}"));
                Frame::Found(tag, answer, clock)
            }
            Frame::Fence(tag, epoch, key) => {
                let info = &self.keys[usize::from(key)];
                let (answer, clock) = process.fence(now, info, epoch, key);
                self.hand_in(slot);
                self.log(|_| format!("node{slot}: fence k{key} epoch {epoch}: {answer:?}"));
                Frame::Found(tag, answer, clock)
            }
            Frame::Pull(epoch, arcs, after) => {
                let bounds = (self.plan.page, self.plan.buckets);
                let (complete, records, compared) =
                    process.page(&self.keys, (epoch, &arcs, after), bounds);
                Frame::Page(process.holdings.epoch(), complete, records, compared)
            }
            Frame::Fin => return,
            other => unreachable!("{other:?} is not sent to nodes"),
        };
        if let Some(link) = link {
            self.send(link, Dir::Down, answer);
        }
    }

    fn node_commits(&mut self, slot: usize, link: Option<LinkId>, mut commits: CommitNotice) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        // A connection that no longer exists has brought no writes.
        let none = WrittenClocks::default();
        let link = link.and_then(|link| self.links.get(&link));
        let written = link.map_or(&none, |link| &link.written);
        let bounded = |(writer, clock)| Some((writer, written.bounded(writer, clock)?));
        commits.watermarks = commits.watermarks.into_iter().filter_map(bounded).collect();
        process.commit(commits);
    }

    fn node_write(&mut self, slot: usize, link: Option<LinkId>, frame: Frame) {
        let now = self.node_now(slot);
        let ghost = frame.clone();
        let Frame::Write(tag, epoch, key, version, born, body, expected) = frame else { return };
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
            link.written.note(&version, born);
        }
        let info = &self.keys[usize::from(key)];
        let (answer, clock) = process.write(now, info, (epoch, key, version, born), body, expected);
        self.log(|_| {
            let what = if expected.is_some() { "swap" } else { "write" };
            let Version { clock, writer, step, .. } = version;
            format!(
                "node{slot}: {what} k{key} {body:?} {clock}.{writer}.{step} epoch {epoch}: \
                 {answer:?}"
            )
        });
        // TCP delivers nothing twice. But a writer sends its frame again when the answer is lost,
        // and both may have been taken. (Not what was refused: a writer sends that again only after
        // it has received the refusal.)
        let was_taken = matches!(
            answer,
            WriteAnswer::Stored
                | WriteAnswer::Superseded(_)
                | WriteAnswer::BlindStored
                | WriteAnswer::BlindBelow(_)
        );
        if was_taken && link.is_some() && !self.is_calm && self.rng.chance(self.plan.ghosts) {
            self.counts.ghosts += 1;
            let late = self.rng.within(100, 250_000);
            self.after(late, Event::Ghost(slot, ghost));
        }
        self.answer_write(slot, link, Frame::Wrote(tag, answer, clock), (key, version));
    }

    /// Completes pending records of dead writers (C4).
    pub fn node_finish(&mut self, pid: Pid) {
        let Some(slot) = self.slots_by_pid.get(&pid).copied() else { return };
        let now = self.node_now(slot);
        let keys = self.keys.clone();
        let looks_at_all = self.rng.chance(100);
        let Some(process) = self.process(pid) else { return };
        process.note_watermarks();
        if looks_at_all {
            process.expire_all(now, &keys);
        }
        let clock = process.clock.read(now.wall);
        let mut found = Vec::new();
        let routes = process.holdings.routes().cloned();
        if let Some(routes) = routes.filter(|r| r.epoch() == process.active)
            && process.has_lease(now)
        {
            let abandoned = process.table.iter().filter(|(key, stored)| {
                process.holdings.synced().contains(keys[usize::from(**key)].arc)
                    && stored.state == State::Pending
                    && replica::is_abandoned(stored.since, clock)
            });
            for (&key, stored) in abandoned.take(4) {
                let Stored { version, state, body, .. } = *stored;
                let epoch = routes.epoch();
                let found_one = Found { version, body, state, epoch, clock };
                found.push((key, found_one, routes.clone()));
            }
        }
        self.hand_in(slot);
        for (key, found, routes) in found {
            self.counts.finishes += 1;
            let task = Task::new(Owner::Node(pid), key, Operation::finish(found), routes);
            self.begin_task(task);
        }
        self.after(self.plan.look, Event::NodeFinish(pid));
    }

    /// Drops old tombstones (N5).
    pub fn node_sweep(&mut self, pid: Pid) {
        let Some(slot) = self.slots_by_pid.get(&pid).copied() else { return };
        let now = self.node_now(slot);
        if let Some(process) = self.process(pid) {
            process.sweep(now);
            self.after(self.plan.sweep, Event::NodeSweep(pid));
        }
    }
}
