//! What is drawn from the seed: faults, planned changes, and times.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use harness::party::Party;
use harness::proxy::{Cut, Way};
use rand::RngExt;
use rand::rngs::StdRng;

use super::fault::{Change, Fault, Wanted};
use super::roster::Roster;

/// Most nodes that are started at once.
const MOST_JOINING: usize = 3;

/// Weights that nodes get.
const WEIGHTS: RangeInclusive<u32> = 1..=3;

/// The seeded choices of a run.
pub struct Draw {
    rng: StdRng,
    wanted: Wanted,
    /// K at first, which is not left by more than one.
    copies: usize,
    lease: Duration,
}

impl Draw {
    /// Choices that follow from `rng`, of the changes that are wanted.
    pub fn new(rng: StdRng, wanted: Wanted, copies: usize, lease: Duration) -> Draw {
        Draw { rng, wanted, copies, lease }
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// One of these, if there are any.
    pub fn one_of(&mut self, nodes: &[usize]) -> Option<usize> {
        match nodes.len() {
            0 => None,
            count => Some(nodes[self.rng.random_range(0..count)]),
        }
    }

    /// A time.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    /// A fault, and how long it lasts.
    pub fn fault(&mut self, roster: &Roster) -> (Fault, Duration) {
        // Never fewer than two: more than K-1 are neither killed nor let go.
        let present = roster.present();
        let at = self.rng.random_range(0..present.len());
        let other = (at + self.rng.random_range(1..present.len())) % present.len();
        let (node, other) = (present[at], present[other]);
        let way = [Way::Both, Way::Both, Way::Requests, Way::Replies][self.rng.random_range(0..4)];
        let salt: u64 = self.rng.random();
        let half = |of: bool, salt| of.then_some(salt);
        let is_half = self.rng.random_range(0..3) > 0;
        let cut = |from, to, half| Cut { from, to, way, half };
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

    /// A planned change, if the one that is drawn is wanted and allowed.
    pub fn change(&mut self, roster: &Roster) -> Option<Change> {
        let kind = self.rng.random_range(0..100);
        let any: usize = self.rng.random_range(0..usize::MAX);
        let weight = self.rng.random_range(WEIGHTS);
        let settled = roster.settled();
        let node = *settled.get(any % settled.len().max(1))?;
        match kind {
            0..35 if self.wanted.join => {
                let mut out = roster.out();
                out.truncate(1 + any % MOST_JOINING);
                (!out.is_empty()).then_some(Change::Join(out))
            }
            35..70 if self.wanted.leave => roster.may_leave(node).then_some(Change::Leave(node)),
            70..85 if self.wanted.weight => {
                (!roster.is_in_doubt()).then_some(Change::Weight(node, weight))
            }
            85..100 if self.wanted.rep => {
                let copies = self.copies - 1 + any % 3;
                roster.may_copy(copies).then_some(Change::Copies(copies))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rand::SeedableRng;

    use super::*;

    const LEASE: Duration = Duration::from_millis(600);

    fn draw(seed: u64, wanted: Wanted) -> Draw {
        Draw::new(StdRng::seed_from_u64(seed), wanted, 3, LEASE)
    }

    fn roster() -> Roster {
        let mut roster = Roster::new(6, 8, 3, LEASE);
        roster.risk(5, Instant::now());
        roster
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let faults = |seed| {
            let mut draw = draw(seed, Wanted::ALL);
            (0..50).map(|_| draw.fault(&roster())).collect::<Vec<_>>()
        };
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        let mut kinds: Vec<&str> =
            faults(1).iter().map(|(fault, lasts)| fault.kind(*lasts, LEASE)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.len() > 5, "{kinds:?}");
    }

    #[test]
    fn changes_are_those_that_are_wanted_and_allowed() {
        let changes = |wanted: Wanted, roster: &Roster| {
            let mut draw = draw(1, wanted);
            (0..200).filter_map(|_| draw.change(roster)).collect::<Vec<_>>()
        };
        assert!(changes(Wanted::NONE, &roster()).is_empty());
        let some = changes(Wanted::ALL, &roster());
        let has = |kind: fn(&Change) -> bool| some.iter().any(kind);
        assert!(has(|change| matches!(change, Change::Join(nodes) if nodes.len() == 2)));
        assert!(has(|change| matches!(change, Change::Leave(_))));
        assert!(has(|change| matches!(change, Change::Weight(_, 3))));
        assert!(has(|change| matches!(change, Change::Copies(2))));
        // Six are too few for four copies; the one at risk is asked for nothing; two nodes are out.
        assert!(!has(|change| matches!(change, Change::Copies(3 | 4))));
        assert!(!has(|change| matches!(change, Change::Leave(5) | Change::Weight(5, _))));
        assert!(!has(
            |change| matches!(change, Change::Join(nodes) if nodes != &[6, 7] && nodes != &[6])
        ));
        let mut busy = roster();
        busy.ask(Instant::now());
        let some = changes(Wanted::ALL, &busy);
        assert!(!some.is_empty() && some.iter().all(|change| matches!(change, Change::Join(_))));
    }
}
