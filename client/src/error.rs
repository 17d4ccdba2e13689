//! What can go wrong for a caller, named for what the caller can do about it.

use std::time::Duration;

use cluster::ids::{Address, NodeId};
use cluster::limits::LimitError;
use net_common::connection::NetError;

/// Why an operation was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key is empty or too long. Nothing was sent.
    #[error("bad key: {0}")]
    BadKey(LimitError),
    /// The value is too long. Nothing was sent.
    #[error("bad value: {0}")]
    BadValue(LimitError),
    /// An element of a value list contains the comma that separates elements. Nothing was sent.
    #[error("bad value: element {0} of the list contains a comma")]
    BadList(usize),
    /// The manager cannot be reached, so nobody can say where keys are. Nothing was done.
    #[error("no manager at {address}: {source}")]
    NoManager {
        /// Where it was looked for.
        address: Address,
        /// What happened.
        source: NetError,
    },
    /// Not all replicas that are needed could be reached until the deadline. A write was certainly
    /// not done, so it may simply be tried again.
    #[error("not enough replicas within {deadline:?}: {why}")]
    NotEnoughReplicas {
        /// How long it was tried.
        deadline: Duration,
        /// What stood in the way last.
        why: String,
    },
    /// Nobody alive holds this key: all who did are down (rule H4). Nothing was done. It can be read and
    /// written again when one of them is back, or when the operator has accepted the loss.
    #[error("unavailable: no live node holds this key; client --status tells which to bring back")]
    Unavailable,
    /// A replica of the key holds as much as it may, and the write would add to that. It was not done. Deletes
    /// make room, and so does one more node.
    #[error("{0} is full (its --max-memory): nothing was written; delete keys, or add a node")]
    Full(NodeId),
    /// The write may or may not have been done, and may still become visible. Read the key to learn
    /// more, or write again.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// What stood in the way last.
        why: String,
    },
    /// A replica refused for a reason that trying again does not mend.
    #[error("refused: {0}")]
    Refused(String),
}

impl ClientError {
    /// Whether the same call may succeed later without anything being changed by the caller. For
    /// [`ClientError::Unknown`] repeating a put is safe only if nobody else writes the key.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            ClientError::NoManager { .. }
                | ClientError::NotEnoughReplicas { .. }
                | ClientError::Unavailable
                | ClientError::Unknown { .. }
        )
    }

    /// Whether the operation may have taken effect.
    pub fn is_unknown(&self) -> bool {
        matches!(self, ClientError::Unknown { .. })
    }
}
