//! What one argument is: a word or an integer.

use crate::error::Error;
use crate::number;

/// Whether an argument is this word, whatever its case.
pub fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// An argument that has to be an integer.
pub fn integer(text: &[u8]) -> Result<i64, Error> {
    number::integer(text).ok_or(Error::NotAnInteger)
}
