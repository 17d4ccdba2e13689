//! What an operation and those around it tell each other: what to send, what was answered, what is needed next, and what
//! came of it.

use crate::ids::Epoch;
use crate::replica::{State, WriteAnswer};
use crate::version::{Clock, Version};

/// What a key holds: a value, or `None` for a tombstone.
pub type Body<V> = Option<V>;

/// What to send to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'o, V> {
    /// WRITE.
    Write {
        /// The version.
        version: Version,
        /// What the key holds.
        body: &'o Body<V>,
        /// When the write was born (N5).
        born: Clock,
        /// For a swap (CAS): the version that it is to take the place of, and of no other.
        expected: Option<Version>,
    },
    /// READ.
    Read,
    /// A read under this very epoch, which members that are not synced answer as well (C5).
    Fence,
}

/// A replica's answer to a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReadAnswer<V> {
    /// What it holds.
    Found(Found<V>),
    /// To a fence: what it holds so far. It is still fetching.
    Blind(Found<V>),
    /// It keeps the key but is still fetching it.
    Syncing,
    /// It does not keep the key in the newest view it knows.
    WrongEpoch,
    /// It holds no lease.
    NoLease,
    /// The key is not one that the cluster takes.
    BadKey,
    /// What it holds did not fit the same answer as what it holds of others: it is to be asked again, at once.
    Later,
}

/// What a replica holds of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found<V> {
    /// [`Version::ABSENT`] where there is no record.
    pub version: Version,
    /// What the record holds; `None` as well where there is none.
    pub body: Body<V>,
    /// Whether all replicas are known to hold it.
    pub state: State,
    /// The epoch of the replica.
    pub epoch: Epoch,
    /// Its clock.
    pub clock: Clock,
}

impl<V> Found<V> {
    /// What passes it on to the others. It is born when the replica told of it (N5), and in any case after its version
    /// was drawn, so that nobody takes who passes it on for its writer ([`crate::watermarks`]).
    pub(crate) fn write_back(&self) -> Request<'_, V> {
        let born = self.clock.max(self.version.clock.saturating_add(1));
        Request::Write { version: self.version, body: &self.body, born, expected: None }
    }
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// A put, delete or read-modify-write took effect.
    Written,
    /// What a get found, or a read-modify-write left as it was, and which place of the key's replicas
    /// answered.
    Got(Body<V>, usize),
    /// It was refused, and certainly not done.
    Refused(WriteAnswer),
    /// Fewer synced copies would hold it than a write has to have: nothing was sent, and nothing is done.
    FewCopies,
    /// It may or may not have taken effect, or yet take it.
    Unknown,
}

/// What an operation needs after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing more: there is an outcome.
    Nothing,
    /// Another attempt at once.
    Attempt,
    /// A newer view, then another attempt.
    View,
    /// Another attempt, but not at once: somebody else was quicker to change the key, and may be again.
    Turn,
    /// A version above this one ([`Operation::freshen`](super::Operation::freshen)), then another attempt.
    Version(Version),
    /// The caller's decision on what was found ([`Operation::choose`](super::Operation::choose)), then perhaps another attempt.
    Choice,
}

/// What the caller wants to follow what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<V> {
    /// A value, or `None` for a delete.
    Replace(Body<V>),
    /// Nothing: what was found stays.
    Leave,
}
