//! Times to live and times of expiry.

use super::counter::integer;
use super::is;
use crate::edit::{Edit, Only};
use crate::error::Error;
use crate::request::Args;
use crate::spec::{Name, Spec};

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// In seconds, not milliseconds.
    pub seconds: bool,
    /// From now on, not since 1970.
    pub relative: bool,
}

impl Unit {
    /// What an option of SET and GETEX says.
    pub fn of_option(option: &[u8]) -> Option<Unit> {
        let options = [
            ("ex", true, true),
            ("px", false, true),
            ("exat", true, false),
            ("pxat", false, false),
        ];
        let found = options.into_iter().find(|(name, ..)| is(option, name));
        found.map(|(_, seconds, relative)| Unit { seconds, relative })
    }

    /// The time in milliseconds since 1970. It may lie before that; it is not beyond 64 bits.
    fn absolute(self, time: i64, now_ms: u64) -> Option<i64> {
        let time = if self.seconds { time.checked_mul(1000)? } else { time };
        let base = if self.relative { i64::try_from(now_ms).ok()? } else { 0 };
        time.checked_add(base)
    }
}

/// The expiry that SET, SETEX and GETEX give: a positive number, or it is an error of the command `name`.
pub fn deadline(text: &[u8], unit: Unit, now_ms: u64, name: &'static str) -> Result<u64, Error> {
    let time = integer(text)?;
    let absolute = if time > 0 { unit.absolute(time, now_ms) } else { None };
    absolute.and_then(|at| u64::try_from(at).ok()).ok_or(Error::InvalidExpire(name))
}

/// EXPIRE and its like. Any time will do: one that has passed ends the key.
pub fn expire<'b>(spec: &Spec, args: Args<'b>, now_ms: u64) -> Result<Edit<'b>, Error> {
    let unit = Unit {
        seconds: matches!(spec.id, Name::Expire | Name::ExpireAt),
        relative: matches!(spec.id, Name::Expire | Name::PExpire),
    };
    let only = only(args.from(3))?;
    let time = integer(args.get(2).unwrap_or_default())?;
    let at = unit.absolute(time, now_ms).ok_or(Error::InvalidExpire(spec.name))?;
    Ok(Edit::Expire { at, only })
}

fn only(options: Args<'_>) -> Result<Only, Error> {
    let mut only = Only::default();
    for option in options.iter() {
        match option {
            _ if is(option, "nx") => only.absent = true,
            _ if is(option, "xx") => only.present = true,
            _ if is(option, "gt") => only.later = true,
            _ if is(option, "lt") => only.sooner = true,
            _ => return Err(Error::ExpireOption(crate::error::text(option, 128))),
        }
    }
    if only.absent && (only.present || only.later || only.sooner) {
        return Err(Error::ExpireNx);
    }
    if only.later && only.sooner {
        return Err(Error::ExpireGtLt);
    }
    Ok(only)
}
