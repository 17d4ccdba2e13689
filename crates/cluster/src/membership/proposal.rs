//! The next view while it is built, and what applies to every new view regardless of its purpose.

use crate::membership::holders;
use crate::membership::situation::Situation;
use crate::mutation::{Mutation, is_on};
use crate::ring::Participant;
use crate::view::{Coming, Member, Replacement, Routes, View};

/// A view to create, and the reason, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The next view.
    pub view: View,
    /// What changes, in a few words.
    pub why: String,
}

/// Whether every member that stays has acknowledged the view before. A member that skipped a view
/// would no longer be synced anywhere (H1, rationale F5), and it may be the last holder of
/// something: a member that is out and stays (L2) is waited for. Only a [`SoleHolder`] that is out
/// may skip views: it goes on holding what it holds.
pub(super) fn nobody_skips(at: &Situation<'_>, next: &View) -> bool {
    if is_on(Mutation::TwoPending) {
        return true;
    }
    let old = at.active().view();
    old.members.iter().filter_map(|m| Some((m.incarnation, next.place_at(m.incarnation)?))).all(
        |(incarnation, place)| {
            at.nodes[&incarnation].report.epoch >= old.epoch
                || next.sole_holder(place).is_some() && at.is_out(incarnation)
        },
    )
}

/// Removes members and updates the assignments to the new places of the others.
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
    view.sole_holders.retain(|sole_holder| !drop[usize::from(sole_holder.place)]);
    view.sole_holders
        .iter_mut()
        .for_each(|sole_holder| sole_holder.place = places[usize::from(sole_holder.place)]);
    view.replacements.retain(|replacement| !drop[usize::from(replacement.place)]);
    view.replacements
        .iter_mut()
        .for_each(|replacement| replacement.place = places[usize::from(replacement.place)]);
}

/// Puts the target of a change into effect.
pub(super) fn arrive(view: &mut View, coming: Coming) {
    view.arcs = coming.arcs;
    view.copies = coming.copies;
    (view.limits, view.min_copies) = (coming.limits, coming.min_copies);
    for (member, weight) in view.members.iter_mut().zip(coming.weights) {
        member.weight = weight;
    }
}

/// The members as participants in an assignment, each with its weight.
pub(super) fn participants(members: &[Member]) -> Vec<Participant<'_>> {
    members.iter().map(|m| Participant { name: m.id.as_str(), weight: m.weight }).collect()
}

/// The same for a view. Sole holders get no weight: they join again before they own anything.
pub(super) fn participants_but_sole_holders(view: &View) -> Vec<Participant<'_>> {
    let mut participants = participants(&view.members);
    view.sole_holders
        .iter()
        .for_each(|sole_holder| participants[usize::from(sole_holder.place)].weight = 0);
    participants
}

/// Carries over into a plan the inherited arcs of replacements that have not yet adopted the active
/// view.
pub(super) fn remembered(at: &Situation<'_>, mut plan: Plan) -> Plan {
    let old = at.active().view();
    if old.replacements.is_empty() {
        return plan;
    }
    let routes = Routes::new(plan.view.clone());
    for replacement in old
        .replacements
        .iter()
        .filter(|replacement| holders::has_yet_to_adopt(at, old, replacement))
    {
        let incarnation = old.members[usize::from(replacement.place)].incarnation;
        let Some(place) = plan.view.place_at(incarnation) else { continue };
        // Without the arcs of which it is no longer a replica.
        let mut arcs = replacement.arcs.clone();
        let kept = routes.arcs_of(place as u16);
        arcs.retain(|arc| kept.contains((*arc).into()) && !plan.view.fresh.contains(arc));
        if !arcs.is_empty() {
            plan.view.replacements.push(Replacement {
                place: place as u16,
                of: replacement.of,
                arcs,
            });
        }
    }
    plan.view.replacements.sort_by_key(|replacement| replacement.place);
    plan
}
