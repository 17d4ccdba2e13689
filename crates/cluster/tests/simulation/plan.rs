//! The plan of a seed. Each seed draws its own mix: the numbers of nodes, copies, keys and clients,
//! the network, the operator, and a few kinds of faults (a mix of all kinds would hide situations
//! that only some of them cause).

use cluster::durability::Durability;
use cluster::time::Millis;
use cluster::version::RETENTION_MS;

use crate::faults::{FAULTS, Fault};
use crate::rng::Rng;
use crate::world::{Key, Micros};

/// The plan of a seed.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Addresses of nodes.
    pub slots: usize,
    /// How many of them run at the start.
    pub nodes: usize,
    /// K.
    pub copies: usize,
    /// The smallest number of synced copies of a write, at the cluster's birth.
    pub min_copies: usize,
    /// Orders in a thousand that change that.
    pub min_orders: u64,
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
    /// Attempts in a thousand before which a client's thread pauses for as long as a fault may
    /// last.
    pub stall: u64,
    /// Read-modify-writes in a thousand between whose steps the key's primary is killed, while the
    /// client's thread pauses.
    pub kill_primary: u64,
    /// A client's time-out for a node.
    pub patience: Micros,
    /// A client's deadline.
    pub deadline: Micros,
    /// When a client's clock is too old to be used.
    pub stale: Micros,
    /// How long commits wait at most.
    pub commit_wait: Micros,
    /// Commits in a thousand with a watermark that the client cannot know (N3).
    pub lies: u64,
    /// Records in a page.
    pub page: usize,
    /// Milliseconds of wall time in a simulated one.
    pub speed: u64,
    /// The skew of wall clocks.
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
    /// The kinds of faults.
    pub faults: Vec<Fault>,
    /// Whether the manager may die between two effects.
    pub manager_dies_midway: bool,
    /// Deaths of the manager in a thousand with which a node is cut off from its next start, which
    /// comes at once (L2).
    pub isolates: u64,
    /// Orders in a thousand that change how long leases are.
    pub terms: u64,
    /// How long the manager's disk takes at most.
    pub disk: Micros,
    /// Saves in a thousand that fail.
    pub disk_fails: u64,
    /// Longest pause between two actions of the operator; 0 where there is no operator.
    pub orders: Micros,
    /// Whether K replicas and more may be killed at once.
    pub loses: bool,
    /// Values in a thousand that are put with an expiry time (C6).
    pub mortals: u64,
    /// The longest life that they are given.
    pub life: Micros,
    /// Pauses in a thousand that are long while a value has expired by some clocks only.
    pub lingers: u64,
    /// Operations in a thousand that extend the life of a value, if there is one.
    pub renewals: u64,
    /// Into how many buckets an arc is divided for comparison.
    pub buckets: Key,
    /// The cluster's durability.
    pub durability: Durability,
    /// Whether all nodes may end at once, and come back from their disks.
    pub outages: bool,
    /// How long a sync of a disk takes at most.
    pub fsync: Micros,
    /// How long it takes at most until a sync starts, where nothing waits for it.
    pub flush: Micros,
    /// Killed nodes in a thousand whose disks are lost.
    pub disk_losses: u64,
    /// Whether the manager's folder is once put back to an older copy.
    pub older: bool,
    /// Whether all replicas of a key may end some milliseconds apart, and the last one lose its
    /// disk.
    pub topples: bool,
    /// How long silent members are waited for, and how long replacements wait for each other.
    pub return_ms: Millis,
}

impl Plan {
    /// Draws a mix.
    pub fn draw(rng: &mut Rng) -> Plan {
        let nodes = rng.within(3, 5) as usize;
        let copies = rng.pick(&[1, 2, 2, 2, 3, 3]);
        let is_ages = rng.chance(120);
        // In a long run a retention passes in two and a half seconds.
        let speed = if is_ages { RETENTION_MS / 2_500 } else { rng.pick(&[1, 10, 10, 30]) };
        let skew = rng.pick(&[0, 5, 300, 2_000, RETENTION_MS / 33]);
        let mut faults: Vec<Fault> = FAULTS.to_vec();
        let kinds = rng.within(1, 6) as usize;
        while faults.len() > kinds {
            faults.remove(rng.below(faults.len() as u64) as usize);
        }
        if is_ages && rng.chance(300) {
            faults = vec![Fault::CutOff, Fault::CutOff, faults[0]];
        }
        // One run in ten is about the expiry of one key's values only.
        let is_mortal = !is_ages && rng.chance(100);
        // In as many others many clients change one key at once, with pauses.
        let is_rivalry = !is_ages && !is_mortal && rng.chance(90);
        let is_one_key = is_mortal || is_rivalry;
        let deadline = if is_ages { 250_000 } else { rng.pick(&[60_000, 300_000, 600_000]) };
        Plan {
            slots: nodes + rng.within(0, 2) as usize,
            nodes,
            copies,
            min_copies: 1,
            keys: if is_one_key { 1 } else { rng.pick(&[1, 2, 4, 12]) },
            clients: rng.within(2, 3) as usize,
            threads: rng.within(1, 2) as usize,
            ops: rng.within(12, 40) as u32,
            think: rng.pick(&[500, 10_000, 40_000]),
            gets: if is_mortal { 300 } else { rng.pick(&[300, 500, 700]) },
            deletes: rng.pick(&[0, 50, 150]),
            checks: if is_mortal { 100 } else { rng.pick(&[0, 20]) },
            updates: if is_rivalry { 300 } else { rng.pick(&[0, 100, 130]) },
            delay: rng.pick(&[200, 500, 2_000]),
            slow: rng.pick(&[0, 20, 100]),
            loss: rng.pick(&[0, 0, 5, 30]),
            ghosts: rng.pick(&[0, 20, 200]),
            abandon: rng.pick(&[0, 10, 40]),
            stall: if is_rivalry { 200 } else { rng.pick(&[0, 10, 50]) },
            kill_primary: if is_rivalry { 200 } else { rng.pick(&[0, 20, 200]) },
            patience: rng.pick(&[4_000, 15_000, 40_000]),
            deadline,
            stale: 60_000_000 / speed,
            commit_wait: rng.pick(&[1_500, 1_500, 20_000]),
            page: rng.pick(&[1, 2, 100]),
            speed,
            skew,
            look: 25_000,
            sweep: (RETENTION_MS / 2 * 1000 / speed).min(10_000_000),
            ..Plan::default()
        }
        .with_faults(rng, faults, is_ages)
        .with_values(rng, is_mortal)
        .with_disks(rng)
    }

    /// The same with faults: when they come, how long they last, and of which kinds they are.
    fn with_faults(self, rng: &mut Rng, faults: Vec<Fault>, is_ages: bool) -> Plan {
        Plan {
            active: if is_ages { 6_000_000 } else { rng.within(400_000, 1_500_000) },
            gap: rng.pick(&[20_000, 60_000, 200_000]),
            longest: if is_ages { 3_200_000 } else { rng.pick(&[50_000, 250_000]) },
            faults,
            manager_dies_midway: rng.chance(200),
            disk: rng.pick(&[50, 2_000, 2_000, 20_000, 100_000]),
            disk_fails: rng.pick(&[0, 0, 100]),
            orders: rng.pick(&[0, 0, 30_000, 150_000, 500_000]),
            loses: rng.chance(100),
            ..self
        }
    }

    /// The same with values, some of which expire, and how replicas compare them.
    fn with_values(self, rng: &mut Rng, is_mortal: bool) -> Plan {
        Plan {
            mortals: if is_mortal { 900 } else { rng.pick(&[0, 0, 300]) },
            life: rng.pick(&[10_000, 60_000, 300_000]),
            lingers: if is_mortal { 400 } else { rng.pick(&[0, 100]) },
            renewals: if is_mortal { 250 } else { rng.pick(&[0, 100]) },
            buckets: rng.pick(&[1, 2, 12]),
            durability: Durability::None,
            ..self
        }
    }

    /// The same, in a fifth of all runs with more faults of leases. They have a generator of their
    /// own, so that all other seeds stay the same runs.
    pub fn with_leases(mut self, seed: u64) -> Plan {
        let mut rng = Rng::new(!seed);
        self.isolates = rng.pick(&[0, 0, 0, 0, 600]);
        if self.isolates > 0 {
            self.faults.truncate(1);
            self.faults.push(Fault::ManagerCrash);
            self.gap = self.gap.min(60_000);
            self.terms = 500;
            self.orders = rng.pick(&[30_000, 150_000]);
        }
        self
    }

    /// The same, in a fifth of all runs with confused clients. It has a generator of its own.
    pub fn with_lies(self, seed: u64) -> Plan {
        Plan { lies: Rng::new(seed.rotate_left(32)).pick(&[0, 0, 0, 0, 150]), ..self }
    }

    /// The same, in a quarter of all runs with writes that need two copies, from the beginning, or
    /// at times, or both. It has a generator of its own. Not where the manager may forget orders.
    pub fn with_least(self, seed: u64) -> Plan {
        let mut rng = Rng::new(seed.rotate_left(16) ^ 0xc0);
        let min_copies = rng.pick(&[1, 2]).min(self.copies);
        let min_orders = rng.pick(&[0, 400]);
        if self.older || !rng.chance(333) {
            return self;
        }
        let orders = if min_orders > 0 && self.orders == 0 { 150_000 } else { self.orders };
        Plan { min_copies, min_orders, orders, ..self }
    }

    /// The same, in some runs with an older copy of the manager's folder. It has a generator of its
    /// own. Not where all nodes that have seen later views may end at once: then no one can report
    /// these.
    pub fn with_older(self, seed: u64) -> Plan {
        let mut rng = Rng::new(!seed ^ 0xff);
        let older = self.durability == Durability::None && !self.loses && rng.chance(200);
        Plan { older, ..self }
    }

    /// The same, in half of the runs with `sync` and outages, with last holders that lose their
    /// disks. It has a generator of its own.
    pub fn with_topples(self, seed: u64) -> Plan {
        let may = self.durability == Durability::Sync && self.outages && !self.older;
        Plan { topples: may && Rng::new(seed.rotate_left(16)).chance(500), ..self }
    }

    /// The same, in half of all runs with disks.
    fn with_disks(self, rng: &mut Rng) -> Plan {
        let durability = match rng.below(4) {
            0 => Durability::Async,
            1 => Durability::Sync,
            _ => return self,
        };
        Plan {
            durability,
            outages: rng.chance(600),
            fsync: rng.pick(&[50, 500, 3_000]),
            flush: rng.pick(&[1_000, 10_000, 100_000]),
            disk_losses: rng.pick(&[0, 100]),
            return_ms: rng.pick(&[0, 100]),
            // Losses in spite of disks are not simulated.
            loses: false,
            ..self
        }
    }
}
