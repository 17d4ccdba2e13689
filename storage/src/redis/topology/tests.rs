use cluster::ids::{Epoch, Incarnation};
use cluster::limits::Limits;
use cluster::ring;
use cluster::view::{Member, MemberState, View};

use super::*;

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

/// Node n has its Redis port at 7000 + n.
fn port(id: &NodeId) -> Option<Address> {
    let n: u16 = id.as_str().strip_prefix("node")?.parse().ok()?;
    Address::new("127.0.0.1", 7000 + n).ok()
}

/// The ranges, each with the number of its primary.
fn ranges(picture: &Picture<'_>) -> Vec<(u16, u16, u16)> {
    let topology = picture.topology();
    let number = |range: &Range| topology.nodes[range.primary].port - 7000;
    topology.ranges.iter().map(|range| (range.first, range.last, number(range))).collect()
}

#[test]
fn neighbours_with_the_same_primary_are_one_range() {
    let routes = routes(2, 3, &[0, 0, 1, 0, 0, 2, 2, 2]);
    let picture = Picture::new(&routes, &id(1), port);
    assert_eq!(
        ranges(&picture),
        [(0, 4095, 1), (4096, 6143, 2), (6144, 10_239, 1), (10_240, 16_383, 3)]
    );
}

#[test]
fn every_slot_is_reported_once() {
    let arcs: Vec<u16> =
        (0..4096u32).map(|arc| (arc.wrapping_mul(2_654_435_761) >> 30) as u16).collect();
    let routes = routes(3, 4, &arcs);
    let ranges = Picture::new(&routes, &id(1), port).topology().ranges;
    assert_eq!((ranges[0].first, ranges[ranges.len() - 1].last), (0, 16_383));
    assert!(ranges.windows(2).all(|two| two[0].last + 1 == two[1].first));
    assert!(ranges.windows(2).all(|two| two[0].primary != two[1].primary));
    for range in &ranges {
        for slot in [range.first, range.last] {
            let replicas = routes.replicas(ring::arc_of_slot(slot, 4096));
            assert_eq!(range.primary, usize::from(replicas[0]));
        }
    }
}

#[test]
fn a_topology_follows_from_the_view() {
    let routes = routes(2, 3, &[0, 1, 1, 0]);
    let topology = Picture::new(&routes, &id(2), port).topology();
    assert_eq!((topology.known_nodes, topology.epoch, topology.nodes.len()), (3, 7, 3));
    let second = Node {
        id: node_id(ClusterId(1), &id(2)),
        host: "127.0.0.1".into(),
        port: 7002,
        bus_port: 6002,
        is_myself: true,
    };
    assert_eq!(topology.nodes[1], second);
    assert!(!topology.nodes[0].is_myself && !topology.nodes[2].is_myself);
}

#[test]
fn nodes_without_a_redis_port_are_not_reported() {
    let routes = routes(2, 3, &[0, 1, 2, 1]);
    let only = |open: &'static [u16]| {
        move |node: &NodeId| port(node).filter(|address| open.contains(&(address.port() - 7000)))
    };
    let picture = Picture::new(&routes, &id(2), only(&[1, 2]));
    // Node 3's arc is attributed to its other replica.
    assert_eq!(ranges(&picture), [(0, 4095, 1), (4096, 16_383, 2)]);
    let topology = picture.topology();
    assert_eq!((topology.nodes.len(), topology.known_nodes), (2, 3));
    // Node 3 is not a replica of nodes 1 and 2's arcs: any node will do, and all report the same
    // one.
    assert_eq!(ranges(&Picture::new(&routes, &id(3), only(&[3]))), [(0, 16_383, 3)]);
    let topology = Picture::new(&routes, &id(3), |_| None).topology();
    assert!(topology.nodes.is_empty() && topology.ranges.is_empty());
}

#[test]
fn each_arc_is_one_nodes_own() {
    let arcs: Vec<u16> = (0..64).map(|arc| arc % 4).collect();
    let routes = routes(1, 4, &arcs);
    for open in [&[1, 2, 3, 4][..], &[1, 3], &[2]] {
        let only = |node: &NodeId| port(node).filter(|at| open.contains(&(at.port() - 7000)));
        let mut owners = vec![0; 64];
        for n in 1..=4 {
            let picture = Picture::new(&routes, &id(n), only);
            let own = picture.own_arcs();
            own.ones().for_each(|arc| owners[arc] += 1);
            assert_eq!(own.is_clear(), !open.contains(&n), "{n} of {open:?}");
            // As every node reports it to clients.
            let topology = ranges(&picture);
            for arc in 0..64 {
                let slot = arc * 256;
                let (.., primary) = topology
                    .iter()
                    .find(|(first, last, _)| (first..=last).contains(&&slot))
                    .unwrap();
                assert_eq!(own.contains(usize::from(arc)), *primary == n);
            }
        }
        assert_eq!(owners, [1; 64], "{open:?}");
    }
}

#[test]
fn a_cluster_before_its_first_view_has_no_ranges() {
    let routes = Routes::new(View::unborn(ClusterId(1), 3, Limits::default()));
    let picture = Picture::new(&routes, &id(1), port);
    assert_eq!(picture.topology(), Topology { epoch: routes.epoch().0, ..Topology::default() });
    assert!(picture.own_arcs().is_clear());
}

#[test]
fn ids_are_unique_and_stay() {
    // Frozen: clients know nodes by these ids.
    assert_eq!(node_id(ClusterId(1), &id(1)), "fda2a0aa5b38b0ff2e3989d855c7ba940772b272");
    let mut ids: Vec<String> = (1..1000).map(|n| node_id(ClusterId(1), &id(n))).collect();
    ids.push(node_id(ClusterId(2), &id(1)));
    assert!(ids.iter().all(|id| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    ids.sort_unstable();
    assert!(ids.windows(2).all(|two| two[0] != two[1]));
}
