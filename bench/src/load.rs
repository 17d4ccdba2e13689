//! Measures how evenly keys are spread: inserts keys into an empty cluster and counts them on each
//! node.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use client::{ClientError, Op};
use net_common::message::control::Info;
use thiserror::Error;

use crate::figures::thousands;
use crate::progress::RunProgress;
use crate::report::NodeLoad;
use crate::runner::Drive;
use crate::target::StoreTarget;

/// Most keys that are inserted: more would exceed the default length limit of keys.
pub const MAX_INSERTS: u64 = 1_000_000_000_000;

/// The prefix of the keys.
const PREFIX: &str = "lb_key_";

/// Settings of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSettings {
    /// Keys.
    pub inserts: u64,
    /// How hard the cluster is driven. It changes the time, not the counts.
    pub drive: Drive,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self { inserts: 100_000, drive: Drive { threads: 2, batch: 256 } }
    }
}

/// A failed load.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The cluster was not empty.
    #[error(
        "the nodes hold {} keys already: an empty cluster is needed to count on",
        thousands(*.0)
    )]
    NotEmpty(u64),
    /// An insert failed.
    #[error("{key}: {source}")]
    Insert {
        /// The key.
        key: String,
        /// Why.
        source: ClientError,
    },
    /// The nodes hold more or fewer keys than were inserted.
    #[error(
        "WRONG COUNT: the nodes hold {} keys, yet {} were put there",
        thousands(*counted),
        thousands(*wanted)
    )]
    Count {
        /// Keys of all nodes together, copies included.
        counted: u64,
        /// Inserts times copies.
        wanted: u64,
    },
}

/// Inserts `lb_key_0`, `lb_key_1`, …
///
/// # Errors
/// [`LoadError::Insert`] with the first insert that failed.
pub fn insert(target: &impl StoreTarget, settings: LoadSettings) -> Result<(), LoadError> {
    let LoadSettings { inserts, drive: Drive { threads, batch } } = settings;
    let progress = RunProgress::new("inserts", inserts);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let from = next.fetch_add(u64::from(batch), Ordering::Relaxed);
            if from >= inserts {
                return Ok(());
            }
            let range = from..inserts.min(from + u64::from(batch));
            let count = range.end - range.start;
            // After a failure no operations are left for the other threads.
            insert_batch(target, range).inspect_err(|_| next.store(inserts, Ordering::Relaxed))?;
            progress.advance(count);
        }
    };
    let outcome = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let outcomes: Vec<_> = workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .collect();
        outcomes.into_iter().collect()
    });
    progress.finish();
    outcome
}

fn insert_batch(target: &impl StoreTarget, range: Range<u64>) -> Result<(), LoadError> {
    let pairs: Vec<(String, String)> =
        range.map(|n| (format!("{PREFIX}{n}"), format!("value_{n}"))).collect();
    let ops: Vec<Op<'_>> = pairs
        .iter()
        .map(|(key, value)| Op::Put { key: key.as_bytes(), value: value.as_bytes() })
        .collect();
    for ((key, _), result) in pairs.iter().zip(target.run(&ops)) {
        result.map(drop).map_err(|source| LoadError::Insert { key: key.clone(), source })?;
    }
    Ok(())
}

/// The key count that each node reports, ordered by the number in its name: node2 before node10.
pub fn counts(infos: &[Info]) -> Vec<NodeLoad> {
    let mut loads: Vec<NodeLoad> = infos
        .iter()
        .map(|info| NodeLoad { node_id: info.id.to_string(), count: info.keys })
        .collect();
    loads.sort_by(|a, b| natural(&a.node_id).cmp(&natural(&b.node_id)));
    loads
}

/// A name with its number apart, if it ends in one.
fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// Compares the counts with the number of inserted keys.
///
/// # Errors
/// [`LoadError::Count`].
pub fn check(loads: &[NodeLoad], inserts: u64, copies: u8) -> Result<(), LoadError> {
    let counted = total(loads);
    let wanted = inserts * u64::from(copies);
    if counted == wanted { Ok(()) } else { Err(LoadError::Count { counted, wanted }) }
}

/// Refuses a cluster that holds keys already.
///
/// # Errors
/// [`LoadError::NotEmpty`].
pub fn check_empty(loads: &[NodeLoad]) -> Result<(), LoadError> {
    match total(loads) {
        0 => Ok(()),
        keys => Err(LoadError::NotEmpty(keys)),
    }
}

fn total(loads: &[NodeLoad]) -> u64 {
    loads.iter().map(|load| load.count).sum()
}

#[cfg(test)]
mod tests {
    use cluster::ids::{Epoch, Incarnation, NodeId};

    use super::*;
    use crate::target::fake::{Fake, PlantedFault};

    fn info(id: &str, keys: u64) -> Info {
        Info {
            id: NodeId::new(id).expect("a good name"),
            incarnation: Incarnation(1),
            epoch: Epoch(1),
            keys,
            bytes: 0,
            connections: 0,
        }
    }

    #[test]
    fn nodes_are_ordered_by_number() {
        let names = ["node10", "node2", "b", "node1", "a3"];
        let loads = counts(&names.map(|name| info(name, 1)));
        let sorted: Vec<&str> = loads.iter().map(|load| load.node_id.as_str()).collect();
        assert_eq!(sorted, ["a3", "b", "node1", "node2", "node10"]);
    }

    #[test]
    fn each_key_must_be_counted_once_for_each_copy() {
        let loads = counts(&[info("node1", 40), info("node2", 60)]);
        check(&loads, 100, 1).expect("right");
        check(&loads, 50, 2).expect("right");
        for (inserts, copies) in [(99, 1), (101, 1), (100, 2)] {
            let error = check(&loads, inserts, copies).expect_err("wrong");
            assert!(error.to_string().starts_with("WRONG COUNT: the nodes hold 100 keys"));
        }
        check_empty(&loads).expect_err("not empty");
        check_empty(&counts(&[info("node1", 0)])).expect("empty");
    }

    #[test]
    fn every_key_is_inserted_once_for_any_batch_size() {
        for (threads, batch) in [(1, 1), (3, 7), (2, 1000)] {
            let store = Fake::new(2, 1, PlantedFault::None);
            let settings = LoadSettings { inserts: 100, drive: Drive { threads, batch } };
            insert(&store, settings).expect("inserted");
            for n in 0..100 {
                let got = store.get(&format!("lb_key_{n}")).expect("answered").expect("there");
                assert_eq!(got.value, format!("value_{n}").as_bytes());
            }
            assert_eq!(store.get("lb_key_100").expect("answered"), None);
        }
    }
}
