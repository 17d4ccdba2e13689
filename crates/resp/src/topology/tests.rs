use cluster::ids::{Epoch, Incarnation};
use cluster::limits::Limits;
use cluster::view::{Member, MemberState, View};

use super::*;
use crate::reply::Protocol;

fn id(n: u16) -> NodeId {
    NodeId::new(&format!("node{n}")).unwrap()
}

fn routes(copies: usize, members: u16, arcs: &[u16]) -> Routes {
    let member = |n| Member {
        id: id(n),
        incarnation: Incarnation(u64::from(n)),
        address: Address::new("127.0.0.1", 6000 + n).unwrap(),
        redis_port: 0,
        on_disk: false,
        weight: 1,
        state: MemberState::Active,
    };
    let view = View {
        epoch: Epoch(7),
        members: (1..=members).map(member).collect(),
        arcs: arcs.to_vec(),
        ..View::unborn(ClusterId(1), copies, Limits::default())
    };
    view.check().unwrap();
    Routes::new(view)
}

/// Node n has its Redis port on 7000 + n.
fn door(id: &NodeId) -> Option<Address> {
    let n: u16 = id.as_str().strip_prefix("node")?.parse().ok()?;
    Address::new("127.0.0.1", 7000 + n).ok()
}

fn ranges(topology: &Topology<'_>, copies: bool) -> Vec<(u16, u16, Vec<u16>)> {
    topology.ranges(copies).into_iter().map(|r| (r.first, r.last, r.keepers)).collect()
}

fn written(write: impl Fn(&mut Replies<'_>), protocol: Protocol) -> String {
    let mut out = Vec::new();
    write(&mut Replies::new(&mut out, protocol));
    String::from_utf8(out).unwrap().replace("\r\n", " ")
}

#[test]
fn neighbours_with_the_same_keepers_are_one_range() {
    let routes = routes(2, 3, &[0, 0, 1, 0, 0, 2, 2, 2]);
    let topology = Topology::new(&routes, &id(1), door);
    assert_eq!(
        ranges(&topology, false),
        [
            (0, 4095, vec![0]),
            (4096, 6143, vec![1]),
            (6144, 10239, vec![0]),
            (10240, 16383, vec![2])
        ]
    );
    assert_eq!(
        ranges(&topology, true),
        [
            (0, 4095, vec![0, 1]),
            (4096, 6143, vec![1, 0]),
            (6144, 10239, vec![0, 2]),
            (10240, 16383, vec![2, 0])
        ]
    );
}

#[test]
fn every_slot_is_told_once() {
    let arcs: Vec<u16> =
        (0..4096u32).map(|arc| (arc.wrapping_mul(2_654_435_761) >> 30) as u16).collect();
    let routes = routes(3, 4, &arcs);
    let topology = Topology::new(&routes, &id(1), door);
    for copies in [false, true] {
        let ranges = topology.ranges(copies);
        assert_eq!((ranges[0].first, ranges[ranges.len() - 1].last), (0, 16_383));
        assert!(ranges.windows(2).all(|two| two[0].last + 1 == two[1].first));
        assert!(ranges.windows(2).all(|two| two[0].keepers != two[1].keepers));
        for range in &ranges {
            for slot in [range.first, range.last] {
                let replicas = routes.replicas(ring::arc_of_slot(slot, 4096));
                assert_eq!(range.keepers, replicas[..if copies { 3 } else { 1 }]);
            }
        }
    }
}

#[test]
fn nodes_without_a_redis_port_are_not_told() {
    let routes = routes(2, 3, &[0, 1, 2, 1]);
    let only = |open: &'static [u16]| {
        move |node: &NodeId| door(node).filter(|address| open.contains(&(address.port() - 7000)))
    };
    let topology = Topology::new(&routes, &id(2), only(&[1, 2]));
    // Node 3's arc is told to be its other keeper's.
    assert_eq!(ranges(&topology, false), [(0, 4095, vec![0]), (4096, 16_383, vec![1])]);
    assert_eq!(topology.nodes_text().lines().count(), 2);
    // Of nodes 1 and 2's arcs node 3 keeps none as a replica: any node will do, and all name the same.
    let topology = Topology::new(&routes, &id(3), only(&[3]));
    assert_eq!(ranges(&topology, true), [(0, 16_383, vec![2])]);
    let topology = Topology::new(&routes, &id(3), |_| None);
    assert!(topology.ranges(true).is_empty());
    assert!(topology.info_text(true, &ArcSet::new()).starts_with("cluster_state:fail\r\n"));
}

#[test]
fn each_arc_is_one_nodes_own() {
    let arcs: Vec<u16> = (0..64).map(|arc| arc % 4).collect();
    let routes = routes(1, 4, &arcs);
    for open in [&[1, 2, 3, 4][..], &[1, 3], &[2]] {
        let only = |node: &NodeId| door(node).filter(|at| open.contains(&(at.port() - 7000)));
        let mut owners = vec![0; 64];
        for n in 1..=4 {
            let topology = Topology::new(&routes, &id(n), only);
            let own = topology.own_arcs();
            own.ones().for_each(|arc| owners[arc] += 1);
            assert_eq!(own.is_clear(), !open.contains(&n), "{n} of {open:?}");
            // As it is told to clients, by everybody.
            for arc in 0..64 {
                let slot = arc * 256;
                let told = ranges(&topology, false);
                let (.., keepers) =
                    told.iter().find(|(first, last, _)| (first..=last).contains(&&slot)).unwrap();
                assert_eq!(own.contains(usize::from(arc)), keepers[0] == n - 1);
            }
        }
        assert_eq!(owners, [1; 64], "{open:?}");
    }
}

#[test]
fn slots_as_redis_sends_them() {
    let routes = routes(2, 2, &[0, 1]);
    let topology = Topology::new(&routes, &id(1), door);
    let (one, two) = (node_id(ClusterId(1), &id(1)), node_id(ClusterId(1), &id(2)));
    let node = |n, id: &str, end| format!("*4 $9 127.0.0.1 :700{n} $40 {id} {end} ");
    let expected = |end| {
        let (one, two) = (node(1, &one, end), node(2, &two, end));
        format!("*2 *4 :0 :8191 {one}{two}*4 :8192 :16383 {two}{one}")
    };
    assert_eq!(written(|out| topology.slots(true, out), Protocol::Resp2), expected("*0"));
    assert_eq!(written(|out| topology.slots(true, out), Protocol::Resp3), expected("%0"));
    assert_eq!(
        written(|out| topology.slots(false, out), Protocol::Resp2),
        format!("*2 *3 :0 :8191 {}*3 :8192 :16383 {}", node(1, &one, "*0"), node(2, &two, "*0"))
    );
}

#[test]
fn shards_as_redis_sends_them() {
    let routes = routes(2, 2, &[0, 1, 1, 0]);
    let topology = Topology::new(&routes, &id(1), door);
    let got = written(|out| topology.shards(out), Protocol::Resp3);
    let one = node_id(ClusterId(1), &id(1));
    let want = format!(
        "*2 %2 $5 slots *4 :0 :4095 :12288 :16383 $5 nodes *1 %7 $2 id $40 {one} $2 ip $9 127.0.0.1 \
         $8 endpoint $9 127.0.0.1 $4 role $6 master $6 health $6 online $4 port :7001 \
         $18 replication-offset :0 %2 $5 slots *2 :4096 :12287 "
    );
    assert!(got.starts_with(&want), "{got}");
}

#[test]
fn nodes_and_info_as_redis_writes_them() {
    let arcs: Vec<u16> = (0..16_384).map(|slot| u16::from(slot > 3 && slot != 5)).collect();
    let routes = routes(2, 3, &arcs);
    let topology = Topology::new(&routes, &id(2), door);
    let node = |n| node_id(ClusterId(1), &id(n));
    assert_eq!(
        topology.nodes_text(),
        format!(
            "{} 127.0.0.1:7001@6001 master - 0 0 7 connected 0-3 5\n\
             {} 127.0.0.1:7002@6002 myself,master - 0 0 7 connected 4 6-16383\n\
             {} 127.0.0.1:7003@6003 master - 0 0 7 connected\n",
            node(1),
            node(2),
            node(3)
        )
    );
    let info = topology.info_text(true, &ArcSet::new());
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_known_nodes:3",
        "cluster_size:2",
        "cluster_current_epoch:7",
    ] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
    assert!(topology.info_text(false, &ArcSet::new()).starts_with("cluster_state:fail"));
    let lost = [3, 7, 16_383].into_iter().collect();
    let info = topology.info_text(true, &lost);
    for line in ["cluster_state:fail", "cluster_slots_ok:16381", "cluster_slots_fail:3"] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
}

#[test]
fn an_unborn_cluster_keeps_nothing() {
    let routes = Routes::new(View::unborn(ClusterId(1), 3, Limits::default()));
    let topology = Topology::new(&routes, &id(1), door);
    assert_eq!(written(|out| topology.slots(true, out), Protocol::Resp2), "*0 ");
    assert_eq!(written(|out| topology.shards(out), Protocol::Resp2), "*0 ");
    assert_eq!(topology.nodes_text(), "");
    assert!(topology.info_text(true, &ArcSet::new()).contains("cluster_slots_assigned:0\r\n"));
}

#[test]
fn ids_are_unique_and_stay() {
    // Frozen: clients know nodes by them.
    assert_eq!(node_id(ClusterId(1), &id(1)), "fda2a0aa5b38b0ff2e3989d855c7ba940772b272");
    let mut ids: Vec<String> = (1..1000).map(|n| node_id(ClusterId(1), &id(n))).collect();
    ids.push(node_id(ClusterId(2), &id(1)));
    assert!(ids.iter().all(|id| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    ids.sort_unstable();
    assert!(ids.windows(2).all(|two| two[0] != two[1]));
}
