//! Requests that any node accepts: it coordinates them like a client.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`Put`], [`Delete`] | anyone → any node | lost: the outcome is unknown; repeated, it is a new write |
//! | [`Get`] | anyone → any node | reading changes nothing |
//! | [`PutDone`], [`Deleted`], [`GetReply`] | the node → the requester | |

use super::Message;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// CLIENT_PUT: stores a value. Answered by [`WriteReceipt`] as PUT_OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its new value.
    pub value: &'a [u8],
}

impl<'a> Message<'a> for Put<'a> {
    const KIND: Kind = Kind::ClientPut;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.key);
        out.put_long(self.value);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Put<'a>, DecodeError> {
        Ok(Put { key: payload.short()?, value: payload.long()? })
    }
}

/// CLIENT_GET: fetches a value. Answered by [`GetReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a>(pub &'a [u8]);

impl<'a> Message<'a> for Get<'a> {
    const KIND: Kind = Kind::ClientGet;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.0);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Get<'a>, DecodeError> {
        payload.short().map(Get)
    }
}

/// CLIENT_DELETE: removes a key. Answered by [`Deleted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a>(pub &'a [u8]);

impl<'a> Message<'a> for Delete<'a> {
    const KIND: Kind = Kind::ClientDelete;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.0);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Delete<'a>, DecodeError> {
        payload.short().map(Delete)
    }
}

/// The acknowledgement of a coordinated write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReceipt<'a> {
    /// The name of the key's primary.
    pub primary: &'a str,
    /// How many nodes hold it.
    pub copies: u8,
}

/// PUT_OK: a coordinated put was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutDone<'a>(pub WriteReceipt<'a>);

/// DELETE_OK: a coordinated delete was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted<'a>(pub WriteReceipt<'a>);

impl<'a> WriteReceipt<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.primary.as_bytes());
        out.put_u8(self.copies);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<WriteReceipt<'a>, DecodeError> {
        Ok(WriteReceipt { primary: payload.text()?, copies: payload.u8()? })
    }
}

impl<'a> Message<'a> for PutDone<'a> {
    const KIND: Kind = Kind::PutOk;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<PutDone<'a>, DecodeError> {
        WriteReceipt::decode(payload).map(PutDone)
    }
}

impl<'a> Message<'a> for Deleted<'a> {
    const KIND: Kind = Kind::DeleteOk;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Deleted<'a>, DecodeError> {
        WriteReceipt::decode(payload).map(Deleted)
    }
}

/// GET_OK: the answer to a coordinated get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetReply<'a> {
    /// The name of the node that answered.
    pub primary: &'a str,
    /// The value, or `None` if the key has none.
    pub value: Option<&'a [u8]>,
}

impl<'a> Message<'a> for GetReply<'a> {
    const KIND: Kind = Kind::GetOk;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.primary.as_bytes());
        out.put_option(self.value.as_ref(), |value, out| out.put_long(value));
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<GetReply<'a>, DecodeError> {
        Ok(GetReply { primary: payload.text()?, value: payload.option(Decoder::long)? })
    }
}
