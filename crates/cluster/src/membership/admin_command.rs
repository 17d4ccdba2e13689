//! What an operator may ask of a cluster that serves (rule H5).
//!
//! A [`Reconfiguration`] becomes a planned change: one view in which reads go where they went and
//! writes also where they will, and the view that switches once every node holds what it is to
//! hold. Before the operator asks for it, an [`Outline`](super::Outline) shows what it would move;
//! the same is shown when it begins. Reasons to refuse it are in `objection`.

use std::fmt;

use crate::ids::NodeId;
use crate::lease::Terms;
use crate::limits::Limits;
use crate::text::count;
use crate::time::Millis;

/// A change of a cluster that serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reconfiguration {
    /// A node leaves: the others take over what it holds, and then it exits.
    Leave(NodeId),
    /// A node's share of the ring is to be this, in proportion to the others'.
    Weight(NodeId, u32),
    /// Each key is to have so many copies.
    Copies(usize),
    /// Heartbeats are to come so often, in milliseconds, and so many may be missed; `None`: as now.
    /// It moves nothing and is in force at once, but leases that were granted before stay valid.
    Terms {
        /// How often.
        heartbeat_ms: Option<Millis>,
        /// How many.
        missed: Option<u32>,
    },
    /// Keys, or values, or both, are to be so long at most, in bytes.
    Limits {
        /// Of a key.
        key: Option<usize>,
        /// Of a value.
        value: Option<usize>,
    },
    /// A write is to have so many synced copies at least.
    MinCopies(usize),
}

impl Reconfiguration {
    /// What leases are with this change, if it is about them.
    pub(super) fn terms(&self, now: Terms) -> Option<Terms> {
        match *self {
            Reconfiguration::Terms { heartbeat_ms, missed } => Some(Terms {
                heartbeat_ms: heartbeat_ms.unwrap_or(now.heartbeat_ms),
                missed: missed.unwrap_or(now.missed),
            }),
            _ => None,
        }
    }

    /// Whether it changes the cluster's settings alone, and moves nothing.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Reconfiguration::Limits { .. } | Reconfiguration::MinCopies(_))
    }
}

/// The limits that a change for others leads to.
pub(super) fn limits_of(now: Limits, key: Option<usize>, value: Option<usize>) -> Limits {
    Limits {
        key_bytes: key.unwrap_or(now.key_bytes),
        value_bytes: value.unwrap_or(now.value_bytes),
    }
}

/// `keys to 512 bytes, values to 1048576`.
pub(super) fn bounds(limits: &Limits) -> String {
    format!("keys to {} bytes, values to {}", limits.key_bytes, limits.value_bytes)
}

impl fmt::Display for Reconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reconfiguration::Leave(id) => write!(f, "{id} leaves"),
            Reconfiguration::Weight(id, weight) => write!(f, "{id} weighs {weight}"),
            Reconfiguration::Copies(copies) => write!(f, "{} of each key", count(*copies, "copy")),
            Reconfiguration::Terms { heartbeat_ms, missed } => {
                let every = heartbeat_ms.map(|ms| format!("a heartbeat every {ms} ms"));
                let out = missed.map(|missed| format!("out after {missed} missed"));
                f.write_str(&every.into_iter().chain(out).collect::<Vec<_>>().join(", "))
            }
            Reconfiguration::Limits { key: Some(key), value: None } => {
                write!(f, "keys to {key} bytes")
            }
            Reconfiguration::Limits { key: None, value } => {
                write!(f, "values to {} bytes", value.unwrap_or_default())
            }
            Reconfiguration::Limits { key: Some(key), value: Some(value) } => {
                write!(f, "keys to {key} bytes, values to {value}")
            }
            Reconfiguration::MinCopies(copies) => write!(f, "writes with {copies} copies at least"),
        }
    }
}

/// An operator's commands to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdminCommand {
    /// To begin a planned change.
    Reconfigure {
        /// Which.
        change: Reconfiguration,
        /// Even if that leaves fewer nodes than copies.
        force: bool,
    },
    /// To give up the planned change that is under way: all stays as it is.
    Cancel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let now = Terms { heartbeat_ms: 2_000, missed: 3 };
        let change = Reconfiguration::Terms { heartbeat_ms: Some(300), missed: None };
        assert_eq!(change.terms(now), Some(Terms { heartbeat_ms: 300, missed: 3 }));
        assert_eq!(change.to_string(), "a heartbeat every 300 ms");
        assert_eq!(Reconfiguration::Copies(2).terms(now), None);
    }
}
