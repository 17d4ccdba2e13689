//! What survives of acknowledged writes when all replicas of a key fail at once
//! (`docs/operations.md`, records on disk).
//!
//! It is the cluster's promise, not a node's: every view names it.

use std::fmt;
use std::str::FromStr;

/// What survives of an acknowledged write when all its replicas fail at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// Nothing: records live in memory.
    None,
    /// Writes that are older than about a second survive. The disks' records are merged, so
    /// recovery waits for all of them.
    #[default]
    Async,
    /// Writes survive if one of the disks does: no node acknowledges a record before it is on its
    /// disk.
    Sync,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::None => "none",
            Durability::Async => "async",
            Durability::Sync => "sync",
        })
    }
}

impl FromStr for Durability {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Durability, &'static str> {
        match word {
            "none" => Ok(Durability::None),
            "async" => Ok(Durability::Async),
            "sync" => Ok(Durability::Sync),
            _ => Err("it takes none, async or sync"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for how in [Durability::None, Durability::Async, Durability::Sync] {
            assert_eq!(how.to_string().parse(), Ok(how));
        }
        assert_eq!("always".parse::<Durability>(), Err("it takes none, async or sync"));
    }
}
