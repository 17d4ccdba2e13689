//! What a log has told of views so far: which of its records count, and where the node was synced.
//!
//! Writer and recovery keep the same ledger, by the same entries; a checkpoint carries it, since it
//! stands for the log before it. With it a data folder names the newest view that its node adopted,
//! and the arcs in which it held everything then (rule H6).
//!
//! Invariants: of an arc only what was taken under its [`Ledger::takes`] epoch or a later one
//! counts: a thread may hand in what it took just before the arc was emptied just after that;
//! *synced* is told of the newest view only, and by the rules of [`cluster::holdings`].

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;

/// What a node's holdings became with a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewEntry {
    /// The view.
    pub epoch: Epoch,
    /// Arcs whose records it dropped or set aside: what is told of them under older views counts no
    /// more.
    pub emptied: Vec<u16>,
    /// Arcs it is synced in, or has its own disk's part of (H6).
    pub synced: Vec<u16>,
    /// Arcs whose records of the life before go on counting: the view took the node for its replacement
    /// there.
    pub revived: Vec<u16>,
}

/// The ledger of one life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    epoch: Epoch,
    /// For each arc the view with which it was emptied last.
    since: Vec<Epoch>,
    synced: ArcSet,
}

impl Ledger {
    /// That of a node that has adopted no view.
    pub fn new(arcs: usize) -> Ledger {
        Ledger::of(Epoch::NONE, vec![Epoch::NONE; arcs], ArcSet::new())
    }

    /// One that was saved.
    pub fn of(epoch: Epoch, since: Vec<Epoch>, mut synced: ArcSet) -> Ledger {
        synced.grow(since.len());
        Ledger { epoch, since, synced }
    }

    /// The newest view.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// For each arc the view with which it was emptied last.
    pub fn since(&self) -> &[Epoch] {
        &self.since
    }

    /// The arcs that the node is synced in, in that view.
    pub fn synced(&self) -> &ArcSet {
        &self.synced
    }

    /// A view was adopted.
    pub fn view(&mut self, view: &ViewEntry) {
        self.epoch = view.epoch;
        for &arc in &view.emptied {
            self.since[usize::from(arc)] = view.epoch;
        }
        self.synced.clear();
        self.synced.extend(view.synced.iter().map(|&arc| usize::from(arc)));
    }

    /// Arcs were fetched to their ends. Returns whether that counts: only in the newest view.
    pub fn fetched(&mut self, epoch: Epoch, arcs: &[u16]) -> bool {
        if epoch == self.epoch {
            self.synced.extend(arcs.iter().map(|&arc| usize::from(arc)));
        }
        epoch == self.epoch
    }

    /// Whether what was taken under a view counts in an arc.
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
