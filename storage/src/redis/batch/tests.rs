use std::sync::Arc;

use client::GTStoreClient;
use resp::lookup;
use resp::reply::Protocol;
use resp::request::{Limits, Requests};

use super::*;
use crate::redis::tests::keyspace::Keyspace;

/// How a pipeline is cut into batches: the number of requests in each.
fn cut(lines: &[&str]) -> Vec<usize> {
    let mut buffer = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    let (mut batch, mut sizes) = (Batch::default(), vec![0]);
    for args in requests.each(&buffer) {
        let command = Command::parse(lookup::find(args).unwrap(), args, 0).unwrap();
        assert!(Batch::is_for(&command));
        if !batch.accepts(&command) {
            batch = Batch::default();
            sizes.push(0);
        }
        batch.add(command);
        *sizes.last_mut().unwrap() += 1;
    }
    sizes
}

#[test]
fn a_second_use_of_a_key_of_a_multi_key_command_waits_unless_all_are_reads() {
    for (lines, want) in [
        (&["get a", "get a", "mget a b", "strlen b"][..], &[4][..]),
        (&["set a 1", "set b 1", "incr c", "get d"], &[4]),
        (&["set a 1", "get a", "get b", "set b 1"], &[4]),
        (&["get a", "incr a", "incr b", "del a", "exists a", "setnx a 1"], &[6]),
        (&["get a", "mget a b", "incr a"], &[2, 1]),
        (&["incr a", "get a", "mget a b", "incr a"], &[2, 1, 1]),
        (&["mset a 1 b 2", "get c", "exists c b"], &[2, 1]),
        (&["mset a 1 a 2", "del c d c"], &[2]),
        (&["del a", "append b x", "mget c a"], &[2, 1]),
    ] {
        assert_eq!(cut(lines), want, "{lines:?}");
    }
}

#[test]
fn a_batch_ends_before_it_could_read_too_much() {
    let keys: Vec<String> = (0..5000).map(|n| format!("get {n}")).collect();
    let lines: Vec<&str> = keys.iter().map(String::as_str).take(1024).collect();
    assert_eq!(cut(&lines), [1024]);
    let many = format!("mget {}", (0..5000).map(|n| format!("k{n} ")).collect::<String>());
    assert_eq!(cut(&[&many, "get a", "get b"]), [1, 2]);
}

#[test]
fn a_command_that_fills_a_batch_by_itself_is_its_last() {
    let many = |command: &str, value: &str| {
        let keys = (0..5000).map(|n| format!(" k{n}{value}")).collect::<String>();
        format!("{command}{keys}")
    };
    let (put, removed) = (many("mset", " v"), many("del", ""));
    assert_eq!(cut(&[&put, "get k1"]), [1, 1]);
    assert_eq!(cut(&[&removed, &put]), [1, 1]);
    assert_eq!(cut(&["get a", "set b 1", &put, "get a"]), [3, 1]);
    assert_eq!(cut(&["set k7 1", &removed, "get k7"]), [1, 1, 1]);
    assert_eq!(cut(&["get k7", &many("mget", ""), "get k7"]), [2, 1]);
}

#[test]
fn without_a_client_each_request_is_refused_with_the_reason() {
    let mut buffer = b"get a\nset b 1\n".to_vec();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    let mut batch = Batch::default();
    for args in requests.each(&buffer) {
        batch.add(Command::parse(lookup::find(args).unwrap(), args, 0).unwrap());
    }
    batch.refuse(Error::Syntax);
    let mut out = Vec::new();
    let none = || Err::<Arc<GTStoreClient>, _>(ClientError::Unavailable);
    batch.run(None, none, &|| 0, &mut Replies::new(&mut out, Protocol::Resp2), |_| Ok(())).unwrap();
    let text = String::from_utf8(out).unwrap();
    let words: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["-CLUSTERDOWN", "-CLUSTERDOWN", "-ERR"]);
    // A request that needs no store is answered nevertheless.
    let mut out = Vec::new();
    batch.refuse(Error::Syntax);
    let never = || -> Result<Arc<GTStoreClient>, _> { unreachable!("nothing to do") };
    batch
        .run(None, never, &|| 0, &mut Replies::new(&mut out, Protocol::Resp2), |_| Ok(()))
        .unwrap();
    assert_eq!(out, b"-ERR syntax error\r\n");
}

/// The replies to a pipeline of these lines, and the most bytes of replies that were sent at once.
fn sent(keyspace: &Keyspace, lines: &[String]) -> (Vec<u8>, usize) {
    let mut buffer = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    let mut batch = Batch::default();
    for args in requests.each(&buffer) {
        batch.add(Command::parse(lookup::find(args).unwrap(), args, 0).unwrap());
    }
    let (mut out, mut all, mut most) = (Vec::new(), Vec::new(), 0);
    let mut replies = Replies::new(&mut out, Protocol::Resp2);
    let send = |out: &mut Vec<u8>| {
        most = most.max(out.len());
        all.append(out);
        Ok(())
    };
    batch.run(None, || Ok(keyspace), &|| 0, &mut replies, send).unwrap();
    most = most.max(out.len());
    all.append(&mut out);
    (all, most)
}

#[test]
fn reads_beyond_the_memory_bound_wait_until_earlier_ones_are_answered() {
    const LONG: usize = 1 << 20;
    const KEYS: usize = 64;
    let mut keyspace = Keyspace::new(0);
    let of_key = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(LONG);
    for n in 0..KEYS {
        keyspace.hold(&format!("k{n}"), &of_key(n));
    }
    let bulk = |n: usize| format!("${LONG}\r\n{}\r\n", of_key(n)).into_bytes();
    let each = |command: &str| (0..KEYS).map(|n| format!("{command} k{n}")).collect::<Vec<_>>();
    // Coalesced commands from two rounds hold their results until the second round.
    let many = vec![format!("mget{}", (0..KEYS / 2).map(|n| format!(" k{n}")).collect::<String>())];
    for (lines, times) in [
        (each("get"), 1),
        (each("getex"), 1),
        ([each("get"), each("get")].concat(), 2),
        ([each("getex"), each("getex")].concat(), 2),
    ] {
        keyspace.asked.set(0);
        keyspace.most_read.set(0);
        let (got, most) = sent(&keyspace, &lines);
        let want = (0..KEYS).map(bulk).collect::<Vec<_>>().concat().repeat(times);
        assert!(got == want, "{}", lines[0]);
        assert!(keyspace.most_read.get() <= BYTES + LONG, "{}", keyspace.most_read.get());
        assert!(most <= SENT + LONG + 64, "{most}");
        assert!(keyspace.asked.get() >= KEYS * LONG / BYTES, "{}", keyspace.asked.get());
    }
    keyspace.limits.value_bytes = 2 * LONG;
    let append = |n: usize| format!("append k{n} x");
    let lines: Vec<String> = (0..3).flat_map(|_| (0..KEYS).map(append)).collect();
    let want: String = (1..4).map(|n| format!(":{}\r\n", LONG + n).repeat(KEYS)).collect();
    assert_eq!(String::from_utf8(sent(&keyspace, &lines).0).unwrap(), want);
    let bulk = |n: usize| format!("${}\r\n{}xxx\r\n", LONG + 3, of_key(n)).into_bytes();
    let (got, _) = sent(&keyspace, &many);
    assert_eq!(got.len(), "*32\r\n".len() + (0..KEYS / 2).map(|n| bulk(n).len()).sum::<usize>());
    let count = vec![format!("exists{}", (0..KEYS).map(|n| format!(" k{n}")).collect::<String>())];
    assert_eq!(sent(&keyspace, &count).0, b":64\r\n");
    assert!(keyspace.most_read.get() <= BYTES + 2 * LONG, "{}", keyspace.most_read.get());
}

#[test]
fn a_thousand_short_reads_are_one_round() {
    let mut keyspace = Keyspace::new(0);
    let lines: Vec<String> = (0..1000).map(|n| format!("get k{n}")).collect();
    assert_eq!(cut(&lines.iter().map(String::as_str).collect::<Vec<_>>()), [1000]);
    for n in 0..1000 {
        keyspace.hold(&format!("k{n}"), &n.to_string());
    }
    // Whatever the length of values.
    keyspace.limits.value_bytes = 64 << 20;
    keyspace.asked.set(0);
    assert_eq!(
        sent(&keyspace, &lines).0.len(),
        (0..1000).map(|n| format!("$1\r\n{n}\r\n").len()).sum::<usize>()
    );
    assert_eq!(keyspace.asked.get(), 1);
}
