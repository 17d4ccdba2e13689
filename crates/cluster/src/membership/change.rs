//! Planned changes: changes of the view that are not urgent (rules H2, H5 and L4).
//!
//! A change takes two views. Under the first, reads go where they went before, and writes also go
//! to the future replicas of the key: new nodes *join*, a node *leaves*, a weight or the number of
//! copies changes, or arcs are rebalanced after a loss. When every node of the target holds
//! everything that it is to hold, the second view *switches*. Until then a change can be
//! *cancelled*, and everything stays as it was.
//!
//! All pending requests go into one change: a node that leaves while another waits to join hands
//! over its arcs directly to it.
//!
//! After a loss, the dead node's arcs fall to its neighbours and stay there for a while: if the
//! node returns, it gets back exactly what it had, and nothing else moves. If it stays away, the
//! arcs are rebalanced. A sole holder ([`SoleHolder`](crate::view::SoleHolder)) that is back joins
//! like any other node.

use crate::limits::Limits;
use crate::membership::admin_command::{Reconfiguration, bounds, limits_of};
use crate::membership::node::names;
use crate::membership::proposal::{self, Plan, arrive, nobody_skips, participants, renumber};
use crate::membership::situation::Situation;
use crate::mutation::{Mutation, is_on};
use crate::ring::{self, Participant};
use crate::text::count;
use crate::view::{Coming, Member, MemberState, View};

/// A step of a planned change. It can wait until every member has shown that it is alive (L4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting nodes join, the operator's change begins, or a rebalance begins.
    Begin,
    /// The target takes effect: joiners become active, and leavers leave.
    Switch,
    /// The change is dropped; everything stays as it was before it began.
    Cancel,
}

/// The step that is due now, if any. Call this only while nothing needs repair.
pub fn due(at: &Situation<'_>) -> Option<Step> {
    if !at.active().view().is_changing() {
        return may_begin(at).then_some(Step::Begin);
    }
    if at.is_cancelling() || beyond(at).is_some() {
        return may_cancel(at).then_some(Step::Cancel);
    }
    if may_switch(at) {
        return Some(Step::Switch);
    }
    let is_one_ready = is_on(Mutation::PromoteSubset) && switch_one(at).is_some();
    is_one_ready.then_some(Step::Switch)
}

/// The view that carries out a step that is due.
pub fn plan(at: &Situation<'_>, step: Step) -> Option<Plan> {
    let plan = match step {
        Step::Begin => Some(begin(at, at.change())),
        Step::Switch if may_switch(at) => switch(at),
        Step::Switch => switch_one(at),
        Step::Cancel => cancel(at),
    };
    plan.map(|plan| proposal::remembered(at, plan))
        .filter(|plan| nobody_skips(at, &plan.view) && plan.view.check().is_ok())
}

/// Whether there is a change to begin and all members are alive: nodes that fetch need sources.
fn may_begin(at: &Situation<'_>) -> bool {
    let is_wanted = at.change().is_some()
        || !at.active().view().sole_holders.is_empty()
        || at.waiting().next().is_some()
        || at.is_rebalance_due();
    !at.active().view().members.is_empty() && all_here(at) && is_wanted
}

fn all_here(at: &Situation<'_>) -> bool {
    let members = &at.active().view().members;
    members.iter().all(|m| !at.is_out(m.incarnation))
}

/// The view in which a change begins. It takes in all waiting nodes and includes this change.
pub(super) fn begin(at: &Situation<'_>, change: Option<&Reconfiguration>) -> Plan {
    let old = at.active().view();
    let mut view = old.clone();
    view.epoch = old.next_epoch();
    view.fresh.clear();
    view.replacements.clear();
    if let Some(change) = change.filter(|change| change.is_of_settings()) {
        return begin_settings(view, change);
    }
    for sole_holder in &old.sole_holders {
        view.members[usize::from(sole_holder.place)].state = MemberState::Joining;
    }
    view.members.extend(at.waiting().map(|who| who.member(MemberState::Joining)));
    let mut coming = view.with_assignment(Vec::new());
    match change {
        // Lease terms are not part of a view.
        None | Some(Reconfiguration::Terms { .. }) => {}
        Some(Reconfiguration::Leave(id)) => {
            let leaver = view.members.iter_mut().find(|m| m.id == *id);
            leaver.into_iter().for_each(|m| m.state = MemberState::Leaving);
        }
        Some(Reconfiguration::Weight(id, weight)) => {
            let members = view.members.iter().zip(&mut coming.weights);
            members.filter(|(m, _)| m.id == *id).for_each(|(_, w)| *w = *weight);
        }
        Some(Reconfiguration::Copies(copies)) => coming.copies = *copies,
        Some(Reconfiguration::Limits { .. } | Reconfiguration::MinCopies(_)) => {}
    }
    let may_stay_uneven = change.is_none() && !at.is_rebalance_due();
    coming.arcs = restored(at, &view)
        .filter(|_| may_stay_uneven)
        .unwrap_or_else(|| assignment_for_target(at, &view, &coming.weights));
    let why = described(&view, &coming);
    view.coming = Some(coming);
    Plan { view, why }
}

/// The view in which new settings are on trial: writes comply with both the old and the new ones.
/// It moves no data and takes in no waiting nodes, so that it lasts no longer than nodes need to
/// check what they hold.
fn begin_settings(mut view: View, change: &Reconfiguration) -> Plan {
    let mut coming = view.with_assignment(view.arcs.clone());
    match change {
        Reconfiguration::Limits { key, value } => {
            coming.limits = limits_of(view.limits, *key, *value)
        }
        Reconfiguration::MinCopies(copies) => coming.min_copies = *copies,
        Reconfiguration::Leave(_)
        | Reconfiguration::Weight(..)
        | Reconfiguration::Copies(_)
        | Reconfiguration::Terms { .. } => {}
    }
    let why = described(&view, &coming);
    view.coming = Some(coming);
    Plan { view, why }
}

/// Describes in a few words a stored key or value that exceeds the coming limits. Nothing that long
/// is written any more under the active view, and every node reports what it held when it adopted
/// that view.
pub(super) fn beyond(at: &Situation<'_>) -> Option<String> {
    let view = at.active().view();
    let limits = view.coming.as_ref()?.limits;
    view.members.iter().find_map(|member| {
        let report = &at.nodes.get(&member.incarnation)?.report;
        let longest = report.longest.filter(|_| report.epoch == view.epoch)?;
        let (what, length, most) = match longest {
            Limits { key_bytes, .. } if key_bytes > limits.key_bytes => {
                ("key", key_bytes, limits.key_bytes)
            }
            Limits { value_bytes, .. } if value_bytes > limits.value_bytes => {
                ("value", value_bytes, limits.value_bytes)
            }
            _ => return None,
        };
        Some(format!(
            "{} holds a {what} of {length} bytes, and {most} were to be the most",
            member.id
        ))
    })
}

/// Whether every member has adopted the view in which new settings are on trial and, if limits are
/// to be lowered, holds nothing that exceeds them.
fn have_all_agreed(at: &Situation<'_>) -> bool {
    let view = at.active().view();
    let Some(coming) = &view.coming else { return false };
    let is_measured = coming.limits.covers(&view.limits) || is_on(Mutation::LimitsUnmeasured);
    all_here(at)
        && view.members.iter().all(|member| {
            let report = &at.nodes[&member.incarnation].report;
            let fits = report.longest.is_some_and(|longest| coming.limits.covers(&longest));
            report.epoch == view.epoch && (is_measured || fits)
        })
}

/// The ring in which each joiner owns what it owned when it was lost. `None` unless all joiners
/// return and none of them gets more than its share.
fn restored(at: &Situation<'_>, view: &View) -> Option<Vec<u16>> {
    let mut arcs = view.arcs.clone();
    let weights: u64 = view.members.iter().map(|m| u64::from(m.weight)).sum();
    let mut joiners = (0u16..).zip(&view.members).filter(|(_, m)| m.state == MemberState::Joining);
    let all_return = joiners.all(|(place, joiner)| {
        let lost = at.lost_owner(&joiner.id).filter(|lost| lost.weight == joiner.weight);
        for &arc in lost.iter().flat_map(|lost| &lost.arcs) {
            arcs[usize::from(arc)] = place;
        }
        let share = arcs.len() as u64 * u64::from(joiner.weight) / weights + 1;
        lost.is_some_and(|lost| (1..=share).contains(&(lost.arcs.len() as u64)))
    });
    (all_return && arcs != view.arcs).then_some(arcs)
}

/// The target assignment: the present one, changed as little as an even assignment to the remaining
/// members allows. Returning members have first claim to what they owned.
fn assignment_for_target(at: &Situation<'_>, view: &View, weights: &[u32]) -> Vec<u16> {
    let leaves = |place: u16| view.members[usize::from(place)].state == MemberState::Leaving;
    let mut owners: Vec<Option<u16>> =
        view.arcs.iter().map(|&owner| (!leaves(owner)).then_some(owner)).collect();
    for (place, m) in (0u16..).zip(&view.members).filter(|(_, m)| m.state == MemberState::Joining) {
        for &arc in at.lost_owner(&m.id).iter().flat_map(|lost| &lost.arcs) {
            owners[usize::from(arc)] = Some(place);
        }
    }
    let participants: Vec<Participant<'_>> = view
        .members
        .iter()
        .zip(weights)
        .map(|(m, &weight)| Participant {
            name: m.id.as_str(),
            weight: if m.state == MemberState::Leaving { 0 } else { weight },
        })
        .collect();
    ring::assign(&owners, &participants)
}

/// Whether each member has its share of the ring.
pub(super) fn is_even(view: &View) -> bool {
    let owners: Vec<Option<u16>> = view.arcs.iter().copied().map(Some).collect();
    ring::assign(&owners, &participants(&view.members)) == view.arcs
}

/// Describes the change under way in a view in a few words, if there is one.
pub(super) fn under_way(view: &View) -> Option<String> {
    view.coming.as_ref().map(|coming| described(view, coming))
}

/// Describes in a few words the difference between a view and its target.
fn described(view: &View, coming: &Coming) -> String {
    let in_state = |state| names(view.members.iter().filter(|m| m.state == state));
    let (joining, leaving) = (in_state(MemberState::Joining), in_state(MemberState::Leaving));
    let mut parts = Vec::new();
    if !joining.is_empty() {
        parts.push(format!("{joining} joining"));
    }
    if !leaving.is_empty() {
        parts.push(format!("{leaving} leaving"));
    }
    let weighs = view.members.iter().zip(&coming.weights).filter(|(m, w)| m.weight != **w);
    parts.extend(weighs.map(|(m, weight)| format!("{} to weigh {weight}", m.id)));
    if coming.copies != view.copies {
        parts.push(format!("{} of each key to come", count(coming.copies, "copy")));
    }
    if coming.limits != view.limits {
        parts.push(format!("{} to come", bounds(&coming.limits)));
    }
    if coming.min_copies != view.min_copies {
        parts.push(format!("writes with {} copies at least to come", coming.min_copies));
    }
    if parts.is_empty() {
        return "arcs are dealt out evenly".into();
    }
    parts.join(", ")
}

/// Whether every node of the target holds all arcs of which it is to be a replica (H2).
fn may_switch(at: &Situation<'_>) -> bool {
    let routes = at.active();
    if routes.view().changes_settings_alone() {
        return have_all_agreed(at);
    }
    // The replicas that count; a mutation ignores some.
    let old = routes.view();
    let counts = |place: &&u16| !is_on(Mutation::PromoteLoose) || is_joiner(old, **place);
    let leaves = |m: &Member| m.state == MemberState::Leaving;
    if is_on(Mutation::LeaverGoes) && old.members.iter().any(leaves) {
        return all_here(at);
    }
    let mut arcs = 0..routes.arcs();
    arcs.all(|arc| routes.target(arc).iter().filter(counts).all(|&place| holds(at, place, arc)))
}

/// Whether all replicas that stay after a cancellation are alive and hold their arcs. Other nodes
/// then drop what they have fetched: if a replica has died during the change, the node that fetched
/// its arc may be the last holder.
fn may_cancel(at: &Situation<'_>) -> bool {
    let routes = at.active();
    if routes.view().changes_settings_alone() {
        return true;
    }
    let holds = |arc| routes.replicas(arc).iter().all(|&place| holds(at, place, arc));
    all_here(at) && (is_on(Mutation::CancelDrops) || (0..routes.arcs()).all(holds))
}

/// Whether a member is alive and has reported that it holds an arc under the active view.
fn holds(at: &Situation<'_>, place: u16, arc: usize) -> bool {
    let routes = at.active();
    let incarnation = routes.member(place).incarnation;
    let report = &at.nodes[&incarnation].report;
    !at.is_out(incarnation) && report.epoch == routes.epoch() && report.synced.contains(arc)
}

/// Puts the target into effect and removes leavers.
fn switch(at: &Situation<'_>) -> Option<Plan> {
    let old = at.active().view();
    let mut view = old.clone();
    // By now other members hold what the rejoined sole holders held alone.
    view.sole_holders.retain(|sole_holder| !is_joiner(old, sole_holder.place));
    let leaving: Vec<bool> = old.members.iter().map(|m| m.state == MemberState::Leaving).collect();
    renumber(&mut view, &leaving);
    let coming = view.coming.take()?;
    arrive(&mut view, coming);
    for member in &mut view.members {
        member.state = MemberState::Active;
    }
    view.epoch = old.next_epoch();
    view.fresh.clear();
    view.replacements.clear();
    Some(Plan { why: switched(old, &view), view })
}

fn switched(old: &View, view: &View) -> String {
    let in_state = |state| names(old.members.iter().filter(|m| m.state == state));
    let (joined, left) = (in_state(MemberState::Joining), in_state(MemberState::Leaving));
    let mut parts = Vec::new();
    if !joined.is_empty() {
        parts.push(format!("{joined} active"));
    }
    if !left.is_empty() {
        parts.push(format!("{left} left"));
    }
    let weighed = |m: &Member| {
        old.members.iter().any(|o| o.incarnation == m.incarnation && o.weight != m.weight)
    };
    let weighed = view.members.iter().filter(|m| weighed(m));
    parts.extend(weighed.map(|m| format!("{} weighs {}", m.id, m.weight)));
    if view.copies != old.copies {
        parts.push(format!("{} of each key", count(view.copies, "copy")));
    }
    if view.limits != old.limits {
        parts.push(bounds(&view.limits));
    }
    if view.min_copies != old.min_copies {
        parts.push(format!("writes with {} copies at least", view.min_copies));
    }
    if parts.is_empty() {
        return "arcs are dealt out evenly now".into();
    }
    parts.join(", ")
}

/// Keeps leavers, and everything else as it was. Joiners go on joining, towards an even assignment.
fn cancel(at: &Situation<'_>) -> Option<Plan> {
    let old = at.active().view();
    let mut view = old.clone();
    view.epoch = old.next_epoch();
    view.fresh.clear();
    view.replacements.clear();
    for member in view.members.iter_mut().filter(|m| m.state == MemberState::Leaving) {
        member.state = MemberState::Active;
    }
    // All members are alive: nodes that were sole holders when the change began, or that have come
    // back as sole holders since, join for the remaining arcs.
    for sole_holder in &old.sole_holders {
        view.members[usize::from(sole_holder.place)].state = MemberState::Joining;
    }
    let joins = view.members.iter().any(|m| m.state == MemberState::Joining);
    view.coming = joins.then(|| {
        let coming = view.with_assignment(Vec::new());
        Coming { arcs: assignment_for_target(at, &view, &coming.weights), ..coming }
    });
    let beyond = beyond(at).map_or_else(String::new, |beyond| format!(": {beyond}"));
    let why = match under_way(&view) {
        None => format!("the change is cancelled{beyond}"),
        Some(rest) => format!("the change is cancelled, {rest}"),
    };
    Some(Plan { view, why })
}

/// Whether a cancellation would change anything: a change that only adds joiners goes on until the
/// joiners are stopped.
pub(super) fn can_cancel(view: &View) -> bool {
    let any = |state| view.members.iter().any(|m| m.state == state);
    view.coming.as_ref().is_some_and(|coming| {
        any(MemberState::Leaving)
            || coming.copies != view.copies
            || view.changes_settings_alone()
            || view.members.iter().map(|m| m.weight).ne(coming.weights.iter().copied())
            || !any(MemberState::Joining)
    })
}

fn is_joiner(view: &View, place: u16) -> bool {
    view.members[usize::from(place)].state == MemberState::Joining
}

/// The mistake of [`Mutation::PromoteSubset`]: makes one joiner active while others have yet to
/// fetch.
fn switch_one(at: &Situation<'_>) -> Option<Plan> {
    let routes = at.active();
    let old = routes.view();
    let is_ready = |place: u16| {
        let mut arcs = (0..routes.arcs()).filter(|&arc| routes.target(arc).contains(&place));
        arcs.all(|arc| holds(at, place, arc))
    };
    let places = 0..old.members.len() as u16;
    let ready = places.clone().find(|&place| is_joiner(old, place) && is_ready(place))?;
    let waits: Vec<bool> = places.map(|place| place != ready && is_joiner(old, place)).collect();
    let arcs = ring::fall(&old.coming.as_ref()?.arcs, &waits);
    let mut view = View { arcs, epoch: old.next_epoch(), ..old.clone() };
    view.members[usize::from(ready)].state = MemberState::Active;
    view.sole_holders.retain(|sole_holder| sole_holder.place != ready);
    view.fresh.clear();
    view.replacements.clear();
    let why = format!("{} active before the others", view.members[usize::from(ready)].id);
    Some(Plan { view, why })
}
