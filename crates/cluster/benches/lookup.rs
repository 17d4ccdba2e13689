//! The cost of the ring: finding a key's replicas (must not depend on the number of nodes),
//! preparing a view for look-up (every node and client, once per view), assigning arcs (the
//! manager, once per join). `cargo bench -p cluster`.

use cluster::ids::{Address, ClusterId, Epoch, Incarnation, NodeId};
use cluster::limits::Limits;
use cluster::ring::{self, DEFAULT_ARCS, Participant};
use cluster::view::{Member, MemberState, Routes, View};
use divan::Bencher;
use divan::counter::ItemsCount;

const NODES: [u16; 3] = [7, 100, 1000];
const COPIES: usize = 3;

fn main() {
    divan::main();
}

fn names(nodes: u16) -> Vec<String> {
    (0..nodes).map(|n| format!("node{n}")).collect()
}

fn participants(names: &[String]) -> Vec<Participant<'_>> {
    names.iter().map(|name| Participant { name, weight: 1 }).collect()
}

fn born(nodes: u16) -> Vec<u16> {
    ring::assign(&[None; DEFAULT_ARCS], &participants(&names(nodes)))
}

fn view(nodes: u16) -> View {
    let member = |(n, name): (u16, String)| Member {
        id: NodeId::new(&name).expect("letters and digits"),
        incarnation: Incarnation(u64::from(n)),
        address: Address::new("127.0.0.1", 10_000 + n).expect("a port"),
        redis_port: 0,
        on_disk: false,
        weight: 1,
        state: MemberState::Active,
    };
    View {
        epoch: Epoch(1),
        members: (0..nodes).zip(names(nodes)).map(member).collect(),
        arcs: born(nodes),
        ..View::unborn(ClusterId(1), COPIES, Limits::default())
    }
}

/// A key's slot, its arc, its replicas: the time is that of one key.
#[divan::bench(args = NODES)]
fn lookup(bencher: Bencher<'_, '_>, nodes: u16) {
    let keys: Vec<String> = (0..1_000).map(|n| format!("lb_key_{n}")).collect();
    let routes = Routes::new(view(nodes));
    bencher.counter(ItemsCount::new(keys.len())).bench(|| {
        let mut primaries = 0;
        for key in &keys {
            let arc =
                routes.arc_of(divan::black_box(key.as_bytes())).expect("the ring is assigned");
            let replicas = divan::black_box(routes.replicas(arc));
            assert_eq!(replicas.len(), COPIES);
            primaries += usize::from(replicas[0]);
        }
        primaries
    });
}

/// Preparing a view for look-up.
#[divan::bench(args = NODES)]
fn routes(bencher: Bencher<'_, '_>, nodes: u16) {
    let view = view(nodes);
    bencher.with_inputs(|| view.clone()).bench_values(Routes::new);
}

/// The assignment with one more node.
#[divan::bench(args = NODES)]
fn join(bencher: Bencher<'_, '_>, nodes: u16) {
    let owners: Vec<Option<u16>> = born(nodes).into_iter().map(Some).collect();
    let names = names(nodes + 1);
    let participants = participants(&names);
    bencher.bench(|| {
        let assigned = ring::assign(divan::black_box(&owners), &participants);
        assert!(assigned.contains(&nodes), "the new node got its share");
        assigned
    });
}

/// The first assignment.
#[divan::bench(args = NODES)]
fn birth(nodes: u16) -> Vec<u16> {
    born(divan::black_box(nodes))
}
