//! Recovery from disk: nodes whose data folder has what no live node holds (rule H6).
//!
//! A node that starts with a folder waits outside the view like any new node and reports what the
//! folder contains ([`Claim`]). If an arc has no live replica that holds it, such a node takes the
//! dead member's place in the next view, with that member's state and arcs: it is a
//! [`Replacement`]. What it holds then depends on the cluster's durability. With `sync` it is
//! synced: one disk suffices. With `async` it has its own part, and gathers from all others in the
//! write set what their disks have. Members that have not come back stay in the write set and are
//! waited for, unless the operator goes on without them.
//!
//! A cluster that restarts comes back in one view: replacements wait for each other for a while, so
//! that the assignment stays what it was.
//!
//! A replacement may die before it has adopted the view that makes it one. Its folder then still
//! names the member before it, so the view goes on naming that member until the replacement has
//! adopted the view.
//!
//! [`Claim`]: crate::claim::Claim

use std::collections::BTreeMap;

use crate::arcs::ArcSet;
use crate::claim::Claim;
use crate::durability::Durability;
use crate::ids::Incarnation;
use crate::membership::holders;
use crate::membership::situation::Situation;
use crate::membership::{Newcomer, Node};
use crate::time::Millis;
use crate::view::Replacement;
use crate::view::{Member, Routes, View};

/// A node that can take a dead member's place.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'m> {
    who: &'m Newcomer,
    of: Incarnation,
    /// The arcs in which its claim counts. Some of them are lost.
    pub(super) arcs: ArcSet,
    since: Millis,
}

impl Candidate<'_> {
    /// The incarnation of the node.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.who.incarnation
    }
}

/// Candidates by the places that they would take.
pub(super) type Candidates<'m> = BTreeMap<usize, Candidate<'m>>;

/// The candidates that take dead members' places now: all of them, or none yet.
pub(super) fn due<'m>(at: &Situation<'_>, candidates: &Candidates<'m>) -> Candidates<'m> {
    let Some(first) = candidates.values().map(|candidate| candidate.since).min() else {
        return Candidates::new();
    };
    let is_over = at.now.saturating_sub(first) >= at.settings.return_ms;
    let goes_on = at.accepts_loss || at.all_given_up == Some(at.active().epoch());
    if goes_on || is_over || !lacks_others(at, candidates) {
        candidates.clone()
    } else {
        Candidates::new()
    }
}

/// All nodes that could take a dead member's place, even if others are still to come.
pub(super) fn candidates<'m>(at: &Situation<'m>) -> Candidates<'m> {
    let active = at.active();
    let claimants = claimants(at);
    if claimants.is_empty() {
        return Candidates::new();
    }
    let members = &active.view().members;
    let out: Vec<bool> = members.iter().map(|m| at.is_out(m.incarnation)).collect();
    let lost: ArcSet = holders::lost_arcs(at, &out).into_iter().collect();
    // Salvaged data counts only if the operator accepts the loss, and only where nothing better
    // exists.
    let mut better = ArcSet::with_capacity(active.arcs());
    for (place, _, claim) in claimants.iter().filter(|(_, _, claim)| claim.is_whole) {
        better.union_with(&counted(at, claim, *place));
    }
    let is_there = |place: &u16| !out[usize::from(*place)];
    for arc in lost.ones() {
        let mut there = active.write_set(arc).iter().filter(|place| is_there(place));
        if there.any(|&place| holders::holds_copy(at, place.into(), arc)) {
            better.insert(arc);
        }
    }
    let mut candidates = Candidates::new();
    for (place, node, claim) in claimants.into_iter().filter(|(place, ..)| out[*place]) {
        // Arcs that are not lost count as well: a view in which the node was not a replica of such
        // an arc would void its claim to it, and the present holder may be about to end.
        let mut arcs = counted(at, claim, place);
        if !claim.is_whole {
            arcs.intersect_with(&lost);
            arcs.difference_with(&better);
        }
        if !arcs.is_disjoint(&lost) && (claim.is_whole || at.accepts_loss) {
            let (who, of, since) = (&node.who, claim.of, node.since);
            candidates.insert(place, Candidate { who, of, arcs, since });
        }
    }
    without_clashes(members, candidates)
}

/// Removes candidates whose address another member has. No two members may have the same address,
/// even if one of them is dead: its place may be taken by another node, or it may come back at
/// another address.
fn without_clashes<'m>(members: &[Member], mut candidates: Candidates<'m>) -> Candidates<'m> {
    loop {
        let clashes = |who: &Newcomer| {
            let mut others = members.iter().enumerate();
            others.any(|(place, m)| !candidates.contains_key(&place) && m.address == who.address)
        };
        let clash = candidates.iter().find(|(_, candidate)| clashes(candidate.who));
        let Some(place) = clash.map(|(place, _)| *place) else { return candidates };
        candidates.remove(&place);
    }
}

/// The arcs in which a claim counts for the member at a place.
pub(super) fn counted(at: &Situation<'_>, claim: &Claim, place: usize) -> ArcSet {
    counted_in(at, at.active(), claim, place)
}

/// The same in another view.
pub(super) fn counted_in(
    at: &Situation<'_>,
    routes: &Routes,
    claim: &Claim,
    place: usize,
) -> ArcSet {
    let replacement = routes.view().replacement(place);
    let is_new = replacement
        .is_some_and(|replacement| holders::has_yet_to_adopt(at, routes.view(), replacement));
    claim.counts(routes, place as u16, is_new)
}

/// Whether a node has registered with a folder and has yet to show that it is alive.
pub(super) fn may_come(at: &Situation<'_>) -> bool {
    let mut nodes = at.waiting().map(|who| &at.nodes[&who.incarnation]);
    nodes.any(|node| node.claim.is_some() && !node.has_reported())
}

/// Nodes that wait outside the view with a folder of the member at a place. They are alive and
/// started later than that member: what an earlier start knows of the folder does not count.
fn claimants<'m>(at: &Situation<'m>) -> Vec<(usize, &'m Node, &'m Claim)> {
    let active = at.active();
    let has_claim = |node: &Node| node.claim.is_some() && !node.is_gone();
    if active.view().durability == Durability::None || !at.nodes.values().any(has_claim) {
        return Vec::new();
    }
    let claimant = |who: &Newcomer| {
        let node = &at.nodes[&who.incarnation];
        let place = active.view().place_of(&who.id)?;
        let is_later = node.met > at.nodes[&active.member(place as u16).incarnation].met;
        (is_later && node.has_reported()).then_some((place, node, node.claim.as_ref()?))
    };
    at.waiting().filter_map(claimant).collect()
}

/// Whether another member with a copy of a lost arc may still come back.
fn lacks_others(at: &Situation<'_>, candidates: &Candidates<'_>) -> bool {
    let (_, holders) = holders::losses(at);
    let view = at.active().view();
    let may_come = |i: &Incarnation| {
        let place = view.place_at(*i).filter(|place| !candidates.contains_key(place));
        place.is_some_and(|place| view.members[place].on_disk || !at.nodes[i].is_gone())
    };
    holders.iter().any(may_come)
}

/// The arcs that no live member holds, except those that are being gathered from a complete write
/// set; and the members that must come back for them. A gathering node waits for all replicas of
/// the arc, even for one that has nothing as long as this is not known.
pub(super) fn losses(at: &Situation<'_>) -> (Vec<usize>, Vec<Incarnation>) {
    let (mut lost, mut holders) = holders::losses(at);
    let routes = at.active();
    lost.retain(|&arc| {
        let replicas = || routes.write_set(arc).iter().map(|&place| usize::from(place));
        let is_out = |place: usize| at.is_out(routes.member(place as u16).incarnation);
        let has_part = |place: usize| !is_out(place) && holders::holds_copy(at, place, arc);
        let lacks: Vec<usize> = replicas()
            .filter(|&place| is_out(place) && holders::may_hold(at, place, arc))
            .collect();
        let is_gathered = replicas().any(has_part);
        if is_gathered {
            holders.extend(lacks.iter().map(|&place| routes.member(place as u16).incarnation));
        }
        !is_gathered || !lacks.is_empty()
    });
    holders.sort();
    holders.dedup();
    let candidates = candidates(at);
    let has_come = |i: &Incarnation| {
        routes.view().place_at(*i).is_some_and(|place| candidates.contains_key(&place))
    };
    holders.retain(|holder| !has_come(holder));
    (lost, holders)
}

/// The names of the waiting nodes that could salvage part of what is lost.
pub(super) fn salvaged(at: &Situation<'_>) -> Vec<String> {
    let lost: ArcSet = holders::losses(at).0.into_iter().collect();
    let counts = |place: usize, claim: &Claim| !counted(at, claim, place).is_disjoint(&lost);
    let salvaged = claimants(at)
        .into_iter()
        .filter(|(place, _, claim)| !claim.is_whole && counts(*place, claim));
    salvaged.map(|(_, node, _)| node.who.id.to_string()).collect()
}

/// Whether a live member, or a node that comes now, has a part of an arc that no member holds in
/// full.
pub(super) fn is_revived(
    at: &Situation<'_>,
    out: &[bool],
    replacements: &Candidates<'_>,
    arc: usize,
) -> bool {
    let has_part = |place: usize| match replacements.get(&place) {
        Some(replacement) => replacement.arcs.contains(arc),
        None => !out[place] && holders::holds_copy(at, place, arc),
    };
    (0..out.len()).any(has_part)
}

/// Gives replacements the places of dead members. `view` has the places of the active one.
pub(super) fn move_in(replacements: &Candidates<'_>, view: &mut View) {
    for (&place, replacement) in replacements {
        let Member { state, weight, .. } = view.members[place];
        view.members[place] = Member { weight, ..replacement.who.member(state) };
        let arcs = replacement.arcs.ones().map(|arc| arc as u16).collect();
        view.replacements.push(Replacement { place: place as u16, of: replacement.of, arcs });
    }
}
