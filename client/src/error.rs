//! The errors of calls, named for what the caller can do about them.

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
    /// The manager cannot be reached, so the location of keys is unknown. Nothing was done.
    #[error("no manager at {address}: {source}")]
    NoManager {
        /// Where it was looked for.
        address: Address,
        /// The cause.
        source: NetError,
    },
    /// Not all replicas that are needed could be reached until the deadline. A write was certainly
    /// not done, so it may simply be tried again.
    #[error("not enough replicas within {deadline:?}: {why}")]
    NotEnoughReplicas {
        /// How long it was tried.
        deadline: Duration,
        /// The last obstacle.
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
        /// How often another write came first.
        losses: u32,
        /// The last obstacle.
        why: String,
    },
    /// No live node holds this key: all its replicas are down (rule H4). Nothing was done. It can
    /// be read and written again when one of them has returned, or when an operator has accepted
    /// the loss.
    ///
    /// This error is returned at once and not at the deadline, so that a batch does not wait for a
    /// few lost keys. So a loop around a call must back off by itself, or it spins: first for
    /// [`ClientError::retry_after`], then longer, up to some seconds, since nodes take that long to
    /// start. It is based on the manager's report of at most a quarter of a second ago.
    #[error("unavailable: no live node holds this key; client --status tells which to bring back")]
    Unavailable,
    /// A replica of the key holds as much as it may, and the write would add to that. It was not
    /// done. Deletes make room, and so does one more node.
    #[error("{0} is full (its --max-memory): nothing was written; delete keys, or add a node")]
    Full(NodeId),
    /// The write would reach fewer synced copies than `--min-copies` requires. It was not done. It
    /// will succeed once copies have been restored, which takes seconds if there are enough nodes.
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
        /// The last obstacle.
        why: String,
    },
    /// The state has changed since it was shown to the operator, so nothing was done. Check it and
    /// decide again.
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
    /// Whether the same call may be repeated and may succeed then: nothing was done, and the
    /// obstacle may be temporary. Not [`ClientError::Unknown`]: a loop around an increment would
    /// count twice. If a call may be done twice (a put, where no other client writes the key),
    /// check [`ClientError::is_unknown`] too.
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some()
    }

    /// The shortest wait before the same call is repeated; `None` where that does not help
    /// ([`ClientError::is_retryable`]). Further waits should grow.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            // The call has waited already, until its deadline.
            ClientError::NotEnoughReplicas { .. } | ClientError::Contended { .. } => {
                Some(Duration::ZERO)
            }
            ClientError::NoManager { source, .. } => source.may_pass().then_some(BELIEVED),
            // An earlier retry gets the same answer.
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
    fn retryable_errors_are_those_of_calls_not_done() {
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
