//! Pauses between attempts, and deadlines.

use std::time::{Duration, Instant};

/// The first pause, and the last: each is twice the one before. A view change takes milliseconds
/// when all goes well.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
pub(crate) const LAST_PAUSE: Duration = Duration::from_millis(50);

/// As good as never.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The deadline after `time` from now. A time beyond the clock's range (`Duration::MAX`) means
/// *never*.
pub(crate) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + CENTURY)
}

/// Pauses between attempts that did not get further, longer each time.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// Nothing has failed yet.
    pub(crate) fn new() -> Backoff {
        Backoff(FIRST_PAUSE)
    }

    /// It got further: the next pause is a first one.
    pub(crate) fn reset(&mut self) {
        *self = Backoff::new();
    }

    /// Pauses, until `until` at most.
    pub(crate) fn pause(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(self.0.min(left));
        self.0 = (self.0 * 2).min(LAST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_anew() {
        let mut backoff = Backoff::new();
        let now = Instant::now();
        (0..9).for_each(|_| backoff.pause(now));
        assert_eq!(backoff.0, LAST_PAUSE);
        backoff.reset();
        assert_eq!(backoff.0, FIRST_PAUSE);
        assert!(after(Duration::MAX) > now + Duration::from_secs(1 << 30));
    }
}
