//! How connections speak to the thread that owns the membership.

use std::sync::Arc;

use cluster::ids::{Epoch, Incarnation, NodeId};
use cluster::lease::Terms;
use cluster::membership::wish::{Order, Outline, Wish};
use cluster::membership::{Answer, Event, Loss};
use cluster::tenure::ArcSet;
use cluster::version::clock_at;
use cluster::view::Routes;
use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::clock;
use net_common::error::Refused;
use net_common::message::control::{Status, TablePush};
use parking_lot::RwLock;

/// Events that may wait for the owner. Each comes from a connection that waits for its answer, so the
/// bound is seldom felt; it keeps a storm of registrations from piling up.
pub(crate) const QUEUE: usize = 1024;

/// Frames that may wait for one node. Views supersede each other and heartbeats repeat them, so what
/// does not fit is dropped.
const OUTBOUND: usize = 64;

/// A frame on its way to a node.
pub type Outbound = Sender<Arc<Vec<u8>>>;

/// What the owner is asked for.
pub(crate) enum Request {
    Event(Event, Sender<Answer>),
    /// A control connection, by number, carries frames to this node from now on.
    Attach(Incarnation, u64, Outbound),
    /// It does so no longer.
    Detach(Incarnation, u64),
    Status(Sender<Status>),
    /// What would this wish move?
    Plan(Wish, bool, Sender<Result<Outline, String>>),
    /// Answered when what was ordered has begun, or with why it does not.
    Order(Order, Sender<Result<Outline, Refused>>),
    /// Answered with how many arcs were lost, or why it is not done.
    AcceptLoss(Loss, Sender<Result<usize, Refused>>),
    /// Answered when the folder that this start waits with is the node's, or with why it is not.
    AdoptFolder(NodeId, Incarnation, Sender<Result<(), Refused>>),
    Stop,
}

/// How connections speak to the owner.
#[derive(Clone)]
pub struct Handle {
    pub(crate) requests: Sender<Request>,
    pub(crate) published: Arc<RwLock<Published>>,
    pub(crate) trusts_refused: bool,
}

/// What clients may know.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) active: Arc<Routes>,
    /// The arcs that nobody alive holds.
    pub(crate) lost: Arc<ArcSet>,
    /// What leases are.
    pub(crate) terms: Terms,
}

impl Handle {
    /// Brings an event and waits for the answer. `None` if the manager is stopping.
    pub fn event(&self, event: Event) -> Option<Answer> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Event(event, answer)).ok()?;
        answered.recv().ok()
    }

    /// Lets the control connection of this number carry frames to a node. What comes out of the
    /// returned channel is to be sent.
    pub fn attach(&self, node: Incarnation, number: u64) -> (Outbound, Receiver<Arc<Vec<u8>>>) {
        let (outbound, frames) = bounded(OUTBOUND);
        // If the manager is stopping nothing will be sent, and nothing needs to.
        let _ = self.requests.send(Request::Attach(node, number, outbound.clone()));
        (outbound, frames)
    }

    /// Says that a control connection has ended.
    pub fn detach(&self, node: Incarnation, number: u64) {
        let _ = self.requests.send(Request::Detach(node, number));
    }

    /// How the cluster is. `None` if the manager is stopping.
    pub fn status(&self) -> Option<Status> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Status(answer)).ok()?;
        answered.recv().ok()
    }

    /// Goes on without what only nodes that are out have held, if it is this. Says how many arcs that concerns, or why
    /// it is not done. `None` if the manager is stopping.
    pub fn accept_loss(&self, shown: Loss) -> Option<Result<usize, Refused>> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::AcceptLoss(shown, answer)).ok()?;
        answered.recv().ok()
    }

    /// Goes on with a node's data folder that is held back, with which this start waits. `None` if the manager is
    /// stopping.
    pub fn adopt_folder(&self, id: NodeId, start: Incarnation) -> Option<Result<(), Refused>> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::AdoptFolder(id, start, answer)).ok()?;
        answered.recv().ok()
    }

    /// What a wish would move, or what speaks against it. `None` if the manager is stopping.
    pub fn plan(&self, wish: Wish, force: bool) -> Option<Result<Outline, String>> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Plan(wish, force, answer)).ok()?;
        answered.recv().ok()
    }

    /// Begins a planned change or cancels one. Says what it moves when that is saved. `None` if the manager
    /// is stopping.
    pub fn order(&self, order: Order) -> Option<Result<Outline, Refused>> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Order(order, answer)).ok()?;
        answered.recv().ok()
    }

    /// The active view.
    pub fn published(&self) -> Arc<Routes> {
        self.published.read().active.clone()
    }

    /// The message that carries a view.
    pub fn table(&self, routes: &Routes, active: Epoch) -> TablePush {
        table(&self.published.read(), routes, active)
    }

    /// Whether a port that refuses says that its node has ended.
    pub fn trusts_refused(&self) -> bool {
        self.trusts_refused
    }

    /// What nodes are told of leases.
    pub fn terms(&self) -> Terms {
        self.published.read().terms
    }
}

/// The message that carries a view.
pub(crate) fn table(published: &Published, routes: &Routes, active: Epoch) -> TablePush {
    TablePush {
        active,
        clock: clock_at(clock::wall_ms()),
        heartbeat_ms: published.terms.heartbeat_ms as u32,
        lease_ms: published.terms.lease_ms() as u32,
        lost: ArcSet::clone(&published.lost),
        view: routes.view().clone(),
    }
}
