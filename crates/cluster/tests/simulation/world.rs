//! The simulated world: all processes, one clock, one queue of events.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use cluster::durability::Durability;
use cluster::ids::{Epoch, Incarnation};
use cluster::ring::arc_of_key;
use cluster::time::Millis;

use crate::checker::History;
use crate::client::{Client, Task, TaskId};
use crate::counts::Counts;
use crate::disk::{Disk, End};
use crate::manager::Manager;
use crate::network::{Alive, Dir, Frame, Link, LinkId, Party, Pid, Tag};
use crate::node::{Due, Now, Process};
use crate::operator::Operator;
use crate::plan::Plan;
use crate::rng::Rng;

/// Simulated time.
pub type Micros = u64;
/// A key, as its number.
pub type Key = u8;

/// A value; each is put once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// Which.
    pub number: u32,
    /// Its expiry time, by wall clocks (C6).
    pub until: Option<u64>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.until.map_or(Ok(()), |until| write!(f, "@{until}"))
    }
}

/// Arcs of the ring.
pub const ARCS: usize = 16;
/// The heartbeat interval. A hundredth of the real default, like all other times here.
pub const HEARTBEAT_MS: Millis = 20;
/// The manager's lease.
pub const LEASE_MS: Millis = 3 * HEARTBEAT_MS;
/// The time between a loss and the rebalance.
pub const REBALANCE_MS: Millis = 20 * HEARTBEAT_MS;
/// How long nothing may change before a cluster counts as healthy: longer than anything that it
/// waits for.
const STILL_MS: Millis = REBALANCE_MS + LEASE_MS;
/// How long after the last fault a loss of all copies is not accepted, while everything else must
/// be served.
const LOSS_WAIT: Micros = 400_000;
/// How long a cluster may take to become healthy when all faults are over.
const HEALS_WITHIN: Micros = 4_000_000;
/// The wall clock at the start.
const BIRTH: u64 = 100_000_000;

/// An event.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connection delivers a frame.
    Pump(LinkId, Dir),
    /// A frame from a connection that no longer exists reaches an address.
    Ghost(usize, Frame),
    /// The manager is started.
    ManagerStart,
    /// The manager looks at the time.
    ManagerTick(Pid),
    /// A save of the manager reaches its disk.
    ManagerSaved(Pid),
    /// The manager tries a node's port.
    TryPort(Pid, Incarnation, usize),
    /// A node is started.
    NodeStart(usize),
    /// A node dials the manager.
    NodeConnect(Pid),
    /// A node checks whether its connection to the manager is silent.
    NodeTimeout(Pid, LinkId),
    /// A node sends a heartbeat.
    NodeBeat(Pid, LinkId, bool),
    /// A node looks for something to fetch.
    NodeFetch(Pid),
    /// A node looks for pending records.
    NodeFinish(Pid),
    /// A node sweeps its tombstones.
    NodeSweep(Pid),
    /// A node's disk has reached an entry that the node waits for.
    OnDisk(Pid, Due),
    /// A node ends.
    NodeEnd(usize, End),
    /// The last replica of a key ends and its disk is lost, if the node and the manager are still
    /// these incarnations, in this view.
    Topple(usize, Pid, Epoch, Pid),
    /// A client is started.
    ClientStart(usize),
    /// A client's thread continues.
    Wake(Pid, usize, usize),
    /// A client sends commits.
    Flush(Pid, usize, usize),
    /// An attempt times out.
    Patience(TaskId, u64),
    /// A dial has failed.
    Unsent(Tag),
    /// A refresh times out.
    RefreshOver(Pid, usize, usize, u64),
    /// The operator acts.
    Operate,
    /// A fault.
    Fault,
    /// A copy of the manager's folder is kept.
    KeepCopy,
    /// The copy replaces the folder.
    PutCopy,
    /// A data folder is copied, or an existing copy is started again.
    CopyFolder,
    /// A node that joins and dies repeatedly does one of the two, so many times more.
    Flap(usize, u64),
    /// A cut ends.
    Mend(Party, Party),
    /// No more faults.
    Calm,
    /// Checks how far the end has come.
    Look,
}

/// A key's name and arc.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its arc.
    pub arc: usize,
}

impl KeyInfo {
    fn numbered(n: usize) -> KeyInfo {
        let name = format!("key{n}").into_bytes();
        let arc = arc_of_key(&name, ARCS);
        KeyInfo { name, arc }
    }
}

/// An address where nodes run.
pub struct Slot {
    /// The running node.
    pub process: Option<Process>,
    /// Its disk.
    pub disk: Disk,
    /// The last incarnations with this disk (L5).
    pub starts: Vec<Pid>,
    /// The address of whose disk this is a copy.
    pub copy_of: Option<usize>,
    /// The drift of its clock for leases, in thousandths above or below the manager's.
    drift: i64,
    /// The skew of its wall clock, in milliseconds.
    skew: i64,
}

impl Slot {
    /// An empty one, with clocks of its own.
    fn drawn(rng: &mut Rng, skew: u64) -> Slot {
        Slot {
            process: None,
            disk: Disk::default(),
            starts: Vec::new(),
            copy_of: None,
            drift: rng.within(0, 20) as i64 - 10,
            skew: rng.within(0, 2 * skew) as i64 - skew as i64,
        }
    }
}

/// A violation of the promise.
#[derive(Debug)]
pub struct Violation {
    /// The run's seed.
    pub seed: u64,
    /// The violation.
    pub why: String,
    /// The end of the trace, if the run was traced.
    pub trace: Vec<String>,
    /// The number of steps before it.
    pub steps: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} after {} steps: {}", self.seed, self.steps, self.why)?;
        write!(f, "again: SIM_SEED={} cargo test -p cluster --test simulation", self.seed)
    }
}

/// Lines of a trace that are kept.
const TRACE: usize = 400;

/// How many lines of a trace are kept: `SIM_TRACE`, else [`TRACE`].
fn trace_length() -> usize {
    std::env::var("SIM_TRACE").ok().and_then(|text| text.parse().ok()).unwrap_or(TRACE)
}

/// A cluster, its clients, its network, its faults.
pub struct World {
    /// The source of all decisions.
    pub rng: Rng,
    /// The plan of this seed.
    pub plan: Plan,
    /// The time.
    pub now: Micros,
    /// Connections.
    pub links: BTreeMap<LinkId, Link>,
    /// Cuts between parties, and when they end.
    pub cuts: BTreeMap<(Party, Party), Micros>,
    /// The manager.
    pub manager: Manager,
    /// The operator.
    pub operator: Operator,
    /// The nodes' addresses.
    pub slots: Vec<Slot>,
    /// The address of each process that ever was.
    pub slots_by_pid: BTreeMap<Pid, usize>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Operations under way.
    pub tasks: BTreeMap<TaskId, Task>,
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// The history of the clients' operations.
    pub history: History,
    /// The number of the last value that was put.
    pub last_value: u32,
    /// Counts of events.
    pub counts: Counts,
    /// The last replica of a key to end, where they ended one after the other.
    pub toppled: Option<Pid>,
    /// Whether faults are over.
    pub is_calm: bool,
    /// Whether only the last gets remain.
    pub is_final: bool,
    /// Keys that have yet to be read at the end.
    pub final_gets: Vec<Key>,
    /// How many of those gets failed.
    pub final_failures: usize,
    /// The address where copies of data folders are started, if there are any.
    pub copies_at: Option<usize>,
    seed: u64,
    /// The skew of the clock that is ahead of all others.
    foremost: i64,
    queue: BTreeMap<(Micros, u64), Event>,
    serial: u64,
    calm_at: Micros,
    /// The newest view, and since when it is the newest.
    newest: (Epoch, Micros),
    violation: Option<String>,
    trace: Option<VecDeque<String>>,
    /// How many lines of it are kept.
    kept: usize,
    is_over: bool,
}

impl World {
    /// A cluster before its birth.
    pub fn new(seed: u64, is_traced: bool) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng).with_leases(seed).with_lies(!seed).with_older(seed);
        let plan = plan.with_least(seed);
        let plan = plan.with_topples(seed);
        let keys = (0..plan.keys).map(KeyInfo::numbered).collect();
        // In some runs with disks there is another address, where copies of data folders are
        // started.
        let copies = usize::from(plan.durability != Durability::None && seed % 3 == 1);
        let slots: Vec<Slot> =
            (0..plan.slots + copies).map(|_| Slot::drawn(&mut rng, plan.skew)).collect();
        let foremost = slots.iter().map(|slot| slot.skew).max().unwrap_or(0).max(0);
        let (manager, operator) = (Manager::new(&plan), Operator::new(plan.min_copies));
        let clients = (0..plan.clients).map(|_| Client::new(1, plan.threads, plan.ops)).collect();
        let mut world = World {
            rng,
            plan,
            now: 0,
            links: BTreeMap::new(),
            cuts: BTreeMap::new(),
            manager,
            operator,
            slots,
            slots_by_pid: BTreeMap::new(),
            clients,
            tasks: BTreeMap::new(),
            keys,
            history: History::default(),
            last_value: 0,
            counts: Counts::default(),
            toppled: None,
            is_calm: false,
            is_final: false,
            final_gets: Vec::new(),
            final_failures: 0,
            seed,
            foremost,
            queue: BTreeMap::new(),
            serial: 100,
            calm_at: 0,
            newest: (Epoch::NONE, 0),
            copies_at: None,
            violation: None,
            trace: is_traced.then(VecDeque::new),
            kept: trace_length(),
            is_over: false,
        };
        world.start(copies > 0);
        world
    }

    /// Starts the processes, and plans the first events.
    fn start(&mut self, copies_folders: bool) {
        self.start_manager();
        for slot in 0..self.plan.nodes {
            self.start_node(slot);
        }
        for client in 0..self.plan.clients {
            self.after(20_000, Event::ClientStart(client));
        }
        self.after(120_000, Event::Fault);
        if self.plan.orders > 0 {
            self.after(60_000, Event::Operate);
        }
        if self.plan.older {
            self.after(150_000, Event::KeepCopy);
        }
        self.after(self.plan.active, Event::Calm);
        if copies_folders {
            self.copies_at = Some(self.plan.slots);
            self.after(130_000, Event::CopyFolder);
        }
    }

    /// Runs a seed to its end.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn run(mut self) -> Result<Counts, Violation> {
        while !self.is_over {
            let ((at, _), event) = self.queue.pop_first().expect("there is always a next look");
            self.now = at;
            self.counts.steps += 1;
            self.history.look_at_clock(self.wall(self.foremost));
            self.dispatch(event);
            if let Some(why) = self.violation {
                let trace = self.trace.unwrap_or_default().into();
                return Err(Violation { seed: self.seed, why, trace, steps: self.counts.steps });
            }
        }
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        self.counts.expired += processes.map(|process| process.expired).sum::<u64>();
        Ok(self.counts)
    }

    /// Plans an event.
    pub fn after(&mut self, wait: Micros, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + wait, self.serial), event);
    }

    /// A new unique number.
    pub fn fresh(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Notes a violation.
    pub fn fail(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }

    /// Adds a line to the trace, if there is one.
    pub fn log(&mut self, what: impl FnOnce(&World) -> String) {
        if self.trace.is_none() {
            return;
        }
        let line = format!("{:>9} {}", self.now, what(self));
        if let Some(trace) = &mut self.trace {
            if trace.len() >= self.kept {
                trace.pop_front();
            }
            trace.push_back(line);
        }
    }

    /// A wall clock with this skew.
    pub fn wall(&self, skew: i64) -> u64 {
        (BIRTH + self.now / 1000 * self.plan.speed).saturating_add_signed(skew)
    }

    /// The readings of the wall clocks that are behind and ahead of all others.
    pub fn walls(&self) -> (u64, u64) {
        let hindmost = self.slots.iter().map(|slot| slot.skew).min().unwrap_or(0).min(0);
        (self.wall(hindmost), self.wall(self.foremost))
    }

    /// A node's clocks.
    pub fn node_now(&self, slot: usize) -> Now {
        let Slot { drift, skew, .. } = self.slots[slot];
        let boot = (self.now as i64 * (1000 + drift) / 1_000_000) as u64;
        Now { boot, wall: self.wall(skew) }
    }

    /// The address of a process.
    pub fn slot_of(&self, pid: Pid) -> usize {
        self.slots_by_pid.get(&pid).copied().expect("every process has an address")
    }

    /// The process that listens at an address.
    pub fn listener(&self, party: Party) -> Option<Pid> {
        match party {
            Party::Manager => self.manager.gate.as_ref().map(|_| self.manager.pid),
            Party::Node(slot) => self.slots[slot].process.as_ref().map(|p| p.pid),
            Party::Client(_) => None,
        }
    }

    /// Whether a process runs.
    pub fn standing(&self, (party, pid): (Party, Pid)) -> Alive {
        let (is_alive, until) = match party {
            Party::Client(client) => {
                (self.clients[client].pid == pid && self.clients[client].is_alive, 0)
            }
            Party::Manager => (self.listener(party) == Some(pid), self.manager.paused_until),
            Party::Node(slot) => {
                let until = self.slots[slot].process.as_ref().map_or(0, |p| p.paused_until);
                (self.listener(party) == Some(pid), until)
            }
        };
        if !is_alive {
            Alive::No
        } else if until > self.now {
            Alive::Paused(until)
        } else {
            Alive::Yes
        }
    }

    /// Until when the process of an event is stopped.
    fn stopped_until(&self, event: &Event) -> Micros {
        let party = match event {
            Event::ManagerTick(pid) | Event::ManagerSaved(pid) | Event::TryPort(pid, ..) => {
                (Party::Manager, *pid)
            }
            Event::NodeConnect(pid)
            | Event::NodeTimeout(pid, _)
            | Event::NodeBeat(pid, ..)
            | Event::NodeFetch(pid)
            | Event::NodeSweep(pid)
            | Event::OnDisk(pid, _)
            | Event::NodeFinish(pid) => (Party::Node(self.slot_of(*pid)), *pid),
            Event::Ghost(slot, _) => match self.listener(Party::Node(*slot)) {
                Some(pid) => (Party::Node(*slot), pid),
                None => return 0,
            },
            _ => return 0,
        };
        match self.standing(party) {
            Alive::Paused(until) => until,
            Alive::Yes | Alive::No => 0,
        }
    }

    fn dispatch(&mut self, event: Event) {
        let until = self.stopped_until(&event);
        if until > self.now {
            let jitter = self.rng.below(2_000);
            return self.after(until - self.now + jitter, event);
        }
        match event {
            Event::Pump(link, dir) => self.pump(link, dir),
            Event::Ghost(slot, frame) => self.node_frame(slot, None, frame),
            Event::ManagerStart => {
                if self.manager.gate.is_none() {
                    self.start_manager();
                }
            }
            Event::ManagerTick(pid) => self.manager_tick(pid),
            Event::ManagerSaved(pid) => self.manager_saved(pid),
            Event::TryPort(pid, node, tries) => self.manager_tries_port(pid, node, tries),
            Event::NodeStart(slot) => {
                // When all faults are over the running nodes must suffice, unless the operator
                // starts more.
                if self.slots[slot].process.is_none() && !self.is_calm {
                    self.start_node(slot);
                }
            }
            Event::NodeConnect(pid) => self.node_connect(pid),
            Event::NodeTimeout(pid, link) => self.node_times_out(pid, link),
            Event::NodeBeat(pid, link, is_regular) => self.node_beat(pid, link, is_regular),
            Event::NodeFetch(pid) => self.node_fetch(pid),
            Event::NodeFinish(pid) => self.node_finish(pid),
            Event::NodeSweep(pid) => self.node_sweep(pid),
            Event::OnDisk(pid, due) => self.on_disk(pid, due),
            Event::NodeEnd(slot, end) => self.end_node(slot, end),
            Event::Topple(slot, pid, epoch, manager) => {
                self.topple_last(slot, pid, epoch, manager);
            }
            Event::ClientStart(client) => self.start_client(client),
            Event::Wake(pid, client, thread) => self.wake(pid, client, thread),
            Event::Flush(pid, client, thread) => self.flush(pid, client, thread),
            Event::Patience(task, attempt) => self.patience(task, attempt),
            Event::Unsent(tag) => self.unsent(tag),
            Event::RefreshOver(pid, client, thread, turn) => {
                self.refresh_over(pid, client, thread, turn);
            }
            Event::Operate => self.operate(),
            Event::KeepCopy => self.keep_copy(),
            Event::PutCopy => self.put_copy(),
            Event::Fault => self.fault(),
            Event::CopyFolder => self.copy_folder(),
            Event::Flap(slot, left) => self.flap(slot, left),
            Event::Mend(from, to) => {
                if self.cuts.get(&(from, to)).is_some_and(|until| *until <= self.now) {
                    self.cuts.remove(&(from, to));
                }
            }
            Event::Calm => {
                self.calm_at = self.calm();
                self.after(10_000, Event::Look);
            }
            Event::Look => self.look(),
        }
    }

    /// When the last fault ended.
    pub fn calm_at(&self) -> Micros {
        self.calm_at
    }

    /// Whether the last fault was so long ago that everything without a loss must be served.
    pub fn has_waited_for_losses(&self) -> bool {
        self.now > self.calm_at + LOSS_WAIT
    }

    /// Checks how far the end has come: healthy again, then every key is read once, then the
    /// history is checked.
    fn look(&mut self) {
        if self.now > self.calm_at + HEALS_WITHIN {
            let health = self.unhealed().unwrap_or_else(|| "operations do not end".into());
            self.log(World::describe_state);
            return self.fail(format!("does not heal: {health}"));
        }
        let newest = self.manager.membership().map_or(Epoch::NONE, |m| m.newest().epoch());
        if newest != self.newest.0 {
            if self.is_final {
                return self.fail(format!("the cluster was healthy, but view {newest} was made"));
            }
            self.newest = (newest, self.now);
        }
        self.restore_by_hand();
        let lease_ms = self.manager.membership().map_or(0, |m| m.state().longest_ms);
        let still = STILL_MS.max(REBALANCE_MS + lease_ms) * 1000;
        let is_still = self.now > self.newest.1.max(self.calm_at) + still;
        let is_whole = is_still && self.is_idle() && self.unhealed().is_none();
        if self.is_final && is_whole && self.final_gets.is_empty() {
            if let Err(why) = self.check_replicas().and_then(|()| self.history.check()) {
                let records: Vec<String> = self
                    .history
                    .records()
                    .iter()
                    .enumerate()
                    .map(|(i, r)| format!("#{i} {r:?}"))
                    .collect();
                self.log(|_| records.join("\n"));
                return self.fail(why);
            }
            self.is_over = true;
            return;
        }
        if !self.is_final && is_whole {
            self.log(|_| "whole again".into());
            self.is_final = true;
            self.final_gets = (0..self.plan.keys as Key).collect();
            for client in 0..self.clients.len() {
                for thread in 0..self.clients[client].threads.len() {
                    let pid = self.clients[client].pid;
                    self.after(100, Event::Wake(pid, client, thread));
                }
            }
        }
        if !self.is_final && self.operator.waits() && is_still {
            return self.fail("an operator waits for ever".into());
        }
        if self.final_failures > 20 + 3 * self.plan.keys {
            return self.fail("a key cannot be read at the end".into());
        }
        self.after(10_000, Event::Look);
    }
}
