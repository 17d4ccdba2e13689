//! Pauses between attempts after a failure of the disk, and between complaints in the log.

use std::time::{Duration, Instant};

/// The longest pause between two attempts: an operator who has made space should not wait longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The interval between complaints of one kind.
const REPEAT: Duration = Duration::from_secs(30);

/// The pause before a failed operation is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPause {
    at: Instant,
    length: Duration,
}

impl RetryPause {
    /// The pause after `before`, or the first one.
    pub fn after(before: Option<RetryPause>, first: Duration) -> RetryPause {
        let length = before.map_or(first, |before| (before.length * 2).min(LONGEST_PAUSE));
        RetryPause { at: Instant::now() + length, length }
    }

    /// Its length.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The time that is left of it.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Limits how often complaints of one kind are logged.
#[derive(Debug, Default)]
pub struct Complaints(Option<Instant>);

impl Complaints {
    /// Whether to complain now.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= REPEAT);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let first = RetryPause::after(None, Duration::from_secs(1));
        let lengths = std::iter::successors(Some(first), |&before| {
            Some(RetryPause::after(Some(before), Duration::from_secs(1)))
        });
        let lengths: Vec<u64> = lengths.map(|pause| pause.length.as_secs()).take(8).collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
