//! Arguments that are numbers.

use crate::decimal;
use crate::edit::Edit;
use crate::error::Error;
use crate::look::Look;
use crate::number;

/// An argument that has to be an integer.
pub fn integer(text: &[u8]) -> Result<i64, Error> {
    number::integer(text).ok_or(Error::NotAnInteger)
}

pub fn range(start: &[u8], end: &[u8]) -> Result<Look, Error> {
    Ok(Look::Range { start: integer(start)?, end: integer(end)? })
}

pub fn incrby(by: &[u8]) -> Result<Edit<'_>, Error> {
    integer(by).map(Edit::Add)
}

pub fn decrby(by: &[u8]) -> Result<Edit<'_>, Error> {
    integer(by)?.checked_neg().map(Edit::Add).ok_or(Error::DecrementOverflow)
}

pub fn incrbyfloat(by: &[u8]) -> Result<Edit<'_>, Error> {
    decimal::parse(by).map(Edit::AddDecimal).ok_or(Error::NotAFloat)
}
