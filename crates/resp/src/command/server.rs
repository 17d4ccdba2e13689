//! Commands about the node and the cluster.

use crate::args::Args;
use crate::spec::Name;

/// A command about the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerCommand<'b> {
    /// Describe all commands ([`docs`](crate::docs)).
    Commands,
    /// Return the number of commands.
    CommandCount,
    /// Describe these commands for programs; all commands if none is named.
    CommandInfo(Args<'b>),
    /// Describe these commands for people; all commands if none is named.
    CommandDocs(Args<'b>),
    /// Return which arguments of this request are keys.
    CommandKeys(Args<'b>),
    /// List the names of commands that match.
    CommandNames(NamesOf<'b>),
    /// Describe the subcommands of this family.
    Help(Name),
    /// Reset the statistics.
    ResetStatistics,
    /// Return the time of the last save to disk.
    LastSave,
    /// List modules.
    Modules,
    /// Return the configuration parameters that match one of these patterns.
    ConfigGet(Args<'b>),
    /// Describe the node, in these sections; in the default ones if none is named.
    Info(Args<'b>),
    /// Return the time.
    Time,
    /// Return the node's role.
    Role,
    /// Draw something.
    LolWut,
}

/// The commands that COMMAND LIST names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesOf<'b> {
    /// All commands.
    All,
    /// None: the commands of a module.
    None,
    /// The commands of a category, `read` or `@read`.
    Category(&'b [u8]),
    /// The commands that match a pattern.
    Pattern(&'b [u8]),
}

/// A command about the cluster ([`topology`](crate::topology)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterCommand<'b> {
    /// Return which nodes have which slots.
    Slots,
    /// Return which slots each node is the primary of.
    Shards,
    /// Describe the nodes.
    Nodes,
    /// Describe the cluster.
    Info,
    /// Return this node's id.
    MyId,
    /// Return the slot of a key.
    KeySlot(&'b [u8]),
    /// Count the keys of a slot on this node.
    CountKeysInSlot(u16),
}
