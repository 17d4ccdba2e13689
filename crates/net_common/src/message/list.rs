//! Messages by which keys are listed and counted.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`List`] → [`Listed`] | client → replica | asking changes nothing |
//!
//! Any synced replica of an arc can answer, under the rules of a read: it holds all keys that were
//! acknowledged before. [`cluster::scan`] defines the order in which keys are listed.

use super::Message;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// LIST: which keys do you hold in these arcs?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The first place that is of interest.
    pub from: u64,
    /// About how many keys to list; 0: only count them.
    pub most: u32,
    /// The arcs, in ascending order.
    pub arcs: Vec<u16>,
}

impl Message<'_> for List {
    const KIND: Kind = Kind::List;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.from);
        out.put_u32(self.most);
        encode_arcs(&self.arcs, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<List, DecodeError> {
        let (from, most) = (payload.u64()?, payload.u32()?);
        let arcs = decode_arcs(payload)?;
        if arcs.is_sorted_by(|a, b| a < b) {
            Ok(List { from, most, arcs })
        } else {
            Err(DecodeError("arcs that do not ascend"))
        }
    }
}

/// LIST_REPLY: keys of the arcs, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Arcs that this node cannot list: it is no replica of them, still fetches them, or has no
    /// lease.
    pub refused: Vec<u16>,
    /// The place before which all keys are listed, if the listing stopped before the end.
    pub end: Option<u64>,
    /// The number of keys with a value in the arcs, from the first place on. Only in a reply to a
    /// count.
    pub count: u64,
    /// The keys that have a value, and those that need a read to decide: a delete of them is under
    /// way.
    pub keys: Vec<Key<'a>>,
}

/// A listed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Whether it has a value for certain.
    pub is_sure: bool,
}

impl<'a> Message<'a> for Listed<'a> {
    const KIND: Kind = Kind::ListReply;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_arcs(&self.refused, out);
        out.put_option(self.end.as_ref(), |end, out| out.put_u64(*end));
        out.put_u64(self.count);
        out.put_list(&self.keys, |Key { key, is_sure }, out| {
            out.put_flag(*is_sure);
            out.put_short(key);
        });
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Listed<'a>, DecodeError> {
        let key = |payload: &mut Decoder<'a>| {
            let is_sure = payload.flag()?;
            Ok(Key { key: payload.short()?, is_sure })
        };
        Ok(Listed {
            refused: decode_arcs(payload)?,
            end: payload.option(Decoder::u64)?,
            count: payload.u64()?,
            keys: payload.list(1 + 2, key)?,
        })
    }
}

fn encode_arcs(arcs: &[u16], out: &mut Vec<u8>) {
    out.put_list(arcs, |arc, out| out.put_u16(*arc));
}

fn decode_arcs(payload: &mut Decoder<'_>) -> Result<Vec<u16>, DecodeError> {
    payload.list(2, Decoder::u16)
}
