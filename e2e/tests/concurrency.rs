//! Many clients at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use client::GTStoreClient;
use e2e::TestCluster;
use harness::history::{Histories, Kind, Record};
use harness::linearizable::Check;
use harness::recorder::{Recorded, Recorder};
use parking_lot::{Mutex, MutexGuard};

/// Keys that all clients of a test use.
const KEYS: [&str; 3] = ["key0", "key1", "key2"];

#[test]
fn clients_on_the_same_keys_agree_on_the_last_value() {
    let cluster = TestCluster::start(5, 3);
    let (recorder, values, records) = (Recorder::start(), AtomicU64::new(1), Mutex::default());
    // Runs one operation on each key, and records it.
    let run = |client: &GTStoreClient, number: u32, kind: &dyn Fn() -> Kind| {
        for key in KEYS {
            let Recorded { record, error } = recorder.run(client, number, key, kind());
            assert!(error.is_none(), "{key}: {error:?}");
            let mut histories: MutexGuard<'_, Histories> = records.lock();
            histories.entry(key.to_owned()).or_default().push(record);
        }
    };
    thread::scope(|scope| {
        for writer in 0..4 {
            let (cluster, values, run) = (&cluster, &values, &run);
            scope.spawn(move || {
                let client = cluster.client();
                let put = || Kind::Put(values.fetch_add(1, Ordering::Relaxed));
                (0..60).for_each(|_| run(&client, writer, &put));
            });
        }
        for reader in 4..6 {
            let (cluster, run) = (&cluster, &run);
            scope.spawn(move || {
                let client = cluster.client();
                (0..150).for_each(|_| run(&client, reader, &|| Kind::Get(None)));
            });
        }
    });
    run(&cluster.client(), 6, &|| Kind::Get(None));
    let histories = records.into_inner();
    // The histories are too long for the search.
    if let Some(violation) = Check::Zones.all(&histories).first() {
        panic!("{violation}");
    }
    for (key, history) in &histories {
        let last = history.last().and_then(Record::found).expect("a value is left");
        cluster.assert_replicas(key.as_bytes(), Some(last.to_string().as_bytes()));
    }
}

#[test]
fn one_client_is_shared_by_many_threads() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..50 {
                    let (key, value) = (format!("t{thread} k{n}"), format!("v{n}"));
                    client.put(key.as_bytes(), value.as_bytes()).unwrap();
                    let got = client.get(key.as_bytes()).unwrap().unwrap();
                    assert_eq!(got.value, value.as_bytes());
                }
            });
        }
    });
    client.finalize();
}

#[test]
fn puts_and_deletes_race_and_replicas_agree() {
    let cluster = TestCluster::start(4, 3);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = cluster.client();
            while !is_over.load(Ordering::Relaxed) {
                client.delete(b"key").unwrap();
            }
        });
        let client = cluster.client();
        for n in 0..200 {
            client.put(b"key", format!("value{n}").as_bytes()).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let left = cluster.client().get(b"key").unwrap().map(|got| got.value);
    cluster.assert_replicas(b"key", left.as_deref());
}
