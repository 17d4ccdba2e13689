//! Cluster-aware clients, and listings of keys.

use e2e::{Options, Resp, TestCluster, wait_until};

use crate::{open, options};

#[test]
fn cluster_aware_clients_learn_the_ports() {
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
    wait_until("the others report that it is gone", || {
        if node.ask("CLUSTER SLOTS").contains(&gone) { Err("not yet".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn listings_of_all_nodes_add_up_to_the_whole() {
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
        // The same on the other port, once the client has shown that it is cluster-aware.
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
    // A flush removes all keys, on any node.
    assert_eq!(Resp::open(cluster.redis_cluster_address(1)).ask("FLUSHALL"), "OK");
    assert_eq!(plain.ask("DBSIZE"), ":0");
}

#[test]
fn any_node_lists_all_keys() {
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
    // Each key once, from several nodes in turn, while a node joins, one stops, and keys change.
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
    // A page whose keys have just been removed may be empty without being the last.
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
    // Nor does such a page hide a remaining key.
    nodes[0].ask("SET left x");
    for _ in 0..20 {
        assert_eq!(nodes[1].ask("RANDOMKEY"), "\"left\"");
    }
}
