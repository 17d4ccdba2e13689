//! Read-modify-writes: each takes effect once, despite concurrent writers and failures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use client::{ClientError, Config, Done, GTStoreClient, UpdateAction};
use e2e::{TestCluster, wait_until};

fn number(found: Option<&[u8]>) -> u64 {
    found.map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap())
}

fn increment(client: &GTStoreClient, key: &[u8]) -> Result<Done, ClientError> {
    client.update(key, |found| UpdateAction::Put((number(found) + 1).to_string().into_bytes()))
}

#[test]
fn a_failed_put_if_returns_the_present_value() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    let value = |done| match done {
        Done::Got(got) => got.map(|got| got.value),
        Done::Placed(placed) => panic!("it was put at {placed:?}"),
    };
    assert_eq!(value(client.put_if(b"key", Some(b"v"), b"w").unwrap()), None);
    assert!(
        matches!(client.put_if(b"key", None, b"one").unwrap(), Done::Placed(p) if p.copies == 2)
    );
    assert_eq!(value(client.put_if(b"key", None, b"two").unwrap()), Some(b"one".to_vec()));
    assert!(matches!(client.put_if(b"key", Some(b"one"), b"two").unwrap(), Done::Placed(_)));
    cluster.assert_replicas(b"key", Some(b"two"));
    // A plain put overwrites it, a delete too, and an update works on top of these.
    client.put(b"key", b"three").unwrap();
    assert!(matches!(client.put_if(b"key", Some(b"three"), b"four").unwrap(), Done::Placed(_)));
    client.delete(b"key").unwrap();
    assert!(matches!(client.put_if(b"key", None, b"five").unwrap(), Done::Placed(_)));
    assert!(matches!(client.update(b"key", |_| UpdateAction::Delete), Ok(Done::Placed(_))));
    cluster.assert_replicas(b"key", None);
}

#[test]
fn an_update_beyond_the_limits_is_refused_and_changes_nothing() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    client.put(b"key", b"value").unwrap();
    let refused = client.update(b"key", |_| UpdateAction::Put(vec![b'x'; (1 << 20) + 1]));
    assert!(matches!(refused, Err(ClientError::BadValue(_))), "{refused:?}");
    let refused = client.update(&[b'k'; 513], |_| UpdateAction::Delete);
    assert!(matches!(refused, Err(ClientError::BadKey(_))), "{refused:?}");
    cluster.assert_replicas(b"key", Some(b"value"));
}

#[test]
fn an_update_that_always_loses_is_contended() {
    let cluster = TestCluster::start(3, 2);
    let (other, deadline) = (cluster.client(), Duration::from_millis(300));
    let client = GTStoreClient::init(Config { deadline, ..cluster.config() }).unwrap();
    let mut tries = 0;
    let error = client.update(b"key", |_| {
        tries += 1;
        other.put(b"key", b"theirs").unwrap();
        UpdateAction::Put(b"mine".to_vec())
    });
    let error = error.unwrap_err();
    assert!(error.is_retryable() && !error.is_unknown(), "{error}");
    let text = error.to_string();
    let ClientError::Contended { losses, why, .. } = error else { panic!("{text}") };
    assert!((1..=tries).contains(&losses), "{losses} of {tries}");
    assert!(why.ends_with("had taken another change of the key"), "{why}");
    cluster.assert_replicas(b"key", Some(b"theirs"));
}

/// Threads of two clients change one key as fast as they can. They take turns, so few attempts
/// fail.
#[test]
fn clients_that_change_one_key_take_turns() {
    const THREADS: u64 = 24;
    const EACH: u64 = 20;
    let cluster = TestCluster::start(3, 2);
    let clients = [cluster.client(), cluster.client()];
    let tries = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in &clients {
            for _ in 0..THREADS {
                let tries = &tries;
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let done = client.update(b"hot", |found| {
                            tries.fetch_add(1, Ordering::Relaxed);
                            UpdateAction::Put((number(found) + 1).to_string().into_bytes())
                        });
                        assert!(matches!(done, Ok(Done::Placed(_))), "{done:?}");
                    }
                });
            }
        }
    });
    let sum = 2 * THREADS * EACH;
    cluster.assert_replicas(b"hot", Some(sum.to_string().as_bytes()));
    let tries = tries.into_inner();
    assert!(tries < 4 * sum, "{tries} tries for {sum} changes");
}

#[test]
fn every_acknowledged_increment_counts_once_through_failures() {
    const EACH: u64 = 300;
    for copies in [1, 3] {
        let mut cluster = TestCluster::start(4, copies);
        let (done, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
        let clients: Vec<_> = (0..4).map(|_| cluster.client()).collect();
        let ended = || done.load(Ordering::Relaxed) + unknown.load(Ordering::Relaxed);
        thread::scope(|scope| {
            for client in &clients {
                let (done, unknown) = (&done, &unknown);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        match increment(client, b"counter") {
                            Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                            Err(error) if error.is_unknown() => {
                                unknown.fetch_add(1, Ordering::Relaxed)
                            }
                            Err(error) => panic!("{error}"),
                        };
                    }
                });
            }
            wait_until("half of them are through", || match ended() {
                n if n < EACH * 2 => Err(format!("{n} of {}", 4 * EACH)),
                _ => Ok(()),
            });
            if copies > 1 {
                // The node that all of them need.
                let primary = clients[0].primary_of(b"counter").unwrap();
                let number = cluster.number_of(&primary);
                cluster.stop_node(number);
                cluster.start_node(number);
            }
        });
        let sum = number(clients[0].get(b"counter").unwrap().as_ref().map(|got| &got.value[..]));
        let (done, unknown) = (done.into_inner(), unknown.into_inner());
        assert_eq!(done + unknown, 4 * EACH);
        assert!((done..=done + unknown).contains(&sum), "{done} done, {unknown} unknown: {sum}");
        cluster.wait_until_well();
        cluster.assert_replicas(b"counter", Some(sum.to_string().as_bytes()));
    }
}
