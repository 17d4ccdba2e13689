//! As many nodes as there are copies are lost at once: unavailable keys, keys that stay available,
//! and the two ways to recover. Also a node that starts and dies repeatedly.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use client::{ClientError, GTStoreClient};
use cluster::membership::NodeState;
use cluster::slot;
use e2e::{Options, TestCluster, under_load, wait_until};
use harness::proxy::NetworkFault;
use net_common::message::control::Status;

const KEYS: usize = 3000;

/// Far less than a client's deadline here, which is half a minute.
const QUICK: Duration = Duration::from_secs(5);

fn filled(options: Options) -> (TestCluster, Vec<(String, String)>) {
    let cluster = TestCluster::with(options);
    let pairs = cluster.fill(KEYS, |n| format!("value{n}"));
    (cluster, pairs)
}

fn options() -> Options {
    Options { nodes: 4, copies: 2, is_proxied: true, ..Options::default() }
}

/// The keys that only these nodes hold.
fn held_only_by(
    cluster: &TestCluster,
    nodes: &[usize],
    pairs: &[(String, String)],
) -> BTreeSet<String> {
    let routes = cluster.node(nodes[0]).node().routes().expect("it has seen a view");
    let names: Vec<_> = nodes.iter().map(|&n| cluster.node_name(n)).collect();
    let is_theirs = |key: &str| {
        let arc = routes.arc_of(key.as_bytes()).expect("somebody serves");
        routes.replicas(arc).iter().all(|&place| names.contains(&routes.member(place).id))
    };
    pairs.iter().map(|(key, _)| key.clone()).filter(|key| is_theirs(key)).collect()
}

fn wait_until_unavailable(cluster: &TestCluster) -> Status {
    wait_until("the loss is noticed", || {
        let status = cluster.status()?;
        // Once all repairs are complete.
        let is_noticed = status.health.text.starts_with("unavailable") && !status.changing;
        if is_noticed { Ok(status) } else { Err(status.health.text) }
    })
}

/// Whether a key's slot is among those that the status reports as lost.
fn is_lost(status: &Status, key: &str) -> bool {
    let slot = slot::slot(key.as_bytes());
    status.lost.iter().any(|(first, last)| (*first..=*last).contains(&slot))
}

/// Gets all keys in one batch, and asserts that exactly `lost` are refused as unavailable, and
/// soon. Then the same with puts.
fn assert_unavailable(client: &GTStoreClient, pairs: &[(String, String)], lost: &BTreeSet<String>) {
    let start = Instant::now();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    for ((key, value), got) in pairs.iter().zip(client.get_many(&keys)) {
        match got {
            Err(ClientError::Unavailable) => {
                assert!(lost.contains(key), "{key} has a live replica")
            }
            Ok(Some(got)) if !lost.contains(key) => assert_eq!(got.value, value.as_bytes()),
            other => panic!("{key}: {other:?}"),
        }
    }
    let puts: Vec<(&str, &str)> =
        pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_puts(client, &puts, lost);
    let key = lost.first().expect("some are lost").as_bytes();
    assert!(matches!(client.delete(key), Err(ClientError::Unavailable)));
    assert!(matches!(client.put_if(key, None, b"made up"), Err(ClientError::Unavailable)));
    let took = start.elapsed();
    assert!(took < QUICK, "it took {took:?}");
    let (lost, puts) = (lost.len(), puts.len());
    eprintln!("{lost} keys of {KEYS} are unavailable, refused within {took:?}; {puts} put");
}

/// Puts keys in one batch, and asserts that exactly `lost` are refused as unavailable.
fn assert_puts(client: &GTStoreClient, pairs: &[(&str, &str)], lost: &BTreeSet<String>) {
    for ((key, _), placed) in pairs.iter().zip(client.put_many(pairs)) {
        match placed {
            Err(ClientError::Unavailable) => assert!(lost.contains(*key), "{key} is not lost"),
            Ok(_) => assert!(!lost.contains(*key), "{key} is lost"),
            Err(other) => panic!("{key}: {other}"),
        }
    }
}

/// The N of `about N keys`.
fn estimated_keys(health: &str) -> usize {
    let (_, rest) = health.split_once("about ").expect("it names a number");
    rest.split_once(' ').expect("a number and a word").0.parse().expect("a number")
}

#[test]
fn both_replicas_die_and_the_loss_is_accepted() {
    let (mut cluster, pairs) = filled(options());
    let lost = held_only_by(&cluster, &[0, 1], &pairs);
    assert!((KEYS / 20..KEYS / 3).contains(&lost.len()), "{} keys", lost.len());
    let client = cluster.client();
    cluster.kill_at_once(&[0, 1]);
    let status = wait_until_unavailable(&cluster);
    for (key, _) in &pairs {
        assert_eq!(is_lost(&status, key), lost.contains(key), "{key}");
    }
    let estimated = estimated_keys(&status.health.text);
    assert!(
        estimated.abs_diff(lost.len()) < lost.len() / 3,
        "{}: {} are lost",
        status.health,
        lost.len()
    );
    // The first one noticed may be dropped, as long as the other seems alive.
    let mut who = ["node1, node2", "node1", "node2"].into_iter();
    let end =
        |who| format!("have no live replica; {who} ended with them, accept the loss to go on");
    assert!(who.any(|who| status.health.text.ends_with(&end(who))), "{}", status.health);
    let states = status.nodes.iter().map(|node| node.state);
    let want = [NodeState::Active, NodeState::Active, NodeState::Down, NodeState::Down];
    assert!(states.rev().eq(want.into_iter().take(status.nodes.len())));

    // A client with the previous view, and a new one.
    assert_unavailable(&client, &pairs, &lost);
    assert_unavailable(&cluster.client(), &pairs, &lost);

    // Neither may begin with empty arcs while the loss is not accepted.
    cluster.start_node(0);
    wait_until("it waits", || {
        let status = cluster.status()?;
        if status.nodes.iter().any(|node| node.state == NodeState::Waiting) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
    assert_unavailable(&client, &pairs, &lost);

    assert!(cluster.accept_loss().unwrap() > 0);
    cluster.wait_until_well();
    assert_eq!(cluster.status().unwrap().lost, []);
    // Clients remember a loss for a moment.
    client.refresh_view().unwrap();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    for ((key, value), got) in pairs.iter().zip(client.get_many(&keys)) {
        let want = (!lost.contains(key)).then(|| value.clone().into_bytes());
        assert_eq!(got.unwrap().map(|got| got.value), want, "{key}");
    }
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    cluster.assert_held(&pairs, 2);
}

#[test]
fn both_replicas_are_cut_off_and_come_back() {
    let (cluster, pairs) = filled(options());
    let lost = held_only_by(&cluster, &[0, 1], &pairs);
    let before = cluster.status().unwrap();
    let client = cluster.client();
    for node in [0, 1] {
        cluster.set_fault(node, NetworkFault::Close);
    }
    let status = wait_until_unavailable(&cluster);
    assert!(status.health.text.ends_with("bring back node1, node2"), "{}", status.health);
    for (key, _) in pairs.iter().filter(|(key, _)| lost.contains(key)) {
        assert!(is_lost(&status, key), "{key}");
    }
    assert_unavailable(&client, &pairs, &lost);
    for node in [0, 1] {
        cluster.set_fault(node, NetworkFault::None);
    }
    cluster.wait_until_well();
    client.refresh_view().unwrap();
    let after = cluster.status().unwrap();
    let arcs = |s: &Status| s.nodes.iter().map(|node| node.arcs).collect::<Vec<_>>();
    assert_eq!(arcs(&after), arcs(&before));
    cluster.assert_held(&pairs, 2);
    for ((key, value), got) in
        pairs.iter().zip(client.get_many(&pairs.iter().map(|(key, _)| key).collect::<Vec<_>>()))
    {
        assert_eq!(got.unwrap().expect("nothing is lost").value, value.as_bytes(), "{key}");
    }
}

/// The operator accepts only the loss that was shown. In this test with three nodes and one copy of
/// each key: node2 hangs, which has not been noticed, and node1 has died.
#[test]
fn a_loss_that_has_grown_since_it_was_shown_is_not_accepted() {
    let (mut cluster, pairs) = {
        let options = Options { nodes: 3, copies: 1, is_proxied: true, ..Options::default() };
        let cluster = TestCluster::with(options);
        let pairs: Vec<(String, String)> =
            (0..300).map(|n| (format!("key{n}"), format!("value{n}"))).collect();
        cluster.client().put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
        (cluster, pairs)
    };
    let dead = held_only_by(&cluster, &[0], &pairs);
    cluster.kill_at_once(&[0]);
    let shown = wait_until_unavailable(&cluster).loss.expect("something is lost");
    assert_eq!(shown.arcs, shown.empty);
    cluster.set_fault(1, NetworkFault::Close);
    let both = wait_until("the other is found out as well", || {
        let loss = cluster.status()?.loss.ok_or("nothing is lost")?;
        if loss.arcs.len() > shown.arcs.len() { Ok(loss) } else { Err(format!("{shown:?}")) }
    });
    match cluster.client().accept_loss(&shown) {
        Err(ClientError::Changed { now }) => {
            let want = format!("unavailable: {} of 256 arcs, ", both.arcs.len());
            assert!(now.starts_with(&want), "{now}");
        }
        other => panic!("{other:?}"),
    }
    // The node that was only cut off has lost nothing.
    cluster.set_fault(1, NetworkFault::None);
    wait_until("it is back", || {
        let loss = cluster.status()?.loss.ok_or("nothing is lost")?;
        if loss.arcs == shown.arcs { Ok(()) } else { Err(format!("{loss:?}")) }
    });
    assert_eq!(cluster.client().accept_loss(&shown).unwrap() as usize, shown.arcs.len());
    cluster.wait_until_well();
    let client = cluster.client();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    wait_until("no loss is reported any more", || {
        for ((key, value), got) in pairs.iter().zip(client.get_many(&keys)) {
            let got = got.map_err(|error| error.to_string())?.map(|got| got.value);
            let want = (!dead.contains(key)).then(|| value.clone().into_bytes());
            assert_eq!(got, want, "{key}");
        }
        Ok(())
    });
}

#[test]
fn one_of_both_comes_back_and_nothing_is_lost() {
    let (mut cluster, pairs) = filled(options());
    let client = cluster.client();
    cluster.set_fault(0, NetworkFault::Close);
    cluster.kill_at_once(&[1]);
    let status = wait_until_unavailable(&cluster);
    assert!(status.health.text.ends_with("bring back node1"), "{}", status.health);
    cluster.set_fault(0, NetworkFault::None);
    cluster.wait_until_well();
    cluster.assert_held(&pairs, 2);
    client.refresh_view().unwrap();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
}

#[test]
fn a_dropped_member_returns_after_all_others_have_died() {
    let (mut cluster, pairs) = filled(options());
    cluster.set_fault(0, NetworkFault::Close);
    wait_until("it is dropped, and the others have healed", || {
        let status = cluster.status()?;
        let is_so = status.nodes.len() == 3 && status.is_settled();
        if is_so { Ok(()) } else { Err(status.health.text) }
    });
    cluster.kill_at_once(&[1, 2, 3]);
    cluster.set_fault(0, NetworkFault::None);
    let status = wait_until("it waits", || {
        let status = cluster.status()?;
        let waits = status.nodes.iter().any(|node| node.state == NodeState::Waiting);
        if waits { Ok(status) } else { Err(format!("{status:?}")) }
    });
    // It is not an empty newcomer: the operator decides that no better source will return.
    assert!(status.health.text.starts_with("unavailable: 256 of 256 arcs"), "{}", status.health);
    let got = cluster.client().get(pairs[0].0.as_bytes());
    assert!(matches!(got, Err(ClientError::Unavailable)), "{got:?}");
    assert_eq!(cluster.accept_loss().unwrap(), 256);
    wait_until("it begins empty", || match cluster.client().get(pairs[0].0.as_bytes()) {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_node_comes_and_dies_over_and_over() {
    let options = Options { nodes: 4, copies: 2, transfer_mb_s: Some(1), ..Options::default() };
    let cluster = TestCluster::with(options);
    let pairs: Vec<(String, String)> =
        (0..KEYS).map(|n| (format!("key{n}"), format!("{n:01000}"))).collect();
    cluster.client().put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let mut cluster = cluster;
    let loaded = under_load(&mut cluster, |cluster| {
        for round in 0..8 {
            cluster.stop_node(3);
            // It dies while it waits, in mid transfer, or soon after it has begun to serve.
            let states = [NodeState::Waiting, NodeState::Joining, NodeState::Active];
            // The awaited state may be over already.
            let until = &states[round % 3..];
            cluster.start_node(3);
            wait_until(until[0].as_str(), || {
                let status = cluster.status()?;
                let node4 = cluster.node_name(3);
                let mut nodes = status.nodes.iter();
                let is_so = nodes.any(|node| node.id == node4 && until.contains(&node.state));
                if is_so { Ok(()) } else { Err(format!("{status:?}")) }
            });
        }
        cluster.wait_until_well();
    });
    let written = loaded.pairs.iter().map(|(key, value)| (key.clone(), value.clone()));
    let all: Vec<(String, String)> = pairs.into_iter().chain(written).collect();
    cluster.assert_held(&all, 2);
    eprintln!("{} operations, the slowest took {:?}", loaded.operations, loaded.slowest);
}
