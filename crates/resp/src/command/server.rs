//! Commands about the node and the cluster.

use crate::args::Args;
use crate::spec::Name;

/// About the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Server<'b> {
    /// Describe all commands ([`docs`](crate::docs)).
    Commands,
    /// Count them.
    CommandCount,
    /// Describe these commands for programs; all, if there is none.
    CommandInfo(Args<'b>),
    /// Describe these commands for people; all, if there is none.
    CommandDocs(Args<'b>),
    /// Which arguments of this request are keys?
    CommandKeys(Args<'b>),
    /// List the names of commands, of these.
    CommandNames(NamesOf<'b>),
    /// Describe the subcommands of this family.
    Help(Name),
    /// Count from 0 again.
    ResetStatistics,
    /// Since when is what it holds on disk?
    LastSave,
    /// Which modules are there?
    Modules,
    /// What is configured under names that match one of these patterns?
    ConfigGet(Args<'b>),
    /// Describe the node, in these sections; those that are usual, if there is none.
    Info(Args<'b>),
    /// What time is it?
    Time,
    /// What is the node?
    Role,
    /// Draw something.
    LolWut,
}

/// Of which commands COMMAND LIST tells the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesOf<'b> {
    /// All.
    All,
    /// None: those of a module.
    None,
    /// Those of a category, `read` or `@read`.
    Category(&'b [u8]),
    /// Those that match a pattern.
    Pattern(&'b [u8]),
}

/// About the cluster ([`topology`](crate::topology)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster<'b> {
    /// Which nodes keep which slots?
    Slots,
    /// Which slots is each node the first to keep?
    Shards,
    /// Describe the nodes.
    Nodes,
    /// Describe the cluster.
    Info,
    /// Which node is this?
    MyId,
    /// Which slot has a key?
    KeySlot(&'b [u8]),
    /// How many keys of a slot does this node keep?
    CountKeysInSlot(u16),
}
