//! How far each writer has come (rule N3).
//!
//! A client says of its writes that they are done not one by one but by a *mark*: all its plain
//! writes up to this clock. So a batch of hundreds is committed by sixteen bytes. Records that a
//! mark covers count as committed from then on; the keeper notes it in the records themselves,
//! about a second later, and then the mark is not needed any more.

use std::sync::atomic::{AtomicU64, Ordering};

use cluster::replica;
use cluster::version::{Clock, Version};
use fxhash::FxHashMap;
use parking_lot::RwLock;

/// Writers that are remembered. A mark of one more is not: its records stay pending until a reader
/// or the keeper completes them.
const MOST: usize = 65_536;

/// The newest mark of each writer that has been heard of lately.
#[derive(Default)]
pub struct Watermarks(RwLock<Generations>);

/// Watermarks told since the last turn, and those told before it.
#[derive(Default)]
struct Generations {
    young: FxHashMap<u64, AtomicU64>,
    old: FxHashMap<u64, AtomicU64>,
}

impl Watermarks {
    /// Takes a mark.
    pub fn take(&self, writer: u64, clock: Clock) {
        {
            let marks = self.0.read();
            if let Some(mark) = marks.young.get(&writer) {
                mark.fetch_max(clock, Ordering::Relaxed);
                return;
            }
        }
        let mut marks = self.0.write();
        if marks.young.len() < MOST {
            let mark = marks.young.entry(writer).or_default();
            mark.fetch_max(clock, Ordering::Relaxed);
        }
    }

    /// Whether a mark says that this version is committed.
    pub fn cover(&self, version: &Version) -> bool {
        let marks = self.0.read();
        [&marks.young, &marks.old].into_iter().any(|generation| {
            let mark = generation.get(&version.writer);
            mark.is_some_and(|mark| replica::is_covered(version, mark.load(Ordering::Relaxed)))
        })
    }

    /// Forgets the marks that were told before the last turn. To be called at intervals that are
    /// longer than the keeper takes to note in the records what a mark says.
    pub fn turn(&self) {
        let mut marks = self.0.write();
        marks.old = std::mem::take(&mut marks.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_covers_the_plain_writes_of_its_writer_up_to_its_clock() {
        let marks = Watermarks::default();
        marks.take(1, 5);
        marks.take(1, 4);
        assert!(marks.cover(&Version::plain(5, 1)));
        assert!(!marks.cover(&Version::plain(6, 1)));
        assert!(!marks.cover(&Version::plain(5, 2)));
        assert!(!marks.cover(&Version { step: 2, ..Version::plain(5, 1) }));
    }

    #[test]
    fn a_mark_is_forgotten_after_two_turns_without_it() {
        let marks = Watermarks::default();
        marks.take(1, 5);
        marks.turn();
        assert!(marks.cover(&Version::plain(5, 1)));
        marks.take(2, 7);
        marks.turn();
        assert!(!marks.cover(&Version::plain(5, 1)));
        assert!(marks.cover(&Version::plain(7, 2)));
    }
}
