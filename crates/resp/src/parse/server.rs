//! Commands about the node.

use super::argument::is;
use crate::args::Args;
use crate::command::{Command, NamesOf, ServerCommand};
use crate::error::Error;
use crate::spec::Name;

/// Parses a command about the node.
pub fn parse(name: Name, args: Args<'_>) -> Result<Command<'_>, Error> {
    let server = |server| Ok(Command::Server(server));
    match name {
        Name::Command => server(ServerCommand::Commands),
        Name::CommandCount => server(ServerCommand::CommandCount),
        Name::CommandInfo => server(ServerCommand::CommandInfo(args.from(2))),
        Name::CommandDocs => server(ServerCommand::CommandDocs(args.from(2))),
        Name::CommandGetKeys => server(ServerCommand::CommandKeys(args.from(2))),
        Name::CommandList => server(ServerCommand::CommandNames(names_of(args.from(2))?)),
        Name::CommandHelp => server(ServerCommand::Help(Name::Command)),
        Name::ConfigHelp => server(ServerCommand::Help(Name::Config)),
        Name::ModuleHelp => server(ServerCommand::Help(Name::Module)),
        Name::ConfigResetStat => server(ServerCommand::ResetStatistics),
        Name::LastSave => server(ServerCommand::LastSave),
        Name::ModuleList => server(ServerCommand::Modules),
        Name::ConfigGet => server(ServerCommand::ConfigGet(args.from(2))),
        Name::Info => server(ServerCommand::Info(args.from(1))),
        Name::Time => server(ServerCommand::Time),
        Name::Role => server(ServerCommand::Role),
        Name::LolWut => server(ServerCommand::LolWut),
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
