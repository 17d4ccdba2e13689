//! What goes wrong, what an operator asks for meanwhile, and how both are called.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use harness::operator::Order;
use harness::party::{Party, node_name};
use harness::proxy::{Cut, Way};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
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

impl Fault {
    /// Its kind, to count.
    pub fn kind(&self, lasts: Duration, lease: Duration) -> &'static str {
        match self {
            Fault::Kill(_) => KILL,
            Fault::Stop(_) if lasts > lease => "stop of a node past its lease",
            Fault::Stop(_) => "stop of a node",
            Fault::KillManager => "kill -9 of the manager, restart",
            Fault::StopManager => "stop of the manager",
            Fault::Cut(cut) => match (cut.from, cut.to) {
                (Party::Client, Party::Manager) => "cut clients -> manager",
                (Party::Client, _) => "cut clients -> node",
                (_, Party::Manager) => "cut node -> manager",
                _ => "cut node -> node",
            },
            Fault::Halves(..) => "cut half of clients -> two nodes",
        }
    }

    /// The node that may lose its records, or its place in the view.
    pub fn risks(&self) -> Option<usize> {
        match self {
            Fault::Kill(node) | Fault::Stop(node) => Some(*node),
            Fault::Cut(Cut { from: Party::Node(node), to: Party::Manager, .. }) => Some(*node),
            _ => None,
        }
    }

    /// Whether the manager stands still or is gone.
    pub fn is_managers(&self) -> bool {
        matches!(self, Fault::KillManager | Fault::StopManager)
    }
}

/// The kind of [`Fault::Kill`].
const KILL: &str = "kill -9 of a node, restart";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(node) => write!(f, "kill -9 {}", node_name(*node)),
            Fault::Stop(node) => write!(f, "stop {}", node_name(*node)),
            Fault::KillManager => f.write_str("kill -9 the manager"),
            Fault::StopManager => f.write_str("stop the manager"),
            Fault::Cut(cut) => write!(f, "cut {}", link(cut)),
            Fault::Halves(a, b) => write!(f, "cut half of {} and of {}", link(a), link(b)),
        }
    }
}

fn link(cut: &Cut) -> String {
    let what = match cut.way {
        Way::Both => "both ways",
        Way::Requests => "requests",
        Way::Replies => "replies",
    };
    format!("{} -> {} ({what})", cut.from, cut.to)
}

/// What is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
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

impl Change {
    /// Its kind, to count.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Join(nodes) if nodes.len() > 1 => "join of several nodes",
            Change::Join(_) => "join of a node",
            Change::Leave(_) => "leave",
            Change::Weight(..) => "change of a weight",
            Change::Copies(_) => "change of K",
            Change::Cancel => "cancel",
        }
    }

    /// Its kind, where the cluster refused it.
    pub fn refused(&self) -> &'static str {
        match self {
            Change::Join(_) => self.kind(),
            Change::Leave(_) => "leave, refused",
            Change::Weight(..) => "change of a weight, refused",
            Change::Copies(_) => "change of K, refused",
            Change::Cancel => "cancel, refused",
        }
    }

    /// What the operator is to ask for; nothing for a join, which is a process that starts.
    pub fn order(&self) -> Option<Order> {
        match *self {
            Change::Join(_) => None,
            Change::Leave(node) => Some(Order::Leave(node_name(node))),
            Change::Weight(node, weight) => Some(Order::Weight(node_name(node), weight)),
            Change::Copies(copies) => Some(Order::Copies(copies)),
            Change::Cancel => Some(Order::Cancel),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.order()) {
            (Change::Join(nodes), _) => {
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
pub struct Wanted {
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

impl Wanted {
    /// All of them.
    pub const ALL: Wanted =
        Wanted { join: true, leave: true, weight: true, rep: true, cancel: true };

    /// None of them.
    pub const NONE: Wanted =
        Wanted { join: false, leave: false, weight: false, rep: false, cancel: false };

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
        *self != Wanted::NONE
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        match text {
            "all" => return Ok(Wanted::ALL),
            "none" => return Ok(Wanted::NONE),
            _ => {}
        }
        let mut wanted = Wanted::NONE;
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
pub enum Nature {
    /// Something went wrong.
    Fault,
    /// A node was killed while all else was well.
    CalmKill,
    /// It was planned: nothing went wrong.
    Change,
}

/// A fault that has ended, or has not yet; or a change.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its kind, to count.
    pub kind: &'static str,
    /// What it was.
    pub what: String,
    /// From when, on the histories' clock.
    pub from: u64,
    /// How long it was to last.
    pub lasts: Duration,
    /// Whether something went wrong.
    pub nature: Nature,
}

impl Past {
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
        assert_eq!(Change::Join(vec![5, 6]).to_string(), "start node6 node7");
        assert_eq!(Change::Leave(2).to_string(), "client --leave node3");
        assert_eq!(Change::Weight(0, 3).to_string(), "client --weight node1=3");
        assert_eq!(Change::Copies(4).to_string(), "client --rep 4");
        assert_eq!(Change::Cancel.to_string(), "client --cancel");
        assert_eq!(Change::Join(vec![1]).kind(), "join of a node");
        assert_eq!(Change::Copies(4).refused(), "change of K, refused");
    }

    #[test]
    fn changes_are_chosen_by_name() {
        assert_eq!("all".parse(), Ok(Wanted::ALL));
        assert_eq!("none".parse(), Ok(Wanted::NONE));
        let some: Wanted = "join, rep".parse().expect("two of them");
        assert!(some.join && some.rep && !some.leave && some.is_any());
        assert_eq!(some.verbs(), ["rep"]);
        assert_eq!(Wanted::ALL.verbs(), ["leave", "weight", "rep", "cancel"]);
        for wrong in ["", "dance", "join,,rep"] {
            wrong.parse::<Wanted>().expect_err(wrong);
        }
    }
}
