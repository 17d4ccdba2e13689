//! Which members hold which arcs, as far as the manager knows: which arcs are lost, which members
//! have some of their data, and which members can be relied on (rules L2, H4 and H6).

use crate::ids::Incarnation;
use crate::membership::situation::Situation;
use crate::mutation::{Mutation, is_on};
use crate::view::{Member, Replacement, View};

/// The arcs in which no live member is synced, and the members that are out and hold them.
pub(super) fn losses(at: &Situation<'_>) -> (Vec<usize>, Vec<Incarnation>) {
    let members = &at.active().view().members;
    let out: Vec<bool> = members.iter().map(|m| at.is_out(m.incarnation)).collect();
    let lost = lost_arcs(at, &out);
    let holders = (0..members.len())
        .filter(|&place| out[place] && lost.iter().any(|&arc| holds_copy(at, place, arc)))
        .map(|place| members[place].incarnation)
        .collect();
    (lost, holders)
}

/// The arcs in which no live member is synced.
pub(super) fn lost_arcs(at: &Situation<'_>, out: &[bool]) -> Vec<usize> {
    let routes = at.active();
    (0..routes.arcs())
        .filter(|&arc| {
            !routes
                .write_set(arc)
                .iter()
                .map(|&place| usize::from(place))
                .any(|place| !out[place] && is_synced(at, place, arc))
        })
        .collect()
}

/// Whether a member is a replica of an arc and has reported that it is synced there, or may be
/// synced: a member that has not reported since the manager restarted gets the benefit of the
/// doubt.
pub(super) fn is_synced(at: &Situation<'_>, place: usize, arc: usize) -> bool {
    let routes = at.active();
    let node = &at.nodes[&routes.member(place as u16).incarnation];
    // A sole holder's report about other arcs than its own is out of date.
    routes.write_set(arc).contains(&(place as u16))
        && (node.is_unreported() || node.report.synced.contains(arc))
}

/// Whether a member is a replica of an arc and has reported that it has, on its disk, everything of
/// it or its own part of everything.
pub(super) fn holds_copy(at: &Situation<'_>, place: usize, arc: usize) -> bool {
    let routes = at.active();
    let node = &at.nodes[&routes.member(place as u16).incarnation];
    routes.write_set(arc).contains(&(place as u16))
        && (node.report.revived.contains(arc) || has_inherited(at, place, arc))
        || is_synced(at, place, arc)
}

/// Whether a member is a replica of an arc and may come back with what it has of it: its process
/// may still be running, or the data is on its disk.
pub(super) fn may_hold(at: &Situation<'_>, place: usize, arc: usize) -> bool {
    let routes = at.active();
    let member = &routes.view().members[place];
    let Some(node) = at.nodes.get(&member.incarnation) else { return false };
    routes.write_set(arc).contains(&(place as u16))
        && (!node.is_gone() || member.on_disk && holds_copy(at, place, arc))
}

/// Whether a member of the active view has become a replacement in an arc and has not yet adopted a
/// view that records it.
pub(super) fn has_inherited(at: &Situation<'_>, place: usize, arc: usize) -> bool {
    let view = at.active().view();
    let replacement =
        view.replacement(place).filter(|replacement| has_yet_to_adopt(at, view, replacement));
    replacement.is_some_and(|replacement| replacement.arcs.binary_search(&(arc as u16)).is_ok())
}

/// Whether a replacement has not yet reported that it has adopted the view that records it.
pub(super) fn has_yet_to_adopt(at: &Situation<'_>, view: &View, replacement: &Replacement) -> bool {
    let node = &at.nodes[&view.members[usize::from(replacement.place)].incarnation];
    node.report.epoch < view.epoch
}

/// Which members are not certain to be alive, or to have been alive after a member has ended. The
/// last holder of an arc must not be dropped while the only other holder may be about to end: if
/// two fell silent one after the other, the first would be dropped because of the second's report.
pub(super) fn doubted(at: &Situation<'_>, out: &[bool], victim: Option<&Member>) -> Vec<bool> {
    let is_doubted = |(m, out): (&Member, &bool)| {
        *out || is_doubtful(at, m.incarnation)
            || victim.is_some_and(|victim| !outlives(at, m, victim))
    };
    at.active().view().members.iter().zip(out).map(is_doubted).collect()
}

/// Whether a member has missed a heartbeat: it may have ended without this being known yet.
pub(super) fn is_doubtful(at: &Situation<'_>, incarnation: Incarnation) -> bool {
    let heard = at.nodes.get(&incarnation).map_or(0, |node| node.heard);
    at.now.saturating_sub(heard) > at.settings.heartbeat_ms * 3 / 2
}

/// Whether a member's process is known to have ended.
pub(super) fn is_gone(at: &Situation<'_>, member: &Member) -> bool {
    at.nodes.get(&member.incarnation).is_none_or(|node| node.is_gone())
}

/// Whether a member is known to have been alive after another has ended whose records are on disk.
/// If all end at the same moment, no member may be dropped because of the report of a member that
/// is about to be found dead: with `async` each disk may have something that the others lack (H6).
pub(super) fn outlives(at: &Situation<'_>, member: &Member, victim: &Member) -> bool {
    let (Some(node), Some(ended)) =
        (at.nodes.get(&member.incarnation), at.nodes.get(&victim.incarnation))
    else {
        return true;
    };
    is_on(Mutation::DeadTestify)
        || !victim.on_disk
        || !ended.is_gone()
        || !node.is_unreported() && node.step > ended.step
}
