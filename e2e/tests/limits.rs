//! Long keys and values, by every way that they may take.

use std::fs;

use client::{Change, ClientError, Done, GTStoreClient};
use cluster::durability::Durability;
use cluster::limits::{KEY_CEILING, Limits, VALUE_CEILING};
use e2e::{Options, Resp, TestCluster, client_command};
use tempfile::tempdir;

const CEILINGS: Limits = Limits { key_bytes: KEY_CEILING, value_bytes: VALUE_CEILING };

/// A value of so many bytes, printable, of which no two places a mebibyte apart look alike.
fn value(bytes: usize) -> Vec<u8> {
    let mut value: Vec<u8> = b"0123456789abcdef".iter().copied().cycle().take(bytes).collect();
    for (n, part) in value.chunks_mut(1 << 20).enumerate() {
        let stamp = format!("{n:08}");
        let fits = part.len().min(stamp.len());
        part[..fits].copy_from_slice(&stamp.as_bytes()[..fits]);
    }
    value
}

/// Not `assert_eq`: nobody wants to read 64 MiB.
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

    // By Redis, at a node that is the key's primary and at the other.
    for (node, name) in [(0, "one"), (1, "two")] {
        let mut redis = Resp::open(cluster.redis_address(node));
        redis.send(&[b"SET", name.as_bytes(), &longest]);
        assert_eq!(redis.reply(), "OK");
        for other in [0, 1] {
            let mut redis = Resp::open(cluster.redis_address(other));
            redis.send(&["GET", name]);
            let want = format!("\"{}\"", str::from_utf8(&longest).unwrap());
            assert!(redis.reply() == want);
        }
        // One byte more is refused, and the connection stays.
        redis.send(&[b"APPEND", name.as_bytes(), b"1"]);
        assert!(redis.reply().starts_with("-ERR a value has at most 67108864 bytes here"));
        assert_eq!(redis.ask(&format!("STRLEN {name}")), format!(":{VALUE_CEILING}"));
        assert_eq!(redis.ask(&format!("DEL {name}")), ":1");
    }

    // From the disks alone.
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

/// Many long values in one batch do not fit the nodes' answers: what does not is asked for again.
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
    // Each is read by its whole write set, and written to it.
    let parts = pairs.iter().map(|(key, _)| client::Part::Update {
        key: key.as_bytes(),
        decide: Box::new(|found| {
            let mut value = found.expect("it is there").value.to_vec();
            value[0] = b'x';
            Change::Put(value)
        }),
    });
    for done in client.run_mixed(parts.collect()) {
        assert!(matches!(done.unwrap(), Done::Placed(_)));
    }
    for got in client.get_many(&keys) {
        assert_eq!(got.unwrap().unwrap().value[0], b'x');
    }
    // Until enough was read.
    let gets = || keys.iter().map(|key| client::Part::Op(client::Op::Get { key: key.as_bytes() }));
    let some = client.run_within(gets().collect(), 1);
    assert!(matches!(&some[0], Some(Ok(Done::Got(Some(_))))));
    assert!(some.iter().any(Option::is_none), "24 MiB do not come at once");
    assert!(client.run_within(gets().collect(), usize::MAX).iter().all(Option::is_some));
}
