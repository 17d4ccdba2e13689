//! Commands about the node.

use super::argument::is;
use crate::args::Args;
use crate::command::{Command, NamesOf, Server};
use crate::error::Error;
use crate::spec::Name;

/// Parses a command about the node.
pub fn parse(name: Name, args: Args<'_>) -> Result<Command<'_>, Error> {
    let server = |server| Ok(Command::Server(server));
    match name {
        Name::Command => server(Server::Commands),
        Name::CommandCount => server(Server::CommandCount),
        Name::CommandInfo => server(Server::CommandInfo(args.from(2))),
        Name::CommandDocs => server(Server::CommandDocs(args.from(2))),
        Name::CommandGetKeys => server(Server::CommandKeys(args.from(2))),
        Name::CommandList => server(Server::CommandNames(names_of(args.from(2))?)),
        Name::CommandHelp => server(Server::Help(Name::Command)),
        Name::ConfigHelp => server(Server::Help(Name::Config)),
        Name::ModuleHelp => server(Server::Help(Name::Module)),
        Name::ConfigResetStat => server(Server::ResetStatistics),
        Name::LastSave => server(Server::LastSave),
        Name::ModuleList => server(Server::Modules),
        Name::ConfigGet => server(Server::ConfigGet(args.from(2))),
        Name::Info => server(Server::Info(args.from(1))),
        Name::Time => server(Server::Time),
        Name::Role => server(Server::Role),
        Name::LolWut => server(Server::LolWut),
        Name::DbSize => Ok(Command::DbSize),
        Name::FlushAll | Name::FlushDb => flush(args),
        // CONFIG and MODULE without a subcommand have too few arguments.
        other => Err(Error::WrongArity(other)),
    }
}

fn names_of(args: Args<'_>) -> Result<NamesOf<'_>, Error> {
    let by = |name, of| (is(args.at(1), name), of);
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

/// FLUSHALL and FLUSHDB [ASYNC | SYNC].
fn flush(args: Args<'_>) -> Result<Command<'_>, Error> {
    match (args.len(), args.get(1)) {
        (1, _) => Ok(Command::Flush),
        (2, Some(how)) if is(how, "async") || is(how, "sync") => Ok(Command::Flush),
        _ => Err(Error::Syntax),
    }
}
