//! Random runs: anything may happen to six nodes, their manager and the time. [`Sim`] checks the
//! invariants after every step; this file checks the two promises that need a longer look:
//!
//! * While no more than K-1 nodes died since the cluster was last healthy, every arc of the active
//!   view has a live synced replica (`docs/consistency.md`, the promise).
//! * Once things calm down, whatever a live node holds can be written, all live nodes are active
//!   members, and nothing changes any more. If data was lost, that is so once the operator has
//!   accepted it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::sim::{Disk, Sim};
use crate::durability::Durability;
use crate::ids::{Incarnation, NodeId};
use crate::limits::Limits;
use crate::membership::admin_command::{AdminCommand, Reconfiguration};
use crate::membership::{Answer, Event, Health, Settings};
use crate::time::Millis;

const HEARTBEAT: Millis = 2_000;
const TICK: Millis = 500;
const NODES: usize = 6;

/// What may happen. Numbers pick a node out of those that it can happen to.
#[derive(Debug, Clone, Copy)]
enum Chance {
    /// A process of the node starts, where none runs; it registers.
    Start(usize),
    /// A second process takes the node's name, at another address.
    StartElsewhere(usize),
    /// A node adopts the newest view that it was sent, and reports that.
    Ack(usize),
    /// A node fetches what it misses, and reports that.
    Fetch(usize),
    /// A node's process ends, and its connection and port show it.
    Kill(usize),
    /// A node's host ends without notice.
    Vanish(usize),
    /// Nothing gets through to a node and back.
    Cut(usize),
    /// It does again.
    Mend(usize),
    /// A node's connection ends.
    Disconnect(usize),
    /// Time passes, with ticks and heartbeats.
    Pass(Millis),
    /// The manager is stopped.
    Stall(Millis),
    /// The manager ends and starts again; what it was saving is saved or lost.
    Restart(bool),
    /// From now on what is saved takes its time, or cannot be saved, or is saved at once.
    Disk(Disk),
    /// What is on its way to the disk gets there.
    Saved,
    /// It does not.
    NotSaved,
    /// The operator looks at what is lost.
    Look,
    /// The operator accepts what he has looked at.
    AcceptLoss,
    /// The operator asks for a change, of this node where it is one node's.
    Order(Ask, usize, bool),
}

/// What the operator asks for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Leave,
    Weight(u32),
    Copies(usize),
    Cancel,
}

fn chance() -> impl Strategy<Value = Chance> {
    let node = 0..NODES;
    prop_oneof![
        6 => node.clone().prop_map(Chance::Start),
        1 => node.clone().prop_map(Chance::StartElsewhere),
        20 => node.clone().prop_map(Chance::Ack),
        10 => node.clone().prop_map(Chance::Fetch),
        2 => node.clone().prop_map(Chance::Kill),
        1 => node.clone().prop_map(Chance::Vanish),
        1 => node.clone().prop_map(Chance::Cut),
        2 => node.clone().prop_map(Chance::Mend),
        1 => node.prop_map(Chance::Disconnect),
        8 => (1u64..8).prop_map(|ticks| Chance::Pass(ticks * TICK)),
        1 => (1u64..5).prop_map(|beats| Chance::Stall(beats * 4_000)),
        1 => any::<bool>().prop_map(Chance::Restart),
        1 => prop_oneof![Just(Disk::Works), Just(Disk::Holds), Just(Disk::Fails)]
            .prop_map(Chance::Disk),
        10 => Just(Chance::Saved),
        1 => Just(Chance::NotSaved),
        1 => Just(Chance::Look),
        1 => Just(Chance::AcceptLoss),
        2 => (ask(), 0..NODES, prop::bool::weighted(0.1)).prop_map(|(a, n, f)| Chance::Order(a, n, f)),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => Just(Ask::Leave),
        2 => (1u32..4).prop_map(Ask::Weight),
        2 => (1usize..4).prop_map(Ask::Copies),
        1 => Just(Ask::Cancel),
    ]
}

struct Run {
    sim: Sim,
    started: u64,
    /// Members that died or were cut off since all was well, if it ever was, and the copies that
    /// there were then, or fewer.
    died: Option<(BTreeSet<Incarnation>, usize)>,
}

impl Run {
    fn new(copies: usize, arcs: usize) -> Run {
        let limits = Limits::default();
        let settings = Settings {
            heartbeat_ms: HEARTBEAT,
            missed: 3,
            arcs,
            copies,
            limits,
            min_copies: 1,
            durability: Durability::default(),
            rebalance_ms: 4 * HEARTBEAT,
            return_ms: 0,
        };
        Run { sim: Sim::new(settings), started: 0, died: None }
    }

    fn happens(&mut self, chance: Chance) {
        match chance {
            Chance::Start(slot) => self.start(slot, 6_000),
            Chance::StartElsewhere(slot) => self.start(slot, 7_000),
            Chance::Ack(n) => self.with(n, |sim, label| {
                sim.adopt(label);
                sim.heartbeat(label);
                if sim.nodes[label].has_left {
                    end(sim, label);
                }
            }),
            Chance::Fetch(n) => self.with(n, |sim, label| {
                sim.fetch(label);
                sim.heartbeat(label);
            }),
            Chance::Kill(n) => self.dies(n, end),
            Chance::Vanish(n) => self.dies(n, |sim, label| {
                sim.nodes.get_mut(label).unwrap().alive = false;
            }),
            Chance::Cut(n) => self.dies(n, |sim, label| {
                sim.nodes.get_mut(label).unwrap().cut = true;
            }),
            Chance::Mend(n) => {
                let cut = self.sim.nodes.values_mut().filter(|n| n.alive && n.cut);
                if let Some(node) = cut.cycle_to(n) {
                    node.cut = false;
                }
            }
            Chance::Disconnect(n) => self.with(n, |sim, label| _ = sim.disconnect(label)),
            Chance::Pass(time) => self.pass(time),
            Chance::Stall(time) => self.sim.now += time,
            Chance::Restart(has_reached) => self.sim.restart(has_reached),
            Chance::Disk(disk) => self.disk(disk),
            Chance::Saved => _ = self.sim.saved(),
            Chance::NotSaved => self.sim.not_saved(),
            Chance::Look => self.sim.look(),
            Chance::AcceptLoss => {
                // Nodes that were only silent are given up as well: nothing is promised until all
                // is well again.
                if !self.sim.accept_loss().0.is_refusal() {
                    self.died = None;
                }
            }
            Chance::Order(ask, n, force) => self.order(ask, n, force),
        }
        self.check_copies();
    }

    fn order(&mut self, ask: Ask, n: usize, force: bool) {
        let id = NodeId::new(&format!("node{n}")).unwrap();
        let change = match ask {
            Ask::Leave => Reconfiguration::Leave(id),
            Ask::Weight(weight) => Reconfiguration::Weight(id, weight),
            Ask::Copies(copies) => Reconfiguration::Copies(copies),
            Ask::Cancel => {
                self.sim.step(Event::Command(AdminCommand::Cancel));
                return;
            }
        };
        if force {
            // Nothing is promised of fewer nodes than copies, until all is well again.
            self.died = None;
        }
        self.sim.step(Event::Command(AdminCommand::Reconfigure { change, force }));
    }

    fn disk(&mut self, disk: Disk) {
        self.sim.disk = disk;
        if disk == Disk::Works {
            self.sim.saved();
            // A save that failed is tried again.
            self.sim.step(Event::Tick);
        }
    }

    fn start(&mut self, slot: usize, port: u16) {
        let address = port + slot as u16;
        let is_held = |n: &super::sim::Process| n.alive && n.who.address.port() == address;
        if self.sim.nodes.values().any(is_held) {
            return;
        }
        self.started += 1;
        let label = format!("node{slot} #{}", self.started);
        self.sim.start(&label, &format!("node{slot}"), self.started, address, 1);
        self.register(&label);
    }

    /// Registers; a process that is refused permanently exits.
    fn register(&mut self, label: &str) {
        let (answer, _) = self.sim.register(label);
        if let Answer::Taken(_) = answer {
            self.sim.nodes.get_mut(label).unwrap().alive = false;
        }
    }

    fn with(&mut self, n: usize, act: impl FnOnce(&mut Sim, &str)) {
        let registered = self.sim.in_reach().into_iter().filter(|l| self.sim.nodes[l].registered);
        if let Some(label) = registered.cycle_to(n) {
            act(&mut self.sim, &label);
        }
    }

    fn dies(&mut self, n: usize, end: impl FnOnce(&mut Sim, &str)) {
        if let Some(label) = self.sim.in_reach().into_iter().cycle_to(n) {
            if self.sim.is_member(&label) {
                let who = self.sim.nodes[&label].who.incarnation;
                self.died.iter_mut().for_each(|(died, _)| _ = died.insert(who));
            }
            end(&mut self.sim, &label);
        }
    }

    fn pass(&mut self, time: Millis) {
        let end = self.sim.now + time;
        while self.sim.now < end {
            self.sim.now = self.sim.now / TICK * TICK + TICK;
            if self.sim.now.is_multiple_of(HEARTBEAT) {
                for label in self.sim.in_reach() {
                    if self.sim.nodes[&label].registered {
                        self.sim.heartbeat(&label);
                    }
                    if !self.sim.nodes[&label].registered {
                        self.register(&label);
                    }
                }
            }
            self.sim.step(Event::Tick);
            self.check_copies();
        }
    }

    /// Promise 2.
    fn check_copies(&mut self) {
        let sim = &self.sim;
        let copies = sim.manager().active().view().copies.min(sim.manager().newest().view().copies);
        if let Some((_, least)) = &mut self.died {
            *least = copies.min(*least);
        }
        if let Some((died, _)) = self.died.as_ref().filter(|(died, copies)| died.len() < *copies) {
            let orphans = sim.arcs_without_live_holder();
            assert!(orphans.is_empty(), "{} died, nobody holds {orphans:?}", died.len());
        }
        let members = &sim.manager().active().view().members;
        // A node that was cut off and has not been heard from since may still lapse.
        let is_there = |i| {
            let process = sim.process(i).filter(|n| n.alive && !n.cut);
            process.is_some_and(|n| sim.now - n.heard <= HEARTBEAT)
        };
        if sim.manager().health(sim.now) == Health::Healthy
            && members.iter().all(|m| is_there(m.incarnation))
        {
            self.died = Some((BTreeSet::new(), copies));
        }
    }

    /// Everything works from now on, for long enough.
    fn calm_down(&mut self) {
        self.disk(Disk::Works);
        for node in self.sim.nodes.values_mut() {
            node.cut = false;
        }
        for _ in 0..30 {
            for label in self.sim.in_reach() {
                self.sim.adopt(&label);
                self.sim.fetch(&label);
                if self.sim.nodes[&label].registered {
                    self.sim.heartbeat(&label);
                }
                if self.sim.nodes[&label].has_left {
                    end(&mut self.sim, &label);
                }
            }
            self.pass(HEARTBEAT);
        }
    }

    /// H4: whatever a live node holds can be written. Nothing that is lost is waited for there.
    fn check_what_is_not_lost(&self) {
        let sim = &self.sim;
        let manager = sim.manager();
        let (routes, lost) = (manager.active(), manager.lost(sim.now));
        for arc in (0..routes.arcs()).filter(|arc| lost.binary_search(arc).is_err()) {
            for &place in routes.write_set(arc) {
                let who = routes.member(place);
                let is_there = sim.process(who.incarnation).is_some_and(|node| node.alive);
                assert!(is_there, "a write of arc {arc} waits for {}", who.id);
            }
        }
    }

    /// All live nodes are active members, except where another live one has the same name.
    fn check_calm(&self) {
        let sim = &self.sim;
        if sim.in_reach().is_empty() {
            return;
        }
        let routes = sim.manager().active();
        let view = routes.view();
        assert_eq!(sim.manager().newest().epoch(), routes.epoch(), "a view is being made for ever");
        assert!(!view.is_changing(), "a change runs for ever");
        assert_eq!(sim.open_orders, 0, "an operator waits for ever");
        for member in &view.members {
            let node = sim.process(member.incarnation).unwrap();
            assert!(node.alive, "{} stays for ever", member.id);
        }
        for node in sim.nodes.values().filter(|n| n.alive) {
            assert!(view.place_of(&node.who.id).is_some(), "{} waits for ever", node.who.id);
        }
        let health = sim.manager().health(sim.now);
        let enough = view.members.len() >= view.copies;
        match health {
            Health::Healthy => assert!(enough),
            Health::Degraded { .. } => assert!(!enough),
            other => panic!("for ever {other}"),
        }
    }
}

/// A process ends, and its connection and port show it.
fn end(sim: &mut Sim, label: &str) {
    sim.nodes.get_mut(label).unwrap().alive = false;
    sim.disconnect(label);
    sim.gone(label);
}

/// Picks by a number that may be larger than the choice.
trait CycleTo: Iterator + Sized {
    fn cycle_to(self, n: usize) -> Option<Self::Item> {
        let mut all: Vec<_> = self.collect();
        (!all.is_empty()).then(|| all.swap_remove(n % all.len()))
    }
}

impl<I: Iterator> CycleTo for I {}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 20_000, ..Default::default() })]

    #[test]
    fn whatever_happens(
        copies in 1usize..4,
        chances in prop::collection::vec(chance(), 1..400),
    ) {
        let mut run = Run::new(copies, 16);
        for chance in chances {
            run.happens(chance);
        }
        run.calm_down();
        run.check_what_is_not_lost();
        if matches!(run.sim.manager().health(run.sim.now), Health::Unavailable { .. }) {
            run.sim.look();
            run.sim.accept_loss();
            run.calm_down();
        }
        run.check_calm();
    }
}
