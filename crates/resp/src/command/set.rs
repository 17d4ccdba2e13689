//! SET and what is like it.

use super::Command;
use super::expiry::{Unit, deadline};
use super::is;
use crate::edit::{Answering, Edit, Lifetime, When};
use crate::error::Error;
use crate::look::Look;
use crate::request::Args;
use crate::spec::Spec;

/// What the options of SET and GETEX say about the time to live. All exclude each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life<'b> {
    Unsaid,
    Keep,
    Persist,
    Until(Unit, &'b [u8]),
}

impl<'b> Life<'b> {
    /// Takes in an option with what follows it; the same one again overrides.
    fn say(&mut self, said: Life<'b>) -> Result<(), Error> {
        let again = match (*self, said) {
            (Life::Until(one, _), Life::Until(other, _)) => one == other,
            (one, other) => one == other,
        };
        if *self != Life::Unsaid && !again {
            return Err(Error::Syntax);
        }
        *self = said;
        Ok(())
    }

    fn lifetime(self, now_ms: u64, name: &'static str) -> Result<Lifetime, Error> {
        Ok(match self {
            Life::Unsaid | Life::Persist => Lifetime::Until(None),
            Life::Keep => Lifetime::Keep,
            Life::Until(unit, text) => Lifetime::Until(Some(deadline(text, unit, now_ms, name)?)),
        })
    }
}

/// SET key value [options]. Without a condition on what the key holds it is a plain write.
pub fn set(args: Args<'_>, now_ms: u64) -> Result<Command<'_>, Error> {
    let (key, value) = (args.get(1).unwrap_or_default(), args.get(2).unwrap_or_default());
    if args.len() == 3 {
        return Ok(Command::Put { key, value, expiry: None });
    }
    let (mut when, mut life, mut get) = (When::Always, Life::Unsaid, false);
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        let condition = match option {
            _ if is(option, "get") => {
                get = true;
                continue;
            }
            _ if is(option, "keepttl") => {
                life.say(Life::Keep)?;
                continue;
            }
            _ if is(option, "nx") => When::Absent,
            _ if is(option, "xx") => When::Present,
            _ if is(option, "ifeq") => When::Equals(options.next().ok_or(Error::Syntax)?),
            _ => {
                let unit = Unit::of_option(option).ok_or(Error::Syntax)?;
                life.say(Life::Until(unit, options.next().ok_or(Error::Syntax)?))?;
                continue;
            }
        };
        if when != When::Always && when != condition {
            return Err(Error::Syntax);
        }
        when = condition;
    }
    let lifetime = life.lifetime(now_ms, "set")?;
    Ok(match (when, lifetime, get) {
        (When::Always, Lifetime::Until(expiry), false) => Command::Put { key, value, expiry },
        _ => {
            let answering = if get { Answering::Before } else { Answering::Ok };
            Command::Edit { key, edit: Edit::Set { value, when, lifetime, answering } }
        }
    })
}

/// SETNX key value.
pub fn setnx(value: &[u8]) -> Edit<'_> {
    let lifetime = Lifetime::Until(None);
    Edit::Set { value, when: When::Absent, lifetime, answering: Answering::Number }
}

/// GETSET key value.
pub fn getset(value: &[u8]) -> Edit<'_> {
    let lifetime = Lifetime::Until(None);
    Edit::Set { value, when: When::Always, lifetime, answering: Answering::Before }
}

/// SETEX key seconds value, and PSETEX.
pub fn setex<'b>(spec: &Spec, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let arg = |place| args.get(place).unwrap_or_default();
    let unit = Unit { seconds: spec.name == "setex", relative: true };
    let expiry = Some(deadline(arg(2), unit, now_ms, spec.name)?);
    Ok(Command::Put { key: arg(1), value: arg(3), expiry })
}

/// GETEX key [option]. Without one it is GET.
pub fn getex(args: Args<'_>, now_ms: u64) -> Result<Command<'_>, Error> {
    let key = args.get(1).unwrap_or_default();
    let mut life = Life::Unsaid;
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        if is(option, "persist") {
            life.say(Life::Persist)?;
        } else {
            let unit = Unit::of_option(option).ok_or(Error::Syntax)?;
            life.say(Life::Until(unit, options.next().ok_or(Error::Syntax)?))?;
        }
    }
    Ok(match life.lifetime(now_ms, "getex")? {
        Lifetime::Until(expiry) if life != Life::Unsaid => {
            Command::Edit { key, edit: Edit::GetUntil(expiry) }
        }
        _ => Command::Look { key, look: Look::Value },
    })
}
