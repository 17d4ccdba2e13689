//! One operation of a batch, on its way.

use std::borrow::Cow;

use cluster::limits::{KEY_CEILING, Limits};
use cluster::operation::Operation;
use cluster::version::Version;

use crate::error::ClientError;
use crate::operation::{BatchItem, Decide, Done, ItemOutcome, Op};
use crate::writers::Writer;

/// A value on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Valued<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) expiry: Option<u64>,
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
    /// How often another write of the key came first.
    pub(crate) losses: u32,
    /// Whether that was the last obstacle.
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

    /// Its outcome at the end of the call. Only operations that have not been read are left undone.
    pub(crate) fn into_ran(self) -> ItemOutcome<'a> {
        let Task { key, decide, result, .. } = self;
        match (result, decide) {
            (Some(done), _) => ItemOutcome::Over(done),
            (None, Some(decide)) => ItemOutcome::Left(BatchItem::Update { key, decide }),
            (None, None) => ItemOutcome::Left(BatchItem::Op(Op::Get { key })),
        }
    }

    /// Whether there is nothing more to do about it.
    pub(crate) fn is_over(&self) -> bool {
        self.result.is_some() || self.is_left
    }

    /// Fails it with an error that means *not done*, unless some member may have stored a version
    /// of it: then the outcome is unknown (C1). This is the only source of such errors.
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

/// A read-modify-write, or an error if it breaks the limits.
pub(crate) fn update<'a>(key: &'a [u8], decide: Decide<'a>, limits: &Limits) -> Task<'a> {
    let operation = Operation::read_modify_write();
    let result = limits.check_key(key).err().map(|e| Err(ClientError::BadKey(e)));
    Task { decide: Some(decide), result, ..Task::new(key, operation) }
}

/// An operation of a batch, with a version of its own if it writes, or with an error if it breaks
/// the limits.
pub(crate) fn start<'a>(op: &Op<'a>, limits: &Limits, writer: &mut Writer<'_>) -> Task<'a> {
    let (key, operation, value) = match *op {
        Op::Put { key, value } => (key, put(writer, value, None), value),
        Op::PutUntil { key, value, until } => (key, put(writer, value, Some(until)), value),
        Op::Delete { key } => (key, Operation::write(writer.draw(), None), &[][..]),
        Op::Get { key } => (key, Operation::read(), &[][..]),
    };
    let result = match op {
        // The nodes decide whether it may exist: they know limits that this client has yet to
        // learn.
        Op::Get { .. } if key.len() > KEY_CEILING => Some(Ok(Done::Got(None))),
        Op::Get { .. } => None,
        _ => check(key, value, limits).err().map(Err),
    };
    Task { result, ..Task::new(key, operation) }
}

/// Whether a cluster with these limits takes this.
pub(crate) fn check(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), ClientError> {
    limits.check_key(key).map_err(ClientError::BadKey)?;
    limits.check_value(value).map_err(ClientError::BadValue)
}

fn put<'a>(writer: &mut Writer<'_>, value: &'a [u8], expiry: Option<u64>) -> Operation<Valued<'a>> {
    Operation::write(writer.draw(), Some(Valued { bytes: Cow::Borrowed(value), expiry }))
}
