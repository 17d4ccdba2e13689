//! Commands about values: SET, GET, INCR and their variants.

use super::argument::{integer, is};
use super::expiry::{TimeUnit, deadline};
use crate::args::Args;
use crate::command::Command;
use crate::decimal;
use crate::error::Error;
use crate::read::Read;
use crate::spec::Name;
use crate::update::{Answering, Lifetime, SetCondition, Update};

/// Parses a command about values.
pub fn parse<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let key = args.at(1);
    let read = |read| Ok(Command::Read { key, read });
    let update = |update| Ok(Command::Update { key, update });
    match name {
        Name::Get => read(Read::Value),
        Name::Set => set(args, now_ms),
        Name::SetNx => update(setnx(args.at(2))),
        Name::SetEx | Name::PSetEx => setex(name, args, now_ms),
        Name::GetSet => update(getset(args.at(2))),
        Name::GetDel => update(Update::Take),
        Name::GetEx => getex(args, now_ms),
        Name::DelIfEq => update(Update::RemoveIf(args.at(2))),
        Name::MGet => Ok(Command::GetMany(args.from(1))),
        Name::MSet if args.len().is_multiple_of(2) => Err(Error::WrongArity(name)),
        Name::MSet => Ok(Command::PutMany(args.from(1))),
        Name::StrLen => read(Read::Length),
        Name::Append => update(Update::Append(args.at(2))),
        Name::GetRange => {
            read(Read::Range { start: integer(args.at(2))?, end: integer(args.at(3))? })
        }
        Name::Incr => update(Update::Add(1)),
        Name::Decr => update(Update::Add(-1)),
        Name::IncrBy => update(Update::Add(integer(args.at(2))?)),
        Name::DecrBy => {
            let by = integer(args.at(2))?.checked_neg().ok_or(Error::DecrementOverflow)?;
            update(Update::Add(by))
        }
        Name::IncrByFloat => {
            update(Update::AddDecimal(decimal::parse(args.at(2)).ok_or(Error::NotAFloat)?))
        }
        other => Err(Error::WrongArity(other)),
    }
}

/// The options of SET and GETEX about the time to live. They exclude each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpiryOption<'b> {
    Unset,
    Keep,
    Persist,
    Until(TimeUnit, &'b [u8]),
}

impl<'b> ExpiryOption<'b> {
    /// Adds an option with its argument; the same one again overrides.
    fn add(&mut self, option: ExpiryOption<'b>) -> Result<(), Error> {
        let again = match (*self, option) {
            (ExpiryOption::Until(one, _), ExpiryOption::Until(other, _)) => one == other,
            (one, other) => one == other,
        };
        if *self != ExpiryOption::Unset && !again {
            return Err(Error::Syntax);
        }
        *self = option;
        Ok(())
    }

    fn lifetime(self, now_ms: u64, name: Name) -> Result<Lifetime, Error> {
        Ok(match self {
            ExpiryOption::Unset | ExpiryOption::Persist => Lifetime::Until(None),
            ExpiryOption::Keep => Lifetime::Keep,
            ExpiryOption::Until(unit, text) => {
                Lifetime::Until(Some(deadline(text, unit, now_ms, name)?))
            }
        })
    }
}

/// SET key value [options]. Without a condition on the key's content it is a plain write.
fn set(args: Args<'_>, now_ms: u64) -> Result<Command<'_>, Error> {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        return Ok(Command::Put { key, value, expiry: None });
    }
    let (mut when, mut given, mut get) = (SetCondition::Always, ExpiryOption::Unset, false);
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        let condition = match option {
            _ if is(option, "get") => {
                get = true;
                continue;
            }
            _ if is(option, "keepttl") => {
                given.add(ExpiryOption::Keep)?;
                continue;
            }
            _ if is(option, "nx") => SetCondition::Absent,
            _ if is(option, "xx") => SetCondition::Present,
            _ if is(option, "ifeq") => SetCondition::Equals(options.next().ok_or(Error::Syntax)?),
            _ => {
                let unit = TimeUnit::of_option(option).ok_or(Error::Syntax)?;
                given.add(ExpiryOption::Until(unit, options.next().ok_or(Error::Syntax)?))?;
                continue;
            }
        };
        if when != SetCondition::Always && when != condition {
            return Err(Error::Syntax);
        }
        when = condition;
    }
    let lifetime = given.lifetime(now_ms, Name::Set)?;
    Ok(match (when, lifetime, get) {
        (SetCondition::Always, Lifetime::Until(expiry), false) => {
            Command::Put { key, value, expiry }
        }
        _ => {
            let answering = if get { Answering::Before } else { Answering::Ok };
            Command::Update { key, update: Update::Set { value, when, lifetime, answering } }
        }
    })
}

/// SETNX key value.
fn setnx(value: &[u8]) -> Update<'_> {
    let lifetime = Lifetime::Until(None);
    Update::Set { value, when: SetCondition::Absent, lifetime, answering: Answering::Number }
}

/// GETSET key value.
fn getset(value: &[u8]) -> Update<'_> {
    let lifetime = Lifetime::Until(None);
    Update::Set { value, when: SetCondition::Always, lifetime, answering: Answering::Before }
}

/// SETEX key seconds value, and PSETEX.
fn setex<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let unit = TimeUnit { seconds: name == Name::SetEx, relative: true };
    let expiry = Some(deadline(args.at(2), unit, now_ms, name)?);
    Ok(Command::Put { key: args.at(1), value: args.at(3), expiry })
}

/// GETEX key [option]. Without one it is GET.
fn getex(args: Args<'_>, now_ms: u64) -> Result<Command<'_>, Error> {
    let key = args.at(1);
    let mut given = ExpiryOption::Unset;
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        if is(option, "persist") {
            given.add(ExpiryOption::Persist)?;
        } else {
            let unit = TimeUnit::of_option(option).ok_or(Error::Syntax)?;
            given.add(ExpiryOption::Until(unit, options.next().ok_or(Error::Syntax)?))?;
        }
    }
    Ok(match given.lifetime(now_ms, Name::GetEx)? {
        Lifetime::Until(expiry) if given != ExpiryOption::Unset => {
            Command::Update { key, update: Update::GetUntil(expiry) }
        }
        _ => Command::Read { key, read: Read::Value },
    })
}
