//! Long keys and values, on every path that they can take.

use std::fs;

use client::{ClientError, Done, GTStoreClient, ItemOutcome, UpdateAction};
use cluster::durability::Durability;
use cluster::limits::{KEY_CEILING, Limits, VALUE_CEILING};
use e2e::{Options, Resp, TestCluster, client_command, text_request, wait_until};
use net_common::frame::Kind;
use tempfile::tempdir;

const CEILINGS: Limits = Limits { key_bytes: KEY_CEILING, value_bytes: VALUE_CEILING };

/// A printable value of this many bytes, no two parts of which a mebibyte apart are alike.
fn value(bytes: usize) -> Vec<u8> {
    let mut value = b"0123456789abcdef".repeat(bytes.div_ceil(16));
    value.truncate(bytes);
    for (n, part) in value.chunks_mut(1 << 20).enumerate() {
        let stamp = format!("{n:08}");
        let fits = part.len().min(stamp.len());
        part[..fits].copy_from_slice(&stamp.as_bytes()[..fits]);
    }
    value
}

/// Not `assert_eq`: a failure would print 64 MiB.
fn assert_holds(client: &GTStoreClient, key: &[u8], value: &[u8]) {
    let got = client.get(key).unwrap().expect("it is there");
    assert!(got.value == value, "{} bytes of {}", got.value.len(), value.len());
}

/// A value of 64 MiB under a key of 1,024 bytes.
#[test]
fn the_longest_value_goes_every_way() {
    let mut cluster = TestCluster::with(Options {
        nodes: 2,
        copies: 2,
        limits: CEILINGS,
        has_redis: true,
        durability: Durability::Sync,
        ..Options::default()
    });
    let (key, longest) = (vec![b'k'; KEY_CEILING], value(VALUE_CEILING));
    let client = cluster.client();
    client.put(&key, &longest).unwrap();
    assert_holds(&client, &key, &longest);
    let beyond = client.put(b"k", &[&longest[..], b"1"].concat());
    assert!(matches!(beyond, Err(ClientError::BadValue(_))), "{beyond:?}");

    // By Redis, on the key's primary and on the other node.
    let mut redis = [0, 1].map(|node| Resp::open(cluster.redis_address(node)));
    for (writer, reader) in [(0, 1), (1, 0)] {
        redis[writer].send(&[&b"SET"[..], b"redis", &longest]);
        assert_eq!(redis[writer].reply(), "OK");
        redis[reader].send(&["GET", "redis"]);
        assert!(redis[reader].value() == longest);
    }
    // One byte more is refused, and the connection stays.
    redis[0].send(&["APPEND", "redis", "1"]);
    assert!(redis[0].reply().starts_with("-ERR a value has at most 67108864 bytes here"));
    assert_eq!(redis[0].ask("STRLEN redis"), format!(":{VALUE_CEILING}"));
    assert_eq!(redis[0].ask("DEL redis"), ":1");

    // From disk only.
    drop(client);
    cluster.stop_node(0);
    cluster.stop_node(1);
    cluster.start_node(0);
    cluster.start_node(1);
    cluster.wait_until_well();
    let client = cluster.client();
    assert_holds(&client, &key, &longest);

    // To another node.
    cluster.add_node();
    cluster.wait_until_well();
    cluster.stop_node(0);
    cluster.wait_until_well();
    assert_holds(&client, &key, &longest);
    cluster.stop_node(1);
    cluster.wait_until_well();
    assert_holds(&client, &key, &longest);

    // Through a dump to another cluster.
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    let mut dump = client_command(cluster.manager_address());
    assert!(dump.arg("--dump").arg(&file).status().unwrap().success());
    assert!(fs::metadata(&file).unwrap().len() > VALUE_CEILING as u64);
    let other = TestCluster::with(Options { limits: CEILINGS, ..Options::default() });
    let mut load = client_command(other.manager_address());
    assert!(load.arg("--load").arg(&file).status().unwrap().success());
    assert_holds(&other.client(), &key, &longest);
}

/// Many long values in one batch do not fit into the nodes' replies: the rest is requested again.
#[test]
fn batches_of_long_values_are_read_and_changed_in_parts() {
    const KEYS: usize = 24;
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    let pairs: Vec<(String, Vec<u8>)> =
        (0..KEYS).map(|n| (format!("key{n}"), value((1 << 20) - n))).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    for ((_, value), got) in pairs.iter().zip(client.get_many(&keys)) {
        assert!(got.unwrap().unwrap().value == *value);
    }
    // Each key is read from its whole write set, and written to it.
    let parts = pairs.iter().map(|(key, _)| client::BatchItem::Update {
        key: key.as_bytes(),
        decide: Box::new(|found| {
            let mut value = found.expect("it is there").value.to_vec();
            value[0] = b'x';
            UpdateAction::Put(value)
        }),
    });
    for done in client.run_mixed(parts.collect()) {
        assert!(matches!(done.unwrap(), Done::Placed(_)));
    }
    for got in client.get_many(&keys) {
        assert_eq!(got.unwrap().unwrap().value[0], b'x');
    }
    // Until enough has been read.
    let gets =
        || keys.iter().map(|key| client::BatchItem::Op(client::Op::Get { key: key.as_bytes() }));
    let some = client.run_within(gets().collect(), 1);
    assert!(matches!(&some[0], ItemOutcome::Over(Ok(Done::Got(Some(_))))));
    let is_left = |ran: &ItemOutcome<'_>| matches!(ran, ItemOutcome::Left(_));
    assert!(some.iter().any(is_left), "24 MiB do not come at once");
    assert!(!client.run_within(gets().collect(), usize::MAX).iter().any(is_left));
}

/// A pipeline that reads more than a node holds at once, its own keys and others', is answered in
/// order.
#[test]
fn a_pipeline_that_reads_much_is_answered_in_parts() {
    const KEYS: usize = 48;
    let cluster = TestCluster::with(Options { has_redis: true, ..Options::default() });
    let client = cluster.client();
    let pairs: Vec<(String, Vec<u8>)> =
        (0..KEYS).map(|n| (format!("key{n}"), value((1 << 20) - n))).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let mut redis = Resp::open(cluster.redis_address(0));
    let each = |command: &str| -> Vec<String> {
        pairs.iter().map(|(key, _)| format!("{command} {key}")).collect()
    };
    let (put, get) = (vec!["SET last 1".to_owned()], vec!["GET last".to_owned()]);
    let lines = [each("GET"), each("STRLEN"), each("GETEX"), put, each("GETDEL"), get].concat();
    let replies = redis.pipeline(&lines);
    let shown: Vec<String> =
        pairs.iter().map(|(_, value)| format!("{:?}", str::from_utf8(value).unwrap())).collect();
    assert!(replies[..KEYS] == shown, "GET");
    let lengths: Vec<String> = pairs.iter().map(|(_, value)| format!(":{}", value.len())).collect();
    assert_eq!(replies[KEYS..2 * KEYS], lengths);
    assert!(replies[2 * KEYS..3 * KEYS] == shown, "GETEX");
    assert_eq!(replies[3 * KEYS], "OK");
    assert!(replies[3 * KEYS + 1..4 * KEYS + 1] == shown, "GETDEL");
    assert_eq!(replies[4 * KEYS + 1], "\"1\"");
    let keys = pairs.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!(redis.ask(&format!("EXISTS {keys} last")), ":1");
}

/// The output of a client command, and its exit code.
fn prints(cluster: &TestCluster, words: &[&str]) -> (Option<i32>, String) {
    let output = client_command(cluster.manager_address()).args(words).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap().trim_end().to_owned())
}

#[test]
fn limits_change_while_the_cluster_serves() {
    let mut cluster = TestCluster::with(Options { has_redis: true, ..Options::default() });
    // These clients know the previous limits, and their views are never refused.
    let (client, mut redis) = (cluster.client(), Resp::open(cluster.redis_address(0)));
    assert_eq!(redis.ask("SET k v"), "OK");
    let long = value(1_500_000);
    assert!(matches!(client.put(b"long", &long), Err(ClientError::BadValue(_))));
    let (code, printed) = prints(&cluster, &["--plan", "limits", "value=2000000"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.ends_with("keys to 512 bytes, values to 2000000 to come: nothing moves"),
        "{printed}"
    );
    let (code, printed) = prints(&cluster, &["--limits", "value=2000000"]);
    let want = "OK, keys to 512 bytes, values to 2000000 to come: nothing moves";
    assert_eq!((code, printed.as_str()), (Some(0), want));
    wait_until("clients learn of it", || client.put(b"long", &long).map_err(|e| e.to_string()));
    cluster.assert_replicas(b"long", Some(&long));
    wait_until("so does Redis", || {
        redis.send(&[&b"SET"[..], b"redis", &long]);
        match redis.reply().as_str() {
            "OK" => Ok(()),
            refused => Err(refused.to_owned()),
        }
    });

    // Below the length of a stored value: its node is named, and nothing changes.
    let (code, printed) = prints(&cluster, &["--limits", "key=20,value=1000"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains(" holds a value of 1500000 bytes, and 1000 were to be the most"),
        "{printed}"
    );
    cluster.wait_until_well();
    client.put(b"long", &long).unwrap();
    assert_eq!(redis.ask("DEL redis"), ":1");
    client.delete(b"long").unwrap();
    let (code, printed) = prints(&cluster, &["--limits", "key=20,value=1000"]);
    assert_eq!(code, Some(0), "{printed}");
    // A client that knows the old limits sends it, and is refused by the nodes.
    let refused = client.put(b"long", &long).unwrap_err();
    assert!(!refused.is_unknown(), "{refused}");
    assert!(matches!(client.put(b"long", &long), Err(ClientError::BadValue(_))));
    let refused = redis.ask(&format!("SET k {}", "v".repeat(1001)));
    assert_eq!(refused, "-ERR a value has at most 1000 bytes here, this one has 1001");
    assert_eq!(client.get(&[b'k'; 21]).unwrap(), None);

    // The limits are the cluster's: a restarted manager has them from its folder.
    cluster.stop_manager();
    cluster.start_manager();
    cluster.wait_until_well();
    let limits = cluster.client().limits();
    assert_eq!(limits, Limits { key_bytes: 20, value_bytes: 1000 });
}

#[test]
fn writes_that_too_few_copies_would_hold_are_refused() {
    let options = Options { nodes: 2, min_copies: 2, has_redis: true, ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    for key in ["a", "b", "c"] {
        assert_eq!(client.put(key.as_bytes(), b"1").unwrap().copies, 2);
    }
    cluster.stop_node(1);
    let want = "; fewer than 2 copies in 256 arcs: writes there are refused";
    wait_until("the health reports it", || match cluster.status()?.health.text {
        health if health.ends_with(want) && !health.contains("no word") => Ok(()),
        health => Err(health),
    });
    // A client that has sent nothing to the dead node: a request that was sent there may have
    // arrived.
    let client = cluster.client();
    let refused = client.put(b"a", b"2").unwrap_err();
    assert!(matches!(refused, ClientError::TooFewCopies { least: 2 }), "{refused}");
    assert!(refused.is_retryable() && !refused.is_unknown());
    let mut redis = Resp::open(cluster.redis_address(0));
    let want = "-NOREPLICAS Not enough good replicas to write.";
    for command in ["SET a 2", "INCR a", "MSET b 2 c 2", "DEL a", "EXPIRE a 100"] {
        assert_eq!(redis.ask(command), want, "{command}");
    }
    let old = text_request(cluster.node_address(0), Kind::ClientPut, b"a|2");
    assert_eq!(old, (Kind::Error, b"unavailable".to_vec()));
    let (code, printed) = prints(&cluster, &["--put", "a", "--val", "2"]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("too few copies: a write has to have 2 at least"), "{printed}");
    // Nothing of it was done, and reads still work.
    for key in ["a", "b", "c"] {
        assert_eq!(client.get(key.as_bytes()).unwrap().unwrap().value, b"1");
    }
    assert_eq!(redis.ask("MGET a b c"), "[\"1\", \"1\", \"1\"]");

    // Another node takes its place; a concurrent write waits until its copies are restored.
    cluster.add_node();
    wait_until("it has joined", || client.put(b"a", b"3").map_err(|e| e.to_string()));
    cluster.assert_replicas(b"a", Some(b"3"));
    cluster.wait_until_well();

    // It is a setting like any other.
    let (code, printed) = prints(&cluster, &["--rep", "1", "--force"]);
    assert_eq!(code, Some(1), "{printed}");
    let (code, printed) = prints(&cluster, &["--min-copies", "1"]);
    assert_eq!(
        (code, printed.as_str()),
        (Some(0), "OK, writes with 1 copies at least to come: nothing moves")
    );
    cluster.stop_node(2);
    wait_until("one is enough", || client.put(b"a", b"4").map_err(|e| e.to_string()));
}

#[test]
fn a_write_waits_for_copies_that_are_being_made() {
    let options = Options { min_copies: 2, transfer_mb_s: Some(1), ..Options::default() };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    let pairs: Vec<(String, Vec<u8>)> =
        (0..200).map(|n| (format!("key{n}"), vec![b'v'; 10_000])).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    cluster.stop_node(2);
    for (key, _) in &pairs {
        client.put(key.as_bytes(), b"newer").unwrap();
        cluster.assert_replicas(key.as_bytes(), Some(b"newer"));
    }
}
