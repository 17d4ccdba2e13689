//! Which fault comes when: drawn from the seed, within what the promise allows.
//!
//! Nodes keep their records in memory, so a killed one has lost them, and one that was stopped or cut
//! off from the manager may have been dropped from the view. Such a node is *at risk* until the cluster
//! has reported healthy again, a lease after the fault ended; at most K-1 nodes are at risk at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use client::GTStoreClient;
use rand::RngExt;
use rand::rngs::StdRng;

use super::proxy::{Cut, Cuts, Party};
use super::service::Service;
use crate::child::ChildError;

/// Faults at one time.
const MOST: usize = 3;

/// Between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..900;

/// Nothing else happens so long after a calm kill, so that what it alone does can be measured.
const CALM: Duration = Duration::from_millis(1_500);

/// So many in a hundred are calm kills. Each waits until all is well, which makes the others fewer.
const CALM_PERCENT: u32 = 8;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill(usize),
    Stop(usize),
    KillManager,
    StopManager,
    Cut(Cut),
    /// Half of the clients' connections to two nodes.
    Halves(Cut, Cut),
}

/// A fault that has ended, or has not yet.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its kind, to count.
    pub kind: &'static str,
    /// What it was.
    pub what: String,
    /// From when, on the histories' clock.
    pub from: u64,
    /// How long it was to last.
    pub lasts: Duration,
    /// A node was killed while all else was well.
    pub is_calm_kill: bool,
}

impl Past {
    /// Whether a node was killed.
    pub fn is_kill(&self) -> bool {
        self.kind.starts_with("kill -9 of a node")
    }
}

struct Active {
    id: u64,
    fault: Fault,
    until: Instant,
}

/// The faults of a run.
pub struct Schedule<'a> {
    rng: StdRng,
    nodes: usize,
    copies: usize,
    lease: Duration,
    cuts: &'a Cuts,
    next: Instant,
    next_id: u64,
    active: Vec<Active>,
    /// Since when each node's records may be gone.
    at_risk: BTreeMap<usize, Instant>,
    wants_calm: bool,
    /// What has happened.
    pub past: Vec<Past>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(node) => write!(f, "kill -9 node{}", node + 1),
            Fault::Stop(node) => write!(f, "stop node{}", node + 1),
            Fault::KillManager => f.write_str("kill -9 the manager"),
            Fault::StopManager => f.write_str("stop the manager"),
            Fault::Cut(cut) => write!(f, "cut {}", link(cut)),
            Fault::Halves(a, b) => write!(f, "cut half of {} and of {}", link(a), link(b)),
        }
    }
}

fn link(cut: &Cut) -> String {
    let name = |party| match party {
        Party::Manager => "manager".to_owned(),
        Party::Node(node) => format!("node{}", node + 1),
        Party::Client => "clients".into(),
    };
    let ways = match (cut.stops_requests, cut.stops_replies) {
        (true, true) => "both ways",
        (true, false) => "requests",
        _ => "replies",
    };
    format!("{} -> {} ({ways})", name(cut.from), name(cut.to))
}

impl Fault {
    fn kind(&self, lasts: Duration, lease: Duration) -> &'static str {
        match self {
            Fault::Kill(_) => "kill -9 of a node, restart",
            Fault::Stop(_) if lasts > lease => "stop of a node past its lease",
            Fault::Stop(_) => "stop of a node",
            Fault::KillManager => "kill -9 of the manager, restart",
            Fault::StopManager => "stop of the manager",
            Fault::Cut(cut) => match (cut.from, cut.to) {
                (Party::Client, Party::Manager) => "cut clients -> manager",
                (Party::Client, _) => "cut clients -> node",
                (_, Party::Manager) => "cut node -> manager",
                _ => "cut node -> node",
            },
            Fault::Halves(..) => "cut half of clients -> two nodes",
        }
    }

    /// The node that may lose its records, or its place in the view.
    fn risks(&self) -> Option<usize> {
        match self {
            Fault::Kill(node) | Fault::Stop(node) => Some(*node),
            Fault::Cut(Cut { from: Party::Node(node), to: Party::Manager, .. }) => Some(*node),
            _ => None,
        }
    }

    fn is_managers(&self) -> bool {
        matches!(self, Fault::KillManager | Fault::StopManager)
    }
}

impl<'a> Schedule<'a> {
    /// For a cluster of so many nodes that keeps so many copies.
    pub fn new(
        rng: StdRng,
        nodes: usize,
        copies: usize,
        lease: Duration,
        cuts: &'a Cuts,
    ) -> Schedule<'a> {
        Schedule {
            rng,
            nodes,
            copies,
            lease,
            cuts,
            next: Instant::now() + Duration::from_millis(500),
            next_id: 0,
            active: Vec::new(),
            at_risk: BTreeMap::new(),
            wants_calm: false,
            past: Vec::new(),
        }
    }

    /// Ends what is due and begins what is due. To be called every few milliseconds; `now` is the
    /// histories' clock.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn step(
        &mut self,
        service: &mut Service,
        watcher: &GTStoreClient,
        now: impl Fn() -> u64,
    ) -> Result<(), ChildError> {
        self.end_due(service, Instant::now())?;
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Duration::from_millis(self.rng.random_range(PAUSE));
        let unsettled = self.look(watcher);
        let is_all_well = self.active.is_empty() && unsettled == Some(Vec::new());
        if self.wants_calm {
            if is_all_well {
                self.wants_calm = false;
                self.next = Instant::now() + CALM;
                let fault = Fault::Kill(self.rng.random_range(0..self.nodes));
                let lasts = self.millis(1_000..2_500);
                return self.begin(service, fault, lasts, true, &now);
            }
            return Ok(());
        }
        if self.rng.random_range(0..100) < CALM_PERCENT {
            self.wants_calm = true;
            return Ok(());
        }
        // A few draws: what is drawn may be forbidden at present.
        for _ in 0..8 {
            let (fault, lasts) = self.draw();
            if self.is_allowed(&fault, unsettled.as_deref()) {
                return self.begin(service, fault, lasts, false, &now);
            }
        }
        Ok(())
    }

    /// Ends everything now.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn end(&mut self, service: &mut Service) -> Result<(), ChildError> {
        let last = self.active.iter().map(|active| active.until).max();
        self.end_due(service, last.unwrap_or_else(Instant::now))
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    fn draw(&mut self) -> (Fault, Duration) {
        let node = self.rng.random_range(0..self.nodes);
        let other = (node + self.rng.random_range(1..self.nodes)) % self.nodes;
        let (stops_requests, stops_replies) =
            [(true, true), (true, true), (true, false), (false, true)][self.rng.random_range(0..4)];
        let salt: u64 = self.rng.random();
        let half = |of: bool, salt| of.then_some(salt);
        let is_half = self.rng.random_range(0..3) > 0;
        let cut = |from, to, half| Cut { from, to, stops_requests, stops_replies, half };
        let long = self.lease.as_millis() as u64;
        let (client, manager) = (Party::Client, Party::Manager);
        match self.rng.random_range(0..100) {
            0..16 => (Fault::Kill(node), self.millis(100..3_500)),
            16..28 => (Fault::Stop(node), self.millis(50..3 * long)),
            28..32 => (Fault::KillManager, self.millis(50..2_000)),
            32..37 => (Fault::StopManager, self.millis(50..2 * long)),
            37..62 => {
                // Often past the lease: whoever answers then without one is found out.
                let cut = cut(Party::Node(node), manager, None);
                (Fault::Cut(cut), self.millis(long / 2..6 * long))
            }
            62..68 => {
                let cut = cut(Party::Node(node), Party::Node(other), None);
                (Fault::Cut(cut), self.millis(200..3_000))
            }
            68..78 => {
                let cut = cut(client, Party::Node(node), half(is_half, salt));
                (Fault::Cut(cut), self.millis(200..2_000))
            }
            78..95 => {
                let one = cut(client, Party::Node(node), Some(salt));
                let two = cut(client, Party::Node(other), Some(salt.rotate_left(32)));
                (Fault::Halves(one, two), self.millis(400..2_000))
            }
            _ => {
                let cut = cut(client, manager, half(is_half, salt));
                (Fault::Cut(cut), self.millis(200..2_000))
            }
        }
    }

    fn is_allowed(&self, fault: &Fault, unsettled: Option<&[usize]>) -> bool {
        if self.active.len() >= MOST {
            return false;
        }
        let is_the_managers = |active: &Active| active.fault.is_managers();
        if fault.is_managers() && self.active.iter().any(is_the_managers) {
            return false;
        }
        let Some(node) = fault.risks() else { return true };
        // One at a time on a node: it must not be restarted while it is stopped.
        if self.active.iter().any(|active| active.fault.risks() == Some(node)) {
            return false;
        }
        let Some(unsettled) = unsettled else {
            // Nobody knows how the others are.
            return self.at_risk.is_empty() && !matches!(fault, Fault::Kill(_));
        };
        let mut risky = unsettled.to_vec();
        risky.extend(self.at_risk.keys());
        risky.push(node);
        risky.sort_unstable();
        risky.dedup();
        risky.len() < self.copies
    }

    fn begin(
        &mut self,
        service: &mut Service,
        fault: Fault,
        lasts: Duration,
        is_calm_kill: bool,
        now: &impl Fn() -> u64,
    ) -> Result<(), ChildError> {
        let id = self.next_id;
        self.next_id += 2;
        let until = Instant::now() + lasts;
        if let Some(node) = fault.risks() {
            self.at_risk.insert(node, until);
        }
        self.past.push(Past {
            kind: fault.kind(lasts, self.lease),
            what: fault.to_string(),
            from: now(),
            lasts,
            is_calm_kill,
        });
        match fault {
            Fault::Kill(node) => service.kill_node(node),
            Fault::Stop(node) => service.pause(Party::Node(node), true)?,
            Fault::KillManager => service.kill_manager(),
            Fault::StopManager => service.pause(Party::Manager, true)?,
            Fault::Cut(cut) => self.cuts.cut(id, cut),
            Fault::Halves(one, two) => {
                self.cuts.cut(id, one);
                self.cuts.cut(id + 1, two);
            }
        }
        self.active.push(Active { id, fault, until });
        Ok(())
    }

    fn end_due(&mut self, service: &mut Service, now: Instant) -> Result<(), ChildError> {
        let (due, rest) =
            std::mem::take(&mut self.active).into_iter().partition(|active| active.until <= now);
        self.active = rest;
        let due: Vec<Active> = due;
        for Active { id, fault, .. } in due {
            match fault {
                Fault::Kill(node) => service.start_node(node)?,
                Fault::Stop(node) => service.pause(Party::Node(node), false)?,
                Fault::KillManager => service.start_manager()?,
                Fault::StopManager => service.pause(Party::Manager, false)?,
                Fault::Cut(_) => self.cuts.mend(id),
                Fault::Halves(..) => {
                    self.cuts.mend(id);
                    self.cuts.mend(id + 1);
                }
            }
        }
        Ok(())
    }

    /// Asks the manager how the cluster is: which nodes do not serve, with those at risk; `None` if it
    /// does not say. Forgets the risks that are over.
    fn look(&mut self, watcher: &GTStoreClient) -> Option<Vec<usize>> {
        // Not while it cannot answer: that would hold up the schedule.
        if self.active.iter().any(|active| active.fault.is_managers()) {
            return None;
        }
        let asked = Instant::now();
        let status = watcher.status().ok()?;
        let serves = |node: &usize| {
            let name = format!("node{}", node + 1);
            status.nodes.iter().any(|n| n.id.as_str() == name && n.state == "active")
        };
        let is_well = status.health == "healthy" && !status.changing;
        if is_well {
            let settled = self.lease + Duration::from_millis(500);
            self.at_risk.retain(|node, end| *end + settled > asked || !serves(node));
        }
        let mut unsettled: Vec<usize> = (0..self.nodes).filter(|node| !serves(node)).collect();
        unsettled.extend(self.at_risk.keys().filter(|node| serves(node)));
        if !is_well && unsettled.is_empty() {
            // Copies are under way; whose is not known. Count it as one node.
            unsettled.push(usize::MAX);
        }
        Some(unsettled)
    }
}
