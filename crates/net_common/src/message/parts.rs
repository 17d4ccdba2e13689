//! Fields that several messages share, and messages without fields.

use cluster::arcs::ArcSet;
use cluster::ids::{Address, Epoch, Incarnation, NodeId};
use cluster::limits::Limits;
use cluster::membership::Loss;

use crate::codec::{DecodeError, Decoder, Encoder};

/// Defines messages without fields.
macro_rules! bare {
    ($($name:ident = $kind:ident),*) => {$(
        impl crate::message::Message<'_> for $name {
            const KIND: crate::frame::Kind = crate::frame::Kind::$kind;

            fn encode(&self, _: &mut Vec<u8>) {}

            fn decode(_: &mut crate::codec::Decoder<'_>) -> Result<$name, crate::codec::DecodeError> {
                Ok($name)
            }
        }
    )*};
}
pub(super) use bare;

/// Appends a node's name.
pub(super) fn encode_node_id(id: &NodeId, out: &mut Vec<u8>) {
    out.put_short(id.as_str().as_bytes());
}

/// Reads a node's name.
pub(super) fn decode_node_id(payload: &mut Decoder<'_>) -> Result<NodeId, DecodeError> {
    NodeId::new(payload.text()?).map_err(|_| DecodeError("a bad node name"))
}

/// Reads host and port.
pub(super) fn decode_address(payload: &mut Decoder<'_>) -> Result<Address, DecodeError> {
    let host = payload.text()?;
    Address::new(host, payload.u16()?).map_err(|_| DecodeError("a bad address"))
}

/// Appends host and port.
pub(super) fn encode_address(address: &Address, out: &mut Vec<u8>) {
    out.put_short(address.host().as_bytes());
    out.put_u16(address.port());
}

/// Reads a start of a process.
pub(super) fn decode_incarnation(payload: &mut Decoder<'_>) -> Result<Incarnation, DecodeError> {
    payload.u64().map(Incarnation)
}

/// Appends bounds on keys and values.
pub(super) fn encode_limits(limits: &Limits, out: &mut Vec<u8>) {
    out.put_u32(limits.key_bytes as u32);
    out.put_u32(limits.value_bytes as u32);
}

/// Reads bounds on keys and values.
pub(super) fn decode_limits(payload: &mut Decoder<'_>) -> Result<Limits, DecodeError> {
    Ok(Limits { key_bytes: payload.u32()? as usize, value_bytes: payload.u32()? as usize })
}

/// A set of arcs as bytes, eight arcs each, the lowest arc in the lowest bit.
pub(super) fn encode_arc_set(set: &ArcSet, out: &mut Vec<u8>) {
    let mut bytes = vec![0u8; set.len().div_ceil(8)];
    for arc in set.ones() {
        bytes[arc / 8] |= 1 << (arc % 8);
    }
    out.put_short(&bytes);
}

/// Reads a set of arcs.
pub(super) fn decode_arc_set(payload: &mut Decoder<'_>) -> Result<ArcSet, DecodeError> {
    let bytes = payload.short()?;
    let mut set = ArcSet::with_capacity(bytes.len() * 8);
    for (i, byte) in bytes.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            set.insert(i * 8 + bit);
        }
    }
    Ok(set)
}

/// Appends a loss that an operator may accept.
pub(super) fn encode_loss(loss: &Loss, out: &mut Vec<u8>) {
    let Loss { epoch, arcs, empty, without, with } = loss;
    out.put_u64(epoch.0);
    for arcs in [arcs, empty] {
        out.put_list(arcs, |arc, out| out.put_u16(*arc));
    }
    for who in [without, with] {
        out.put_list(who, |incarnation, out| out.put_u64(incarnation.0));
    }
}

/// Reads one.
pub(super) fn decode_loss(payload: &mut Decoder<'_>) -> Result<Loss, DecodeError> {
    Ok(Loss {
        epoch: Epoch(payload.u64()?),
        arcs: payload.list(2, Decoder::u16)?,
        empty: payload.list(2, Decoder::u16)?,
        without: payload.list(8, decode_incarnation)?,
        with: payload.list(8, decode_incarnation)?,
    })
}
