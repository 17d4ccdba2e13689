//! What goes wrong, what an operator asks for meanwhile, and how both are called.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use harness::operator::OperatorCommand;
use harness::party::{Party, node_name};
use harness::proxy::{Cut, Direction};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChaosFault {
    /// A node's process is killed, and started again later.
    Kill(usize),
    /// A node's process stands still for a while.
    Stop(usize),
    /// The manager's process is killed, and started again later.
    KillManager,
    /// The manager's process stands still for a while.
    StopManager,
    /// A link is cut for a while.
    Cut(Cut),
    /// Half of the clients' connections to two nodes.
    Halves(Cut, Cut),
}

impl ChaosFault {
    /// Its kind, to count.
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

    /// The node that may lose its records, or its place in the view.
    pub fn risks(&self) -> Option<usize> {
        match self {
            ChaosFault::Kill(node) | ChaosFault::Stop(node) => Some(*node),
            ChaosFault::Cut(Cut { from: Party::Node(node), to: Party::Manager, .. }) => Some(*node),
            _ => None,
        }
    }

    /// Whether the manager stands still or is gone.
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

/// What is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedChange {
    /// These nodes, which do not run, are started at once.
    Join(Vec<usize>),
    /// This node leaves.
    Leave(usize),
    /// This node gets this weight.
    Weight(usize, u32),
    /// So many copies are to be kept.
    Copies(usize),
    /// What is under way is taken back.
    Cancel,
}

impl PlannedChange {
    /// Its kind, to count.
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

    /// Its kind, where the cluster refused it.
    pub fn refused(&self) -> &'static str {
        match self {
            PlannedChange::Join(_) => self.kind(),
            PlannedChange::Leave(_) => "leave, refused",
            PlannedChange::Weight(..) => "change of a weight, refused",
            PlannedChange::Copies(_) => "change of K, refused",
            PlannedChange::Cancel => "cancel, refused",
        }
    }

    /// What the operator is to ask for; nothing for a join, which is a process that starts.
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

/// Which changes there are to be.
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
    /// Changes are taken back.
    pub cancel: bool,
}

impl WantedChanges {
    /// All of them.
    pub const ALL: WantedChanges =
        WantedChanges { join: true, leave: true, weight: true, rep: true, cancel: true };

    /// None of them.
    pub const NONE: WantedChanges =
        WantedChanges { join: false, leave: false, weight: false, rep: false, cancel: false };

    /// The verbs of the client command that they take.
    pub fn verbs(&self) -> Vec<&'static str> {
        let verbs = [
            (self.leave, "leave"),
            (self.weight, "weight"),
            (self.rep, "rep"),
            (self.cancel, "cancel"),
        ];
        verbs.into_iter().filter_map(|(is_wanted, verb)| is_wanted.then_some(verb)).collect()
    }

    /// Whether there are to be any.
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

/// How something counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something went wrong.
    Fault,
    /// A node was killed while all else was well.
    CalmKill,
    /// It was planned: nothing went wrong.
    Change,
}

/// A fault that has ended, or has not yet; or a change.
#[derive(Debug, Clone)]
pub struct PastEvent {
    /// Its kind, to count.
    pub kind: &'static str,
    /// What it was.
    pub what: String,
    /// From when, on the histories' clock.
    pub from: u64,
    /// How long it was to last.
    pub lasts: Duration,
    /// Whether something went wrong.
    pub nature: EventKind,
}

impl PastEvent {
    /// Whether a node was killed.
    pub fn is_kill(&self) -> bool {
        self.kind == KILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_say_what_they_are() {
        assert_eq!(PlannedChange::Join(vec![5, 6]).to_string(), "start node6 node7");
        assert_eq!(PlannedChange::Leave(2).to_string(), "client --leave node3");
        assert_eq!(PlannedChange::Weight(0, 3).to_string(), "client --weight node1=3");
        assert_eq!(PlannedChange::Copies(4).to_string(), "client --rep 4");
        assert_eq!(PlannedChange::Cancel.to_string(), "client --cancel");
        assert_eq!(PlannedChange::Join(vec![1]).kind(), "join of a node");
        assert_eq!(PlannedChange::Copies(4).refused(), "change of K, refused");
    }

    #[test]
    fn changes_are_chosen_by_name() {
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
