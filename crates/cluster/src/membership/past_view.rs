//! Views before the active one, as far back as rule H6 may need them: kept, saved and restored.
//!
//! What follows from them is in [`unused`](super::unused).

use std::sync::Arc;

use crate::arcs::ArcSet;
use crate::durability::Durability;
use crate::ids::Incarnation;
use crate::membership::lifecycle::NodeEvent;
use crate::membership::{Ended, Membership, Node, Unused};
use crate::view::{Member, MemberState, Routes, View};

/// Views that are remembered, each as large in the saved state as a view is. One more is needed for
/// each holder that ends before it has adopted the view without the one before it.
pub const MAX_UNUSED: usize = 16;

/// A view before the active one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PastView {
    pub(super) routes: Arc<Routes>,
    /// Arcs in which nothing was acknowledged under it.
    pub(super) unused: ArcSet,
    /// Its members that the view after it did not have any more, or as sole holders, as they were
    /// known then.
    pub(super) left: Vec<Node>,
}

/// Members of a view that the next does not have, or as sole holders.
pub(super) fn left<'v>(view: &'v View, next: &'v View) -> impl Iterator<Item = Incarnation> + 'v {
    let incarnations = view.members.iter().map(|member| member.incarnation);
    incarnations.filter(|&incarnation| {
        next.place_at(incarnation).is_none_or(|place| next.sole_holder(place).is_some())
    })
}

/// What of this is saved.
pub(super) fn saved(state: &Membership) -> (Vec<Unused>, Vec<Ended>) {
    let unused = |earlier: &PastView| Unused {
        view: earlier.routes.view().clone(),
        arcs: earlier.unused.ones().map(|arc| arc as u16).collect(),
    };
    (state.past_views.iter().map(unused).collect(), ended(state))
}

/// Members that are known to have ended without having adopted the newest view. Before anything
/// follows from another one it is saved.
pub(super) fn ended(state: &Membership) -> Vec<Ended> {
    let (newest, durability) = (state.newest().epoch(), state.newest().view().durability);
    if durability == Durability::None {
        return Vec::new();
    }
    let left = state.past_views.iter().rev().flat_map(|earlier| &earlier.left);
    let mut known: Vec<Ended> = Vec::new();
    for node in state.members().iter().filter_map(|i| state.nodes.get(i)).chain(left) {
        let incarnation = node.who.incarnation;
        let is_known = known.iter().any(|ended| ended.incarnation == incarnation);
        if let Some(adopted) = node.adopted.filter(|adopted| node.is_gone() && *adopted < newest)
            && !is_known
        {
            known.push(Ended { incarnation, adopted });
        }
    }
    known
}

/// The same from what was saved. `nodes` makes what is known of a member of a view.
pub(super) fn restored(
    saved: Vec<Unused>,
    active: &View,
    node: impl Fn(&Member) -> Node,
) -> Vec<PastView> {
    let epochs_next: Vec<View> =
        saved.iter().skip(1).map(|unused| unused.view.clone()).chain([active.clone()]).collect();
    let mut earlier = Vec::new();
    for (Unused { view, arcs }, next) in saved.into_iter().zip(epochs_next) {
        let unused = arcs.into_iter().map(usize::from).collect();
        let left = left(&view, &next).filter_map(|i| view.place_at(i)).map(|place| {
            let member = &view.members[place];
            // It was asked to go, or may have been.
            let mut node = node(member);
            if member.state == MemberState::Leaving {
                node.on(NodeEvent::HasLeft, 0);
            }
            node
        });
        let left = left.collect();
        earlier.push(PastView { routes: Arc::new(Routes::new(view)), unused, left });
    }
    earlier
}
