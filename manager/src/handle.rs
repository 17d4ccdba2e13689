//! The interface between connections and the monitor thread.

use std::sync::Arc;

use cluster::ids::{Epoch, Incarnation, NodeId};
use cluster::lease::Terms;
use cluster::membership::{AdminCommand, Outline, Reconfiguration};
use cluster::membership::{Answer, Event, Loss};
use cluster::view::Routes;
use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::error::Refused;
use net_common::message::control::{Status, TablePush};

use crate::control_connections::Outbound;
use crate::published::Published;
use crate::reply_queue::ReplySender;

/// The most events in the queue of the monitor thread. Each comes from a connection that waits for
/// its answer, so the bound is seldom reached; it limits a storm of registrations.
pub(crate) const QUEUE: usize = 1024;

/// The most frames in the queue for one node. Views supersede each other and heartbeats repeat
/// them, so a frame that does not fit is dropped.
const OUTBOUND: usize = 64;

/// A request to the monitor thread.
pub(crate) enum Request {
    /// Something has happened.
    Event(Event, Sender<Answer>),
    /// A control connection, by number, carries frames to this node from now on.
    Attach(Incarnation, u64, Outbound),
    /// It does so no longer.
    Detach(Incarnation, u64),
    /// How is the cluster?
    Status(Sender<Status>),
    /// What would this reconfiguration move?
    Plan(Reconfiguration, bool, Sender<Result<Outline, String>>),
    /// Answered when the change has begun, or with the reason it cannot.
    Order(AdminCommand, ReplySender<Outline>),
    /// Answered with how many arcs were lost, or why it is not done.
    AcceptLoss(Loss, ReplySender<usize>),
    /// Answered when the folder that this start waits with is the node's, or with why it is not.
    AdoptFolder(NodeId, Incarnation, ReplySender<()>),
}

/// A handle on the monitor thread. Clones share it.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<Request>,
    published: Published,
    trusts_refused: bool,
}

impl Handle {
    pub(crate) fn new(
        requests: Sender<Request>,
        published: Published,
        trusts_refused: bool,
    ) -> Handle {
        Handle { requests, published, trusts_refused }
    }

    /// Brings a request and waits for the answer. `None` if the manager is stopping.
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = bounded(1);
        self.requests.send(request(answer)).ok()?;
        answered.recv().ok()
    }

    /// Brings an event and waits for the answer. `None` if the manager is stopping.
    pub fn event(&self, event: Event) -> Option<Answer> {
        self.ask(|answer| Request::Event(event, answer))
    }

    /// Registers the control connection of this number as the one to a node. The caller sends the
    /// frames from the returned channel.
    pub fn attach(&self, node: Incarnation, number: u64) -> (Outbound, Receiver<Arc<Vec<u8>>>) {
        let (outbound, frames) = bounded(OUTBOUND);
        // If the manager is stopping nothing will be sent, and nothing needs to.
        let _ = self.requests.send(Request::Attach(node, number, outbound.clone()));
        (outbound, frames)
    }

    /// Reports that a control connection is closed.
    pub fn detach(&self, node: Incarnation, number: u64) {
        let _ = self.requests.send(Request::Detach(node, number));
    }

    /// How the cluster is. `None` if the manager is stopping.
    pub fn status(&self) -> Option<Status> {
        self.ask(Request::Status)
    }

    /// Accepts a loss, provided that it is still this one. Returns the number of arcs concerned, or
    /// the reason of a refusal; `None` if the manager is stopping.
    pub fn accept_loss(&self, shown: Loss) -> Option<Result<usize, Refused>> {
        self.ask(|answer| Request::AcceptLoss(shown, answer))
    }

    /// Accepts a node's data folder that is held back, as this start presents it. `None` if the
    /// manager is stopping.
    pub fn adopt_folder(&self, id: NodeId, start: Incarnation) -> Option<Result<(), Refused>> {
        self.ask(|answer| Request::AdoptFolder(id, start, answer))
    }

    /// What a reconfiguration would move, or the reason it is not possible. `None` if the manager
    /// is stopping.
    pub fn plan(&self, change: Reconfiguration, force: bool) -> Option<Result<Outline, String>> {
        self.ask(|answer| Request::Plan(change, force, answer))
    }

    /// Begins a planned change or cancels one. Returns what it moves once that is saved; `None` if
    /// the manager is stopping.
    pub fn order(&self, order: AdminCommand) -> Option<Result<Outline, Refused>> {
        self.ask(|answer| Request::Order(order, answer))
    }

    /// The active view.
    pub fn published(&self) -> Arc<Routes> {
        self.published.active()
    }

    /// The message that carries a view.
    pub fn table(&self, routes: &Routes, active: Epoch) -> TablePush {
        self.published.table(routes, active)
    }

    /// Whether a refused connection proves that a node has terminated.
    pub fn trusts_refused(&self) -> bool {
        self.trusts_refused
    }

    /// The terms of leases that nodes get.
    pub fn terms(&self) -> Terms {
        self.published.terms()
    }
}
