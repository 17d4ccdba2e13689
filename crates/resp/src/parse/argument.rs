//! Single arguments: words and integers.

use crate::error::Error;
use crate::number;

/// Whether an argument is this word, ignoring case.
pub fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// Parses an argument that must be an integer.
pub fn integer(text: &[u8]) -> Result<i64, Error> {
    number::integer(text).ok_or(Error::NotAnInteger)
}
