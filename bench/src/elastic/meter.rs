//! Throughput and waits of the load over time.
//!
//! A [`Track`] has a tick for each 10 ms, which counts the operations that ended in it and keeps
//! the longest wait, so its size depends on time and not on the number of operations. The figures
//! of an event are sums and maxima over ticks.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(10);

/// Most ticks of a track: two hours. Later operations are counted in the last tick.
const MOST_TICKS: usize = 720_000;

/// The operations that ended within one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tick {
    ops: u32,
    errors: u32,
    /// The longest wait, and when it ended.
    longest: Duration,
    ended: Duration,
}

/// Consecutive ticks from time 0.
#[derive(Debug, Clone, Default)]
pub struct Track(Vec<Tick>);

fn tick(at: Duration) -> usize {
    ((at.as_nanos() / TICK.as_nanos()) as usize).min(MOST_TICKS - 1)
}

impl Track {
    /// Records `ops` operations that ended together, `errors` of them with an error, after this
    /// wait.
    pub fn note(&mut self, ended: Duration, wait: Duration, ops: u32, errors: u32) {
        let at = tick(ended);
        if self.0.len() <= at {
            self.0.resize(at + 1, Tick::default());
        }
        let tick = &mut self.0[at];
        tick.ops = tick.ops.saturating_add(ops);
        tick.errors = tick.errors.saturating_add(errors);
        if wait > tick.longest {
            (tick.longest, tick.ended) = (wait, ended);
        }
    }

    fn within(&self, from: Duration, to: Duration) -> &[Tick] {
        let end = tick(to).min(self.0.len());
        &self.0[tick(from).min(end)..end]
    }

    /// Successful operations a second between two times.
    pub fn rate(&self, from: Duration, to: Duration) -> f64 {
        let ops = |tick: &Tick| u64::from(tick.ops.saturating_sub(tick.errors));
        let ticks = tick(to).saturating_sub(tick(from)).max(1);
        let ops: u64 = self.within(from, to).iter().map(ops).sum();
        ops as f64 / (ticks as f64 * TICK.as_secs_f64())
    }

    /// Failed operations between two times.
    pub fn errors(&self, from: Duration, to: Duration) -> u64 {
        self.within(from, to).iter().map(|tick| u64::from(tick.errors)).sum()
    }

    /// All successful operations.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|tick| u64::from(tick.ops.saturating_sub(tick.errors))).sum()
    }

    /// The longest wait between two times. It covers every operation in progress then, even if it
    /// ended later, and excludes the wait before `from`.
    pub fn longest(&self, from: Duration, to: Duration) -> Duration {
        let ticks = &self.0[tick(from).min(self.0.len())..];
        ticks
            .iter()
            .filter(|tick| tick.ended > from && tick.ended - tick.longest < to)
            .map(|tick| tick.longest.min(tick.ended - from))
            .max()
            .unwrap_or_default()
    }
}

/// The sources of operations that are measured separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencySource {
    /// The batches of the load.
    Load,
    /// Single puts.
    Writes,
    /// Single gets.
    Reads,
}

/// The tracks of all sources, shared by the threads that record into them.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    tracks: [Mutex<Track>; 3],
}

/// Copies of the tracks, for evaluation.
#[derive(Debug, Clone, Default)]
pub struct Tracks {
    /// The batches of the load.
    pub load: Track,
    /// Single puts.
    pub writes: Track,
    /// Single gets.
    pub reads: Track,
}

impl Tracks {
    /// All successful operations.
    pub fn total(&self) -> u64 {
        self.load.total() + self.writes.total() + self.reads.total()
    }
}

impl Meter {
    /// Starts the clock at 0.
    pub fn start() -> Meter {
        Meter { start: Instant::now(), tracks: Default::default() }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// As [`Track::note`].
    pub fn note(
        &self,
        source: LatencySource,
        ended: Instant,
        wait: Duration,
        ops: u32,
        errors: u32,
    ) {
        let ended = ended.saturating_duration_since(self.start);
        self.tracks[source as usize].lock().note(ended, wait, ops, errors);
    }

    /// The tracks as they are now.
    pub fn tracks(&self) -> Tracks {
        let copy = |source| self.tracks[source as usize].lock().clone();
        Tracks {
            load: copy(LatencySource::Load),
            writes: copy(LatencySource::Writes),
            reads: copy(LatencySource::Reads),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn rates_and_errors_are_counted_by_time() {
        let mut track = Track::default();
        track.note(ms(5), ms(1), 100, 0);
        track.note(ms(15), ms(1), 50, 10);
        track.note(ms(95), ms(1), 7, 0);
        assert_eq!(track.rate(ms(0), ms(20)), 7_000.0);
        assert_eq!(track.rate(ms(10), ms(20)), 4_000.0);
        assert_eq!(track.rate(ms(20), ms(90)), 0.0);
        assert_eq!(track.rate(ms(90), ms(1_090)), 7.0, "time without any counts");
        assert_eq!(track.rate(ms(5_000), ms(6_000)), 0.0);
        assert_eq!((track.errors(ms(0), ms(10)), track.errors(ms(0), ms(20))), (0, 10));
        assert_eq!(track.total(), 147);
    }

    #[test]
    fn a_wait_counts_from_the_event() {
        let mut track = Track::default();
        // From 50 to 120, from 190 to 500, from 900 to 910.
        track.note(ms(120), ms(70), 1, 0);
        track.note(ms(500), ms(310), 1, 0);
        track.note(ms(505), ms(2), 1, 0);
        track.note(ms(910), ms(10), 1, 0);
        assert_eq!(track.longest(ms(0), ms(100)), ms(70));
        assert_eq!(track.longest(ms(100), ms(150)), ms(20), "20 of it were after 100");
        assert_eq!(track.longest(ms(100), ms(200)), ms(310), "it was under way");
        assert_eq!(track.longest(ms(400), ms(450)), ms(100));
        assert_eq!(track.longest(ms(600), ms(800)), ms(0));
        assert_eq!(track.longest(ms(600), ms(1_000)), ms(10));
        assert_eq!(Track::default().longest(ms(0), ms(1)), ms(0));
    }

    #[test]
    fn a_meter_keeps_its_sources_apart() {
        let meter = Meter::start();
        meter.note(LatencySource::Load, Instant::now(), ms(1), 512, 0);
        meter.note(LatencySource::Reads, Instant::now(), ms(1), 1, 1);
        let tracks = meter.tracks();
        assert_eq!(tracks.load.total(), 512);
        assert_eq!((tracks.writes.total(), tracks.reads.total()), (0, 0));
        assert_eq!(tracks.reads.errors(ms(0), ms(60_000)), 1);
        let mut late = Track::default();
        late.note(Duration::from_secs(10 * 86_400), ms(1), 1, 0);
        assert_eq!(late.0.len(), MOST_TICKS, "but not longer");
    }
}
