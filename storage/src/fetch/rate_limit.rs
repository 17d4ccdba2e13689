//! The rate limit of a node's transfers (`--transfer-mb-s`).
//!
//! Each page costs time: the next one may be requested only after it. All workers share one
//! [`RateLimit`], so the costs of their pages add up, and the long-term rate is exactly the limit.
//! Unused rate is not saved up: there are no bursts.

use std::time::Duration;

/// The rate limit of all transfers of a node. The caller passes the time.
pub struct RateLimit {
    /// Bytes a second; `None`: no limit.
    limit: Option<u64>,
    /// When the cost of all pages is paid, since any start.
    paid: Duration,
}

impl RateLimit {
    /// A limit in megabytes (millions of bytes) a second, at least 1; `None`: no limit.
    pub fn new(megabytes_a_second: Option<u64>) -> RateLimit {
        RateLimit { limit: megabytes_a_second.map(|n| n * 1_000_000), paid: Duration::ZERO }
    }

    /// Charges so many bytes that were received now. Returns how long the worker has to wait before
    /// its next request.
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

    /// Simulates workers that fetch pages continuously until `until`. Returns the number of bytes.
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
