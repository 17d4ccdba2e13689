//! Faults.
//!
//! A node is killed, stopped or cut off from the manager only while each arc has another replica
//! that works: fewer than K replicas are ever lost at once, so no acknowledged write may be lost.
//! Only where a plan says so are all replicas of a key killed.

use std::sync::Arc;

use cluster::view::Routes;

use crate::network::Party;
use crate::world::{Event, LEASE_MS, Micros, World};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a node; it comes back later, or not.
    Kill,
    /// kill -9 of a node that is started again at once.
    Restart,
    /// SIGSTOP and SIGCONT of a node.
    Pause,
    /// A node cannot reach the manager, or the manager not the node, or both.
    CutFromManager,
    /// Two nodes cannot reach each other.
    CutNodes,
    /// A client cannot reach a node.
    CutClient,
    /// A client cannot reach the manager.
    CutRefresh,
    /// The manager is killed and started again.
    ManagerCrash,
    /// SIGSTOP and SIGCONT of the manager.
    ManagerPause,
    /// A client is killed.
    KillClient,
    /// A node's connection to the manager breaks.
    BreakControl,
    /// Some connection breaks.
    Break,
    /// Nodes that have not run for a while, or never, are started: one, or all at once.
    Join,
    /// A node is cut off from the manager for longer than a lease, and sometimes from all nodes: it
    /// is dropped, keeps its memory, and returns.
    CutOff,
    /// A node joins and dies repeatedly.
    Flap,
}

pub const FAULTS: [Fault; 15] = [
    Fault::Kill,
    Fault::Restart,
    Fault::Pause,
    Fault::CutFromManager,
    Fault::CutNodes,
    Fault::CutClient,
    Fault::CutRefresh,
    Fault::ManagerCrash,
    Fault::ManagerPause,
    Fault::KillClient,
    Fault::BreakControl,
    Fault::Break,
    Fault::Join,
    Fault::CutOff,
    Fault::Flap,
];

impl World {
    /// The active view and the newest one.
    pub fn views(&self) -> (Arc<Routes>, Arc<Routes>) {
        match (self.manager.membership(), self.manager.right()) {
            (Some(membership), None) => (membership.active().clone(), membership.newest().clone()),
            (_, right) => {
                let disk = right.unwrap_or(&self.manager.disk);
                let active = Arc::new(Routes::new(disk.active.clone()));
                let newest = disk.coming.clone().map(|view| Arc::new(Routes::new(view)));
                (active.clone(), newest.unwrap_or(active))
            }
        }
    }

    /// Whether the node at an address works.
    fn is_solid(&self, slot: usize) -> bool {
        let Some(process) = &self.slots[slot].process else { return false };
        let party = Party::Node(slot);
        let is_there = process.paused_until <= self.now
            && !self.is_cut(party, Party::Manager)
            && !self.is_cut(Party::Manager, party);
        // Without a manager no node has a lease for long, and none is considered dead.
        let is_leased =
            self.manager.gate.is_none() || process.until >= self.node_now(slot).boot + 25;
        is_there && is_leased
    }

    /// Whether each arc has a working replica besides this node.
    pub fn is_covered_without(&self, victim: usize) -> bool {
        let (active, newest) = self.views();
        let solid: Vec<bool> =
            (0..self.slots.len()).map(|slot| slot != victim && self.is_solid(slot)).collect();
        let slot_of = |routes: &Routes, place: u16| {
            let member = routes.member(place);
            let slot = usize::from(member.address.port() - 6000);
            let process = self.slots[slot].process.as_ref()?;
            (solid[slot] && process.pid == member.incarnation.0).then_some(slot)
        };
        active.arcs() > 0
            && (0..active.arcs()).all(|arc| {
                let holds = |place: &u16| {
                    let Some(slot) = slot_of(&active, *place) else { return false };
                    let stays = newest
                        .write_set(arc)
                        .iter()
                        .any(|&place| slot_of(&newest, place) == Some(slot));
                    let process = self.slots[slot].process.as_ref().expect("it runs");
                    let holdings = &process.holdings;
                    let is_synced =
                        holdings.epoch() >= active.epoch() && holdings.synced().contains(arc);
                    // The manager drops a silent node if it has no report that the node holds
                    // anything.
                    let is_known = self.manager.membership().is_none_or(|membership| {
                        let node = membership.nodes().find(|n| n.who.incarnation.0 == process.pid);
                        node.is_some_and(|n| n.is_unreported() || n.report.synced.contains(arc))
                    });
                    stays && is_synced && is_known
                };
                // Whether a change is finished or cancelled, one of the arc's replicas is there: it
                // holds the arc, or the change waits for it. So the smaller of the current and the
                // target's number of copies counts.
                let is_there = |of: &Routes| {
                    let any = |places: &[u16]| places.iter().any(|&p| slot_of(of, p).is_some());
                    any(of.replicas(arc)) && any(of.target(arc))
                };
                active.write_set(arc).iter().any(holds) && is_there(&active) && is_there(&newest)
            })
    }

    /// Injects a fault, and plans the next.
    pub fn fault(&mut self) {
        if self.is_calm {
            return;
        }
        let gap = self.rng.within(1_000, self.plan.gap);
        self.after(gap, Event::Fault);
        let kind = {
            let kinds = self.plan.faults.clone();
            self.rng.pick(&kinds)
        };
        let slot = self.rng.below(self.slots.len() as u64) as usize;
        let client = self.rng.below(self.clients.len() as u64) as usize;
        let length = self.rng.within(2_000, self.plan.longest);
        if self.plan.loses && self.rng.chance(60) {
            return self.kill_replicas();
        }
        if self.plan.topples && self.toppled.is_none() && self.rng.chance(400) {
            return self.topple();
        }
        if self.plan.outages && self.rng.chance(80) {
            return self.outage();
        }
        if matches!(kind, Fault::Kill | Fault::Restart) && self.kill_uncovered(slot, length) {
            return;
        }
        self.inject(kind, slot, client, length);
    }

    /// Injects a fault of a kind, which may affect this node and this client and may last so long.
    fn inject(&mut self, kind: Fault, slot: usize, client: usize, length: Micros) {
        let party = Party::Node(slot);
        let runs = self.slots[slot].process.is_some();
        match kind {
            Fault::Kill | Fault::Restart | Fault::Pause | Fault::CutFromManager | Fault::CutOff
                if !runs || !self.is_covered_without(slot) => {}
            Fault::Kill => self.kill_for(slot, length),
            Fault::Restart => {
                self.counts.restarts += 1;
                self.kill_node(slot);
                let pause = self.rng.below(2_000);
                self.after(pause, Event::NodeStart(slot));
            }
            Fault::Pause => self.pause_node(slot, length),
            Fault::CutFromManager => self.cut(party, Party::Manager, length),
            Fault::CutNodes => {
                let other = self.rng.below(self.slots.len() as u64) as usize;
                if other != slot {
                    self.cut(party, Party::Node(other), length);
                }
            }
            Fault::CutClient => self.cut(Party::Client(client), party, length),
            Fault::CutRefresh => self.cut(Party::Client(client), Party::Manager, length),
            Fault::ManagerCrash if self.manager.gate.is_some() => {
                self.crash_manager_for(slot, length);
            }
            Fault::ManagerCrash => {}
            Fault::ManagerPause => self.pause_manager(length),
            Fault::KillClient => {
                if self.clients[client].is_alive {
                    self.kill_client(client);
                }
            }
            Fault::BreakControl => {
                let control = self.slots[slot].process.as_ref().and_then(|p| p.control);
                if let Some(link) = control {
                    self.break_link(link);
                }
            }
            Fault::Break => {
                let at = self.rng.below(self.links.len().max(1) as u64) as usize;
                if let Some(&link) = self.links.keys().nth(at) {
                    self.break_link(link);
                }
            }
            Fault::Join => self.start_nodes(slot),
            Fault::CutOff => self.cut_off(slot),
            Fault::Flap => {
                let times = self.rng.within(2, 8);
                self.flap(slot, times);
            }
        }
    }

    /// Kills a node. Usually it is started again.
    fn kill_for(&mut self, slot: usize, length: Micros) {
        self.counts.kills += 1;
        self.kill_node(slot);
        if self.rng.chance(700) {
            self.after(length, Event::NodeStart(slot));
        }
    }

    fn pause_node(&mut self, slot: usize, length: Micros) {
        self.counts.pauses += 1;
        let until = self.now + length;
        self.log(|_| format!("node{slot} stops until {until}"));
        if let Some(process) = &mut self.slots[slot].process {
            process.paused_until = process.paused_until.max(until);
        }
    }

    fn pause_manager(&mut self, length: Micros) {
        self.counts.pauses += 1;
        self.log(|_| format!("manager stops for {length}"));
        let until = self.now + length;
        self.manager.paused_until = self.manager.paused_until.max(until);
    }

    /// Kills the manager, which is started again. Sometimes this node cannot reach it then.
    fn crash_manager_for(&mut self, slot: usize, length: Micros) {
        let isolates = self.plan.isolates > 0
            && self.slots[slot].process.is_some()
            && self.is_covered_without(slot)
            && self.rng.chance(self.plan.isolates);
        self.counts.manager_crashes += 1;
        self.crash_manager();
        let wait = if isolates { self.isolate(slot) } else { length };
        self.after(wait, Event::ManagerStart);
    }

    /// Starts the node at an address, or all that do not run.
    fn start_nodes(&mut self, chosen: usize) {
        let is_crowd = self.rng.chance(300);
        for slot in 0..self.slots.len() {
            if self.slots[slot].process.is_none() && (is_crowd || slot == chosen) {
                self.counts.joins += 1;
                self.start_node(slot);
            }
        }
    }

    /// Cuts a node off from the manager for longer than a lease, and sometimes from all other
    /// nodes.
    fn cut_off(&mut self, slot: usize) {
        // In a long run for about a retention.
        let most = self.plan.longest.max(2 * LEASE_MS * 1000);
        let length = self.rng.within(most * 3 / 4, most);
        self.cut(Party::Node(slot), Party::Manager, length);
        if self.rng.chance(500) {
            for other in (0..self.slots.len()).filter(|&other| other != slot) {
                self.cut(Party::Node(slot), Party::Node(other), length);
            }
        }
    }

    /// Cuts a node off from the manager, so that it still has its lease when the manager starts
    /// again. Returns when that is.
    fn isolate(&mut self, slot: usize) -> Micros {
        let length = self.rng.within(LEASE_MS * 1000, 3 * LEASE_MS * 1000);
        self.cut(Party::Node(slot), Party::Manager, length);
        self.rng.within(500, 10_000)
    }

    /// Starts a node, or kills it if it runs and its arcs are covered, repeatedly.
    pub fn flap(&mut self, slot: usize, left: u64) {
        if self.is_calm || left == 0 {
            return;
        }
        if self.slots[slot].process.is_none() {
            self.counts.joins += 1;
            self.start_node(slot);
        } else if self.is_covered_without(slot) {
            self.counts.kills += 1;
            self.kill_node(slot);
        }
        let pause = self.rng.within(1_000, 40_000);
        self.after(pause, Event::Flap(slot, left - 1));
    }

    /// Kills all replicas of a key, or all nodes; or all but one, which is cut off until it is
    /// dropped.
    fn kill_replicas(&mut self) {
        let key = self.rng.below(self.keys.len() as u64) as usize;
        let (active, _) = self.views();
        let arc = self.keys[key].arc;
        if active.arcs() == 0 || self.counts.mass_kills == 3 {
            return;
        }
        self.counts.mass_kills += 1;
        let members = active.write_set(arc).iter().map(|&place| active.member(place));
        let mut slots: Vec<usize> =
            members.map(|member| usize::from(member.address.port() - 6000)).collect();
        if self.rng.chance(200) {
            slots = (0..self.slots.len()).collect();
        }
        if self.rng.chance(600)
            && let Some(last) = slots.pop()
        {
            let length = self.rng.within(2 * LEASE_MS * 1000, 6 * LEASE_MS * 1000);
            self.cut(Party::Node(last), Party::Manager, length);
        }
        for slot in slots {
            self.kill_node(slot);
            if self.rng.chance(700) {
                let pause = self.rng.within(500, self.plan.longest);
                self.after(pause, Event::NodeStart(slot));
            }
        }
    }

    /// Kills the node at an address, if every arc is covered without it.
    pub fn kill_primary(&mut self, slot: usize) {
        if self.slots[slot].process.is_some() && self.is_covered_without(slot) {
            self.counts.primaries_killed += 1;
            self.kill_node(slot);
            let pause = self.rng.within(2_000, self.plan.longest);
            self.after(pause, Event::NodeStart(slot));
        }
    }

    /// Cuts two parties off from each other, one way or both.
    fn cut(&mut self, a: Party, b: Party, length: Micros) {
        self.counts.cuts += 1;
        self.log(|_| format!("cut between {a:?} and {b:?} for {length}"));
        let ways = self.rng.below(3);
        for (way, pair) in [(0, (a, b)), (1, (b, a))] {
            if ways != way {
                let until = self.cuts.get(&pair).copied().unwrap_or(0).max(self.now + length);
                self.cuts.insert(pair, until);
                self.after(length, Event::Mend(pair.0, pair.1));
            }
        }
    }
}
