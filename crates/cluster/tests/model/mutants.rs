//! Mutations, one at a time: the model must notice each.
//!
//! Each mutation has a setup that shows it, small enough to be found in seconds. With all rules in
//! place the same search over as many states must find nothing: otherwise it would prove nothing.

use std::ops::ControlFlow;
use std::time::Duration;

use cluster::mutation::{Mutation, with};

use crate::cores::on_all_cores;
use crate::explorer::{Limit, explore};
use crate::schedule;
use crate::setup::{self, Setup};
use crate::world::World;

/// The states of a setup that are visited before a mutation counts as not noticed.
const STATES: u64 = 6_000_000;

/// Mutations that a search of millions of states does not reach: their schedules have twenty steps
/// and more, or need time. The simulation shows the first and the last twelve. `MODEL_MUTATION`
/// searches for one anyway.
const UNREACHED: [(Mutation, &str); 25] = [
    (Mutation::OlderState, "no manager here starts from a copy"),
    (
        Mutation::SwapMoved,
        "the old primary must live, and be primary no more, between fence and swap",
    ),
    (
        Mutation::FenceSkipsBlind,
        "a successor must be at a joiner alone, its writer and its primary dead",
    ),
    (
        Mutation::BackMoved,
        "a reader must carry a successor over a view in which a sibling took its place",
    ),
    (Mutation::SoleHolderKeeps, "some other range must be lost, and here there is one"),
    (Mutation::StaleStays, "a tombstone must come and go, and here no time passes"),
    (Mutation::StaleKept, "a tombstone must come and go, and here no time passes"),
    (Mutation::ClaimOld, "no node here has a disk"),
    (Mutation::ReplacementSynced, "no node here has a disk"),
    (Mutation::GathersOne, "no node here has a disk"),
    (Mutation::ReplacementEarly, "no node here has a disk"),
    (Mutation::AnswersUnsynced, "no node here has a disk"),
    (Mutation::DeadTestify, "no node here has a disk"),
    (Mutation::UsedCounts, "no node here has a disk"),
    (Mutation::BackSkips, "no node here has a disk"),
    (Mutation::ExpiryAlone, "nothing expires where no time passes"),
    (Mutation::ExpirySame, "nothing expires where no time passes"),
    (Mutation::ExpiryCounts, "nothing expires where no time passes"),
    (Mutation::AnyWatermark, "a commit names its version here"),
    (
        Mutation::LimitsUnmeasured,
        "all values have the same length; the scripts of membership notice it",
    ),
    (Mutation::FewCopies, "one copy is asked for; the tables of the rounds notice it"),
    (Mutation::ShortLease, "the manager does not start again, and no time passes"),
    (Mutation::AcceptMore, "no setup accepts a loss"),
    (Mutation::WaitLeaves, "no setup accepts a loss"),
    (Mutation::CopyTaken, "no node here has a disk"),
];

/// The setup that shows a mutation.
fn setup_for(mutation: Mutation) -> Setup {
    let calm = |setup: Setup| Setup { crashes: 0, epochs: 1, ..setup };
    match mutation {
        Mutation::NoWriteback | Mutation::CommitEarly | Mutation::AnyAnswered => {
            setup::heal(["1", "", "gg"])
        }
        Mutation::RetryMay => Setup { loses_replies: true, ..calm(setup::heal(["1", "", "g2g"])) },
        Mutation::RetryNew => calm(setup::heal(["1", "", "g2g"])),
        Mutation::BlindStored | Mutation::Vacuous => {
            Setup { record: Some(2), ..setup::promo(["1", "", "g"]) }
        }
        Mutation::ReadsBlind => Setup { record: Some(0), ..setup::heal(["", "", "g"]) },
        Mutation::AnySource => setup::heal(["1", "", "g"]),
        Mutation::UnsyncedSource => Setup { record: Some(0), ..setup::two_joiners(["", "", "g"]) },
        Mutation::NoLease | Mutation::RemovedEarly | Mutation::SkipKeeps => {
            setup::lapse(["1", "", "g"])
        }
        Mutation::RegainAny => setup::single(["1", "", "g"]),
        Mutation::NoAckWait => setup::promo(["1", "", "g"]),
        Mutation::ClockReuse => Setup { abandons: true, ..calm(setup::heal(["12", "", "g"])) },
        Mutation::LateApply => setup::heal(["1", "", "g"]),
        Mutation::CoordEarly => Setup { crashes: 0, ..setup::promo(["1", "", "g"]) },
        Mutation::QuickRestart => Setup { restarts: 1, ..setup::heal(["1", "", "g"]) },
        Mutation::PromoteSubset => setup::subset(["1", "", "g"]),
        Mutation::PromoteLoose => setup::loose(["1", "", "g"]),
        Mutation::SpreadMoved => setup::heal(["a", "b", ""]),
        Mutation::LostIsNot => {
            Setup { loses_replies: true, tries: 2, ..calm(setup::heal(["a", "b", ""])) }
        }
        Mutation::SameOp => setup::heal(["a", "b", "g"]),
        Mutation::SuccessorClock => Setup { record: Some(0), ..calm(setup::heal(["1", "a", "g"])) },
        Mutation::BackMoved => setup::heal(["a", "b", "g"]),
        Mutation::SwapMoved | Mutation::FenceSkipsBlind => setup::promo(["a", "b", "g"]),
        Mutation::LeaverGoes | Mutation::LeavesAtOnce => setup::leaver(["1", "", "g"]),
        Mutation::CancelDrops => {
            Setup { record: Some(0), ..setup::cancel_with_one_copy(["", "", "g"]) }
        }
        Mutation::LossKeeps => Setup { record: Some(0), ..setup::cancel_and_again(["", "", "g"]) },
        Mutation::ClaimOld
        | Mutation::ReplacementSynced
        | Mutation::GathersOne
        | Mutation::ReplacementEarly
        | Mutation::AnswersUnsynced
        | Mutation::DeadTestify
        | Mutation::UsedCounts
        | Mutation::BackSkips
        | Mutation::SoleHolderKeeps
        | Mutation::StaleStays
        | Mutation::StaleKept
        | Mutation::ExpiryAlone
        | Mutation::ExpirySame
        | Mutation::ExpiryCounts
        | Mutation::AnyWatermark
        | Mutation::LimitsUnmeasured
        | Mutation::FewCopies
        | Mutation::OlderState
        | Mutation::ShortLease
        | Mutation::AcceptMore
        | Mutation::WaitLeaves
        | Mutation::CopyTaken => setup::lapse(["a", "b", ""]),
        Mutation::TwoPending => Setup { spares: &[3], epochs: 3, ..setup::heal(["1", "", "g"]) },
    }
}

/// Runs a mutation. Returns a line of output, and whether it was noticed or need not be. With
/// `alone` it is searched for even if it is not expected to be reached, and its schedule is
/// printed.
fn take_away(mutation: Mutation, is_alone: bool) -> (String, bool) {
    let name = format!("{mutation:?}");
    let unreached = UNREACHED.iter().find(|(other, _)| *other == mutation);
    if let (Some((_, why)), false) = (unreached, is_alone) {
        return (format!("{name:<15} not reached: {why}"), true);
    }
    let world = World { setup: setup_for(mutation) };
    let report = with(mutation, || explore(&world, crate::limit(STATES)));
    let by = report.violation.as_ref().map_or("NOT NOTICED", |(why, _)| *why);
    let mut line = format!(
        "{name:<15} {:<8} {by:<16} {:>9} {:>6} {:>5.1} s",
        world.setup.name,
        report.unique,
        report.depth,
        report.time.as_secs_f32()
    );
    let Some((_, schedule)) = report.violation else { return (line, false) };
    if is_alone {
        line.push('\n');
        line.push_str(&with(mutation, || schedule::describe(&world, &schedule)));
    }
    let same = Limit { states: report.unique, time: Duration::MAX };
    let sound = explore(&world, same).violation;
    assert!(sound.is_none(), "{name}: {sound:?} with all rules in place");
    (line, true)
}

#[test]
fn every_rule_taken_away_is_noticed() {
    let only = std::env::var("MODEL_MUTATION").ok();
    let mut missed = Vec::new();
    println!(
        "{:<15} {:<8} {:<16} {:>9} {:>6} {:>7}",
        "mutation", "setup", "noticed by", "states", "depth", "time"
    );
    let is_wanted =
        |mutation: &Mutation| only.as_ref().is_none_or(|only| *only == format!("{mutation:?}"));
    let work = Mutation::ALL.into_iter().filter(is_wanted);
    let take = |mutation| (mutation, take_away(mutation, only.is_some()));
    on_all_cores(work, take, |(mutation, (line, is_noticed))| {
        println!("{line}");
        if !is_noticed {
            missed.push(mutation);
        }
        ControlFlow::Continue(())
    });
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
