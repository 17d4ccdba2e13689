//! The commit watermark of each writer (rule N3).
//!
//! A client commits its writes not one by one but with a *watermark*: all its plain writes up to
//! this clock are done. So sixteen bytes commit a batch of hundreds. Records that a watermark
//! covers count as committed from then on. About a second later housekeeping marks the records
//! themselves, and the watermark is no longer needed.

use std::sync::atomic::{AtomicU64, Ordering};

use cluster::replica;
use cluster::version::{Clock, Version};
use fxhash::FxHashMap;
use parking_lot::RwLock;

/// Most writers that are remembered. Watermarks of further writers are ignored: their records stay
/// pending until a reader or housekeeping completes them.
const MOST: usize = 65_536;

/// The newest watermark of each recent writer.
#[derive(Default)]
pub struct Watermarks(RwLock<Generations>);

/// Watermarks received since the last rotation, and those from before it.
#[derive(Default)]
struct Generations {
    young: FxHashMap<u64, AtomicU64>,
    old: FxHashMap<u64, AtomicU64>,
}

impl Watermarks {
    /// Takes a watermark.
    pub fn take(&self, writer: u64, clock: Clock) {
        {
            let watermarks = self.0.read();
            if let Some(watermark) = watermarks.young.get(&writer) {
                watermark.fetch_max(clock, Ordering::Relaxed);
                return;
            }
        }
        let mut watermarks = self.0.write();
        if watermarks.young.len() < MOST {
            let watermark = watermarks.young.entry(writer).or_default();
            watermark.fetch_max(clock, Ordering::Relaxed);
        }
    }

    /// Whether a watermark covers this version.
    pub fn cover(&self, version: &Version) -> bool {
        let watermarks = self.0.read();
        [&watermarks.young, &watermarks.old].into_iter().any(|generation| {
            let watermark = generation.get(&version.writer);
            watermark.is_some_and(|watermark| {
                replica::is_covered(version, watermark.load(Ordering::Relaxed))
            })
        })
    }

    /// Forgets the watermarks from before the last rotation. The interval between calls must be
    /// longer than housekeeping takes to mark the records that a watermark covers.
    pub fn rotate(&self) {
        let mut watermarks = self.0.write();
        watermarks.old = std::mem::take(&mut watermarks.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_covers_the_plain_writes_of_its_writer_up_to_its_clock() {
        let watermarks = Watermarks::default();
        watermarks.take(1, 5);
        watermarks.take(1, 4);
        assert!(watermarks.cover(&Version::plain(5, 1)));
        assert!(!watermarks.cover(&Version::plain(6, 1)));
        assert!(!watermarks.cover(&Version::plain(5, 2)));
        assert!(!watermarks.cover(&Version { step: 2, ..Version::plain(5, 1) }));
    }

    #[test]
    fn a_watermark_is_forgotten_after_two_rotations_without_it() {
        let watermarks = Watermarks::default();
        watermarks.take(1, 5);
        watermarks.rotate();
        assert!(watermarks.cover(&Version::plain(5, 1)));
        watermarks.take(2, 7);
        watermarks.rotate();
        assert!(!watermarks.cover(&Version::plain(5, 1)));
        assert!(watermarks.cover(&Version::plain(7, 2)));
    }
}
