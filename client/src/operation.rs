//! What a caller asks for, and what came of it.

use std::borrow::Cow;

use cluster::ids::NodeId;
use cluster::operation::Operation;
use cluster::version::Version;

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
pub enum Part<'a> {
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
pub enum Ran<'a> {
    /// It is over.
    Over(Result<Done, ClientError>),
    /// Enough was read without it: nothing of it is done.
    Left(Part<'a>),
}

impl Ran<'_> {
    /// Its result, if it is over.
    pub fn over(self) -> Option<Result<Done, ClientError>> {
        match self {
            Ran::Over(done) => Some(done),
            Ran::Left(_) => None,
        }
    }
}

/// What a read-modify-write makes of the value that it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key gets this value.
    Put(Vec<u8>),
    /// The key gets this value until a time, in milliseconds since 1970.
    PutUntil(Vec<u8>, u64),
    /// The key is removed.
    Delete,
    /// All stays as it is.
    Leave,
}

/// Decides on a change. It may be asked several times for one operation, each time with what is there by
/// then; only its last answer takes effect.
pub type Decide<'a> = Box<dyn FnMut(Option<Held<'_>>) -> Change + 'a>;

/// What a read-modify-write finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Until when it lives, in milliseconds since 1970; `None`: for ever.
    pub expiry: Option<u64>,
}

/// A value on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Valued<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) expiry: Option<u64>,
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

/// What came of an operation. Of a [`put_if`](crate::GTStoreClient::put_if) it says whether the value is yours or
/// somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it says whether the key was changed, or holds what somebody else has put there"]
pub enum Done {
    /// Of a put or a delete, or of a read-modify-write that changed something.
    Placed(Placed),
    /// Of a get, or of a read-modify-write that changed nothing: the value, or that there is none.
    Got(Option<Got>),
}

/// One operation of a batch, on its way.
pub(crate) struct Task<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) operation: Operation<Valued<'a>>,
    /// For a read-modify-write.
    pub(crate) decide: Option<Decide<'a>>,
    pub(crate) result: Option<Result<Done, ClientError>>,
    /// The version that every replica holds, or a newer one, now that there is a result.
    pub(crate) committed: Option<Version>,
    /// It will have no result: enough was read without it.
    pub(crate) is_left: bool,
    /// How often somebody else was quicker to change the key.
    pub(crate) losses: u32,
    /// Whether that is what stood in the way last.
    pub(crate) is_contended: bool,
}

impl<'a> Task<'a> {
    /// An operation that is about to begin.
    pub(crate) fn new(key: &'a [u8], operation: Operation<Valued<'a>>) -> Task<'a> {
        Task {
            key,
            operation,
            decide: None,
            result: None,
            committed: None,
            is_left: false,
            losses: 0,
            is_contended: false,
        }
    }

    /// What has become of it, now that it is over. Only what has yet to read is ever left.
    pub(crate) fn into_ran(self) -> Ran<'a> {
        let Task { key, decide, result, .. } = self;
        match (result, decide) {
            (Some(done), _) => Ran::Over(done),
            (None, Some(decide)) => Ran::Left(Part::Update { key, decide }),
            (None, None) => Ran::Left(Part::Op(Op::Get { key })),
        }
    }

    /// Whether there is nothing more to do about it.
    pub(crate) fn is_over(&self) -> bool {
        self.result.is_some() || self.is_left
    }

    /// Ends it with an error that says that it was not done, unless some member may have stored a version of it: then
    /// nobody knows (C1). No other way leads to such an error.
    pub(crate) fn fail(&mut self, error: ClientError) {
        self.result = Some(Err(match (self.operation.may_exist(), error) {
            (false, error) => error,
            (
                true,
                ClientError::NotEnoughReplicas { why, .. } | ClientError::Contended { why, .. },
            ) => ClientError::Unknown { why },
            (true, error) => ClientError::Unknown { why: error.to_string() },
        }));
    }
}
