//! Nodes join, leave and return.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cluster::ids::NodeId;
use cluster::membership::NodeState;
use e2e::{Options, PATIENCE, RawConnection, TestCluster, wait_until};
use harness::proxy::Proxy;
use net_common::bind;
use net_common::message::Message;
use net_common::message::control::{HealthLine, Status};
use net_common::message::coordinated::{Get, GetReply};
use storage::Storage;
use storage::control::Departure;

fn key(n: usize) -> String {
    format!("key{n}")
}

fn put_all(cluster: &TestCluster, keys: usize, value: &str) {
    let pairs: Vec<(String, &str)> = (0..keys).map(|n| (key(n), value)).collect();
    for placed in cluster.client().put_many(&pairs) {
        placed.unwrap();
    }
}

fn assert_all(cluster: &TestCluster, keys: usize, value: &str) {
    let keys: Vec<String> = (0..keys).map(key).collect();
    for (got, key) in cluster.client().get_many(&keys).into_iter().zip(&keys) {
        assert_eq!(got.unwrap().unwrap_or_else(|| panic!("{key} is lost")).value, value.as_bytes());
    }
}

#[test]
fn a_node_dies_and_nothing_is_lost() {
    let mut cluster = TestCluster::start(4, 2);
    put_all(&cluster, 300, "before");
    let client = cluster.client();
    let dead = client.primary_of(b"key0").unwrap();
    cluster.stop_node(cluster.number_of(&dead));
    // The same client, whose view still includes the dead node.
    let got = client.get(b"key0").unwrap().unwrap();
    assert_ne!(got.primary, dead);
    assert_ne!(client.put(b"key0", b"before").unwrap().primary, dead);
    assert_all(&cluster, 300, "before");
    put_all(&cluster, 300, "after");
    cluster.wait_until_well();
    assert_all(&cluster, 300, "after");
    for n in 0..300 {
        cluster.assert_replicas(key(n).as_bytes(), Some(b"after"));
    }
}

#[test]
fn all_but_one_replica_die_at_once() {
    let mut cluster = TestCluster::start(5, 3);
    put_all(&cluster, 200, "value");
    let holders = cluster.replicas(b"key0");
    for (id, _) in &holders[..2] {
        cluster.stop_node(cluster.number_of(id));
    }
    assert_all(&cluster, 200, "value");
    put_all(&cluster, 200, "newer");
    cluster.wait_until_well();
    assert_all(&cluster, 200, "newer");
}

/// Writers that continue while `change` runs; afterwards every acknowledged value is there, on
/// every node.
fn while_writing(cluster: &mut TestCluster, change: impl FnOnce(&mut TestCluster)) {
    const WRITERS: usize = 3;
    const KEYS: usize = 40;
    let is_over = AtomicBool::new(false);
    let config = cluster.config();
    let rounds: Vec<usize> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (is_over, config) = (&is_over, config.clone());
                scope.spawn(move || {
                    let client = client::GTStoreClient::init(config).unwrap();
                    let mut round = 0;
                    while !is_over.load(Ordering::Relaxed) || round < 3 {
                        for n in 0..KEYS {
                            let (key, value) = (format!("w{writer} k{n}"), format!("{round}"));
                            client.put(key.as_bytes(), value.as_bytes()).unwrap();
                        }
                        round += 1;
                    }
                    round
                })
            })
            .collect();
        change(cluster);
        cluster.wait_until_well();
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for node in cluster.running() {
        let mut link = RawConnection::open(cluster.node_address(node));
        for (writer, rounds) in rounds.iter().enumerate() {
            for n in 0..KEYS {
                let key = format!("w{writer} k{n}");
                let reply = link.ask(&Get(key.as_bytes()));
                let found = GetReply::read(&reply.payload).unwrap();
                let want = (rounds - 1).to_string();
                assert_eq!(found.value, Some(want.as_bytes()), "{key} through node {node}");
            }
        }
    }
}

#[test]
fn a_node_joins_while_clients_write() {
    let mut cluster = TestCluster::start(3, 2);
    while_writing(&mut cluster, |cluster| {
        cluster.add_node();
    });
}

#[test]
fn several_nodes_join_at_once_while_clients_write() {
    let mut cluster = TestCluster::start(2, 2);
    while_writing(&mut cluster, |cluster| {
        for _ in 0..4 {
            cluster.add_node();
        }
    });
    let client = cluster.client();
    let status = client.status().unwrap();
    for node in &status.nodes {
        assert!((42..=43).contains(&node.arcs), "{} owns {} of 256 arcs", node.id, node.arcs);
    }
}

#[test]
fn a_node_restarts_while_clients_write() {
    let mut cluster = TestCluster::start(4, 3);
    while_writing(&mut cluster, |cluster| {
        cluster.stop_node(1);
        cluster.start_node(1);
    });
}

#[test]
fn a_node_dies_while_clients_write() {
    let mut cluster = TestCluster::start(5, 3);
    while_writing(&mut cluster, |cluster| cluster.stop_node(2));
}

#[test]
fn a_node_that_comes_back_fetches_what_it_missed() {
    let mut cluster = TestCluster::start(3, 3);
    put_all(&cluster, 200, "old");
    cluster.stop_node(0);
    put_all(&cluster, 200, "new");
    cluster.start_node(0);
    cluster.wait_until_well();
    // Now only the node that was away is left to reply.
    cluster.stop_node(1);
    cluster.stop_node(2);
    assert_all(&cluster, 200, "new");
}

#[test]
fn nodes_may_die_one_after_the_other_down_to_one() {
    let mut cluster = TestCluster::start(4, 2);
    put_all(&cluster, 200, "value");
    for node in 0..3 {
        cluster.stop_node(node);
        cluster.wait_until_well();
        assert_all(&cluster, 200, "value");
    }
}

#[test]
fn a_whole_cluster_that_restarts_begins_empty() {
    let mut cluster = TestCluster::start(3, 2);
    put_all(&cluster, 50, "value");
    let client = cluster.client();
    for node in 0..3 {
        cluster.stop_node(node);
    }
    cluster.stop_manager();
    cluster.start_manager();
    for node in 0..3 {
        cluster.start_node(node);
    }
    cluster.wait_until_well();
    // Nothing survives the loss of all nodes' memory without a disk.
    assert_eq!(client.get(b"key1").unwrap(), None);
    put_all(&cluster, 50, "again");
    assert_all(&cluster, 50, "again");
}

#[test]
fn a_taken_name_and_a_taken_address_are_refused() {
    let cluster = TestCluster::start(2, 1);
    let refusal = |name: &str, advertise: &str, port| {
        let listener = bind::listen(advertise, port, false).unwrap();
        let mut config = cluster.node_config(&NodeId::new(name).unwrap());
        config.advertise = "127.0.0.1".into();
        let storage = Storage::start(listener, None, config).unwrap();
        match storage.ended().recv_timeout(PATIENCE).unwrap() {
            Departure::Refused(why) => why,
            Departure::Left => panic!("nobody asked it to leave"),
        }
    };
    let why = refusal("node1", "127.0.0.1", 0);
    assert!(why.contains("taken: the name node1 is taken by a node at"), "{why}");
    // Another address of loopback, but it advertises the first node's.
    let why = refusal("node9", "127.0.0.3", cluster.node_address(0).port());
    assert!(why.contains("taken: the address 127.0.0.1:"), "{why}");
    assert!(why.ends_with("is taken by node1"), "{why}");
    cluster.wait_until_well();
}

#[test]
fn nodes_may_start_before_the_manager() {
    let mut cluster = TestCluster::without_manager(Options::default());
    for _ in 0..3 {
        cluster.add_node();
    }
    cluster.start_manager();
    cluster.wait_until_well();
    put_all(&cluster, 20, "value");
    assert_all(&cluster, 20, "value");
}

#[test]
fn a_node_that_clients_cannot_reach_for_a_while_stays_a_member() {
    use harness::proxy::NetworkFault;
    let cluster = TestCluster::with(Options { is_proxied: true, copies: 3, ..Options::default() });
    put_all(&cluster, 50, "value");
    // Its clients cannot reach it any more; the manager can, so it stays.
    cluster.proxy(0).set(NetworkFault::Close);
    let client = cluster.client();
    assert!(client.get(b"key1").unwrap().is_some());
    cluster.proxy(0).set(NetworkFault::None);
    put_all(&cluster, 50, "again");
    wait_until("all is well", || match cluster.status()?.health.text.as_str() {
        "healthy" => Ok(()),
        other => Err(other.into()),
    });
    assert_all(&cluster, 50, "again");
}

/// A node is not a member before the manager has reached it at its advertised address; then it
/// joins without further action.
#[test]
fn a_node_that_nobody_reaches_stays_outside_until_somebody_does() {
    let cluster = TestCluster::start(2, 2);
    let client = cluster.client();
    let dead = bind::listen("127.0.0.1", 0, false).unwrap().local_addr().unwrap();
    let port = cluster.node_address(0).port();
    for (n, advertise, why) in [
        (11, cluster.manager_address().to_string(), "is no node of this cluster"),
        (12, format!("localhost:{port}"), "node1 listens there"),
        (13, "0.0.0.0".into(), "stands for every address"),
        (14, "[::]:7".into(), "stands for every address"),
        (15, dead.to_string(), "Connection refused"),
    ] {
        let name = NodeId::new(&format!("node{n}")).unwrap();
        let config = storage::Config { advertise, ..cluster.node_config(&name) };
        let listener = bind::listen("127.0.0.1", 0, false).unwrap();
        let node = Storage::start(listener, None, config).unwrap();
        let report = format!("; {name} is not taken in, nobody reaches it at ");
        wait_until("the health reports it", || {
            let Status { health: HealthLine { text: health, .. }, nodes, .. } = cluster.status()?;
            assert_eq!(nodes.len(), 2, "{health}");
            let words = health.split_once(&report).map_or("", |(_, rest)| rest);
            if words.contains(why) { Ok(()) } else { Err(health) }
        });
        client.put(b"key", b"value").unwrap();
        if n < 15 {
            continue;
        }
        // A forwarder appears after all.
        let _proxy = Proxy::alone(TcpListener::bind(dead).unwrap(), node.address());
        wait_until("it is taken in", || {
            let Status { health: HealthLine { text: health, .. }, nodes, .. } = cluster.status()?;
            let is_in = nodes.iter().any(|node| node.id == name && node.state == NodeState::Active);
            if is_in && !health.contains(&report) { Ok(()) } else { Err(health) }
        });
        client.put(b"key", b"value").unwrap();
    }
}
