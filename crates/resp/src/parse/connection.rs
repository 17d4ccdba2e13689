//! Commands about the connection itself.

use super::argument::{integer, is};
use super::client;
use crate::args::Args;
use crate::command::{Command, ConnectionCommand, Hello, ServerCommand};
use crate::error::{self, Error};
use crate::number;
use crate::reply::Protocol;
use crate::spec::Name;

/// Parses a command about the connection.
pub fn parse(name: Name, args: Args<'_>) -> Result<Command<'_>, Error> {
    let connection = match name {
        Name::Ping if args.len() > 2 => return Err(Error::WrongArity(name)),
        Name::Ping => ConnectionCommand::Ping(args.get(1)),
        Name::Echo => ConnectionCommand::Echo(args.at(1)),
        Name::Hello => ConnectionCommand::Hello(hello(args)?),
        Name::Auth => match args.len() {
            2 => ConnectionCommand::Auth { user: None, password: args.at(1) },
            3 => ConnectionCommand::Auth { user: Some(args.at(1)), password: args.at(2) },
            _ => return Err(Error::Syntax),
        },
        Name::Select => match integer(args.at(1))? {
            0 => ConnectionCommand::Select,
            _ => return Err(Error::DatabaseRange),
        },
        Name::Quit => ConnectionCommand::Quit,
        Name::Reset => ConnectionCommand::Reset,
        Name::ClientHelp => return Ok(Command::Server(ServerCommand::Help(Name::Client))),
        Name::ClientNoEvict | Name::ClientNoTouch => match args.at(2) {
            switch if is(switch, "on") || is(switch, "off") => ConnectionCommand::Noop,
            _ => return Err(Error::Syntax),
        },
        _ => ConnectionCommand::Client(client::parse(name, args)?),
    };
    Ok(Command::Connection(connection))
}

fn hello(args: Args<'_>) -> Result<Hello<'_>, Error> {
    let mut hello = Hello::default();
    let Some(version) = args.get(1) else {
        return Ok(hello);
    };
    hello.protocol = match number::integer(version).ok_or(Error::ProtocolNumber)? {
        2 => Some(Protocol::Resp2),
        3 => Some(Protocol::Resp3),
        _ => return Err(Error::UnsupportedProtocol),
    };
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        let unknown = || Error::HelloOption(error::quoted(option));
        if is(option, "auth") {
            let (Some(user), Some(password)) = (options.next(), options.next()) else {
                return Err(unknown());
            };
            hello.auth = Some((user, password));
        } else if is(option, "setname") {
            let name = options.next().ok_or_else(unknown)?;
            hello.name = Some(client::printable(name, Error::ClientName)?);
        } else {
            return Err(unknown());
        }
    }
    Ok(hello)
}
