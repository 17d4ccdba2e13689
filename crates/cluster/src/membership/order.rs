//! What an operator may ask of a cluster that serves (rule H5), and what that would move.
//!
//! A [`Wish`] becomes a planned change: one view in which reads go where they went and writes also to
//! where they will, and when everyone holds what it is to hold, the view that switches. Before it is asked
//! for, an [`Outline`] tells what it would move; the same is told when it begins.
//!
//! What it does not do: it does not know the size of single arcs. The amounts are estimates, from what
//! the nodes hold altogether and from keys being spread evenly.

use std::fmt;

use crate::ids::NodeId;
use crate::lease::{HEARTBEATS_MS, MISSED, Terms};
use crate::limits::{KEY_CEILING, Limits, MAX_COPIES, MAX_WEIGHT, VALUE_CEILING};
use crate::membership::Membership;
use crate::membership::situation::Situation;
use crate::text::count;
use crate::time::Millis;
use crate::version::RETENTION_MS;
use crate::view::{Routes, View};

/// The longest lease that may be ordered, in milliseconds. Whoever is away must be known to be out long before
/// what it has missed is forgotten.
const MOST_LEASE_MS: Millis = RETENTION_MS / 20;

/// A change of a cluster that serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wish {
    /// A node leaves: the others take over what it keeps, and then it goes.
    Leave(NodeId),
    /// A node's share of the ring is to be this, in proportion to the others'.
    Weight(NodeId, u32),
    /// Each key is to have so many copies.
    Copies(usize),
    /// Heartbeats are to come so often, in milliseconds, and so many may be missed; `None`: as now. It moves
    /// nothing and is in force at once, but leases that were told before go on.
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

impl Wish {
    /// What leases are with this wish, if it is about them.
    pub(super) fn terms(&self, now: Terms) -> Option<Terms> {
        match *self {
            Wish::Terms { heartbeat_ms, missed } => Some(Terms {
                heartbeat_ms: heartbeat_ms.unwrap_or(now.heartbeat_ms),
                missed: missed.unwrap_or(now.missed),
            }),
            _ => None,
        }
    }

    /// Whether it changes the cluster's settings alone, and moves nothing.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Wish::Limits { .. } | Wish::MinCopies(_))
    }
}

/// The limits that a wish for others leads to.
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

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Leave(id) => write!(f, "{id} leaves"),
            Wish::Weight(id, weight) => write!(f, "{id} weighs {weight}"),
            Wish::Copies(copies) => write!(f, "{} of each key", count(*copies, "copy")),
            Wish::Terms { heartbeat_ms, missed } => {
                let every = heartbeat_ms.map(|ms| format!("a heartbeat every {ms} ms"));
                let out = missed.map(|missed| format!("out after {missed} missed"));
                f.write_str(&every.into_iter().chain(out).collect::<Vec<_>>().join(", "))
            }
            Wish::Limits { key: Some(key), value: None } => write!(f, "keys to {key} bytes"),
            Wish::Limits { key: None, value } => {
                write!(f, "values to {} bytes", value.unwrap_or_default())
            }
            Wish::Limits { key: Some(key), value: Some(value) } => {
                write!(f, "keys to {key} bytes, values to {value}")
            }
            Wish::MinCopies(copies) => write!(f, "writes with {copies} copies at least"),
        }
    }
}

/// What an operator tells the manager to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Order {
    /// To begin a planned change.
    Change {
        /// Which.
        wish: Wish,
        /// Even if that leaves fewer nodes than copies.
        force: bool,
    },
    /// To give up the planned change that is under way: all stays as it is.
    Cancel,
}

/// How much there is, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Keys with a value, each copy counted.
    pub keys: u64,
    /// Bytes of those keys and values.
    pub bytes: u64,
}

/// What a planned change moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The change, in a few words.
    pub what: String,
    /// Arcs that get another owner.
    pub arcs: usize,
    /// What it is for each node, in the order of the view.
    pub moves: Vec<Move>,
    /// What is copied from node to node, about.
    pub amount: Amount,
}

/// What a planned change is for one node, in arcs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The node.
    pub id: NodeId,
    /// Arcs that it owns, and will own.
    pub owns: (usize, usize),
    /// Arcs that it keeps a copy of, and will keep.
    pub keeps: (usize, usize),
    /// Arcs that it has to fetch for that.
    pub fetches: usize,
}

impl Outline {
    /// Copies of arcs that move.
    pub fn copies(&self) -> usize {
        self.moves.iter().map(|m| m.fetches).sum()
    }

    /// Copies that any way to the same shares would have to move.
    pub fn least(&self) -> usize {
        self.moves.iter().map(|m| m.keeps.1.saturating_sub(m.keeps.0)).sum()
    }

    /// Of what moves nothing.
    pub(super) fn still(what: String) -> Outline {
        Outline { what, arcs: 0, moves: Vec::new(), amount: Amount::default() }
    }

    /// From a view to the one with a change under way that follows it.
    pub(super) fn of(state: &Membership, what: String, now: &Routes, next: &View) -> Outline {
        let next = Routes::new(next.clone());
        let then = next.view().coming.as_ref().map_or(&next.view().arcs, |coming| &coming.arcs);
        let owned = |arcs: &[u16], place: Option<u16>| {
            arcs.iter().filter(|&&owner| Some(owner) == place).count()
        };
        let members = (0u16..).zip(&next.view().members);
        let moves: Vec<Move> = members
            .map(|(place, member)| {
                let before = now.view().place_of(&member.id).map(|place| place as u16);
                let kept = |arc: &usize| before.is_some_and(|p| now.kept_by(p).contains(*arc));
                let target = (0..next.arcs()).filter(|&arc| next.target(arc).contains(&place));
                let target: Vec<usize> = target.collect();
                Move {
                    id: member.id.clone(),
                    owns: (owned(&now.view().arcs, before), owned(then, Some(place))),
                    keeps: (before.map_or(0, |p| now.kept_by(p).count_ones(..)), target.len()),
                    fetches: target.iter().filter(|arc| !kept(arc)).count(),
                }
            })
            .collect();
        // Members keep their places: whoever is new stands behind them.
        let arcs = now.view().arcs.iter().zip(then).filter(|(now, then)| now != then).count();
        let copies = moves.iter().map(|m| m.fetches).sum();
        Outline { what, arcs, moves, amount: state.amount_of(copies) }
    }
}

/// What speaks against a wish, if anything. For a view in which no change is under way.
pub(super) fn objection(at: &Situation<'_>, wish: &Wish, force: bool) -> Option<String> {
    let view = at.active().view();
    let member = |id: &NodeId| view.members.iter().find(|m| m.id == *id);
    let nodes = view.members.len();
    match wish {
        _ if nodes == 0 => Some("no node serves yet".into()),
        Wish::Leave(id) | Wish::Weight(id, _) if member(id).is_none() => {
            Some(format!("no member is called {id}"))
        }
        Wish::Leave(id) if member(id).is_some_and(|m| at.is_out(m.incarnation)) => {
            Some(format!("{id} is down: it cannot hand over what it keeps"))
        }
        Wish::Leave(id) if nodes == 1 => Some(format!("{id} is the last node")),
        Wish::Leave(_) if nodes - 1 < view.copies && !force => Some(format!(
            "that leaves {} for {} of each key (--force does it all the same)",
            count(nodes - 1, "node"),
            count(view.copies, "copy")
        )),
        Wish::Leave(_) => None,
        Wish::Weight(_, weight) if !(1..=MAX_WEIGHT).contains(weight) => {
            Some(format!("a weight is 1 to {MAX_WEIGHT}"))
        }
        Wish::Weight(id, weight) if member(id).is_some_and(|m| m.weight == *weight) => {
            Some(format!("{id} weighs {weight} already"))
        }
        Wish::Weight(..) => None,
        Wish::Copies(copies) if !(1..=MAX_COPIES).contains(copies) => {
            Some(format!("there can be 1 to {MAX_COPIES} copies"))
        }
        Wish::Copies(copies) if *copies == view.copies => {
            Some(format!("each key has {} already", count(*copies, "copy")))
        }
        Wish::Copies(copies) if *copies < view.min_copies => Some(format!(
            "writes are to have {} copies at least: lower that first (--min-copies)",
            view.min_copies
        )),
        Wish::Limits { key, value } => {
            let wanted = limits_of(view.limits, *key, *value);
            if !wanted.is_valid() {
                return Some(format!(
                    "keys can have 1 to {KEY_CEILING} bytes at most, values 0 to {VALUE_CEILING}"
                ));
            }
            (wanted == view.limits).then(|| format!("it is so already: {}", bounds(&wanted)))
        }
        Wish::MinCopies(copies) if *copies == view.min_copies => {
            Some(format!("writes have {copies} copies at least already"))
        }
        Wish::MinCopies(copies) if !(1..=view.copies).contains(copies) => Some(format!(
            "there are {0} copies of each key: writes can be asked to have 1 to {0}",
            view.copies
        )),
        Wish::MinCopies(_) => None,
        Wish::Copies(copies) if nodes < *copies && !force => Some(format!(
            "there {} for {} (--force does it all the same)",
            if nodes == 1 { "is 1 node".to_owned() } else { format!("are {nodes} nodes") },
            count(*copies, "copy")
        )),
        Wish::Copies(_) => None,
        Wish::Terms { .. } => {
            let now = at.settings.terms();
            wish.terms(now).and_then(|then| terms_objection(now, then))
        }
    }
}

/// What speaks against other terms of leases, if anything.
fn terms_objection(now: Terms, then: Terms) -> Option<String> {
    let (least, most) = (HEARTBEATS_MS.start(), HEARTBEATS_MS.end());
    match then {
        _ if then == now => Some(format!("there is {now} already")),
        Terms { heartbeat_ms, .. } if !HEARTBEATS_MS.contains(&heartbeat_ms) => {
            Some(format!("a heartbeat comes every {least} to {most} ms"))
        }
        Terms { missed, .. } if !MISSED.contains(&missed) => {
            Some(format!("{} to {} heartbeats may be missed", MISSED.start(), MISSED.end()))
        }
        _ if then.lease_ms() > MOST_LEASE_MS => Some(format!(
            "a silent node would be waited for {} ms; {MOST_LEASE_MS} ms are the most",
            then.lease_ms()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let now = Terms { heartbeat_ms: 2_000, missed: 3 };
        for (heartbeat_ms, missed, why) in [
            (2_000, 3, "there is a heartbeat every 2000 ms, out after 3 missed already"),
            (9, 3, "a heartbeat comes every 10 to 3600000 ms"),
            (3_600_001, 1, "a heartbeat comes every 10 to 3600000 ms"),
            (2_000, 0, "1 to 1000 heartbeats may be missed"),
            (2_000, 1001, "1 to 1000 heartbeats may be missed"),
            (61_000, 3, "a silent node would be waited for 183000 ms; 180000 ms are the most"),
        ] {
            let objection = terms_objection(now, Terms { heartbeat_ms, missed });
            assert_eq!(objection.as_deref(), Some(why), "{heartbeat_ms} × {missed}");
        }
        assert_eq!(terms_objection(now, Terms { heartbeat_ms: 60_000, missed: 3 }), None);
        assert_eq!(terms_objection(now, Terms { heartbeat_ms: 10, missed: 1 }), None);
    }

    #[test]
    fn what_is_not_said_stays() {
        let now = Terms { heartbeat_ms: 2_000, missed: 3 };
        let wish = Wish::Terms { heartbeat_ms: Some(300), missed: None };
        assert_eq!(wish.terms(now), Some(Terms { heartbeat_ms: 300, missed: 3 }));
        assert_eq!(wish.to_string(), "a heartbeat every 300 ms");
        assert_eq!(Wish::Copies(2).terms(now), None);
    }
}
