//! What the manager knows of one start of a node's process.

use crate::arcs::ArcSet;
use crate::claim::Claim;
use crate::ids::{Address, Epoch, Incarnation, NodeId};
use crate::limits::Limits;
use crate::membership::condition::DiskHealth;
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
    /// Its share of the ring in proportion to the others'; 0 where its start did not say: what it had, or 1.
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

/// What a node says of itself every heartbeat.
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
    /// Lengths of the longest key and the longest value that it holds, if it has measured them under that view.
    pub longest: Option<Limits>,
    /// The number of the last probe that it has got on this connection; 0 if none.
    pub probe: u64,
}

/// Whether one incarnation has said, since the manager started, what it holds.
///
/// | from | what happens | to |
/// |---|---|---|
/// | | the manager starts, and it is a member of a view that was saved | `Unheard` |
/// | | it registers, and was not known | `Registered` |
/// | `Unheard`, `Registered` | it registers again | as it was |
/// | `Unheard`, `Registered` | a heartbeat | `Told` |
/// | `Unheard`, `Registered` | it has ended, and who has its folder says what that has | `Told` |
/// | `Told` | anything | `Told` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// It was a member before the manager started. It may hold whatever a member may.
    Unheard,
    /// It has registered, and that is all: a registration may arrive long after its process has ended. It holds nothing.
    Registered,
    /// Its report, or its folder, says what it holds. Where that was a heartbeat it was alive after the manager had
    /// taken its registration.
    Told,
}

/// What the manager knows of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Who it is and where.
    pub who: Newcomer,
    /// When it was last heard of.
    pub heard: Millis,
    /// When its lease is over: one lease after it was last heard of with a heartbeat that extends it (L1),
    /// or when a longer one told before ends. Of a node that is no member yet, one lease after it was last
    /// heard of at all.
    pub until: Millis,
    /// Whether the connection that carries its heartbeats is open.
    pub connected: bool,
    /// Whether its process is known to have ended.
    pub gone: bool,
    /// The manager's step at which that was known, or at which it was last heard of.
    pub(super) step: u64,
    /// What it said last.
    pub report: Report,
    /// The newest view that it has told to have adopted; `None`: it has told nothing since the manager started.
    pub(super) adopted: Option<Epoch>,
    /// Whether it is known what it holds, and that it was alive when it said so.
    pub word: Word,
    /// Whether it was a member before it registered: it may hold what nobody else does.
    pub returns: bool,
    /// What it claims to have held in its last life (H6).
    pub claim: Option<Claim>,
    /// When it registered first.
    pub since: Millis,
    /// The manager's step at which it did; 0 if that was before the manager started.
    pub(super) met: u64,
    /// Whether it has left as it was asked to (H5): it is not taken in again.
    pub has_left: bool,
}

impl Node {
    pub(super) fn new(who: Newcomer, now: Millis, lease_ms: Millis) -> Node {
        Node {
            who,
            heard: now,
            until: now + lease_ms,
            connected: true,
            gone: false,
            step: 0,
            report: Report::default(),
            adopted: None,
            word: Word::Registered,
            returns: false,
            claim: None,
            since: now,
            met: 0,
            has_left: false,
        }
    }

    /// Whether it has told, since the manager started, that it has adopted this view and none after it.
    pub fn has_told(&self, view: Epoch) -> bool {
        self.adopted == Some(view)
    }

    /// Whether it was a member when the manager started and has not said since what it holds.
    pub fn is_unheard(&self) -> bool {
        self.word == Word::Unheard
    }

    /// Whether it has sent a heartbeat, or its folder was told of.
    pub(super) fn has_told_what_it_holds(&self) -> bool {
        self.word == Word::Told
    }

    /// It has a lease from now on. One that was told before may be longer.
    pub(super) fn extend(&mut self, now: Millis, lease_ms: Millis) {
        self.until = self.until.max(now + lease_ms);
    }

    pub(super) fn is_out(&self, now: Millis) -> bool {
        let early = || self.heard + self.until.saturating_sub(self.heard) / 4;
        let until = if is_on(Mutation::RemovedEarly) { early() } else { self.until };
        self.gone || now >= until
    }
}
