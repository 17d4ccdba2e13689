//! Unused views, under which nothing was acknowledged, and the dropped members that count because
//! of them (rule H6).
//!
//! If the nodes that hold an arc end within a few milliseconds of each other, the first is dropped
//! because of the report of another, which ends before it has adopted the view without the first.
//! That view becomes active, since no node is left to wait for. But nothing can ever be
//! acknowledged in the arc under it: every write needs all replicas of the arc, and one of them has
//! ended without having adopted the view. So all members that were synced in the arc under the view
//! before still hold everything, including those that were dropped: they come back into the next
//! view, as sole holders of such arcs alone. The same applies to several such views in a row.
//!
//! A member that is already a sole holder of other arcs becomes one of these as well. If no other
//! member is alive, a node that comes with the folder of a dropped member takes its place at once:
//! a view of dead members only would not help.
//!
//! The manager saves what this needs: the views before the active one, as long as some member has
//! not reported that it has adopted the active one; and, for members that have ended, the newest
//! view that they had reported. *Otherwise* a restarted manager does not know whether they had
//! adopted the newest view, and can conclude nothing.

use std::sync::Arc;

use crate::arcs::ArcSet;
use crate::durability::Durability;
use crate::ids::{Epoch, Incarnation};
use crate::limits::MAX_MEMBERS;
use crate::line::Line;
use crate::membership::lifecycle::NodeEvent;
use crate::membership::past_view::{MAX_UNUSED, PastView, left};
use crate::membership::recovery::Candidates;
use crate::membership::situation::Situation;
use crate::membership::{Membership, Newcomer, Node};
use crate::mutation::{Mutation, is_on};
use crate::view::Replacement;
use crate::view::{Member, MemberState, Routes, SoleHolder, View};

/// Whether a node is known not to have adopted a view.
fn has_not_adopted(node: &Node, view: Epoch) -> bool {
    node.adopted.is_some_and(|adopted| adopted < view)
}

/// The arcs in which nothing was acknowledged under the active view, nor ever will be: one of their
/// replicas has not adopted it and has ended; or the view is over, and so is every lease under it.
fn unused(at: &Situation<'_>, is_over: bool) -> ArcSet {
    let active = at.active();
    let mut arcs = ArcSet::with_capacity(active.arcs());
    for (place, member) in (0..).zip(&active.view().members) {
        let node = &at.nodes[&member.incarnation];
        let is_unused = has_not_adopted(node, active.epoch()) && (node.is_gone() || is_over);
        if is_unused || node.is_gone() && is_on(Mutation::UsedCounts) {
            arcs.union_with(active.arcs_of(place));
        }
    }
    arcs
}

/// Notes that another view is about to become the active one.
pub(super) fn note(state: &mut Membership, coming: &Routes) {
    let unused = unused(&state.situation(state.last_step), true);
    if unused.is_clear() {
        // Views before it no longer matter.
        state.past_views.clear();
    }
    let members = coming.view().members.iter();
    let mut adopted = members.map(|member| state.nodes[&member.incarnation].adopted);
    if adopted.all(|adopted| adopted >= Some(coming.epoch())) && !is_on(Mutation::UsedCounts) {
        state.past_views.clear();
        return;
    }
    if state.past_views.len() == MAX_UNUSED {
        state.past_views.remove(0);
    }
    let left = left(state.active().view(), coming.view())
        .filter_map(|incarnation| state.nodes.get(&incarnation).cloned())
        .collect();
    // Nothing reads its line, which the views after it contain.
    let view = View { line: Line::default(), ..state.active().view().clone() };
    state.past_views.push(PastView { routes: Arc::new(Routes::new(view)), unused, left });
}

/// A member of an earlier view that was dropped and holds what is lost.
pub(super) struct Holder<'m> {
    pub(super) node: &'m Node,
    /// Its place in the active view, where it is a sole holder for other arcs.
    pub(super) place: Option<usize>,
    /// As in a sole holder: a node that had adopted the view two before this one has missed
    /// nothing.
    since: Epoch,
    pub(super) arcs: Vec<u16>,
    /// The node that waits with its folder.
    replacement: Option<&'m Node>,
}

/// Dropped members that hold what is lost, except what begins afresh.
pub(super) fn holders<'m>(at: &Situation<'m>, lost: &[usize], fresh: &[u16]) -> Vec<Holder<'m>> {
    let mut found: Vec<Holder<'m>> = Vec::new();
    if at.accepts_loss || lost.is_empty() || at.past_views.is_empty() {
        return found;
    }
    let unused = unused(at, false);
    let active = at.active().view();
    let is_meant = |arc: &&usize| unused.contains(**arc) && !fresh.contains(&(**arc as u16));
    for &arc in lost.iter().filter(is_meant) {
        let used = at.past_views.iter().rposition(|earlier| !earlier.unused.contains(arc));
        let Some(used) = used else { continue };
        let routes = &at.past_views[used].routes;
        if arc >= routes.arcs() {
            continue;
        }
        // The second view after it, if the next one is made now.
        let after = at.past_views[used + 1..].iter().map(|earlier| earlier.routes.epoch());
        let since = after.chain([active.epoch, active.next_epoch()]).nth(1);
        let since = since.unwrap_or(active.next_epoch());
        for &place in routes.write_set(arc) {
            let Some((node, place)) = has_left(at, routes, place, arc) else { continue };
            let alike = found.iter_mut().find(|holder| is_alike(&holder.node.who, &node.who));
            match alike {
                Some(holder) if holder.node.who.incarnation == node.who.incarnation => {
                    holder.since = holder.since.max(since);
                    holder.arcs.push(arc as u16);
                }
                // No two members may have the same name or address.
                Some(_) => {}
                None => {
                    let replacement = replacement(at, node, routes.epoch());
                    found.push(Holder { node, place, since, arcs: vec![arc as u16], replacement });
                }
            }
        }
    }
    found.truncate(MAX_MEMBERS - active.members.len());
    found
}

/// Whether a dropped member may come back with what it held.
pub(super) fn may_return(at: &Situation<'_>) -> bool {
    let all: Vec<usize> = (0..at.active().arcs()).collect();
    !holders(at, &all, &[]).is_empty()
}

/// The names of the dropped members that must come back with what is lost.
pub(super) fn to_bring_back(at: &Situation<'_>, lost: &[usize]) -> Vec<String> {
    let holders = holders(at, lost, &[]);
    let away = holders.iter().filter(|holder| holder.replacement.is_none());
    away.map(|holder| holder.node.who.id.to_string()).collect()
}

fn is_alike(one: &Newcomer, other: &Newcomer) -> bool {
    one.id == other.id || one.address == other.address
}

/// What is known of a dropped member of an earlier view, if it held an arc there and may come back
/// with it; and its place in the active view, if it is still there for other arcs.
fn has_left<'m>(
    at: &Situation<'m>,
    routes: &Routes,
    place: u16,
    arc: usize,
) -> Option<(&'m Node, Option<usize>)> {
    let (view, member) = (at.active().view(), routes.member(place));
    let left = || at.past_views.iter().rev().flat_map(|earlier| &earlier.left);
    let node = left().find(|node| node.who.incarnation == member.incarnation)?;
    let place = view.place_at(member.incarnation);
    match place {
        // It must not lose what it already is a sole holder of: it must certainly have adopted that
        // view.
        Some(place) => {
            let sole_holder = view.sole_holder(place)?;
            let is_known = node.adopted >= Some(routes.epoch());
            let is_new = sole_holder.arcs.binary_search(&(arc as u16)).is_err();
            if !is_known || !is_new || !at.is_out(member.incarnation) {
                return None;
            }
        }
        None => {
            let is_other = |m: &Member| m.id == member.id || m.address == member.address;
            if view.members.iter().any(is_other) {
                return None;
            }
        }
    }
    let on_disk = member.on_disk && view.durability != Durability::None;
    let held = node.is_unreported() || node.report.synced.contains(arc);
    let gone = at.nodes.get(&member.incarnation).map_or(node.is_gone(), |node| node.is_gone());
    (held && !node.has_left() && (!gone || on_disk)).then_some((node, place))
}

/// The node that waits with the folder of a dropped member, if the folder records the view that
/// this member must have adopted.
fn replacement<'m>(at: &Situation<'m>, of: &Node, adopted: Epoch) -> Option<&'m Node> {
    if at.active().view().durability == Durability::None {
        return None;
    }
    let mut waiting = at.waiting().map(|who| &at.nodes[&who.incarnation]);
    waiting.find(|node| {
        node.claim.as_ref().is_some_and(|claim| {
            node.who.id == of.who.id
                && claim.of == of.who.incarnation
                && claim.is_whole
                && (adopted..=at.active().epoch()).contains(&claim.epoch)
                && node.has_reported()
        })
    })
}

impl Holder<'_> {
    /// Whether it is no member, and a node waits with its folder.
    pub(super) fn comes_alone(&self) -> bool {
        self.place.is_none() && !self.inherited().is_empty()
    }

    /// The part of what it held that its folder has.
    fn inherited(&self) -> Vec<u16> {
        let claim = self.replacement.and_then(|replacement| replacement.claim.as_ref());
        let has = |arc: &u16| claim.is_some_and(|claim| claim.synced.contains((*arc).into()));
        self.arcs.iter().copied().filter(has).collect()
    }
}

/// Gives members that are already sole holders in the active view more arcs than before. `view` has
/// the places of that one.
pub(super) fn grow(holders: &[Holder<'_>], view: &mut View) {
    for Holder { place, since, arcs, .. } in holders {
        let Some(place) = *place else { continue };
        let own = view
            .sole_holders
            .iter_mut()
            .find(|sole_holder| usize::from(sole_holder.place) == place);
        if let Some(sole_holder) = own {
            sole_holder.since = sole_holder.since.max(*since);
            sole_holder.arcs.extend(arcs);
            sole_holder.arcs.sort_unstable();
        }
    }
}

/// A node that takes the place of such a sole holder in the next view also has what the folder has
/// of these arcs.
pub(super) fn inherit(holders: &[Holder<'_>], replacements: &mut Candidates<'_>) {
    for holder in holders {
        let candidate = holder.place.and_then(|place| replacements.get_mut(&place));
        let comes = holder.replacement.map(|replacement| replacement.who.incarnation);
        if let Some(candidate) = candidate.filter(|c| Some(c.incarnation()) == comes) {
            candidate.arcs.extend(holder.inherited().into_iter().map(usize::from));
        }
    }
}

/// For when no other member is alive: a node that comes with the folder of a dropped member has
/// what the folder has, and the first of these nodes owns everything.
pub(super) fn move_in(holders: &[Holder<'_>], arcs: usize, view: &mut View) {
    for holder in holders.iter().filter(|holder| holder.comes_alone()) {
        let Some(replacement) = holder.replacement else { continue };
        let place = view.members.len() as u16;
        let (of, since, own) = (holder.node.who.incarnation, holder.since, holder.inherited());
        if view.arcs.is_empty() {
            view.arcs = vec![place; arcs];
        } else {
            view.sole_holders.push(SoleHolder { place, since, arcs: own.clone() });
        }
        view.replacements.push(Replacement { place, of, arcs: own });
        join(&replacement.who, view);
    }
}

/// Takes dropped members that have not come back yet into the next view, for what is lost alone.
pub(super) fn take_in(holders: &[Holder<'_>], view: &mut View) {
    for Holder { node, place, since, arcs, .. } in holders {
        if place.is_none() && view.place_of(&node.who.id).is_none() {
            let place = view.members.len() as u16;
            view.sole_holders.push(SoleHolder { place, since: *since, arcs: arcs.clone() });
            join(&node.who, view);
        }
    }
}

fn join(who: &Newcomer, view: &mut View) {
    view.members.push(who.member(MemberState::Active));
    if let Some(coming) = &mut view.coming {
        coming.weights.push(who.weight);
    }
}

/// Restores the records of nodes that have come back into a view. For members that are sole holders
/// of more than before, adds which of these arcs they hold.
pub(super) fn remember(state: &mut Membership, view: &View) {
    let Membership { past_views, nodes, active, .. } = state;
    let left = |incarnation: Incarnation| {
        let mut left = past_views.iter().rev().flat_map(|earlier| &earlier.left);
        left.find(|node| node.who.incarnation == incarnation)
    };
    for (place, member) in view.members.iter().enumerate() {
        let Some(before) = left(member.incarnation) else { continue };
        let claim =
            nodes.values().filter(|node| !node.is_gone()).filter_map(|node| node.claim.clone());
        let claim = { claim }.find(|claim| claim.of == member.incarnation);
        match nodes.get_mut(&member.incarnation) {
            None => {
                let mut node = before.clone();
                node.on(NodeEvent::ConnectionEnds, 0);
                nodes.insert(member.incarnation, node);
            }
            Some(node) => {
                // Its folder may have reported earlier the arcs of which it was a sole holder then.
                let has = |arc: &usize| match &claim {
                    Some(claim) => claim.synced.contains(*arc),
                    None => before.is_unreported() || before.report.synced.contains(*arc),
                };
                let old = active.view().place_at(member.incarnation);
                let old = old.and_then(|place| active.view().sole_holder(place));
                let (Some(old), Some(new)) = (old, view.sole_holder(place)) else { continue };
                let grown = new.arcs.iter().filter(|arc| !old.arcs.contains(arc));
                node.report.synced.extend(grown.map(|&arc| usize::from(arc)).filter(has));
            }
        }
    }
}
