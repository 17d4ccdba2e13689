//! The choice of the next key: uniform, or with a few keys far more popular than the rest, as in
//! most real stores.

use rand::RngExt;
use rand::rngs::StdRng;

/// The skew that the YCSB benchmark uses: of a thousand keys the most popular
/// one gets an eighth of all operations.
pub const YCSB_SKEW: f64 = 0.99;

/// A way to draw indexes below a number of keys.
#[derive(Debug, Clone)]
pub(super) enum KeyChoice {
    Uniform { keys: u32 },
    Zipf(Zipf),
}

impl KeyChoice {
    /// All of `keys` equally likely.
    pub(super) fn uniform(keys: u32) -> Self {
        Self::Uniform { keys }
    }

    /// The key with index i as likely as (i + 1) to the power of -`skew`, with
    /// a skew between 0 and 1.
    ///
    /// YCSB scatters the popular keys over the index range by a hash. Here the
    /// ring does that already, by the hash of the key's text.
    pub(super) fn zipf(keys: u32, skew: f64) -> Self {
        Self::Zipf(Zipf::new(keys, skew))
    }

    pub(super) fn draw(&self, rng: &mut StdRng) -> u32 {
        match self {
            Self::Uniform { keys } => rng.random_range(0..*keys),
            Self::Zipf(zipf) => zipf.index(rng.random()),
        }
    }
}

/// The generator of YCSB (`ZipfianGenerator.java`), from Gray et al., "Quickly
/// Generating Billion-Record Synthetic Databases", SIGMOD 1994: exact for the
/// first two indexes, a close continuous formula for the others, no table.
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    keys: u32,
    skew: f64,
    /// Sum of all weights.
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Takes time in proportion to `keys`, once: 20 ms for a million.
    fn new(keys: u32, skew: f64) -> Self {
        let zeta = |count: u32| (1..=count).map(|i| f64::from(i).powf(-skew)).sum::<f64>();
        let zeta_of_all = zeta(keys);
        let eta = (1.0 - (2.0 / f64::from(keys)).powf(1.0 - skew)) / (1.0 - zeta(2) / zeta_of_all);
        Self { keys, skew, zeta: zeta_of_all, eta }
    }

    /// The index for a number from 0 to 1 (exclusive).
    fn index(&self, uniform: f64) -> u32 {
        let weight = uniform * self.zeta;
        if weight < 1.0 {
            return 0;
        }
        if weight < 1.0 + 0.5_f64.powf(self.skew) {
            return 1;
        }
        let part = (self.eta * uniform - self.eta + 1.0).powf(1.0 / (1.0 - self.skew));
        // Rounding could reach the number of keys itself.
        ((f64::from(self.keys) * part) as u32).min(self.keys - 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DRAWS: u32 = 200_000;

    fn histogram(choice: &KeyChoice, keys: u32) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = vec![0; keys as usize];
        for _ in 0..DRAWS {
            counts[choice.draw(&mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_is_even() {
        for count in histogram(&KeyChoice::uniform(100), 100) {
            // 2,000 expected, with a standard deviation of 45.
            assert!((1_750..2_250).contains(&count), "{count}");
        }
    }

    #[test]
    fn zipf_follows_the_law() {
        for skew in [0.5, YCSB_SKEW] {
            let counts = histogram(&KeyChoice::zipf(1_000, skew), 1_000);
            let zeta: f64 = (1..=1_000).map(|i| f64::from(i).powf(-skew)).sum();
            // Single popular keys, and tails together: the formula is only
            // close, so a tenth off is allowed (more for the third, where the
            // continuous formula takes over from the exact one).
            let share = |range: std::ops::Range<usize>| {
                let drawn: u32 = counts[range.clone()].iter().sum();
                let due: f64 = range.map(|i| (i as f64 + 1.0).powf(-skew)).sum();
                f64::from(drawn) / f64::from(DRAWS) / (due / zeta)
            };
            for range in [0..1, 1..2, 4..8, 10..100, 100..1_000] {
                let ratio = share(range.clone());
                assert!((0.9..1.1).contains(&ratio), "{skew} {range:?}: {ratio}");
            }
        }
    }

    #[test]
    fn the_smallest_numbers_of_keys_work() {
        for keys in 1..5 {
            let counts = histogram(&KeyChoice::zipf(keys, YCSB_SKEW), keys);
            assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        }
    }

    #[test]
    fn the_bounds_of_the_range_are_keys() {
        let zipf = Zipf::new(1_000_000, YCSB_SKEW);
        assert_eq!(zipf.index(0.0), 0);
        assert!(zipf.index(1.0_f64.next_down()) < 1_000_000);
    }
}
