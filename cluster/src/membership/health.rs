//! How the cluster is, in one line.

use std::fmt;

use crate::ids::Incarnation;
use crate::membership::{Membership, Millis, plan};

/// How the cluster is, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No node has registered yet.
    Empty,
    /// Some arcs have no live replica that holds them.
    Unavailable {
        /// How many arcs.
        arcs: usize,
        /// Of how many.
        of: usize,
        /// Who is out of reach and holds them, as far as is known: to be brought back.
        bring_back: Vec<String>,
        /// Whose process has ended with them. Records live in memory: a restart does not bring them back.
        ended: Vec<String>,
    },
    /// Members are silent, and have not been dropped yet.
    Silent(Vec<String>),
    /// Copies are being made.
    Healing {
        /// Arcs that some keeper has yet to fetch.
        arcs: usize,
    },
    /// Everything is served, with fewer copies than asked for.
    Degraded {
        /// Copies that there are.
        have: usize,
        /// Copies asked for.
        want: usize,
    },
    /// All is well.
    Healthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Empty => f.write_str("unavailable: no node has registered"),
            Health::Unavailable { arcs, of, bring_back, ended } => {
                write!(f, "unavailable: {arcs} of {of} arcs have no live replica; ")?;
                match (bring_back.as_slice(), ended.as_slice()) {
                    ([], []) => f.write_str("nobody holds them, accept the loss to go on"),
                    ([], nodes) => {
                        write!(f, "{} ended with them, accept the loss to go on", nodes.join(", "))
                    }
                    (nodes, _) => write!(f, "bring back {}", nodes.join(", ")),
                }
            }
            Health::Silent(nodes) => write!(f, "degraded: no word from {}", nodes.join(", ")),
            Health::Healing { arcs } => write!(f, "healing: {arcs} arcs to copy"),
            Health::Degraded { have, want } => {
                write!(f, "degraded: {have} of {want} copies, more nodes are needed")
            }
            Health::Healthy => f.write_str("healthy"),
        }
    }
}

impl Membership {
    /// How the cluster is at time `now`.
    pub fn health(&self, now: Millis) -> Health {
        let view = self.active.view();
        let name = |i: &Incarnation| match self.nodes.get(i) {
            Some(node) => node.who.id.to_string(),
            None => i.to_string(),
        };
        if view.members.is_empty() {
            return Health::Empty;
        }
        let (arcs, holders) = plan::losses(self, now);
        if arcs > 0 {
            let is_gone = |i: &&Incarnation| self.nodes.get(i).is_none_or(|node| node.gone);
            let (ended, away): (Vec<_>, Vec<_>) = holders.iter().partition(is_gone);
            let names = |of: Vec<&Incarnation>| {
                let mut names: Vec<String> = of.into_iter().map(name).collect();
                names.sort();
                names
            };
            let (bring_back, ended) = (names(away), names(ended));
            return Health::Unavailable { arcs, of: view.arcs.len(), bring_back, ended };
        }
        let silent: Vec<String> = view
            .members
            .iter()
            .filter(|m| self.is_out(m.incarnation, now))
            .map(|m| m.id.to_string())
            .collect();
        if !silent.is_empty() {
            return Health::Silent(silent);
        }
        let behind = self.arcs_behind();
        if behind > 0 || view.is_changing() || self.coming.is_some() {
            return Health::Healing { arcs: behind };
        }
        let have = view.members.len().min(view.copies);
        if have < view.copies {
            return Health::Degraded { have, want: view.copies };
        }
        Health::Healthy
    }

    /// How many arcs some member of their write set has yet to fetch.
    fn arcs_behind(&self) -> usize {
        let routes = &self.active;
        (0..routes.arcs())
            .filter(|&arc| {
                routes.write_set(arc).iter().any(|&place| {
                    let node = self.nodes.get(&routes.member(place).incarnation);
                    node.is_none_or(|n| !n.report.synced.contains(arc))
                })
            })
            .count()
    }
}
