//! What the manager knows of one start of a node's process.

use crate::arcs::ArcSet;
use crate::claim::Claim;
use crate::ids::{Address, Epoch, Incarnation, NodeId};
use crate::limits::Limits;
use crate::membership::condition::DiskHealth;
use crate::membership::lifecycle::{Evidence, Lifecycle, NodeEvent, Process};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::{Member, MemberState};

/// A node that wants in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Newcomer {
    /// Its name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub address: Address,
    /// The port that cluster-aware Redis clients are sent to; 0: it has none.
    pub redis_port: u16,
    /// Its share of the ring in proportion to the others'; 0 where its start did not say: what it
    /// had, or 1.
    pub weight: u32,
    /// Whether it keeps its records on disk too.
    pub on_disk: bool,
}

impl Newcomer {
    /// The member that it becomes.
    pub(super) fn member(&self, state: MemberState) -> Member {
        Member {
            id: self.id.clone(),
            incarnation: self.incarnation,
            address: self.address.clone(),
            redis_port: self.redis_port,
            weight: self.weight,
            state,
            on_disk: self.on_disk,
        }
    }
}

/// Their names, for people.
pub(super) fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    members.map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// What a node reports in every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Report {
    /// The newest view that it has adopted.
    pub epoch: Epoch,
    /// The arcs that it is synced in under that view.
    pub synced: ArcSet,
    /// The arcs in which it has what its disk had and has yet to gather what others have (H6).
    pub revived: ArcSet,
    /// Keys in its memory.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
    /// Bytes a second that it fetches from others at present.
    pub fetching: u64,
    /// How its disk is.
    pub disk: DiskHealth,
    /// Whether it holds as much as it may, and refuses what would add to that.
    pub is_full: bool,
    /// Lengths of the longest key and the longest value that it holds, if it has measured them
    /// under that view.
    pub longest: Option<Limits>,
    /// The number of the last probe that it has got on this connection; 0 if none.
    pub probe: u64,
}

/// What the manager knows of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its identity and address.
    pub who: Newcomer,
    /// When it was last heard from.
    pub heard: Millis,
    /// When its lease is over: one lease after the last heartbeat that extended it (L1), or when a
    /// longer one granted before ends. Of a node that is no member yet, one lease after it was last
    /// heard from.
    pub until: Millis,
    /// Whether it is connected, has ended, or has left.
    pub(super) lifecycle: Lifecycle,
    /// The manager's step at which its end was known, or at which it sent its last heartbeat.
    pub(super) step: u64,
    /// Its last report.
    pub report: Report,
    /// The newest view that it has reported as adopted; `None`: it has reported nothing since the
    /// manager started.
    pub(super) adopted: Option<Epoch>,
    /// Whether it is known what it holds.
    pub evidence: Evidence,
    /// Whether it was a member before it registered: it may hold what nobody else does.
    pub returns: bool,
    /// What it claims to have held before its last restart (H6).
    pub claim: Option<Claim>,
    /// When it registered first.
    pub since: Millis,
    /// The manager's step at which it did; 0 if that was before the manager started.
    pub(super) met: u64,
}

impl Node {
    pub(super) fn new(who: Newcomer, now: Millis, lease_ms: Millis) -> Node {
        Node {
            who,
            heard: now,
            until: now + lease_ms,
            lifecycle: Lifecycle::Stays(Process::Connected),
            step: 0,
            report: Report::default(),
            adopted: None,
            evidence: Evidence::Registered,
            returns: false,
            claim: None,
            since: now,
            met: 0,
        }
    }

    /// Something has happened to it at a step of the manager.
    pub(super) fn on(&mut self, event: NodeEvent, step: u64) {
        let was_gone = self.is_gone();
        self.lifecycle = self.lifecycle.after(event);
        self.evidence = self.evidence.after(event, was_gone);
        if event == NodeEvent::Heartbeat && !was_gone {
            self.step = step;
        }
        // A loss is accepted of nodes that fell silent: whether others outlived them is unknown.
        let ends = self.is_gone() && event != NodeEvent::LossAccepted;
        if ends && (!was_gone || event == NodeEvent::ProcessEnds) {
            self.step = step;
        }
    }

    /// Whether the connection that carries its heartbeats is open.
    pub fn is_connected(&self) -> bool {
        self.lifecycle.is_connected()
    }

    /// Whether its process has ended, or counts as ended.
    pub fn is_gone(&self) -> bool {
        self.lifecycle.is_gone()
    }

    /// Whether it has left as an operator asked (H5).
    pub fn has_left(&self) -> bool {
        self.lifecycle.has_left()
    }

    /// Whether the newest view that it has reported as adopted, since the manager started, is this
    /// one.
    pub fn has_last_adopted(&self, view: Epoch) -> bool {
        self.adopted == Some(view)
    }

    /// Whether it was a member when the manager started and has not reported its holdings since.
    pub fn is_unreported(&self) -> bool {
        self.evidence == Evidence::Unknown
    }

    /// Whether a heartbeat or its folder has shown what it holds.
    pub(super) fn has_reported(&self) -> bool {
        self.evidence == Evidence::Reported
    }

    /// It has a lease from now on. One that was granted before may be longer.
    pub(super) fn extend(&mut self, now: Millis, lease_ms: Millis) {
        self.until = self.until.max(now + lease_ms);
    }

    pub(super) fn is_out(&self, now: Millis) -> bool {
        let early = || self.heard + self.until.saturating_sub(self.heard) / 4;
        let until = if is_on(Mutation::RemovedEarly) { early() } else { self.until };
        self.is_gone() || now >= until
    }
}
