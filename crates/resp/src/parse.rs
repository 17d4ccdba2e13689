//! From arguments to commands.
//!
//! Each group of the [table of commands](crate::spec) has a file that parses its arguments.
//!
//! Times to live become absolute here, by the clock of the node that parses the command.

use crate::args::Args;
use crate::command::{Command, TransactionCommand};
use crate::error::Error;
use crate::spec::{Group, Name, Spec};

mod argument;
mod client;
mod cluster;
mod connection;
mod expiry;
mod generic;
mod recipe;
mod scan;
mod server;
mod string;

#[cfg(test)]
mod tests;

impl<'b> Command<'b> {
    /// Parses the arguments of a command that [`find`](crate::lookup::find) has found, on a node
    /// whose wall clock shows `now_ms`.
    ///
    /// # Errors
    /// [`Error`] for invalid arguments.
    pub fn parse(spec: &Spec, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
        match spec.group {
            Group::String => string::parse(spec.id, args, now_ms),
            Group::Generic => generic::parse(spec.id, args, now_ms),
            Group::Scripting => recipe::parse(spec.id, args, now_ms),
            Group::Connection => connection::parse(spec.id, args),
            Group::Cluster => cluster::parse(spec.id, args),
            Group::Server => server::parse(spec.id, args),
            Group::Transactions => transaction(spec.id, args).map(Command::Transaction),
        }
    }
}

fn transaction(name: Name, args: Args<'_>) -> Result<TransactionCommand<'_>, Error> {
    match name {
        Name::Multi => Ok(TransactionCommand::Multi),
        Name::Exec => Ok(TransactionCommand::Exec),
        Name::Discard => Ok(TransactionCommand::Discard),
        Name::Watch => Ok(TransactionCommand::Watch(args.from(1))),
        Name::Unwatch => Ok(TransactionCommand::Unwatch),
        other => Err(Error::WrongArity(other)),
    }
}
