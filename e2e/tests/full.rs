//! Nodes with a memory limit.

use client::{ClientError, Done, UpdateAction};
use cluster::membership::Level;
use e2e::{Options, Resp, TestCluster, wait_until};

const MOST: u64 = 64 << 10;
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

fn filled() -> TestCluster {
    let cluster = TestCluster::with(Options {
        copies: 3,
        has_redis: true,
        max_memory: Some(MOST),
        ..Options::default()
    });
    let client = cluster.client();
    let value = [b'v'; 500];
    client.put(b"counter", b"10").unwrap();
    let refused = (0..1000).find_map(|n| client.put(format!("k{n}").as_bytes(), &value).err());
    assert!(matches!(refused, Some(ClientError::Full(_))), "{refused:?}");
    cluster
}

fn held(cluster: &TestCluster) -> u64 {
    (0..3).map(|n| cluster.node(n).node().memory().0).max().unwrap()
}

#[test]
fn beyond_the_limit_nothing_is_added_and_all_else_goes_on() {
    let cluster = filled();
    let full = held(&cluster);
    assert!((MOST..MOST + 2048).contains(&full), "{full}");
    let client = cluster.client();
    // A new client is refused as well, and leaves nothing behind.
    for n in 0..20 {
        let error = cluster.client().put(format!("new{n}").as_bytes(), b"x").unwrap_err();
        assert!(matches!(error, ClientError::Full(_)) && !error.is_retryable(), "{error}");
    }
    let grown = client.update(b"counter", |_| UpdateAction::Put(b"100".to_vec()));
    assert!(matches!(grown, Err(ClientError::Full(_))), "{grown:?}");
    let counted = client.update(b"counter", |_| UpdateAction::Put(b"11".to_vec()));
    assert!(matches!(counted, Ok(Done::Placed(_))));
    client.put(b"k2", b"vvvvv").unwrap();
    assert_eq!(client.get(b"k0").unwrap().unwrap().value, [b'v'; 500]);
    assert_eq!(client.get(b"new0").unwrap(), None);
    assert!(held(&cluster) < full);

    wait_until("the health names the refusing node", || {
        let status = cluster.status()?;
        let nodes = status.nodes.iter().all(|node| node.is_full);
        let want = "refusing writes: node1 (its memory is full), node2 (its memory is full), \
                    node3 (its memory is full)";
        let is_so = nodes && status.health.text == want && status.health.level == Level::Degraded;
        if is_so { Ok(()) } else { Err(status.health.text) }
    });
    let mut node = Resp::open(cluster.redis_address(1));
    for (command, want) in [
        ("SET new v", OOM),
        ("SET new v NX", OOM),
        ("MSET new v", OOM),
        ("APPEND k2 x", OOM),
        ("GETSET k2 short", "\"vvvvv\""),
        ("SET k2 longer", OOM),
        ("SET k2 brief", "OK"),
        ("INCR counter", ":12"),
        ("EXISTS k0", ":1"),
        ("STRLEN k1", ":500"),
        ("GETRANGE k1 0 1", "\"vv\""),
        ("EXPIRE k1 1000", ":1"),
        ("PERSIST k1", ":1"),
        ("GET new", "nil"),
    ] {
        assert_eq!(node.ask(command), want, "{command}");
    }
    assert!(node.ask("INFO memory").contains("maxmemory:65536"));
    assert_eq!(node.ask("CONFIG GET maxmemory"), "[\"maxmemory\", \"65536\"]");
}

#[test]
fn deletes_free_memory_and_puts_resume_within_seconds() {
    let cluster = filled();
    let mut node = Resp::open(cluster.redis_address(0));
    assert_eq!(node.ask("SET new v"), OOM);
    for n in 0..20 {
        assert_eq!(node.ask(&format!("DEL k{n}")), ":1");
    }
    wait_until("there is room", || match node.ask("SET new v").as_str() {
        "OK" => Ok(()),
        other => Err(other.to_owned()),
    });
    let client = cluster.client();
    client.put(b"native", b"v").unwrap();
    cluster.assert_replicas(b"new", Some(b"v"));
    // A batch that exceeds the limit is cut off there, and the next one is refused as a whole.
    let sets = |letter: char| -> Vec<String> {
        (0..200).map(|n| format!("SET {letter}{n} {}", "x".repeat(500))).collect()
    };
    let answers = node.pipeline(&sets('a'));
    assert!(answers.iter().any(|answer| answer == OOM), "{answers:?}");
    let answers = node.pipeline(&sets('b'));
    assert!(answers.iter().all(|answer| answer == OOM), "{answers:?}");
}
