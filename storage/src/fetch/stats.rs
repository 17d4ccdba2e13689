//! Statistics of this node's transfers, for the operator and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A node's transfers since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of pages.
    pub bytes: u64,
    /// Bytes a second, over about the last second; 0 without transfers.
    pub rate: u64,
    /// Records that were transferred.
    pub moved: u64,
    /// Stale records that a source has confirmed, and that were not transferred.
    pub kept: u64,
}

/// Counts transfers.
#[derive(Default)]
pub struct TransferStats {
    bytes: AtomicU64,
    moved: AtomicU64,
    kept: AtomicU64,
    window: Mutex<Window>,
}

impl TransferStats {
    /// Counts a page that was received at this time.
    pub fn page(&self, now_ms: u64, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.window.lock().add(now_ms, bytes as u64);
    }

    /// Counts the records taken from a page, and those confirmed by it.
    pub fn records(&self, moved: usize, kept: usize) {
        self.moved.fetch_add(moved as u64, Ordering::Relaxed);
        self.kept.fetch_add(kept as u64, Ordering::Relaxed);
    }

    /// The statistics at this time.
    pub fn read(&self, now_ms: u64) -> Transfer {
        Transfer {
            bytes: self.bytes.load(Ordering::Relaxed),
            rate: self.window.lock().rate(now_ms),
            moved: self.moved.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }
}

/// The last second, in eighths.
#[derive(Default)]
struct Window([Eighth; 8]);

/// An eighth of a second: its number since the start of the clock, and the bytes received in it.
#[derive(Default, Clone, Copy)]
struct Eighth {
    number: u64,
    bytes: u64,
}

/// Milliseconds of an eighth.
const EIGHTH: u64 = 125;

impl Window {
    fn add(&mut self, now_ms: u64, bytes: u64) {
        let number = now_ms / EIGHTH;
        let eighth = &mut self.0[(number % 8) as usize];
        if eighth.number != number {
            *eighth = Eighth { number, bytes: 0 };
        }
        eighth.bytes += bytes;
    }

    /// The rate over seven whole eighths and the present one so far.
    fn rate(&self, now_ms: u64) -> u64 {
        let now = now_ms / EIGHTH;
        let is_in = |eighth: &&Eighth| (now.saturating_sub(7)..=now).contains(&eighth.number);
        let bytes: u64 = self.0.iter().filter(is_in).map(|eighth| eighth.bytes).sum();
        bytes * 1000 / (7 * EIGHTH + now_ms % EIGHTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_second() {
        let stats = TransferStats::default();
        assert_eq!(stats.read(50_000), Transfer::default());
        // 1 MB a second, for two seconds.
        for ms in (50_000..52_000).step_by(10) {
            stats.page(ms, 10_000);
        }
        for (now, least, most) in [
            (52_000, 990_000, 1_010_000),
            (52_060, 930_000, 950_000),
            (52_500, 420_000, 510_000),
            (53_000, 0, 0),
            (90_000, 0, 0),
        ] {
            let rate = stats.read(now).rate;
            assert!((least..=most).contains(&rate), "{rate} at {now}");
        }
        assert_eq!(stats.read(90_000).bytes, 2_000_000);
    }

    #[test]
    fn records_are_counted() {
        let stats = TransferStats::default();
        stats.records(1, 2);
        stats.records(10, 20);
        let Transfer { moved, kept, .. } = stats.read(0);
        assert_eq!((moved, kept), (11, 22));
    }
}
