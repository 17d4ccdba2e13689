//! What a caller asks for, and what came of it.

use cluster::ids::NodeId;

use crate::error::ClientError;

/// What to do.
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
        /// Until when it lives, in milliseconds since 1970.
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
        /// What it is to become.
        decide: Decide<'a>,
    },
}

/// What [`GTStoreClient::run_within`](crate::GTStoreClient::run_within) has made of a part.
#[must_use = "it may be left to do"]
pub enum ItemOutcome<'a> {
    /// It is over.
    Over(Result<Done, ClientError>),
    /// Enough was read without it: nothing of it is done.
    Left(BatchItem<'a>),
}

impl ItemOutcome<'_> {
    /// Its result, if it is over.
    pub fn over(self) -> Option<Result<Done, ClientError>> {
        match self {
            ItemOutcome::Over(done) => Some(done),
            ItemOutcome::Left(_) => None,
        }
    }
}

/// What a read-modify-write makes of the value that it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateAction {
    /// The key gets this value.
    Put(Vec<u8>),
    /// The key gets this value until a time, in milliseconds since 1970.
    PutUntil(Vec<u8>, u64),
    /// The key is removed.
    Delete,
    /// All stays as it is.
    Leave,
}

/// Decides on a change. It may be asked several times for one operation, each time with what is
/// there by then; only its last answer takes effect.
pub type Decide<'a> = Box<dyn FnMut(Option<CurrentValue<'_>>) -> UpdateAction + 'a>;

/// What a read-modify-write finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentValue<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Until when it lives, in milliseconds since 1970; `None`: for ever.
    pub expiry: Option<u64>,
}

/// Where a write was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The key's primary.
    pub primary: NodeId,
    /// How many nodes hold it.
    pub copies: usize,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The value.
    pub value: Vec<u8>,
    /// Until when it lives, in milliseconds since 1970; `None`: for ever.
    pub expiry: Option<u64>,
    /// The node that answered: the key's primary, unless that is down.
    pub primary: NodeId,
}

/// What came of an operation. Of a [`put_if`](crate::GTStoreClient::put_if) it says whether the
/// value is yours or somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it says whether the key was changed, or holds what somebody else has put there"]
pub enum Done {
    /// Of a put or a delete, or of a read-modify-write that changed something.
    Placed(Placed),
    /// Of a get, or of a read-modify-write that changed nothing: the value, or that there is none.
    Got(Option<Got>),
}
