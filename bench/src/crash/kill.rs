//! What happens to the processes in one round, as the seed has it. Pure.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use cluster::durability::Durability;
use harness::party::Party;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Settings;

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

/// What was acknowledged so short before the kill of all is not promised with
/// [`Durability::Async`]: a second, until the disk is told, and as much again for a disk that is
/// slow.
pub const GRACE: Duration = Duration::from_secs(2);

/// Whether a write that was acknowledged so long before the kill must be there.
pub fn is_promised(kill: Kill, durability: Durability, age: Duration) -> bool {
    match (kill, durability) {
        (Kill::All, Durability::None) => false,
        (Kill::All, Durability::Async) => age > GRACE,
        (Kill::All, Durability::Sync) | (Kill::Fewer, _) => true,
    }
}

/// How long the load goes on before the kill, in milliseconds.
const LOAD: Range<u64> = 100..1_500;

/// The same where the last seconds are not promised: so long that there is something that is.
const LONG_LOAD: Range<u64> = 100..5_000;

/// How long the killed are away, in milliseconds: some are back before anybody has noticed, others
/// after.
const AWAY: Range<u64> = 0..800;

/// When those who are killed twice are killed again, in milliseconds after their start: while they
/// read their folders and take up their work, most of the time.
const AGAIN: Range<u64> = 0..300;

/// How long the load goes on after the start, where the others have gone on serving, in
/// milliseconds.
const AFTER: Range<u64> = 0..500;

/// So many in a hundred rounds of [`Kill::Fewer`] hit the manager too.
const MANAGER_PERCENT: u32 = 30;

/// So many in a hundred rounds kill twice.
const AGAIN_PERCENT: u32 = 25;

/// A second kill of the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// How long after their start it comes.
    pub after: Duration,
    /// How long they are away then.
    pub away: Duration,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// How long the load goes on before it.
    pub load: Duration,
    /// Whom it hits: the manager first, then nodes in ascending order.
    pub victims: Vec<Party>,
    /// How long they are away.
    pub away: Duration,
    /// The second kill, if there is one.
    pub again: Option<Again>,
    /// How long the load goes on after their start, where it does.
    pub after: Duration,
}

impl Strike {
    /// Draws one; [`Kill::Fewer`] takes two copies of each key at least.
    pub fn draw(rng: &mut StdRng, settings: &Settings) -> Strike {
        let Settings { kill, durability, nodes, copies, .. } = *settings;
        let mut victims: Vec<Party> = (0..nodes).map(Party::Node).collect();
        let is_all_promised = is_promised(kill, durability, Duration::ZERO);
        let load = if is_all_promised { LOAD } else { LONG_LOAD };
        let mut millis = |range| Duration::from_millis(rng.random_range(range));
        let [load, away, after] = [load, AWAY, AFTER].map(&mut millis);
        let again = Again { after: millis(AGAIN), away: millis(AWAY) };
        let with_manager = rng.random_range(0..100) < MANAGER_PERCENT || kill == Kill::All;
        let again = (rng.random_range(0..100) < AGAIN_PERCENT).then_some(again);
        if kill == Kill::Fewer {
            victims.shuffle(rng);
            victims.truncate(rng.random_range(1..copies));
            victims.sort_unstable();
        }
        if with_manager {
            victims.insert(0, Party::Manager);
        }
        Strike { load, victims, away, again, after }
    }
}

impl fmt::Display for Strike {
    /// Whom it hits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.victims.iter().map(Party::to_string).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
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
        assert!(longest(Durability::Sync) < GRACE);
        assert!(longest(Durability::Async) > 2 * GRACE);
    }

    #[test]
    fn fewer_are_fewer_than_the_copies() {
        let strikes = draw(1, Kill::Fewer, 3);
        let nodes = |strike: &Strike| -> Vec<usize> {
            let node = |party: &Party| match party {
                Party::Node(node) => Some(*node),
                Party::Manager | Party::Client => None,
            };
            strike.victims.iter().filter_map(node).collect()
        };
        for strike in &strikes {
            assert!((1..=2).contains(&nodes(strike).len()), "{strike}");
            assert!(strike.victims.is_sorted_by(|one, two| one < two), "{strike}");
            assert!(nodes(strike).iter().all(|node| (0..5).contains(node)), "{strike}");
        }
        let has = |wanted: &dyn Fn(&Strike) -> bool| strikes.iter().any(wanted);
        let hits_manager = |strike: &Strike| strike.victims[0] == Party::Manager;
        assert!(has(&|strike| nodes(strike) == [4]) && has(&|strike| nodes(strike) == [0, 1]));
        assert!(has(&hits_manager) && has(&|strike| !hits_manager(strike)));
        assert!(draw(1, Kill::Fewer, 2).iter().all(|strike| nodes(strike).len() == 1));
    }

    #[test]
    fn words() {
        for kill in [Kill::All, Kill::Fewer] {
            assert_eq!(kill.to_string().parse(), Ok(kill));
        }
        assert_eq!("some".parse::<Kill>(), Err("it takes all or fewer"));
    }

    #[test]
    fn what_is_promised() {
        let (new, old) = (Duration::from_millis(1_900), Duration::from_millis(2_100));
        for (kill, durability, promised) in [
            (Kill::All, Durability::Sync, [true, true]),
            (Kill::All, Durability::Async, [false, true]),
            (Kill::Fewer, Durability::Sync, [true, true]),
            (Kill::Fewer, Durability::Async, [true, true]),
        ] {
            assert_eq!([new, old].map(|age| is_promised(kill, durability, age)), promised);
        }
    }
}
