//! The manager stops, returns, or is absent.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::{fs, thread};

use client::{ClientError, GTStoreClient};
use cluster::membership::Level;
use cluster::membership::{AdminCommand, Reconfiguration};
use e2e::{Options, TestCluster, wait_until};
use harness::proxy::NetworkFault;
use manager::requested::RequestedSettings;

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

/// Several restarts in a row give the nodes no time to register. Then the nodes find the manager: if
/// none ever ran for long enough, leases would end rightly, and puts fail.
#[test]
fn the_manager_restarts_again_and_again_under_load() {
    const BURSTS: usize = 8;
    const RESTARTS: usize = 5;
    let mut cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let numbers = (0..100_000).take_while(|&n| n < 600 || !is_over.load(Relaxed));
            for n in numbers {
                let key = format!("key{}", n % 50);
                client.put(key.as_bytes(), n.to_string().as_bytes()).unwrap();
                let got = client.get(key.as_bytes()).unwrap().unwrap();
                assert_eq!(got.value, n.to_string().as_bytes());
            }
        });
        for _ in 0..BURSTS {
            for _ in 0..RESTARTS {
                cluster.stop_manager();
                cluster.start_manager();
            }
            if load.is_finished() {
                break;
            }
            cluster.wait_until_well();
        }
        is_over.store(true, Relaxed);
    });
    cluster.wait_until_well();
}

#[test]
fn a_death_while_the_manager_is_away_is_noticed() {
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
fn a_manager_without_nodes_reports_it() {
    let cluster = TestCluster::without_nodes(Options::default());
    let mut config = cluster.config();
    config.deadline = std::time::Duration::from_millis(200);
    let client = GTStoreClient::init(config).unwrap();
    assert_eq!(client.status().unwrap().health.text, "unavailable: no node has registered");
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
fn a_status_lists_every_node() {
    let options = Options { nodes: 3, copies: 2, is_proxied: true, ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    let pairs: Vec<(String, &str)> = (0..300).map(|n| (format!("key{n:03}"), "value")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let status = wait_until("the next heartbeats report the keys", || {
        let status = cluster.status()?;
        let keys: u64 = status.nodes.iter().map(|node| node.keys).sum();
        if keys == 600 { Ok(status) } else { Err(format!("{keys} keys")) }
    });
    assert_eq!(status.nodes.iter().map(|node| node.bytes).sum::<u64>(), 600 * (6 + 5));
    assert_eq!(status.nodes.iter().map(|node| node.arcs).sum::<u32>(), status.arcs);
    assert_eq!((status.copies, status.health.text.as_str()), (2, "healthy"));

    // K nodes at once: some keys have no replica left.
    cluster.kill_at_once(&[1, 2]);
    let health = wait_until("the loss is noticed", || {
        let health = cluster.status()?.health.text;
        if health.starts_with("unavailable") { Ok(health) } else { Err(health) }
    });
    assert!(health.ends_with("accept the loss to go on"), "{health}");
    let begun = wait_until("no view is being made", || cluster.accept_loss());
    assert!(begun > 0);
    cluster.wait_until_well();
    client.put(b"key", b"value").unwrap();
}

/// A cluster with slow heartbeats, and a key of which node 0 is the primary: a test cuts it off
/// from the manager, and it serves by its present lease.
fn with_slow_heartbeats(options: Options) -> (TestCluster, GTStoreClient, String) {
    let cluster = TestCluster::with(Options { heartbeat_ms: 1000, is_proxied: true, ..options });
    cluster.wait_until_well();
    let client = cluster.client();
    let mut keys = (0..).map(|n| format!("key{n}"));
    let first = Some(cluster.node_name(0));
    let key = keys.find(|key| client.primary_of(key.as_bytes()) == first).unwrap();
    client.put(key.as_bytes(), b"old").unwrap();
    assert_eq!(cluster.value_at(0, key.as_bytes()).as_deref(), Some(&b"old"[..]));
    (cluster, client, key)
}

/// A node that is dropped from the view must have stopped serving: it does not receive later
/// writes.
fn assert_not_stale(cluster: &TestCluster, client: &GTStoreClient, key: &str) {
    client.put(key.as_bytes(), b"new").unwrap();
    assert_ne!(cluster.value_at(0, key.as_bytes()).as_deref(), Some(&b"old"[..]), "stale");
}

#[test]
fn l2_a_manager_that_starts_with_a_shorter_lease_waits_for_the_longer_one() {
    let (mut cluster, client, key) = with_slow_heartbeats(Options::default());
    cluster.stop_manager();
    cluster.set_manager_fault(0, NetworkFault::Close);
    cluster.ask_for_heartbeats(30);
    cluster.start_manager();
    assert_not_stale(&cluster, &client, &key);
    let status = cluster.status().unwrap();
    assert_eq!((status.heartbeat_ms, status.missed), (1000, 3), "the cluster's own stays");
}

#[test]
fn leases_change_while_the_cluster_serves() {
    let (mut cluster, client, key) = with_slow_heartbeats(Options::default());
    cluster.set_manager_fault(0, NetworkFault::Close);
    let terms = |heartbeat_ms, missed| Reconfiguration::Terms { heartbeat_ms, missed };
    let order = |client: &GTStoreClient, change| {
        client.order(&AdminCommand::Reconfigure { change, force: false })
    };
    let planned = client.plan(terms(Some(30), None), false).unwrap();
    let begun = order(&client, terms(Some(30), None)).unwrap();
    assert_eq!(planned.what, begun.what);
    assert_eq!(
        begun.what,
        "a heartbeat every 30 ms, out after 3 missed: a silent node is out after 90 ms, once the leases of \
         3000 ms are over that are out"
    );
    assert_not_stale(&cluster, &client, &key);

    let lasts = |ms| {
        wait_until("older leases are over", || {
            let longest = cluster.status()?.longest_ms;
            if longest == ms { Ok(()) } else { Err(format!("{longest} ms may be out")) }
        });
    };
    lasts(90);
    cluster.set_manager_fault(0, NetworkFault::None);
    cluster.wait_until_well();
    // A longer lease: no node is waited for, but the next manager must know it.
    order(&client, terms(Some(500), Some(4))).unwrap();
    lasts(2000);
    cluster.stop_manager();
    cluster.start_manager();
    let status = cluster.status().unwrap();
    assert_eq!((status.heartbeat_ms, status.missed, status.longest_ms), (500, 4, 2000));
    cluster.wait_until_well();
    assert_eq!(client.get(key.as_bytes()).unwrap().unwrap().value, b"new");

    let client = cluster.client();
    for (change, why) in [
        (terms(Some(500), None), "there is a heartbeat every 500 ms, out after 4 missed already"),
        (terms(Some(9), None), "a heartbeat comes every 10 to 3600000 ms"),
        (
            terms(None, Some(361)),
            "a silent node would be waited for 180500 ms; 180000 ms are the most",
        ),
    ] {
        match order(&client, change) {
            Err(ClientError::Refused(reason)) => {
                assert!(reason.to_string().contains(why), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn l6_with_no_trust_refused_the_lease_is_waited_for() {
    let options = Options { trusts_refused: false, ..Options::default() };
    let (mut cluster, client, key) = with_slow_heartbeats(options);
    cluster.refuse_for(0);
    assert_not_stale(&cluster, &client, &key);
}

#[test]
fn l6_nor_does_it_after_a_restart() {
    let options = Options { trusts_refused: false, ..Options::default() };
    let (mut cluster, client, key) = with_slow_heartbeats(options);
    cluster.stop_manager();
    cluster.refuse_for(0);
    cluster.start_manager();
    assert_not_stale(&cluster, &client, &key);
}

/// Replaces a folder's files with those of another.
fn replace_folder(by: &Path, folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(by).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_manager_on_an_older_copy_exits_and_loses_nothing_if_it_is_accepted() {
    let mut cluster = TestCluster::start(4, 2);
    let client = cluster.client();
    let pairs = |value: &'static str| -> Vec<(String, &'static str)> {
        (0..200).map(|n| (format!("key{n}"), value)).collect()
    };
    client.put_many(&pairs("old")).into_iter().for_each(|placed| drop(placed.unwrap()));

    let copy = tempfile::tempdir().unwrap();
    cluster.stop_manager();
    replace_folder(&cluster.data(), copy.path());
    cluster.start_manager();
    cluster.wait_until_well();
    for number in [1, 3] {
        cluster.stop_node(number);
        cluster.start_node(number);
        cluster.wait_until_well();
    }
    client.put_many(&pairs("new")).into_iter().for_each(|placed| drop(placed.unwrap()));
    let seen = cluster.status().unwrap().epoch;

    cluster.stop_manager();
    replace_folder(copy.path(), &cluster.data());
    // A loss that was not shown is not accepted.
    cluster.start_manager_asking(RequestedSettings {
        accept_older: true,
        ..RequestedSettings::default()
    });
    let why = wait_until("it learns what it lacks", || {
        let health = cluster.status().map_err(|error| error.to_string())?.health.text;
        cluster.manager_ended().ok_or(health)
    });
    assert!(why.contains(&format!("have seen view {seen}")), "{why}");
    assert!(why.contains("all its members have been heard of, so nothing is lost"), "{why}");
    let health = cluster.status().unwrap().health.text;
    assert!(health.starts_with("unavailable: this manager's folder is an older copy"), "{health}");
    cluster.stop_manager();

    cluster.start_manager_asking(RequestedSettings {
        accept_older: true,
        ..RequestedSettings::default()
    });
    wait_until("it goes on", || {
        let status = cluster.status().map_err(|error| error.to_string())?;
        let is_well = status.health.level == Level::Healthy && status.epoch > seen;
        is_well.then_some(()).ok_or(status.health.text)
    });
    for client in [client, cluster.client()] {
        for (key, value) in pairs("new") {
            assert_eq!(client.get(key.as_bytes()).unwrap().unwrap().value, value.as_bytes());
        }
        client.put_many(&pairs("new")).into_iter().for_each(|placed| drop(placed.unwrap()));
    }
    // A second confirmation is not needed.
    cluster.stop_manager();
    cluster.start_manager();
    cluster.wait_until_well();
    assert_eq!(cluster.manager_ended(), None);
}
