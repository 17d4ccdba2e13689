//! Commands about keys, whatever their content.

use super::argument::integer;
use super::{expiry, scan};
use crate::args::Args;
use crate::command::Command;
use crate::error::Error;
use crate::read::Read;
use crate::spec::Name;
use crate::update::Update;

/// Parses a command about keys.
pub fn parse<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let key = args.at(1);
    let read = |read| Ok(Command::Read { key, read });
    let update = |update| Ok(Command::Update { key, update });
    match name {
        Name::Del | Name::Unlink if args.len() == 2 => update(Update::Remove),
        Name::Del | Name::Unlink => Ok(Command::RemoveMany(args.from(1))),
        Name::Exists | Name::Touch if args.len() == 2 => read(Read::Exists),
        Name::Exists | Name::Touch => Ok(Command::CountMany(args.from(1))),
        Name::Type => read(Read::Type),
        Name::Expire | Name::PExpire | Name::ExpireAt | Name::PExpireAt => {
            update(expiry::expire(name, args, now_ms)?)
        }
        Name::Ttl => read(Read::Seconds),
        Name::PTtl => read(Read::Milliseconds),
        Name::ExpireTime => read(Read::ExpirySeconds),
        Name::PExpireTime => read(Read::ExpiryMilliseconds),
        Name::Persist => update(Update::Persist),
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
