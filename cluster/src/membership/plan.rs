//! Which view comes next: a pure function of what the manager knows.
//!
//! Repairs come first: a birth, where nobody serves yet; members that are out are dropped. Then planned
//! changes, which can wait (L4): a change that everyone has finished is switched; newcomers begin to
//! join. `None` where all is as it should be, or nothing can be done.

use crate::ids::Incarnation;
use crate::membership::{Membership, Millis, Newcomer};
use crate::mutation::{Mutation, is_on};
use crate::ring::{self, Claim};
use crate::view::{Member, MemberState, View};

/// A view to be made, and why, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The next view.
    pub view: View,
    /// What changes, in a few words.
    pub why: String,
}

/// What can wait until every member has shown that it is there (L4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Joiners become active, leavers go.
    Switch,
    /// Those who wait begin to join.
    Join,
}

/// The repair to make now, if any. Call only while no view is being made.
pub fn repair(state: &Membership, now: Millis) -> Option<Plan> {
    birth(state, now).or_else(|| removal(state, now)).filter(|plan| nobody_skips(state, &plan.view))
}

/// The change that is due now, if any. Call only while there is nothing to repair.
pub fn change(state: &Membership, now: Millis) -> Option<Change> {
    match state.active().view().is_changing() {
        true if may_switch(state, now) => Some(Change::Switch),
        true if is_on(Mutation::PromoteSubset) => {
            switch_one(state, now).is_some().then_some(Change::Switch)
        }
        true => None,
        false => may_join(state, now).then_some(Change::Join),
    }
}

/// The view that makes a change that is due.
pub fn planned(state: &Membership, now: Millis, change: Change) -> Option<Plan> {
    let plan = match change {
        Change::Switch if may_switch(state, now) => switch(state),
        Change::Switch => switch_one(state, now),
        Change::Join => Some(join(state, now)),
    };
    plan.filter(|plan| nobody_skips(state, &plan.view))
}

/// Whether every member that stays has acknowledged the view before. One that came straight from an
/// older view to the next would no longer be synced anywhere (H1, RULES-WHY F5), and it may be the
/// last that holds something: a member that is out and stays (L2) is waited for.
fn nobody_skips(state: &Membership, next: &View) -> bool {
    if is_on(Mutation::TwoPending) {
        return true;
    }
    let old = state.active().view();
    old.members
        .iter()
        .filter(|m| next.members.iter().any(|n| n.incarnation == m.incarnation))
        .all(|m| state.nodes[&m.incarnation].report.epoch >= old.epoch)
}

/// The first view; also the first after every member's process has ended. Records live in memory
/// only, so nothing of them is left that one could wait for.
fn birth(state: &Membership, now: Millis) -> Option<Plan> {
    let old = state.active().view();
    let has_survivor =
        old.members.iter().any(|m| state.nodes.get(&m.incarnation).is_some_and(|node| !node.gone));
    if has_survivor {
        return None;
    }
    let newcomers: Vec<&Newcomer> = state.waiting(now).collect();
    let members: Vec<Member> =
        newcomers.iter().map(|who| member(who, MemberState::Active)).collect();
    let arcs = if old.arcs.is_empty() { state.settings.arcs } else { old.arcs.len() };
    let dealt = ring::deal(&vec![None; arcs], &claims(&members));
    let why = match old.members.len() {
        0 => format!("born with {}", names(members.iter())),
        _ => format!("no member is left, begins empty with {}", names(members.iter())),
    };
    let view = View {
        epoch: old.epoch.next(),
        members,
        fresh: (0..dealt.len() as u16).collect(),
        arcs: dealt,
        coming: None,
        copies: state.settings.copies,
        limits: state.settings.limits,
        ..old.clone()
    };
    (!view.arcs.is_empty()).then_some(Plan { view, why })
}

/// Drops members that are out, except those that hold something nobody else does (L2).
///
/// Their arcs fall clockwise in both deals, so that whoever is in an arc's write set stays in it, and
/// nothing that a joiner has fetched is fetched again.
fn removal(state: &Membership, now: Millis) -> Option<Plan> {
    let old = state.active().view();
    let out: Vec<bool> = old.members.iter().map(|m| state.is_out(m.incarnation, now)).collect();
    if !out.contains(&true) && !state.accept_loss {
        return None;
    }
    let lost = lost_arcs(state, &out);
    // The last to hold an arc must not go while the only other holder may be about to: of two who fell
    // silent one after the other, the first would be dropped on the word of the second.
    let doubted: Vec<bool> = old
        .members
        .iter()
        .zip(&out)
        .map(|(m, out)| *out || is_doubtful(state, m.incarnation, now))
        .collect();
    let endangered = lost_arcs(state, &doubted);
    // Whoever may hold such an arc: its word that it does may have been lost with its connection.
    let needed = |place: usize| {
        lost.iter().any(|&arc| is_synced(state, place, arc))
            || endangered.iter().any(|&arc| may_hold(state, place, arc))
    };
    let drop: Vec<bool> = (0..old.members.len())
        .map(|place| out[place] && (state.accept_loss || !needed(place)))
        .collect();
    let fresh: Vec<u16> = lost
        .iter()
        .filter(|&&arc| state.accept_loss || has_never_begun(state, arc))
        .map(|&arc| arc as u16)
        .collect();
    if !drop.contains(&true) && fresh.is_empty() {
        return None;
    }
    let dropped = names((0..drop.len()).filter(|&i| drop[i]).map(|i| &old.members[i]));
    let mut view = View {
        epoch: old.epoch.next(),
        arcs: ring::fall(&old.arcs, &drop),
        coming: old.coming.as_ref().map(|coming| ring::fall(coming, &drop)),
        fresh,
        ..old.clone()
    };
    renumber(&mut view, &drop);
    end_idle_change(&mut view);
    let why = match (dropped.as_str(), view.fresh.len()) {
        (dropped, 0) => format!("{dropped} out"),
        ("", fresh) => format!("{fresh} arcs begin afresh"),
        (dropped, fresh) => format!("{dropped} out, {fresh} arcs begin afresh"),
    };
    (!view.arcs.is_empty()).then_some(Plan { view, why })
}

/// Whether a member has let a heartbeat go by: it may be gone, and nobody knows yet.
fn is_doubtful(state: &Membership, incarnation: Incarnation, now: Millis) -> bool {
    let heard = state.nodes.get(&incarnation).map_or(0, |node| node.heard);
    now.saturating_sub(heard) > state.settings.heartbeat_ms * 3 / 2
}

/// Whether an arc began with the active view, and each of its keepers died before it had acknowledged
/// that view: then nothing was ever written there, and the arc can begin with the next as well.
fn has_never_begun(state: &Membership, arc: usize) -> bool {
    let routes = state.active();
    let mut keepers = routes.write_set(arc).iter().map(|&place| usize::from(place));
    routes.view().fresh.contains(&(arc as u16))
        && !keepers.any(|place| is_synced(state, place, arc))
}

/// Ends a change that those who died leave without sense: nobody is left who joins or leaves, or
/// nobody whom the joiners could fetch from, or nobody to leave it all to. Whoever is left is active.
fn end_idle_change(view: &mut View) {
    let is_idle = view.members.iter().all(|m| m.state == MemberState::Active);
    match view.coming.take() {
        Some(coming) if view.arcs.is_empty() => view.arcs = coming,
        Some(coming) if !is_idle && !coming.is_empty() => {
            view.coming = Some(coming);
            return;
        }
        _ => {}
    }
    for member in &mut view.members {
        member.state = MemberState::Active;
    }
}

/// The arcs that no live member is synced in.
pub(super) fn lost_arcs(state: &Membership, out: &[bool]) -> Vec<usize> {
    let routes = state.active();
    (0..routes.arcs())
        .filter(|&arc| {
            !routes
                .write_set(arc)
                .iter()
                .map(|&place| usize::from(place))
                .any(|place| !out[place] && is_synced(state, place, arc))
        })
        .collect()
}

/// Whether a member said that it is synced in an arc, or may be: one that has not been heard of since
/// the manager restarted gets the benefit of the doubt.
fn is_synced(state: &Membership, place: usize, arc: usize) -> bool {
    let member = &state.active().view().members[place];
    let node = &state.nodes[&member.incarnation];
    node.is_unheard || node.report.synced.contains(arc)
}

/// Whether a member keeps an arc and its process may still be there.
fn may_hold(state: &Membership, place: usize, arc: usize) -> bool {
    let routes = state.active();
    let incarnation = routes.view().members[place].incarnation;
    routes.write_set(arc).contains(&(place as u16))
        && state.nodes.get(&incarnation).is_some_and(|node| !node.gone)
}

/// Whether a member has said that it holds an arc under the active view, and is there.
fn holds(state: &Membership, now: Millis, place: u16, arc: usize) -> bool {
    let routes = state.active();
    let incarnation = routes.member(place).incarnation;
    let report = &state.nodes[&incarnation].report;
    !state.is_out(incarnation, now) && report.epoch == routes.epoch() && report.synced.contains(arc)
}

/// Whether every node of the target holds all that it is to keep (H2).
fn may_switch(state: &Membership, now: Millis) -> bool {
    let routes = state.active();
    // What a planted bug leaves out of account.
    let old = routes.view();
    let counts = |place: &&u16| !is_on(Mutation::PromoteLoose) || is_joiner(old, **place);
    let mut arcs = 0..routes.arcs();
    arcs.all(|arc| {
        routes.target(arc).iter().filter(counts).all(|&place| holds(state, now, place, arc))
    })
}

/// Turns joiners into active members and lets leavers go.
fn switch(state: &Membership) -> Option<Plan> {
    let old = state.active().view();
    let coming = old.coming.as_ref()?;
    let joined = names(old.members.iter().filter(|m| m.state == MemberState::Joining));
    let leaving: Vec<bool> = old.members.iter().map(|m| m.state == MemberState::Leaving).collect();
    let left = names(old.members.iter().filter(|m| m.state == MemberState::Leaving));
    let mut view = View { arcs: coming.clone(), coming: None, ..old.clone() };
    renumber(&mut view, &leaving);
    for member in &mut view.members {
        member.state = MemberState::Active;
    }
    view.epoch = old.epoch.next();
    view.fresh.clear();
    let why = match (joined.as_str(), left.as_str()) {
        (joined, "") => format!("{joined} active"),
        ("", left) => format!("{left} left"),
        (joined, left) => format!("{joined} active, {left} left"),
    };
    Some(Plan { view, why })
}

/// Whether somebody waits and all members are there: a join needs sources.
fn may_join(state: &Membership, now: Millis) -> bool {
    let all_here = state.active().view().members.iter().all(|m| !state.is_out(m.incarnation, now));
    all_here && state.waiting(now).next().is_some()
}

fn is_joiner(view: &View, place: u16) -> bool {
    view.members[usize::from(place)].state == MemberState::Joining
}

/// The mistake of [`Mutation::PromoteSubset`]: makes one joiner active while others have yet to fetch.
fn switch_one(state: &Membership, now: Millis) -> Option<Plan> {
    let routes = state.active();
    let old = routes.view();
    let is_ready = |place: u16| {
        let mut arcs = (0..routes.arcs()).filter(|&arc| routes.target(arc).contains(&place));
        arcs.all(|arc| holds(state, now, place, arc))
    };
    let places = 0..old.members.len() as u16;
    let ready = places.clone().find(|&place| is_joiner(old, place) && is_ready(place))?;
    let waits: Vec<bool> = places.map(|place| place != ready && is_joiner(old, place)).collect();
    let arcs = ring::fall(old.coming.as_ref()?, &waits);
    let mut view = View { arcs, epoch: old.epoch.next(), ..old.clone() };
    view.members[usize::from(ready)].state = MemberState::Active;
    view.fresh.clear();
    let why = format!("{} active before the others", view.members[usize::from(ready)].id);
    Some(Plan { view, why })
}

/// Takes in everyone who waits, as joiners.
fn join(state: &Membership, now: Millis) -> Plan {
    let old = state.active().view();
    let mut view = old.clone();
    view.members.extend(state.waiting(now).map(|who| member(who, MemberState::Joining)));
    view.coming = Some(deal_for_target(&view));
    view.epoch = old.epoch.next();
    view.fresh.clear();
    let joining = names(view.members[old.members.len()..].iter());
    Plan { view, why: format!("{joining} joining") }
}

/// The deal to come: the present one, changed as little as an even deal over those who stay allows.
fn deal_for_target(view: &View) -> Vec<u16> {
    let leaves = |place: u16| view.members[usize::from(place)].state == MemberState::Leaving;
    let owners: Vec<Option<u16>> =
        view.arcs.iter().map(|&owner| (!leaves(owner)).then_some(owner)).collect();
    ring::deal(&owners, &claims(&view.members))
}

fn claims(members: &[Member]) -> Vec<Claim<'_>> {
    members
        .iter()
        .map(|m| Claim {
            name: m.id.as_str(),
            weight: if m.state == MemberState::Leaving { 0 } else { m.weight },
        })
        .collect()
}

/// Takes members out and lets the deals name the others by their new places.
fn renumber(view: &mut View, drop: &[bool]) {
    let mut places = Vec::with_capacity(drop.len());
    let mut next = 0;
    for &dropped in drop {
        places.push(next);
        next += u16::from(!dropped);
    }
    for owner in view.arcs.iter_mut().chain(view.coming.iter_mut().flatten()) {
        *owner = places[usize::from(*owner)];
    }
    let mut keep = drop.iter().map(|dropped| !dropped);
    view.members.retain(|_| keep.next().unwrap_or(true));
}

fn member(who: &Newcomer, state: MemberState) -> Member {
    Member {
        id: who.id.clone(),
        incarnation: who.incarnation,
        address: who.address.clone(),
        weight: who.weight,
        state,
    }
}

fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    members.map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// The arcs that nobody alive is synced in, and the members that hold them.
pub(super) fn losses(state: &Membership, now: Millis) -> (usize, Vec<Incarnation>) {
    let members = &state.active().view().members;
    let out: Vec<bool> = members.iter().map(|m| state.is_out(m.incarnation, now)).collect();
    let lost = lost_arcs(state, &out);
    let holders = (0..members.len())
        .filter(|&place| out[place] && lost.iter().any(|&arc| is_synced(state, place, arc)))
        .map(|place| members[place].incarnation)
        .collect();
    (lost.len(), holders)
}
