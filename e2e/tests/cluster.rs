//! Operations of a client on a healthy cluster.

use client::{ClientError, Done, Op, UpdateAction};
use cluster::limits::Limits;
use e2e::{Options, TestCluster};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[test]
fn put_get_overwrite_delete() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    assert_eq!(client.get(b"key1").unwrap(), None);
    let placed = client.put(b"key1", b"value1").unwrap();
    assert_eq!(placed.copies, 2);
    assert_eq!(Some(&placed.primary), client.primary_of(b"key1").as_ref());
    let got = client.get(b"key1").unwrap().unwrap();
    assert_eq!((got.value.as_slice(), got.primary), (&b"value1"[..], placed.primary.clone()));
    cluster.assert_replicas(b"key1", Some(b"value1"));

    client.put(b"key1", b"value2, longer").unwrap();
    assert_eq!(cluster.client().get(b"key1").unwrap().unwrap().value, b"value2, longer");
    cluster.assert_replicas(b"key1", Some(b"value2, longer"));

    assert_eq!(client.delete(b"key1").unwrap(), placed);
    assert_eq!(client.get(b"key1").unwrap(), None);
    cluster.assert_replicas(b"key1", None);
    client.delete(b"key1").unwrap();
    client.put(b"key1", b"again").unwrap();
    cluster.assert_replicas(b"key1", Some(b"again"));
}

#[test]
fn copies_up_to_more_than_there_are_nodes() {
    for (nodes, copies) in [(1, 1), (3, 1), (5, 3), (5, 5), (3, 5)] {
        let cluster = TestCluster::start(nodes, copies);
        let client = cluster.client();
        for n in 0..20 {
            let key = format!("key{n}");
            let placed = client.put(key.as_bytes(), b"value").unwrap();
            assert_eq!(placed.copies, copies.min(nodes), "{nodes} nodes, K={copies}");
            let replicas = cluster.replicas(key.as_bytes());
            assert_eq!(replicas.len(), copies.min(nodes));
            assert_eq!(replicas[0].0, placed.primary);
            cluster.assert_replicas(key.as_bytes(), Some(b"value"));
        }
        let health = client.status().unwrap().health.text;
        let want = if nodes < copies {
            "degraded: 3 of 5 copies in 256 arcs, more nodes are needed"
        } else {
            "healthy"
        };
        assert_eq!(health, want);
    }
}

#[test]
fn keys_and_values_are_any_bytes() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    let mut random = StdRng::seed_from_u64(1);
    for n in 0..300usize {
        let mut key = vec![0; n % 20 + 1];
        random.fill(&mut key[..]);
        let mut value = vec![0; [0, 1, 2, 100, 1024][n % 5]];
        random.fill(&mut value[..]);
        client.put(&key, &value).unwrap();
        assert_eq!(client.get(&key).unwrap().unwrap().value, value, "{key:?}");
    }
    client.put(&[0], b"").unwrap();
    cluster.assert_replicas(&[0], Some(b""));
}

#[test]
fn bounds_are_512_bytes_and_a_mebibyte() {
    let cluster = TestCluster::start(1, 1);
    let client = cluster.client();
    client.put(&[b'k'; 512], &vec![b'v'; 1 << 20]).unwrap();
    assert!(matches!(client.put(&[b'k'; 513], b"v"), Err(ClientError::BadKey(_))));
    assert!(matches!(client.delete(&[b'k'; 513]), Err(ClientError::BadKey(_))));
    assert!(matches!(client.put(b"k", &vec![b'v'; (1 << 20) + 1]), Err(ClientError::BadValue(_))));
    assert_eq!(client.get(b"k").unwrap(), None);
    // A key that cannot exist is absent, however long it is.
    for length in [513, 1024, 1025, 70_000] {
        assert_eq!(client.get(&vec![b'k'; length]).unwrap(), None, "{length}");
    }
}

#[test]
fn an_empty_key_is_a_key_like_any_other() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    assert_eq!(client.get(b"").unwrap(), None);
    client.put(b"", b"value").unwrap();
    cluster.assert_replicas(b"", Some(b"value"));
    assert_eq!(client.get(b"").unwrap().unwrap().value, b"value");
    let done =
        client.update(b"", |found| UpdateAction::Put([found.unwrap(), b"!"].concat())).unwrap();
    assert!(matches!(done, Done::Placed(_)));
    let got = client.get_many(&[&b""[..], b"k"]);
    assert_eq!(got[0].as_ref().unwrap().as_ref().unwrap().value, b"value!");
    assert_eq!(client.list(0, 10).unwrap().keys, [b""]);
    client.delete(b"").unwrap();
    cluster.assert_replicas(b"", None);
}

#[test]
fn raised_limits_reach_clients_and_nodes() {
    let limits = Limits { key_bytes: 1024, value_bytes: 1 << 20 };
    let cluster = TestCluster::with(Options { limits, ..Options::default() });
    let client = cluster.client();
    let (key, value) = (vec![7; 1024], vec![9; 1 << 20]);
    client.put(&key, &value).unwrap();
    cluster.assert_replicas(&key, Some(&value));
    assert!(matches!(client.put(&[7; 1025], b"v"), Err(ClientError::BadKey(_))));
    // Values of this size do not fit into one frame: batches are split.
    let pairs: Vec<(String, &[u8])> = (0..12).map(|n| (format!("big{n}"), &value[..])).collect();
    for placed in client.put_many(&pairs) {
        placed.unwrap();
    }
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    for got in client.get_many(&keys) {
        assert_eq!(got.unwrap().unwrap().value, value);
    }
}

#[test]
fn batches_answer_each_operation_in_its_place() {
    let cluster = TestCluster::start(5, 3);
    let client = cluster.client();
    let key = |n: usize| format!("key{n}");
    let pairs: Vec<(String, String)> = (0..10_000).map(|n| (key(n), format!("value{n}"))).collect();
    for placed in client.put_many(&pairs) {
        assert_eq!(placed.unwrap().copies, 3);
    }
    let keys: Vec<String> = (0..10_100).map(key).collect();
    for (n, got) in client.get_many(&keys).into_iter().enumerate() {
        let want = (n < 10_000).then(|| format!("value{n}").into_bytes());
        assert_eq!(got.unwrap().map(|g| g.value), want, "key{n}");
    }
    let long = vec![0; (1 << 20) + 1];
    let mixed = [
        Op::Put { key: b"a", value: b"1" },
        Op::Get { key: b"key7" },
        Op::Put { key: &[0; 513], value: b"1" },
        Op::Delete { key: b"key8" },
        Op::Get { key: &[0; 513] },
        Op::Put { key: b"b", value: &long },
        Op::Get { key: b"nothing" },
    ];
    let done = client.run(&mixed);
    assert!(matches!(done[0], Ok(Done::Placed(_))));
    assert!(matches!(&done[1], Ok(Done::Got(Some(got))) if got.value == b"value7"));
    assert!(matches!(done[2], Err(ClientError::BadKey(_))));
    assert!(matches!(done[3], Ok(Done::Placed(_))));
    assert!(matches!(done[4], Ok(Done::Got(None))));
    assert!(matches!(done[5], Err(ClientError::BadValue(_))));
    assert!(matches!(done[6], Ok(Done::Got(None))));
    assert_eq!(client.get(b"key8").unwrap(), None);
    assert!(client.run(&[]).is_empty());
    // The nodes' own counts: each key three times.
    let held: u64 = client.node_infos().unwrap().iter().map(|info| info.keys).sum();
    assert_eq!(held, 3 * (10_000 + 1 - 1));
}

#[test]
fn batches_of_long_keys_fit_their_frames() {
    let limits = Limits { key_bytes: 1024, value_bytes: 1 };
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, limits, ..Options::default() });
    let client = cluster.client();
    let keys: Vec<String> = (0..4500).map(|n| format!("{n:01024}")).collect();
    let pairs: Vec<(&String, &str)> = keys.iter().map(|key| (key, "v")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    for got in client.get_many(&keys) {
        assert_eq!(got.unwrap().unwrap().value, b"v");
    }
}

#[test]
fn one_key_many_times_in_one_batch() {
    let cluster = TestCluster::start(3, 3);
    let client = cluster.client();
    let values: Vec<String> = (0..500).map(|n| format!("value{n}")).collect();
    let pairs: Vec<(&str, &String)> = values.iter().map(|value| ("key", value)).collect();
    for placed in client.put_many(&pairs) {
        placed.unwrap();
    }
    let got = client.get(b"key").unwrap().unwrap().value;
    assert!(values.iter().any(|value| value.as_bytes() == got));
    cluster.assert_replicas(b"key", Some(&got));
}

#[test]
fn value_lists_are_joined_by_commas() {
    let cluster = TestCluster::start(2, 2);
    let client = cluster.client();
    client.put_list(b"client1", &["phone", "phone_case"]).unwrap();
    assert_eq!(client.get(b"client1").unwrap().unwrap().value, b"phone,phone_case");
    let list = client.get_list(b"client1").unwrap().unwrap();
    assert_eq!(list, ["phone", "phone_case"]);
    assert_eq!(client.get_list(b"client2").unwrap(), None);
    let error = client.put_list(b"client1", &["a", "b,c"]).unwrap_err();
    assert!(matches!(error, ClientError::BadList(1)), "{error}");
}
