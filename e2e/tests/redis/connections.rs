//! What clients and operators do with connections, and what a node reports of itself.

use std::io::Write;
use std::time::Instant;

use cluster::durability::Durability;
use e2e::{Options, Resp, TestCluster, wait_until};
use net_common::auth::{self, Secret};

use crate::{open, options};

#[test]
fn common_clients_can_connect() {
    let cluster = TestCluster::with(options());
    let mut node = open(&cluster, 0);
    // redis-cli
    assert!(node.ask("COMMAND DOCS").starts_with("[\""));
    assert!(node.ask("COMMAND").starts_with("[["));
    // redis-benchmark
    assert_eq!(node.ask("CONFIG GET save"), "[\"save\", \"\"]");
    assert_eq!(node.ask("CONFIG GET appendonly"), "[\"appendonly\", \"no\"]");
    // redis-py, node-redis
    assert!(node.ask("HELLO 3").contains("\"proto\", :3"));
    assert_eq!(node.ask("CLIENT SETINFO LIB-NAME redis-py"), "OK");
    assert_eq!(node.ask("CLIENT SETINFO LIB-VER 5.0"), "OK");
    assert!(node.ask("CLIENT MAINT_NOTIFICATIONS ON").starts_with("-ERR"));
    assert_eq!(node.ask("GET nothing"), "nil");
    assert!(node.ask("CLIENT LIST").contains("lib-name=redis-py lib-ver=5.0"));
    assert_eq!(node.ask("CLIENT SETNAME me"), "OK");
    assert_eq!(node.ask("CLIENT GETNAME"), "\"me\"");
    assert_eq!(node.ask("RESET"), "RESET");
    assert_eq!(node.ask("CLIENT GETNAME"), "nil");
    // ioredis
    assert!(node.ask("INFO").contains("loading:0\\r\\n"));
    // A person.
    node.stream().write_all(b"set 'a key' \"a\\tvalue\"\r\nget 'a key'\r\n").unwrap();
    assert_eq!((node.reply(), node.reply()), ("OK".into(), "\"a\\tvalue\"".into()));
    assert_eq!(node.ask("QUIT"), "OK");
    node.expect_end();
    let mut broken = open(&cluster, 0);
    broken.stream().write_all(b"*1\r\n$4\r\nPING\r\n*x\r\n").unwrap();
    assert_eq!(broken.reply(), "PONG");
    assert_eq!(broken.reply(), "-ERR Protocol error: invalid multibulk length");
    broken.expect_end();
}

#[test]
fn info_reports_measured_values() {
    let line = |text: &str, name: &str| {
        let lines = text.trim_matches('"').split("\\r\\n");
        let found = lines.into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(str::to_owned)
    };
    let db0 = |text: &str, name: &str| -> u64 {
        let Some(counts) = line(text, "db0") else { return 0 };
        let count = counts.split(',').find_map(|count| count.strip_prefix(name)?.strip_prefix('='));
        count.expect("it is reported").parse().expect("a number")
    };
    for (durability, yes, sync) in [
        (Durability::None, "no", "no"),
        (Durability::Async, "yes", "everysec"),
        (Durability::Sync, "yes", "always"),
    ] {
        let cluster = TestCluster::with(Options { durability, ..options() });
        let mut nodes: Vec<Resp> = (0..3).map(|n| open(&cluster, n)).collect();
        let append = nodes[0].ask("CONFIG GET append*");
        let want = format!("[\"appendfsync\", \"{sync}\", \"appendonly\", \"{yes}\"]");
        assert_eq!(append, want);
        let persistence = nodes[0].ask("INFO persistence");
        let enabled = if yes == "yes" { "1" } else { "0" };
        assert_eq!(line(&persistence, "aof_enabled").as_deref(), Some(enabled));
        let status = line(&persistence, "aof_last_write_status");
        assert_eq!(status.as_deref(), (yes == "yes").then_some("ok"));
        for n in 0..40 {
            nodes[0].ask(&format!("SET key:{n} x"));
        }
        for n in 0..10 {
            nodes[1].ask(&format!("PEXPIRE key:{n} 1000000"));
            nodes[1].ask(&format!("SET short:{n} x PX 1"));
        }
        wait_until("they have expired", || {
            let found: Vec<String> =
                (0..10).map(|n| nodes[2].ask(&format!("EXISTS short:{n}"))).collect();
            if found.iter().all(|found| found == ":0") { Ok(()) } else { Err(found.join(" ")) }
        });
        // Each node reports its own keys; together these are all.
        let infos: Vec<String> = nodes.iter_mut().map(|node| node.ask("INFO")).collect();
        let sum = |name| infos.iter().map(|text| db0(text, name)).sum::<u64>();
        assert_eq!((sum("keys"), sum("expires")), (40, 10));
        let expired = |text: &String| line(text, "expired_keys").expect("it is reported");
        let expired = infos.iter().map(|text| expired(text).parse::<u64>().expect("a number"));
        assert!(expired.sum::<u64>() >= 10);
        let last: i64 = nodes[0].ask("LASTSAVE")[1..].parse().expect("a time");
        assert!(last > 1_600_000_000, "{last}");
    }
}

#[test]
fn a_client_chooses_which_replies_it_gets() {
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let mut expect_replies = |lines: &str, want: &[&str]| {
        for line in lines.split(';') {
            node.send(&line.split(' ').collect::<Vec<_>>());
        }
        let replies: Vec<String> = want.iter().map(|_| node.reply()).collect();
        assert_eq!(replies, want, "{lines}");
    };
    expect_replies("CLIENT REPLY ON", &["OK"]);
    expect_replies("CLIENT REPLY SKIP;SET k 1;GET k", &["\"1\""]);
    expect_replies(
        "GET k;CLIENT REPLY SKIP;PING;ECHO a;INCR k;GET k",
        &["\"1\"", "\"a\"", ":2", "\"2\""],
    );
    expect_replies("CLIENT REPLY SKIP;NOSUCH;CLIENT REPLY SKIP;GET;PING", &["PONG"]);
    expect_replies("CLIENT REPLY SKIP;CLIENT REPLY ON", &["OK"]);
    expect_replies(
        "INCR k;CLIENT REPLY OFF;INCR k;PING;NOSUCH;INCR k;MGET k k;CLIENT REPLY SKIP;INCR k;CLIENT REPLY ON;GET k",
        &[":3", "OK", "\"6\""],
    );
    expect_replies("CLIENT REPLY OFF;INCR k;RESET;GET k", &["RESET", "\"7\""]);
    expect_replies("MULTI;CLIENT REPLY OFF;DISCARD", &["OK", "QUEUED", "OK"]);
}

#[test]
fn connections_can_be_closed_and_held_up() {
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let (mut one, mut two, mut three) = (open(&cluster, 0), open(&cluster, 0), open(&cluster, 0));
    assert_eq!(two.ask("SET k v"), "OK");
    let id = two.ask("CLIENT ID")[1..].to_owned();
    assert_eq!(one.ask("CLIENT KILL ID 999999"), ":0");
    assert_eq!(one.ask("CLIENT KILL 127.0.0.1:1"), "-ERR No such client");
    assert_eq!(one.ask(&format!("CLIENT KILL ID {id} TYPE pubsub")), ":0");
    assert_eq!(one.ask(&format!("CLIENT KILL ID {id}")), ":1");
    two.expect_end();
    let peer = three.stream().local_addr().unwrap();
    assert_eq!(one.ask(&format!("CLIENT KILL {peer}")), "OK");
    three.expect_end();
    // The calling connection gets the reply.
    let mut four = open(&cluster, 0);
    assert_eq!(four.ask("PING"), "PONG");
    assert_eq!(one.ask("CLIENT KILL TYPE normal SKIPME no"), ":2");
    one.expect_end();
    four.expect_end();

    // Reads proceed, writes wait; then all requests wait, except the one that ends the pause.
    let (mut one, mut two) = (open(&cluster, 0), open(&cluster, 0));
    assert_eq!(one.ask("CLIENT PAUSE 1000000 WRITE"), "OK");
    assert_eq!(two.ask("GET k"), "\"v\"");
    two.send(&["SET", "k", "w"]);
    assert_eq!(one.ask("GET k"), "\"v\"");
    wait_until("the write is seen to wait", || match one.ask("INFO clients") {
        info if info.contains("blocked_clients:1\\r") => Ok(()),
        info => Err(info),
    });
    assert_eq!(one.ask("CLIENT PAUSE 1000000 ALL"), "OK");
    assert_eq!(open(&cluster, 0).ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(two.reply(), "OK");
    assert_eq!(one.ask("GET k"), "\"w\"");
    assert_eq!(one.ask("CLIENT PAUSE 50"), "OK");
    assert_eq!(one.ask("SET k x"), "OK", "it ends by itself");
    assert_eq!(one.ask("CLIENT UNBLOCK 7"), ":0");
    // The statistics of INFO start again.
    assert!(!one.ask("INFO stats").contains("keyspace_hits:0\\r"));
    assert_eq!(one.ask("CONFIG RESETSTAT"), "OK");
    let stats = one.ask("INFO stats");
    assert!(stats.contains("keyspace_hits:0\\r") && stats.contains("_received:0\\r"), "{stats}");
}

#[test]
fn with_a_secret_the_password_comes_first() {
    let secret = "the right secret, long enough";
    let cluster = TestCluster::with(Options {
        secret: Some(Secret::new(secret.as_bytes()).unwrap()),
        ..options()
    });
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("GET k"), "-NOAUTH Authentication required.");
    assert!(node.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    let begin = Instant::now();
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(node.ask("AUTH wrong"), wrong);
    assert!(begin.elapsed() >= auth::SLOWED, "refusals are slowed down");
    assert_eq!(node.ask("PING"), "-NOAUTH Authentication required.");
    node.send(&["AUTH", "somebody", secret]);
    assert_eq!(node.reply(), wrong);
    node.send(&["AUTH", secret]);
    assert_eq!(node.reply(), "OK");
    assert_eq!(node.ask("SET k v"), "OK");
    assert_eq!(node.ask("RESET"), "RESET");
    assert_eq!(node.ask("GET k"), "-NOAUTH Authentication required.");
    // In one pipeline: the rest of it is authenticated already.
    let mut node = open(&cluster, 1);
    node.send(&["HELLO", "3", "AUTH", "default", secret, "SETNAME", "me"]);
    node.send(&["GET", "k"]);
    assert!(node.reply().contains("\"proto\", :3"));
    assert_eq!(node.reply(), "\"v\"");
    // An unauthenticated request must be small.
    let mut stranger = open(&cluster, 1);
    stranger.stream().write_all(b"*1000\r\n").unwrap();
    assert_eq!(stranger.reply(), "-ERR Protocol error: unauthenticated multibulk length");
    stranger.expect_end();
}
