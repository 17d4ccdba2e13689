//! Temporary refusals of a replica.

use std::fmt;

use cluster::operation::ReadAnswer;
use cluster::replica::WriteAnswer;

/// The reason a replica has refused a request, where that is temporary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is in another view.
    OtherView,
    /// It holds no lease.
    NoLease,
    /// It has yet to fetch the key.
    Fetching,
    /// The operation took too long (N5).
    TooOld,
    /// It holds a newer version than the base.
    Changed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::OtherView => "is in another view",
            Refusal::NoLease => "has no lease: it does not reach the manager",
            Refusal::Fetching => "is still fetching this key",
            Refusal::TooOld => "was sent this write too late",
            Refusal::Changed => "had taken another change of the key",
        })
    }
}

impl Refusal {
    /// The refusal in the answer to a read, if any.
    pub(crate) fn of_read<V>(answer: &ReadAnswer<V>) -> Option<Refusal> {
        match answer {
            ReadAnswer::WrongEpoch => Some(Refusal::OtherView),
            ReadAnswer::NoLease => Some(Refusal::NoLease),
            ReadAnswer::Syncing => Some(Refusal::Fetching),
            ReadAnswer::Found(_)
            | ReadAnswer::Blind(_)
            | ReadAnswer::BadKey
            | ReadAnswer::Later => None,
        }
    }

    /// The refusal in the answer to a write, if any.
    pub(crate) fn of_write(answer: WriteAnswer) -> Option<Refusal> {
        match answer {
            WriteAnswer::WrongEpoch => Some(Refusal::OtherView),
            WriteAnswer::NoLease => Some(Refusal::NoLease),
            WriteAnswer::TooOld => Some(Refusal::TooOld),
            WriteAnswer::BlindStored | WriteAnswer::BlindBelow(_) => Some(Refusal::Fetching),
            WriteAnswer::Differs(_) => Some(Refusal::Changed),
            WriteAnswer::Stored
            | WriteAnswer::Superseded(_)
            | WriteAnswer::Conflict
            | WriteAnswer::BadVersion
            | WriteAnswer::BadKey
            | WriteAnswer::BadValue => None,
        }
    }
}
