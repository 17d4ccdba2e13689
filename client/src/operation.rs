//! The operations of a caller, and their results.

use cluster::ids::NodeId;

use crate::error::ClientError;

/// The operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Give a key a value.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Give a key a value until a time.
    PutUntil {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// Its expiry time, in milliseconds since 1970.
        until: u64,
    },
    /// Fetch a key's value.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> Op<'a> {
    /// The key it is about.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Op::Put { key, .. }
            | Op::PutUntil { key, .. }
            | Op::Get { key }
            | Op::Delete { key } => key,
        }
    }
}

/// A part of a batch that may also have read-modify-writes ([`GTStoreClient::run_mixed`]).
///
/// [`GTStoreClient::run_mixed`]: crate::GTStoreClient::run_mixed
pub enum BatchItem<'a> {
    /// A plain operation.
    Op(Op<'a>),
    /// A read-modify-write, as in [`GTStoreClient::update`](crate::GTStoreClient::update).
    Update {
        /// The key.
        key: &'a [u8],
        /// The decision on its new value.
        decide: Decide<'a>,
    },
}

/// The outcome of an item of [`GTStoreClient::run_within`](crate::GTStoreClient::run_within).
#[must_use = "it may be left to do"]
pub enum ItemOutcome<'a> {
    /// It has a result.
    Over(Result<Done, ClientError>),
    /// Enough was read without it: it was not started.
    Left(BatchItem<'a>),
}

impl ItemOutcome<'_> {
    /// Its result, if it has one.
    pub fn over(self) -> Option<Result<Done, ClientError>> {
        match self {
            ItemOutcome::Over(done) => Some(done),
            ItemOutcome::Left(_) => None,
        }
    }
}

/// The action of a read-modify-write on the value that it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateAction {
    /// The key gets this value.
    Put(Vec<u8>),
    /// The key gets this value until a time, in milliseconds since 1970.
    PutUntil(Vec<u8>, u64),
    /// The key is removed.
    Delete,
    /// The key stays unchanged.
    Leave,
}

/// Decides on an update. It may be called several times for one operation, each time with the
/// present value; only its last result takes effect.
pub type Decide<'a> = Box<dyn FnMut(Option<CurrentValue<'_>>) -> UpdateAction + 'a>;

/// The value that a read-modify-write finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentValue<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Its expiry time, in milliseconds since 1970; `None`: it never expires.
    pub expiry: Option<u64>,
}

/// The acknowledgement of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The key's primary.
    pub primary: NodeId,
    /// The number of nodes that hold it.
    pub copies: usize,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The value.
    pub value: Vec<u8>,
    /// Its expiry time, in milliseconds since 1970; `None`: it never expires.
    pub expiry: Option<u64>,
    /// The node that answered: the key's primary, unless that is down.
    pub primary: NodeId,
}

/// The result of an operation. That of a [`put_if`](crate::GTStoreClient::put_if) shows whether the
/// put took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it shows whether the key was changed"]
pub enum Done {
    /// Of a put or a delete, or of a read-modify-write that changed something.
    Placed(Placed),
    /// Of a get, or of a read-modify-write that changed nothing: the value, or that there is none.
    Got(Option<Got>),
}
