//! What happens to the processes in one round, as the seed has it. Pure.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use harness::service::name;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Settings, report};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Every node and the manager, all at once.
    All,
    /// Fewer nodes than there are copies, now and then with the manager.
    Fewer,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kill::All => "all",
            Kill::Fewer => "fewer",
        })
    }
}

impl FromStr for Kill {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Kill, &'static str> {
        match word {
            "all" => Ok(Kill::All),
            "fewer" => Ok(Kill::Fewer),
            _ => Err("it takes all or fewer"),
        }
    }
}

/// How long the load goes on before the kill, in milliseconds.
const LOAD: Range<u64> = 100..1_500;

/// The same where the last seconds are not promised: so long that there is something that is.
const LONG_LOAD: Range<u64> = 100..5_000;

/// How long the killed are away, in milliseconds: some are back before anybody has noticed, others after.
const AWAY: Range<u64> = 0..800;

/// When those who are killed twice are killed again, in milliseconds after their start: while they read their
/// folders and take up their work, most of the time.
const AGAIN: Range<u64> = 0..300;

/// How long the load goes on after the start, where the others have gone on serving, in milliseconds.
const AFTER: Range<u64> = 0..500;

/// So many in a hundred rounds of [`Kill::Fewer`] hit the manager too.
const MANAGER_PERCENT: u32 = 30;

/// So many in a hundred rounds kill twice.
const AGAIN_PERCENT: u32 = 25;

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// How long the load goes on before it.
    pub load: Duration,
    /// Whom it hits, by number from 1, in ascending order.
    pub nodes: Vec<usize>,
    /// Whether it hits the manager too.
    pub with_manager: bool,
    /// How long they are away.
    pub away: Duration,
    /// How long after their start they are killed again, if they are, and how long they are away then.
    pub again: Option<(Duration, Duration)>,
    /// How long the load goes on after their start, where it does.
    pub after: Duration,
}

impl Strike {
    /// Draws one; [`Kill::Fewer`] takes two copies of each key at least.
    pub fn draw(rng: &mut StdRng, settings: &Settings) -> Strike {
        let Settings { kill, durability, nodes, copies, .. } = *settings;
        let mut all: Vec<usize> = (1..=nodes).collect();
        let is_all_promised = report::is_promised(kill, durability, Duration::ZERO);
        let load = if is_all_promised { LOAD } else { LONG_LOAD };
        let mut millis = |range| Duration::from_millis(rng.random_range(range));
        let [load, away, after] = [load, AWAY, AFTER].map(&mut millis);
        let again = (millis(AGAIN), millis(AWAY));
        let with_manager = rng.random_range(0..100) < MANAGER_PERCENT || kill == Kill::All;
        let again = (rng.random_range(0..100) < AGAIN_PERCENT).then_some(again);
        if kill == Kill::Fewer {
            all.shuffle(rng);
            all.truncate(rng.random_range(1..copies));
            all.sort_unstable();
        }
        Strike { load, nodes: all, with_manager, away, again, after }
    }
}

impl fmt::Display for Strike {
    /// Whom it hits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manager = self.with_manager.then(|| "manager".to_owned());
        let names: Vec<String> =
            manager.into_iter().chain(self.nodes.iter().map(|&node| name(node))).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use cluster::durability::Durability;
    use rand::SeedableRng;

    use super::*;

    fn draw(seed: u64, kill: Kill, copies: usize) -> Vec<Strike> {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = Settings { kill, copies, nodes: 5, ..Settings::default() };
        (0..200).map(|_| Strike::draw(&mut rng, &settings)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(draw(1, Kill::All, 2), draw(1, Kill::All, 2));
        assert_ne!(draw(1, Kill::All, 2), draw(2, Kill::All, 2));
        let twice = draw(1, Kill::All, 2).iter().filter(|strike| strike.again.is_some()).count();
        assert!((20..100).contains(&twice), "{twice}");
    }

    #[test]
    fn all_are_all() {
        for strike in draw(1, Kill::All, 1) {
            assert_eq!(strike.to_string(), "manager node1 node2 node3 node4 node5");
        }
    }

    #[test]
    fn where_the_last_seconds_are_not_promised_there_are_more() {
        let longest = |durability| {
            let settings = Settings { durability, ..Settings::default() };
            let mut rng = StdRng::seed_from_u64(1);
            let strikes = (0..200).map(|_| Strike::draw(&mut rng, &settings).load);
            strikes.max().expect("200 of them")
        };
        assert!(longest(Durability::Sync) < report::GRACE);
        assert!(longest(Durability::Async) > 2 * report::GRACE);
    }

    #[test]
    fn fewer_are_fewer_than_the_copies() {
        let strikes = draw(1, Kill::Fewer, 3);
        for strike in &strikes {
            assert!((1..=2).contains(&strike.nodes.len()), "{strike}");
            assert!(strike.nodes.is_sorted_by(|one, two| one < two), "{strike}");
            assert!(strike.nodes.iter().all(|node| (1..=5).contains(node)), "{strike}");
        }
        let has = |wanted: &dyn Fn(&Strike) -> bool| strikes.iter().any(wanted);
        assert!(has(&|strike| strike.nodes == [5]) && has(&|strike| strike.nodes == [1, 2]));
        assert!(has(&|strike| strike.with_manager) && has(&|strike| !strike.with_manager));
        assert!(draw(1, Kill::Fewer, 2).iter().all(|strike| strike.nodes.len() == 1));
    }

    #[test]
    fn words() {
        for kill in [Kill::All, Kill::Fewer] {
            assert_eq!(kill.to_string().parse(), Ok(kill));
        }
        assert_eq!("some".parse::<Kill>(), Err("it takes all or fewer"));
    }
}
