//! What one process has and the next one needs: a port, a lock.
//!
//! A process that is killed gives up its port and its locks when the system has taken it apart,
//! some milliseconds after `kill` has returned, or more on a busy machine. Whoever starts the next
//! one at once must not be told that another process is there. So what is taken is tried again for
//! a moment.
//!
//! What it does not do: it does not wait for a process that ends by itself and drains its
//! connections; that takes seconds, and the scripts wait for it.

use std::thread;
use std::time::{Duration, Instant};

/// How long to try. Far more than the end of a killed process takes; little for a person who has
/// started a process twice and waits for the error.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `take` until it succeeds, fails for another reason than that somebody else has it, or
/// [`PATIENCE`] has passed since `began`. Blocks for so long.
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

    /// How the tries end, where the first ones are told these errors.
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
    fn what_is_taken_is_tried_again_and_nothing_else() {
        let now = Instant::now();
        assert_eq!(tries(&[], now), (Ok(()), 1));
        assert_eq!(tries(&["denied", "taken"], now), (Err("denied"), 1));
        let long_ago = now.checked_sub(PATIENCE).expect("the machine has run for a second");
        assert_eq!(tries(&["taken", "taken"], long_ago), (Err("taken"), 1));
        // As often as it takes, as long as there is time: the clock of the test may jump, so only
        // the end counts.
        assert_eq!(tries(&["taken"; 3], Instant::now() + PATIENCE), (Ok(()), 4));
    }
}
