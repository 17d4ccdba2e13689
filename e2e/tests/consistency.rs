//! The consistency rules from outside: a client that dies between two replicas, clocks that differ
//! by much.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use client::Config;
use cluster::ids::{Epoch, Incarnation, NodeId};
use cluster::membership::{Newcomer, Report};
use cluster::replica::{State, WriteAnswer};
use cluster::version::{MAX_AHEAD_MS, Version};
use e2e::{RawConnection, TestCluster, wait_until};
use net_common::clock;
use net_common::frame::Kind;
use net_common::message::Message;
use net_common::message::control::{Heartbeat, Hello, Info, Register, TablePush};
use net_common::message::data::{
    Body, KeyReply, ReadBatch, ReadReply, Write, WriteAcks, WriteBatch,
};

const KEY: &[u8] = b"key";

/// A replica's reply to a READ, in one word.
fn held(cluster: &TestCluster, node: usize) -> (Vec<u8>, State) {
    let mut replica = RawConnection::open(cluster.node_address(node));
    let epoch = Epoch::NONE;
    let reply = replica.ask(&ReadBatch { epoch, keys: vec![KEY] });
    let answers = ReadReply::read(&reply.payload).expect("a READ_REPLY").answers;
    match answers[..] {
        [KeyReply::Record(_, state, Body::Value(value))] => (value.to_vec(), state),
        _ => panic!("{answers:?}"),
    }
}

/// Writes `value` to one replica only, as a client does that dies before it has sent the other
/// frames.
fn write_to_one(cluster: &TestCluster, node: usize, value: &[u8]) {
    let mut manager = RawConnection::open(cluster.manager_address());
    let reply = manager.ask(&Hello);
    let push = TablePush::read(&reply.payload).expect("a TABLE_PUSH");
    let version = Version::plain(push.clock + 1, 77);
    let write =
        Write { key: KEY, version, born: version.clock, body: Body::Value(value), expected: None };
    let mut replica = RawConnection::open(cluster.node_address(node));
    let reply = replica.ask(&WriteBatch { epoch: push.view.epoch, writes: vec![write] });
    let acks = WriteAcks::read(&reply.payload).expect("a REPL_ACK");
    assert_eq!(acks.answers, [WriteAnswer::Stored]);
}

#[test]
fn a_writer_that_dies_in_mid_fan_out() {
    for victim in 0..3 {
        let cluster = TestCluster::start(3, 3);
        let client = cluster.client();
        client.put(KEY, b"old").unwrap();
        // All replicas have the writer's watermark before the failure begins.
        for node in 0..3 {
            wait_until("the put is committed", || {
                (held(&cluster, node).1 == State::Committed).then_some(()).ok_or("pending".into())
            });
        }
        let since = Instant::now();
        write_to_one(&cluster, victim, b"new");
        // At once, at every replica: only the one has the record, and does not report it as
        // committed.
        for node in 0..3 {
            let want = if node == victim {
                (b"new".to_vec(), State::Pending)
            } else {
                (b"old".to_vec(), State::Committed)
            };
            let found = held(&cluster, node);
            // After a second the replica may have completed the write on its own (C4).
            let is_early = since.elapsed() < Duration::from_secs(1);
            assert!(!is_early || found == want, "replica {node}, written at {victim}: {found:?}");
        }
        // All readers agree, from the first that sees the value on.
        let mut seen = false;
        wait_until("the write is finished everywhere", || {
            let got = cluster.client().get(KEY).unwrap().unwrap().value;
            assert!(!seen || got == b"new", "it was seen, and is gone");
            seen |= got == b"new";
            let has_all =
                (0..3).all(|node| held(&cluster, node) == (b"new".into(), State::Committed));
            if has_all { Ok(()) } else { Err("not yet".into()) }
        });
        assert!(seen || client.get(KEY).unwrap().unwrap().value == b"new");
    }
}

#[test]
fn a_node_with_a_wrong_clock_is_refused_and_learns_the_difference() {
    let cluster = TestCluster::start(1, 1);
    let id = || NodeId::new("late").unwrap();
    // The manager connects back once.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dialled = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        let (incarnation, epoch) = (Incarnation(99), Epoch::NONE);
        let mut out = Vec::new();
        Info { id: id(), incarnation, epoch, keys: 0, bytes: 0, connections: 1 }.write(&mut out);
        stream.write_all(&out).unwrap();
    });
    let register = |wall_ms| Register {
        who: Newcomer {
            id: id(),
            incarnation: Incarnation(99),
            address: address.parse().unwrap(),
            redis_port: 0,
            on_disk: false,
            weight: 1,
        },
        cluster: None,
        returns: false,
        claim: None,
        seen: None,
        wall_ms,
    };
    let now = clock::wall_ms();
    for (wall_ms, side) in
        [(now + 2 * MAX_AHEAD_MS, "ahead of"), (now - 2 * MAX_AHEAD_MS, "behind")]
    {
        let mut node = RawConnection::open(cluster.manager_address());
        let refused = node.ask(&register(wall_ms));
        let text = refused.error();
        assert!(text.starts_with("clock") && text.contains(side), "{text}");
        assert!(text.contains("225 s"), "{text}");
        node.expect_end();
    }
    // A node whose clock goes wrong later is ignored.
    let mut node = RawConnection::open(cluster.manager_address());
    let taken = node.ask(&register(clock::wall_ms()));
    assert_eq!(taken.kind, Kind::TablePush as u16);
    dialled.join().unwrap();
    let beat = Heartbeat {
        incarnation: Incarnation(99),
        sequence: 1,
        report: Report::default(),
        wall_ms: clock::wall_ms() + 2 * MAX_AHEAD_MS,
    };
    let mut out = Vec::new();
    beat.write(&mut out);
    node.send(&out);
    while node.receive().is_some() {}
}

#[test]
fn nodes_without_heartbeat_replies_stop_serving_and_resume_by_themselves() {
    let mut cluster = TestCluster::start(3, 2);
    let hasty = client::GTStoreClient::init(Config {
        deadline: Duration::from_millis(300),
        ..cluster.config()
    })
    .unwrap();
    hasty.put(KEY, b"value").unwrap();
    cluster.stop_manager();
    wait_until("the leases have ended", || match hasty.get(KEY) {
        Err(error) if error.is_retryable() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let refused = hasty.put(KEY, b"another").unwrap_err();
    assert!(!refused.is_unknown(), "nobody may have stored it: {refused}");
    cluster.start_manager();
    cluster.wait_until_well();
    let got = wait_until("it serves again", || hasty.get(KEY).map_err(|error| error.to_string()));
    assert_eq!(got.unwrap().value, b"value");
}

/// C2, N3: watermarks commit writes at the replicas, each on the connections that brought them,
/// long before the replicas would complete the writes themselves.
#[test]
fn watermarks_commit_writes_at_the_replicas() {
    let cluster = TestCluster::start(3, 3);
    let client = cluster.client();
    let is_committed = |node: usize, key: &str| {
        let mut connection = RawConnection::open(cluster.node_address(node));
        let reply = connection.ask(&ReadBatch { epoch: Epoch(1), keys: vec![key.as_bytes()] });
        match ReadReply::read(&reply.payload).unwrap().answers[0] {
            KeyReply::Record(_, state, _) => state == State::Committed,
            other => panic!("{key} at node {node}: {other:?}"),
        }
    };
    let mut round = 0;
    wait_until("watermarks are faster than a second", || {
        round += 1;
        let begin = Instant::now();
        let keys: Vec<String> = (0..40).map(|n| format!("k{round}-{n}")).collect();
        thread::scope(|scope| {
            for chunk in keys.chunks(10) {
                let client = &client;
                scope.spawn(move || {
                    chunk.iter().for_each(|key| _ = client.put(key.as_bytes(), b"v").unwrap());
                });
            }
        });
        let open = || {
            (0..3)
                .flat_map(|node| keys.iter().map(move |key| (node, key)))
                .filter(|(node, key)| !is_committed(*node, key))
                .count()
        };
        loop {
            match open() {
                0 => return Ok(()),
                // From here on a node may have completed it by itself.
                left if begin.elapsed() > Duration::from_millis(800) => {
                    return Err(format!("{left} are pending"));
                }
                _ => thread::yield_now(),
            }
        }
    });
}
