//! How much goes at once: what one attempt begins with, and one frame carries.

use crate::error::ClientError;
use crate::operation::{Done, Op};

/// Most operations in one attempt: bounds what one frame carries and what one failure sends again.
pub(crate) const CHUNK_OPS: usize = 4096;

/// Most bytes of keys and values that one attempt begins with, and that one frame of writes has,
/// unless a single one has more. Half a frame, so that what a node's frame has besides always fits.
/// How much comes back is the nodes' affair: what does not fit their answers is asked for again.
pub(crate) const CHUNK_BYTES: usize = net_common::frame::MAX_PAYLOAD / 2;

/// What a record costs in a frame besides key and value, rounded up.
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

/// What an operation begins with, in bytes of a frame. What comes back is not known, nor what a
/// read-modify-write makes of it.
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

/// The lengths of what an operation puts.
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
