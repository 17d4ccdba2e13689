//! Typed messages of format 2.
//!
//! [`data`] carries records between clients and replicas, borrowed from the frame so that nothing
//! is copied; [`range`] transfers whole arcs between nodes; [`coordinated`] has the requests that
//! any node coordinates; [`list`] lists keys; [`control`] connects nodes, manager and operators;
//! [`change`] has planned changes. `docs/protocol.md` has the byte tables.

use crate::codec::{DecodeError, Decoder};
use crate::frame::{self, FORMAT_BINARY, Kind};

pub mod change;
pub mod control;
pub mod coordinated;
pub mod data;
pub mod list;
mod parts;
pub mod range;
mod version;
pub mod view;

/// A message that knows its kind and its bytes.
pub trait Message<'a>: Sized {
    /// Its type on the wire.
    const KIND: Kind;

    /// Appends the payload.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the payload's fields. The caller refuses bytes that are left over.
    ///
    /// # Errors
    /// [`DecodeError`] where a field is missing, out of bounds or invalid.
    fn decode(payload: &mut Decoder<'a>) -> Result<Self, DecodeError>;

    /// Appends the whole frame.
    fn write(&self, out: &mut Vec<u8>) {
        frame::write(out, Self::KIND, FORMAT_BINARY, |out| self.encode(out));
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// As [`Message::decode`], and where bytes are left over.
    fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(payload);
        let message = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
