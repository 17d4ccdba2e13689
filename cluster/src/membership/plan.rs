//! Which view comes next, where something is to be repaired: a pure function of what the manager knows.
//!
//! Repairs come before planned changes ([`change`]) and do not wait: a birth, where nobody serves yet; members
//! that are out are dropped. `None` where all is as it should be, or nothing can be done.
//!
//! [`change`]: super::change

use crate::ids::Incarnation;
use crate::membership::{Membership, Millis, Newcomer};
use crate::mutation::{Mutation, is_on};
use crate::ring::{self, Claim};
use crate::view::{Coming, Member, MemberState, Routes, View};

/// A view to be made, and why, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The next view.
    pub view: View,
    /// What changes, in a few words.
    pub why: String,
}

/// The repair to make now, if any. Call only while no view is being made.
pub fn repair(state: &Membership, now: Millis) -> Option<Plan> {
    birth(state, now).or_else(|| removal(state, now)).filter(|plan| nobody_skips(state, &plan.view))
}

/// Whether every member that stays has acknowledged the view before. One that came straight from an
/// older view to the next would no longer be synced anywhere (H1, RULES-WHY F5), and it may be the
/// last that holds something: a member that is out and stays (L2) is waited for.
pub(super) fn nobody_skips(state: &Membership, next: &View) -> bool {
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
/// only, so nothing of them is left that one could wait for, unless somebody is there who was a member
/// before and dropped: what it holds is not all, and it is the operator who says that nothing better will
/// come (H4).
fn birth(state: &Membership, now: Millis) -> Option<Plan> {
    let old = state.active().view();
    let has_survivor =
        old.members.iter().any(|m| state.nodes.get(&m.incarnation).is_some_and(|node| !node.gone));
    let returns = |who: &Newcomer| state.nodes[&who.incarnation].returns;
    let is_given_up = state.all_given_up == Some(old.epoch);
    if has_survivor || !is_given_up && state.waiting(now).any(returns) {
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
        coming: old
            .coming
            .as_ref()
            .map(|coming| Coming { arcs: ring::fall(&coming.arcs, &drop), ..coming.clone() }),
        fresh,
        ..old.clone()
    };
    renumber(&mut view, &drop);
    end_idle_change(state, &mut view);
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

/// Ends a change that those who died leave without sense: nobody is left who joins, and nothing else was to
/// change; or nobody whom the joiners could fetch from; or nobody to leave it all to. Whoever is left is active,
/// also where it was to own nothing yet.
///
/// Where a leaver has died the change goes on without it: the deal to come is that of those who stay, and one
/// of them may be the only one that holds what it has fetched for it.
fn end_idle_change(state: &Membership, view: &mut View) {
    let Some(coming) = view.coming.take() else { return };
    let old = state.active().view();
    if view.arcs.is_empty() {
        let arcs = match coming.arcs.is_empty() {
            true => ring::deal(&vec![None; old.arcs.len()], &claims(&view.members)),
            false => coming.arcs,
        };
        arrive(view, Coming { arcs, ..coming });
    } else if !coming.arcs.is_empty() && !is_idle(state, view, &coming) {
        view.coming = Some(coming);
        return;
    }
    for member in &mut view.members {
        member.state = MemberState::Active;
    }
}

/// Whether a change was about joiners alone, none of them is left, and what they were to take over is kept
/// by whoever holds it without the change as well. `view` is the next view, without the change.
fn is_idle(state: &Membership, view: &View, coming: &Coming) -> bool {
    let any = |v: &View, state| v.members.iter().any(|m| m.state == state);
    let old = state.active().view();
    let was_join = any(old, MemberState::Joining) && !any(old, MemberState::Leaving);
    if !was_join || any(view, MemberState::Joining) || coming.copies != view.copies {
        return false;
    }
    if view.members.iter().map(|m| m.weight).ne(coming.weights.iter().copied()) {
        return false;
    }
    let without = Routes::new(view.clone());
    let holds = |place: &u16, arc: usize| {
        let incarnation = without.member(*place).incarnation;
        old.place_at(incarnation).is_some_and(|place| is_synced(state, place, arc))
    };
    let is_held = |arc: usize| without.write_set(arc).iter().any(|place| holds(place, arc));
    let is_fresh = |arc: usize| view.fresh.contains(&(arc as u16));
    (0..without.arcs()).all(|arc| {
        let mut members = 0..view.members.len() as u16;
        is_fresh(arc) || is_held(arc) || !members.any(|place| holds(&place, arc))
    })
}

/// Puts what a change leads to in place of what was.
pub(super) fn arrive(view: &mut View, coming: Coming) {
    view.arcs = coming.arcs;
    view.copies = coming.copies;
    for (member, weight) in view.members.iter_mut().zip(coming.weights) {
        member.weight = weight;
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
pub(super) fn is_synced(state: &Membership, place: usize, arc: usize) -> bool {
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

/// Takes members out and lets the deals name the others by their new places.
pub(super) fn renumber(view: &mut View, drop: &[bool]) {
    let mut places = Vec::with_capacity(drop.len());
    let mut next = 0;
    for &dropped in drop {
        places.push(next);
        next += u16::from(!dropped);
    }
    let coming = view.coming.as_mut();
    let coming = coming.map_or(&mut [][..], |coming| &mut coming.arcs);
    for owner in view.arcs.iter_mut().chain(coming) {
        *owner = places[usize::from(*owner)];
    }
    let stays = |drop: &[bool]| drop.iter().map(|dropped| !dropped).collect::<Vec<_>>().into_iter();
    let mut keep = stays(drop);
    view.members.retain(|_| keep.next().unwrap_or(true));
    if let Some(coming) = &mut view.coming {
        let mut keep = stays(drop);
        coming.weights.retain(|_| keep.next().unwrap_or(true));
    }
}

/// What the members of a deal have a claim to.
pub(super) fn claims(members: &[Member]) -> Vec<Claim<'_>> {
    members.iter().map(|m| Claim { name: m.id.as_str(), weight: m.weight }).collect()
}

pub(super) fn member(who: &Newcomer, state: MemberState) -> Member {
    Member {
        id: who.id.clone(),
        incarnation: who.incarnation,
        address: who.address.clone(),
        weight: who.weight,
        state,
    }
}

pub(super) fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    members.map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// The arcs that nobody alive is synced in, and the members that hold them.
pub(super) fn losses(state: &Membership, now: Millis) -> (Vec<usize>, Vec<Incarnation>) {
    let members = &state.active().view().members;
    let out: Vec<bool> = members.iter().map(|m| state.is_out(m.incarnation, now)).collect();
    let lost = lost_arcs(state, &out);
    let holders = (0..members.len())
        .filter(|&place| out[place] && lost.iter().any(|&arc| is_synced(state, place, arc)))
        .map(|place| members[place].incarnation)
        .collect();
    (lost, holders)
}
