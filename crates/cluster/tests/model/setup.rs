//! Setups: the processes at the beginning, the clients' scripts, and the failures that may happen.
//!
//! A setup begins with handwritten views, each adopted by all nodes, so that it starts at the
//! interesting point: in the middle of a reconfiguration. From there on the manager makes the
//! views.

use std::sync::Arc;

use cluster::ids::{ClusterId, Epoch, NodeId};
use cluster::membership::Event;
use cluster::membership::{AdminCommand, Reconfiguration};
use cluster::replica::State as Settled;
use cluster::version::{Version, clock_at};
use cluster::view::MemberState::{self, Active, Joining, Leaving};
use cluster::view::{Member, Routes, View};

use crate::client::Client;
use crate::manager::Manager;
use crate::node::{ARC, Node, Record, WALL_MS, limits, who};
use crate::part::Part;
use crate::register::{Register, Value};
use crate::world::{NODES, Spent, State, incarnation};

/// The key's value at the beginning, where it has one.
const FIRST: Value = 9;

/// A setup.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name.
    pub name: &'static str,
    /// The views that were made before; the last is active.
    pub views: Vec<View>,
    /// Nodes that run and have not registered.
    pub spares: &'static [usize],
    /// Each client's script: see [`crate::client::step_of`].
    pub scripts: [&'static [u8]; 3],
    /// Nodes that have fetched the key already.
    pub fetched: &'static [usize],
    /// Whether the key has a value at the beginning, and how far its clock is ahead of the
    /// clients': it was put by another client.
    pub record: Option<u64>,
    /// How many processes may be killed.
    pub crashes: u8,
    /// How many leases may run out.
    pub lapses: u8,
    /// How many killed nodes may be started again.
    pub restarts: u8,
    /// The operator's commands, each at any time after the one before.
    pub orders: Vec<AdminCommand>,
    /// How many times a node may complete its pending record.
    pub finishes: u8,
    /// How often each client may try again.
    pub tries: u8,
    /// Whether answers may be lost after a write was stored.
    pub loses_replies: bool,
    /// Whether puts may reach their deadline.
    pub abandons: bool,
    /// The newest view that is visited.
    pub epochs: u64,
    /// Whether a node that has adopted a view or fetched its ranges reports it in the same step.
    /// Fewer states.
    pub is_prompt: bool,
}

/// A view: its members, the owners of the four arcs, and the target's.
fn view(
    copies: usize,
    members: &[(usize, MemberState)],
    arcs: [usize; 4],
    coming: Option<[usize; 4]>,
) -> View {
    let place = |slot: &usize| members.iter().position(|(member, _)| member == slot);
    let places = |slots: [usize; 4]| -> Vec<u16> {
        slots.iter().map(|slot| place(slot).expect("an owner is a member") as u16).collect()
    };
    let member = |&(slot, state): &(usize, MemberState)| {
        let newcomer = who(slot, incarnation(slot, 0));
        Member {
            id: newcomer.id,
            incarnation: newcomer.incarnation,
            address: newcomer.address,
            redis_port: 0,
            on_disk: false,
            weight: 1,
            state,
        }
    };
    let view = View {
        members: members.iter().map(member).collect(),
        arcs: places(arcs),
        ..View::unborn(ClusterId(1), copies, limits())
    };
    View { coming: coming.map(|slots| view.with_assignment(places(slots))), ..view }
}

impl Setup {
    fn new(name: &'static str, views: Vec<View>, scripts: [&'static str; 3]) -> Setup {
        Setup {
            name,
            views,
            spares: &[],
            scripts: scripts.map(str::as_bytes),
            fetched: &[],
            record: None,
            crashes: 0,
            lapses: 0,
            restarts: 0,
            orders: Vec::new(),
            finishes: 0,
            tries: 1,
            loses_replies: false,
            abandons: false,
            epochs: 0,
            is_prompt: true,
        }
    }

    /// Whether a node ran at the beginning.
    pub fn has_lived(&self, slot: usize) -> bool {
        self.views
            .last()
            .is_some_and(|view| view.place_of(&who(slot, incarnation(slot, 0)).id).is_some())
    }

    /// The state in which it begins.
    pub fn initial(&self) -> State {
        let last = self.views.len() - 1;
        let mut nodes: [Option<Node>; NODES] = Default::default();
        for (slot, node) in nodes.iter_mut().enumerate() {
            if self.has_lived(slot) || self.spares.contains(&slot) {
                *node = Some(Node::new(slot, incarnation(slot, 0)));
            }
        }
        let mut views = self.views.clone();
        for (i, view) in views.iter_mut().enumerate() {
            view.epoch = Epoch(i as u64 + 1);
            if i == 0 {
                view.fresh = (0..view.arcs.len() as u16).collect();
            }
            view.check().expect("a setup's views are sound");
        }
        let routes: Vec<Arc<Routes>> =
            views.iter().cloned().map(Routes::new).map(Arc::new).collect();
        for (slot, node) in nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            let members = &views[last].members;
            let is_member = members.iter().any(|m| m.incarnation == node.incarnation);
            if is_member {
                routes.iter().for_each(|routes| node.adopt(routes.clone()));
                node.has_lease = true;
                if self.fetched.contains(&slot) {
                    node.holdings.fetched(node.holdings.epoch(), ARC);
                }
            }
        }
        let clock = clock_at(WALL_MS) + self.record.unwrap_or(0);
        let version = Version::plain(clock, FIRST.into());
        if self.record.is_some() {
            let record = Record { version, state: Settled::Committed, body: Some(FIRST) };
            for node in nodes.iter_mut().flatten().filter(|node| node.is_synced()) {
                node.held = Some(record.clone());
            }
        }
        let manager = Manager::new(views[last].clone());
        let clients = [0, 1, 2, 3].map(|i| {
            let script = self.scripts.get(i).copied().unwrap_or_default();
            Part::new(Client::new(i, script, routes[last].clone(), self.tries))
        });
        let mut state = State {
            manager: Part::new(manager),
            nodes: nodes.map(Part::new),
            clients,
            bag: Part::new(Vec::new()),
            register: Part::new(Register::new(if self.record.is_some() { FIRST } else { 0 })),
            promised: if self.record.is_some() { version } else { Version::ABSENT },
            spent: Spent::default(),
            has_conflict: false,
            has_given_up: false,
            unborn: Arc::new(Routes::new(View::unborn(ClusterId(1), 1, limits()))),
        };
        let members: Vec<usize> = (0..NODES)
            .filter(|&slot| state.nodes[slot].as_ref().is_some_and(|n| n.has_lease))
            .collect();
        // Twice: the first time the manager may not have the sources' reports.
        for slot in members {
            state.beat(slot);
        }
        state.manager.edit(|manager| manager.step(Event::Tick));
        state
    }
}

/// Nodes by name.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// Three nodes, two copies. A or B fails, and C, the next on the ring, takes over.
pub fn heal(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active), (C, Active)], [A, B, C, A], None);
    Setup { crashes: 1, epochs: 2, ..Setup::new("heal", vec![born], scripts) }
}

/// Four nodes, three copies.
pub fn three_copies(scripts: [&'static str; 3]) -> Setup {
    let members = [(A, Active), (B, Active), (C, Active), (D, Active)];
    let born = view(3, &members, [A, B, C, D], None);
    Setup { crashes: 1, epochs: 2, ..Setup::new("k3", vec![born], scripts) }
}

/// C joins at the head of the ring; when all is fetched, one view makes it active, and B loses the
/// key.
pub fn promo(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active)], [A, B, A, B], None);
    let joining =
        view(2, &[(A, Active), (B, Active), (C, Joining)], [A, B, A, B], Some([C, A, B, A]));
    Setup { crashes: 1, epochs: 4, ..Setup::new("promo", vec![born, joining], scripts) }
}

/// As `heal`, but without a death: a lease expires, its node is removed, returns and joins again.
pub fn lapse(scripts: [&'static str; 3]) -> Setup {
    Setup { name: "lapse", crashes: 0, lapses: 1, epochs: 4, ..heal(scripts) }
}

/// A new node joins two others, by the manager's own assignment.
pub fn join(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active)], [A, B, A, B], None);
    Setup { spares: &[C], crashes: 1, epochs: 3, ..Setup::new("join", vec![born], scripts) }
}

/// One copy. C takes the key over from B, which stays for its other ranges, even if its lease
/// expires.
pub fn single(scripts: [&'static str; 3]) -> Setup {
    let born = view(1, &[(A, Active), (B, Active)], [B, A, B, A], None);
    let members = [(A, Active), (B, Active), (C, Joining)];
    let joining = view(1, &members, [B, A, B, A], Some([C, A, B, A]));
    Setup { lapses: 1, epochs: 4, ..Setup::new("single", vec![born, joining], scripts) }
}

/// A planned leave: A serves until C, which takes its place, has everything.
pub fn leave(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active), (C, Active)], [A, B, C, A], None);
    let leaving =
        view(2, &[(A, Leaving), (B, Active), (C, Active)], [A, B, C, A], Some([B, B, C, C]));
    Setup { crashes: 1, epochs: 4, ..Setup::new("leave", vec![born, leaving], scripts) }
}

/// The operator orders a change, forced or not.
fn change(change: Reconfiguration) -> AdminCommand {
    AdminCommand::Reconfigure { change, force: false }
}

fn id(slot: usize) -> NodeId {
    who(slot, incarnation(slot, 0)).id
}

/// The same from the operator's order on: A is to leave.
pub fn leaver(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![change(Reconfiguration::Leave(id(A)))];
    Setup { name: "leaver", orders, epochs: 3, ..heal(scripts) }
}

/// C is to weigh more, and takes the key over.
pub fn weight(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![change(Reconfiguration::Weight(id(C), 4))];
    Setup { name: "weight", orders, epochs: 3, ..heal(scripts) }
}

/// K grows from 2 to 3.
pub fn more_copies(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![change(Reconfiguration::Copies(3))];
    Setup { name: "k-up", orders, epochs: 4, ..heal(scripts) }
}

/// K shrinks from 3 to 2.
pub fn fewer_copies(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![change(Reconfiguration::Copies(2))];
    Setup { name: "k-down", orders, epochs: 4, ..three_copies(scripts) }
}

/// A leaves, and that is cancelled in the middle; then it leaves after all.
pub fn cancel(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![AdminCommand::Cancel];
    Setup { name: "cancel", orders, epochs: 4, ..leave(scripts) }
}

/// A leaves, it is cancelled, and A leaves again: C fetches the key twice.
pub fn cancel_and_again(scripts: [&'static str; 3]) -> Setup {
    let orders = vec![AdminCommand::Cancel, change(Reconfiguration::Leave(id(A)))];
    Setup { name: "again", orders, crashes: 0, epochs: 5, ..leave(scripts) }
}

/// One copy, which D fetches from A, which leaves and dies. B is the next on the ring, and has
/// never held it.
pub fn cancel_with_one_copy(scripts: [&'static str; 3]) -> Setup {
    let members = [(A, Active), (B, Active), (C, Active), (D, Active)];
    let born = view(1, &members, [A, B, C, D], None);
    let members = [(A, Leaving), (B, Active), (C, Active), (D, Active)];
    let leaving = view(1, &members, [A, B, C, D], Some([D, C, C, D]));
    let orders = vec![AdminCommand::Cancel];
    Setup { orders, crashes: 1, epochs: 5, ..Setup::new("cancel1", vec![born, leaving], scripts) }
}

/// Two joiners fetch the key at once.
pub fn two_joiners(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active)], [A, B, A, B], None);
    let members = [(A, Active), (B, Active), (C, Joining), (D, Joining)];
    let joining = view(2, &members, [A, B, A, B], Some([C, D, A, B]));
    Setup { epochs: 3, ..Setup::new("two2", vec![born, joining], scripts) }
}

/// Two joining nodes: D will be a replica of the key, C will not. F7 (a).
pub fn subset(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active)], [A, B, A, B], None);
    let members = [(A, Active), (B, Active), (C, Joining), (D, Joining)];
    let joining = view(2, &members, [A, B, A, B], Some([D, A, C, B]));
    Setup { crashes: 1, epochs: 3, ..Setup::new("subset", vec![born, joining], scripts) }
}

/// B has died, C has yet to fetch the key from A, and D joins at the head of the ring. F7 (b).
pub fn loose(scripts: [&'static str; 3]) -> Setup {
    let born = view(2, &[(A, Active), (B, Active), (C, Active)], [B, A, C, A], None);
    let healing = view(2, &[(A, Active), (C, Active)], [C, A, C, A], None);
    let members = [(A, Active), (C, Active), (D, Joining)];
    let joining = view(2, &members, [C, A, C, A], Some([D, C, A, C]));
    Setup {
        crashes: 1,
        epochs: 4,
        fetched: &[D],
        ..Setup::new("loose", vec![born, healing, joining], scripts)
    }
}
