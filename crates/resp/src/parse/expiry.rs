//! Times to live and expiry times.

use super::argument::{integer, is};
use crate::args::Args;
use crate::error::{self, Error};
use crate::spec::Name;
use crate::update::{Only, Update};

/// The unit and the origin of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeUnit {
    /// In seconds rather than milliseconds.
    pub seconds: bool,
    /// Relative to now rather than to 1970.
    pub relative: bool,
}

impl TimeUnit {
    /// The unit that an option of SET or GETEX stands for.
    pub fn of_option(option: &[u8]) -> Option<TimeUnit> {
        let options = [
            ("ex", true, true),
            ("px", false, true),
            ("exat", true, false),
            ("pxat", false, false),
        ];
        let found = options.into_iter().find(|(name, ..)| is(option, name));
        found.map(|(_, seconds, relative)| TimeUnit { seconds, relative })
    }

    /// The time in milliseconds since 1970. It may be negative; `None` if it exceeds 64 bits.
    fn absolute(self, time: i64, now_ms: u64) -> Option<i64> {
        let time = if self.seconds { time.checked_mul(1000)? } else { time };
        let base = if self.relative { i64::try_from(now_ms).ok()? } else { 0 };
        time.checked_add(base)
    }
}

/// The expiry of SET, SETEX and GETEX: a positive number; anything else is an error of the command
/// `name`.
pub fn deadline(text: &[u8], unit: TimeUnit, now_ms: u64, name: Name) -> Result<u64, Error> {
    let time = integer(text)?;
    let absolute = if time > 0 { unit.absolute(time, now_ms) } else { None };
    absolute.and_then(|at| u64::try_from(at).ok()).ok_or(Error::InvalidExpire(name))
}

/// EXPIRE and its variants. Any time is valid: one that has passed removes the key.
pub fn expire<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Update<'b>, Error> {
    let unit = TimeUnit {
        seconds: matches!(name, Name::Expire | Name::ExpireAt),
        relative: matches!(name, Name::Expire | Name::PExpire),
    };
    let only = only(args.from(3))?;
    let time = integer(args.at(2))?;
    let at = unit.absolute(time, now_ms).ok_or(Error::InvalidExpire(name))?;
    Ok(Update::Expire { at, only })
}

fn only(options: Args<'_>) -> Result<Only, Error> {
    let words = ["nx", "xx", "gt", "lt"];
    let unknown = |option: &&[u8]| !words.iter().any(|word| is(option, word));
    if let Some(option) = options.iter().find(unknown) {
        return Err(Error::ExpireOption(error::quoted(option)));
    }
    match words.map(|word| options.iter().any(|option| is(option, word))) {
        [true, false, false, false] => Ok(Only::Absent),
        [true, ..] => Err(Error::ExpireNx),
        [_, _, true, true] => Err(Error::ExpireGtLt),
        // If it must be later than another, that other one must exist.
        [_, _, true, false] => Ok(Only::Later),
        [_, true, _, true] => Ok(Only::PresentAndSooner),
        [_, false, _, true] => Ok(Only::Sooner),
        [_, true, _, false] => Ok(Only::Present),
        [_, false, _, false] => Ok(Only::Always),
    }
}
