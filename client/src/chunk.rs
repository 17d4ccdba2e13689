//! Sizes of batches: the limits of one attempt and of one frame.

use crate::error::ClientError;
use crate::operation::{Done, Op};

/// The most operations in one attempt: it bounds a frame, and what is sent again after a failure.
pub(crate) const CHUNK_OPS: usize = 4096;

/// The most bytes of keys and values in one attempt, and in one frame of writes, unless a single
/// operation has more. Half a frame, so that the rest of a node's frame always fits. The nodes
/// bound their answers: what does not fit one is requested again.
pub(crate) const CHUNK_BYTES: usize = net_common::frame::MAX_PAYLOAD / 2;

/// The bytes of a record in a frame besides key and value, rounded up.
pub(crate) const RECORD_OVERHEAD: usize = 64;

/// How many operations of these sizes make one attempt. At least one: a single one always fits a
/// frame, or is refused by the limits.
pub(crate) fn chunk(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = sizes.take(CHUNK_OPS).take_while(|size| {
        bytes += RECORD_OVERHEAD + size;
        bytes <= CHUNK_BYTES
    });
    fits.count().max(1)
}

/// The bytes of an operation in a frame. The size of its answer is not known, nor that of the value
/// that a read-modify-write produces.
pub(crate) fn size(op: &Op<'_>) -> usize {
    match op {
        Op::Put { key, value } | Op::PutUntil { key, value, .. } => key.len() + value.len(),
        Op::Get { key } | Op::Delete { key } => key.len(),
    }
}

/// How much was read for a result.
pub(crate) fn bytes_of(done: &Result<Done, ClientError>) -> usize {
    match done {
        Ok(Done::Got(Some(got))) => got.value.len(),
        _ => 0,
    }
}

/// The lengths of an operation's key and value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) key: usize,
    pub(crate) value: usize,
}

impl Lengths {
    /// Of an operation; of a get nothing, which puts nothing.
    pub(crate) fn of(op: &Op<'_>) -> Lengths {
        match op {
            Op::Put { key, value } | Op::PutUntil { key, value, .. } => {
                Lengths { key: key.len(), value: value.len() }
            }
            Op::Delete { key } => Lengths::of_key(key),
            Op::Get { .. } => Lengths { key: 0, value: 0 },
        }
    }

    /// Of a key whose value is not known yet.
    pub(crate) fn of_key(key: &[u8]) -> Lengths {
        Lengths { key: key.len(), value: 0 }
    }
}
