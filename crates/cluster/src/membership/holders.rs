//! Who holds what, as far as the manager knows: which arcs are lost, who has something of them, and who may be counted
//! on (rules L2, H4 and H6).

use crate::ids::Incarnation;
use crate::membership::Membership;
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::{Member, Replacement, View};

/// The arcs that nobody alive is synced in, and the members that hold them.
pub(super) fn losses(state: &Membership, now: Millis) -> (Vec<usize>, Vec<Incarnation>) {
    let members = &state.active().view().members;
    let out: Vec<bool> = members.iter().map(|m| state.is_out(m.incarnation, now)).collect();
    let lost = lost_arcs(state, &out);
    let holders = (0..members.len())
        .filter(|&place| out[place] && lost.iter().any(|&arc| holds_copy(state, place, arc)))
        .map(|place| members[place].incarnation)
        .collect();
    (lost, holders)
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

/// Whether a member keeps an arc and said that it is synced there, or may be: one that has not been heard of
/// since the manager restarted gets the benefit of the doubt.
pub(super) fn is_synced(state: &Membership, place: usize, arc: usize) -> bool {
    let routes = state.active();
    let node = &state.nodes[&routes.member(place as u16).incarnation];
    // What a sole holder said of other arcs than its own is an old word.
    routes.write_set(arc).contains(&(place as u16))
        && (node.is_unheard || node.report.synced.contains(arc))
}

/// Whether a member keeps an arc and said that it has everything of it, or its part of everything: on its disk.
pub(super) fn holds_copy(state: &Membership, place: usize, arc: usize) -> bool {
    let routes = state.active();
    let node = &state.nodes[&routes.member(place as u16).incarnation];
    routes.write_set(arc).contains(&(place as u16))
        && (node.report.revived.contains(arc) || has_inherited(state, place, arc))
        || is_synced(state, place, arc)
}

/// Whether a member keeps an arc and may come back with what it has of it: its process may still be there, or it
/// is on its disk.
pub(super) fn may_hold(state: &Membership, place: usize, arc: usize) -> bool {
    let routes = state.active();
    let member = &routes.view().members[place];
    let Some(node) = state.nodes.get(&member.incarnation) else { return false };
    routes.write_set(arc).contains(&(place as u16))
        && (!node.gone || member.on_disk && holds_copy(state, place, arc))
}

/// Whether a member of the active view has become a replacement in an arc, and has not adopted a view that says so.
pub(super) fn has_inherited(state: &Membership, place: usize, arc: usize) -> bool {
    let view = state.active().view();
    let replacement =
        view.replacement(place).filter(|replacement| has_yet_to_adopt(state, view, replacement));
    replacement.is_some_and(|replacement| replacement.arcs.binary_search(&(arc as u16)).is_ok())
}

/// Whether a replacement has not told yet that it has adopted the view that says so.
pub(super) fn has_yet_to_adopt(state: &Membership, view: &View, replacement: &Replacement) -> bool {
    let node = &state.nodes[&view.members[usize::from(replacement.place)].incarnation];
    node.report.epoch < view.epoch
}

/// Who is not certain to be there, or to have been there after a member has ended. The last to hold an arc must not go
/// while the only other holder may be about to: of two who fell silent one after the other, the first would be dropped
/// on the word of the second.
pub(super) fn doubted(
    state: &Membership,
    now: Millis,
    out: &[bool],
    victim: Option<&Member>,
) -> Vec<bool> {
    let is_doubted = |(m, out): (&Member, &bool)| {
        *out || is_doubtful(state, m.incarnation, now)
            || victim.is_some_and(|victim| !outlives(state, m, victim))
    };
    state.active().view().members.iter().zip(out).map(is_doubted).collect()
}

/// Whether a member has let a heartbeat go by: it may be gone, and nobody knows yet.
pub(super) fn is_doubtful(state: &Membership, incarnation: Incarnation, now: Millis) -> bool {
    let heard = state.nodes.get(&incarnation).map_or(0, |node| node.heard);
    now.saturating_sub(heard) > state.settings.heartbeat_ms * 3 / 2
}

/// Whether a member's process is known to have ended.
pub(super) fn is_gone(state: &Membership, member: &Member) -> bool {
    state.nodes.get(&member.incarnation).is_none_or(|node| node.gone)
}

/// Whether a member is known to have been there after another has ended, whose records are on a disk. Where all end
/// at the same moment nobody is to be dropped on the word of somebody who is about to be found dead: with `async` each
/// disk may have something that the others have not (H6).
pub(super) fn outlives(state: &Membership, member: &Member, victim: &Member) -> bool {
    let (Some(node), Some(ended)) =
        (state.nodes.get(&member.incarnation), state.nodes.get(&victim.incarnation))
    else {
        return true;
    };
    is_on(Mutation::DeadTestify)
        || !victim.on_disk
        || !ended.gone
        || !node.is_unheard && node.step > ended.step
}
