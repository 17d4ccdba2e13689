//! How fast a node may fetch (`--transfer-mb-s`).
//!
//! Every page that has come is paid for with time: the next may be asked for when that is over. All
//! workers share one [`RateLimit`], so their pages are paid for one after the other, and what comes
//! in the long run is exactly what is allowed. Nothing is saved up while nothing is fetched: there
//! are no bursts.

use std::time::Duration;

/// The rate of all that a node fetches. Does not know the time: it is told.
pub struct RateLimit {
    /// Bytes a second; `None`: as fast as it goes.
    limit: Option<u64>,
    /// When all that has come is paid for, since any start.
    paid: Duration,
}

impl RateLimit {
    /// So many megabytes (millions of bytes) a second, at least 1; `None`: as fast as it goes.
    pub fn new(megabytes_a_second: Option<u64>) -> RateLimit {
        RateLimit { limit: megabytes_a_second.map(|n| n * 1_000_000), paid: Duration::ZERO }
    }

    /// So many bytes have come, now. Returns how long whoever fetched them waits before asking for
    /// more.
    pub fn pay(&mut self, now: Duration, bytes: usize) -> Duration {
        let Some(limit) = self.limit else { return Duration::ZERO };
        let price = Duration::from_secs_f64(bytes as f64 / limit as f64);
        self.paid = self.paid.max(now) + price;
        self.paid - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that fetch pages without an end for so long. Returns how many bytes came.
    fn fetch(
        rate_limit: &mut RateLimit,
        workers: usize,
        page: usize,
        took: Duration,
        until: Duration,
    ) -> u64 {
        let mut ready = vec![took; workers];
        let mut bytes = 0;
        loop {
            let next = (0..workers).min_by_key(|&w| ready[w]).unwrap();
            let now = ready[next];
            if now > until {
                return bytes;
            }
            bytes += page as u64;
            ready[next] = now + rate_limit.pay(now, page) + took;
        }
    }

    #[test]
    fn all_workers_together_stay_within_the_limit() {
        let ms = Duration::from_millis;
        for (limit, workers, page, took, want) in [
            (1, 1, 100_000, ms(1), 10_000_000.0),
            (1, 4, 100_000, ms(1), 10_000_000.0),
            (50, 4, 128 << 10, ms(1), 500_000_000.0),
            (100_000, 4, 128 << 10, ms(1), 4.0 * 128.0 * 1024.0 * 10_000.0),
            // Slower than it may be.
            (10, 1, 1000, ms(1), 10_000_000.0),
        ] {
            let mut rate_limit = RateLimit::new(Some(limit));
            let got = fetch(&mut rate_limit, workers, page, took, Duration::from_secs(10)) as f64;
            assert!((got / want - 1.0).abs() < 0.11, "{got} at {limit} MB/s by {workers}");
        }
    }

    #[test]
    fn unused_rate_is_not_saved_up() {
        let mut rate_limit = RateLimit::new(Some(1));
        let second = Duration::from_secs(1);
        assert_eq!(rate_limit.pay(second, 1_000_000), second);
        assert_eq!(rate_limit.pay(100 * second, 1_000_000), second);
        assert_eq!(rate_limit.pay(100 * second, 1_000_000), 2 * second);
    }

    #[test]
    fn without_a_limit_there_is_no_wait() {
        let mut rate_limit = RateLimit::new(None);
        assert_eq!(rate_limit.pay(Duration::ZERO, usize::MAX), Duration::ZERO);
    }
}
