//! CLIENT PAUSE: requests of this node's connections wait for a while.
//!
//! It affects only clients of this node's Redis ports: other nodes continue to serve, and so do
//! native clients. Unlike in Redis a pause of all requests does not hold up CLIENT UNPAUSE.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often a waiting request checks whether the node is stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Whether requests wait.
#[derive(Default)]
pub struct Pause {
    /// Whether there is a pause: cheap to check for each request.
    is_on: AtomicBool,
    state: Mutex<Option<PauseState>>,
    ended: Condvar,
    waiting: AtomicU64,
}

struct PauseState {
    until: Instant,
    writes_only: bool,
}

impl Pause {
    /// Starts a pause, or extends the present one; the stricter of both holds.
    pub fn begin(&self, time: Duration, writes_only: bool) {
        // If the clock cannot represent the end: a day.
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now + Duration::from_secs(86_400));
        let mut state = self.state.lock();
        let before = state.take().filter(|state| state.until > now);
        *state = Some(match before {
            None => PauseState { until, writes_only },
            Some(before) => PauseState {
                until: before.until.max(until),
                writes_only: before.writes_only && writes_only,
            },
        });
        self.is_on.store(true, Ordering::SeqCst);
        self.ended.notify_all();
    }

    /// Ends it.
    pub fn end(&self) {
        *self.state.lock() = None;
        self.is_on.store(false, Ordering::SeqCst);
        self.ended.notify_all();
    }

    /// Whether there is one.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// The number of connections that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until a request may proceed: one that may change keys, or another. Returns at once
    /// when `is_over`.
    pub fn wait(&self, writes: bool, is_over: impl Fn() -> bool) {
        let mut state = self.state.lock();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        while let Some(pause) = &*state
            && (writes || !pause.writes_only)
            && !is_over()
        {
            let left = pause.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *state = None;
                self.is_on.store(false, Ordering::SeqCst);
                break;
            }
            self.ended.wait_for(&mut state, left.min(POLL_INTERVAL));
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn the_stricter_of_two_pauses_holds() {
        let pause = Arc::new(Pause::default());
        pause.wait(true, || unreachable!("there is none"));
        pause.begin(LONG, true);
        pause.wait(false, || unreachable!("reads go on"));
        pause.begin(Duration::from_millis(1), false);
        assert!(pause.is_on());
        let waiting = pause.clone();
        let waiting = thread::spawn(move || waiting.wait(false, || false));
        assert!(!waiting.is_finished());
        pause.end();
        waiting.join().unwrap();
        assert!(!pause.is_on());
    }

    #[test]
    fn a_pause_ends_by_itself_and_when_the_node_stops() {
        let pause = Pause::default();
        pause.begin(Duration::from_millis(20), false);
        pause.wait(true, || false);
        assert!(!pause.is_on());
        pause.begin(LONG, false);
        pause.wait(true, || true);
        assert!(pause.is_on());
    }
}
