//! How the cluster is, in one line.

use std::fmt;

use crate::durability::Durability;
use crate::ids::Incarnation;
use crate::membership::condition::DiskHealth;
use crate::membership::{Membership, Report, holders, recovery, unused};
use crate::text::{Bytes, Count, count};
use crate::time::Millis;
use crate::view::Member;

/// How the cluster is, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The manager's folder is an older copy: it serves nobody (L7).
    Older(String),
    /// The manager's own disk accepts no view, so no view can record nodes that come or go
    /// meanwhile. The state of nodes is reported by the views that are saved.
    Unsaved {
        /// Why.
        why: String,
        /// How it is otherwise.
        otherwise: Box<Health>,
    },
    /// No node has registered yet.
    Empty,
    /// Some arcs have no live replica that holds them.
    Unavailable {
        /// How many arcs.
        arcs: usize,
        /// Of how many.
        of: usize,
        /// How many keys, about.
        keys: u64,
        /// Unreachable nodes that hold them, as far as is known: to be brought back.
        bring_back: Vec<String>,
        /// Which of them are there, and wait, but without what they held.
        empty: Vec<String>,
        /// Nodes whose process has ended and that had them in memory only: a restart does not bring
        /// them back.
        ended: Vec<String>,
        /// Nodes that are there with what could be salvaged: it counts only if the operator
        /// continues with it.
        salvaged: Vec<String>,
    },
    /// Everything is read, and some nodes take no writes: those of their keys fail.
    Refusing {
        /// Which nodes, and why.
        nodes: Vec<String>,
    },
    /// Everything is served, with fewer copies than asked for.
    Degraded {
        /// Copies that there are.
        have: usize,
        /// Copies asked for.
        want: usize,
        /// In how many arcs.
        arcs: usize,
        /// Members that are silent and have not been dropped yet; where there are none, nodes are
        /// too few.
        silent: Vec<String>,
    },
    /// Copies are being made.
    Healing {
        /// How much of it is done.
        percent: u8,
        /// Copies of arcs that are to be made altogether; 0 where only the nodes' reports are
        /// waited for.
        copies: usize,
        /// Bytes of all of them, about.
        bytes: u64,
        /// How long it will still take, in milliseconds, if that can be said yet.
        left_ms: Option<Millis>,
    },
    /// Everything is served, and some disks do not do their part.
    Strained {
        /// What is wrong with each.
        disks: Vec<String>,
    },
    /// All is well.
    Healthy,
}

/// How bad that is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// All is well.
    Healthy = 0,
    /// Everything is read; there are fewer copies than asked for, or some writes are refused.
    Degraded = 1,
    /// Some keys can be neither read nor written.
    Unavailable = 2,
}

impl Level {
    /// The level of this number, if there is one.
    pub fn from_number(number: u8) -> Option<Level> {
        [Level::Healthy, Level::Degraded, Level::Unavailable]
            .into_iter()
            .find(|l| *l as u8 == number)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Healthy => "healthy",
            Level::Degraded => "degraded",
            Level::Unavailable => "unavailable",
        })
    }
}

impl Health {
    /// How bad it is.
    pub fn level(&self) -> Level {
        match self {
            Health::Older(_) | Health::Empty | Health::Unavailable { .. } => Level::Unavailable,
            Health::Unsaved { otherwise, .. } => otherwise.level().max(Level::Degraded),
            Health::Refusing { .. }
            | Health::Degraded { .. }
            | Health::Healing { .. }
            | Health::Strained { .. } => Level::Degraded,
            Health::Healthy => Level::Healthy,
        }
    }

    /// What an operator can do about arcs without a live replica.
    fn write_remedy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Health::Unavailable { bring_back, empty, ended, salvaged, .. } = self else {
            return Ok(());
        };
        if !salvaged.is_empty() {
            let who = salvaged.join(", ");
            write!(f, "{who} has what was salvaged, accept the loss to go on with that; ")?;
        }
        match (bring_back.as_slice(), ended.as_slice()) {
            ([], []) if !salvaged.is_empty() => f.write_str("nobody else holds them"),
            ([], []) => f.write_str("nobody holds them, accept the loss to go on"),
            ([], nodes) => {
                write!(f, "{} ended with them, accept the loss to go on", nodes.join(", "))
            }
            (nodes, _) => write!(f, "bring back {}", nodes.join(", ")),
        }?;
        match empty.as_slice() {
            [] => Ok(()),
            [one] => write!(
                f,
                "; {one} waits with an empty folder: start it with the one that it had, or accept the loss"
            ),
            some => write!(
                f,
                "; {} wait with empty folders: start them with those that they had, or accept the loss",
                some.join(", ")
            ),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Older(what) => write!(f, "unavailable: {what}"),
            Health::Unsaved { why, otherwise } => write_unsaved(f, why, otherwise),
            Health::Empty => f.write_str("unavailable: no node has registered"),
            Health::Unavailable { arcs, of, keys, .. } => {
                write!(f, "unavailable: {arcs} of {of} arcs, about {}, ", Count(*keys, "key"))?;
                f.write_str("have no live replica; ")?;
                self.write_remedy(f)
            }
            Health::Refusing { nodes } => write!(f, "refusing writes: {}", nodes.join(", ")),
            Health::Strained { disks } => write!(f, "degraded: {}", disks.join("; ")),
            Health::Degraded { have, want, arcs, silent } => {
                f.write_str("degraded: ")?;
                if *arcs > 0 {
                    let (want, arcs) = (count(*want, "copy"), count(*arcs, "arc"));
                    write!(f, "{have} of {want} in {arcs}, ")?;
                }
                match silent.as_slice() {
                    [] => f.write_str("more nodes are needed"),
                    nodes => write!(f, "no word from {}", nodes.join(", ")),
                }
            }
            Health::Healing { copies: 0, .. } => f.write_str("healing: nodes have yet to answer"),
            Health::Healing { percent, copies, bytes, left_ms } => {
                write!(f, "healing: {percent} % of ")?;
                match bytes {
                    0 => write!(f, "{}", count(*copies, "arc"))?,
                    bytes => write!(f, "{}", Bytes(*bytes))?,
                }
                match left_ms {
                    None => Ok(()),
                    Some(ms) => write!(f, ", about {} s left", ms.div_ceil(1000).max(1)),
                }
            }
            Health::Healthy => f.write_str("healthy"),
        }
    }
}

/// The manager cannot save: the nodes to bring back are not shown, since they may be here and
/// cannot be admitted.
fn write_unsaved(f: &mut fmt::Formatter<'_>, why: &str, otherwise: &Health) -> fmt::Result {
    let save = format!("the manager cannot save its views ({why})");
    match otherwise {
        Health::Unavailable { arcs, of, .. } => write!(
            f,
            "unavailable: {save}, and takes nobody in until it can; {arcs} of {of} arcs have no \
             live replica"
        ),
        Health::Empty => write!(f, "unavailable: {save}, and takes nobody in until it can"),
        _ => write!(f, "degraded: {save}, and no view changes until it can"),
    }
}

impl Membership {
    /// How the cluster is at time `now`.
    pub fn health(&self, now: Millis) -> Health {
        let view = self.active.view();
        if let Some(what) = self.lacks() {
            return Health::Older(what);
        }
        if view.members.is_empty() {
            return Health::Empty;
        }
        let (lost, holders) = recovery::losses(&self.situation(now));
        if !lost.is_empty() {
            return self.unavailable(now, &lost, &holders);
        }
        let (refusing, strained) = self.ailing(now);
        if !refusing.is_empty() {
            return Health::Refusing { nodes: refusing };
        }
        let silent: Vec<String> = view
            .members
            .iter()
            .filter(|m| self.is_out(m.incarnation, now))
            .map(|m| m.id.to_string())
            .collect();
        if !silent.is_empty() {
            return self.degraded(now, silent);
        }
        let is_unreported =
            |m: &Member| self.nodes.get(&m.incarnation).is_none_or(|n| n.is_unreported());
        let waits =
            view.is_changing() || self.coming.is_some() || view.members.iter().any(is_unreported);
        if self.progress.is_some() || waits {
            let copies = self.progress.map_or(0, |p| p.all());
            return Health::Healing {
                percent: self.progress.map_or(0, |p| p.percent()),
                copies,
                bytes: self.amount_of(copies).bytes,
                left_ms: self.progress.and_then(|p| p.left_ms(now)),
            };
        }
        if view.members.len() < view.copies {
            self.degraded(now, Vec::new())
        } else if !strained.is_empty() {
            Health::Strained { disks: strained }
        } else {
            Health::Healthy
        }
    }

    /// What is lost, and the nodes to bring back for it.
    fn unavailable(&self, now: Millis, lost: &[usize], holders: &[Incarnation]) -> Health {
        let view = self.active.view();
        let name = |i: &Incarnation| match self.nodes.get(i) {
            Some(node) => node.who.id.to_string(),
            None => i.to_string(),
        };
        let has_ended = |i: &&Incarnation| {
            self.nodes.get(i).is_none_or(|node| node.is_gone() && !node.who.on_disk)
        };
        let (ended, away): (Vec<_>, Vec<_>) = holders.iter().partition(has_ended);
        let names = |of: Vec<&Incarnation>| {
            let mut names: Vec<String> = of.into_iter().map(name).collect();
            names.sort();
            names
        };
        let mut bring_back = names(away);
        bring_back.extend(unused::to_bring_back(&self.situation(now), lost));
        bring_back.sort();
        bring_back.dedup();
        let (arcs, of) = (lost.len(), view.arcs.len());
        let keys = self.amount_of(arcs).keys;
        let waits_empty = |name: &&String| {
            self.nodes.values().any(|node| {
                node.who.id.as_str() == name.as_str()
                    && !view.members.iter().any(|m| m.incarnation == node.who.incarnation)
                    && !node.is_out(now)
                    && node.who.on_disk
                    && node.claim.is_none()
            })
        };
        Health::Unavailable {
            arcs,
            of,
            keys,
            empty: bring_back.iter().filter(waits_empty).cloned().collect(),
            bring_back,
            ended: names(ended),
            salvaged: recovery::salvaged(&self.situation(now)),
        }
    }

    /// Members that report that they take no writes, and why; and what is wrong with the disks of
    /// others.
    fn ailing(&self, now: Millis) -> (Vec<String>, Vec<String>) {
        let view = self.active.view();
        let (mut refusing, mut strained) = (Vec::new(), Vec::new());
        let mut members: Vec<&Member> =
            view.members.iter().filter(|m| !self.is_out(m.incarnation, now)).collect();
        members.sort_by_key(|member| &member.id);
        for member in members {
            let Some(node) = self.nodes.get(&member.incarnation) else { continue };
            let (id, Report { disk, is_full, .. }) = (&member.id, &node.report);
            match (disk, view.durability) {
                (DiskHealth::Failing(why), Durability::Sync) => {
                    refusing.push(format!("{id} (its disk: {why})"));
                }
                _ if *is_full => refusing.push(format!("{id} (its memory is full)")),
                (DiskHealth::Failing(why), _) => {
                    strained.push(format!("what {id} stores does not reach its disk ({why})"));
                }
                (DiskHealth::Strained(why), _) => {
                    strained.push(format!("{id} can make no image of its records ({why})"));
                }
                (DiskHealth::Sound, _) => {}
            }
        }
        (refusing, strained)
    }

    /// What there is to add to the health where writes are refused, since fewer synced copies would
    /// hold them than a write has to have; else nothing.
    pub fn refused_writes(&self, now: Millis) -> String {
        let least = self.active.view().least_copies();
        if least < 2 {
            return String::new();
        }
        let arcs = self.live_copies(now).filter(|&copies| (1..least).contains(&copies)).count();
        match arcs {
            0 => String::new(),
            arcs => format!("; fewer than {least} copies in {arcs} arcs: writes there are refused"),
        }
    }

    /// How many live members hold each arc, of those that serve it.
    fn live_copies(&self, now: Millis) -> impl Iterator<Item = usize> {
        let (situation, routes) = (self.situation(now), &self.active);
        let is_out: Vec<bool> =
            routes.view().members.iter().map(|m| situation.is_out(m.incarnation)).collect();
        (0..routes.arcs()).map(move |arc| {
            let holds = |place: usize| !is_out[place] && holders::is_synced(&situation, place, arc);
            routes.replicas(arc).iter().filter(|&&place| holds(usize::from(place))).count()
        })
    }

    fn degraded(&self, now: Millis, silent: Vec<String>) -> Health {
        let want = self.active.view().copies;
        let (mut have, mut arcs) = (want, 0);
        for copies in self.live_copies(now).filter(|&copies| copies < want) {
            have = have.min(copies);
            arcs += 1;
        }
        Health::Degraded { have, want, arcs, silent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_number() {
        for level in [Level::Healthy, Level::Degraded, Level::Unavailable] {
            assert_eq!(Level::from_number(level as u8), Some(level));
        }
        assert_eq!(Level::from_number(3), None);
        let unsaved =
            |otherwise| Health::Unsaved { why: "full".into(), otherwise: Box::new(otherwise) };
        assert_eq!(unsaved(Health::Healthy).level(), Level::Degraded);
        assert_eq!(unsaved(Health::Empty).level(), Level::Unavailable);
    }

    #[test]
    fn the_line_says_what_and_how_much() {
        let healing = |percent, copies, bytes, left_ms| {
            Health::Healing { percent, copies, bytes, left_ms }.to_string()
        };
        assert_eq!(
            healing(37, 900, 1_234_000_000, Some(11_200)),
            "healing: 37 % of 1.2 GB, about 12 s left"
        );
        assert_eq!(healing(0, 900, 0, None), "healing: 0 % of 900 arcs");
        let few = Health::Degraded { have: 2, want: 3, arcs: 812, silent: vec![] };
        assert_eq!(few.to_string(), "degraded: 2 of 3 copies in 812 arcs, more nodes are needed");
        // Nodes that are to be brought back may be there already.
        let bring_back = vec!["node1".into()];
        let (ended, salvaged) = (vec![], vec![]);
        let lost = Health::Unavailable {
            arcs: 8,
            of: 16,
            keys: 7,
            bring_back,
            empty: vec![],
            ended,
            salvaged,
        };
        for (otherwise, want) in [
            (
                few,
                "degraded: the manager cannot save its views (why), and no view changes until it can",
            ),
            (
                lost,
                "unavailable: the manager cannot save its views (why), and takes nobody in until it can; \
                 8 of 16 arcs have no live replica",
            ),
        ] {
            let unsaved = Health::Unsaved { why: "why".into(), otherwise: Box::new(otherwise) };
            assert_eq!(unsaved.to_string(), want);
        }
    }
}
