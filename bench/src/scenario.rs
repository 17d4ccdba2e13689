//! The scenarios of the original's tests: small, printed step by step as the
//! client command would print them, and every answer checked.
//!
//! [`session`] runs and checks a single step; this module lists the steps.

pub mod session;

mod basic;
mod failover;
mod several;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use client::ClientError;
use cluster::ids::NodeId;
use cluster::text::count;
use rand::SeedableRng;
use rand::rngs::StdRng;
use thiserror::Error;

use crate::processes::{KillNode, ProcessError};
use crate::target::StoreTarget;
use session::ScenarioSession;

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Three clients at once.
    Single,
    /// A few puts and gets on one node.
    Test1,
    /// The same on five nodes with three copies.
    Test2,
    /// A node is killed.
    Test3,
    /// Two nodes are killed at once.
    Test4,
}

impl Scenario {
    /// Their names.
    pub const NAMES: &str = "single, test1, test2, test3, test4";

    /// Nodes and copies of the cluster that it needs.
    pub fn shape(self) -> ClusterShape {
        let (nodes, copies) = match self {
            Scenario::Single => (2, 2),
            Scenario::Test1 => (1, 1),
            Scenario::Test2 => (5, 3),
            Scenario::Test3 => (3, 2),
            Scenario::Test4 => (7, 3),
        };
        ClusterShape { nodes, copies }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "single" => Ok(Scenario::Single),
            "test1" => Ok(Scenario::Test1),
            "test2" => Ok(Scenario::Test2),
            "test3" => Ok(Scenario::Test3),
            "test4" => Ok(Scenario::Test4),
            _ => Err(format!("{name:?} is none of {}", Self::NAMES)),
        }
    }
}

/// The size of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterShape {
    /// Nodes that serve.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
}

impl fmt::Display for ClusterShape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} with K={}", count(self.nodes, "node"), self.copies)
    }
}

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WrongResult {
    /// A key that was put is absent.
    #[error("{key} is not there, {want:?} was put")]
    Missing {
        /// The key.
        key: String,
        /// The value it should have.
        want: String,
    },
    /// A key does not have its newest value.
    #[error("{key} is {got:?}, yet {want:?} was put last")]
    Value {
        /// The key.
        key: String,
        /// The value it should have.
        want: String,
        /// The value it has.
        got: String,
    },
    /// A key was not read from its primary although all nodes live.
    #[error("{key} was read from {got}, yet its primary is {want}")]
    Node {
        /// The key.
        key: String,
        /// Its primary.
        want: NodeId,
        /// The node that answered.
        got: NodeId,
    },
    /// A killed node answered.
    #[error("{key} was answered by {node}, which was killed")]
    Undead {
        /// The key.
        key: String,
        /// The dead node.
        node: NodeId,
    },
    /// A put was acknowledged with more or fewer copies than the cluster keeps.
    #[error(
        "{key} was acknowledged by {}, the cluster keeps {}",
        count(*.got, "node"),
        count(*.want, "copy")
    )]
    Copies {
        /// The key.
        key: String,
        /// K.
        want: usize,
        /// How many acknowledged.
        got: usize,
    },
    /// No node became primary of enough keys.
    #[error("no node is primary of {wanted} of {keys} keys")]
    Lopsided {
        /// How many keys one node should have.
        wanted: usize,
        /// Keys that were put.
        keys: usize,
    },
}

/// A failed scenario.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// An answer was wrong.
    #[error("WRONG: {0}")]
    Wrong(#[from] WrongResult),
    /// The store failed.
    #[error("{what}: {source}")]
    Store {
        /// The operation.
        what: String,
        /// Its error.
        source: ClientError,
    },
    /// A node could not be killed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The output could not be written.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

/// Runs `scenario` on an empty cluster of its [`Scenario::shape`], and prints each step. `connect`
/// creates additional clients; `seed` determines which nodes are killed.
///
/// # Errors
/// [`ScenarioError`] with the first wrong answer.
pub fn play<T: StoreTarget>(
    scenario: Scenario,
    connect: impl Fn() -> Result<T, ClientError> + Sync,
    killer: &impl KillNode,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), ScenarioError> {
    let init =
        || connect().map_err(|source| ScenarioError::Store { what: "init".to_owned(), source });
    let copies = scenario.shape().copies;
    match scenario {
        Scenario::Single => several::play(&init, copies, out),
        Scenario::Test1 | Scenario::Test2 => {
            basic::play(&mut ScenarioSession::new(&init()?, copies, out))
        }
        Scenario::Test3 => failover::one(&mut ScenarioSession::new(&init()?, copies, out), killer),
        Scenario::Test4 => {
            let mut rng = StdRng::seed_from_u64(seed);
            failover::two(&mut ScenarioSession::new(&init()?, copies, out), killer, &mut rng)
        }
    }
}

#[cfg(test)]
mod tests;
