//! test3 and test4: nodes are killed, and nothing that was acknowledged is lost.

use std::thread;
use std::time::{Duration, Instant};

use client::Placed;
use cluster::ids::NodeId;
use rand::RngExt;
use rand::rngs::StdRng;

use super::session::{ScenarioSession, failed};
use super::{ScenarioError, WrongResult};
use crate::processes::KillNode;
use crate::target::StoreTarget;

/// test3: number of keys with one primary before it is killed.
const KEYS_OF_ONE: usize = 3;

/// test3: most keys until a node is primary of [`KEYS_OF_ONE`] of them; more is a fault of the
/// ring. With three nodes seven keys are enough.
const MOST_KEYS: usize = 100;

/// test3: keys that are new after the death; two in three of them have a copy on
/// the dead node as it was.
const NEW_KEYS: usize = 12;

/// test4: as the original.
const MANY_KEYS: usize = 20;

/// test4: which of them are overwritten.
const UPDATED: [usize; 3] = [2, 5, 9];

/// One of three nodes dies; reads and new writes begin at the same moment.
pub(super) fn one<T: StoreTarget>(
    session: &mut ScenarioSession<'_, T>,
    killer: &impl KillNode,
) -> Result<(), ScenarioError> {
    let mut count = 0;
    let victim = loop {
        if let Some((node, _)) =
            session.keys_by_primary().into_iter().find(|(_, keys)| keys.len() >= KEYS_OF_ONE)
        {
            break node;
        }
        if count == MOST_KEYS {
            return Err(WrongResult::Lopsided { wanted: KEYS_OF_ONE, keys: count }.into());
        }
        let key = fail_key(count);
        session.put(&key, &format!("value_{count}"))?;
        session.put(&key, &format!("updated_{count}"))?;
        count += 1;
    };
    let lost = &session.keys_by_primary()[&victim];
    session.print_line(&format!("{victim} is primary of {}: kill -9", lost.join(", ")))?;
    killer.kill(std::slice::from_ref(&victim))?;
    session.exclude_killed(std::slice::from_ref(&victim));

    let target = session.target();
    let (reads, writes) = thread::scope(|scope| {
        let writer = scope.spawn(|| write_new(target));
        let reads = (0..count).try_for_each(|n| session.get(&fail_key(n)));
        (reads, writer.join().expect("the writer does not panic"))
    });
    reads?;
    for written in writes? {
        session.count_write(written.took);
        session.placed(&written.key, &written.value, written.placed)?;
    }
    session.print_line("and every key once more")?;
    for n in 0..count {
        session.put(&fail_key(n), &format!("again_{n}"))?;
    }
    for n in 0..count {
        session.get(&fail_key(n))?;
    }
    for n in 0..NEW_KEYS {
        session.get(&new_key(n))?;
    }
    print_slowest(session)
}

fn fail_key(n: usize) -> String {
    format!("fail_key_{n}")
}

fn new_key(n: usize) -> String {
    format!("new_key_{n}")
}

/// A put of another thread.
struct ForeignPut {
    key: String,
    value: String,
    placed: Placed,
    took: Duration,
}

fn write_new(target: &impl StoreTarget) -> Result<Vec<ForeignPut>, ScenarioError> {
    (0..NEW_KEYS)
        .map(|n| {
            let (key, value) = (new_key(n), format!("value_{n}"));
            let start = Instant::now();
            let placed = target.put(&key, &value).map_err(|error| failed("put", &key, error))?;
            Ok(ForeignPut { key, value, placed, took: start.elapsed() })
        })
        .collect()
}

/// Two of seven nodes die at once. Each is primary of a key at least.
pub(super) fn two<T: StoreTarget>(
    session: &mut ScenarioSession<'_, T>,
    killer: &impl KillNode,
    rng: &mut StdRng,
) -> Result<(), ScenarioError> {
    let key = |n: usize| format!("many_key_{n}");
    for n in 0..MANY_KEYS {
        session.put(&key(n), &format!("value_{n}"))?;
    }
    for n in UPDATED {
        session.put(&key(n), &format!("updated_{n}"))?;
    }
    let mut primaries: Vec<NodeId> = session.keys_by_primary().into_keys().collect();
    if primaries.len() < 2 {
        return Err(WrongResult::Lopsided { wanted: 1, keys: MANY_KEYS }.into());
    }
    let first = primaries.swap_remove(rng.random_range(0..primaries.len()));
    let second = primaries.swap_remove(rng.random_range(0..primaries.len()));
    session.print_line(&format!("kill -9 {first} and {second}"))?;
    let victims = [first, second];
    killer.kill(&victims)?;
    session.exclude_killed(&victims);
    for n in 0..MANY_KEYS {
        session.get(&key(n))?;
    }
    print_slowest(session)
}

fn print_slowest<T: StoreTarget>(
    session: &mut ScenarioSession<'_, T>,
) -> Result<(), ScenarioError> {
    let slowest = session.slowest();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let mut line = format!("after the kill the longest read took {}", ms(slowest.read));
    if !slowest.write.is_zero() {
        line = format!("{line}, the longest write {}", ms(slowest.write));
    }
    session.print_line(&line)
}
