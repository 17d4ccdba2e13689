//! Errors of a call, and what the caller may conclude from them.

use std::io;

use cluster::ids::Address;

use crate::error::{ErrorWord, Refused};

/// The reason a call failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The connection could not be opened: nothing was sent.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// The peer.
        address: Address,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke or timed out: the request may have arrived.
    #[error("lost the connection to {address}: {source}")]
    Lost {
        /// The peer.
        address: Address,
        /// The cause.
        source: io::Error,
    },
    /// The peer answered with an ERROR frame.
    #[error("{address} answered: {refused}")]
    Refused {
        /// The peer.
        address: Address,
        /// The word and the reason, as sent.
        refused: Box<Refused>,
    },
    /// The peer sent something that makes no sense here.
    #[error("{address} does not speak our protocol: {what}")]
    Protocol {
        /// The peer.
        address: Address,
        /// The defect.
        what: String,
    },
    /// The peer does not know the secret.
    #[error("{address} did not prove the cluster's secret")]
    Impostor {
        /// The peer.
        address: Address,
    },
}

impl NetError {
    /// Whether the request certainly never reached the peer's program.
    pub fn is_unsent(&self) -> bool {
        matches!(self, NetError::Unreachable { .. } | NetError::Impostor { .. })
    }

    /// Whether the same call may succeed a little later without any change: the peer may be
    /// starting, or have too many connections. A wrong secret or protocol stays wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            NetError::Unreachable { .. } | NetError::Lost { .. } => true,
            NetError::Refused { refused, .. } => {
                matches!(refused.word, ErrorWord::Busy | ErrorWord::Stopping)
            }
            NetError::Protocol { .. } | NetError::Impostor { .. } => false,
        }
    }

    /// Whether the peer, or the way to it, was silent for too long.
    pub fn is_silence(&self) -> bool {
        matches!(self, NetError::Lost { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }

    /// The word of the peer's ERROR, if it answered with one.
    pub fn word(&self) -> Option<&ErrorWord> {
        match self {
            NetError::Refused { refused, .. } => Some(&refused.word),
            _ => None,
        }
    }
}
