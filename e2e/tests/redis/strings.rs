//! Strings, times to live and locks, as one client sees them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cluster::limits::Limits;
use e2e::{Options, Resp, TestCluster, wait_until};

use crate::{open, options};

#[test]
fn strings_by_any_node_and_by_the_native_client() {
    let cluster = TestCluster::with(Options { limits: Limits::ORIGINAL, ..options() });
    let (mut one, mut two) = (open(&cluster, 0), open(&cluster, 1));
    for (command, want) in [
        ("GET k", "nil"),
        ("SET k v", "OK"),
        ("GET k", "\"v\""),
        ("SETNX k w", ":0"),
        ("SET k w XX GET", "\"v\""),
        ("APPEND k xyz", ":4"),
        ("STRLEN k", ":4"),
        ("GETRANGE k 1 2", "\"xy\""),
        ("SET k w IFEQ nothing", "nil"),
        ("SET k w IFEQ wxyz", "OK"),
        ("INCR n", ":1"),
        ("DECRBY n 11", ":-10"),
        ("INCRBYFLOAT n 0.5", "\"-9.5\""),
        ("INCR k", "-ERR value is not an integer or out of range"),
        ("MSET a 1 b 2 a 3", "OK"),
        ("MGET a b c a", "[\"3\", \"2\", nil, \"3\"]"),
        ("EXISTS a b c a", ":3"),
        ("TYPE a", "string"),
        ("TTL a", ":-1"),
        ("TTL c", ":-2"),
        ("DEL a b c a", ":2"),
        ("DEL a", ":0"),
        ("GETDEL k", "\"w\""),
        ("DELIFEQ n 1", ":0"),
        ("DELIFEQ n -9.5", ":1"),
        ("PING", "PONG"),
        ("WAIT 1 0", ":1"),
        ("SELECT 0", "OK"),
        ("NOSUCH x", "-ERR unknown command 'NOSUCH', with args beginning with: 'x' "),
        ("SET a-key-of-21-bytes.... v", "-ERR a key has at most 20 bytes here, this one has 21"),
    ] {
        let node = if command.len() % 2 == 0 { &mut one } else { &mut two };
        assert_eq!(node.ask(command), want, "{command}");
    }
    one.send(&[&b"SET"[..], b"bin\r\n", b"\0\xff\r\n"]);
    assert_eq!(one.reply(), "OK");
    let client = cluster.client();
    assert_eq!(client.get(b"bin\r\n").unwrap().unwrap().value, b"\0\xff\r\n");
    client.put(b"native", b"5").unwrap();
    assert_eq!(two.ask("INCR native"), ":6");
    cluster.assert_replicas(b"native", Some(b"6"));
}

#[test]
fn expired_keys_are_gone_on_all_nodes() {
    let cluster = TestCluster::with(Options { copies: 3, ..options() });
    let (mut one, mut two) = (open(&cluster, 0), open(&cluster, 1));
    for (command, want) in [
        ("SET k v EX 1000", "OK"),
        ("TTL k", ":1000"),
        ("SET k w KEEPTTL", "OK"),
        ("TTL k", ":1000"),
        ("PERSIST k", ":1"),
        ("PERSIST k", ":0"),
        ("TTL k", ":-1"),
        ("EXPIRE k 100", ":1"),
        ("EXPIRE k 50 GT", ":0"),
        ("GETEX k PERSIST", "\"w\""),
        ("PEXPIREAT k 33177117420000", ":1"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("APPEND k x", ":2"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("SET k v", "OK"),
        ("TTL k", ":-1"),
        ("EXPIRE k -1", ":1"),
        ("GET k", "nil"),
        ("SET k v EXAT 1", "OK"),
        ("GET k", "nil"),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
        ("SET counter 5 PX 1", "OK"),
    ] {
        let node = if command.len() % 2 == 0 { &mut one } else { &mut two };
        assert_eq!(node.ask(command), want, "{command}");
    }
    let gone = |node: &mut Resp, key: &str| {
        wait_until("it has expired", || match node.ask(&format!("GET {key}")).as_str() {
            "nil" => Ok(()),
            other => Err(other.to_owned()),
        });
    };
    gone(&mut one, "counter");
    assert_eq!(one.ask("INCR counter"), ":1");
    assert_eq!(two.ask("TTL counter"), ":-1");
    // Once a client has seen it expired it is gone for all clients, and it is removed by itself
    // where it is not read.
    let mut sets: Vec<String> = (0..200).map(|n| format!("SET short:{n} v PX {}", n + 1)).collect();
    sets.extend((0..100).map(|n| format!("SET long:{n} v EX 1000")));
    assert!(one.pipeline(&sets).iter().all(|answer| answer == "OK"));
    for n in 0..100 {
        gone(&mut one, &format!("short:{n}"));
        assert_eq!(two.ask(&format!("GET short:{n}")), "nil");
        assert_eq!(two.ask(&format!("EXISTS short:{n}")), ":0");
    }
    gone(&mut two, "short:199");
    assert_eq!(two.ask("DBSIZE"), ":101");
    assert_eq!(one.ask("KEYS short:*"), "[]");
    cluster.assert_replicas(b"short:5", None);
    wait_until("its memory is given back", || {
        let held: Vec<u64> = (0..3).map(|n| cluster.node(n).node().size().keys).collect();
        if held == [101, 101, 101] { Ok(()) } else { Err(format!("{held:?}")) }
    });
}

#[test]
fn a_lease_is_held_by_one_at_a_time_and_ends_by_itself() {
    let cluster = TestCluster::with(Options { nodes: 4, copies: 3, ..options() });
    let (holders, won) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for me in 0..4 {
            let (holders, won, mut node) = (&holders, &won, open(&cluster, me));
            scope.spawn(move || {
                let lock = format!("SET lock {me} NX PX 60000");
                while won.load(Ordering::SeqCst) < 40 {
                    if node.ask(&lock) != "OK" {
                        continue;
                    }
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    won.fetch_add(1, Ordering::SeqCst);
                    holders.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(node.ask(&format!("DELIFEQ lock {me}")), ":1");
                }
            });
        }
    });
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("SET lock dead PX 100"), "OK");
    wait_until("it ends by itself", || match node.ask("SET lock me NX PX 60000").as_str() {
        "OK" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(node.ask("GET lock"), "\"me\"");
}
