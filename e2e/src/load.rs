//! Clients that put and get without a pause while a cluster changes, and check every answer.
//!
//! Each key has one writer, and its values are numbers that count up. A put must succeed; a get
//! must return a number that is not below the last one acknowledged before the get began, and not
//! above the last one begun before the get ended. No error is allowed. A second load of a cluster
//! continues from the first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{Config, GTStoreClient, Got};

use crate::test_cluster::TestCluster;
use crate::wait::Over;

const WRITERS: usize = 2;
const READERS: usize = 2;

/// Keys of each writer.
const KEYS: usize = 40;

/// The outcome of a load.
#[derive(Debug)]
pub struct LoadOutcome {
    /// The final value of each key.
    pub pairs: BTreeMap<String, String>,
    /// The number of puts and gets.
    pub operations: usize,
    /// The duration of the slowest of them.
    pub slowest: Duration,
}

/// One key: the number of the last put begun, and of the last one acknowledged.
struct CountedKey {
    key: String,
    begun: AtomicU64,
    done: AtomicU64,
}

impl CountedKey {
    /// Starts from the number that the key already holds.
    fn new(key: String, client: &GTStoreClient) -> CountedKey {
        let number = held(client.get(key.as_bytes()).expect("a cluster that is well answers"));
        CountedKey { key, begun: AtomicU64::new(number), done: AtomicU64::new(number) }
    }

    fn put(&self, client: &GTStoreClient) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if let Err(error) = client.put(self.key.as_bytes(), number.to_string().as_bytes()) {
            panic!("put of {} = {number}: {error}", self.key);
        }
        self.done.store(number, Ordering::SeqCst);
    }

    fn get(&self, client: &GTStoreClient) {
        let least = self.done.load(Ordering::SeqCst);
        let got = match client.get(self.key.as_bytes()) {
            Ok(got) => held(got),
            Err(error) => panic!("get of {}: {error}", self.key),
        };
        let most = self.begun.load(Ordering::SeqCst);
        assert!(
            (least..=most).contains(&got),
            "{} is {got}, {least} to {most} were expected",
            self.key
        );
    }
}

/// The number in a key; 0 before the first put.
fn held(got: Option<Got>) -> u64 {
    got.map_or(0, |got| {
        let text = String::from_utf8(got.value).expect("numbers are text");
        text.parse().expect("a number was put")
    })
}

/// Puts and gets from several threads while `change` runs. Returns the final value of all keys.
///
/// # Panics
/// With the first error or wrong answer.
pub fn under_load(cluster: &mut TestCluster, change: impl FnOnce(&mut TestCluster)) -> LoadOutcome {
    let config = cluster.config();
    let client = cluster.client();
    let slots: Vec<CountedKey> =
        (0..WRITERS * KEYS).map(|n| CountedKey::new(format!("load{n}"), &client)).collect();
    let is_over = AtomicBool::new(false);
    let counts: Vec<(usize, Duration)> = thread::scope(|scope| {
        let writers = slots.chunks(KEYS).map(|own| {
            let (is_over, config) = (&is_over, config.clone());
            scope.spawn(move || run(config, is_over, own, CountedKey::put))
        });
        let readers = (0..READERS).map(|_| {
            let (is_over, config, slots) = (&is_over, config.clone(), &slots[..]);
            scope.spawn(move || run(config, is_over, slots, CountedKey::get))
        });
        let threads: Vec<_> = writers.chain(readers).collect();
        let over = Over(&is_over);
        change(cluster);
        drop(over);
        threads
            .into_iter()
            .map(|thread| thread.join().expect("all is answered, and right"))
            .collect()
    });
    let number = |slot: &CountedKey| slot.done.load(Ordering::SeqCst).to_string();
    LoadOutcome {
        pairs: slots.iter().map(|slot| (slot.key.clone(), number(slot))).collect(),
        operations: counts.iter().map(|(operations, _)| operations).sum(),
        slowest: counts.iter().map(|(_, slowest)| *slowest).max().unwrap_or_default(),
    }
}

/// Puts and gets one key after the other until the load is over, and each key at least once.
fn run(
    config: Config,
    is_over: &AtomicBool,
    slots: &[CountedKey],
    act: fn(&CountedKey, &GTStoreClient),
) -> (usize, Duration) {
    let client = GTStoreClient::init(config).expect("the manager answers");
    let (mut operations, mut slowest) = (0, Duration::ZERO);
    for slot in slots.iter().cycle() {
        if operations >= slots.len() && is_over.load(Ordering::SeqCst) {
            break;
        }
        let start = Instant::now();
        act(slot, &client);
        slowest = slowest.max(start.elapsed());
        operations += 1;
    }
    (operations, slowest)
}
