//! Faults, planned changes and their names in the report.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use harness::operator::OperatorCommand;
use harness::party::{Party, node_name};
use harness::proxy::{Cut, Direction};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChaosFault {
    /// A node's process is killed and restarted later.
    Kill(usize),
    /// A node's process is suspended for a while.
    Stop(usize),
    /// The manager's process is killed and restarted later.
    KillManager,
    /// The manager's process is suspended for a while.
    StopManager,
    /// A link is cut for a while.
    Cut(Cut),
    /// Half of the clients' connections to two nodes are cut.
    Halves(Cut, Cut),
}

impl ChaosFault {
    /// Its kind in the report.
    pub fn kind(&self, lasts: Duration, lease: Duration) -> &'static str {
        match self {
            ChaosFault::Kill(_) => KILL,
            ChaosFault::Stop(_) if lasts > lease => "stop of a node past its lease",
            ChaosFault::Stop(_) => "stop of a node",
            ChaosFault::KillManager => "kill -9 of the manager, restart",
            ChaosFault::StopManager => "stop of the manager",
            ChaosFault::Cut(cut) => match (cut.from, cut.to) {
                (Party::Client, Party::Manager) => "cut clients -> manager",
                (Party::Client, _) => "cut clients -> node",
                (_, Party::Manager) => "cut node -> manager",
                _ => "cut node -> node",
            },
            ChaosFault::Halves(..) => "cut half of clients -> two nodes",
        }
    }

    /// The node that may lose its records or its place in the view.
    pub fn risks(&self) -> Option<usize> {
        match self {
            ChaosFault::Kill(node) | ChaosFault::Stop(node) => Some(*node),
            ChaosFault::Cut(Cut { from: Party::Node(node), to: Party::Manager, .. }) => Some(*node),
            _ => None,
        }
    }

    /// Whether it suspends or kills the manager.
    pub fn is_managers(&self) -> bool {
        matches!(self, ChaosFault::KillManager | ChaosFault::StopManager)
    }
}

/// The kind of [`ChaosFault::Kill`].
const KILL: &str = "kill -9 of a node, restart";

impl fmt::Display for ChaosFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChaosFault::Kill(node) => write!(f, "kill -9 {}", node_name(*node)),
            ChaosFault::Stop(node) => write!(f, "stop {}", node_name(*node)),
            ChaosFault::KillManager => f.write_str("kill -9 the manager"),
            ChaosFault::StopManager => f.write_str("stop the manager"),
            ChaosFault::Cut(cut) => write!(f, "cut {}", link(cut)),
            ChaosFault::Halves(a, b) => write!(f, "cut half of {} and of {}", link(a), link(b)),
        }
    }
}

fn link(cut: &Cut) -> String {
    let what = match cut.way {
        Direction::Both => "both ways",
        Direction::Requests => "requests",
        Direction::Replies => "replies",
    };
    format!("{} -> {} ({what})", cut.from, cut.to)
}

/// A planned change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedChange {
    /// These nodes are started at once.
    Join(Vec<usize>),
    /// This node leaves.
    Leave(usize),
    /// This node gets this weight.
    Weight(usize, u32),
    /// K becomes this number.
    Copies(usize),
    /// The change in progress is cancelled.
    Cancel,
}

impl PlannedChange {
    /// Its kind in the report.
    pub fn kind(&self) -> &'static str {
        match self {
            PlannedChange::Join(nodes) if nodes.len() > 1 => "join of several nodes",
            PlannedChange::Join(_) => "join of a node",
            PlannedChange::Leave(_) => "leave",
            PlannedChange::Weight(..) => "change of a weight",
            PlannedChange::Copies(_) => "change of K",
            PlannedChange::Cancel => "cancel",
        }
    }

    /// Its kind in the report if the cluster refused it.
    pub fn refused(&self) -> &'static str {
        match self {
            PlannedChange::Join(_) => self.kind(),
            PlannedChange::Leave(_) => "leave, refused",
            PlannedChange::Weight(..) => "change of a weight, refused",
            PlannedChange::Copies(_) => "change of K, refused",
            PlannedChange::Cancel => "cancel, refused",
        }
    }

    /// The operator's command; none for a join, which starts processes instead.
    pub fn order(&self) -> Option<OperatorCommand> {
        match *self {
            PlannedChange::Join(_) => None,
            PlannedChange::Leave(node) => Some(OperatorCommand::Leave(node_name(node))),
            PlannedChange::Weight(node, weight) => {
                Some(OperatorCommand::Weight(node_name(node), weight))
            }
            PlannedChange::Copies(copies) => Some(OperatorCommand::Copies(copies)),
            PlannedChange::Cancel => Some(OperatorCommand::Cancel),
        }
    }
}

impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.order()) {
            (PlannedChange::Join(nodes), _) => {
                let names: Vec<String> = nodes.iter().map(|&node| node_name(node)).collect();
                write!(f, "start {}", names.join(" "))
            }
            (_, Some(order)) => write!(f, "client {order}"),
            (_, None) => unreachable!("only a join has no order"),
        }
    }
}

/// The planned changes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedChanges {
    /// Nodes join.
    pub join: bool,
    /// Nodes leave.
    pub leave: bool,
    /// Weights change.
    pub weight: bool,
    /// K changes.
    pub rep: bool,
    /// Changes are cancelled.
    pub cancel: bool,
}

impl WantedChanges {
    /// All of them.
    pub const ALL: WantedChanges =
        WantedChanges { join: true, leave: true, weight: true, rep: true, cancel: true };

    /// None of them.
    pub const NONE: WantedChanges =
        WantedChanges { join: false, leave: false, weight: false, rep: false, cancel: false };

    /// The verbs of the client command that they need.
    pub fn verbs(&self) -> Vec<&'static str> {
        let verbs = [
            (self.leave, "leave"),
            (self.weight, "weight"),
            (self.rep, "rep"),
            (self.cancel, "cancel"),
        ];
        verbs.into_iter().filter_map(|(is_wanted, verb)| is_wanted.then_some(verb)).collect()
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        *self != WantedChanges::NONE
    }
}

impl FromStr for WantedChanges {
    type Err = String;

    fn from_str(text: &str) -> Result<WantedChanges, String> {
        match text {
            "all" => return Ok(WantedChanges::ALL),
            "none" => return Ok(WantedChanges::NONE),
            _ => {}
        }
        let mut wanted = WantedChanges::NONE;
        for word in text.split(',') {
            match word.trim() {
                "join" => wanted.join = true,
                "leave" => wanted.leave = true,
                "weight" => wanted.weight = true,
                "rep" => wanted.rep = true,
                "cancel" => wanted.cancel = true,
                other => {
                    return Err(format!(
                        "{other:?} is no change: join, leave, weight, rep, cancel, all or none"
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

/// How an event counts in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A fault.
    Fault,
    /// A kill of a node in a healthy cluster.
    CalmKill,
    /// A planned change.
    Change,
}

/// A fault or a planned change that has begun.
#[derive(Debug, Clone)]
pub struct PastEvent {
    /// Its kind in the report.
    pub kind: &'static str,
    /// A description.
    pub what: String,
    /// Its start on the histories' clock.
    pub from: u64,
    /// Its intended duration.
    pub lasts: Duration,
    /// How it counts.
    pub nature: EventKind,
}

impl PastEvent {
    /// Whether it is a kill of a node.
    pub fn is_kill(&self) -> bool {
        self.kind == KILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_displayed_with_their_nodes() {
        assert_eq!(PlannedChange::Join(vec![5, 6]).to_string(), "start node6 node7");
        assert_eq!(PlannedChange::Leave(2).to_string(), "client --leave node3");
        assert_eq!(PlannedChange::Weight(0, 3).to_string(), "client --weight node1=3");
        assert_eq!(PlannedChange::Copies(4).to_string(), "client --rep 4");
        assert_eq!(PlannedChange::Cancel.to_string(), "client --cancel");
        assert_eq!(PlannedChange::Join(vec![1]).kind(), "join of a node");
        assert_eq!(PlannedChange::Copies(4).refused(), "change of K, refused");
    }

    #[test]
    fn wanted_changes_are_parsed_from_names() {
        assert_eq!("all".parse(), Ok(WantedChanges::ALL));
        assert_eq!("none".parse(), Ok(WantedChanges::NONE));
        let some: WantedChanges = "join, rep".parse().expect("two of them");
        assert!(some.join && some.rep && !some.leave && some.is_any());
        assert_eq!(some.verbs(), ["rep"]);
        assert_eq!(WantedChanges::ALL.verbs(), ["leave", "weight", "rep", "cancel"]);
        for wrong in ["", "dance", "join,,rep"] {
            wrong.parse::<WantedChanges>().expect_err(wrong);
        }
    }
}
