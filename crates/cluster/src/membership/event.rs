//! Input and output of the membership: events and settings, answers and effects, and what survives
//! the manager.

use std::sync::Arc;

use crate::claim::Claim;
use crate::durability::Durability;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::lease::Terms;
use crate::limits::Limits;
use crate::membership::admin_command::AdminCommand;
use crate::membership::folders::Folders;
use crate::membership::loss::Loss;
use crate::membership::node::{Newcomer, Report};
use crate::membership::older::{Behind, Seen};
use crate::membership::outline::Outline;
use crate::time::Millis;
use crate::view::{Routes, View};

/// What can happen to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node asks to be a member, or registers again after a lost connection.
    Register {
        /// The node.
        who: Newcomer,
        /// Whether it has been a member of this cluster.
        returns: bool,
        /// What it held then, by its data folder.
        claim: Option<Claim>,
        /// The newest view that it has seen.
        seen: Option<Seen>,
        /// Whether the process that answered at its address is this very one; if not, what is
        /// wrong. A node that is a member already is not dialled.
        reached: Result<(), String>,
    },
    /// A node is alive.
    Heartbeat(Incarnation, Report),
    /// The connection that carries a node's heartbeats has ended.
    Disconnected(Incarnation),
    /// A node's process is certainly gone: its connection ended and its port refuses (L6).
    Gone(Incarnation),
    /// The operator continues without what the members that are out held alone (H4): this, and no
    /// more.
    AcceptLoss(Loss),
    /// The operator continues with a node's data folder that is held back since it is, or may be, a
    /// copy (L5).
    AdoptFolder {
        /// Which node's.
        id: NodeId,
        /// The start that waits with it.
        start: Incarnation,
    },
    /// The operator wants a change (H5). [`Effect::CommandOutcome`] follows, some time.
    Command(AdminCommand),
    /// Time has passed. Comes several times in a heartbeat interval.
    Tick,
}

impl Event {
    /// Whether it may be refused.
    pub(super) fn may_be_refused(&self) -> bool {
        matches!(
            self,
            Event::Register { .. }
                | Event::AcceptLoss(_)
                | Event::AdoptFolder { .. }
                | Event::Command(_)
        )
    }
}

/// The reply to the sender of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to report beyond "taken".
    Done,
    /// The node is known.
    Known {
        /// The newest view.
        newest: Arc<Routes>,
        /// The epoch of the active one.
        active: Epoch,
        /// How long a lease this heartbeat has granted its sender, if any (L1). Decided here and
        /// nowhere else: a node that is granted a lease must be one whose lease is waited for.
        lease: Option<Millis>,
    },
    /// The manager does not know this incarnation: register.
    Unknown,
    /// The node is held back and remembered: its data folder is, or may be, a copy (L5). It is to
    /// come again.
    Aside(String),
    /// The address that the node reported cannot be reached, so it cannot serve: it is held back
    /// and remembered, and is to register again.
    Unreached(String),
    /// Another live node has this name or this address. Final.
    Taken(String),
    /// Not now: try again.
    Wait(String),
    /// The operator was shown something other than what there is now, which this contains. Look
    /// again.
    Changed(String),
    /// The node has seen a view that the manager does not know (L7): it is to report that view, and
    /// to try again.
    Older(String),
}

impl Answer {
    /// Whether it reports that nothing was done. Then the event has left no trace
    /// ([`step`](super::Membership::step)).
    pub fn is_refusal(&self) -> bool {
        matches!(self, Answer::Taken(_) | Answer::Wait(_) | Answer::Changed(_))
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make [`state`](super::Membership::state), as it is now or later, durable. What follows must
    /// not be seen before.
    Save,
    /// Give this view to clients from now on.
    Publish(Arc<Routes>),
    /// Send the view to a node, with the epoch of the active one.
    Push(Incarnation, Arc<Routes>, Epoch),
    /// Ask a node for a heartbeat now, by this number. Waits for no save.
    Probe(Incarnation, u64),
    /// Write a line to the log, for the operator.
    Log(String),
    /// Report to the operator who accepted a loss that it is done: how many arcs had no live
    /// replica.
    LossAccepted(usize),
    /// Report to the operator who continues with another data folder that it is done.
    FolderAdopted,
    /// Answer the operator whose command was taken first: what begins, or why nothing does.
    CommandOutcome(Result<Outline, String>),
    /// Stop the manager: its folder is an older copy, and this lists what it lacks (L7). Waits for
    /// no save. Nothing more is done.
    Stop(Behind),
}

/// What the operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often a node of a new cluster sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Millis,
    /// How many heartbeats a node of a new cluster may miss before it is out.
    pub missed: u32,
    /// Arcs of a new cluster's ring.
    pub arcs: usize,
    /// Copies of each key (K) in a new cluster.
    pub copies: usize,
    /// Bounds on keys and values in a new cluster.
    pub limits: Limits,
    /// Synced copies that a write has to have at least, in a new cluster.
    pub min_copies: usize,
    /// The durability of a new cluster: what survives when all holders of a record end at once.
    pub durability: Durability,
    /// How long after a loss arcs stay where they fell, in milliseconds, before they are
    /// rebalanced.
    pub rebalance_ms: Millis,
    /// How long a silent sole holder is waited for at least before everything else continues
    /// without it (H4), in milliseconds: longer than a node that has lost its manager needs to find
    /// it.
    pub return_ms: Millis,
}

impl Settings {
    /// How old a member's last heartbeat may be where a planned change begins (L4), in
    /// milliseconds: a tenth of a second, in which a death is unlikely, and in any case far less
    /// than an interval.
    pub fn answer_ms(&self) -> Millis {
        (self.heartbeat_ms / 4).clamp(1, 100)
    }

    /// How long leases are.
    pub fn terms(&self) -> Terms {
        Terms { heartbeat_ms: self.heartbeat_ms, missed: self.missed }
    }

    /// How long a silent node counts as alive, in milliseconds.
    pub fn lease_ms(&self) -> Millis {
        self.terms().lease_ms()
    }
}

/// What survives the manager: the views, and those of its replies that bind the next manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The view that clients use.
    pub active: View,
    /// The one that has been made. It may be active already: that is saved afterwards.
    pub coming: Option<View>,
    /// How long leases are.
    pub terms: Terms,
    /// The longest lease that may be out, in milliseconds: what a manager that starts from here
    /// waits for (L2).
    pub longest_ms: Millis,
    /// What has to be remembered of data folders (L5).
    pub folders: Folders,
    /// Views before the active one, the oldest first, as far back as there may be a way (H6).
    pub unused: Vec<Unused>,
    /// Members that are known to have ended without having adopted the newest view.
    pub ended: Vec<Ended>,
}

/// A view before the active one, and where it was of no effect (H6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The view, without its line.
    pub view: View,
    /// The arcs in which nothing was acknowledged under it, in ascending order.
    pub arcs: Vec<u16>,
}

/// What is known of a member that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// The newest view that it had reported as adopted.
    pub adopted: Epoch,
}

impl Saved {
    /// The state of a cluster in which nothing has happened but that this view is active.
    pub fn new(active: View, terms: Terms) -> Saved {
        let (folders, unused, ended) = Default::default();
        let longest_ms = terms.lease_ms();
        Saved { active, coming: None, terms, longest_ms, folders, unused, ended }
    }
}
