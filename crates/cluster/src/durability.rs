//! What an acknowledged write is worth when all replicas of a key lose their power at once
//! (`docs/operations.md`, records on disk).
//!
//! It is the cluster's promise, not a node's: every view names it.

use std::fmt;
use std::str::FromStr;

/// What is left of an acknowledged write when all its replicas end at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// Nothing: records live in memory.
    None,
    /// It is there again if it was older than about a second. What each disk has is merged, so all of them
    /// are waited for.
    #[default]
    Async,
    /// It is there again if one of their disks is: no answer vouches for a record that is not on the disk.
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
