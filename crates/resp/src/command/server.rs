//! Commands about the node, the cluster and transactions.

use super::counter::integer;
use super::{Command, Keys, is};
use crate::error::Error;
use crate::request::Args;
use crate::spec::{Name, Spec};

use cluster::slot::SLOTS;

/// About the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Server<'b> {
    /// Describe all commands ([`docs`](crate::docs)).
    Commands,
    /// Count them.
    CommandCount,
    /// Describe these commands for programs; all, if there is none.
    CommandInfo(Keys<'b>),
    /// Describe these commands for people; all, if there is none.
    CommandDocs(Keys<'b>),
    /// Which arguments of this request are keys?
    CommandKeys(Args<'b>),
    /// List the names of commands, of these.
    CommandNames(NamesOf<'b>),
    /// Describe the subcommands of this family.
    Help(&'static str),
    /// Count from 0 again.
    ResetStatistics,
    /// Since when is what it holds on disk?
    LastSave,
    /// Which modules are there?
    Modules,
    /// What is configured under names that match one of these patterns?
    ConfigGet(Keys<'b>),
    /// Describe the node, in these sections; those that are usual, if there is none.
    Info(Keys<'b>),
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

/// About several commands together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transaction<'b> {
    /// It begins.
    Multi,
    /// It ends, and counts.
    Exec,
    /// It ends, and does not.
    Discard,
    /// It counts only if these keys do not change.
    Watch(Keys<'b>),
    /// It counts in any case.
    Unwatch,
    /// A command is a part of it.
    Queue,
}

/// Reads what is listed in [`Command::read`].
pub fn read<'b>(spec: &Spec, args: Args<'b>) -> Result<Command<'b>, Error> {
    let names = Keys(args.from(2));
    let first = args.get(2).unwrap_or_default();
    let server = |server| Ok(Command::Server(server));
    let cluster = |cluster| Ok(Command::Cluster(cluster));
    let transaction = |transaction| Ok(Command::Transaction(transaction));
    match spec.id {
        Name::Command => server(Server::Commands),
        Name::CommandCount => server(Server::CommandCount),
        Name::CommandInfo => server(Server::CommandInfo(names)),
        Name::CommandDocs => server(Server::CommandDocs(names)),
        Name::CommandGetKeys => server(Server::CommandKeys(args.from(2))),
        Name::CommandList => server(Server::CommandNames(names_of(args.from(2))?)),
        Name::CommandHelp => server(Server::Help("command")),
        Name::ClientHelp => server(Server::Help("client")),
        Name::ClusterHelp => server(Server::Help("cluster")),
        Name::ConfigHelp => server(Server::Help("config")),
        Name::ModuleHelp => server(Server::Help("module")),
        Name::ConfigResetStat => server(Server::ResetStatistics),
        Name::LastSave => server(Server::LastSave),
        Name::ModuleList => server(Server::Modules),
        Name::ConfigGet => server(Server::ConfigGet(names)),
        Name::Info => server(Server::Info(Keys(args.from(1)))),
        Name::Time => server(Server::Time),
        Name::Role => server(Server::Role),
        Name::LolWut => server(Server::LolWut),
        Name::ClusterSlots => cluster(Cluster::Slots),
        Name::ClusterShards => cluster(Cluster::Shards),
        Name::ClusterNodes => cluster(Cluster::Nodes),
        Name::ClusterInfo => cluster(Cluster::Info),
        Name::ClusterMyId => cluster(Cluster::MyId),
        Name::ClusterKeySlot => cluster(Cluster::KeySlot(first)),
        Name::ClusterCountKeysInSlot => cluster(Cluster::CountKeysInSlot(slot(first)?)),
        Name::Multi => transaction(Transaction::Multi),
        Name::Exec => transaction(Transaction::Exec),
        Name::Discard => transaction(Transaction::Discard),
        Name::Watch => transaction(Transaction::Watch(Keys(args.from(1)))),
        Name::Unwatch => transaction(Transaction::Unwatch),
        // CONFIG and CLUSTER without a subcommand have too few arguments; the others are not ours.
        _ => Err(Error::WrongArity(spec.name)),
    }
}

fn names_of(args: Args<'_>) -> Result<NamesOf<'_>, Error> {
    let by = |name, of| (is(args.get(1).unwrap_or_default(), name), of);
    match (args.len(), args.get(0), args.get(2)) {
        (0, ..) => Ok(NamesOf::All),
        (3, Some(filter), Some(value)) if is(filter, "filterby") => {
            let all = [
                by("module", NamesOf::None),
                by("aclcat", NamesOf::Category(value)),
                by("pattern", NamesOf::Pattern(value)),
            ];
            all.into_iter().find(|(is_it, _)| *is_it).map(|(_, of)| of).ok_or(Error::Syntax)
        }
        _ => Err(Error::Syntax),
    }
}

fn slot(text: &[u8]) -> Result<u16, Error> {
    let slot = u16::try_from(integer(text)?).ok();
    slot.filter(|&slot| slot < SLOTS).ok_or(Error::InvalidSlot)
}

/// FLUSHALL and FLUSHDB [ASYNC | SYNC].
pub fn flush(args: Args<'_>) -> Result<Command<'_>, Error> {
    match (args.len(), args.get(1)) {
        (1, _) => Ok(Command::Flush),
        (2, Some(how)) if is(how, "async") || is(how, "sync") => Ok(Command::Flush),
        _ => Err(Error::Syntax),
    }
}

/// WAIT numreplicas timeout.
pub fn wait<'b>(copies: &[u8], timeout: &[u8]) -> Result<Command<'b>, Error> {
    integer(copies)?;
    match integer(timeout).map_err(|_| Error::TimeoutNumber)? {
        ..0 => Err(Error::NegativeTimeout),
        _ => Ok(Command::Wait),
    }
}
