//! Records that move between nodes, and records that need not.

use cluster::membership::NodeState;
use e2e::{Options, TestCluster, wait_until};
use harness::proxy::NetworkFault;

const KEYS: usize = 2000;

fn key(n: usize) -> String {
    format!("key{n}")
}

/// The value of a key after the writes that the absent node has missed.
fn value(n: usize) -> Option<&'static str> {
    match n {
        0..20 => Some("changed"),
        20..30 => None,
        30..KEYS => Some("value"),
        _ => Some("new"),
    }
}

#[test]
fn a_node_that_was_cut_off_fetches_only_what_it_missed() {
    let options = Options { nodes: 3, copies: 3, is_proxied: true, ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    let pairs: Vec<(String, &str)> = (0..KEYS).map(|n| (key(n), "value")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));

    let away = cluster.node(0).node().clone();
    cluster.set_fault(0, NetworkFault::Close);
    wait_until("it is dropped", || match cluster.status()?.nodes.len() {
        2 => Ok(()),
        nodes => Err(format!("{nodes} nodes")),
    });
    for n in 0..20 {
        client.put(key(n).as_bytes(), b"changed").unwrap();
    }
    for n in 20..30 {
        client.delete(key(n).as_bytes()).unwrap();
    }
    for n in KEYS..KEYS + 5 {
        client.put(key(n).as_bytes(), b"new").unwrap();
    }
    let before = away.transfer();
    cluster.set_fault(0, NetworkFault::None);
    cluster.wait_until_well();

    let after = away.transfer();
    let (moved, kept) = (after.moved - before.moved, after.kept - before.kept);
    // 35 keys have changed; each moves with its bucket, which has a few more.
    assert!((35..250).contains(&moved) && kept > 1700, "{moved} moved, {kept} kept");
    for n in (0..40).chain((40..KEYS).step_by(50)).chain(KEYS..KEYS + 5) {
        cluster.assert_replicas(key(n).as_bytes(), value(n).map(str::as_bytes));
    }
    // Now only the node that was away is left to reply.
    cluster.stop_node(1);
    cluster.stop_node(2);
    let keys: Vec<String> = (0..KEYS + 5).map(key).collect();
    for (n, got) in cluster.client().get_many(&keys).into_iter().enumerate() {
        let got = got.unwrap().map(|got| String::from_utf8(got.value).unwrap());
        assert_eq!(got.as_deref(), value(n), "{}", key(n));
    }
}

#[test]
fn a_source_that_cannot_be_reached_costs_only_its_turn() {
    let options = Options { nodes: 4, copies: 3, is_proxied: true, ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let pairs: Vec<(String, &str)> = (0..500).map(|n| (key(n), "value")).collect();
    cluster.client().put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    // The manager still receives its heartbeats, so it stays a member.
    cluster.proxy(1).set(NetworkFault::Close);
    let joiner = cluster.add_node();
    wait_until("the joiner serves", || {
        let status = cluster.status()?;
        match status.nodes.iter().filter(|node| node.state == NodeState::Active).count() {
            5 if !status.changing => Ok(()),
            serving => Err(format!("{serving} serve, {}", status.health)),
        }
    });
    assert!(cluster.node(joiner).node().transfer().moved > 0);
    cluster.proxy(1).set(NetworkFault::None);
    cluster.wait_until_well();
    for n in (0..500).step_by(10) {
        cluster.assert_replicas(key(n).as_bytes(), Some(b"value"));
    }
}
