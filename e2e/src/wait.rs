//! Waiting for conditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for an event that must happen. Far longer than it takes: a test must fail
/// because something is wrong, not because the machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` returns a value, and returns that.
///
/// # Panics
/// After [`PATIENCE`], with the description of the condition and its last error.
pub fn wait_until<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    wait_within(PATIENCE, what, condition)
}

/// The same with another time limit.
pub(crate) fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < until, "waited in vain until {what}: {why}"),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Sets a flag when dropped: stops threads beside a test, also if the test fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
