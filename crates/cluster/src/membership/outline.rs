//! What a planned change moves: shown to the operator before it is ordered, and when it begins.
//!
//! The size of single arcs is not known. The amounts are estimates, based on what the nodes hold in
//! total and on keys being spread evenly.

use crate::ids::NodeId;
use crate::membership::Membership;
use crate::view::{Routes, View};

/// An approximate amount of data.
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
    /// What it means for each node, in the order of the view.
    pub moves: Vec<Move>,
    /// The approximate amount copied from node to node.
    pub amount: Amount,
}

/// What a planned change means for one node, in arcs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The node.
    pub id: NodeId,
    /// Arcs that it owns now, and after the change.
    pub owns: (usize, usize),
    /// Arcs of which it is a replica now, and after the change.
    pub keeps: (usize, usize),
    /// Arcs that it has to fetch for that.
    pub fetches: usize,
}

impl Outline {
    /// Copies of arcs that move.
    pub fn copies(&self) -> usize {
        self.moves.iter().map(|m| m.fetches).sum()
    }

    /// Copies that any change to the same shares would have to move.
    pub fn least(&self) -> usize {
        self.moves.iter().map(|m| m.keeps.1.saturating_sub(m.keeps.0)).sum()
    }

    /// The outline of a change that moves nothing.
    pub(super) fn still(what: String) -> Outline {
        Outline { what, arcs: 0, moves: Vec::new(), amount: Amount::default() }
    }

    /// The outline of a change, from a view to the next one, in which the change is under way.
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
                let kept = |arc: &usize| before.is_some_and(|p| now.arcs_of(p).contains(*arc));
                let target = (0..next.arcs()).filter(|&arc| next.target(arc).contains(&place));
                let target: Vec<usize> = target.collect();
                Move {
                    id: member.id.clone(),
                    owns: (owned(&now.view().arcs, before), owned(then, Some(place))),
                    keeps: (before.map_or(0, |p| now.arcs_of(p).count_ones(..)), target.len()),
                    fetches: target.iter().filter(|arc| !kept(arc)).count(),
                }
            })
            .collect();
        // Members keep their places: new ones come after them.
        let arcs = now.view().arcs.iter().zip(then).filter(|(now, then)| now != then).count();
        let copies = moves.iter().map(|m| m.fetches).sum();
        Outline { what, arcs, moves, amount: state.amount_of(copies) }
    }
}
