//! SCAN.

use super::argument::{integer, is};
use crate::args::Args;
use crate::command::Scan;
use crate::error::Error;
use crate::number;

/// How many keys SCAN examines without COUNT.
const COUNT: usize = 10;

pub fn scan(args: Args<'_>) -> Result<Scan<'_>, Error> {
    let cursor = args.get(1).and_then(number::natural).ok_or(Error::InvalidCursor)?;
    let mut scan = Scan { cursor, pattern: None, count: COUNT, strings: true };
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(Error::Syntax)?;
        if is(option, "match") {
            scan.pattern = Some(value);
        } else if is(option, "count") {
            let count = integer(value)?;
            scan.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(Error::Syntax)?;
        } else if is(option, "type") {
            scan.strings = is(value, "string");
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(scan)
}
