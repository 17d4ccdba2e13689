//! The manager stops, comes back, or is not there.

use std::thread;

use client::{ClientError, GTStoreClient};
use e2e::{Options, TestCluster, wait_until};

#[test]
fn clients_go_on_without_the_manager_and_nodes_register_again() {
    let mut cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    client.put(b"key", b"1").unwrap();
    let epoch = cluster.status().unwrap().epoch;
    cluster.stop_manager();
    client.put(b"key", b"2").unwrap();
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"2");

    cluster.start_manager();
    cluster.wait_until_well();
    let status = cluster.status().unwrap();
    assert_eq!(status.epoch, epoch, "nobody came or went, so the view is the one that was saved");
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"2");
    client.put(b"key", b"3").unwrap();
    assert_eq!(cluster.client().get(b"key").unwrap().unwrap().value, b"3");
}

#[test]
fn the_manager_restarts_again_and_again_under_load() {
    let mut cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    thread::scope(|scope| {
        let load = scope.spawn(move || {
            for n in 0..600 {
                let key = format!("key{}", n % 50);
                client.put(key.as_bytes(), n.to_string().as_bytes()).unwrap();
                let got = client.get(key.as_bytes()).unwrap().unwrap();
                assert_eq!(got.value, n.to_string().as_bytes());
            }
        });
        while !load.is_finished() {
            cluster.stop_manager();
            cluster.start_manager();
        }
    });
    cluster.wait_until_well();
}

#[test]
fn a_node_that_died_while_the_manager_was_away_is_noticed() {
    let mut cluster = TestCluster::start(4, 2);
    let client = cluster.client();
    let pairs: Vec<(String, &str)> = (0..100).map(|n| (format!("key{n}"), "value")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    cluster.stop_manager();
    cluster.stop_node(3);
    for (key, value) in &pairs {
        assert_eq!(client.get(key.as_bytes()).unwrap().unwrap().value, value.as_bytes());
    }
    cluster.start_manager();
    for (key, _) in &pairs {
        client.put(key.as_bytes(), b"newer").unwrap();
    }
    cluster.wait_until_well();
    assert_eq!(cluster.status().unwrap().nodes.len(), 3);
}

#[test]
fn a_manager_without_nodes_says_so() {
    let cluster = TestCluster::without_nodes(Options::default());
    let mut config = cluster.config();
    config.deadline = std::time::Duration::from_millis(200);
    let client = GTStoreClient::init(config).unwrap();
    assert_eq!(client.status().unwrap().health, "unavailable: no node has registered");
    assert_eq!(client.primary_of(b"key"), None);
    for error in [client.put(b"key", b"value").unwrap_err(), client.get(b"key").unwrap_err()] {
        assert!(matches!(error, ClientError::NotEnoughReplicas { .. }), "{error}");
        assert!(error.to_string().contains("no node serves this key"), "{error}");
    }
}

#[test]
fn a_client_that_starts_first_is_served_once_a_node_is_there() {
    let mut cluster = TestCluster::without_nodes(Options { copies: 1, ..Options::default() });
    let client = cluster.client();
    thread::scope(|scope| {
        let put = scope.spawn(|| client.put(b"key", b"value"));
        cluster.add_node();
        put.join().unwrap().unwrap();
    });
}

#[test]
fn a_status_tells_of_every_node() {
    let options = Options { nodes: 3, copies: 2, is_proxied: true, ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    let pairs: Vec<(String, &str)> = (0..300).map(|n| (format!("key{n:03}"), "value")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let status = wait_until("the next heartbeats tell of the keys", || {
        let status = cluster.status()?;
        let keys: u64 = status.nodes.iter().map(|node| node.keys).sum();
        if keys == 600 { Ok(status) } else { Err(format!("{keys} keys")) }
    });
    assert_eq!(status.nodes.iter().map(|node| node.bytes).sum::<u64>(), 600 * (6 + 5));
    assert_eq!(status.nodes.iter().map(|node| node.arcs).sum::<u32>(), status.arcs);
    assert_eq!((status.copies, status.health.as_str()), (2, "healthy"));

    // K nodes at once: some keys have no replica left.
    cluster.kill_at_once(&[1, 2]);
    let health = wait_until("the loss is noticed", || {
        let health = cluster.status()?.health;
        if health.starts_with("unavailable") { Ok(health) } else { Err(health) }
    });
    assert!(health.ends_with("accept the loss to go on"), "{health}");
    let begun = wait_until("no view is being made", || cluster.accept_loss());
    assert!(begun > 0);
    cluster.wait_until_well();
    client.put(b"key", b"value").unwrap();
}
