//! The identity of a node.

use cluster::ids::{Epoch, Incarnation, NodeId};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::Message;
use crate::message::parts::{self, bare};

/// NODE_INFO: requests a node's identity and load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoRequest;

bare!(InfoRequest = NodeInfo);

/// NODE_INFO_REPLY: a node's identity and load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// The newest view that it has adopted.
    pub epoch: Epoch,
    /// Keys with a value in its memory.
    pub keys: u64,
    /// Bytes of those keys and values.
    pub bytes: u64,
    /// Connections that it serves at present.
    pub connections: u32,
}

impl Message<'_> for Info {
    const KIND: Kind = Kind::NodeInfoReply;

    fn encode(&self, out: &mut Vec<u8>) {
        parts::encode_node_id(&self.id, out);
        out.put_u64(self.incarnation.0);
        out.put_u64(self.epoch.0);
        out.put_u64(self.keys);
        out.put_u64(self.bytes);
        out.put_u32(self.connections);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Info, DecodeError> {
        Ok(Info {
            id: parts::decode_node_id(payload)?,
            incarnation: Incarnation(payload.u64()?),
            epoch: Epoch(payload.u64()?),
            keys: payload.u64()?,
            bytes: payload.u64()?,
            connections: payload.u32()?,
        })
    }
}
