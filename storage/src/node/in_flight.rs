//! The arcs with records that may not be on the disk yet, where answers wait for the disk (`sync`).
//!
//! A thread counts a record in its arc before it stores it, and uncounts it when the record is on
//! the disk. So a thread that reads an arc and then finds its count at zero knows that all it has
//! read is on the disk (F14). A record that could not be written stays counted.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of records of each arc on their way to the disk.
pub struct InFlight(Box<[AtomicU32]>);

/// The records that one thread has stored.
pub struct Flight<'f> {
    all: &'f InFlight,
    arcs: Vec<usize>,
}

impl InFlight {
    /// None yet, for a ring of so many arcs.
    pub fn new(arcs: usize) -> InFlight {
        InFlight((0..arcs).map(|_| AtomicU32::new(0)).collect())
    }

    /// Begins a flight without records.
    pub fn begin(&self) -> Flight<'_> {
        Flight { all: self, arcs: Vec::new() }
    }

    /// Whether all records seen in an arc before this call are on the disk.
    pub fn is_none(&self, arc: usize) -> bool {
        self.0[arc].load(Ordering::SeqCst) == 0
    }
}

impl Flight<'_> {
    /// Counts a record that is about to be stored in an arc.
    pub fn add(&mut self, arc: usize) {
        self.all.0[arc].fetch_add(1, Ordering::SeqCst);
        self.arcs.push(arc);
    }

    /// Uncounts the records: all of them are on the disk, or were not stored after all. Without
    /// this call they count as not on the disk forever.
    pub fn land(self) {
        for arc in self.arcs {
            self.all.0[arc].fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_is_on_disk_once_all_its_writes_have_landed() {
        let all = InFlight::new(4);
        let (mut one, mut other) = (all.begin(), all.begin());
        one.add(1);
        one.add(1);
        other.add(1);
        other.add(2);
        one.land();
        assert!(all.is_none(0) && !all.is_none(1) && !all.is_none(2));
        other.land();
        assert!((0..4).all(|arc| all.is_none(arc)));
        let mut lost = all.begin();
        lost.add(3);
        drop(lost);
        assert!(!all.is_none(3), "it could not be written");
    }
}
