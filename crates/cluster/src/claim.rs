//! The claim of a starting node: the ranges in its data folder, and where they count (rule H6).
//!
//! A folder names the last incarnation that wrote to it, the newest view which that one had
//! adopted, and the arcs in which it was synced then. A node that starts with the folder *claims*
//! these arcs. Where a live node is synced in an arc, the folder's records are stale, and serve
//! only for comparison (H3). Where none is, they revive the arc: the node takes the dead member's
//! place in the next view ([`Replacement`](crate::view::Replacement)).
//!
//! A claim counts in the arcs in which the dead process would still be synced if it had only been
//! cut off: nothing can have been acknowledged there without it. This is the rule by which
//! [`Holdings`](crate::holdings::Holdings) adopts a view, applied to another incarnation.

use crate::arcs::ArcSet;
use crate::ids::{Epoch, Incarnation};
use crate::mutation::{Mutation, is_on};
use crate::view::Routes;

/// The ranges that a node's last incarnation held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The last incarnation that wrote to the folder. It has ended: the folder is locked.
    pub of: Incarnation,
    /// The newest adopted view that the folder records.
    pub epoch: Epoch,
    /// The arcs in which it was synced in that view.
    pub synced: ArcSet,
    /// The last incarnations with this folder, the newest last; the present one too, if it could be
    /// recorded ([`folders`](crate::membership::Folders)).
    pub starts: Vec<Incarnation>,
    /// Whether the folder is complete. A salvaged one counts only if the operator accepts it.
    pub is_whole: bool,
}

impl Claim {
    /// The arcs in which this counts, for the member at a place of the active view.
    /// `is_new_replacement`: this view made the member a replacement, and it may not have adopted
    /// the view.
    pub fn counts(&self, active: &Routes, place: u16, is_new_replacement: bool) -> ArcSet {
        let view = active.view();
        let mut arcs = active.arcs_of(place).clone();
        arcs.intersect_with(&self.synced);
        let of_arcs = |arcs: &[u16]| arcs.iter().map(|&arc| usize::from(arc)).collect::<ArcSet>();
        if active.member(place).incarnation != self.of && !is_on(Mutation::ClaimOld) {
            // A replacement that has not written anything since is equivalent to the incarnation it
            // replaces.
            let replacement = view
                .replacement(place.into())
                .filter(|replacement| is_new_replacement && replacement.of == self.of);
            arcs.intersect_with(
                &replacement.map(|replacement| of_arcs(&replacement.arcs)).unwrap_or_default(),
            );
            return arcs;
        }
        match self.epoch {
            epoch if epoch > view.epoch => arcs.clear(),
            _ if is_on(Mutation::ClaimOld) => {}
            epoch if epoch == view.epoch => {}
            epoch if epoch == view.before() => arcs.difference_with(&of_arcs(&view.fresh)),
            // A sole holder has missed nothing in its arcs, whatever it has missed elsewhere.
            epoch => {
                let sole_holder = view.sole_holder(place.into());
                let sole_holder =
                    sole_holder.filter(|sole_holder| sole_holder.has_followed(&view.line, epoch));
                arcs.intersect_with(
                    &sole_holder.map(|sole_holder| of_arcs(&sole_holder.arcs)).unwrap_or_default(),
                );
            }
        }
        arcs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MemberState::Active;
    use crate::view::Replacement;
    use crate::view::tests::{member, view};
    use crate::view::{SoleHolder, View};

    fn counts(claim: (u64, u64), change: impl Fn(&mut View)) -> Vec<usize> {
        let mut view = view(7, 1, vec![member(1, Active), member(2, Active)], &[0, 1, 0, 1]);
        change(&mut view);
        view.check().unwrap();
        let synced = [0, 1, 2].into_iter().collect();
        let claim = Claim {
            of: Incarnation(claim.0),
            epoch: Epoch(claim.1),
            synced,
            starts: Vec::new(),
            is_whole: true,
        };
        let is_new_replacement = !view.replacements.is_empty();
        claim.counts(&Routes::new(view), 0, is_new_replacement).ones().collect()
    }

    #[test]
    fn a_claim_counts_where_its_node_would_still_be_synced() {
        assert_eq!(counts((1, 7), |_| {}), [0, 2]);
        assert_eq!(counts((1, 6), |_| {}), [0, 2]);
        assert_eq!(counts((1, 6), |v| v.fresh = vec![0]), [2]);
        // It has missed a view, or has seen one that the manager does not know.
        assert_eq!(counts((1, 5), |_| {}), []);
        assert_eq!(counts((1, 8), |_| {}), []);
        // Another process has been the member since.
        assert_eq!(counts((9, 7), |_| {}), []);
    }

    #[test]
    fn a_sole_holder_and_a_replacement_have_missed_nothing() {
        let sole_holder = |v: &mut View| {
            v.arcs = vec![1; 4];
            v.sole_holders = vec![SoleHolder { place: 0, since: Epoch(5), arcs: vec![0, 3] }];
        };
        assert_eq!(counts((1, 3), sole_holder), [0]);
        assert_eq!(counts((1, 2), sole_holder), []);
        let replacement = |v: &mut View| {
            v.replacements = vec![Replacement { place: 0, of: Incarnation(9), arcs: vec![0] }]
        };
        assert_eq!(counts((9, 2), replacement), [0]);
        assert_eq!(counts((8, 6), replacement), []);
    }
}
