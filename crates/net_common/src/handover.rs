//! Taking over a port or a lock from a process that is exiting.
//!
//! The system releases the ports and locks of a killed process some milliseconds after `kill` has
//! returned, or later on a busy machine. A process that is started right away must not fail because
//! of that, so it retries for a moment.
//!
//! It does not wait for a process that shuts down in order and drains its connections: that takes
//! seconds, and the scripts wait for it.

use std::thread;
use std::time::{Duration, Instant};

/// How long to retry: far longer than the system needs for a killed process, and short for a person
/// who has started a process twice and waits for the error.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `take` until it succeeds, fails for another reason than that another process has it, or
/// [`PATIENCE`] has passed since `began`. Blocks meanwhile.
///
/// # Errors
/// That of the last try.
pub fn retry<T, E>(
    began: Instant,
    is_taken: impl Fn(&E) -> bool,
    mut take: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match take() {
            Err(error) if is_taken(&error) && began.elapsed() < PATIENCE => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of retrying after these errors.
    fn tries(errors: &[&'static str], began: Instant) -> (Result<(), &'static str>, usize) {
        let mut count = 0;
        let result = retry(
            began,
            |error| *error == "taken",
            || {
                count += 1;
                errors.get(count - 1).map_or(Ok(()), |error| Err(*error))
            },
        );
        (result, count)
    }

    #[test]
    fn only_an_occupied_resource_is_retried() {
        let now = Instant::now();
        assert_eq!(tries(&[], now), (Ok(()), 1));
        assert_eq!(tries(&["denied", "taken"], now), (Err("denied"), 1));
        let long_ago = now.checked_sub(PATIENCE).expect("the machine has run for a second");
        assert_eq!(tries(&["taken", "taken"], long_ago), (Err("taken"), 1));
        // The number of tries depends on the machine, so only the result counts.
        assert_eq!(tries(&["taken"; 3], Instant::now() + PATIENCE), (Ok(()), 4));
    }
}
