//! How much this node fetches from others: for the operator, and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What a node has fetched since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of pages.
    pub bytes: u64,
    /// Bytes a second over about the last second; 0 when nothing is fetched.
    pub rate: u64,
    /// Records that came.
    pub moved: u64,
    /// Records of an earlier life that a source has confirmed, and that did not have to come.
    pub kept: u64,
}

/// Counts what is fetched.
#[derive(Default)]
pub struct TransferStats {
    bytes: AtomicU64,
    moved: AtomicU64,
    kept: AtomicU64,
    window: Mutex<Window>,
}

impl TransferStats {
    /// A page came, at this time.
    pub fn page(&self, now_ms: u64, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.window.lock().add(now_ms, bytes as u64);
    }

    /// So many records were taken from a page, and so many kept because of it.
    pub fn records(&self, moved: usize, kept: usize) {
        self.moved.fetch_add(moved as u64, Ordering::Relaxed);
        self.kept.fetch_add(kept as u64, Ordering::Relaxed);
    }

    /// What has come up to this time.
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

/// An eighth of a second, by its number since the clock began, and the bytes that came in it.
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

    /// Seven whole eighths and what there is of the present one.
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
