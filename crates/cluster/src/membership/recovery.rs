//! Who comes back from disk: nodes whose data folder has what nobody alive holds (rule H6).
//!
//! A node that starts with a folder waits outside as any newcomer, and says what the folder has ([`Claim`]). Where
//! an arc has no live replica that holds it, such a node takes the dead member's place in the next view, with its
//! state and its arcs: it is an [`Replacement`]. What that makes of it depends on the cluster's promise. With `sync` it
//! is synced: one disk suffices. With `async` it has its part, and gathers from all others in the write set what
//! their disks have; those who have not come back stay in the write set and are waited for, unless the operator
//! goes on without them.
//!
//! A cluster that starts again comes back in one view: replacements wait for each other for a while, so that the deal
//! stays what it was.
//!
//! A replacement may die before it has adopted the view that makes it one. Its folder then still tells of the one before,
//! so the view goes on naming that one until the replacement has adopted it.
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
    /// Which start of its process.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.who.incarnation
    }
}

/// By the places that they would take.
pub(super) type Candidates<'m> = BTreeMap<usize, Candidate<'m>>;

/// Those of the candidates who take dead members' places now: all, or nobody yet.
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

/// Those who could, whoever else is still to come.
pub(super) fn candidates<'m>(at: &Situation<'m>) -> Candidates<'m> {
    let active = at.active();
    let claimants = claimants(at);
    if claimants.is_empty() {
        return Candidates::new();
    }
    let members = &active.view().members;
    let out: Vec<bool> = members.iter().map(|m| at.is_out(m.incarnation)).collect();
    let lost: ArcSet = holders::lost_arcs(at, &out).into_iter().collect();
    // What was salvaged counts only if the operator goes on with it, and only where there is nothing better.
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
        // Of what is not lost as well: a view in which it did not keep that would make its claim to it void, and who
        // holds it now may be about to end.
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

/// No two members listen at one address, though one of them is dead: its place may be another's to take, or it may
/// come back at another address.
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

/// Whether a node has registered with a folder, and has yet to show that it is alive.
pub(super) fn may_come(at: &Situation<'_>) -> bool {
    let mut nodes = at.waiting().map(|who| &at.nodes[&who.incarnation]);
    nodes.any(|node| node.claim.is_some() && !node.has_reported())
}

/// Nodes that wait outside with a folder of the member at a place. They are alive, and later starts than that member
/// is: what an earlier one knows of the folder is of no use.
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

/// Whether somebody else who has a copy of what is lost may yet come back.
fn lacks_others(at: &Situation<'_>, candidates: &Candidates<'_>) -> bool {
    let (_, holders) = holders::losses(at);
    let view = at.active().view();
    let may_come = |i: &Incarnation| {
        let place = view.place_at(*i).filter(|place| !candidates.contains_key(place));
        place.is_some_and(|place| view.members[place].on_disk || !at.nodes[i].is_gone())
    };
    holders.iter().any(may_come)
}

/// The arcs that nobody alive holds, but for those that are being gathered and lack nobody; and the members who
/// have to come back for them. Whoever gathers waits for all who keep the arc, also for one of whom only nobody knows
/// that it has nothing.
pub(super) fn losses(at: &Situation<'_>) -> (Vec<usize>, Vec<Incarnation>) {
    let (mut lost, mut holders) = holders::losses(at);
    let routes = at.active();
    lost.retain(|&arc| {
        let keepers = || routes.write_set(arc).iter().map(|&place| usize::from(place));
        let is_out = |place: usize| at.is_out(routes.member(place as u16).incarnation);
        let has_part = |place: usize| !is_out(place) && holders::holds_copy(at, place, arc);
        let lacks: Vec<usize> =
            keepers().filter(|&place| is_out(place) && holders::may_hold(at, place, arc)).collect();
        let is_gathered = keepers().any(has_part);
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

/// The names of those who wait with what they could salvage of what is lost.
pub(super) fn salvaged(at: &Situation<'_>) -> Vec<String> {
    let lost: ArcSet = holders::losses(at).0.into_iter().collect();
    let counts = |place: usize, claim: &Claim| !counted(at, claim, place).is_disjoint(&lost);
    let salvaged = claimants(at)
        .into_iter()
        .filter(|(place, _, claim)| !claim.is_whole && counts(*place, claim));
    salvaged.map(|(_, node, _)| node.who.id.to_string()).collect()
}

/// Whether somebody who is there, or comes now, has a part of an arc that nobody holds.
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

/// Gives replacements the places of the dead. `view` has the places of the active one.
pub(super) fn move_in(replacements: &Candidates<'_>, view: &mut View) {
    for (&place, replacement) in replacements {
        let Member { state, weight, .. } = view.members[place];
        view.members[place] = Member { weight, ..replacement.who.member(state) };
        let arcs = replacement.arcs.ones().map(|arc| arc as u16).collect();
        view.replacements.push(Replacement { place: place as u16, of: replacement.of, arcs });
    }
}
