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

use super::CrashSettings;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// Every node and the manager, all at once.
    All,
    /// Fewer nodes than there are copies, now and then with the manager.
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

/// What was acknowledged so short before the kill of all is not promised with
/// [`Durability::Async`]: a second, until the disk is told, and as much again for a disk that is
/// slow.
pub const GRACE: Duration = Duration::from_secs(2);

/// Whether a write that was acknowledged so long before the kill must be there.
pub fn is_promised(kill: KillScope, durability: Durability, age: Duration) -> bool {
    match (kill, durability) {
        (KillScope::All, Durability::None) => false,
        (KillScope::All, Durability::Async) => age > GRACE,
        (KillScope::All, Durability::Sync) | (KillScope::Fewer, _) => true,
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

/// So many in a hundred rounds of [`KillScope::Fewer`] hit the manager too.
const MANAGER_PERCENT: u32 = 30;

/// So many in a hundred rounds kill twice.
const AGAIN_PERCENT: u32 = 25;

/// A second kill of the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondKill {
    /// How long after their start it comes.
    pub after: Duration,
    /// How long they are away then.
    pub away: Duration,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillPlan {
    /// How long the load goes on before it.
    pub load: Duration,
    /// Whom it hits: the manager first, then nodes in ascending order.
    pub victims: Vec<Party>,
    /// How long they are away.
    pub away: Duration,
    /// The second kill, if there is one.
    pub again: Option<SecondKill>,
    /// How long the load goes on after their start, where it does.
    pub after: Duration,
}

impl KillPlan {
    /// Draws one; [`KillScope::Fewer`] takes two copies of each key at least.
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

    fn draw(seed: u64, kill: KillScope, copies: usize) -> Vec<KillPlan> {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = CrashSettings { kill, copies, nodes: 5, ..CrashSettings::default() };
        (0..200).map(|_| KillPlan::draw(&mut rng, &settings)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(draw(1, KillScope::All, 2), draw(1, KillScope::All, 2));
        assert_ne!(draw(1, KillScope::All, 2), draw(2, KillScope::All, 2));
        let twice = draw(1, KillScope::All, 2).iter().filter(|plan| plan.again.is_some()).count();
        assert!((20..100).contains(&twice), "{twice}");
    }

    #[test]
    fn all_are_all() {
        for plan in draw(1, KillScope::All, 1) {
            assert_eq!(plan.to_string(), "manager node1 node2 node3 node4 node5");
        }
    }

    #[test]
    fn where_the_last_seconds_are_not_promised_there_are_more() {
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
    fn fewer_are_fewer_than_the_copies() {
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
    fn words() {
        for kill in [KillScope::All, KillScope::Fewer] {
            assert_eq!(kill.to_string().parse(), Ok(kill));
        }
        assert_eq!("some".parse::<KillScope>(), Err("it takes all or fewer"));
    }

    #[test]
    fn what_is_promised() {
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
