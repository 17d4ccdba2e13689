//! What a seed is about, and what breaks in it.
//!
//! Each seed draws its own mix: how many nodes, copies, keys and clients, how the network is, and which few
//! kinds of faults there are (a mix of all of them would hide what only some of them bring about).
//!
//! A node is only killed, stopped or cut off from the manager while each arc has another keeper that is in
//! good order: fewer than K replicas are ever lost at once, so nothing acknowledged may be.

use std::sync::Arc;

use cluster::ids::Epoch;
use cluster::membership::Health;
use cluster::replica::State;
use cluster::version::{RETENTION_MS, Version};
use cluster::view::Routes;

use crate::network::{Frame, Party};
use crate::rng::Rng;
use crate::world::{ARCS, Event, Key, LEASE_MS, Micros, World};

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
    /// A node is cut off from the manager for longer than a lease, and from all if it comes to the worst: it
    /// is dropped, keeps its memory, and returns.
    CutOff,
    /// A node joins and dies over and over.
    Flap,
}

const FAULTS: [Fault; 15] = [
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

/// What a seed is about.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Addresses of nodes.
    pub slots: usize,
    /// How many of them run at the start.
    pub nodes: usize,
    /// K.
    pub copies: usize,
    /// Keys.
    pub keys: usize,
    /// Clients.
    pub clients: usize,
    /// Threads of each.
    pub threads: usize,
    /// Operations of each thread.
    pub ops: u32,
    /// Longest pause between two of them.
    pub think: Micros,
    /// Gets among a thousand operations.
    pub gets: u64,
    /// Deletes among a thousand operations.
    pub deletes: u64,
    /// Read-modify-writes among a thousand that change nothing.
    pub checks: u64,
    /// Read-modify-writes among a thousand that change something.
    pub updates: u64,
    /// Usual delay of a frame.
    pub delay: Micros,
    /// Frames in a thousand that take long.
    pub slow: u64,
    /// Frames in a thousand after which the connection breaks.
    pub loss: u64,
    /// Writes in a thousand that are delivered once more, late.
    pub ghosts: u64,
    /// Attempts in a thousand in which the client is killed.
    pub abandon: u64,
    /// Attempts in a thousand before which a client's thread stands still for as long as a fault may last.
    pub stall: u64,
    /// Read-modify-writes in a thousand between whose steps the key's primary is killed, the client's
    /// thread standing still meanwhile.
    pub behead: u64,
    /// How long a client waits for a node.
    pub patience: Micros,
    /// How long it tries.
    pub deadline: Micros,
    /// When a client's clock is too old to be used.
    pub stale: Micros,
    /// How long commits wait at most.
    pub commit_wait: Micros,
    /// Records in a page.
    pub page: usize,
    /// Milliseconds of wall time in a simulated one.
    pub speed: u64,
    /// How far wall clocks are off.
    pub skew: u64,
    /// How often nodes look for pending records.
    pub look: Micros,
    /// How often they sweep tombstones.
    pub sweep: Micros,
    /// How long there are faults.
    pub active: Micros,
    /// Longest pause between two faults.
    pub gap: Micros,
    /// Longest fault.
    pub longest: Micros,
    /// Which faults.
    pub faults: Vec<Fault>,
    /// Whether the manager may die between two effects.
    pub manager_dies_midway: bool,
    /// How long the manager's disk takes at most.
    pub disk: Micros,
    /// Saves in a thousand that fail.
    pub disk_fails: u64,
    /// Longest pause between two acts of the operator; 0 where there is none.
    pub orders: Micros,
    /// Whether K replicas and more may be killed at once.
    pub loses: bool,
    /// Into how many buckets an arc is divided for comparison.
    pub buckets: Key,
}

impl Plan {
    /// Draws a mix.
    pub fn draw(rng: &mut Rng) -> Plan {
        let nodes = rng.within(3, 5) as usize;
        let copies = rng.pick(&[1, 2, 2, 2, 3, 3]);
        let is_ages = rng.chance(120);
        // In a run of ages a retention goes by in two and a half seconds.
        let speed = if is_ages { RETENTION_MS / 2_500 } else { rng.pick(&[1, 10, 10, 30]) };
        let skew = rng.pick(&[0, 5, 2_000, RETENTION_MS / 33]);
        let mut faults: Vec<Fault> = FAULTS.to_vec();
        let kinds = rng.within(1, 6) as usize;
        while faults.len() > kinds {
            faults.remove(rng.below(faults.len() as u64) as usize);
        }
        if is_ages && rng.chance(300) {
            faults = vec![Fault::CutOff, Fault::CutOff, faults[0]];
        }
        let deadline = if is_ages { 250_000 } else { rng.pick(&[60_000, 300_000, 600_000]) };
        Plan {
            slots: nodes + rng.within(0, 2) as usize,
            nodes,
            copies,
            keys: rng.pick(&[1, 2, 4, 12]),
            clients: rng.within(2, 3) as usize,
            threads: rng.within(1, 2) as usize,
            ops: rng.within(12, 40) as u32,
            think: rng.pick(&[500, 10_000, 40_000]),
            gets: rng.pick(&[300, 500, 700]),
            deletes: rng.pick(&[0, 50, 150]),
            checks: rng.pick(&[0, 20]),
            updates: rng.pick(&[0, 100, 130]),
            delay: rng.pick(&[200, 500, 2_000]),
            slow: rng.pick(&[0, 20, 100]),
            loss: rng.pick(&[0, 0, 5, 30]),
            ghosts: rng.pick(&[0, 20, 200]),
            abandon: rng.pick(&[0, 10, 40]),
            stall: rng.pick(&[0, 10, 50]),
            behead: rng.pick(&[0, 20, 200]),
            patience: rng.pick(&[4_000, 15_000, 40_000]),
            deadline,
            stale: 60_000_000 / speed,
            commit_wait: rng.pick(&[1_500, 1_500, 20_000]),
            page: rng.pick(&[1, 2, 100]),
            speed,
            skew,
            look: 25_000,
            sweep: (RETENTION_MS / 2 * 1000 / speed).min(10_000_000),
            active: if is_ages { 6_000_000 } else { rng.within(400_000, 1_500_000) },
            gap: rng.pick(&[20_000, 60_000, 200_000]),
            longest: if is_ages { 3_200_000 } else { rng.pick(&[50_000, 250_000]) },
            faults,
            manager_dies_midway: rng.chance(200),
            disk: rng.pick(&[50, 2_000, 2_000, 20_000, 100_000]),
            disk_fails: rng.pick(&[0, 0, 100]),
            orders: rng.pick(&[0, 0, 30_000, 150_000, 500_000]),
            loses: rng.chance(60),
            buckets: rng.pick(&[1, 2, 12]),
        }
    }
}

impl World {
    /// The views that count: the active one and the newest.
    fn views(&self) -> (Arc<Routes>, Arc<Routes>) {
        match self.manager.membership() {
            Some(membership) => (membership.active().clone(), membership.newest().clone()),
            None => {
                let disk = &self.manager.disk;
                let active = Arc::new(Routes::new(disk.active.clone()));
                let newest = disk.coming.clone().map(|view| Arc::new(Routes::new(view)));
                (active.clone(), newest.unwrap_or(active))
            }
        }
    }

    /// Whether the node at an address is in good order.
    fn is_solid(&self, slot: usize) -> bool {
        let Some(process) = &self.slots[slot].process else { return false };
        let party = Party::Node(slot);
        let is_there = process.paused_until <= self.now
            && !self.is_cut(party, Party::Manager)
            && !self.is_cut(Party::Manager, party);
        // With no manager nobody has a lease for long, and nobody takes it for dead.
        let is_leased =
            self.manager.gate.is_none() || process.until >= self.node_now(slot).boot + 25;
        is_there && is_leased
    }

    /// Whether each arc has a keeper in good order besides this one.
    fn is_covered_without(&self, victim: usize) -> bool {
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
                    let tenure = &process.tenure;
                    let is_synced =
                        tenure.epoch() >= active.epoch() && tenure.synced().contains(arc);
                    // The manager drops who is silent and holds nothing as far as it has heard.
                    let is_known = self.manager.membership().is_none_or(|membership| {
                        let node = membership.nodes().find(|n| n.who.incarnation.0 == process.pid);
                        node.is_some_and(|n| n.is_unheard || n.report.synced.contains(arc))
                    });
                    stays && is_synced && is_known
                };
                // Whichever way a change ends, somebody who keeps the arc then is there: he holds it, or it
                // does not end before he does. So the smallest number of copies, in force or to come, counts.
                let is_there = |of: &Routes| {
                    let any = |places: &[u16]| places.iter().any(|&p| slot_of(of, p).is_some());
                    any(of.replicas(arc)) && any(of.target(arc))
                };
                active.write_set(arc).iter().any(holds) && is_there(&active) && is_there(&newest)
            })
    }

    /// A fault, and the next one later.
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
        let party = Party::Node(slot);
        let party_slot = slot;
        let runs = self.slots[slot].process.is_some();
        if self.plan.loses && self.rng.chance(60) {
            return self.massacre();
        }
        match kind {
            Fault::Kill | Fault::Restart | Fault::Pause | Fault::CutFromManager | Fault::CutOff
                if !runs || !self.is_covered_without(slot) => {}
            Fault::Kill => {
                self.counts.kills += 1;
                self.kill_node(slot);
                if self.rng.chance(700) {
                    self.after(length, Event::NodeStart(slot));
                }
            }
            Fault::Restart => {
                self.counts.restarts += 1;
                self.kill_node(slot);
                let pause = self.rng.below(2_000);
                self.after(pause, Event::NodeStart(slot));
            }
            Fault::Pause => {
                self.counts.pauses += 1;
                let until = self.now + length;
                self.say(|_| format!("node{slot} stops until {until}"));
                if let Some(process) = &mut self.slots[slot].process {
                    process.paused_until = process.paused_until.max(until);
                }
            }
            Fault::CutFromManager => self.cut(party, Party::Manager, length),
            Fault::CutNodes => {
                let other = self.rng.below(self.slots.len() as u64) as usize;
                if other != slot {
                    self.cut(party, Party::Node(other), length);
                }
            }
            Fault::CutClient => self.cut(Party::Client(client), party, length),
            Fault::CutRefresh => self.cut(Party::Client(client), Party::Manager, length),
            Fault::ManagerCrash => {
                if self.manager.gate.is_some() {
                    self.counts.manager_crashes += 1;
                    self.crash_manager();
                    self.after(length, Event::ManagerStart);
                }
            }
            Fault::ManagerPause => {
                self.counts.pauses += 1;
                self.say(|_| format!("manager stops for {length}"));
                let until = self.now + length;
                self.manager.paused_until = self.manager.paused_until.max(until);
            }
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
            Fault::Join => {
                let is_crowd = self.rng.chance(300);
                for slot in 0..self.slots.len() {
                    if self.slots[slot].process.is_none() && (is_crowd || slot == party_slot) {
                        self.counts.joins += 1;
                        self.start_node(slot);
                    }
                }
            }
            Fault::CutOff => {
                // In a run of ages for about a retention.
                let most = self.plan.longest.max(2 * LEASE_MS * 1000);
                let length = self.rng.within(most * 3 / 4, most);
                self.cut(party, Party::Manager, length);
                if self.rng.chance(500) {
                    for other in (0..self.slots.len()).filter(|&other| other != slot) {
                        self.cut(party, Party::Node(other), length);
                    }
                }
            }
            Fault::Flap => {
                let times = self.rng.within(2, 8);
                self.flap(slot, times);
            }
        }
    }

    /// Starts a node, or kills it if it runs and can be spared, and so on, so many times.
    pub fn flap(&mut self, slot: usize, left: u64) {
        if self.is_calm || left == 0 {
            return;
        }
        match self.slots[slot].process.is_some() {
            false => {
                self.counts.joins += 1;
                self.start_node(slot);
            }
            true if self.is_covered_without(slot) => {
                self.counts.kills += 1;
                self.kill_node(slot);
            }
            true => {}
        }
        let pause = self.rng.within(1_000, 40_000);
        self.after(pause, Event::Flap(slot, left - 1));
    }

    /// Kills all who keep some key, or everybody.
    fn massacre(&mut self) {
        let key = self.rng.below(self.keys.len() as u64) as usize;
        let (active, _) = self.views();
        let arc = self.keys[key].arc;
        if active.arcs() == 0 || self.counts.massacres == 2 {
            return;
        }
        self.counts.massacres += 1;
        let keepers = active.write_set(arc).iter().map(|&place| active.member(place));
        let mut slots: Vec<usize> =
            keepers.map(|member| usize::from(member.address.port() - 6000)).collect();
        if self.rng.chance(200) {
            slots = (0..self.slots.len()).collect();
        }
        for slot in slots {
            self.kill_node(slot);
            if self.rng.chance(700) {
                let pause = self.rng.within(500, self.plan.longest);
                self.after(pause, Event::NodeStart(slot));
            }
        }
    }

    /// What an operator does when all faults are over: starts nodes where there are too few, and accepts what
    /// is lost for good, after a while in which everything else must be served.
    pub fn help(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        let (active, newest) = (membership.active().clone(), membership.newest().epoch());
        let running = self.slots.iter().filter(|slot| slot.process.is_some()).count();
        let is_few = running < active.view().copies;
        let lost = membership.lost(self.now / 1000);
        let spare = self.slots.iter().position(|slot| slot.process.is_none());
        if is_few && let Some(slot) = spare {
            self.start_node(slot);
        }
        if lost.is_empty() || active.epoch() != newest || !self.has_mourned() {
            return;
        }
        if !self.plan.loses {
            return self.fail(format!("{} arcs are lost, and K copies never were", lost.len()));
        }
        if let Err(why) = self.check_losses(&active, &lost) {
            return self.fail(why);
        }
        self.accept_loss();
    }

    /// Holds what the manager says is lost against what there is.
    fn check_losses(&self, active: &Routes, lost: &[usize]) -> Result<(), String> {
        for arc in 0..active.arcs() {
            let holds = |&place: &u16| {
                let slot = usize::from(active.member(place).address.port() - 6000);
                self.slots[slot].process.as_ref().is_some_and(|process| {
                    process.pid == active.member(place).incarnation.0
                        && process.tenure.synced().contains(arc)
                })
            };
            let is_held = active.write_set(arc).iter().any(holds);
            if is_held == lost.contains(&arc) {
                return Err(format!("arc {arc}: held {is_held}, lost {}", lost.contains(&arc)));
            }
        }
        let is_there = |&place: &u16| {
            let slot = usize::from(active.member(place).address.port() - 6000);
            let pid = self.slots[slot].process.as_ref().map(|process| process.pid);
            pid == Some(active.member(place).incarnation.0)
        };
        // Whoever is the last that held some arc stays in the view, and writes of all its arcs wait for it.
        let is_served = |arc: usize| active.write_set(arc).iter().all(is_there);
        self.unserved(is_served).map_or(Ok(()), Err)
    }

    /// Kills the node at an address, if every arc is in good hands without it.
    pub fn behead(&mut self, slot: usize) {
        if self.slots[slot].process.is_some() && self.is_covered_without(slot) {
            self.counts.beheaded += 1;
            self.kill_node(slot);
            let pause = self.rng.within(2_000, self.plan.longest);
            self.after(pause, Event::NodeStart(slot));
        }
    }

    /// Cuts two parties off from each other, one way or both.
    fn cut(&mut self, a: Party, b: Party, length: Micros) {
        self.counts.cuts += 1;
        self.say(|_| format!("cut between {a:?} and {b:?} for {length}"));
        let ways = self.rng.below(3);
        for (way, pair) in [(0, (a, b)), (1, (b, a))] {
            if ways != way {
                let until = self.cuts.get(&pair).copied().unwrap_or(0).max(self.now + length);
                self.cuts.insert(pair, until);
                self.after(length, Event::Mend(pair.0, pair.1));
            }
        }
    }

    /// All faults end, and no new ones begin. Whoever is stopped goes on in its time, since what has come for
    /// it meanwhile comes up only then. Returns when the last of them does.
    pub fn calm(&mut self) -> Micros {
        self.say(|_| "no more faults".into());
        self.is_calm = true;
        self.cuts.clear();
        let mut until = self.now.max(self.manager.paused_until);
        if self.manager.gate.is_none() {
            self.start_manager();
        }
        for slot in 0..self.slots.len() {
            match &mut self.slots[slot].process {
                Some(process) => until = until.max(process.paused_until),
                None if self.rng.chance(500) => self.start_node(slot),
                None => {}
            }
        }
        until
    }

    /// Why the cluster is not whole, if it is not.
    pub fn unhealed(&self) -> Option<String> {
        let Some(membership) = self.manager.membership() else {
            return Some("there is no manager".into());
        };
        let (active, newest) = (membership.active(), membership.newest());
        let health = || Some(format!("{:?}", membership.health(self.now / 1000)));
        if active.epoch() != newest.epoch() || active.view().is_changing() {
            return health();
        }
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        for process in processes.clone() {
            let tenure = &process.tenure;
            let is_member =
                active.view().member(&process.who.id, process.who.incarnation).is_some();
            if !is_member || tenure.epoch() != active.epoch() || !tenure.missing().is_empty() {
                return health();
            }
        }
        if active.view().members.len() != processes.count() {
            return health();
        }
        if let Some(why) = self.uneven(active) {
            return Some(why);
        }
        match membership.health(self.now / 1000) {
            Health::Healthy => None,
            _ => health(),
        }
    }

    /// Who owns more or less than its share of the ring, if anybody does.
    fn uneven(&self, active: &Routes) -> Option<String> {
        let view = active.view();
        let all: u64 = view.members.iter().map(|m| u64::from(m.weight)).sum();
        let is_fair = |(place, weight): (u16, u64)| {
            let owns = view.arcs.iter().filter(|&&owner| owner == place).count() as u64;
            let share = ARCS as u64 * weight;
            (share / all..=share.div_ceil(all)).contains(&owns)
        };
        let weights = view.members.iter().map(|m| u64::from(m.weight));
        let is_even = (0u16..).zip(weights).all(is_fair);
        (!is_even).then(|| format!("the deal is uneven: {view:?}"))
    }

    /// Holds all replicas of each key against each other: where one says that a version is committed, all
    /// hold it or a newer one.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check_replicas(&self) -> Result<(), String> {
        let (active, _) = self.views();
        for (key, info) in self.keys.iter().enumerate() {
            let key = key as Key;
            let held: Vec<(usize, Version, State)> = active
                .replicas(info.arc)
                .iter()
                .filter_map(|&place| {
                    let slot = usize::from(active.member(place).address.port() - 6000);
                    let process = self.slots[slot].process.as_ref()?;
                    let stored = process.table.get(&key);
                    let absent = (slot, Version::ABSENT, State::Committed);
                    Some(stored.map_or(absent, |s| (slot, s.version, s.state)))
                })
                .collect();
            let committed = held.iter().filter(|(_, _, state)| *state == State::Committed);
            // In a run of ages a tombstone goes here before it goes there.
            let is_aging = self.plan.speed > 1_000;
            let top = committed.map(|(_, version, _)| *version).max().unwrap_or_default();
            if !is_aging && held.iter().any(|(_, version, _)| *version < top) {
                return Err(format!("k{key} is committed, and some replica misses it: {held:?}"));
            }
        }
        Ok(())
    }
}

/// So that nobody changes one without the other: a ring of [`ARCS`] arcs can be dealt.
const _: () = assert!(ARCS.is_power_of_two() && Epoch::NONE.0 == 0 && size_of::<Frame>() > 0);
