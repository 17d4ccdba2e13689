//! Many clients at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::{History, TestCluster};

#[test]
fn clients_on_the_same_keys_agree_on_the_last_value() {
    let cluster = TestCluster::start(5, 3);
    let histories: HashMap<String, History> =
        (0..3).map(|n| (format!("key{n}"), History::default())).collect();
    thread::scope(|scope| {
        for writer in 0..4 {
            let (cluster, histories) = (&cluster, &histories);
            scope.spawn(move || {
                let client = cluster.client();
                for n in 0..60 {
                    for (key, history) in histories {
                        let value = format!("{key}, writer {writer}, {n}").into_bytes();
                        history.put(value, |value| {
                            client.put(key.as_bytes(), value).unwrap();
                        });
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let client = cluster.client();
                for _ in 0..150 {
                    for (key, history) in &histories {
                        history.get(|| client.get(key.as_bytes()).unwrap().map(|got| got.value));
                    }
                }
            });
        }
    });
    let client = cluster.client();
    for (key, history) in &histories {
        let last = client.get(key.as_bytes()).unwrap().unwrap().value;
        history.get(|| Some(last.clone()));
        history.check();
        cluster.assert_replicas(key.as_bytes(), Some(&last));
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
