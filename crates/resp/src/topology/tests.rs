use super::*;
use crate::reply::Protocol;

const WELL: ClusterHealth = ClusterHealth { serves: true, lost_slots: 0 };

/// Nodes 1 to `nodes`, of which the second replies, and the primaries of some slots.
fn topology(nodes: u16, ranges: &[(u16, u16, usize)]) -> Topology {
    let node = |n: u16| Node {
        id: format!("{n:040x}"),
        host: "127.0.0.1".into(),
        port: 7000 + n,
        bus_port: 6000 + n,
        is_myself: n == 2,
    };
    let range = |&(first, last, primary)| Range { first, last, primary };
    Topology {
        nodes: (1..=nodes).map(node).collect(),
        ranges: ranges.iter().map(range).collect(),
        known_nodes: usize::from(nodes),
        epoch: 7,
    }
}

fn written(write: impl Fn(&mut Replies<'_>), protocol: Protocol) -> String {
    let mut out = Vec::new();
    write(&mut Replies::new(&mut out, protocol));
    String::from_utf8(out).unwrap().replace("\r\n", " ")
}

#[test]
fn slots_have_the_format_of_redis() {
    let topology = topology(2, &[(0, 8191, 0), (8192, 16_383, 1)]);
    let expected = |end| {
        let node = |n| format!("*4 $9 127.0.0.1 :700{n} $40 {n:040x} {end} ");
        format!("*2 *3 :0 :8191 {}*3 :8192 :16383 {}", node(1), node(2))
    };
    assert_eq!(written(|out| topology.slots(out), Protocol::Resp2), expected("*0"));
    assert_eq!(written(|out| topology.slots(out), Protocol::Resp3), expected("%0"));
}

#[test]
fn shards_have_the_format_of_redis() {
    let topology = topology(2, &[(0, 4095, 0), (4096, 12_287, 1), (12_288, 16_383, 0)]);
    let got = written(|out| topology.shards(out), Protocol::Resp3);
    let one = format!("{:040x}", 1);
    let want = format!(
        "*2 %2 $5 slots *4 :0 :4095 :12288 :16383 $5 nodes *1 %7 $2 id $40 {one} $2 ip $9 127.0.0.1 \
         $8 endpoint $9 127.0.0.1 $4 role $6 master $6 health $6 online $4 port :7001 \
         $18 replication-offset :0 %2 $5 slots *2 :4096 :12287 "
    );
    assert!(got.starts_with(&want), "{got}");
}

#[test]
fn nodes_and_info_have_the_format_of_redis() {
    let topology = topology(3, &[(0, 3, 0), (4, 4, 1), (5, 5, 0), (6, 16_383, 1)]);
    assert_eq!(
        topology.nodes_text(),
        format!(
            "{:040x} 127.0.0.1:7001@6001 master - 0 0 7 connected 0-3 5\n\
             {:040x} 127.0.0.1:7002@6002 myself,master - 0 0 7 connected 4 6-16383\n\
             {:040x} 127.0.0.1:7003@6003 master - 0 0 7 connected\n",
            1, 2, 3
        )
    );
    let info = topology.info_text(WELL);
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_known_nodes:3",
        "cluster_size:2",
        "cluster_current_epoch:7",
    ] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
    let waiting = topology.info_text(ClusterHealth { serves: false, ..WELL });
    assert!(waiting.starts_with("cluster_state:fail"));
    let info = topology.info_text(ClusterHealth { lost_slots: 3, ..WELL });
    for line in ["cluster_state:fail", "cluster_slots_ok:16381", "cluster_slots_fail:3"] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
}

#[test]
fn a_cluster_without_nodes_has_no_ranges() {
    let topology = Topology::default();
    assert_eq!(written(|out| topology.slots(out), Protocol::Resp2), "*0 ");
    assert_eq!(written(|out| topology.shards(out), Protocol::Resp2), "*0 ");
    assert_eq!(topology.nodes_text(), "");
    let info = topology.info_text(ClusterHealth { lost_slots: 5, ..WELL });
    for line in ["cluster_state:fail", "cluster_slots_assigned:0", "cluster_slots_fail:0"] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
}
