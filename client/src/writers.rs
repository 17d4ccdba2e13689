//! Who a client writes as.
//!
//! Each call that writes does so as a *writer* of its own, taken from a pool for as long as the call lasts.
//! So when the call is over and every write in it is known to be done (or stored nowhere), one *mark*
//! tells the replicas so: all of this writer's writes up to here (rule N3). A writer with a write whose
//! outcome is unknown is never used again, and tells no mark from then on.
//!
//! All writers of a client draw from one clock, so that its operations are ordered as they were called.

use std::time::{Duration, Instant};

use cluster::version::{Clock, Op, Version, WriterClock};
use parking_lot::Mutex;

/// A client that was told no clock for so long asks before it draws a version (rule N5): a version
/// with an old clock might be refused as too old.
const STALE: Duration = Duration::from_secs(60);

/// The writers of one client.
pub(crate) struct Writers(Mutex<Pool>);

struct Pool {
    /// Random, so that no two clients meet: the first writer's id. The others count on from it.
    first: u64,
    made: u64,
    idle: Vec<u64>,
    clock: WriterClock,
    told: Instant,
    /// Read-modify-writes that have been tried, for their names.
    ops: u64,
}

impl Writers {
    /// A pool that makes writers from 64 random bits on.
    pub(crate) fn new(first: u64) -> Writers {
        let (clock, told) = (WriterClock::default(), Instant::now());
        Writers(Mutex::new(Pool { first, made: 0, idle: Vec::new(), clock, told, ops: 0 }))
    }

    /// Takes in a clock that a server told.
    pub(crate) fn tell(&self, clock: Clock) {
        let mut pool = self.0.lock();
        pool.clock.tell(clock);
        pool.told = Instant::now();
    }

    /// Whether no server has told a clock for long.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.lock().told.elapsed() > STALE
    }

    /// A writer for one call.
    pub(crate) fn take(&self) -> Writer<'_> {
        let mut pool = self.0.lock();
        let id = pool.idle.pop().unwrap_or_else(|| {
            pool.made += 1;
            // 0 means nobody.
            pool.first.wrapping_add(pool.made).max(1)
        });
        Writer { writers: self, id, drawn: 0, is_sure: true }
    }

    /// A name for a read-modify-write that nobody has used.
    pub(crate) fn op(&self) -> Op {
        let mut pool = self.0.lock();
        pool.ops += 1;
        Op { writer: pool.first, count: pool.ops }
    }
}

/// A writer in use. Goes back to the pool when dropped.
pub(crate) struct Writer<'w> {
    writers: &'w Writers,
    id: u64,
    /// The highest clock drawn.
    drawn: Clock,
    is_sure: bool,
}

impl Writer<'_> {
    /// Draws a version.
    pub(crate) fn draw(&mut self) -> Version {
        let version = self.writers.0.lock().clock.draw(self.id);
        self.drawn = version.clock;
        version
    }

    /// Draws a version above what the replicas told (C1).
    pub(crate) fn draw_above(&mut self, above: Version) -> Version {
        self.writers.0.lock().clock.tell(above.clock);
        self.draw()
    }

    /// The outcome of one of its writes is unknown: it may be stored at some replicas.
    pub(crate) fn doubt(&mut self) {
        self.is_sure = false;
    }

    /// What to tell replicas when everything that was drawn is done, or stored nowhere.
    pub(crate) fn mark(&self) -> Option<(u64, Clock)> {
        (self.is_sure && self.drawn > 0).then_some((self.id, self.drawn))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.is_sure {
            self.writers.0.lock().idle.push(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_once_have_writers_of_their_own_and_one_clock() {
        let writers = Writers::new(7);
        let (mut a, mut b) = (writers.take(), writers.take());
        let (first, second, third) = (a.draw(), b.draw(), a.draw());
        assert!(first < second && second < third);
        assert!(first.writer == third.writer && first.writer != second.writer);
        assert_eq!(a.mark(), Some((third.writer, third.clock)));
        drop(b);
        assert_eq!(writers.take().draw().writer, second.writer, "used again");
    }

    #[test]
    fn a_writer_in_doubt_tells_no_mark_and_is_not_used_again() {
        let writers = Writers::new(7);
        let mut writer = writers.take();
        let id = writer.draw().writer;
        writer.doubt();
        assert_eq!(writer.mark(), None);
        drop(writer);
        assert_ne!(writers.take().draw().writer, id);
    }

    #[test]
    fn what_writes_nothing_has_nothing_to_tell() {
        assert_eq!(Writers::new(7).take().mark(), None);
    }
}
