//! Peers that send garbage, too much, too slowly, or nothing. After each of them a normal client is
//! still answered in time.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use cluster::ids::Epoch;
use cluster::limits::Limits;
use cluster::replica::{State, WriteAnswer};
use cluster::version::Version;
use e2e::{Options, RawConnection, TestCluster, frame, wait_until};
use net_common::frame::{FORMAT_BINARY, FORMAT_TEXT, Kind, MAX_PAYLOAD};
use net_common::message::Message;
use net_common::message::control::{Hello, Info, InfoRequest, TablePush};
use net_common::message::coordinated::{Get, Put};
use net_common::message::data::{
    self, Body, CommitNotice, KeyReply, ReadBatch, ReadReply, WriteAcks, WriteBatch,
};
use net_common::server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Time limits of frames and of silence in tests that exceed them.
const SHORT: Duration = Duration::from_millis(300);

/// How soon a normal client must be answered whatever others do. It takes milliseconds on a quiet
/// machine; this one may run many tests in debug builds.
const IN_TIME: Duration = Duration::from_secs(2);

/// Asserts that a cluster works as before.
fn assert_alive(cluster: &TestCluster) {
    let client = cluster.client();
    let begin = Instant::now();
    client.put(b"alive", b"yes").unwrap();
    assert_eq!(client.get(b"alive").unwrap().unwrap().value, b"yes");
    assert!(begin.elapsed() < IN_TIME, "answered after {:?}", begin.elapsed());
    assert_eq!(client.status().unwrap().health.text, "healthy");
}

/// Both kinds of servers.
fn servers(cluster: &TestCluster) -> [SocketAddr; 2] {
    [cluster.node_address(0), cluster.manager_address()]
}

fn impatient(peers: server::Limits) -> TestCluster {
    TestCluster::with(Options { nodes: 2, peers, ..Options::default() })
}

#[test]
fn random_bytes() {
    let cluster = TestCluster::start(2, 2);
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..200 {
        let mut bytes = vec![0; random.random_range(1..3000)];
        random.fill(&mut bytes[..]);
        let mut connection = RawConnection::open(servers(&cluster)[round % 2]);
        // The server may close before all of it is sent.
        let _ = connection.try_send(&bytes);
        connection.finish();
        while connection.receive().is_some() {}
    }
    assert_alive(&cluster);
}

#[test]
fn random_payloads_of_every_type() {
    let cluster = TestCluster::start(2, 2);
    let mut random = StdRng::seed_from_u64(4);
    for address in servers(&cluster) {
        for kind in Kind::ALL {
            // It would turn the connection into a node's; a COMMIT has no reply; and after a
            // needless handshake the connection closes.
            if matches!(kind, Kind::StorageRegister | Kind::Commit | Kind::AuthHello) {
                continue;
            }
            let mut connection = RawConnection::open(address);
            for _ in 0..40 {
                let mut payload = vec![0; random.random_range(0..200)];
                random.fill(&mut payload[..]);
                // Small numbers at the front get further: counts and lengths that almost fit.
                for byte in payload.iter_mut().take(12).step_by(2) {
                    *byte = 0;
                }
                connection.send(&frame(kind as u16, FORMAT_BINARY, &payload));
                let reply = connection.receive().expect("every request is answered");
                assert_eq!(reply.format, FORMAT_BINARY);
            }
        }
    }
    assert_alive(&cluster);
}

#[test]
fn unknown_types_are_named_and_the_connection_goes_on() {
    let cluster = TestCluster::start(1, 1);
    for address in servers(&cluster) {
        let mut connection = RawConnection::open(address);
        for kind in [0, 30, 999, u16::MAX, Kind::HeartbeatAck as u16, Kind::AuthProof as u16] {
            connection.send(&frame(kind, FORMAT_BINARY, b"anything"));
            let reply = connection.receive().unwrap();
            assert!(reply.error().starts_with("unknown: "), "{kind}: {}", reply.error());
        }
    }
    assert_alive(&cluster);
}

#[test]
fn unknown_formats_and_too_large_frames_get_an_error_and_are_closed() {
    let cluster = TestCluster::start(1, 1);
    let announce = |size: u32| [&[0, 2, 0, 2][..], &size.to_be_bytes()].concat();
    for address in servers(&cluster) {
        for (bytes, word) in [
            (frame(2, 1, b"key"), "unknown: format 1"),
            (frame(2, 3, b"key"), "unknown: format 3"),
            (announce(u32::MAX), "too large: a frame of 4294967295 bytes"),
            (announce(MAX_PAYLOAD as u32 + 1), "too large: "),
        ] {
            let mut connection = RawConnection::open(address);
            connection.send(&bytes);
            let reply = connection.receive().unwrap();
            assert!(reply.error().starts_with(word), "{}", reply.error());
            connection.expect_end();
        }
        // Also if much more follows, which must not destroy the reply.
        let mut connection = RawConnection::open(address);
        let _ = connection.try_send(&[announce(u32::MAX), vec![0; 100_000]].concat());
        assert!(connection.receive().unwrap().error().starts_with("too large: "));
    }
    assert_alive(&cluster);
}

#[test]
fn short_and_trailing_payloads_are_malformed_and_the_connection_goes_on() {
    let cluster = TestCluster::start(1, 1);
    let key = b"key";
    let good: [(SocketAddr, Vec<u8>); 5] = [
        (cluster.node_address(0), bytes(&ReadBatch { epoch: Epoch(1), keys: vec![key, key] })),
        (cluster.node_address(0), bytes(&Get(key))),
        (cluster.node_address(0), bytes(&InfoRequest)),
        (cluster.manager_address(), bytes(&Hello)),
        (cluster.node_address(0), bytes(&Put { key, value: b"v" })),
    ];
    for (address, good) in good {
        let (kind, payload) = (good[1].into(), &good[8..]);
        let mut connection = RawConnection::open(address);
        let mut is_malformed = |payload: &[u8]| {
            connection.send(&frame(kind, FORMAT_BINARY, payload));
            let reply = connection.receive().unwrap();
            assert!(reply.error().starts_with("malformed: "), "{payload:?}: {}", reply.error());
        };
        for end in 0..payload.len() {
            is_malformed(&payload[..end]);
        }
        is_malformed(&[payload, b"x"].concat());
        connection.send(&good);
        assert_ne!(connection.receive().unwrap().kind, Kind::Error as u16);
    }
    assert_alive(&cluster);
}

fn bytes<'m>(message: &impl Message<'m>) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out);
    out
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let cluster = TestCluster::start(1, 1);
    cluster.client().put(b"key", b"value").unwrap();
    let mut connection = RawConnection::open(cluster.node_address(0));
    for _ in 0..3 {
        for byte in bytes(&Get(b"key")) {
            connection.send(&[byte]);
            thread::yield_now();
        }
        assert_eq!(connection.receive().unwrap().kind, Kind::GetOk as u16);
    }
}

#[test]
fn a_connection_that_closes_in_mid_frame_harms_no_other() {
    let cluster = TestCluster::start(1, 1);
    let whole = bytes(&Get(b"key"));
    for end in 1..whole.len() {
        let mut connection = RawConnection::open(cluster.node_address(0));
        connection.send(&whole[..end]);
        connection.finish();
        connection.expect_end();
    }
    assert_alive(&cluster);
}

#[test]
fn a_peer_that_stalls_in_mid_frame_gets_a_slow_error() {
    let cluster = impatient(server::Limits { frame: SHORT, ..server::Limits::default() });
    let mut stalled: Vec<RawConnection> = (1..12)
        .map(|sent| {
            let mut connection = RawConnection::open(cluster.node_address(0));
            connection.send(&bytes(&Get(b"key"))[..sent]);
            connection
        })
        .collect();
    let begin = Instant::now();
    assert_alive(&cluster);
    for connection in &mut stalled {
        let reply = connection.receive().unwrap();
        assert!(reply.error().starts_with("slow: no whole frame for "), "{}", reply.error());
        connection.expect_end();
    }
    assert!(begin.elapsed() >= SHORT, "not before the time is over");
    assert_alive(&cluster);
}

#[test]
fn a_dripping_peer_gets_a_slow_error() {
    let cluster = impatient(server::Limits { frame: SHORT, ..server::Limits::default() });
    let mut connection = RawConnection::open(cluster.node_address(0));
    connection.send(&[0, 2, 0, 2, 0, 1, 0, 0]);
    wait_until("it is closed", || match connection.try_send(b"x") {
        Ok(()) => Err("it goes on".into()),
        Err(_) => Ok(()),
    });
    // The reply, unless the last byte has destroyed it.
    if let Some(reply) = connection.receive() {
        assert!(reply.error().starts_with("slow: "), "{}", reply.error());
    }
    assert_alive(&cluster);
}

#[test]
fn a_silent_peer_gets_an_idle_error() {
    let cluster = impatient(server::Limits { idle: SHORT, ..server::Limits::default() });
    let mut silent = RawConnection::open(cluster.node_address(0));
    let mut spoke = RawConnection::open(cluster.node_address(0));
    spoke.ask(&InfoRequest);
    for connection in [&mut silent, &mut spoke] {
        let reply = connection.receive().unwrap();
        assert!(reply.error().starts_with("idle: no request for "), "{}", reply.error());
        connection.expect_end();
    }
    assert_alive(&cluster);
}

#[test]
fn the_client_library_survives_the_idle_time_out() {
    let cluster = impatient(server::Limits { idle: SHORT, ..server::Limits::default() });
    let client = cluster.client();
    for n in 0..3 {
        client.put(b"key", format!("{n}").as_bytes()).unwrap();
        wait_until("its connections are closed", || {
            let open = cluster.node(0).node().info().connections;
            let others = cluster.node(1).node().info().connections;
            if open + others == 0 { Ok(()) } else { Err(format!("{open} + {others}")) }
        });
    }
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"2");
}

/// A cluster of one node with this connection limit.
fn narrow(connections: usize) -> TestCluster {
    TestCluster::with(Options {
        nodes: 1,
        copies: 1,
        peers: server::Limits { connections, ..server::Limits::default() },
        ..Options::default()
    })
}

/// Opens connections up to the limit. Returns them, and the reply to the next one.
fn fill(node: SocketAddr) -> (Vec<RawConnection>, String) {
    let mut served = Vec::new();
    let refusal = wait_until("the limit is reached", || {
        let mut connection = RawConnection::open(node);
        // The request may reach a connection that has been closed.
        let _ = connection.try_send(&bytes(&InfoRequest));
        match connection.receive() {
            Some(reply) if reply.kind == Kind::NodeInfoReply as u16 => {
                served.push(connection);
                Err(format!("{} are served", served.len()))
            }
            Some(reply) => Ok(reply.error().to_owned()),
            None => Err("closed without a word".into()),
        }
    });
    (served, refusal)
}

#[test]
fn a_connection_above_the_limit_gets_a_busy_error() {
    let limit = 20;
    let cluster = narrow(limit);
    // A thread that has just closed a connection may not be ready for the next one yet.
    let (mut served, text) = fill(cluster.node_address(0));
    assert!(text.starts_with("busy: this server has its 20 connections"), "{text}");
    assert!((limit - 5..=limit).contains(&served.len()), "{} were served", served.len());
    // Accepted connections are still served; when one closes, another is accepted.
    for connection in &mut served {
        assert_eq!(connection.ask(&InfoRequest).kind, Kind::NodeInfoReply as u16);
    }
    served.truncate(limit / 2);
    assert_alive(&cluster);
}

#[test]
fn a_client_turned_away_comes_back() {
    let cluster = narrow(4);
    thread::scope(|scope| {
        for thread in 0..12 {
            let cluster = &cluster;
            scope.spawn(move || {
                let client = cluster.client();
                for n in 0..5 {
                    client.put(format!("t{thread}k{n}").as_bytes(), b"value").unwrap();
                }
                client.finalize();
            });
        }
    });
    let client = cluster.client();
    for thread in 0..12 {
        for n in 0..5 {
            assert!(client.get(format!("t{thread}k{n}").as_bytes()).unwrap().is_some());
        }
    }
}

/// A frame of reads whose reply exceeds all limits: 300,000 times a kilobyte, from 900 KiB of
/// request.
#[test]
fn reads_that_exceed_a_reply_are_deferred() {
    let cluster = TestCluster::start(1, 1);
    let client = cluster.client();
    client.put(b"k", &[7; 1024]).unwrap();
    let mut connection = RawConnection::open(cluster.node_address(0));
    for count in [5_000, 300_000] {
        let reply = connection.ask(&ReadBatch { epoch: Epoch(1), keys: vec![b"k"; count] });
        assert!(reply.payload.len() <= MAX_PAYLOAD);
        let answers = ReadReply::read(&reply.payload).unwrap().answers;
        let answered = answers.iter().take_while(|answer| matches!(answer, KeyReply::Record(..)));
        let answered = answered.count();
        assert!((3_500..5_000).contains(&answered), "{answered}");
        assert!(answers[answered..].iter().all(|answer| *answer == KeyReply::Later));
        assert_eq!(answers.len(), count);
    }
    let reply = connection.ask(&ReadBatch { epoch: Epoch(1), keys: vec![b"k"; 3_000] });
    assert_eq!(reply.kind, Kind::ReadReply as u16);
    assert_alive(&cluster);
}

/// N3: a watermark counts on the connection that brought the writes, and for the writes that it has
/// brought. A record on one replica does not become committed by a watermark for another
/// connection's writer, or for writes that are still to come.
#[test]
fn a_watermark_for_another_connections_writer_commits_nothing() {
    let cluster = TestCluster::start(2, 2);
    cluster.client().put(b"there", b"is a view").unwrap();
    let node = cluster.node_address(0);
    let (mut writer, mut other) = (RawConnection::open(node), RawConnection::open(node));
    let info = writer.ask(&InfoRequest);
    let epoch = Info::read(&info.payload).unwrap().epoch;
    let clock = |connection: &mut RawConnection| {
        let reply = connection.ask(&ReadBatch { epoch, keys: vec![b"there"] });
        ReadReply::read(&reply.payload).unwrap().clock
    };
    let put = |connection: &mut RawConnection, key: &str, version: Version, born| {
        let (key, body) = (key.as_bytes(), Body::Value(b"value"));
        let write = data::Write { key, version, born, body, expected: None };
        let reply = connection.ask(&WriteBatch { epoch, writes: vec![write] });
        assert_eq!(WriteAcks::read(&reply.payload).unwrap().answers, [WriteAnswer::Stored]);
    };
    let state = |connection: &mut RawConnection, key: &str| {
        let reply = connection.ask(&ReadBatch { epoch, keys: vec![key.as_bytes()] });
        match ReadReply::read(&reply.payload).unwrap().answers[0] {
            KeyReply::Record(_, state, _) => state,
            other => panic!("{key}: {other:?}"),
        }
    };
    let watermark = |connection: &mut RawConnection, writer: u64| {
        let (watermarks, versions) = (vec![(writer, u64::MAX)], Vec::new());
        connection.send(&bytes(&CommitNotice { watermarks, versions }));
    };
    // A pending record is completed after a second: on a machine slower than that nothing can be
    // observed.
    wait_until("all that is quicker than who finishes it", || {
        let begin = Instant::now();
        let now = clock(&mut writer);
        let name = now ^ 0x5eed;
        let key = |n: u32| format!("{now}-{n}");
        let version = |n: u64| Version::plain(now + n, name);
        let mut states = Vec::new();
        put(&mut writer, &key(1), version(1), now + 1);
        watermark(&mut other, name);
        states.push(state(&mut other, &key(1)));
        // A client that forwards a record is not its writer.
        put(&mut other, &key(1), version(1), now + 2);
        watermark(&mut other, name);
        states.push(state(&mut other, &key(1)));
        watermark(&mut writer, name);
        states.push(state(&mut writer, &key(1)));
        // Nor for writes that are still to come.
        put(&mut writer, &key(2), version(2), now + 2);
        states.push(state(&mut writer, &key(2)));
        if begin.elapsed() < Duration::from_millis(500) {
            Ok(states)
        } else {
            Err("it was too slow".into())
        }
    })
    .into_iter()
    .zip([State::Pending, State::Pending, State::Committed, State::Pending])
    .enumerate()
    .for_each(|(step, (found, wanted))| assert_eq!(found, wanted, "step {step}"));
    assert_alive(&cluster);
}

#[test]
fn a_huge_batch_is_answered() {
    let cluster = TestCluster::start(1, 1);
    let mut connection = RawConnection::open(cluster.node_address(0));
    // As many empty keys as fit into a frame: each is answered individually.
    let count = (MAX_PAYLOAD - 12) / 2;
    let reply = connection.ask(&ReadBatch { epoch: Epoch(1), keys: vec![b""; count] });
    assert_eq!(reply.kind, Kind::ReadReply as u16);
    assert_alive(&cluster);
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let cluster = TestCluster::start(1, 1);
    let client = cluster.client();
    let mut pipeline = Vec::new();
    for n in 0..200 {
        client.put(format!("key{n}").as_bytes(), format!("value{n}").as_bytes()).unwrap();
    }
    for n in 0..2000 {
        let key = format!("key{}", n % 200);
        pipeline.extend(bytes(&ReadBatch { epoch: Epoch(1), keys: vec![key.as_bytes()] }));
    }
    let mut connection = RawConnection::open(cluster.node_address(0));
    connection.send(&pipeline);
    for n in 0..2000 {
        let reply = connection.receive().unwrap();
        assert!(reply.payload.ends_with(format!("value{}", n % 200).as_bytes()), "answer {n}");
    }
}

/// It sends requests and never reads. The server stops reading its requests once the sockets are
/// full, and disconnects it.
#[test]
fn a_peer_that_never_reads_is_disconnected() {
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let cluster = TestCluster::with(Options {
        nodes: 2,
        limits,
        peers: server::Limits { frame: SHORT, ..server::Limits::default() },
        ..Options::default()
    });
    cluster.client().put(b"large", &vec![1; 1 << 20]).unwrap();
    let mut connection = RawConnection::open(cluster.node_address(0));
    let request = bytes(&Get(b"large"));
    wait_until("the server gives it up", || match connection.try_send(&request) {
        Ok(()) => Err("it takes requests".into()),
        Err(_) => Ok(()),
    });
    assert_alive(&cluster);
}

#[test]
fn a_server_stops_promptly_despite_busy_peers() {
    let mut cluster = TestCluster::start(1, 1);
    let node = cluster.node_address(0);
    let _silent: Vec<RawConnection> = (0..20).map(|_| RawConnection::open(node)).collect();
    let mut half = RawConnection::open(node);
    half.send(&[0, 2, 0, 2, 0]);
    thread::scope(|scope| {
        // A connection that always has the next request on its way, and reads the replies.
        let mut busy = RawConnection::open(node);
        let requests = bytes(&InfoRequest).repeat(100);
        let mut sender = busy.stream().try_clone().unwrap();
        scope.spawn(move || while sender.write_all(&requests).is_ok() {});
        assert!(busy.receive().is_some());
        scope.spawn(move || {
            while busy.receive().is_some() {}
            // The kernel would retry unsent bytes for a minute.
            let _ = busy.stream().shutdown(Shutdown::Both);
        });
        let begin = Instant::now();
        cluster.stop_node(0);
        assert!(begin.elapsed() < IN_TIME, "it took {:?}", begin.elapsed());
    });
}

#[test]
fn a_crowd_is_turned_away_at_once() {
    let cluster = narrow(2);
    let node = cluster.node_address(0);
    let (_served, _) = fill(node);
    let begin = Instant::now();
    // None of them closes, or sends anything.
    let mut crowd: Vec<RawConnection> = (0..100).map(|_| RawConnection::open(node)).collect();
    let replies = crowd.iter_mut().filter_map(RawConnection::receive);
    assert!(replies.map(|reply| assert!(reply.error().starts_with("busy: "))).count() > 90);
    assert!(begin.elapsed() < IN_TIME, "it took {:?}", begin.elapsed());
}

#[test]
fn a_server_stops_at_once_with_many_turned_away() {
    let mut cluster = narrow(2);
    let node = cluster.node_address(0);
    let _crowd: Vec<RawConnection> = (0..100).map(|_| RawConnection::open(node)).collect();
    let begin = Instant::now();
    cluster.stop_node(0);
    assert!(begin.elapsed() < IN_TIME, "it took {:?}", begin.elapsed());
}

/// Several seconds of everything at once, against all servers.
#[test]
fn a_mixed_storm() {
    let cluster = TestCluster::start(3, 2);
    let until = Instant::now() + Duration::from_secs(4);
    thread::scope(|scope| {
        for seed in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(100 + seed);
                while Instant::now() < until {
                    let address = match random.random_range(0..6) {
                        node @ 0..3 => cluster.node_address(node),
                        _ => cluster.manager_address(),
                    };
                    storm(&mut random, address);
                }
            });
        }
        let client = cluster.client();
        let mut n = 0u64;
        while Instant::now() < until {
            client.put(b"steady", &n.to_be_bytes()).unwrap();
            assert_eq!(client.get(b"steady").unwrap().unwrap().value, n.to_be_bytes());
            n += 1;
        }
    });
    assert_alive(&cluster);
    // No node registered, nothing was changed.
    let table = RawConnection::open(cluster.manager_address()).ask(&Hello);
    assert_eq!(TablePush::read(&table.payload).unwrap().view.members.len(), 3);
}

/// One connection that sends something invalid and closes.
fn storm(random: &mut StdRng, address: SocketAddr) {
    let mut connection = RawConnection::open(address);
    for _ in 0..random.random_range(1..6) {
        let kind = random.random_range(0..32);
        if kind == Kind::StorageRegister as u16 || kind == Kind::AcceptLoss as u16 {
            continue;
        }
        let format = [FORMAT_TEXT, FORMAT_BINARY, FORMAT_BINARY, 7][random.random_range(0..4)];
        let mut payload = vec![0; random.random_range(0..64)];
        random.fill(&mut payload[..]);
        let mut bytes = frame(kind, format, &payload);
        match random.random_range(0..4) {
            0 => bytes.truncate(random.random_range(1..bytes.len())),
            1 => bytes[4..8].copy_from_slice(&random.random_range(0..100u32).to_be_bytes()),
            _ => {}
        }
        if connection.try_send(&bytes).is_err() {
            return;
        }
    }
    if random.random_bool(0.5) {
        connection.finish();
        while connection.receive().is_some() {}
    }
}

/// A node's statistics count the connections that it serves.
#[test]
fn connections_that_ended_are_forgotten() {
    let cluster = TestCluster::start(1, 1);
    for _ in 0..50 {
        RawConnection::open(cluster.node_address(0)).ask(&InfoRequest);
    }
    let mut connection = RawConnection::open(cluster.node_address(0));
    wait_until("only this and the clients' are left", || {
        let reply = connection.ask(&InfoRequest);
        let count = Info::read(&reply.payload).unwrap().connections;
        if count < 5 { Ok(()) } else { Err(format!("{count} are open")) }
    });
}
