//! Times of operations: a histogram with percentiles exact to three digits.
//!
//! Each worker thread records into a [`Latency`] of its own, so that recording never blocks; they
//! are merged at the end. A histogram takes about a quarter of a megabyte, for any number of
//! samples.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Shortest time distinguished from zero, in nanoseconds.
const LOWEST_NANOS: u64 = 1;

/// Longest time distinguished, in nanoseconds: a minute, well beyond any operation's deadline.
/// Longer samples count as this long.
const HIGHEST_NANOS: u64 = 60_000_000_000;

/// Digits that a percentile is exact to.
const DIGITS: u8 = 3;

/// Nanoseconds in a microsecond, the unit of the answers.
const NANOS_PER_MICRO: f64 = 1_000.0;

/// The durations of many operations.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// No samples yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NANOS, HIGHEST_NANOS, DIGITS)
            .expect("the bounds are constants that the crate accepts");
        Self(histogram)
    }

    /// Adds one sample; beyond a minute it counts as a minute.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(HIGHEST_NANOS);
        self.0.saturating_record(nanos.clamp(LOWEST_NANOS, HIGHEST_NANOS));
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("every histogram of this type has the same bounds");
    }

    /// Samples so far.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The median in microseconds. All of these figures are 0 without samples.
    pub fn p50_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// The 99th percentile, in microseconds.
    pub fn p99_us(&self) -> f64 {
        self.quantile_us(0.99)
    }

    /// The 99.9th percentile, in microseconds.
    pub fn p999_us(&self) -> f64 {
        self.quantile_us(0.999)
    }

    /// The longest sample in microseconds.
    pub fn max_us(&self) -> f64 {
        self.quantile_us(1.0)
    }

    fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / NANOS_PER_MICRO
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three digits mean at most a thousandth off.
    fn assert_close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= expected / 1_000.0, "{actual} is not {expected}");
    }

    fn of_micros(samples: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        for micros in samples {
            latency.record(Duration::from_micros(micros));
        }
        latency
    }

    #[test]
    fn percentiles_of_1_to_1000_are_right() {
        let latency = of_micros(1..=1_000);
        assert_eq!(latency.count(), 1_000);
        assert_close(latency.p50_us(), 500.0);
        assert_close(latency.p99_us(), 990.0);
        assert_close(latency.p999_us(), 999.0);
        assert_close(latency.max_us(), 1_000.0);
    }

    #[test]
    fn merging_equals_recording_into_one() {
        let mut merged = of_micros(1..=500);
        merged.merge(&of_micros(501..=1_000));
        let whole = of_micros(1..=1_000);
        assert_eq!(merged.count(), whole.count());
        assert_eq!(merged.p50_us(), whole.p50_us());
        assert_eq!(merged.p99_us(), whole.p99_us());
        assert_eq!(merged.max_us(), whole.max_us());
    }

    #[test]
    fn an_empty_histogram_has_zeros() {
        let latency = Latency::default();
        assert_eq!(latency.count(), 0);
        assert_eq!(latency.p50_us(), 0.0);
        assert_eq!(latency.max_us(), 0.0);
    }

    #[test]
    fn extreme_samples_count_at_the_bounds() {
        let mut latency = Latency::new();
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        assert_eq!(latency.count(), 2);
        assert_eq!(latency.p50_us(), 0.001);
        assert_close(latency.max_us(), 60e6);
    }
}
