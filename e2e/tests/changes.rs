//! Planned changes while clients put and get: leaves, weights, another K, joins, failures in the
//! middle of them, and refusals.

use std::thread;
use std::time::Duration;

use client::{ClientError, GTStoreClient};
use cluster::ids::{Epoch, NodeId};
use cluster::membership::NodeState;
use cluster::membership::{AdminCommand, Outline, Reconfiguration};
use cluster::text::count;
use e2e::{LoadOutcome, Options, PATIENCE, RawConnection, TestCluster, under_load, wait_until};
use harness::proxy::NetworkFault;
use net_common::message::Message;
use net_common::message::change::Begin;
use net_common::message::control::Status;
use net_common::message::data::{KeyReply, ReadBatch, ReadReply};
use storage::control::Departure;

/// Keys beside the load: enough that at a megabyte a second a change takes a while.
const KEYS: usize = 12_000;

/// A cluster in which no node is dropped only because the machine is busy: these tests check each
/// arc.
fn calm(nodes: usize, copies: usize) -> Options {
    Options { nodes, copies, heartbeat_ms: 1000, ..Options::default() }
}

/// Four nodes, and two copies that take a few seconds to move.
fn slow() -> Options {
    Options { transfer_mb_s: Some(1), ..calm(4, 2) }
}

fn filled(options: Options) -> (TestCluster, Vec<(String, String)>) {
    let cluster = TestCluster::with(options);
    let pairs = cluster.fill(KEYS, |n| format!("{n:01000}"));
    (cluster, pairs)
}

fn name(n: usize) -> NodeId {
    NodeId::new(&format!("node{n}")).unwrap()
}

fn reconfigure(change: Reconfiguration) -> AdminCommand {
    AdminCommand::Reconfigure { change, force: false }
}

fn leaves(n: usize) -> AdminCommand {
    reconfigure(Reconfiguration::Leave(name(n)))
}

/// A client that does not wait for a change that is under way.
fn hasty(cluster: &TestCluster) -> GTStoreClient {
    let deadline = Duration::from_millis(1);
    GTStoreClient::init(client::Config { deadline, ..cluster.config() }).unwrap()
}

fn refusal(result: Result<Outline, ClientError>) -> String {
    match result {
        Err(ClientError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Waits until the status meets a condition.
fn wait_for(cluster: &TestCluster, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    wait_until(what, || {
        let status = cluster.status()?;
        if is_so(&status) { Ok(status) } else { Err(format!("{status:?}")) }
    })
}

fn wait_until_over(cluster: &TestCluster) -> Status {
    wait_for(cluster, "the change is over", Status::is_settled)
}

fn state(status: &Status, n: usize) -> Option<NodeState> {
    status.nodes.iter().find(|node| node.id == name(n)).map(|node| node.state)
}

/// Waits until a node reports that it has left, and stops it.
fn wait_until_left(cluster: &mut TestCluster, n: usize) {
    assert_eq!(cluster.node(n - 1).ended().recv_timeout(PATIENCE), Ok(Departure::Left));
    cluster.stop_node(n - 1);
}

/// Asserts that all keys are on this many nodes: those of the load, and those from before it.
fn assert_all(
    cluster: &TestCluster,
    loaded: &LoadOutcome,
    pairs: &[(String, String)],
    copies: usize,
) {
    let written = loaded.pairs.iter().map(|(key, value)| (key.clone(), value.clone()));
    let all: Vec<(String, String)> = pairs.iter().cloned().chain(written).collect();
    cluster.assert_held(&all, copies);
    let keys: Vec<&String> = all.iter().map(|(key, _)| key).collect();
    for ((key, value), got) in all.iter().zip(cluster.client().get_many(&keys)) {
        assert_eq!(got.unwrap().map(|got| got.value), Some(value.clone().into_bytes()), "{key}");
    }
    eprintln!("{} operations, the slowest took {:?}", loaded.operations, loaded.slowest);
}

/// Asserts that a change did to the ring what its outline predicts.
fn assert_done(status: &Status, outline: &Outline) {
    for moved in &outline.moves {
        let owns = status.nodes.iter().find(|n| n.id == moved.id && n.state == NodeState::Active);
        assert_eq!(
            owns.map_or(0, |node| node.arcs as usize),
            moved.owns.1,
            "{}: {status:?}",
            moved.id
        );
    }
}

#[test]
fn a_node_leaves_under_load() {
    let mut cluster = TestCluster::with(calm(4, 2));
    let client = cluster.client();
    let mut outline = None;
    let loaded = under_load(&mut cluster, |cluster| {
        let begun = client.order(&leaves(3)).unwrap();
        wait_until_left(cluster, 3);
        let status = wait_until_over(cluster);
        assert_done(&status, &begun);
        outline = Some(begun);
    });
    let outline = outline.unwrap();
    assert_eq!(outline.what, "node3 leaving");
    for moved in &outline.moves {
        let leaves = moved.id == name(3);
        assert_eq!(
            (moved.fetches == 0, moved.owns.1 == 0, moved.keeps.1 == 0),
            (leaves, leaves, leaves)
        );
    }
    assert_all(&cluster, &loaded, &[], 2);
    wait_for(&cluster, "nothing of it is left", |s| state(s, 3).is_none());
    // Its name is free for another node.
    cluster.start_node(2);
    cluster.wait_until_well();
    assert_all(&cluster, &loaded, &[], 2);
}

#[test]
fn a_node_that_has_left_refuses_requests_and_is_shown_as_left() {
    let mut cluster = TestCluster::with(calm(3, 2));
    let client = cluster.client();
    client.put(b"key", b"value").unwrap();
    client.order(&leaves(1)).unwrap();
    assert_eq!(cluster.node(0).ended().recv_timeout(PATIENCE), Ok(Departure::Left));
    // While its process is still running.
    let batch = ReadBatch { epoch: Epoch::NONE, keys: vec![b"key"] };
    let reply = RawConnection::open(cluster.node_address(0)).ask(&batch);
    let answers = ReadReply::read(&reply.payload).unwrap().answers;
    assert!(matches!(answers[..], [KeyReply::WrongEpoch | KeyReply::NoLease]), "{answers:?}");
    assert!(matches!(state(&cluster.status().unwrap(), 1), Some(NodeState::Left) | None));
    cluster.stop_node(0);
    wait_until_over(&cluster);
    cluster.assert_held(&[("key", "value")], 2);
}

#[test]
fn a_weight_changes_under_load() {
    let mut cluster = TestCluster::with(calm(4, 2));
    let client = cluster.client();
    let loaded = under_load(&mut cluster, |cluster| {
        let outline = client.order(&reconfigure(Reconfiguration::Weight(name(2), 3))).unwrap();
        assert_eq!(outline.what, "node2 to weigh 3");
        let status = wait_until_over(cluster);
        assert_done(&status, &outline);
        // Half of 256 arcs for three of six weights, a sixth of them for each other node.
        let arcs: Vec<u32> = status.nodes.iter().map(|node| node.arcs).collect();
        assert_eq!((arcs[1], status.nodes[1].weight), (128, 3));
        assert!(arcs.iter().all(|arcs| [42, 43, 128].contains(arcs)), "{arcs:?}");
        assert_eq!(outline.arcs, 64);
    });
    assert_all(&cluster, &loaded, &[], 2);
}

#[test]
fn k_goes_up_and_down_under_load() {
    let mut cluster = TestCluster::with(calm(4, 2));
    let client = cluster.client();
    for copies in [3, 4, 2, 1] {
        let loaded = under_load(&mut cluster, |cluster| {
            let outline = client.order(&reconfigure(Reconfiguration::Copies(copies))).unwrap();
            assert_eq!(outline.what, format!("{} of each key to come", count(copies, "copy")));
            assert_eq!(outline.arcs, 0);
            let status = wait_until_over(cluster);
            assert_eq!(usize::from(status.copies), copies);
        });
        assert_all(&cluster, &loaded, &[], copies);
    }
}

#[test]
fn a_leave_is_cancelled_in_mid_transfer() {
    let (mut cluster, pairs) = filled(slow());
    let client = cluster.client();
    let before = cluster.status().unwrap();
    let loaded = under_load(&mut cluster, |cluster| {
        client.order(&leaves(4)).unwrap();
        let status = wait_for(cluster, "something has moved", |s| {
            s.nodes.iter().any(|n| n.behind > 0 && n.fetching > 0)
        });
        assert_eq!(state(&status, 4), Some(NodeState::Leaving));
        assert_eq!(status.change.as_deref(), Some("node4 leaving"));
        assert!(status.health.text.starts_with("healing: "), "{}", status.health);
        let cancelled = client.order(&AdminCommand::Cancel).unwrap();
        assert_eq!(cancelled.what, "the change is cancelled");
        assert_eq!((cancelled.arcs, cancelled.copies()), (0, 0));
        wait_until_over(cluster);
    });
    let after = cluster.status().unwrap();
    let arcs = |s: &Status| s.nodes.iter().map(|n| (n.state, n.arcs)).collect::<Vec<_>>();
    assert_eq!(arcs(&after), arcs(&before), "all is as it was");
    assert_eq!(after.epoch.0, before.epoch.0 + 2);
    // Records that others had fetched for it are dropped.
    assert_all(&cluster, &loaded, &pairs, 2);
    let why = refusal(client.order(&AdminCommand::Cancel));
    assert_eq!(why, "no change is under way");
}

#[test]
fn two_nodes_join_at_once_under_load() {
    let mut cluster = TestCluster::with(calm(3, 2));
    let loaded = under_load(&mut cluster, |cluster| {
        cluster.add_node();
        cluster.add_node();
        cluster.wait_until_well();
    });
    let status = cluster.status().unwrap();
    assert!(status.nodes.iter().all(|node| [51, 52].contains(&node.arcs)), "{status:?}");
    assert_all(&cluster, &loaded, &[], 2);
}

#[test]
fn a_leave_and_a_join_that_waits_are_one_change() {
    // While one member does not reply no change begins: there is time to request both.
    let mut cluster = TestCluster::with(Options { is_proxied: true, ..calm(4, 2) });
    let epoch = cluster.status().unwrap().epoch;
    let hasty = hasty(&cluster);
    let loaded = under_load(&mut cluster, |cluster| {
        cluster.set_fault(3, NetworkFault::Stall);
        wait_for(cluster, "its last word is old", |s| s.nodes[3].silent_ms > 100);
        cluster.add_node();
        wait_for(cluster, "the newcomer waits", |s| state(s, 5) == Some(NodeState::Waiting));
        let mut order = Vec::new();
        Begin(leaves(1)).write(&mut order);
        let mut manager = RawConnection::open(cluster.manager_address());
        manager.send(&order);
        // Another command, which would be refused, is accepted only if none is waiting.
        wait_until("the command waits", || {
            match refusal(hasty.order(&reconfigure(Reconfiguration::Copies(2)))).as_str() {
                "wait: another change was just asked for" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        cluster.set_fault(3, NetworkFault::None);
        let begun = manager.receive().expect("an answer");
        let begun = net_common::message::change::Planned::read(&begun.payload).unwrap().0;
        assert_eq!(begun.what, "node5 joining, node1 leaving");
        wait_until_left(cluster, 1);
        wait_until_over(cluster);
    });
    let status = wait_for(&cluster, "node1 is forgotten", |s| s.nodes.len() == 4);
    assert_eq!(status.epoch.0, epoch.0 + 2);
    assert!(status.nodes.iter().all(|node| node.arcs == 64), "{status:?}");
    assert_all(&cluster, &loaded, &[], 2);
}

/// A leave of node4, and an event in the middle of it. Afterwards all nodes except those in `gone`
/// hold everything.
fn in_the_middle_of_a_leave(happens: impl FnOnce(&mut TestCluster)) {
    let (mut cluster, pairs) = filled(slow());
    let client = cluster.client();
    let loaded = under_load(&mut cluster, |cluster| {
        client.order(&leaves(4)).unwrap();
        wait_for(cluster, "something moves", |s| s.nodes.iter().any(|n| n.fetching > 0));
        happens(cluster);
        wait_until_over(cluster);
    });
    assert_all(&cluster, &loaded, &pairs, 2);
}

#[test]
fn a_member_dies_in_the_middle_of_a_leave() {
    in_the_middle_of_a_leave(|cluster| {
        cluster.stop_node(1);
        wait_until_left(cluster, 4);
    });
}

#[test]
fn the_leaving_node_dies_in_the_middle_of_its_leave() {
    in_the_middle_of_a_leave(|cluster| {
        cluster.stop_node(3);
        wait_for(cluster, "it is gone", |s| state(s, 4).is_none() && s.change.is_none());
    });
}

#[test]
fn the_manager_restarts_in_the_middle_of_a_leave() {
    in_the_middle_of_a_leave(|cluster| {
        cluster.stop_manager();
        cluster.start_manager();
        wait_until_left(cluster, 4);
    });
}

#[test]
fn impossible_changes_are_refused_with_the_reason() {
    let mut cluster = TestCluster::with(calm(3, 3));
    let client = cluster.client();
    for (change, why) in [
        (
            Reconfiguration::Leave(name(1)),
            "that leaves 2 nodes for 3 copies of each key (--force does it all the same)",
        ),
        (Reconfiguration::Leave(name(7)), "no member is called node7"),
        (Reconfiguration::Weight(name(7), 2), "no member is called node7"),
        (Reconfiguration::Weight(name(1), 1), "node1 weighs 1 already"),
        (Reconfiguration::Copies(3), "each key has 3 copies already"),
        (
            Reconfiguration::Copies(4),
            "there are 3 nodes for 4 copies (--force does it all the same)",
        ),
    ] {
        assert_eq!(refusal(client.plan(change.clone(), false)), why);
        assert_eq!(refusal(client.order(&reconfigure(change))), why);
    }
    let loaded = under_load(&mut cluster, |cluster| {
        client
            .order(&AdminCommand::Reconfigure {
                change: Reconfiguration::Leave(name(1)),
                force: true,
            })
            .unwrap();
        wait_until_left(cluster, 1);
        wait_for(cluster, "it is over", |s| {
            s.health.text == "degraded: 2 of 3 copies in 256 arcs, more nodes are needed"
        });
    });
    assert_all(&cluster, &loaded, &[], 2);
    client
        .order(&AdminCommand::Reconfigure { change: Reconfiguration::Leave(name(2)), force: true })
        .unwrap();
    wait_until_left(&mut cluster, 2);
    let last = AdminCommand::Reconfigure { change: Reconfiguration::Leave(name(3)), force: true };
    wait_until("the last node may not leave", || match refusal(client.order(&last)).as_str() {
        "node3 is the last node" => Ok(()),
        other => Err(other.to_owned()),
    });
    // As many copies as there will be nodes.
    client
        .order(&AdminCommand::Reconfigure { change: Reconfiguration::Copies(5), force: true })
        .unwrap();
    wait_for(&cluster, "it is over", |s| s.copies == 5 && !s.changing);
    assert_all(&cluster, &loaded, &[], 1);
}

#[test]
fn a_second_command_waits_or_is_refused_with_the_reason() {
    let (mut cluster, pairs) = filled(slow());
    let (client, hasty) = (cluster.client(), hasty(&cluster));
    client.order(&reconfigure(Reconfiguration::Copies(3))).unwrap();
    let why = "a change is under way: 3 copies of each key to come";
    assert_eq!(refusal(hasty.order(&leaves(1))), format!("wait: {why}"));
    assert_eq!(refusal(hasty.plan(Reconfiguration::Leave(name(1)), false)), why);
    // This one waits until it can begin.
    let outline =
        thread::scope(|scope| scope.spawn(|| client.order(&leaves(1))).join().unwrap().unwrap());
    assert_eq!(outline.what, "node1 leaving");
    assert_eq!(cluster.status().unwrap().copies, 3, "the first is over");
    wait_until_left(&mut cluster, 1);
    wait_until_over(&cluster);
    cluster.assert_held(&pairs, 3);
}

#[test]
fn a_plan_matches_the_outcome_of_the_command() {
    let (mut cluster, pairs) = filled(calm(4, 2));
    let client = cluster.client();
    let fetched = |cluster: &TestCluster| -> Vec<(u64, u64)> {
        let nodes = cluster.running().into_iter().map(|n| cluster.node(n).node().transfer());
        nodes.map(|transfer| (transfer.bytes, transfer.moved)).collect()
    };
    for change in [
        Reconfiguration::Weight(name(1), 2),
        Reconfiguration::Copies(3),
        Reconfiguration::Leave(name(2)),
        Reconfiguration::Copies(2),
    ] {
        let before = fetched(&cluster);
        let plan = client.plan(change.clone(), false).unwrap();
        assert_eq!(cluster.status().unwrap().change, None, "a look changes nothing");
        let order = client.order(&reconfigure(change.clone())).unwrap();
        assert_eq!(plan, order);
        let after = wait_until("it is over", || {
            let status = cluster.status()?;
            let after = fetched(&cluster);
            if !status.is_settled() { Err(status.health.text) } else { Ok(after) }
        });
        assert_done(&cluster.status().unwrap(), &order);
        let moved: u64 = before.iter().zip(&after).map(|(b, a)| a.1 - b.1).sum();
        // An estimate: the nodes hold the keys evenly enough.
        let planned = order.amount.keys;
        assert!(
            moved.abs_diff(planned) <= planned / 10,
            "{change:?}: {planned} keys planned, {moved} moved"
        );
        let (copies, least) = (order.copies(), order.least());
        assert!((least..=2 * least).contains(&copies), "{change:?}: {order:?}");
        if let Reconfiguration::Leave(_) = change {
            wait_until_left(&mut cluster, 2);
        }
    }
    cluster.assert_held(&pairs, 2);
}

#[test]
fn arcs_are_rebalanced_some_time_after_a_loss() {
    let mut cluster = TestCluster::with(Options { rebalance_ms: 2000, ..calm(5, 2) });
    let loaded = under_load(&mut cluster, |cluster| {
        cluster.stop_node(4);
        // Copies are restored at once; arcs stay with their new owners.
        let fallen =
            wait_for(cluster, "all copies are restored", |s| s.nodes.len() == 4 && s.is_settled());
        assert!(fallen.nodes.iter().any(|node| node.arcs != 64), "{fallen:?}");
        wait_for(cluster, "arcs are assigned evenly", |s| {
            !s.changing && s.nodes.iter().all(|node| node.arcs == 64)
        });
    });
    assert_all(&cluster, &loaded, &[], 2);
}

#[test]
fn a_node_that_returns_before_the_rebalance_gets_its_arcs_back() {
    let mut cluster = TestCluster::with(calm(5, 2));
    let arcs = |cluster: &TestCluster| {
        let routes = cluster.node(0).node().routes().unwrap();
        let owners = routes.view().arcs.iter().map(|&owner| routes.member(owner).id.clone());
        owners.collect::<Vec<_>>()
    };
    let before = arcs(&cluster);
    let loaded = under_load(&mut cluster, |cluster| {
        cluster.stop_node(4);
        wait_for(cluster, "it is dropped", |s| s.nodes.len() == 4);
        cluster.start_node(4);
        cluster.wait_until_well();
    });
    assert_eq!(arcs(&cluster), before);
    assert_all(&cluster, &loaded, &[], 2);
}
