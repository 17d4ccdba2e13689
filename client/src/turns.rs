//! Turns: the order in which calls of one client change a key.
//!
//! A read-modify-write starts again when another write changes the key between its read and its
//! write. If many threads change one key, nearly all of their work is wasted, and chance decides
//! which of them succeeds. So a call that has lost once queues for a turn, and a call that finds a
//! queue joins it: first come, first served. The call with the turn competes with other clients
//! only, and pauses for a random time after each loss, longer each time.
//!
//! Keys share turns by their hash. That costs an occasional wait, but never a wrong result. Several
//! turns are taken in ascending order, so that no two calls wait for each other.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::time::{Duration, Instant};

use fxhash::FxHasher64;
use parking_lot::{FairMutex, FairMutexGuard};

/// The number of turns. Contention on so many keys at once is rare, and each turn is a byte.
const TURNS: usize = 1024;

/// Bounds of the random pause after a loss: it doubles with each loss, from the first to the last.
/// A round takes about a millisecond in a local network; with the last bound fifty clients and more
/// succeed one by one.
const FIRST_REST: Duration = Duration::from_millis(1);
const LAST_REST: Duration = Duration::from_millis(64);

/// The turns of a client.
pub(crate) struct Turns(Vec<FairMutex<()>>);

/// The turns that a call holds, and its present pause.
pub(crate) struct HeldTurns<'t> {
    turns: &'t Turns,
    guards: Vec<(usize, FairMutexGuard<'t, ()>)>,
    rest: Duration,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns((0..TURNS).map(|_| FairMutex::new(())).collect())
    }

    fn of(&self, key: &[u8]) -> usize {
        let mut hasher = FxHasher64::default();
        hasher.write(key);
        // The low bits of this hash know least of the key.
        (hasher.finish() >> 32) as usize % TURNS
    }

    /// No turns yet.
    pub(crate) fn none(&self) -> HeldTurns<'_> {
        HeldTurns { turns: self, guards: Vec::new(), rest: FIRST_REST }
    }
}

impl HeldTurns<'_> {
    /// Joins the queues of those of these keys whose turn is taken. Waits until `until` at most.
    /// Returns whether there were any.
    pub(crate) fn queue<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]>,
        until: Instant,
    ) -> bool {
        let busy =
            keys.map(|key| self.turns.of(key)).filter(|turn| self.turns.0[*turn].is_locked());
        let busy: BTreeSet<usize> = busy.collect();
        let is_any = !busy.is_empty();
        if is_any {
            self.take(busy, until);
        }
        is_any
    }

    /// After a loss on these keys: queues for their turns, or pauses if it holds them.
    pub(crate) fn lost<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, until: Instant) {
        let lost: BTreeSet<usize> = keys.map(|key| self.turns.of(key)).collect();
        let has = |turn: &usize| self.guards.iter().any(|(held, _)| held == turn);
        if !lost.iter().all(has) {
            return self.take(lost, until);
        }
        let share = random() as f64 / u64::MAX as f64;
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(self.rest.mul_f64(share).min(left));
        self.rest = (self.rest * 2).min(LAST_REST);
    }

    /// Gives up the turns of all keys but these.
    pub(crate) fn keep<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) {
        if self.guards.is_empty() {
            return;
        }
        let wanted: BTreeSet<usize> = keys.map(|key| self.turns.of(key)).collect();
        self.guards.retain(|(turn, _)| wanted.contains(turn));
    }

    /// Acquires these turns and those that it has, in ascending order. It continues without the
    /// turns that it does not get in time.
    fn take(&mut self, mut wanted: BTreeSet<usize>, until: Instant) {
        // A turn below one that it has can be waited for only without that.
        wanted.extend(self.guards.drain(..).map(|(turn, _)| turn));
        for turn in wanted {
            let Some(guard) = self.turns.0[turn].try_lock_until(until) else { return };
            self.guards.push((turn, guard));
        }
    }
}

/// Random bits that differ between clients: all that a random pause needs.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn calls_that_have_lost_proceed_one_at_a_time() {
        let (turns, inside) = (Turns::new(), AtomicUsize::new(0));
        let until = Instant::now() + PATIENCE;
        thread::scope(|scope| {
            for thread in 0..8 {
                let (turns, inside) = (&turns, &inside);
                scope.spawn(move || {
                    // In each order: two calls must not wait for each other.
                    let mut keys = [b"a".as_slice(), b"b", b"c"];
                    keys.rotate_left(thread % 3);
                    for _ in 0..100 {
                        let mut held = turns.none();
                        for key in keys {
                            held.lost([key].into_iter(), until);
                        }
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(Instant::now() < until, "they waited for each other");
    }

    #[test]
    fn a_turn_is_waited_for_until_the_deadline_and_given_back() {
        let turns = Turns::new();
        let key = || [b"key".as_slice()].into_iter();
        let (mut one, mut other) = (turns.none(), turns.none());
        assert!(!one.queue(key(), Instant::now()), "nobody has it");
        one.lost(key(), Instant::now() + PATIENCE);
        assert!(other.queue(key(), Instant::now()));
        assert!(other.guards.is_empty(), "no time was left");
        one.keep(std::iter::empty());
        other.lost(key(), Instant::now() + PATIENCE);
        assert_eq!(other.guards.len(), 1);
        other.keep(key());
        assert_eq!(other.guards.len(), 1);
        // With the turn it rests, and no longer than there is time.
        other.rest = Duration::from_secs(3600);
        other.lost(key(), Instant::now());
        assert_eq!(other.rest, LAST_REST);
    }
}
