//! The views that a node has seen, and those that it follows (rules L5 and L7).

use std::sync::atomic::Ordering;

use cluster::claim::Claim;
use cluster::ids::{ClusterId, Epoch};
use cluster::line::ViewName;
use cluster::mutation::{Mutation, is_on};
use cluster::view::View;

use super::Node;

/// Why a node does not follow a manager's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// It is of another cluster than the node's own.
    #[error(
        "the manager belongs to cluster {theirs}, this node to {ours}; to join that one, start it anew, with no \
         data folder or an empty one"
    )]
    OtherCluster {
        /// The cluster of this node's view.
        ours: ClusterId,
        /// The cluster of the view that came.
        theirs: ClusterId,
    },
    /// It does not continue from the views that the node has seen: the manager's folder is an older
    /// copy (L7).
    #[error(
        "the manager knows view {theirs}, which does not go on from view {ours}, that this node has seen: its folder \
         is an older copy"
    )]
    OtherLine {
        /// The newest view that this node has seen.
        ours: Epoch,
        /// The view that came.
        theirs: Epoch,
    },
}

impl Node {
    /// The cluster of the view that it has seen, or of its data folder.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.routes().map(|routes| routes.view().cluster).or(self.origin)
    }

    /// Its claim from the last incarnation, while it waits to become a member (H6).
    pub fn claim(&self) -> Option<Claim> {
        self.holdings.read().claim().cloned()
    }

    /// The newest view that it has seen, in this incarnation or, according to its data folder, in
    /// the last one.
    pub fn seen(&self) -> ViewName {
        self.holdings.read().seen()
    }

    /// Whether it has been a member of the cluster, in this incarnation or, according to its data
    /// folder, in an earlier one. Then it may be the only holder of some records, and no cluster
    /// may begin empty while it waits.
    pub fn has_been_member(&self) -> bool {
        let holdings = self.holdings.read();
        holdings.claim().is_some() || holdings.has_been_member()
    }

    /// Whether this node leaves the cluster with a view: it was leaving, and is no longer a member.
    pub fn leaves_with(&self, next: &View) -> bool {
        self.holdings.read().leaves_with(next)
    }

    /// Notes the active view that the manager has reported.
    pub fn note_active(&self, active: Epoch) {
        self.active.fetch_max(active.0, Ordering::SeqCst);
    }

    /// Whether the manager has reported that a view, or a later one, is active.
    pub(super) fn is_active(&self, epoch: Epoch) -> bool {
        self.active.load(Ordering::SeqCst) >= epoch.0
    }

    /// Checks that a manager with this newest view knows all views that this node has seen (L7).
    ///
    /// # Errors
    /// [`NotFollowed::OtherLine`].
    pub fn check_line(&self, newest: &View) -> Result<(), NotFollowed> {
        let seen = self.seen();
        if newest.has(seen) || is_on(Mutation::OlderState) {
            Ok(())
        } else {
            Err(NotFollowed::OtherLine { ours: seen.epoch, theirs: newest.epoch })
        }
    }

    /// Checks that this node follows a view, if it is newer than the present one.
    ///
    /// # Errors
    /// [`NotFollowed`].
    pub(super) fn check_follows(&self, view: &View) -> Result<(), NotFollowed> {
        if let Some(ours) = self.cluster()
            && ours != view.cluster
        {
            return Err(NotFollowed::OtherCluster { ours, theirs: view.cluster });
        }
        // An older one may arrive late.
        if view.epoch > self.seen().epoch { self.check_line(view) } else { Ok(()) }
    }
}
