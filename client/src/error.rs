//! What can go wrong for a caller, named for what the caller can do about it.

use std::time::Duration;

use cluster::ids::{Address, NodeId};
use cluster::limits::LimitError;
use net_common::connection::NetError;

use crate::router::BELIEVED;

/// Why an operation was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key is too long. Nothing was sent.
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
    /// Others changed the key each time between reading and writing it, until the deadline: so many
    /// times. The read-modify-write was certainly not done, so it may simply be tried again; where
    /// many change one key a longer deadline helps, as they take turns.
    #[error(
        "contended: not done within {deadline:?}, others were quicker {losses} times; last, {why}"
    )]
    Contended {
        /// How long it was tried.
        deadline: Duration,
        /// How often somebody else was quicker.
        losses: u32,
        /// What stood in the way last.
        why: String,
    },
    /// Nobody alive holds this key: all who did are down (rule H4). Nothing was done. It can be
    /// read and written again when one of them is back, or when the operator has accepted the loss.
    ///
    /// This is told at once and not at the deadline, so that a batch does not wait for the few of
    /// its keys that are lost. So a loop around a call must back off by itself, or it spins: first
    /// for [`ClientError::retry_after`], then longer, up to some seconds, as nodes take that long
    /// to start. It is told for as long as nobody is back, and by the manager's word of at most a
    /// quarter of a second ago.
    #[error("unavailable: no live node holds this key; client --status tells which to bring back")]
    Unavailable,
    /// A replica of the key holds as much as it may, and the write would add to that. It was not
    /// done. Deletes make room, and so does one more node.
    #[error("{0} is full (its --max-memory): nothing was written; delete keys, or add a node")]
    Full(NodeId),
    /// Fewer synced copies would hold the write than the cluster asks for (`--min-copies`). It was
    /// not done. It can be done when copies have been made again: that takes seconds where there
    /// are nodes enough.
    #[error(
        "too few copies: a write has to have {least} at least (--min-copies): nothing was written"
    )]
    TooFewCopies {
        /// How many are asked for.
        least: usize,
    },
    /// The write may or may not have been done, and may still become visible. Read the key to learn
    /// more, or write again.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// What stood in the way last.
        why: String,
    },
    /// What an operator was shown is not what there is now, so nothing was done. Look again, and
    /// decide anew.
    #[error("changed: this is not what was shown, nothing was done; now: {now}")]
    Changed {
        /// How it is now.
        now: String,
    },
    /// A replica refused for a reason that trying again does not mend.
    #[error("refused: {0}")]
    Refused(String),
}

impl ClientError {
    /// Whether the same call may be made again as it is, and may succeed then: nothing was done,
    /// and what stood in the way may pass. Not [`ClientError::Unknown`]: a loop around an increment
    /// would count twice. Whoever knows that a call may be done twice (a put, where nobody else
    /// writes the key) asks for [`ClientError::is_unknown`] too.
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some()
    }

    /// How long to wait before the same call is made again, at least; `None` where that does not
    /// help ([`ClientError::is_retryable`]). Whoever goes on waits longer each time.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            // The call has waited already, until its deadline.
            ClientError::NotEnoughReplicas { .. } | ClientError::Contended { .. } => {
                Some(Duration::ZERO)
            }
            ClientError::NoManager { source, .. } => source.may_pass().then_some(BELIEVED),
            // Asked sooner it says the same.
            ClientError::Unavailable | ClientError::TooFewCopies { .. } => Some(BELIEVED),
            ClientError::BadKey(_)
            | ClientError::BadValue(_)
            | ClientError::BadList(_)
            | ClientError::Full(_)
            | ClientError::Unknown { .. }
            | ClientError::Changed { .. }
            | ClientError::Refused(_) => None,
        }
    }

    /// Whether the operation may have taken effect.
    pub fn is_unknown(&self) -> bool {
        matches!(self, ClientError::Unknown { .. })
    }
}

#[cfg(test)]
mod tests {
    use net_common::error::{ErrorWord, Refused};

    use super::*;

    #[test]
    fn what_may_be_made_again_as_it_is() {
        let manager = || Address::new("127.0.0.1", 1).expect("it is one");
        let refused = |word| NetError::Refused {
            address: manager(),
            refused: Refused::new(word, "why").into(),
        };
        let lost =
            NetError::Lost { address: manager(), source: std::io::ErrorKind::TimedOut.into() };
        let secret = refused(ErrorWord::Auth);
        let busy = refused(ErrorWord::Busy);
        let no = |source| ClientError::NoManager { address: manager(), source };
        let why = || "why".to_owned();
        for (error, is_retryable) in [
            (ClientError::BadList(1), false),
            (no(lost), true),
            (no(busy), true),
            (no(secret), false),
            (ClientError::NotEnoughReplicas { deadline: Duration::MAX, why: why() }, true),
            (ClientError::Contended { deadline: Duration::ZERO, losses: 7, why: why() }, true),
            (ClientError::Unavailable, true),
            (ClientError::TooFewCopies { least: 2 }, true),
            // A loop around an increment would count twice.
            (ClientError::Unknown { why: why() }, false),
            (ClientError::Refused(why()), false),
        ] {
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
        }
        assert!(ClientError::Unavailable.retry_after() >= Some(Duration::from_millis(100)));
    }
}
