//! Random runs of nodes that keep their records on disk and start again with their folders or with
//! emptied ones, and of their manager: whatever happens, an event has its consequences once, and
//! then nothing more happens. A manager that went on making views, or saving, for ever would answer
//! nobody any more.

use proptest::prelude::*;

use super::sim::Sim;
use crate::durability::Durability;
use crate::holdings::Holdings;
use crate::limits::Limits;
use crate::membership::{Event, Settings};
use crate::time::Millis;

const HEARTBEAT: Millis = 2_000;
const TICK: Millis = 500;
const NODES: usize = 3;

/// What may happen to a node, by its number, or to all.
#[derive(Debug, Clone, Copy)]
enum Chance {
    /// It starts, where it does not run; with the folder that it had, or with an empty one.
    Start(usize, bool),
    /// It ends, and its port refuses at once or does not.
    Kill(usize, bool),
    /// It adopts the newest view that it was sent, and reports that.
    Ack(usize),
    /// The same, and it fetches what it misses.
    Fetch(usize),
    /// Time passes, with ticks and heartbeats.
    Pass(Millis),
    /// The manager ends and starts again, and finds the ports of those that have ended refusing, or
    /// does not yet.
    Restart(bool),
}

fn chance() -> impl Strategy<Value = Chance> {
    let node = 0..NODES;
    prop_oneof![
        4 => (node.clone(), prop::bool::weighted(0.8)).prop_map(|(n, has)| Chance::Start(n, has)),
        2 => (node.clone(), prop::bool::weighted(0.8)).prop_map(|(n, tells)| Chance::Kill(n, tells)),
        6 => node.clone().prop_map(Chance::Ack),
        4 => node.prop_map(Chance::Fetch),
        3 => (1u64..12).prop_map(|ticks| Chance::Pass(ticks * TICK)),
        1 => any::<bool>().prop_map(Chance::Restart),
    ]
}

struct Run {
    sim: Sim,
    started: u64,
    /// The newest process of each node.
    labels: [Option<String>; NODES],
    /// The process that wrote each node's folder last.
    folders: [Option<String>; NODES],
}

impl Run {
    fn new(copies: usize, durability: Durability) -> Run {
        let settings = Settings {
            heartbeat_ms: HEARTBEAT,
            missed: 3,
            arcs: 8,
            copies,
            limits: Limits::default(),
            min_copies: 1,
            durability,
            rebalance_ms: 4 * HEARTBEAT,
            return_ms: 5_000,
        };
        let (labels, folders) = Default::default();
        let mut sim = Sim::new(settings);
        sim.has_disks = true;
        Run { sim, started: 0, labels, folders }
    }

    /// The process of a node that runs and is known to the manager.
    fn runs(&self, n: usize) -> Option<String> {
        let runs = |label: &&String| self.sim.nodes[*label].alive;
        self.labels[n].as_ref().filter(runs).cloned()
    }

    fn happens(&mut self, chance: Chance) {
        match chance {
            Chance::Start(n, has_folder) if self.runs(n).is_none() => self.start(n, has_folder),
            Chance::Kill(n, tells) => {
                if let Some(label) = self.runs(n) {
                    self.kill(n, &label, tells);
                }
            }
            Chance::Ack(n) | Chance::Fetch(n) => {
                if let Some(label) = self.runs(n).filter(|l| self.sim.nodes[l].registered) {
                    self.sim.adopt(&label);
                    if matches!(chance, Chance::Fetch(_)) {
                        self.sim.fetch(&label);
                    }
                    self.sim.heartbeat(&label);
                }
            }
            Chance::Start(..) => {}
            Chance::Pass(time) => self.pass(time),
            Chance::Restart(looks) => self.restart(looks),
        }
        self.is_quiet();
    }

    fn start(&mut self, n: usize, has_folder: bool) {
        self.started += 1;
        let label = format!("node{n} #{}", self.started);
        self.sim.start(&label, &format!("node{n}"), self.started, 6_000 + n as u16, 1);
        if !has_folder {
            self.folders[n] = None;
        }
        let claim = self.folders[n].as_ref().map(|line| self.sim.claim(line, &label).unwrap());
        let node = self.sim.nodes.get_mut(&label).unwrap();
        node.who.on_disk = true;
        let holdings = Holdings::new(node.who.id.clone(), node.who.incarnation);
        node.holdings = holdings.with_claim(claim.clone());
        node.claim = claim;
        self.labels[n] = Some(label.clone());
        self.sim.register(&label);
    }

    fn kill(&mut self, n: usize, label: &str, tells: bool) {
        let node = self.sim.nodes.get_mut(label).unwrap();
        node.alive = false;
        if node.holdings.has_been_member() {
            self.folders[n] = Some(label.into());
        }
        self.sim.disconnect(label);
        if tells {
            self.sim.gone(label);
        }
    }

    fn restart(&mut self, looks: bool) {
        self.sim.restart(true);
        for label in self.labels.clone().iter().flatten() {
            let node = self.sim.nodes.get_mut(label).unwrap();
            node.registered = false;
            if !node.alive && looks {
                self.sim.gone(label);
            }
        }
    }

    fn pass(&mut self, time: Millis) {
        let end = self.sim.now + time;
        while self.sim.now < end {
            self.sim.now += TICK;
            if self.sim.now.is_multiple_of(HEARTBEAT) {
                for label in self.sim.in_reach() {
                    let is_known = self.sim.nodes[&label].registered;
                    if is_known {
                        self.sim.heartbeat(&label)
                    } else {
                        self.sim.register(&label)
                    };
                }
            }
            self.sim.step(Event::Tick);
        }
    }

    /// Runs until nothing more follows.
    fn is_quiet(&mut self) {
        self.sim.step(Event::Tick);
        let (_, effects) = self.sim.step(Event::Tick);
        assert!(effects.is_empty(), "{effects:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_folders_it_settles(
        copies in 1usize..3,
        is_sync in any::<bool>(),
        chances in prop::collection::vec(chance(), 1..100),
    ) {
        let durability = if is_sync { Durability::Sync } else { Durability::Async };
        let mut run = Run::new(copies, durability);
        chances.into_iter().for_each(|chance| run.happens(chance));
    }
}

/// The table of [`Evidence`](crate::membership::Evidence).
#[test]
fn evidence_of_holdings_grows_to_reported() {
    use crate::ids::Incarnation;
    use crate::membership::Evidence;
    let evidence = |sim: &Sim, start: u64| {
        sim.manager().nodes().find(|n| n.who.incarnation == Incarnation(start)).map(|n| n.evidence)
    };
    let mut run = Run::new(1, Durability::Sync);
    run.start(0, false);
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Registered));
    run.sim.register("node0 #1");
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Registered));
    run.happens(Chance::Ack(0));
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Reported));
    run.sim.restart(true);
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Unknown));
    run.sim.register("node0 #1");
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Unknown));
    run.sim.heartbeat("node0 #1");
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Reported));
    run.sim.restart(true);
    run.kill(0, "node0 #1", true);
    assert_eq!(evidence(&run.sim, 1), Some(Evidence::Unknown));
    run.start(0, true);
    assert_eq!(evidence(&run.sim, 2), Some(Evidence::Registered));
    run.sim.heartbeat("node0 #2");
    assert_eq!([1, 2].map(|start| evidence(&run.sim, start)), [Some(Evidence::Reported); 2]);
}
