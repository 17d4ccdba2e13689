//! The condition of a node, as reported to an operator: its part in the cluster, and its disk.

use std::fmt;
use std::str::FromStr;

/// A node's part in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Registered, and no member yet.
    Waiting,
    /// A member that fetches what it is to hold.
    Joining,
    /// A member that serves.
    Active,
    /// A member that serves until the others hold what it holds.
    Leaving,
    /// It has left, as it was asked to.
    Left,
    /// Its lease is over, or its process has ended.
    Down,
}

impl NodeState {
    /// All there are.
    const ALL: [NodeState; 6] = [
        NodeState::Waiting,
        NodeState::Joining,
        NodeState::Active,
        NodeState::Leaving,
        NodeState::Left,
        NodeState::Down,
    ];

    /// Its name in the output.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Waiting => "waiting",
            NodeState::Joining => "joining",
            NodeState::Active => "active",
            NodeState::Leaving => "leaving",
            NodeState::Left => "left",
            NodeState::Down => "down",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NodeState {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<NodeState, &'static str> {
        NodeState::ALL.into_iter().find(|state| state.as_str() == word).ok_or("no state of a node")
    }
}

/// The condition of a node's disk, by its own report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum DiskHealth {
    /// What it stores reaches its disk, or it has none.
    #[default]
    Sound,
    /// The same, but no checkpoint of its records can be made, for this reason: its log gets longer
    /// and longer.
    Strained(String),
    /// What it stores does not reach its disk, for this reason.
    Failing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in NodeState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("asleep".parse::<NodeState>().is_err());
    }
}
