//! What a node that starts has in its data folder, and where that counts (rule H6).
//!
//! A folder names the last start of the node's process that wrote to it, the newest view which that one had
//! adopted, and the arcs in which it was synced then. The node that starts with the folder *claims* these arcs.
//! Where others live that hold an arc the claim is of no use: what the folder has is an old state, good for a
//! comparison (H3). Where nobody does, it is what the arc is revived from: the claimant takes the dead member's
//! place in the next view ([`Replacement`](crate::view::Replacement)).
//!
//! A claim counts where the dead process, had it only been cut off, would still be synced: nothing can have been
//! acknowledged since without it. So it is the rule by which [`Holdings`](crate::holdings::Holdings) adopts a view,
//! applied to somebody else.

use crate::arcs::ArcSet;
use crate::ids::{Epoch, Incarnation};
use crate::mutation::{Mutation, is_on};
use crate::view::Routes;

/// What a node claims to have held in its last life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The last start of its process that wrote to the folder. It has ended: the folder is locked.
    pub of: Incarnation,
    /// The newest view which that one had adopted, as far as the folder tells.
    pub epoch: Epoch,
    /// The arcs in which it was synced in that view.
    pub synced: ArcSet,
    /// The last starts of a process with this folder, the newest last; this one too, if that could be written down
    /// ([`folders`](crate::membership::Folders)).
    pub starts: Vec<Incarnation>,
    /// Whether all that was written is there. What was salvaged counts only if the operator goes on with it.
    pub is_whole: bool,
}

impl Claim {
    /// The arcs in which this counts, for the member at a place of the active view. `is_new_replacement` tells that this
    /// member is a replacement by that view, and may not have adopted it.
    pub fn counts(&self, active: &Routes, place: u16, is_new_replacement: bool) -> ArcSet {
        let view = active.view();
        let mut arcs = active.kept_by(place).clone();
        arcs.intersect_with(&self.synced);
        let of_arcs = |arcs: &[u16]| arcs.iter().map(|&arc| usize::from(arc)).collect::<ArcSet>();
        if active.member(place).incarnation != self.of && !is_on(Mutation::ClaimOld) {
            // A replacement that has not written anything since it became one is as good as the dead.
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
            // As a sole holder it has missed nothing of what it sole holders for, whatever it has missed else.
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
