//! The search: every reachable state, the nearest first.
//!
//! Breadth first, so that the first violation has a shortest schedule. A state that was reached
//! before is not visited again; visited states are remembered by 64 bits each. (Among ten million
//! states the chance that any two share their 64 bits is about 1 in 400,000.) The schedule of a
//! state is kept as its last step and its predecessor.
//!
//! Why not a library: the states here share their parts, which makes them small, and mutations are
//! switches of one thread. One thread and a hundred lines are enough.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::part::fingerprint;
use crate::world::{Action, State, World};

/// The limits of a search.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// States, each counted once.
    pub states: usize,
    /// Time.
    pub time: Duration,
}

/// The result of a search.
#[derive(Debug, Clone)]
pub struct Report {
    /// Generated states, those reached before included.
    pub generated: usize,
    /// Different states.
    pub unique: usize,
    /// The most steps from the beginning to any of them.
    pub depth: usize,
    /// The duration.
    pub time: Duration,
    /// Whether all reachable states were visited.
    pub is_exhausted: bool,
    /// The violation, and the steps that lead to it.
    pub violation: Option<(&'static str, Vec<Action>)>,
}

/// A hasher for fingerprints, which need no hashing.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are kept");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// Visits every state of a world, up to a limit or the first violation.
pub fn explore(world: &World, limit: Limit) -> Report {
    let begun = Instant::now();
    let first = world.initial();
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    seen.insert(fingerprint(&first));
    // For each state its predecessor and the step from there. The first state is its own
    // predecessor.
    let mut steps: Vec<(u32, Action)> = vec![(0, Action::Begin)];
    let mut open: VecDeque<(State, u32, u16)> = VecDeque::from([(first, 0, 0)]);
    let mut report = Report {
        generated: 1,
        unique: 1,
        depth: 0,
        time: Duration::ZERO,
        is_exhausted: false,
        violation: None,
    };
    let mut actions = Vec::new();
    'search: while let Some((state, number, depth)) = open.pop_front() {
        report.depth = usize::from(depth);
        if report.unique >= limit.states || number % 1024 == 0 && begun.elapsed() > limit.time {
            open.push_back((state, number, depth));
            break;
        }
        actions.clear();
        world.actions(&state, &mut actions);
        for &action in &actions {
            let Some(next) = world.next(&state, action) else { continue };
            report.generated += 1;
            if !seen.insert(fingerprint(&next)) {
                continue;
            }
            report.unique += 1;
            steps.push((number, action));
            if let Some(why) = world.violation(&next) {
                report.depth = usize::from(depth) + 1;
                report.violation = Some((why, schedule(&steps, report.unique - 1)));
                break 'search;
            }
            open.push_back((next, report.unique as u32 - 1, depth + 1));
        }
    }
    report.is_exhausted = open.is_empty() && report.violation.is_none();
    report.time = begun.elapsed();
    report
}

fn schedule(steps: &[(u32, Action)], last: usize) -> Vec<Action> {
    let mut way = Vec::new();
    let mut at = last;
    while at != 0 {
        way.push(steps[at].1);
        at = steps[at].0 as usize;
    }
    way.reverse();
    way
}
