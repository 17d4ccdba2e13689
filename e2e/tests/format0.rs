//! Programs of the original: text payloads, one request per connection.

use std::thread;

use e2e::{Options, RawConnection, TestCluster, frame, text_request};
use net_common::auth::Secret;
use net_common::frame::{FORMAT_TEXT, Kind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn put(cluster: &TestCluster, node: usize, payload: &[u8]) -> (Kind, Vec<u8>) {
    text_request(cluster.node_address(node), Kind::ClientPut, payload)
}

fn get(cluster: &TestCluster, node: usize, key: &[u8]) -> (Kind, Vec<u8>) {
    text_request(cluster.node_address(node), Kind::ClientGet, key)
}

#[test]
fn two_hundred_puts_and_gets_through_any_node() {
    let cluster = TestCluster::start(5, 3);
    let mut random = StdRng::seed_from_u64(2);
    let ok = |kind| (kind, b"ok".to_vec());
    for n in 0..200 {
        let pair = format!("key{n}|value{n}");
        assert_eq!(put(&cluster, random.random_range(0..5), pair.as_bytes()), ok(Kind::PutOk));
    }
    for n in 0..200 {
        let got = get(&cluster, random.random_range(0..5), format!("key{n}").as_bytes());
        assert_eq!(got, (Kind::GetOk, format!("value{n}").into_bytes()));
    }
    // Their writes are replicated like all others, and are visible to native clients.
    assert_eq!(cluster.client().get(b"key7").unwrap().unwrap().value, b"value7");
    for n in 0..200 {
        let value = format!("value{n}");
        cluster.assert_replicas(format!("key{n}").as_bytes(), Some(value.as_bytes()));
    }
    // The original's primary forwards puts to the replicas by itself.
    let passed_on = text_request(cluster.node_address(0), Kind::ReplPut, b"key7|newer");
    assert_eq!(passed_on, ok(Kind::ReplAck));
    assert_eq!(get(&cluster, 4, b"key7"), (Kind::GetOk, b"newer".to_vec()));
}

#[test]
fn the_first_bar_splits_and_values_may_be_anything() {
    let cluster = TestCluster::start(2, 2);
    for (payload, key, value) in [
        (&b"k|a|b|c"[..], &b"k"[..], &b"a|b|c"[..]),
        (b"empty|", b"empty", b""),
        (b"bytes|\x00\xff\n", b"bytes", b"\x00\xff\n"),
        (b"list|phone,phone_case", b"list", b"phone,phone_case"),
    ] {
        assert_eq!(put(&cluster, 0, payload).0, Kind::PutOk);
        assert_eq!(get(&cluster, 1, key), (Kind::GetOk, value.to_vec()));
    }
}

#[test]
fn mistakes_get_the_originals_words() {
    let cluster = TestCluster::start(2, 1);
    let long_key = [&[b'k'; 21][..], b"|v"].concat();
    let long_value = [&b"k|"[..], &[b'v'; 1025]].concat();
    for (kind, payload, word) in [
        (Kind::ClientGet, &b"nothing"[..], "missing"),
        (Kind::ClientGet, b"", "bad key"),
        (Kind::ClientGet, &[b'k'; 21], "bad key"),
        (Kind::ClientPut, b"|value", "bad key"),
        (Kind::ClientPut, &long_key, "bad key"),
        (Kind::ClientPut, &long_value, "bad value"),
        (Kind::ClientPut, b"no bar", "bad put"),
        (Kind::ClientPut, b"", "bad put"),
        (Kind::ReplPut, b"no bar", "bad put"),
        (Kind::ClientHello, b"", "unknown"),
        (Kind::NodeInfo, b"", "unknown"),
        (Kind::PutOk, b"ok", "unknown"),
    ] {
        let (kind, text) = text_request(cluster.node_address(0), kind, payload);
        assert_eq!((kind, text.as_slice()), (Kind::Error, word.as_bytes()), "{payload:?}");
    }
    let mut connection = RawConnection::open(cluster.node_address(0));
    connection.send(&frame(999, FORMAT_TEXT, b""));
    assert_eq!(connection.receive().unwrap().error(), "unknown");
    connection.expect_end();
}

#[test]
fn the_manager_returns_the_table_and_acknowledges_heartbeats() {
    let cluster = TestCluster::start(3, 2);
    let ask = |kind, payload: &[u8]| {
        let (kind, text) = text_request(cluster.manager_address(), kind, payload);
        (kind, String::from_utf8(text).unwrap())
    };
    let (kind, table) = ask(Kind::ClientHello, b"hello");
    assert_eq!(kind, Kind::TablePush);
    let (copies, nodes) = table.split_once('#').unwrap();
    assert_eq!(copies, "2");
    let mut last = None;
    let mut listed: Vec<String> = Vec::new();
    for node in nodes.split(';') {
        let [name, host, port, token] = node.split(',').collect::<Vec<_>>()[..] else {
            panic!("{node} is not id,host,port,token")
        };
        let token: u64 = token.parse().unwrap();
        assert!(last < Some(token), "tokens rise: {table}");
        last = Some(token);
        listed.push(format!("{name} at {host}:{port}"));
    }
    listed.sort();
    let want: Vec<String> = (0..3)
        .map(|n| format!("{} at {}", cluster.node_name(n), cluster.node_address(n)))
        .collect();
    assert_eq!(listed, want);

    assert_eq!(ask(Kind::Heartbeat, b"node1"), (Kind::HeartbeatAck, "ok".into()));
    assert_eq!(ask(Kind::StorageRegister, b"old,127.0.0.1,7001"), (Kind::TablePush, table.clone()));
    assert_eq!(ask(Kind::ClientHello, b""), (Kind::TablePush, table), "it owns no keys");
    for bad in ["", "node9", "node9,127.0.0.1", "node9,127.0.0.1,port", "a b,127.0.0.1,7001"] {
        let refused = ask(Kind::StorageRegister, bad.as_bytes());
        assert_eq!(refused, (Kind::Error, "bad register".into()), "{bad}");
    }
    let taken = ask(Kind::StorageRegister, b"node1,127.0.0.1,7001");
    assert_eq!(taken, (Kind::Error, "taken".into()));
    assert_eq!(ask(Kind::ClientPut, b"k|v"), (Kind::Error, "unknown".into()));
}

#[test]
fn without_nodes_the_table_is_empty() {
    let cluster = TestCluster::without_nodes(Options::default());
    let (kind, table) = text_request(cluster.manager_address(), Kind::ClientHello, b"");
    assert_eq!((kind, table.as_slice()), (Kind::TablePush, &b"2#"[..]));
}

#[test]
fn a_node_dies_and_the_others_answer() {
    let mut cluster = TestCluster::start(3, 2);
    for n in 0..30 {
        put(&cluster, n % 3, format!("key{n}|value{n}").as_bytes());
    }
    cluster.stop_node(0);
    for n in 0..30 {
        let got = get(&cluster, 1 + n % 2, format!("key{n}").as_bytes());
        assert_eq!(got, (Kind::GetOk, format!("value{n}").into_bytes()));
        assert_eq!(put(&cluster, 1 + n % 2, format!("key{n}|newer").as_bytes()).0, Kind::PutOk);
    }
}

#[test]
fn many_at_once() {
    let cluster = TestCluster::start(3, 2);
    thread::scope(|scope| {
        for client in 0..8 {
            let cluster = &cluster;
            scope.spawn(move || {
                for n in 0..25 {
                    let pair = format!("c{client}k{n}|v{n}");
                    assert_eq!(put(cluster, n % 3, pair.as_bytes()).0, Kind::PutOk);
                    let got = get(cluster, (n + 1) % 3, format!("c{client}k{n}").as_bytes());
                    assert_eq!(got, (Kind::GetOk, format!("v{n}").into_bytes()));
                }
            });
        }
    });
}

#[test]
fn large_values_arrive_intact() {
    let cluster = TestCluster::start(2, 2);
    // All parts differ, so that a mismatch shows its position.
    let value: Vec<u8> = (0..1 << 18).flat_map(u32::to_be_bytes).collect();
    let refused = put(&cluster, 0, &[b"large|", &value[..]].concat());
    assert_eq!(refused, (Kind::Error, b"bad value".to_vec()), "format 0 keeps its limit");
    cluster.client().put(b"large", &value).unwrap();
    assert_eq!(get(&cluster, 1, b"large"), (Kind::GetOk, value));
}

#[test]
fn format_0_is_off_with_a_secret() {
    let secret = Some(Secret::new(b"sixteen bytes or more").unwrap());
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, secret, ..Options::default() });
    for (address, kind) in [
        (cluster.node_address(0), Kind::ClientGet),
        (cluster.manager_address(), Kind::ClientHello),
        (cluster.manager_address(), Kind::StorageRegister),
    ] {
        let (kind, text) = text_request(address, kind, b"key");
        assert_eq!((kind, text.as_slice()), (Kind::Error, &b"auth"[..]));
    }
}

#[test]
fn without_a_manager_the_reply_is_unavailable() {
    let mut cluster = TestCluster::without_manager(Options::default());
    cluster.add_node();
    let (kind, text) = get(&cluster, 0, b"key");
    assert_eq!((kind, text.as_slice()), (Kind::Error, &b"unavailable"[..]));
}
