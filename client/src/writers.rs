//! The writer ids of a client.
//!
//! Each call that writes uses a *writer* of its own, taken from a pool for the duration of the
//! call. So when the call is over and every write in it is known to be done (or stored nowhere),
//! one *watermark* commits all of this writer's writes up to it (rule N3). A writer with a write
//! whose outcome is unknown is never used again, and sends no further watermark.
//!
//! All writers of a client draw from one clock, so that its operations are ordered as they were
//! called.

use std::ops::Range;
use std::time::{Duration, Instant};

use cluster::replica;
use cluster::version::{COUNTER_BITS, Clock, Op, Version, WriterClock};
use fxhash::FxHashMap;
use parking_lot::Mutex;

/// A client that has received no clock for so long requests one before it draws a version (rule
/// N5): a version with an old clock might be refused as too old.
const STALE: Duration = Duration::from_secs(60);

/// The writers of one client.
pub(crate) struct Writers(Mutex<Pool>);

struct Pool {
    /// Random, so that no two clients meet: the first writer's id. The others count on from it.
    first: u64,
    made: u64,
    idle: Vec<u64>,
    clock: WriterClock,
    observed: Instant,
    /// Read-modify-writes that have been tried, for their names.
    ops: u64,
    /// The watermark of each writer.
    watermarks: FxHashMap<u64, Clock>,
}

impl Writers {
    /// A pool whose writer ids count from 64 random bits.
    pub(crate) fn new(first: u64) -> Writers {
        let (clock, observed) = (WriterClock::default(), Instant::now());
        let (idle, watermarks) = (Vec::new(), FxHashMap::default());
        Writers(Mutex::new(Pool { first, made: 0, idle, clock, observed, ops: 0, watermarks }))
    }

    /// Folds in a clock that a server reported.
    pub(crate) fn observe(&self, clock: Clock) {
        let mut pool = self.0.lock();
        pool.clock.observe(clock);
        pool.observed = Instant::now();
    }

    /// Whether no server has reported a clock recently.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.lock().observed.elapsed() > STALE
    }

    /// The time by the servers' clocks, in milliseconds since 1970: the last reported one plus the
    /// time since.
    pub(crate) fn now_ms(&self) -> u64 {
        let pool = self.0.lock();
        (pool.clock.highest() >> COUNTER_BITS) + pool.observed.elapsed().as_millis() as u64
    }

    /// A writer for one call that is to draw at least so many versions.
    pub(crate) fn take(&self, count: usize) -> Writer<'_> {
        let mut pool = self.0.lock();
        let id = pool.idle.pop().unwrap_or_else(|| {
            pool.made += 1;
            // 0 means no writer.
            pool.first.wrapping_add(pool.made).max(1)
        });
        let reserved = pool.clock.reserve(count);
        Writer { writers: self, id, reserved, drawn: 0, is_sure: true }
    }

    /// Whether this client has itself completed a version, whether or not the replicas know.
    pub(crate) fn cover(&self, version: &Version) -> bool {
        let pool = self.0.lock();
        pool.watermarks
            .get(&version.writer)
            .is_some_and(|watermark| replica::is_covered(version, *watermark))
    }

    /// An unused name for a read-modify-write.
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
    /// Clocks for its first versions: a batch need not lock the pool for each of its writes.
    reserved: Range<Clock>,
    /// The highest clock drawn.
    drawn: Clock,
    is_sure: bool,
}

impl Writer<'_> {
    /// Draws a version.
    pub(crate) fn draw(&mut self) -> Version {
        let version = match self.reserved.next() {
            Some(clock) => Version::plain(clock, self.id),
            None => self.writers.0.lock().clock.draw(self.id),
        };
        self.drawn = version.clock;
        version
    }

    /// Draws a version above the ones that replicas reported (C1).
    pub(crate) fn draw_above(&mut self, above: Version) -> Version {
        self.reserved = 0..0;
        self.writers.0.lock().clock.observe(above.clock);
        self.draw()
    }

    /// The outcome of one of its writes is unknown: it may be stored at some replicas.
    pub(crate) fn doubt(&mut self) {
        self.is_sure = false;
    }

    /// The watermark to send now that every write of this writer is done, or stored nowhere.
    pub(crate) fn watermark(&self) -> Option<(u64, Clock)> {
        let watermark = (self.is_sure && self.drawn > 0).then_some((self.id, self.drawn));
        if let Some((id, clock)) = watermark {
            self.writers.0.lock().watermarks.insert(id, clock);
        }
        watermark
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut pool = self.writers.0.lock();
        if self.is_sure { pool.idle.push(self.id) } else { _ = pool.watermarks.remove(&self.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_once_have_writers_of_their_own_and_one_clock() {
        let writers = Writers::new(7);
        let (mut a, mut b) = (writers.take(2), writers.take(0));
        let (first, third, second) = (a.draw(), a.draw(), b.draw());
        assert!(first < third && third < second && second < a.draw_above(second));
        assert!(first.writer == third.writer && first.writer != second.writer);
        assert!(!writers.cover(&first));
        assert_eq!(a.watermark(), Some((third.writer, a.drawn)));
        assert!(writers.cover(&first) && !writers.cover(&second));
        drop(b);
        assert_eq!(writers.take(1).draw().writer, second.writer, "used again");
    }

    #[test]
    fn a_writer_in_doubt_sends_no_watermark_and_is_not_used_again() {
        let writers = Writers::new(7);
        let mut writer = writers.take(0);
        let id = writer.draw().writer;
        writer.doubt();
        assert_eq!(writer.watermark(), None);
        drop(writer);
        assert_ne!(writers.take(1).draw().writer, id);
    }

    #[test]
    fn a_writer_without_writes_sends_no_watermark() {
        assert_eq!(Writers::new(7).take(5).watermark(), None);
    }
}
