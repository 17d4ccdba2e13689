//! The views in a log so far: which of its records count, and where the node was synced.
//!
//! Writer and recovery build the same ledger from the same entries. A checkpoint contains it, since
//! it replaces the log before it. So a data folder names the newest view that its node adopted, and
//! the arcs in which the node was synced then (rule H6).
//!
//! Invariants: a record counts only if it was stored under the epoch with which its arc was last
//! emptied, or a later one ([`Ledger::takes`]): a thread may hand in a record after the arc was
//! emptied that it stored before. *Synced* refers to the newest view only, and follows the rules of
//! [`cluster::holdings`].

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;

/// The change of a node's holdings with a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewEntry {
    /// The view.
    pub epoch: Epoch,
    /// Arcs whose records it dropped or set aside: entries from older views no longer count.
    pub emptied: Vec<u16>,
    /// Arcs in which it is synced, or which it has from its own disk (H6).
    pub synced: Vec<u16>,
    /// Arcs in which the records of the last incarnation stay valid: the view took the node as the
    /// replacement there.
    pub revived: Vec<u16>,
}

/// The ledger of one incarnation of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    epoch: Epoch,
    /// For each arc, the view with which it was last emptied.
    since: Vec<Epoch>,
    synced: ArcSet,
}

impl Ledger {
    /// The ledger of a node that has adopted no view.
    pub fn new(arcs: usize) -> Ledger {
        Ledger::of(Epoch::NONE, vec![Epoch::NONE; arcs], ArcSet::new())
    }

    /// A saved ledger.
    pub fn of(epoch: Epoch, since: Vec<Epoch>, mut synced: ArcSet) -> Ledger {
        synced.grow(since.len());
        Ledger { epoch, since, synced }
    }

    /// The newest view.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// For each arc, the view with which it was last emptied.
    pub fn since(&self) -> &[Epoch] {
        &self.since
    }

    /// The arcs in which the node is synced under that view.
    pub fn synced(&self) -> &ArcSet {
        &self.synced
    }

    /// Applies a view that was adopted.
    pub fn view(&mut self, view: &ViewEntry) {
        self.epoch = view.epoch;
        for &arc in &view.emptied {
            self.since[usize::from(arc)] = view.epoch;
        }
        self.synced.clear();
        self.synced.extend(view.synced.iter().map(|&arc| usize::from(arc)));
    }

    /// Marks arcs as completely fetched. Returns whether that counts: only in the newest view.
    pub fn fetched(&mut self, epoch: Epoch, arcs: &[u16]) -> bool {
        if epoch == self.epoch {
            self.synced.extend(arcs.iter().map(|&arc| usize::from(arc)));
        }
        epoch == self.epoch
    }

    /// Whether a record of an arc that was stored under a view counts.
    pub fn takes(&self, epoch: Epoch, arc: usize) -> bool {
        epoch >= self.since[arc]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, emptied: &[u16], synced: &[u16]) -> ViewEntry {
        let (emptied, synced) = (emptied.to_vec(), synced.to_vec());
        ViewEntry { epoch: Epoch(epoch), emptied, synced, revived: Vec::new() }
    }

    #[test]
    fn records_from_before_an_arc_was_emptied_do_not_count() {
        let mut ledger = Ledger::new(4);
        assert!(ledger.takes(Epoch(1), 2));
        ledger.view(&view(5, &[2], &[0, 1]));
        assert!(!ledger.takes(Epoch(4), 2) && ledger.takes(Epoch(5), 2));
        assert!(ledger.takes(Epoch(4), 1));
    }

    #[test]
    fn only_arcs_fetched_in_the_newest_view_are_synced() {
        let mut ledger = Ledger::new(4);
        ledger.view(&view(5, &[], &[0, 1]));
        assert!(!ledger.fetched(Epoch(4), &[2]));
        assert!(ledger.fetched(Epoch(5), &[3]));
        assert_eq!(ledger.synced().ones().collect::<Vec<_>>(), [0, 1, 3]);
        ledger.view(&view(6, &[], &[3]));
        assert_eq!(ledger.synced().ones().collect::<Vec<_>>(), [3]);
    }
}
