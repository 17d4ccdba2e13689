//! Commands about the cluster.

use super::argument::integer;
use crate::args::Args;
use crate::command::{ClusterCommand, Command, ConnectionCommand, ServerCommand};
use crate::error::Error;
use crate::spec::Name;
use crate::topology::SLOTS;

/// Parses a command about the cluster.
pub fn parse(name: Name, args: Args<'_>) -> Result<Command<'_>, Error> {
    let first = args.at(2);
    let cluster = |cluster| Ok(Command::Cluster(cluster));
    match name {
        Name::ClusterSlots => cluster(ClusterCommand::Slots),
        Name::ClusterShards => cluster(ClusterCommand::Shards),
        Name::ClusterNodes => cluster(ClusterCommand::Nodes),
        Name::ClusterInfo => cluster(ClusterCommand::Info),
        Name::ClusterMyId => cluster(ClusterCommand::MyId),
        Name::ClusterKeySlot => cluster(ClusterCommand::KeySlot(first)),
        Name::ClusterCountKeysInSlot => cluster(ClusterCommand::CountKeysInSlot(slot(first)?)),
        Name::ClusterHelp => Ok(Command::Server(ServerCommand::Help(Name::Cluster))),
        Name::ReadOnly => Ok(Command::Connection(ConnectionCommand::ReadOnly)),
        Name::ReadWrite => Ok(Command::Connection(ConnectionCommand::Noop)),
        // CLUSTER without a subcommand has too few arguments.
        other => Err(Error::WrongArity(other)),
    }
}

fn slot(text: &[u8]) -> Result<u16, Error> {
    let slot = u16::try_from(integer(text)?).ok();
    slot.filter(|&slot| slot < SLOTS).ok_or(Error::InvalidSlot)
}
