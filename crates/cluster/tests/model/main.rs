//! A model of a small cluster, checked in every state that it can reach.
//!
//! The states are those of the crate's own state machines: [`cluster::membership`] for the manager,
//! [`cluster::holdings`], [`cluster::lease`] and [`cluster::replica`] for the nodes,
//! [`cluster::operation`] for clients and for nodes that complete a dead client's write. The model
//! has no second copy of a rule. It only determines which events may happen and in which order: all
//! of them, in any order, within the bounds of a setup.
//!
//! * `setup.rs`: processes, scripts and failures; `world.rs`: the steps; `node.rs`, `manager.rs`,
//!   `client.rs`: the shells around the state machines;
//! * `register.rs`: whether the history is linearizable; `world.rs` checks that nothing
//!   acknowledged is lost;
//! * `explorer.rs`: the search, breadth first; `part.rs`: shared parts, which make states small;
//!   `schedule.rs`: schedules as text;
//! * `mutants.rs`: mutations, each of which the model must notice.
//!
//! The simulation beside it follows few schedules far, with many keys; the model follows all
//! schedules, but not far, with one key. How to run it:
//!
//! * `cargo test -p cluster --test model` visits [`STATES`] states of each setup; add `--
//!   --nocapture` for the figures. `MODEL_STATES=5000000` visits that many, `MODEL_SECONDS=600`
//!   ends each search after that time.
//! * `cargo test --release -p cluster --test model --features mutations` runs the mutations.
//!
//! Not modelled: time (a lease is held or it is not), hence nothing of clocks, retention and
//! expiry; several keys; commit watermarks (a commit names its version); the manager's restart;
//! rebalancing after a loss.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "it keeps millions of fingerprints, whose order does not matter, and reports how long it took"
)]
#![expect(clippy::print_stdout, reason = "its purpose is to print figures")]

mod client;
#[cfg(feature = "mutations")]
#[path = "../shared/cores.rs"]
mod cores;
mod explorer;
mod manager;
#[cfg(feature = "mutations")]
mod mutants;
mod node;
mod part;
mod register;
mod schedule;
mod setup;
mod world;

use std::time::Duration;

use explorer::{Limit, Report, explore};
use setup::Setup;
use world::World;

/// The states of each setup that are visited by default: a second or two in a test build.
const STATES: u64 = 20_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn limit(states: u64) -> Limit {
    Limit {
        states: setting("MODEL_STATES").unwrap_or(states) as usize,
        time: setting("MODEL_SECONDS").map_or(Duration::MAX, Duration::from_secs),
    }
}

/// Searches a setup. Every violation is a failure.
fn hold(setup: Setup) {
    let world = World { setup };
    let report = explore(&world, limit(STATES));
    println!("{}", figures(&world.setup, &report));
    if let Some((why, schedule)) = &report.violation {
        panic!("{why} is broken by:\n{}", schedule::describe(&world, schedule));
    }
}

fn figures(setup: &Setup, report: &Report) -> String {
    let scripts = setup.scripts.map(String::from_utf8_lossy).join("/");
    let Report { generated, unique, depth, time, .. } = report;
    let end = if report.is_exhausted { "exhausted" } else { "limit" };
    let seconds = time.as_secs_f32();
    format!(
        "{:<8} {scripts:<8} {generated:>10} {unique:>10} {depth:>5} {seconds:>7.1} s  {end}",
        setup.name
    )
}

#[test]
fn heal() {
    hold(setup::heal(["1", "", "g"]));
    hold(setup::heal(["1", "2", "g"]));
    hold(Setup { name: "slow", is_prompt: false, ..setup::heal(["1", "", "g"]) });
    hold(Setup { name: "delete", record: Some(0), ..setup::heal(["0", "", "gg"]) });
}

#[test]
fn heal_with_lost_replies() {
    let setup = setup::heal(["1", "2", "gg"]);
    hold(Setup { name: "lost", loses_replies: true, crashes: 0, epochs: 1, ..setup });
}

#[test]
fn heal_with_quick_restart_and_finisher() {
    let setup = setup::heal(["1", "", "g"]);
    hold(Setup { name: "restart", restarts: 1, epochs: 4, ..setup.clone() });
    hold(Setup { name: "finish", finishes: 1, ..setup });
}

#[test]
fn abandoned_writers() {
    let setup = setup::heal(["12", "", "gg"]);
    hold(Setup { name: "abandon", abandons: true, crashes: 0, epochs: 1, ..setup });
}

#[test]
fn three_copies() {
    hold(setup::three_copies(["1", "", "g"]));
}

#[test]
fn promo() {
    hold(setup::promo(["1", "", "g"]));
    hold(Setup { name: "promo-", lapses: 1, crashes: 0, ..setup::promo(["1", "", "g"]) });
}

#[test]
fn lapse() {
    hold(setup::lapse(["1", "", "g"]));
}

#[test]
fn join() {
    hold(setup::join(["1", "", "g"]));
    hold(Setup { name: "joinlap", lapses: 1, epochs: 4, ..setup::join(["1", "", "gg"]) });
}

#[test]
fn single() {
    hold(setup::single(["1", "", "g"]));
}

#[test]
fn leave() {
    hold(setup::leave(["1", "", "g"]));
}

#[test]
fn orders() {
    hold(setup::leaver(["1", "", "g"]));
    hold(setup::weight(["1", "", "g"]));
}

#[test]
fn more_and_fewer_copies() {
    hold(setup::more_copies(["1", "", "g"]));
    hold(setup::fewer_copies(["1", "", "g"]));
}

#[test]
fn cancels() {
    hold(setup::cancel(["1", "", "g"]));
    hold(setup::cancel_and_again(["1", "", "g"]));
    hold(Setup { record: Some(0), ..setup::cancel_with_one_copy(["", "", "g"]) });
}

#[test]
fn two_joiners() {
    hold(Setup { record: Some(0), ..setup::two_joiners(["", "", "g"]) });
    hold(setup::two_joiners(["1", "", "g"]));
}

#[test]
fn updates() {
    hold(Setup { name: "rmw", ..setup::heal(["a", "b", ""]) });
    hold(Setup { name: "rmw+put", record: Some(0), ..setup::heal(["a", "1", "g"]) });
    let lost = setup::heal(["a", "b", ""]);
    hold(Setup { name: "rmwlost", loses_replies: true, crashes: 0, epochs: 1, ..lost });
    hold(Setup { name: "rmwprom", record: Some(0), ..setup::promo(["a", "b", ""]) });
    hold(Setup { name: "rmw-k3", ..setup::three_copies(["a", "b", ""]) });
}

#[test]
fn subset_and_loose() {
    hold(setup::subset(["1", "", "g"]));
    hold(setup::loose(["1", "", "g"]));
}
