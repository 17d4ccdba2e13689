//! Pipelines, commands with many keys, and commands after MULTI.

use std::thread;

use cluster::limits::Limits;
use e2e::{Options, TestCluster};

use crate::{open, options};

#[test]
fn a_pipeline_gets_the_replies_of_single_requests() {
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
fn a_command_with_one_key_beyond_the_limits_does_nothing() {
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
        // Nor does it affect the rest of the pipeline.
        let together = [format!("MSET d 1 {long} 2"), "SET e 5".to_owned(), "DEL c".to_owned()];
        let answers = node.pipeline(&together);
        refused(answers[0].clone());
        assert_eq!(answers[1..], ["OK", ":1"]);
        assert_eq!(node.ask("MGET a b c d e"), "[\"1\", \"2\", nil, nil, \"5\"]");
        assert_eq!(node.ask("DEL e"), ":1");
        // A key that cannot exist is absent.
        let reads = [
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
        let lines: Vec<String> = reads.iter().map(|(read, _)| format!("{read} {long}")).collect();
        for ((_, want), line) in reads.iter().zip(&lines) {
            assert_eq!(node.ask(line), *want, "{line}");
        }
        assert_eq!(node.pipeline(&lines), reads.map(|(_, want)| want), "in one packet");
        let mixed = [format!("GET {long}"), format!("APPEND {long} x"), format!("TTL {long}")];
        let answers = node.pipeline(&mixed);
        refused(answers[1].clone());
        assert_eq!((answers[0].as_str(), answers[2].as_str()), ("nil", ":-2"));
    }
}

#[test]
fn an_expiry_in_the_past_removes_a_key_in_the_middle_of_a_pipeline() {
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
    let list = open(&cluster, 0).ask("CLIENT LIST");
    assert!(list.contains(" flags=x ") && list.contains(" multi=1 "), "{list}");
    let here = node.pipeline(&lines("INCR n;EXEC;INCR n"));
    let why = "-EXECABORT transactions are not supported, nothing of this one was done: ";
    assert!(here[1].starts_with(why) && here[1].contains("transaction=False"), "{here:?}");
    assert_eq!(here[2], ":1");
    node.pipeline(&lines("MULTI;INCR n;QUIT"));
    node.expect_end();
    assert_eq!(other.ask("GET n"), "\"1\"");
}

#[test]
fn commands_about_one_key_are_one_atomic_operation() {
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
    // A refused command in the middle leaves the rest unaffected.
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
