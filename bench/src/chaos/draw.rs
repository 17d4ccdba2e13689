//! Random choices from the seed: faults, planned changes and times.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use harness::party::Party;
use harness::proxy::{Cut, Direction};
use rand::RngExt;
use rand::rngs::StdRng;

use super::fault::{ChaosFault, PlannedChange, WantedChanges};
use super::roster::Roster;

/// Most nodes started at once.
const MOST_JOINING: usize = 3;

/// Weights given to nodes.
const WEIGHTS: RangeInclusive<u32> = 1..=3;

/// The seeded choices of a run.
pub struct Draw {
    rng: StdRng,
    wanted: WantedChanges,
    /// The initial K; K stays within one of it.
    copies: usize,
    lease: Duration,
}

impl Draw {
    /// Draws from `rng`, only changes that are `wanted`.
    pub fn new(rng: StdRng, wanted: WantedChanges, copies: usize, lease: Duration) -> Draw {
        Draw { rng, wanted, copies, lease }
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// One of these nodes, if there are any.
    pub fn one_of(&mut self, nodes: &[usize]) -> Option<usize> {
        match nodes.len() {
            0 => None,
            count => Some(nodes[self.rng.random_range(0..count)]),
        }
    }

    /// A duration in milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    /// A fault and its duration.
    pub fn fault(&mut self, roster: &Roster) -> (ChaosFault, Duration) {
        // At least two: the roster keeps more than K-1 nodes from being killed or leaving.
        let present = roster.present();
        let at = self.rng.random_range(0..present.len());
        let other = (at + self.rng.random_range(1..present.len())) % present.len();
        let (node, other) = (present[at], present[other]);
        let way = [Direction::Both, Direction::Both, Direction::Requests, Direction::Replies]
            [self.rng.random_range(0..4)];
        let salt: u64 = self.rng.random();
        let half = |of: bool, salt| of.then_some(salt);
        let is_half = self.rng.random_range(0..3) > 0;
        let cut = |from, to, half| Cut { from, to, way, half };
        let long = self.lease.as_millis() as u64;
        let (client, manager) = (Party::Client, Party::Manager);
        match self.rng.random_range(0..100) {
            0..16 => (ChaosFault::Kill(node), self.millis(100..3_500)),
            16..28 => (ChaosFault::Stop(node), self.millis(50..3 * long)),
            28..32 => (ChaosFault::KillManager, self.millis(50..2_000)),
            32..37 => (ChaosFault::StopManager, self.millis(50..2 * long)),
            37..62 => {
                // Often longer than the lease: this exposes a node that answers without one.
                let cut = cut(Party::Node(node), manager, None);
                (ChaosFault::Cut(cut), self.millis(long / 2..6 * long))
            }
            62..68 => {
                let cut = cut(Party::Node(node), Party::Node(other), None);
                (ChaosFault::Cut(cut), self.millis(200..3_000))
            }
            68..78 => {
                let cut = cut(client, Party::Node(node), half(is_half, salt));
                (ChaosFault::Cut(cut), self.millis(200..2_000))
            }
            78..95 => {
                let one = cut(client, Party::Node(node), Some(salt));
                let two = cut(client, Party::Node(other), Some(salt.rotate_left(32)));
                (ChaosFault::Halves(one, two), self.millis(400..2_000))
            }
            _ => {
                let cut = cut(client, manager, half(is_half, salt));
                (ChaosFault::Cut(cut), self.millis(200..2_000))
            }
        }
    }

    /// A planned change, if the drawn one is wanted and allowed.
    pub fn change(&mut self, roster: &Roster) -> Option<PlannedChange> {
        let kind = self.rng.random_range(0..100);
        let any: usize = self.rng.random_range(0..usize::MAX);
        let weight = self.rng.random_range(WEIGHTS);
        let settled = roster.settled();
        let node = *settled.get(any % settled.len().max(1))?;
        match kind {
            0..35 if self.wanted.join => {
                let mut out = roster.out();
                out.truncate(1 + any % MOST_JOINING);
                (!out.is_empty()).then_some(PlannedChange::Join(out))
            }
            35..70 if self.wanted.leave => {
                roster.may_leave(node).then_some(PlannedChange::Leave(node))
            }
            70..85 if self.wanted.weight => {
                (!roster.is_in_doubt()).then_some(PlannedChange::Weight(node, weight))
            }
            85..100 if self.wanted.rep => {
                let copies = self.copies - 1 + any % 3;
                roster.may_copy(copies).then_some(PlannedChange::Copies(copies))
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

    fn draw(seed: u64, wanted: WantedChanges) -> Draw {
        Draw::new(StdRng::seed_from_u64(seed), wanted, 3, LEASE)
    }

    fn roster() -> Roster {
        let mut roster = Roster::new(6, 8, 3, LEASE);
        roster.risk(5, Instant::now());
        roster
    }

    #[test]
    fn equal_seeds_draw_equal_faults() {
        let faults = |seed| {
            let mut draw = draw(seed, WantedChanges::ALL);
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
    fn only_wanted_and_allowed_changes_are_drawn() {
        let changes = |wanted: WantedChanges, roster: &Roster| {
            let mut draw = draw(1, wanted);
            (0..200).filter_map(|_| draw.change(roster)).collect::<Vec<_>>()
        };
        assert!(changes(WantedChanges::NONE, &roster()).is_empty());
        let some = changes(WantedChanges::ALL, &roster());
        let has = |kind: fn(&PlannedChange) -> bool| some.iter().any(kind);
        assert!(has(|change| matches!(change, PlannedChange::Join(nodes) if nodes.len() == 2)));
        assert!(has(|change| matches!(change, PlannedChange::Leave(_))));
        assert!(has(|change| matches!(change, PlannedChange::Weight(_, 3))));
        assert!(has(|change| matches!(change, PlannedChange::Copies(2))));
        // Six nodes are too few for four copies; the node at risk is not chosen; two nodes are out.
        assert!(!has(|change| matches!(change, PlannedChange::Copies(3 | 4))));
        assert!(!has(|change| matches!(
            change,
            PlannedChange::Leave(5) | PlannedChange::Weight(5, _)
        )));
        assert!(!has(
            |change| matches!(change, PlannedChange::Join(nodes) if nodes != &[6, 7] && nodes != &[6])
        ));
        let mut busy = roster();
        busy.ask(Instant::now());
        let some = changes(WantedChanges::ALL, &busy);
        assert!(
            !some.is_empty() && some.iter().all(|change| matches!(change, PlannedChange::Join(_)))
        );
    }
}
