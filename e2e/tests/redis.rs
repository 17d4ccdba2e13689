//! The Redis port of a cluster's nodes, over raw sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::durability::Durability;
use cluster::limits::Limits;
use e2e::{Options, Resp, TestCluster, wait_until};
use net_common::auth::{self, Secret};
use net_common::server;

fn options() -> Options {
    Options { has_redis: true, ..Options::default() }
}

fn open(cluster: &TestCluster, node: usize) -> Resp {
    Resp::open(cluster.redis_address(node))
}

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
fn keys_expire_everywhere_and_do_not_come_back() {
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
    // Once it was seen to be gone it is gone for everybody, and by itself where nobody looks.
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

#[test]
fn a_pipeline_is_answered_as_if_one_by_one() {
    let cluster = TestCluster::with(options());
    let mut node = open(&cluster, 0);
    let mut commands = Vec::new();
    let mut want = Vec::new();
    let (mut values, mut seed) = (vec![None::<u64>; 8], 7u64);
    for n in 0..3000u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (key, what) = ((seed >> 33) as usize % 8, (seed >> 40) % 10);
        let held = &mut values[key];
        let shown = |held: &Option<u64>| held.map_or("nil".into(), |v| format!("\"{v}\""));
        let (command, answer) = match what {
            0..5 => (format!("GET k{key}"), shown(held)),
            5 if seed % 3 == 0 => {
                let held = values.iter().map(shown).collect::<Vec<_>>().join(", ");
                ("MGET k0 k1 k2 k3 k4 k5 k6 k7".into(), format!("[{held}]"))
            }
            5 => (format!("EXISTS k{key}"), format!(":{}", u8::from(held.is_some()))),
            6 => {
                let before = held.replace(n);
                (format!("GETSET k{key} {n}"), shown(&before))
            }
            7 => {
                *held = Some(held.unwrap_or(0) + 1);
                (format!("INCR k{key}"), format!(":{}", held.unwrap_or(0)))
            }
            8 => {
                let was = held.take();
                (format!("DEL k{key}"), format!(":{}", u8::from(was.is_some())))
            }
            _ => {
                *held = Some(n);
                (format!("SET k{key} {n}"), "OK".into())
            }
        };
        commands.push(command);
        want.push(answer);
    }
    assert_eq!(node.pipeline(&commands), want);
}

#[test]
fn a_command_with_many_keys_is_not_half_done_where_one_is_beyond_the_limits() {
    let cluster = TestCluster::with(Options { limits: Limits::ORIGINAL, ..options() });
    let (long, large) = ("k".repeat(21), "v".repeat(1025));
    for node in 0..2 {
        let mut node = open(&cluster, node);
        let refused = |answer: String| {
            assert!(answer.starts_with("-ERR a ") && answer.contains(" has at most "), "{answer}");
        };
        assert_eq!(node.ask("MSET a 1 b 2 c 3"), "OK");
        for command in [
            format!("MSET d 1 {long} 2"),
            format!("MSET {long} 2 d 1"),
            format!("MSET d 1 e {large}"),
            format!("MSET d 1 d {large} d 2"),
            format!("DEL a {long} b"),
            format!("UNLINK a {long}"),
            format!("DEL {long}"),
            format!("SET {long} 1"),
            format!("INCR {long}"),
            format!("SET a {large} NX"),
        ] {
            refused(node.ask(&command));
            assert_eq!(node.ask("MGET a b c d e"), "[\"1\", \"2\", \"3\", nil, nil]", "{command}");
        }
        // Nor does it take with it what else is in the pipeline.
        let together = [format!("MSET d 1 {long} 2"), "SET e 5".to_owned(), "DEL c".to_owned()];
        let answers = node.pipeline(&together);
        refused(answers[0].clone());
        assert_eq!(answers[1..], ["OK", ":1"]);
        assert_eq!(node.ask("MGET a b c d e"), "[\"1\", \"2\", nil, nil, \"5\"]");
        assert_eq!(node.ask("DEL e"), ":1");
        // What cannot exist is not there.
        let looks = [
            ("GET", "nil"),
            ("STRLEN", ":0"),
            ("EXISTS", ":0"),
            ("TOUCH", ":0"),
            ("TYPE", "none"),
            ("TTL", ":-2"),
            ("PTTL", ":-2"),
            ("EXPIRETIME", ":-2"),
            ("MGET a", "[\"1\", nil]"),
            ("EXISTS a", ":1"),
            ("TOUCH b a", ":2"),
        ];
        let lines: Vec<String> = looks.iter().map(|(look, _)| format!("{look} {long}")).collect();
        for ((_, want), line) in looks.iter().zip(&lines) {
            assert_eq!(node.ask(line), *want, "{line}");
        }
        assert_eq!(node.pipeline(&lines), looks.map(|(_, want)| want), "in one packet");
        let mixed = [format!("GET {long}"), format!("APPEND {long} x"), format!("TTL {long}")];
        let answers = node.pipeline(&mixed);
        refused(answers[1].clone());
        assert_eq!((answers[0].as_str(), answers[2].as_str()), ("nil", ":-2"));
    }
}

#[test]
fn times_that_have_passed_end_a_key_in_the_middle_of_a_pipeline_too() {
    let cluster = TestCluster::with(options());
    let mut node = open(&cluster, 0);
    for (pipeline, want) in [
        ("SET c 5 NX PXAT 1;INCR c;TTL c;GET c", "OK :1 :-1 \"1\""),
        ("SET c v NX PXAT 1;GET c;EXISTS c;TTL c", "OK nil :0 :-2"),
        ("SET c v;SET c w XX EXAT 1;GET c", "OK OK nil"),
        ("SET c v GET PXAT 1;APPEND c x", "nil :1"),
        ("SET c v;SET c w IFEQ v PXAT 1;SETNX c 7;GET c", "OK OK :1 \"7\""),
    ] {
        let lines: Vec<String> = pipeline.split(';').map(str::to_owned).collect();
        node.ask("DEL c");
        assert_eq!(node.pipeline(&lines).join(" "), want, "{pipeline}");
        node.ask("DEL c");
        let one_by_one: Vec<String> = lines.iter().map(|line| node.ask(line)).collect();
        assert_eq!(one_by_one.join(" "), want, "{pipeline} one by one");
    }
}

#[test]
fn a_transaction_is_refused_at_its_end_and_nothing_of_it_is_done() {
    let cluster = TestCluster::with(options());
    let (mut node, mut other) = (open(&cluster, 0), open(&cluster, 1));
    let lines = |text: &str| text.split(';').map(str::to_owned).collect::<Vec<_>>();
    for (sent, want) in [
        ("MULTI;INCR n;SET m 5;EXEC", "OK QUEUED QUEUED -EXECABORT"),
        ("WATCH n;MULTI;MGET n m;EXEC", "OK OK QUEUED -EXECABORT"),
        ("MULTI;NOSUCH;INCR n;EXEC", "OK -ERR QUEUED -EXECABORT"),
        ("MULTI;INCR n;DISCARD;EXEC", "OK QUEUED OK -ERR"),
        ("MULTI;INCR n;RESET;EXEC", "OK QUEUED RESET -ERR"),
        ("MULTI;MULTI;DISCARD;DISCARD", "OK -ERR OK -ERR"),
    ] {
        let answers = node.pipeline(&lines(sent));
        let words: Vec<&str> = answers.iter().map(|a| a.split(' ').next().unwrap()).collect();
        assert_eq!(words.join(" "), want, "{sent}");
        assert_eq!(other.ask("MGET n m"), "[nil, nil]", "{sent}");
    }
    node.pipeline(&lines("MULTI;INCR n"));
    let told = open(&cluster, 0).ask("CLIENT LIST");
    assert!(told.contains(" flags=x ") && told.contains(" multi=1 "), "{told}");
    let here = node.pipeline(&lines("INCR n;EXEC;INCR n"));
    let why = "-EXECABORT transactions are not supported, nothing of this one was done: ";
    assert!(here[1].starts_with(why) && here[1].contains("transaction=False"), "{here:?}");
    assert_eq!(here[2], ":1");
    node.pipeline(&lines("MULTI;INCR n;QUIT"));
    node.expect_end();
    assert_eq!(other.ask("GET n"), "\"1\"");
}

#[test]
fn commands_about_one_key_go_together_and_nobody_comes_in_between() {
    const ROUNDS: usize = 20;
    const DEPTH: usize = 50;
    let limits = Limits::ORIGINAL;
    let cluster = TestCluster::with(Options { copies: 3, limits, ..options() });
    let commands: Vec<String> =
        (0..DEPTH).flat_map(|_| ["INCR n".to_owned(), "GET n".to_owned()]).collect();
    thread::scope(|scope| {
        for n in 0..3 {
            let (mut node, commands) = (open(&cluster, n), &commands);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let answers = node.pipeline(commands);
                    let first: usize = answers[0][1..].parse().expect("a number");
                    let sums = first..first + DEPTH;
                    let want: Vec<String> =
                        sums.flat_map(|sum| [format!(":{sum}"), format!("\"{sum}\"")]).collect();
                    assert_eq!(answers, want);
                }
            });
        }
    });
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("GET n"), format!("\"{}\"", 3 * ROUNDS * DEPTH));
    // What is refused in the middle leaves the rest as it is.
    let long = "x".repeat(1000);
    let commands = [
        format!("SET s {long}"),
        format!("APPEND s {long}"),
        "INCR s".to_owned(),
        "STRLEN s".to_owned(),
        "SET s 5 PX 100000".to_owned(),
        "INCR s".to_owned(),
        "PERSIST s".to_owned(),
        "TTL s".to_owned(),
        "DEL s".to_owned(),
        "EXISTS s".to_owned(),
        "SET s end NX".to_owned(),
    ];
    let want = [
        "OK",
        "-ERR a value has at most 1024 bytes here, this one has 2000",
        "-ERR value is not an integer or out of range",
        ":1000",
        "OK",
        ":6",
        ":1",
        ":-1",
        ":1",
        ":0",
        "OK",
    ];
    assert_eq!(node.pipeline(&commands), want);
    cluster.assert_replicas(b"s", Some(b"end"));
}

#[test]
fn lives_go_on_and_end_through_a_death_and_a_return() {
    let mut cluster = TestCluster::with(Options { nodes: 4, copies: 3, ..options() });
    let mut node = open(&cluster, 0);
    const KEYS: usize = 300;
    let set: Vec<String> = (0..KEYS)
        .flat_map(|n| {
            [
                format!("SET long:{n} v PX 10000000"),
                format!("SET short:{n} v PX 4000"),
                format!("SET renewed:{n} v PX 4000"),
            ]
        })
        .collect();
    assert!(node.pipeline(&set).iter().all(|answer| answer == "OK"));
    cluster.stop_node(3);
    let renew: Vec<String> = (0..KEYS).map(|n| format!("PERSIST renewed:{n}")).collect();
    // In a second of mid-failure each may have to be asked again.
    let answers = node.pipeline(&renew);
    assert!(answers.iter().all(|answer| answer == ":1"), "{answers:?}");
    cluster.wait_until_well();
    cluster.start_node(3);
    cluster.wait_until_well();
    let mut other = open(&cluster, 3);
    for n in 0..KEYS {
        let ttl = other.ask(&format!("PTTL long:{n}"));
        let ttl: u64 = ttl[1..].parse().unwrap_or_else(|_| panic!("{ttl}"));
        assert!((1..=10_000_000).contains(&ttl), "{ttl}");
        assert_eq!(other.ask(&format!("PTTL renewed:{n}")), ":-1");
        wait_until("it has expired", || match other.ask(&format!("GET short:{n}")).as_str() {
            "nil" => Ok(()),
            value => Err(value.to_owned()),
        });
        assert_eq!(node.ask(&format!("EXISTS short:{n}")), ":0");
    }
    assert_eq!(node.ask("DBSIZE"), format!(":{}", 2 * KEYS));
    cluster.assert_replicas(b"short:0", None);
    cluster.assert_replicas(b"renewed:0", Some(b"v"));
    let held: u64 = (0..4).map(|n| cluster.node(n).node().size().keys).sum();
    assert_eq!(held, 3 * 2 * KEYS as u64, "their memory is given back");
}

#[test]
fn clients_open_as_they_do() {
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
fn what_is_told_of_the_node_is_measured() {
    let line = |text: &str, name: &str| {
        let lines = text.trim_matches('"').split("\\r\\n");
        let found = lines.into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(str::to_owned)
    };
    let db0 = |text: &str, name: &str| -> u64 {
        let Some(counts) = line(text, "db0") else { return 0 };
        let count = counts.split(',').find_map(|count| count.strip_prefix(name)?.strip_prefix('='));
        count.expect("it is told").parse().expect("a number")
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
        // Each node tells of what is its own; together that is all.
        let told: Vec<String> = nodes.iter_mut().map(|node| node.ask("INFO")).collect();
        let sum = |name| told.iter().map(|text| db0(text, name)).sum::<u64>();
        assert_eq!((sum("keys"), sum("expires")), (40, 10));
        let expired = |text: &String| line(text, "expired_keys").expect("it is told");
        let expired = told.iter().map(|text| expired(text).parse::<u64>().expect("a number"));
        assert!(expired.sum::<u64>() >= 10);
        let last: i64 = nodes[0].ask("LASTSAVE")[1..].parse().expect("a time");
        assert!(last > 1_600_000_000, "{last}");
    }
}

#[test]
fn a_cluster_that_has_lost_keys_says_so() {
    let mut cluster = TestCluster::with(Options { nodes: 2, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let told = |node: &mut Resp, state: &str| match node.ask("CLUSTER INFO") {
        text if text.contains(&format!("cluster_state:{state}\\r")) => Ok(text),
        other => Err(other),
    };
    wait_until("all is well", || told(&mut node, "ok"));
    cluster.stop_node(1);
    let text = wait_until("what it held is lost", || told(&mut node, "fail"));
    let slots = |name: &str| -> u32 {
        let found = text.split("\\r\\n").find_map(|line| line.trim_matches('"').strip_prefix(name));
        found.expect("it is told").parse().expect("a number")
    };
    let (ok, lost) = (slots("cluster_slots_ok:"), slots("cluster_slots_fail:"));
    assert!(ok > 0 && lost > 0 && ok + lost == 16_384, "{text}");
}

#[test]
fn a_client_chooses_which_answers_it_hears() {
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let mut hears = |lines: &str, want: &[&str]| {
        for line in lines.split(';') {
            node.send(&line.split(' ').collect::<Vec<_>>());
        }
        let heard: Vec<String> = want.iter().map(|_| node.reply()).collect();
        assert_eq!(heard, want, "{lines}");
    };
    hears("CLIENT REPLY ON", &["OK"]);
    hears("CLIENT REPLY SKIP;SET k 1;GET k", &["\"1\""]);
    hears("GET k;CLIENT REPLY SKIP;PING;ECHO a;INCR k;GET k", &["\"1\"", "\"a\"", ":2", "\"2\""]);
    hears("CLIENT REPLY SKIP;NOSUCH;CLIENT REPLY SKIP;GET;PING", &["PONG"]);
    hears("CLIENT REPLY SKIP;CLIENT REPLY ON", &["OK"]);
    hears(
        "INCR k;CLIENT REPLY OFF;INCR k;PING;NOSUCH;INCR k;MGET k k;CLIENT REPLY SKIP;INCR k;CLIENT REPLY ON;GET k",
        &[":3", "OK", "\"6\""],
    );
    hears("CLIENT REPLY OFF;INCR k;RESET;GET k", &["RESET", "\"7\""]);
    hears("MULTI;CLIENT REPLY OFF;DISCARD", &["OK", "QUEUED", "OK"]);
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
    // The one that asks hears what came of it.
    let mut four = open(&cluster, 0);
    assert_eq!(four.ask("PING"), "PONG");
    assert_eq!(one.ask("CLIENT KILL TYPE normal SKIPME no"), ":2");
    one.expect_end();
    four.expect_end();

    // Reads go on, writes wait; and then all do, but for who ends it.
    let (mut one, mut two) = (open(&cluster, 0), open(&cluster, 0));
    assert_eq!(one.ask("CLIENT PAUSE 1000000 WRITE"), "OK");
    assert_eq!(two.ask("GET k"), "\"v\"");
    two.send(&["SET", "k", "w"]);
    assert_eq!(one.ask("GET k"), "\"v\"");
    wait_until("the write is seen to wait", || match one.ask("INFO clients") {
        told if told.contains("blocked_clients:1\\r") => Ok(()),
        told => Err(told),
    });
    assert_eq!(one.ask("CLIENT PAUSE 1000000 ALL"), "OK");
    assert_eq!(open(&cluster, 0).ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(two.reply(), "OK");
    assert_eq!(one.ask("GET k"), "\"w\"");
    assert_eq!(one.ask("CLIENT PAUSE 50"), "OK");
    assert_eq!(one.ask("SET k x"), "OK", "it ends by itself");
    assert_eq!(one.ask("CLIENT UNBLOCK 7"), ":0");
    // What INFO counts begins anew.
    assert!(!one.ask("INFO stats").contains("keyspace_hits:0\\r"));
    assert_eq!(one.ask("CONFIG RESETSTAT"), "OK");
    let stats = one.ask("INFO stats");
    assert!(stats.contains("keyspace_hits:0\\r") && stats.contains("_received:0\\r"), "{stats}");
}

#[test]
fn cluster_aware_clients_learn_where_the_ports_are() {
    let mut cluster = TestCluster::with(options());
    let port = |cluster: &TestCluster, n| cluster.redis_cluster_address(n).port();
    let mut node = open(&cluster, 0);
    for n in 0..3 {
        assert!(node.ask("CLUSTER SLOTS").contains(&format!(":{}, ", port(&cluster, n))));
        assert!(node.ask("CLUSTER SHARDS").contains(&format!(":{}, ", port(&cluster, n))));
        assert!(node.ask("CLUSTER NODES").contains(&format!(":{}@", port(&cluster, n))));
    }
    assert!(node.ask("CLUSTER INFO").contains("cluster_state:ok"));
    assert_eq!(node.ask("CLUSTER KEYSLOT foo"), ":12182");
    assert_eq!(node.ask("CLUSTER MYID").len(), 42);
    assert!(node.ask("LOLWUT").contains("3 nodes, 2 copies"));
    let gone = format!(":{}, ", port(&cluster, 2));
    cluster.stop_node(2);
    wait_until("the others say that it is gone", || {
        if node.ask("CLUSTER SLOTS").contains(&gone) { Err("not yet".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn what_cluster_aware_clients_add_up_is_the_whole() {
    const KEYS: usize = 500;
    let cluster = TestCluster::with(options());
    let mut plain = open(&cluster, 0);
    let puts: Vec<String> = (0..KEYS).map(|n| format!("SET key:{n} x")).collect();
    assert!(plain.pipeline(&puts).iter().all(|answer| answer == "OK"));
    let whole = format!(":{KEYS}");
    let count = |node: &mut Resp| node.ask("DBSIZE")[1..].parse::<usize>().expect("a number");
    let names = |list: &str| -> Vec<String> {
        let inner = list.trim_start_matches('[').trim_end_matches(']');
        inner.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect()
    };
    let (mut sum, mut listed, mut scanned) = (0, Vec::new(), Vec::new());
    for n in 0..3 {
        let mut node = Resp::open(cluster.redis_cluster_address(n));
        let own = count(&mut node);
        sum += own;
        let keys = names(&node.ask("KEYS *"));
        assert!(keys.len() == own && own > 0, "{own} of {keys:?}");
        assert!(keys.contains(&node.ask("RANDOMKEY")));
        let mut cursor = "0".to_owned();
        loop {
            let reply = node.ask(&format!("SCAN {cursor} COUNT 7"));
            let (next, page) = reply.split_once(", ").expect("a cursor and keys");
            cursor = next.trim_matches(['[', '"']).to_owned();
            scanned.extend(names(page));
            if cursor == "0" {
                break;
            }
        }
        // The same on the other port, for who has shown that it knows of a cluster.
        for ask in ["CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "READONLY"] {
            let mut node = open(&cluster, n);
            assert_eq!(node.ask("DBSIZE"), whole);
            node.ask(ask);
            assert_eq!(count(&mut node), own, "{ask}");
            assert_eq!(names(&node.ask("KEYS *")).len(), own);
            assert_eq!(node.ask("RESET"), "RESET");
            assert_eq!(node.ask("DBSIZE"), whole);
        }
        assert_eq!(node.ask("RESET"), "RESET");
        assert_eq!(count(&mut node), own, "this port is for nobody else");
        listed.extend(keys);
    }
    assert_eq!(sum, KEYS);
    listed.sort_unstable();
    scanned.sort_unstable();
    let mut want: Vec<String> = (0..KEYS).map(|n| format!("\"key:{n}\"")).collect();
    want.sort_unstable();
    assert!(listed == want && scanned == want);
    // A flush is for all of them, whoever asks.
    assert_eq!(Resp::open(cluster.redis_cluster_address(1)).ask("FLUSHALL"), "OK");
    assert_eq!(plain.ask("DBSIZE"), ":0");
}

#[test]
fn keys_are_listed_whole_whatever_node_is_asked() {
    let mut cluster = TestCluster::with(Options { nodes: 3, copies: 2, ..options() });
    let mut nodes: Vec<Resp> = (0..2).map(|n| open(&cluster, n)).collect();
    let sets: Vec<String> = (0..2000).map(|n| format!("SET key:{n} x")).collect();
    nodes[0].pipeline(&sets);
    let gone: Vec<String> = (0..100).map(|n| format!("DEL key:{n}")).collect();
    assert_eq!(nodes[1].pipeline(&gone), vec![":1"; 100]);
    for node in &mut nodes {
        assert_eq!(node.ask("DBSIZE"), ":1900");
        assert_eq!(node.ask("KEYS key:19?9").matches("key:").count(), 10);
        assert_eq!(node.ask("KEYS key:5"), "[]");
        assert!(node.ask("RANDOMKEY").starts_with("\"key:"));
        assert_eq!(node.ask("CLUSTER COUNTKEYSINSLOT 0").chars().next(), Some(':'));
    }
    // Each once, by nodes in turn, while another comes, one goes, and keys come and go.
    let mut seen = Vec::new();
    let (mut cursor, mut page) = ("0".to_owned(), 0);
    loop {
        let reply = nodes[page % 2].ask(&format!("SCAN {cursor} COUNT 50 MATCH key:*"));
        let (next, keys) = reply.split_once(", [").expect("a cursor and keys");
        cursor = next.trim_matches(['[', '"']).to_owned();
        let keys = keys.trim_end_matches(']').split(", ").filter(|key| !key.is_empty());
        seen.extend(keys.map(|key| key.trim_matches('"').to_owned()));
        match page {
            5 => _ = cluster.add_node(),
            12 => cluster.stop_node(2),
            _ => {}
        }
        nodes[0].pipeline(&[format!("SET other:{page} x"), format!("DEL other:{}", page / 2)]);
        page += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!(page >= 38, "{page} pages");
    seen.sort_unstable();
    let mut want: Vec<String> = (100..2000).map(|n| format!("key:{n}")).collect();
    want.sort_unstable();
    assert_eq!(seen, want);
    assert_eq!(nodes[0].ask("SCAN 0 TYPE hash COUNT 100000"), "[\"0\", []]");
    assert_eq!(nodes[0].ask("FLUSHALL"), "OK");
    assert_eq!(nodes[1].ask("DBSIZE"), ":0");
    assert_eq!(nodes[1].ask("RANDOMKEY"), "nil");
    // A page may be of keys that have just been removed, and so be empty, and not the last.
    let mut cursor = "0".to_owned();
    loop {
        let reply = nodes[1].ask(&format!("SCAN {cursor}"));
        let (next, keys) = reply.split_once(", [").expect("a cursor and keys");
        assert_eq!(keys, "]]");
        cursor = next.trim_matches(['[', '"']).to_owned();
        if cursor == "0" {
            break;
        }
    }
    // Nor does one that is left hide behind them.
    nodes[0].ask("SET left x");
    for _ in 0..20 {
        assert_eq!(nodes[1].ask("RANDOMKEY"), "\"left\"");
    }
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
    // In one pipeline, and the rest of it is known already.
    let mut node = open(&cluster, 1);
    node.send(&["HELLO", "3", "AUTH", "default", secret, "SETNAME", "me"]);
    node.send(&["GET", "k"]);
    assert!(node.reply().contains("\"proto\", :3"));
    assert_eq!(node.reply(), "\"v\"");
    // A stranger's request is kept small.
    let mut stranger = open(&cluster, 1);
    stranger.stream().write_all(b"*1000\r\n").unwrap();
    assert_eq!(stranger.reply(), "-ERR Protocol error: unauthenticated multibulk length");
    stranger.expect_end();
}

#[test]
fn peers_have_limits() {
    let peers = server::Limits {
        connections: 2,
        idle: Duration::from_secs(2),
        frame: Duration::from_millis(500),
        ..server::Limits::default()
    };
    let redis_idle = Some(peers.idle);
    let cluster =
        TestCluster::with(Options { nodes: 1, copies: 1, peers, redis_idle, ..options() });
    let (mut one, two) = (open(&cluster, 0), open(&cluster, 0));
    assert_eq!(one.ask("PING"), "PONG");
    two.stream().write_all(b"*1\r\n$4\r\nPI").unwrap();
    wait_until("one more is turned away", || {
        let mut three = open(&cluster, 0);
        match three.ask("PING").as_str() {
            "-ERR max number of clients reached" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // Stalls in mid-request, and silence.
    let begin = Instant::now();
    { two }.expect_end();
    one.expect_end();
    assert!(begin.elapsed() < Duration::from_secs(20));
    // One who asks and never reads.
    let mut deaf = wait_until("there is room again", || {
        let mut node = open(&cluster, 0);
        match node.ask("PING").as_str() {
            "PONG" => Ok(node),
            other => Err(other.to_owned()),
        }
    });
    deaf.send(&["SET", "k", &"x".repeat(1024)]);
    assert_eq!(deaf.reply(), "OK");
    let asked = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(4096);
    deaf.stream().set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = (0..10_000).find_map(|_| deaf.stream().write_all(asked.as_bytes()).err());
    let kind = ended.expect("it is closed").kind();
    assert!(
        !matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{kind:?}"
    );
}

#[test]
fn all_may_be_sent_before_anything_is_read() {
    const GETS: usize = 200_000;
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let value = "x".repeat(200);
    assert_eq!(node.ask(&format!("SET k {value}")), "OK");
    let mut stream = node.stream();
    stream.write_all("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(GETS).as_bytes()).unwrap();
    let answer = format!("$200\r\n{value}\r\n");
    let mut got = vec![0; answer.len() * 1000];
    for _ in 0..GETS / 1000 {
        stream.read_exact(&mut got).unwrap();
        assert!(got == answer.repeat(1000).as_bytes());
    }
    assert_eq!(node.ask("PING"), "PONG");
}

#[test]
fn a_peer_that_sends_or_reads_slowly_but_steadily_is_not_cut() {
    const FRAME: Duration = Duration::from_secs(3);
    let peers = server::Limits { frame: FRAME, ..server::Limits::default() };
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, peers, limits, ..options() });
    let mut node = open(&cluster, 0);
    // A request that takes longer than a stalled one may.
    let begin = Instant::now();
    node.stream().write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n").unwrap();
    let pause = || thread::sleep(FRAME / 16);
    for _ in 0..32 {
        node.stream().write_all(&[b'v'; 1 << 15]).unwrap();
        pause();
    }
    node.stream().write_all(b"\r\n").unwrap();
    assert_eq!(node.reply(), "OK");
    assert!(begin.elapsed() > FRAME);
    // Answers that take longer to read, more of them than the sockets hold.
    let begin = Instant::now();
    for _ in 0..32 {
        node.send(&["GET", "k"]);
    }
    let mut stream = node.stream();
    let mut got = vec![0; "$1048576\r\n\r\n".len() + (1 << 20)];
    for _ in 0..32 {
        pause();
        stream.read_exact(&mut got).unwrap();
        assert!(got.starts_with(b"$1048576\r\nvvv") && got.ends_with(b"vvv\r\n"));
    }
    assert!(begin.elapsed() > FRAME);
    assert_eq!(node.ask("PING"), "PONG");
}

#[test]
fn an_error_arrives_though_its_request_goes_on_for_long() {
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let many = |count: usize, argument: &str| {
        let mut request = format!("*{count}\r\n").into_bytes();
        let argument = format!("${}\r\n{argument}\r\n", argument.len());
        request.extend_from_slice(argument.repeat(count).as_bytes());
        request
    };
    let large = "x".repeat(1 << 20);
    for (request, want) in [
        (many(3, &"x".repeat(9_000_000)), "invalid bulk length"),
        (many((1 << 20) + 1, "MGET"), "invalid multibulk length"),
        (many(100, &large), "request too big"),
    ] {
        let mut node = open(&cluster, 0);
        assert_eq!(node.ask("PING"), "PONG");
        node.stream().write_all(&request).unwrap();
        let answer = node.reply();
        assert!(answer.starts_with("-ERR Protocol error: ") && answer.ends_with(want), "{answer}");
        node.expect_end();
    }
    // What is no request at all ends at once, however long it goes on.
    for nonsense in [&b"\0"[..], b"*\0", b"$\0"] {
        let mut node = open(&cluster, 0);
        let mut stream = node.stream();
        stream.write_all(nonsense).unwrap();
        while stream.write_all(&[b'A'; 1024]).is_ok() {}
        let answer = node.reply();
        assert!(answer.starts_with("-ERR Protocol error: "), "{answer}");
    }
}

#[test]
fn an_idle_connection_stays_unless_the_operator_wants_it_closed() {
    let short = Duration::from_millis(200);
    let peers = server::Limits { idle: short, frame: short, ..server::Limits::default() };
    let with = |redis_idle| {
        let one = Options { nodes: 1, copies: 1, peers: peers.clone(), ..options() };
        TestCluster::with(Options { redis_idle, ..one })
    };
    let cluster = with(None);
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("CONFIG GET timeout"), "[\"timeout\", \"0\"]");
    // Connections to the other port come to their end meanwhile, one after the other.
    for _ in 0..3 {
        let mut native = TcpStream::connect(cluster.node_address(0)).unwrap();
        let _ = native.read(&mut [0; 100]);
    }
    assert_eq!(node.ask("PING"), "PONG");
    let cluster = with(Some(short));
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("CONFIG GET timeout"), "[\"timeout\", \"1\"]");
    node.expect_end();
}

/// A connection to one of some nodes, and to the next where that is down.
struct Roaming {
    addresses: Vec<SocketAddr>,
    at: usize,
    node: Option<Resp>,
}

impl Roaming {
    fn new(cluster: &TestCluster, first: usize, nodes: usize) -> Roaming {
        let addresses = (0..nodes).map(|n| cluster.redis_address(n)).collect();
        Roaming { addresses, at: first % nodes, node: None }
    }

    /// The answer; an error where the connection ended before it came.
    fn ask(&mut self, line: &str) -> Result<String, String> {
        let mut node = self.node.take().unwrap_or_else(|| {
            wait_until("some node listens", || {
                self.at = (self.at + 1) % self.addresses.len();
                Resp::try_open(self.addresses[self.at]).map_err(|e| e.to_string())
            })
        });
        let answer = node.try_ask(line).map_err(|e| e.to_string())?;
        self.node = Some(node);
        Ok(answer)
    }

    /// The same, until an answer says what happened.
    fn ask_again(&mut self, line: &str) -> String {
        wait_until("it is answered", || match self.ask(line) {
            Ok(answer) if !answer.starts_with('-') => Ok(answer),
            Ok(error) | Err(error) => Err(error),
        })
    }
}

#[test]
fn every_acknowledged_incr_counts_once_through_a_death_and_a_return() {
    const CONNECTIONS: usize = 8;
    const EACH: u64 = 150;
    let mut cluster = TestCluster::with(Options { copies: 3, ..options() });
    let (done, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for n in 0..CONNECTIONS {
            let (done, unknown, mut node) = (&done, &unknown, Roaming::new(&cluster, n, 3));
            scope.spawn(move || {
                for _ in 0..EACH {
                    let count = match node.ask("INCR counter") {
                        Ok(answer) if answer.starts_with(':') => done,
                        Ok(error) if error.starts_with("-ERR outcome unknown") => unknown,
                        // Certainly not done.
                        Ok(error) if error.starts_with("-TRYAGAIN") => continue,
                        Ok(error) => panic!("{error}"),
                        Err(_) => unknown,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("some are through", || match done.load(Ordering::Relaxed) {
            n if n < 2 * EACH => Err(format!("{n}")),
            _ => Ok(()),
        });
        cluster.stop_node(2);
        cluster.start_node(2);
    });
    let sum = Roaming::new(&cluster, 0, 3).ask_again("INCRBY counter 0");
    let sum: u64 = sum.strip_prefix(':').expect("a number").parse().unwrap();
    let (done, unknown) = (done.into_inner(), unknown.into_inner());
    assert!(done > 2 * EACH, "{done}");
    assert!((done..=done + unknown).contains(&sum), "{done} done, {unknown} unknown: {sum}");
}

#[test]
fn a_lock_is_held_by_one_at_a_time_through_a_death_and_a_return() {
    const CONTENDERS: usize = 8;
    const TURNS: u64 = 200;
    let mut cluster = TestCluster::with(Options { nodes: 4, copies: 3, ..options() });
    let (holders, turns) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for me in 0..CONTENDERS {
            let (holders, turns, mut node) = (&holders, &turns, Roaming::new(&cluster, me, 4));
            scope.spawn(move || {
                let mut tries = Vec::new();
                while turns.load(Ordering::SeqCst) < TURNS {
                    let token = format!("{me}.{}", tries.len());
                    tries.push(token.clone());
                    let token = match node.ask(&format!("SET lock {token} NX PX 600000")) {
                        Ok(answer) if answer == "OK" => token,
                        // Held; perhaps by a try of ours of which we did not know.
                        Ok(_) | Err(_) => {
                            let held = node.ask_again("GET lock");
                            match tries.iter().find(|token| format!("\"{token}\"") == held) {
                                Some(token) => token.clone(),
                                None => continue,
                            }
                        }
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    turns.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1, "two hold it");
                    // Once more where the answer is lost: then it may be gone already.
                    let released = node.ask_again(&format!("DELIFEQ lock {token}"));
                    assert!([":0", ":1"].contains(&&released[..]), "{released}");
                }
            });
        }
        for number in [3, 1] {
            let before = turns.load(Ordering::SeqCst);
            wait_until("some have had their turn", || match turns.load(Ordering::SeqCst) {
                n if n < (before + TURNS / 4).min(TURNS) => Err(format!("{n}")),
                _ => Ok(()),
            });
            cluster.stop_node(number);
            cluster.start_node(number);
        }
    });
    assert_eq!(Roaming::new(&cluster, 0, 4).ask_again("GET lock"), "nil");
}
