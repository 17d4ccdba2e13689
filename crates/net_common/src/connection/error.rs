//! Why a call came to nothing, and what its caller may make of that.

use std::io;

use cluster::ids::Address;

use crate::error::{ErrorWord, Refused};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection was made: nothing was sent.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Whom.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke or timed out: what was sent may have arrived.
    #[error("lost the connection to {address}: {source}")]
    Lost {
        /// Whose.
        address: Address,
        /// How.
        source: io::Error,
    },
    /// The peer answered with an ERROR frame.
    #[error("{address} says: {refused}")]
    Refused {
        /// Who.
        address: Address,
        /// The word and the reason, as sent.
        refused: Box<Refused>,
    },
    /// The peer sent something that makes no sense here.
    #[error("{address} does not speak our protocol: {what}")]
    Protocol {
        /// Who.
        address: Address,
        /// What was wrong.
        what: String,
    },
    /// The peer does not know the secret that it should know.
    #[error("{address} did not prove the cluster's secret")]
    Impostor {
        /// Who.
        address: Address,
    },
}

impl NetError {
    /// Whether what was to be sent certainly never reached the peer's program.
    pub fn is_unsent(&self) -> bool {
        matches!(self, NetError::Unreachable { .. } | NetError::Impostor { .. })
    }

    /// Whether the same may go well a little later, with nothing changed: the peer may be about to
    /// start, or to have fewer connections. Another secret or protocol stays what it is.
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

    /// The word of the peer's ERROR, if that is what it was.
    pub fn word(&self) -> Option<&ErrorWord> {
        match self {
            NetError::Refused { refused, .. } => Some(&refused.word),
            _ => None,
        }
    }
}
