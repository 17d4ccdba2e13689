//! The kills of one round, drawn from the seed. Pure.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use cluster::durability::Durability;
use harness::party::Party;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::CrashSettings;

/// The processes that a run kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// All nodes and the manager at once.
    All,
    /// Fewer nodes than copies, sometimes with the manager.
    Fewer,
}

impl fmt::Display for KillScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KillScope::All => "all",
            KillScope::Fewer => "fewer",
        })
    }
}

impl FromStr for KillScope {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<KillScope, &'static str> {
        match word {
            "all" => Ok(KillScope::All),
            "fewer" => Ok(KillScope::Fewer),
            _ => Err("it takes all or fewer"),
        }
    }
}

/// With [`Durability::Async`] writes acknowledged within this time before a kill of all processes
/// may be lost: one second until the disk is synced, and another for a slow disk.
pub const GRACE: Duration = Duration::from_secs(2);

/// Whether a write that was acknowledged this long before the kill must survive.
pub fn is_promised(kill: KillScope, durability: Durability, age: Duration) -> bool {
    match (kill, durability) {
        (KillScope::All, Durability::None) => false,
        (KillScope::All, Durability::Async) => age > GRACE,
        (KillScope::All, Durability::Sync) | (KillScope::Fewer, _) => true,
    }
}

/// Duration of the load before the kill, in milliseconds.
const LOAD: Range<u64> = 100..1_500;

/// The same if the last seconds are not promised: long enough for promised writes.
const LONG_LOAD: Range<u64> = 100..5_000;

/// Time between kill and restart, in milliseconds: some processes return before their death is
/// noticed, others after.
const AWAY: Range<u64> = 0..800;

/// Time between restart and second kill, in milliseconds: mostly while the processes recover from
/// their folders.
const AGAIN: Range<u64> = 0..300;

/// Duration of the load after the restart, if the others have continued to serve, in milliseconds.
const AFTER: Range<u64> = 0..500;

/// Percentage of rounds of [`KillScope::Fewer`] that kill the manager too.
const MANAGER_PERCENT: u32 = 30;

/// Percentage of rounds with a second kill.
const AGAIN_PERCENT: u32 = 25;

/// A second kill of the same processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondKill {
    /// Time after their restart.
    pub after: Duration,
    /// Time until they are restarted again.
    pub away: Duration,
}

/// The kills of one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillPlan {
    /// Duration of the load before the kill.
    pub load: Duration,
    /// The killed processes: the manager first, then nodes in ascending order.
    pub victims: Vec<Party>,
    /// Time until they are restarted.
    pub away: Duration,
    /// The second kill, if there is one.
    pub again: Option<SecondKill>,
    /// Duration of the load after their restart, if it continues.
    pub after: Duration,
}

impl KillPlan {
    /// Draws a round; [`KillScope::Fewer`] needs at least two copies of each key.
    pub fn draw(rng: &mut StdRng, settings: &CrashSettings) -> KillPlan {
        let CrashSettings { kill, durability, nodes, copies, .. } = *settings;
        let mut victims: Vec<Party> = (0..nodes).map(Party::Node).collect();
        let is_all_promised = is_promised(kill, durability, Duration::ZERO);
        let load = if is_all_promised { LOAD } else { LONG_LOAD };
        let mut millis = |range| Duration::from_millis(rng.random_range(range));
        let [load, away, after] = [load, AWAY, AFTER].map(&mut millis);
        let again = SecondKill { after: millis(AGAIN), away: millis(AWAY) };
        let with_manager = rng.random_range(0..100) < MANAGER_PERCENT || kill == KillScope::All;
        let again = (rng.random_range(0..100) < AGAIN_PERCENT).then_some(again);
        if kill == KillScope::Fewer {
            victims.shuffle(rng);
            victims.truncate(rng.random_range(1..copies));
            victims.sort_unstable();
        }
        if with_manager {
            victims.insert(0, Party::Manager);
        }
        KillPlan { load, victims, away, again, after }
    }
}

impl fmt::Display for KillPlan {
    /// Lists the killed processes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.victims.iter().map(Party::to_string).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn draw(seed: u64, kill: KillScope, copies: usize) -> Vec<KillPlan> {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = CrashSettings { kill, copies, nodes: 5, ..CrashSettings::default() };
        (0..200).map(|_| KillPlan::draw(&mut rng, &settings)).collect()
    }

    #[test]
    fn equal_seeds_draw_equal_kills() {
        assert_eq!(draw(1, KillScope::All, 2), draw(1, KillScope::All, 2));
        assert_ne!(draw(1, KillScope::All, 2), draw(2, KillScope::All, 2));
        let twice = draw(1, KillScope::All, 2).iter().filter(|plan| plan.again.is_some()).count();
        assert!((20..100).contains(&twice), "{twice}");
    }

    #[test]
    fn scope_all_kills_every_process() {
        for plan in draw(1, KillScope::All, 1) {
            assert_eq!(plan.to_string(), "manager node1 node2 node3 node4 node5");
        }
    }

    #[test]
    fn unpromised_last_seconds_make_rounds_longer() {
        let longest = |durability| {
            let settings = CrashSettings { durability, ..CrashSettings::default() };
            let mut rng = StdRng::seed_from_u64(1);
            let plans = (0..200).map(|_| KillPlan::draw(&mut rng, &settings).load);
            plans.max().expect("200 of them")
        };
        assert!(longest(Durability::Sync) < GRACE);
        assert!(longest(Durability::Async) > 2 * GRACE);
    }

    #[test]
    fn scope_fewer_kills_fewer_nodes_than_copies() {
        let plans = draw(1, KillScope::Fewer, 3);
        let nodes = |plan: &KillPlan| -> Vec<usize> {
            let node = |party: &Party| match party {
                Party::Node(node) => Some(*node),
                Party::Manager | Party::Client => None,
            };
            plan.victims.iter().filter_map(node).collect()
        };
        for plan in &plans {
            assert!((1..=2).contains(&nodes(plan).len()), "{plan}");
            assert!(plan.victims.is_sorted_by(|one, two| one < two), "{plan}");
            assert!(nodes(plan).iter().all(|node| (0..5).contains(node)), "{plan}");
        }
        let has = |wanted: &dyn Fn(&KillPlan) -> bool| plans.iter().any(wanted);
        let hits_manager = |plan: &KillPlan| plan.victims[0] == Party::Manager;
        assert!(has(&|plan| nodes(plan) == [4]) && has(&|plan| nodes(plan) == [0, 1]));
        assert!(has(&hits_manager) && has(&|plan| !hits_manager(plan)));
        assert!(draw(1, KillScope::Fewer, 2).iter().all(|plan| nodes(plan).len() == 1));
    }

    #[test]
    fn scopes_are_parsed() {
        for kill in [KillScope::All, KillScope::Fewer] {
            assert_eq!(kill.to_string().parse(), Ok(kill));
        }
        assert_eq!("some".parse::<KillScope>(), Err("it takes all or fewer"));
    }

    #[test]
    fn writes_are_promised_by_durability_and_age() {
        let (new, old) = (Duration::from_millis(1_900), Duration::from_millis(2_100));
        for (kill, durability, promised) in [
            (KillScope::All, Durability::Sync, [true, true]),
            (KillScope::All, Durability::Async, [false, true]),
            (KillScope::Fewer, Durability::Sync, [true, true]),
            (KillScope::Fewer, Durability::Async, [true, true]),
        ] {
            assert_eq!([new, old].map(|age| is_promised(kill, durability, age)), promised);
        }
    }
}
