//! Which arcs have records here that may not be on the disk yet, where answers wait for the disk
//! (`sync`).
//!
//! A thread that stores something counts it in its arc before it does, and takes that back when it
//! is on the disk. So whoever has looked at an arc and finds nothing counted in it afterwards knows
//! that all he has seen is on the disk (F14). What could not be brought to the disk stays
//! counted.

use std::sync::atomic::{AtomicU32, Ordering};

/// How much of each arc is on its way to the disk.
pub struct InFlight(Box<[AtomicU32]>);

/// What one thread has stored.
pub struct Flight<'f> {
    all: &'f InFlight,
    arcs: Vec<usize>,
}

impl InFlight {
    /// Nothing, in a ring of so many arcs.
    pub fn new(arcs: usize) -> InFlight {
        InFlight((0..arcs).map(|_| AtomicU32::new(0)).collect())
    }

    /// Begins with nothing.
    pub fn begin(&self) -> Flight<'_> {
        Flight { all: self, arcs: Vec::new() }
    }

    /// Whether all that was seen in an arc before this call is on the disk.
    pub fn is_none(&self, arc: usize) -> bool {
        self.0[arc].load(Ordering::SeqCst) == 0
    }
}

impl Flight<'_> {
    /// Something is about to be stored in an arc.
    pub fn add(&mut self, arc: usize) {
        self.all.0[arc].fetch_add(1, Ordering::SeqCst);
        self.arcs.push(arc);
    }

    /// All of it is on the disk, or was not stored after all. Without this call it never is, for
    /// all that is known.
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
