//! CLIENT …

use super::argument::{integer, is};
use crate::args::Args;
use crate::command::{ClientCommand, Filter, InfoName, Kill, ReplyMode};
use crate::error::{self, Error};
use crate::number;
use crate::spec::Name;

/// Parses a CLIENT subcommand.
pub fn parse(name: Name, args: Args<'_>) -> Result<ClientCommand<'_>, Error> {
    Ok(match name {
        Name::ClientId => ClientCommand::Id,
        Name::ClientGetName => ClientCommand::GetName,
        Name::ClientSetName => ClientCommand::SetName(printable(args.at(2), Error::ClientName)?),
        Name::ClientSetInfo => set_info(args.at(2), args.at(3))?,
        Name::ClientInfo => ClientCommand::Info,
        Name::ClientList => ClientCommand::List(filter(args.from(2))?),
        Name::ClientReply => ClientCommand::Reply(reply_mode(args.at(2))?),
        Name::ClientKill => ClientCommand::Kill(kill(args.from(2))?),
        Name::ClientPause => pause(args.at(2), args.get(3))?,
        Name::ClientUnpause => ClientCommand::Unpause,
        Name::ClientUnblock => unblock(args.at(2), args.get(3))?,
        // CLIENT without a subcommand has too few arguments.
        other => return Err(Error::WrongArity(other)),
    })
}

fn reply_mode(mode: &[u8]) -> Result<ReplyMode, Error> {
    match mode {
        _ if is(mode, "on") => Ok(ReplyMode::On),
        _ if is(mode, "off") => Ok(ReplyMode::Off),
        _ if is(mode, "skip") => Ok(ReplyMode::SkipNext),
        _ => Err(Error::Syntax),
    }
}

fn pause<'b>(ms: &[u8], mode: Option<&[u8]>) -> Result<ClientCommand<'b>, Error> {
    let writes_only = match mode {
        None => false,
        Some(mode) if is(mode, "all") => false,
        Some(mode) if is(mode, "write") => true,
        Some(_) => return Err(Error::PauseMode),
    };
    let ms = number::integer(ms).ok_or(Error::TimeoutNumber)?;
    let ms = u64::try_from(ms).map_err(|_| Error::NegativeTimeout)?;
    Ok(ClientCommand::Pause { ms, writes_only })
}

fn unblock<'b>(id: &[u8], reason: Option<&[u8]>) -> Result<ClientCommand<'b>, Error> {
    integer(id)?;
    match reason {
        Some(reason) if !is(reason, "timeout") && !is(reason, "error") => Err(Error::UnblockReason),
        _ => Ok(ClientCommand::Unblock),
    }
}

/// A name must fit into one word of CLIENT LIST.
pub fn printable(name: &[u8], otherwise: Error) -> Result<&[u8], Error> {
    if name.iter().all(|b| matches!(b, b'!'..=b'~')) { Ok(name) } else { Err(otherwise) }
}

fn set_info<'b>(attribute: &[u8], value: &'b [u8]) -> Result<ClientCommand<'b>, Error> {
    let (which, name) = match attribute {
        _ if is(attribute, "lib-name") => (InfoName::Library, "lib-name"),
        _ if is(attribute, "lib-ver") => (InfoName::Version, "lib-ver"),
        _ => return Err(Error::UnknownInfo(error::quoted(attribute))),
    };
    Ok(ClientCommand::SetInfo(which, printable(value, Error::ClientInfo(name))?))
}

/// `ip:port`, or pairs of a condition and its value.
fn kill(args: Args<'_>) -> Result<Kill<'_>, Error> {
    let all = Kill {
        is_one: false,
        id: None,
        peer: None,
        local: None,
        is_normal: true,
        skips_caller: true,
    };
    if args.len() == 1 {
        return Ok(Kill { is_one: true, peer: args.get(0), skips_caller: false, ..all });
    }
    if !args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let mut kill = all;
    for (what, value) in args.pairs() {
        match what {
            _ if is(what, "id") => {
                let id = number::natural(value).filter(|&id| id > 0);
                kill.id = Some(id.ok_or(Error::KillId)?);
            }
            _ if is(what, "addr") => kill.peer = Some(value),
            _ if is(what, "laddr") => kill.local = Some(value),
            _ if is(what, "type") => kill.is_normal &= is_normal(value)?,
            _ if is(what, "user") => {
                if value != b"default" {
                    return Err(Error::NoUser(error::quoted(value)));
                }
            }
            _ if is(what, "skipme") && is(value, "yes") => kill.skips_caller = true,
            _ if is(what, "skipme") && is(value, "no") => kill.skips_caller = false,
            _ => return Err(Error::Syntax),
        }
    }
    Ok(kill)
}

/// Whether a connection type is the normal one; no connections of other types exist here.
fn is_normal(kind: &[u8]) -> Result<bool, Error> {
    match kind {
        _ if is(kind, "normal") => Ok(true),
        _ if ["master", "slave", "replica", "pubsub"].iter().any(|k| is(kind, k)) => Ok(false),
        _ => Err(Error::ClientType(error::quoted(kind))),
    }
}

fn filter(options: Args<'_>) -> Result<Filter<'_>, Error> {
    let (option, values) = match options.get(0) {
        None => return Ok(Filter::All),
        Some(option) => (option, options.from(1)),
    };
    if is(option, "id") && !values.is_empty() {
        return if values.iter().all(|text| number::natural(text).is_some()) {
            Ok(Filter::Ids(values))
        } else {
            Err(Error::ClientId)
        };
    }
    match (values.len(), values.get(0)) {
        (1, Some(kind)) if is(option, "type") => {
            Ok(if is_normal(kind)? { Filter::All } else { Filter::None })
        }
        _ => Err(Error::Syntax),
    }
}
