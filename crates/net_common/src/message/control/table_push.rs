//! The view, for clients that ask for it and for nodes.

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;
use cluster::version::Clock;
use cluster::view::View;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::parts::{self, bare};
use crate::message::{Message, view};

/// CLIENT_HELLO: give me the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello;

bare!(Hello = ClientHello);

/// TABLE_PUSH: a view.
///
/// A client always gets the active view. A node gets the newest, which may be newer than `active`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePush {
    /// The epoch of the active view.
    pub active: Epoch,
    /// The manager's clock.
    pub clock: Clock,
    /// How often nodes are to send heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long the manager counts a silent node as alive, in milliseconds. A node's lease is as
    /// long as its heartbeat's acknowledgement grants: this message may be older.
    pub lease_ms: u32,
    /// The arcs of the active view that no live member holds (rule H4): requests for them are
    /// pointless.
    pub lost: ArcSet,
    /// The view.
    pub view: View,
}

impl Message<'_> for TablePush {
    const KIND: Kind = Kind::TablePush;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.active.0);
        out.put_u64(self.clock);
        out.put_u32(self.heartbeat_ms);
        out.put_u32(self.lease_ms);
        parts::encode_arc_set(&self.lost, out);
        view::encode_whole(&self.view, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<TablePush, DecodeError> {
        Ok(TablePush {
            active: Epoch(payload.u64()?),
            clock: payload.u64()?,
            heartbeat_ms: payload.u32()?,
            lease_ms: payload.u32()?,
            lost: parts::decode_arc_set(payload)?,
            view: view::decode_whole(payload)?,
        })
    }
}
