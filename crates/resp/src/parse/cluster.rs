//! Commands about the cluster.

use super::argument::integer;
use crate::args::Args;
use crate::command::{Cluster, Command, Connection, Server};
use crate::error::Error;
use crate::spec::Name;
use crate::topology::SLOTS;

/// Parses a command about the cluster.
pub fn parse(name: Name, args: Args<'_>) -> Result<Command<'_>, Error> {
    let first = args.at(2);
    let cluster = |cluster| Ok(Command::Cluster(cluster));
    match name {
        Name::ClusterSlots => cluster(Cluster::Slots),
        Name::ClusterShards => cluster(Cluster::Shards),
        Name::ClusterNodes => cluster(Cluster::Nodes),
        Name::ClusterInfo => cluster(Cluster::Info),
        Name::ClusterMyId => cluster(Cluster::MyId),
        Name::ClusterKeySlot => cluster(Cluster::KeySlot(first)),
        Name::ClusterCountKeysInSlot => cluster(Cluster::CountKeysInSlot(slot(first)?)),
        Name::ClusterHelp => Ok(Command::Server(Server::Help(Name::Cluster))),
        Name::ReadOnly => Ok(Command::Connection(Connection::ReadOnly)),
        Name::ReadWrite => Ok(Command::Connection(Connection::Noop)),
        // CLUSTER without a subcommand has too few arguments.
        other => Err(Error::WrongArity(other)),
    }
}

fn slot(text: &[u8]) -> Result<u16, Error> {
    let slot = u16::try_from(integer(text)?).ok();
    slot.filter(|&slot| slot < SLOTS).ok_or(Error::InvalidSlot)
}
