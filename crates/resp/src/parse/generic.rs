//! Commands about keys, whatever they hold.

use super::argument::integer;
use super::{expiry, scan};
use crate::args::Args;
use crate::command::Command;
use crate::edit::Edit;
use crate::error::Error;
use crate::look::Look;
use crate::spec::Name;

/// Reads a command about keys.
pub fn parse<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let key = args.at(1);
    let look = |look| Ok(Command::Look { key, look });
    let edit = |edit| Ok(Command::Edit { key, edit });
    match name {
        Name::Del | Name::Unlink if args.len() == 2 => edit(Edit::Remove),
        Name::Del | Name::Unlink => Ok(Command::RemoveMany(args.from(1))),
        Name::Exists | Name::Touch if args.len() == 2 => look(Look::Exists),
        Name::Exists | Name::Touch => Ok(Command::CountMany(args.from(1))),
        Name::Type => look(Look::Type),
        Name::Expire | Name::PExpire | Name::ExpireAt | Name::PExpireAt => {
            edit(expiry::expire(name, args, now_ms)?)
        }
        Name::Ttl => look(Look::Seconds),
        Name::PTtl => look(Look::Milliseconds),
        Name::ExpireTime => look(Look::ExpirySeconds),
        Name::PExpireTime => look(Look::ExpiryMilliseconds),
        Name::Persist => edit(Edit::Persist),
        Name::Scan => scan::scan(args).map(Command::Scan),
        Name::Keys => Ok(Command::Keys(key)),
        Name::RandomKey => Ok(Command::RandomKey),
        Name::Wait => wait(args.at(1), args.at(2)),
        other => Err(Error::WrongArity(other)),
    }
}

/// WAIT numreplicas timeout.
fn wait<'b>(copies: &[u8], timeout: &[u8]) -> Result<Command<'b>, Error> {
    integer(copies)?;
    match integer(timeout).map_err(|_| Error::TimeoutNumber)? {
        ..0 => Err(Error::NegativeTimeout),
        _ => Ok(Command::Wait),
    }
}
