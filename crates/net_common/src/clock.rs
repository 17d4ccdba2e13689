//! The two clocks: wall time for versions, time since boot for leases and deadlines.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the Unix epoch. May jump; only versions use it, through a hybrid clock that
/// never goes back.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Milliseconds since boot, suspended time included (CLOCK_BOOTTIME): a machine that was suspended
/// must see that its lease is over, and `Instant` does not advance meanwhile (F9).
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_tick() {
        assert!(wall_ms() > 1_700_000_000_000);
        let before = boot_ms();
        assert!(boot_ms() >= before);
    }
}
