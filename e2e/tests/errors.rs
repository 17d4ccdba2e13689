//! The outcome of a failed call: not done, or unknown.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient};
use cluster::limits::Limits;
use e2e::{Options, TestCluster, wait_until};
use harness::proxy::NetworkFault;

/// The deadline of operations that must fail.
const DEADLINE: Duration = Duration::from_millis(600);

/// How much later than its deadline an operation may fail: its last attempt is completed, and the
/// machine may be busy.
const GRACE: Duration = Duration::from_secs(2);

fn hasty(cluster: &TestCluster) -> GTStoreClient {
    let config = cluster.config();
    GTStoreClient::init(Config { deadline: DEADLINE, patience: DEADLINE / 4, ..config }).unwrap()
}

/// Runs an operation that must fail, neither before its deadline nor long after it.
fn fails<T: std::fmt::Debug>(run: impl FnOnce() -> Result<T, ClientError>) -> ClientError {
    let begin = Instant::now();
    let error = run().expect_err("it cannot be done");
    let took = begin.elapsed();
    assert!(took >= DEADLINE, "given up after {took:?}: {error}");
    assert!(took < DEADLINE + GRACE, "given up only after {took:?}: {error}");
    assert!(error.is_retryable() != error.is_unknown(), "{error}");
    error
}

fn proxied(nodes: usize, copies: usize) -> TestCluster {
    TestCluster::with(Options { nodes, copies, is_proxied: true, ..Options::default() })
}

#[test]
fn a_client_waits_for_its_manager() {
    let cluster = TestCluster::without_manager(Options::default());
    // A server that replies incorrectly is not waited for.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stranger = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"-ERR no such command\r\n").unwrap();
        let _ = stream.read(&mut [0; 100]);
    });
    let error = GTStoreClient::init(Config::new(address.parse().unwrap())).err().unwrap();
    assert!(!error.is_retryable(), "{error}");
    stranger.join().unwrap();
    let (config, mut cluster) = (cluster.config(), cluster);
    thread::scope(|scope| {
        let client = scope.spawn(|| GTStoreClient::init(config));
        cluster.start_manager();
        assert!(client.join().unwrap().is_ok());
    });
}

#[test]
fn an_infinite_deadline_is_accepted() {
    let cluster = TestCluster::start(1, 1);
    for time in [Duration::MAX, Duration::ZERO] {
        let config = Config { deadline: time, patience: time, ..cluster.config() };
        let made = GTStoreClient::init(config);
        // Without any time it may or may not be quick enough, but it returns either way.
        let done = made.and_then(|client| {
            client.put(b"key", b"value")?;
            client.count()?;
            client.get(b"key")
        });
        match done {
            Ok(got) => assert_eq!(got.unwrap().value, b"value"),
            Err(error) => assert_eq!(time, Duration::ZERO, "{error}"),
        }
    }
}

#[test]
fn bad_keys_and_values_are_refused_at_once() {
    let options = Options { nodes: 1, copies: 1, limits: Limits::ORIGINAL, ..Options::default() };
    let cluster = TestCluster::with(options);
    let client = cluster.client();
    let begin = Instant::now();
    for (error, text) in [
        (client.put(&[1; 21], b"v"), "bad key: a key has at most 20 bytes here, this one has 21"),
        (
            client.put(b"k", &[1; 1025]),
            "bad value: a value has at most 1024 bytes here, this one has 1025",
        ),
        (client.put_list(b"k", &["a,b"]), "bad value: element 0 of the list contains a comma"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!error.is_retryable() && !error.is_unknown());
    }
    assert!(begin.elapsed() < GRACE);
}

#[test]
fn no_manager() {
    let cluster = TestCluster::without_manager(Options::default());
    let config = Config { deadline: DEADLINE, ..cluster.config() };
    let error = fails(|| GTStoreClient::init(config).map(|_| "a client"));
    let text = error.to_string();
    assert!(matches!(error, ClientError::NoManager { .. }), "{text}");
    assert!(text.starts_with(&format!("no manager at {}: ", cluster.manager_address())), "{text}");
    assert!(text.ends_with("Connection refused (os error 111)"), "{text}");
    assert!(error.is_retryable());

    let mut cluster = TestCluster::start(1, 1);
    let client = hasty(&cluster);
    cluster.stop_manager();
    assert!(matches!(client.status().unwrap_err(), ClientError::NoManager { .. }));
    cluster.stop_node(0);
    let text = fails(|| client.put(b"key", b"value")).to_string();
    assert!(text.starts_with("not enough replicas within 600ms: "), "{text}");
    assert!(text.contains("no newer view: "), "{text}");
}

/// Waits until an operation is refused as unavailable. Before the manager has noticed the loss it
/// may fail in another way, but never with an unknown outcome.
fn becomes_unavailable<T: std::fmt::Debug>(mut run: impl FnMut() -> Result<T, ClientError>) {
    wait_until("the loss is known", || match run() {
        Err(error @ ClientError::Unavailable) => {
            assert!(error.is_retryable() && !error.is_unknown());
            Ok(())
        }
        Err(error @ ClientError::NotEnoughReplicas { .. }) => Err(error.to_string()),
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_write_with_all_replicas_down_is_not_done() {
    let mut cluster = TestCluster::start(2, 2);
    let client = hasty(&cluster);
    cluster.stop_node(0);
    cluster.stop_node(1);
    becomes_unavailable(|| client.put(b"key", b"value"));
    becomes_unavailable(|| client.get(b"key"));
}

/// Two of three nodes die, and the third, a replica from then on, has no source to fetch from: its
/// answer to a write would not count (BLIND), so the write is not even sent.
#[test]
fn a_write_that_only_a_blind_replica_could_take_is_unavailable() {
    let mut cluster = TestCluster::start(3, 2);
    let client = hasty(&cluster);
    client.put(b"key", b"before").unwrap();
    for (id, _) in cluster.replicas(b"key") {
        cluster.stop_node(cluster.number_of(&id));
    }
    becomes_unavailable(|| client.get(b"key"));
    becomes_unavailable(|| client.put(b"key", b"after"));
}

#[test]
fn a_request_that_may_have_arrived_leaves_the_outcome_unknown() {
    let cluster = proxied(2, 2);
    let client = hasty(&cluster);
    client.put(b"key", b"before").unwrap();
    for node in 0..2 {
        // Connections are accepted and closed, as by a server that dies at that moment.
        cluster.proxy(node).set(NetworkFault::Close);
    }
    assert!(fails(|| client.put(b"key", b"after")).is_unknown());
    let error = fails(|| client.get(b"key"));
    assert!(matches!(error, ClientError::NotEnoughReplicas { .. }), "{error}");
    for node in 0..2 {
        cluster.proxy(node).set(NetworkFault::None);
    }
    // In this case it was not done.
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"before");
    cluster.assert_replicas(b"key", Some(b"before"));
}

#[test]
fn a_lost_reply_leaves_the_outcome_unknown() {
    let cluster = proxied(1, 1);
    let client = hasty(&cluster);
    client.put(b"key", b"before").unwrap();
    cluster.proxy(0).set(NetworkFault::LoseReplies);
    let error = fails(|| client.put(b"key", b"after"));
    assert!(error.is_unknown(), "{error}");
    assert!(
        error.to_string().starts_with("outcome unknown: node1: lost the connection"),
        "{error}"
    );
    assert!(fails(|| client.delete(b"gone")).is_unknown());
    // A get changes nothing, so its outcome is never unknown.
    let error = fails(|| client.get(b"key"));
    assert!(matches!(error, ClientError::NotEnoughReplicas { .. }), "{error}");
    cluster.proxy(0).set(NetworkFault::None);
    // In this case it was done.
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"after");
}

#[test]
fn a_reply_lost_once_is_retried() {
    let cluster = proxied(3, 3);
    let client = cluster.client();
    client.put(b"key", b"before").unwrap();
    for fault in [NetworkFault::LoseReplies, NetworkFault::Close] {
        cluster.proxy(1).set(fault);
        thread::scope(|scope| {
            let put = scope.spawn(|| client.put(b"key", format!("{fault:?}").as_bytes()));
            wait_until("another replica has it", || {
                let held = &cluster.node(0).node().size();
                if held.bytes == 3 + format!("{fault:?}").len() as u64 {
                    Ok(())
                } else {
                    Err(format!("{held:?}"))
                }
            });
            cluster.proxy(1).set(NetworkFault::None);
            put.join().unwrap().unwrap();
        });
        cluster.assert_replicas(b"key", Some(format!("{fault:?}").as_bytes()));
    }
}

#[test]
fn a_replica_that_stalls_is_waited_for_until_the_deadline_and_no_longer() {
    let cluster = proxied(3, 3);
    let client = hasty(&cluster);
    client.put(b"key", b"before").unwrap();
    client.put(b"other", b"value").unwrap();
    cluster.proxy(1).set(NetworkFault::Stall);
    let error = fails(|| client.put(b"key", b"after"));
    assert!(error.is_unknown(), "the others have it: {error}");
    // Reads bypass it, except for those of the key under write: a value that not all replicas hold
    // must not be returned (C3), so such a read waits as a write does.
    assert_eq!(client.get(b"other").unwrap().unwrap().value, b"value");
    let error = fails(|| client.get(b"key"));
    assert!(matches!(error, ClientError::NotEnoughReplicas { .. }), "{error}");
    cluster.proxy(1).set(NetworkFault::None);
    // Now it can be completed. If the stalled replica is the primary, it may return the previous
    // value until another replica has completed the write (C4).
    wait_until("the put is completed", || match client.get(b"key").unwrap().unwrap().value {
        value if value == b"after" => Ok(()),
        value => Err(String::from_utf8_lossy(&value).into_owned()),
    });
    client.put(b"key", b"at last").unwrap();
    cluster.assert_replicas(b"key", Some(b"at last"));
}

#[test]
fn a_slow_network_is_only_slow() {
    let cluster = proxied(3, 2);
    for number in 0..3 {
        cluster.proxy(number).set(NetworkFault::Delay(Duration::from_millis(20)));
    }
    let client = cluster.client();
    for n in 0..5 {
        client.put(b"key", &[n]).unwrap();
        assert_eq!(client.get(b"key").unwrap().unwrap().value, [n]);
    }
    let pairs: Vec<(String, &str)> = (0..100).map(|n| (format!("k{n}"), "v")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
}

/// A connection is waited for while bytes move, however long one frame takes, and the same frame is
/// not sent again meanwhile.
#[test]
fn a_slow_link_is_only_slow() {
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let cluster = TestCluster::with(Options {
        nodes: 1,
        copies: 1,
        is_proxied: true,
        limits,
        ..Options::default()
    });
    let client = cluster.client();
    let large = vec![7; 1_000_000];
    client.put(b"key", b"before").unwrap();
    let begin = cluster.proxy(0).requested();
    cluster.proxy(0).set(NetworkFault::Slow(400_000));
    client.put(b"key", &large).unwrap();
    assert!(client.get(b"key").unwrap().unwrap().value == large);
    let requested = cluster.proxy(0).requested() - begin;
    assert!(requested < 1_500_000, "{requested} bytes for one value of {}", large.len());
    // Frames that fit into buffers on the way seem to arrive at once, and are answered late.
    cluster.proxy(0).set(NetworkFault::Slow(100_000));
    let pairs: Vec<(String, &str)> = (0..4096).map(|n| (format!("k{n}"), "v")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
}

#[test]
fn batches_keep_their_deadline_too() {
    let cluster = proxied(4, 2);
    let client = hasty(&cluster);
    for number in 0..4 {
        cluster.proxy(number).set(NetworkFault::Stall);
    }
    let pairs: Vec<(String, &str)> = (0..200).map(|n| (format!("k{n}"), "v")).collect();
    let begin = Instant::now();
    for placed in client.put_many(&pairs) {
        assert!(placed.unwrap_err().is_unknown());
    }
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    for got in client.get_many(&keys) {
        assert!(matches!(got, Err(ClientError::NotEnoughReplicas { .. })));
    }
    assert!(begin.elapsed() < 2 * DEADLINE + 2 * GRACE, "{:?}", begin.elapsed());
}
