//! The next view when something needs repair: a pure function of what the manager knows.
//!
//! Repairs come before planned changes ([`change`]) and do not wait for anything. They are the
//! removal of members that are out, the first view while no node serves yet, and the leap to unused
//! view numbers ([`older`]). The result is `None` if nothing needs repair or nothing can be done.
//!
//! [`change`]: super::change

use crate::durability::Durability;
use crate::membership::node::names;
use crate::membership::proposal::{
    self, Plan, arrive, nobody_skips, participants, participants_but_sole_holders, renumber,
};
use crate::membership::recovery::{self, Candidates};
use crate::membership::situation::Situation;
use crate::membership::{Newcomer, holders, older, unused};
use crate::ring;
use crate::text::count;
use crate::view::{Coming, Member, MemberState, Routes, SoleHolder, View};

/// The repair to make now, if any. Call this only while no other view is pending.
pub fn due(at: &Situation<'_>) -> Option<Plan> {
    removal(at)
        .or_else(|| birth(at))
        .or_else(|| older::leap(at.active().view()))
        .map(|plan| proposal::remembered(at, plan))
        .filter(|plan| nobody_skips(at, &plan.view) && plan.view.check().is_ok())
}

/// The first view. Also the first one after every member's process has ended, if their records were
/// only in memory: then there is nothing left to wait for, unless a waiting node was a member
/// before and was dropped. What such a node holds is incomplete, and only the operator can decide
/// that nothing better will come (H4).
fn birth(at: &Situation<'_>) -> Option<Plan> {
    let old = at.active().view();
    let has_survivor = old.members.iter().any(|m| !holders::is_gone(at, m));
    let may_return = old.members.iter().any(|m| m.on_disk);
    let returns = |who: &Newcomer| at.nodes[&who.incarnation].returns;
    let is_given_up = at.all_given_up == Some(old.epoch);
    let may_return = may_return || unused::may_return(at);
    if has_survivor || !is_given_up && (may_return || at.waiting().any(returns)) {
        return None;
    }
    if !recovery::candidates(at).is_empty() {
        // These nodes hold some of the data, if not all of it.
        return None;
    }
    let newcomers: Vec<&Newcomer> = at.waiting().collect();
    let members: Vec<Member> =
        newcomers.iter().map(|who| who.member(MemberState::Active)).collect();
    let arcs = if old.arcs.is_empty() { at.settings.arcs } else { old.arcs.len() };
    let assignment = ring::assign(&vec![None; arcs], &participants(&members));
    let why = match old.members.len() {
        0 => format!("born with {}", names(members.iter())),
        _ => format!("no member is left, begins empty with {}", names(members.iter())),
    };
    let view = View {
        epoch: old.next_epoch(),
        members,
        fresh: (0..assignment.len() as u16).collect(),
        sole_holders: Vec::new(),
        replacements: Vec::new(),
        arcs: assignment,
        coming: None,
        ..old.clone()
    };
    (!view.arcs.is_empty()).then_some(Plan { view, why })
}

/// The outcome for a member in a repairing view.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It stays as it is.
    Stays,
    /// It stays for these arcs alone.
    SoleHolders(Vec<u16>),
    /// It is dropped.
    Falls,
}

/// Drops members that are out, except those that hold something that no other member holds (L2).
/// Those stay for these arcs alone, and everything else goes on without them (H4).
///
/// The arcs that they owned fall clockwise in both assignments, so that every member of an arc's
/// write set stays in it, and nothing that a joiner has fetched is fetched again.
fn removal(at: &Situation<'_>) -> Option<Plan> {
    let old = at.active().view();
    let out: Vec<bool> = old.members.iter().map(|m| at.is_out(m.incarnation)).collect();
    if !out.contains(&true) && !at.accepts_loss {
        return None;
    }
    let removal = Removal::decided(at, &out);
    let mut members = old.members.iter().enumerate().zip(&removal.fates);
    // Otherwise the view would consist of dead members only.
    let any_stays = members.any(|((place, m), fate)| {
        let comes = removal.replacements.contains_key(&place);
        *fate == Fate::Stays && (comes || !holders::is_gone(at, m))
    });
    let moves_in = !any_stays && removal.back.iter().any(unused::Holder::comes_alone);
    if !removal.changes(old) || !any_stays && !moves_in {
        return None;
    }
    removal.plan(at, moves_in)
}

/// The decisions to make when members are out.
struct Removal<'m> {
    /// By the places of the active view.
    fates: Vec<Fate>,
    /// Nodes that take dead members' places.
    replacements: Candidates<'m>,
    /// Dropped nodes that count again.
    back: Vec<unused::Holder<'m>>,
    /// The arcs that begin afresh.
    fresh: Vec<u16>,
    sole_holders: Vec<SoleHolder>,
    /// By the places of the active view: whether a member no longer owns anything.
    owns_nothing: Vec<bool>,
}

impl<'m> Removal<'m> {
    fn decided(at: &Situation<'m>, out: &[bool]) -> Removal<'m> {
        let candidates = recovery::candidates(at);
        let mut replacements = recovery::due(at, &candidates);
        // Replacements do not count yet: each must first report that it has adopted the view.
        let lost = holders::lost_arcs(at, out);
        let coming = Comers { candidates: &candidates, replacements: &replacements };
        let mut fates = fates(at, out, &lost, coming);
        let begins_afresh = |arc: usize| {
            if at.accepts_loss {
                !recovery::is_revived(at, out, &replacements, arc)
            } else {
                has_never_begun(at, arc)
            }
        };
        let fresh: Vec<u16> =
            lost.iter().filter(|&&arc| begins_afresh(arc)).map(|&arc| arc as u16).collect();
        let back = unused::holders(at, &lost, &fresh);
        unused::inherit(&back, &mut replacements);
        for place in back.iter().filter_map(|holder| holder.place) {
            if fates[place] == Fate::Falls {
                fates[place] = Fate::SoleHolders(Vec::new());
            }
        }
        let sole_holders = sole_holders(at.active().view(), &fates);
        let owns_nothing = fates.iter().map(|fate| *fate != Fate::Stays).collect();
        Removal { fates, replacements, back, fresh, sole_holders, owns_nothing }
    }

    /// Whether the next view would differ from the active one.
    fn changes(&self, old: &View) -> bool {
        // A sole holder that has died again while joining must not own anything in the target.
        let mut to_own = old.coming.iter().flat_map(|coming| &coming.arcs);
        !self.replacements.is_empty()
            || !self.back.is_empty()
            || self.fates.contains(&Fate::Falls)
            || !self.fresh.is_empty()
            || self.sole_holders != old.sole_holders
            || to_own.any(|&owner| self.owns_nothing[usize::from(owner)])
    }

    /// The next view. `moves_in` means that no former member is alive.
    fn plan(self, at: &Situation<'_>, moves_in: bool) -> Option<Plan> {
        let Removal { fates, replacements, back, fresh, sole_holders, owns_nothing } = self;
        let old = at.active().view();
        let mut falls: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Falls).collect();
        let coming = old.coming.as_ref().map(|coming| Coming {
            arcs: ring::fall(&coming.arcs, &owns_nothing),
            ..coming.clone()
        });
        let mut view = View {
            epoch: old.next_epoch(),
            arcs: ring::fall(&old.arcs, &owns_nothing),
            coming,
            fresh,
            sole_holders,
            replacements: Vec::new(),
            ..old.clone()
        };
        recovery::move_in(&replacements, &mut view);
        unused::grow(&back, &mut view);
        for (member, fate) in view.members.iter_mut().zip(&fates) {
            // It joins again when it comes back.
            if member.state == MemberState::Joining && matches!(fate, Fate::SoleHolders(_)) {
                member.state = MemberState::Active;
            }
        }
        if moves_in {
            unused::move_in(&back, old.arcs.len(), &mut view);
            falls.resize(view.members.len(), false);
        }
        if view.arcs.is_empty() {
            let_sole_holders_inherit(at, &mut view, &fates);
        }
        let why = repaired(old, &view, &falls);
        renumber(&mut view, &falls);
        end_idle_change(at, &mut view);
        unused::take_in(&back, &mut view);
        (!view.arcs.is_empty()).then_some(Plan { view, why })
    }
}

/// Nodes that can take dead members' places.
struct Comers<'c, 'm> {
    /// All of them.
    candidates: &'c Candidates<'m>,
    /// The nodes that do so now.
    replacements: &'c Candidates<'m>,
}

/// The fate of each member of the active view. `lost` are the arcs that no member holds, except
/// perhaps members that are out.
fn fates(
    at: &Situation<'_>,
    out: &[bool],
    lost: &[usize],
    Comers { candidates, replacements }: Comers<'_, '_>,
) -> Vec<Fate> {
    let old = at.active().view();
    let needs = needs(at, out, lost);
    let fate = |(place, member): (usize, &Member)| {
        // The second case: a node with the member's folder takes its place, so the member must not
        // become a sole holder just before.
        if !out[place] || replacements.contains_key(&place) {
            return Fate::Stays;
        }
        if at.accepts_loss {
            return Fate::Falls;
        }
        if candidates.contains_key(&place) || needs[place] {
            return Fate::Stays;
        }
        // Members that may hold such an arc count too: their report of it may have been lost with
        // the connection. But data that was only in memory is not waited for if other members have
        // it on disk.
        let is_no_more = !member.on_disk && holders::is_gone(at, member);
        let holds = |&&arc: &&usize| {
            (holders::holds_copy(at, place, arc) || holders::may_hold(at, place, arc))
                && !(is_no_more && recovery::is_revived(at, out, replacements, arc))
        };
        let held: Vec<u16> = lost.iter().filter(holds).map(|&arc| arc as u16).collect();
        let may_sole_holder =
            old.sole_holder(place).is_some() || at.is_given_up(member.incarnation);
        if held.is_empty() {
            Fate::Falls
        } else if may_sole_holder {
            Fate::SoleHolders(held)
        } else {
            Fate::Stays
        }
    };
    old.members.iter().enumerate().map(fate).collect()
}

/// Which members that are out may be needed for arcs that are not lost: no other holder of the arc
/// is certain to be alive.
fn needs(at: &Situation<'_>, out: &[bool], lost: &[usize]) -> Vec<bool> {
    // This is usually the same for all members.
    let by_all = holders::doubted(at, out, None);
    let in_doubt = holders::lost_arcs(at, &by_all);
    let is_needed = |(place, member): (usize, &Member)| {
        if !out[place] {
            return false;
        }
        let by_it = holders::doubted(at, out, Some(member));
        let own = (by_it != by_all).then(|| holders::lost_arcs(at, &by_it));
        let mut in_doubt = own.as_ref().unwrap_or(&in_doubt).iter();
        in_doubt.any(|arc| lost.binary_search(arc).is_err() && holders::may_hold(at, place, *arc))
    };
    at.active().view().members.iter().enumerate().map(is_needed).collect()
}

/// A member that is out and may be needed for an arc that is not lost, if there is one, and that no
/// node replaces.
pub(super) fn needed<'m>(at: &Situation<'m>) -> Option<&'m Member> {
    let members = &at.active().view().members;
    let out: Vec<bool> = members.iter().map(|m| at.is_out(m.incarnation)).collect();
    let needs = needs(at, &out, &holders::lost_arcs(at, &out));
    let candidates = recovery::candidates(at);
    let needed = |place: &usize| needs[*place] && !candidates.contains_key(place);
    (0..members.len()).find(needed).map(|place| &members[place])
}

/// The sole holders of the next view, with the places of this one. A sole holder whose arcs do not
/// grow keeps its `since`.
fn sole_holders(old: &View, fates: &[Fate]) -> Vec<SoleHolder> {
    let sole_holder = |(place, fate): (usize, &Fate)| {
        let before = old.sole_holder(place);
        match fate {
            Fate::Stays => before.cloned(),
            Fate::Falls => None,
            Fate::SoleHolders(arcs) => {
                let goes_on = before.filter(|s| arcs.iter().all(|arc| s.arcs.contains(arc)));
                let since = goes_on.map_or(old.next_epoch(), |sole_holder| sole_holder.since);
                Some(SoleHolder { place: place as u16, since, arcs: arcs.clone() })
            }
        }
    };
    fates.iter().enumerate().filter_map(sole_holder).collect()
}

/// If none of the members that owned something is left, sole holders that are back own what they
/// hold, and the arcs in front of it on the ring. `view` has the places of the active one.
fn let_sole_holders_inherit(at: &Situation<'_>, view: &mut View, fates: &[Fate]) {
    let are_back = |sole_holder: &SoleHolder| fates[usize::from(sole_holder.place)] == Fate::Stays;
    // If each of them has only its own disk's part, all must stay replicas of their arcs until one
    // member has every part: then one of them owns everything, and the others stay sole holders.
    let has_part = |sole_holder: &SoleHolder| {
        are_back(sole_holder)
            && sole_holder
                .arcs
                .iter()
                .any(|&arc| !holders::is_synced(at, sole_holder.place.into(), arc.into()))
    };
    let only = match view.durability {
        Durability::Async if view.sole_holders.iter().any(has_part) => view
            .sole_holders
            .iter()
            .find(|sole_holder| are_back(sole_holder))
            .map(|sole_holder| sole_holder.place),
        _ => None,
    };
    let is_back = |sole_holder: &SoleHolder| {
        are_back(sole_holder) && only.is_none_or(|place| sole_holder.place == place)
    };
    let nobody = view.members.len();
    let mut owners = vec![nobody as u16; at.active().arcs()];
    // Of two members that might have held an arc, one may not hold it. They have reported this
    // since they came back.
    for is_known in [false, true] {
        for sole_holder in view.sole_holders.iter().filter(|sole_holder| is_back(sole_holder)) {
            view.members[usize::from(sole_holder.place)].state = MemberState::Active;
            for arc in sole_holder.arcs.iter().map(|&arc| usize::from(arc)) {
                if !is_known || holders::is_synced(at, sole_holder.place.into(), arc) {
                    owners[arc] = sole_holder.place;
                }
            }
        }
    }
    view.sole_holders.retain(|sole_holder| !is_back(sole_holder));
    view.arcs = ring::fall(&owners, &(0..=nobody).map(|place| place == nobody).collect::<Vec<_>>());
}

/// Describes in a few words what a repairing view changes. `next` still has the places of `old`.
fn repaired(old: &View, next: &View, falls: &[bool]) -> String {
    let mut parts = Vec::new();
    let moved_in = names(
        next.replacements.iter().map(|replacement| &next.members[usize::from(replacement.place)]),
    );
    if !moved_in.is_empty() {
        parts.push(format!("{moved_in} back with what is on disk"));
    }
    let fallen = names(old.members.iter().zip(falls).filter(|(_, falls)| **falls).map(|(m, _)| m));
    if !fallen.is_empty() {
        parts.push(format!("{fallen} out"));
    }
    for sole_holder in
        next.sole_holders.iter().filter(|s| old.sole_holder(s.place.into()) != Some(*s))
    {
        let id = &next.members[usize::from(sole_holder.place)].id;
        let arcs = count(sole_holder.arcs.len(), "arc");
        parts.push(format!("{id} stays for {arcs} that nobody else holds"));
    }
    if !next.fresh.is_empty() {
        parts.push(count(next.fresh.len(), "arc").with("begins afresh", "begin afresh"));
    }
    if parts.is_empty() {
        return "who was to join again is away".into();
    }
    parts.join(", ")
}

/// Whether an arc began with the active view and all its replicas died before they had acknowledged
/// that view. Then nothing was ever written to the arc, and it can begin with the next view as
/// well.
fn has_never_begun(at: &Situation<'_>, arc: usize) -> bool {
    let routes = at.active();
    let mut replicas = routes.write_set(arc).iter().map(|&place| usize::from(place));
    routes.view().fresh.contains(&(arc as u16))
        && !replicas.any(|place| holders::is_synced(at, place, arc))
}

/// Ends a change that has become pointless because members died: no joiner is left and nothing else
/// was to change, no member is left that joiners could fetch from, or no member is left to hand
/// over to. The remaining members become active, even those that were to own nothing yet.
///
/// If a leaver has died, the change goes on without it: the target assignment covers the remaining
/// members, and one of them may be the only holder of what it has fetched for it.
fn end_idle_change(at: &Situation<'_>, view: &mut View) {
    let Some(coming) = view.coming.take() else { return };
    let old = at.active().view();
    if view.arcs.is_empty() {
        let arcs = if coming.arcs.is_empty() {
            ring::assign(&vec![None; old.arcs.len()], &participants_but_sole_holders(view))
        } else {
            coming.arcs
        };
        // It is not known whether the data of the last holders is within other limits.
        let View { limits, min_copies, .. } = *view;
        arrive(view, Coming { arcs, limits, min_copies, ..coming });
    } else if !coming.arcs.is_empty() && !is_idle(at, view, &coming) {
        view.coming = Some(coming);
        return;
    }
    for member in &mut view.members {
        member.state = MemberState::Active;
    }
}

/// Whether a change only added joiners, none of them is left, and without the change the holders of
/// what they were to take over are still replicas of it. `view` is the next view, without the
/// change.
fn is_idle(at: &Situation<'_>, view: &View, coming: &Coming) -> bool {
    let any = |v: &View, state| v.members.iter().any(|m| m.state == state);
    let old = at.active().view();
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
        old.place_at(incarnation).is_some_and(|place| holders::is_synced(at, place, arc))
    };
    let is_held = |arc: usize| without.write_set(arc).iter().any(|place| holds(place, arc));
    let is_fresh = |arc: usize| view.fresh.contains(&(arc as u16));
    (0..without.arcs()).all(|arc| {
        let mut members = 0..view.members.len() as u16;
        is_fresh(arc) || is_held(arc) || !members.any(|place| holds(&place, arc))
    })
}
