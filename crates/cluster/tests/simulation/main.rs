//! A whole cluster in one thread, in simulated time, from one seed.
//!
//! All decisions are those of the crate under test: [`cluster::membership`] for the manager,
//! [`cluster::holdings`], [`cluster::lease`] and [`cluster::replica`] for the nodes,
//! [`cluster::operation`] for clients and for nodes that complete a dead client's write. The shells
//! that `manager`, `storage` and `client` put around them are simulated: connections, timers, a
//! disk. So are faults: kill -9, quick restarts, SIGSTOP, network cuts, lost replies, late frames,
//! clock drift; nodes that are cut off until they are dropped, and return with their records; K and
//! more nodes that are killed at once. Meanwhile an operator removes nodes, changes weights, the
//! number of copies and the least copies of a write, cancels changes, and accepts losses. At the
//! end of each run, when all faults are over, the cluster must become healthy, and nothing may
//! change any more.
//!
//! * `cargo test -p cluster --test simulation` runs [`SEEDS`] seeds; `SIM_SEEDS=5000` that many.
//! * `SIM_SEED=123` runs one, and prints the end of its trace.
//! * `SIM_FROM=1000` begins there.
//! * `SIM_MUTATION=ExpiryAlone` runs that mutation alone (with the feature `mutations`).

#![expect(clippy::print_stdout, reason = "its purpose is to print figures")]

mod checker;
mod client;
#[path = "../shared/cores.rs"]
mod cores;
mod counts;
mod disk;
mod ending;
mod faults;
mod manager;
mod network;
mod node;
mod operator;
mod plan;
mod power;
mod rng;
mod task;
mod world;

use std::ops::ControlFlow;

use cores::on_all_cores;
use counts::Counts;
use world::{Violation, World};

/// The seeds that run by default: a dozen seconds in a test build. CI runs thousands in an
/// optimised one.
const SEEDS: u64 = 300;

/// After so many failures the remaining seeds are skipped.
const MAX_FAILURES: usize = 20;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64) -> Result<Counts, Violation> {
    World::new(seed, false).run()
}

/// Runs a seed again with a trace.
fn rerun_traced(seed: u64) -> Violation {
    World::new(seed, true).run().expect_err("the same seed is the same run")
}

#[test]
fn every_seed_keeps_the_promise() {
    if let Some(seed) = setting("SIM_SEED") {
        let world = World::new(seed, true);
        println!("{:?}", world.plan);
        match world.run() {
            Ok(counts) => println!("{counts:?}"),
            Err(violation) => panic!("{violation}"),
        }
        return;
    }
    let from = setting("SIM_FROM").unwrap_or(0);
    let seeds = setting("SIM_SEEDS").unwrap_or(SEEDS);
    let mut all = Counts::default();
    let mut failed = Vec::new();
    on_all_cores(from..from + seeds, run, |end| {
        match end {
            Ok(counts) => all.add(&counts),
            Err(Violation { seed, why, .. }) => {
                println!("seed {seed}: {why}");
                failed.push(seed);
            }
        }
        if failed.len() < MAX_FAILURES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{seeds} seeds: {all:?}");
    if let Some(&seed) = failed.first() {
        panic!("{} seeds failed: {failed:?}\n{}", failed.len(), rerun_traced(seed));
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let [a, b] = [false, true].map(|is_traced| World::new(seed, is_traced).run());
        match (a, b) {
            (Ok(a), Ok(b)) => assert_eq!(format!("{a:?}"), format!("{b:?}")),
            (Err(a), Err(b)) => assert_eq!((a.why, a.steps), (b.why, b.steps)),
            _ => panic!("seed {seed} has two outcomes"),
        }
    }
}

/// Mutations that thousands of seeds do not show, and why. The model beside it (`tests/model`)
/// shows all but four of them, [`Mutation::SwapMoved`](cluster::mutation::Mutation::SwapMoved),
/// [`Mutation::FenceSkipsBlind`](cluster::mutation::Mutation::FenceSkipsBlind),
/// [`Mutation::BackSkips`](cluster::mutation::Mutation::BackSkips) and
/// [`Mutation::DeadTestify`](cluster::mutation::Mutation::DeadTestify).
#[cfg(feature = "mutations")]
const UNSEEN: [(cluster::mutation::Mutation, &str); 11] = {
    use cluster::mutation::Mutation;
    [
        (Mutation::LateApply, "here a node's check and store are one step"),
        (
            Mutation::ClockReuse,
            "each thread writes as a writer of its own, and receives a clock in between",
        ),
        (Mutation::CoordEarly, "views are active within milliseconds"),
        (Mutation::LimitsUnmeasured, "no run changes limits; the scripts of membership notice it"),
        (Mutation::SkipKeeps, "the manager lets nobody skip a view"),
        (Mutation::RegainAny, "a node gets the newer view before the answer to its heartbeat"),
        (Mutation::SwapMoved, "the old primary must live, and change between fence and swap"),
        (
            Mutation::FenceSkipsBlind,
            "a successor must be at a joiner alone, writer and primary dead",
        ),
        (
            Mutation::BackSkips,
            "a primary must lose its power between showing a record and writing it, and others theirs",
        ),
        (
            Mutation::DeadTestify,
            "a member dropped on a dead node's report counts again, since nothing was acknowledged without it (H6)",
        ),
        (Mutation::CancelDrops, "a cancel must come between two deaths and the copy after each"),
    ]
};

/// Seeds tried for a mutation before it counts as not caught.
#[cfg(feature = "mutations")]
const MUTANT_SEEDS: u64 = 10_000;

/// Mutations that show late, and the seed to begin with, to save time.
#[cfg(feature = "mutations")]
const LATE: [(cluster::mutation::Mutation, u64); 1] =
    [(cluster::mutation::Mutation::BackMoved, 15_000)];

/// The result of a mutation.
#[cfg(feature = "mutations")]
enum Notice {
    /// Noticed: after how many seeds and steps, and the violation.
    By { seeds: u64, steps: u64, why: String },
    /// Not noticed, in so many steps.
    Nothing { steps: u64 },
    /// Not expected to be noticed.
    Unseen(&'static str),
}

#[cfg(feature = "mutations")]
fn take_away(mutation: cluster::mutation::Mutation, seeds: u64) -> Notice {
    use cluster::mutation::with;
    if let Some((_, why)) = UNSEEN.iter().find(|(unseen, _)| *unseen == mutation) {
        return Notice::Unseen(why);
    }
    let mut steps = 0;
    let late = LATE.iter().find(|(late, _)| *late == mutation);
    let first = late.map_or(0, |(_, first)| *first);
    for seed in first..first + seeds {
        match with(mutation, || run(seed)) {
            Ok(counts) => steps += counts.steps,
            // A seed that fails with all rules in place proves nothing.
            Err(_) if run(seed).is_err() => {}
            Err(Violation { why, steps: last, .. }) => {
                return Notice::By { seeds: seed + 1, steps: steps + last, why };
            }
        }
    }
    Notice::Nothing { steps }
}

#[cfg(feature = "mutations")]
#[test]
fn every_rule_taken_away_is_noticed() {
    use cluster::mutation::Mutation;
    let seeds = setting("SIM_SEEDS").unwrap_or(MUTANT_SEEDS);
    let mut missed = Vec::new();
    println!("{:<16} {:>6} {:>10}  noticed by", "mutation", "seeds", "steps");
    let only = std::env::var("SIM_MUTATION").ok();
    let is_wanted =
        |mutation: &Mutation| only.as_ref().is_none_or(|only| *only == format!("{mutation:?}"));
    let work = Mutation::ALL.into_iter().filter(is_wanted);
    let take = |mutation| (mutation, take_away(mutation, seeds));
    on_all_cores(work, take, |(mutation, notice)| {
        let name = format!("{mutation:?}");
        match notice {
            Notice::By { seeds, steps, why } => {
                println!("{name:<16} {seeds:>6} {steps:>10}  {why}");
            }
            Notice::Nothing { steps } => {
                println!("{name:<16} {:>6} {steps:>10}  NOT NOTICED", "-");
                missed.push(mutation);
            }
            Notice::Unseen(why) => println!("{name:<16} not shown: {why}"),
        }
        ControlFlow::Continue(())
    });
    assert!(missed.is_empty(), "not noticed in {seeds} seeds: {missed:?}");
}
