//! The control connections: where frames for a node go.

use std::sync::Arc;

use cluster::ids::Incarnation;
use crossbeam_channel::Sender;
use fxhash::FxHashMap;
use net_common::message::Message;

/// Frames on their way to a node.
pub type Outbound = Sender<Arc<Vec<u8>>>;

/// The control connection of each node.
#[derive(Default)]
pub(crate) struct ControlConnections(FxHashMap<Incarnation, Link>);

struct Link {
    /// Its number among all connections: a node's newer connection replaces an older one.
    number: u64,
    outbound: Outbound,
}

impl ControlConnections {
    /// Registers a control connection, by number, as the one to this node.
    pub(crate) fn attach(&mut self, node: Incarnation, number: u64, outbound: Outbound) {
        // A manager that was stopped may read the registration of an older connection last. If that
        // replaced the newer one, the node would get no views and no probes once the older one is
        // seen to be closed.
        if self.0.get(&node).is_none_or(|link| link.number < number) {
            self.0.insert(node, Link { number, outbound });
        }
    }

    /// Removes a control connection. Returns whether the node has none left: a newer one may have
    /// replaced it.
    pub(crate) fn detach(&mut self, node: Incarnation, number: u64) -> bool {
        let is_this = self.0.get(&node).is_some_and(|link| link.number == number);
        is_this && self.0.remove(&node).is_some()
    }

    /// Sends a message to a node, unless it has no connection. Returns whether it fits: a node
    /// whose channel is full does not read.
    pub(crate) fn send<'m>(&self, node: Incarnation, message: &impl Message<'m>) -> bool {
        let Some(link) = self.0.get(&node) else { return true };
        let mut frame = Vec::new();
        message.write(&mut frame);
        link.outbound.try_send(Arc::new(frame)).is_ok()
    }
}
