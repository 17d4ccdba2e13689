//! The values that go into an operation and come out of it: requests, answers, needs, choices and
//! outcomes.

use crate::ids::Epoch;
use crate::replica::{State, WriteAnswer};
use crate::version::{Clock, Version};

/// The content of a record: a value, or `None` for a tombstone.
pub type Body<V> = Option<V>;

/// A request to a node.
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
        /// For a swap: the only version that it may replace.
        expected: Option<Version>,
    },
    /// READ.
    Read,
    /// A read under exactly this epoch, which members that are not synced answer too (C5).
    Fence,
}

/// A replica's answer to a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReadAnswer<V> {
    /// The record that it holds.
    Found(Found<V>),
    /// The answer of a node that is still fetching, to a fence: what it holds so far.
    Blind(Found<V>),
    /// It is a replica of the key, but is still fetching it.
    Syncing,
    /// It is no replica of the key in the newest view that it knows.
    WrongEpoch,
    /// It has no lease.
    NoLease,
    /// The cluster does not allow this key.
    BadKey,
    /// Its record did not fit into the answer to a batch: ask again at once.
    Later,
}

/// A replica's record of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found<V> {
    /// [`Version::ABSENT`] where there is no record.
    pub version: Version,
    /// The content; `None` too where there is no record.
    pub body: Body<V>,
    /// Whether all replicas are known to hold it.
    pub state: State,
    /// The epoch of the replica.
    pub epoch: Epoch,
    /// Its clock.
    pub clock: Clock,
}

impl<V> Found<V> {
    /// The request that writes it back to the others. It is born when the replica answered (N5),
    /// and always after its version was drawn, so that its sender is not taken for its writer
    /// ([`crate::watermarks`]).
    pub(crate) fn write_back(&self) -> Request<'_, V> {
        let born = self.clock.max(self.version.clock.saturating_add(1));
        Request::Write { version: self.version, body: &self.body, born, expected: None }
    }
}

/// The outcome of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// A put, delete or read-modify-write took effect.
    Written,
    /// The content that a get found, or that a read-modify-write left as it was, and the place of
    /// the replica that answered.
    Got(Body<V>, usize),
    /// It was refused and has certainly not taken effect.
    Refused(WriteAnswer),
    /// Fewer synced copies would hold it than a write must reach. Nothing was sent, and nothing has
    /// taken effect.
    FewCopies,
    /// It may or may not have taken effect, or may still do so.
    Unknown,
}

/// An operation's need after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing more: there is an outcome.
    Nothing,
    /// Another attempt at once.
    Attempt,
    /// A newer view, then another attempt.
    View,
    /// Another attempt after a pause: another client was quicker to change the key, and may be
    /// again.
    Turn,
    /// A version above this one ([`Operation::freshen`](super::Operation::freshen)), then another
    /// attempt.
    Version(Version),
    /// The caller's choice of what follows the value that was found
    /// ([`Operation::choose`](super::Operation::choose)), then perhaps another attempt.
    Choice,
}

/// The caller's choice after a read-modify-write has read the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<V> {
    /// A value, or `None` for a delete.
    Replace(Body<V>),
    /// No change.
    Leave,
}
