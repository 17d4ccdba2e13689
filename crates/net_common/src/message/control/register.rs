//! How a node comes in.

use cluster::claim::Claim;
use cluster::ids::{Address, ClusterId, Epoch, Incarnation, ManagerLife, NodeId};
use cluster::limits::MAX_WEIGHT;
use cluster::line::ViewName;
use cluster::membership::Seen;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::parts;
use crate::message::{Message, view};

/// STORAGE_REGISTER: let me in, or: here I am again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The node's name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where clients and peers reach it.
    pub address: Address,
    /// The port that cluster-aware Redis clients are sent to, on the same host; 0: it has none.
    pub redis_port: u16,
    /// Its share of the ring in proportion to the others'; 0: what it had, or 1.
    pub weight: u32,
    /// The cluster of the newest view that it has seen, if it has. A manager of another refuses it.
    pub cluster: Option<ClusterId>,
    /// Whether it has been a member of that cluster: it may hold what nobody else does (H4).
    pub returns: bool,
    /// Whether it has a data folder.
    pub on_disk: bool,
    /// What it held in its last life, by that folder (H6).
    pub claim: Option<Claim>,
    /// The newest view that it has seen, if it has. A manager that does not know it refuses (L7).
    pub seen: Option<Seen>,
    /// Its wall clock, in milliseconds since the Unix epoch. A manager whose own is far off refuses it (N5).
    pub wall_ms: u64,
}

impl Message<'_> for Register {
    const KIND: Kind = Kind::StorageRegister;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.id.as_str().as_bytes());
        out.put_u64(self.incarnation.0);
        out.put_short(self.address.host().as_bytes());
        out.put_u16(self.address.port());
        out.put_u16(self.redis_port);
        out.put_u32(self.weight);
        out.put_u8(u8::from(self.cluster.is_some()));
        if let Some(ClusterId(id)) = self.cluster {
            out.put_u64(id);
        }
        out.put_u8(u8::from(self.returns));
        out.put_u8(u8::from(self.on_disk));
        out.put_u8(u8::from(self.claim.is_some()));
        if let Some(Claim { of, epoch, synced, starts, is_whole }) = &self.claim {
            out.put_u64(of.0);
            out.put_u64(epoch.0);
            parts::encode_arc_set(synced, out);
            out.put_u32(starts.len() as u32);
            starts.iter().for_each(|start| out.put_u64(start.0));
            out.put_u8(u8::from(*is_whole));
        }
        out.put_u8(u8::from(self.seen.is_some()));
        if let Some(Seen { name, view }) = &self.seen {
            out.put_u64(name.epoch.0);
            out.put_u64(name.life.0);
            out.put_u8(u8::from(view.is_some()));
            if let Some(view) = view {
                view::encode_whole(view, out);
            }
        }
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Register, DecodeError> {
        Ok(Register {
            id: parts::node_id(payload)?,
            incarnation: Incarnation(payload.u64()?),
            address: parts::address(payload)?,
            redis_port: payload.u16()?,
            weight: Some(payload.u32()?)
                .filter(|weight| *weight <= MAX_WEIGHT)
                .ok_or(DecodeError("a weight out of bounds"))?,
            cluster: match payload.flag()? {
                false => None,
                true => Some(ClusterId(payload.u64()?)),
            },
            returns: payload.flag()?,
            on_disk: payload.flag()?,
            claim: match payload.flag()? {
                false => None,
                true => Some(Claim {
                    of: Incarnation(payload.u64()?),
                    epoch: Epoch(payload.u64()?),
                    synced: parts::decode_arc_set(payload)?,
                    starts: (0..payload.count(8)?)
                        .map(|_| payload.u64().map(Incarnation))
                        .collect::<Result<_, _>>()?,
                    is_whole: payload.flag()?,
                }),
            },
            seen: match payload.flag()? {
                false => None,
                true => Some(decode_seen(payload)?),
            },
            wall_ms: payload.u64()?,
        })
    }
}

fn decode_seen(payload: &mut Decoder<'_>) -> Result<Seen, DecodeError> {
    let name = ViewName { epoch: Epoch(payload.u64()?), life: ManagerLife(payload.u64()?) };
    let view = match payload.flag()? {
        false => None,
        true => Some(Box::new(view::decode_whole(payload)?)),
    };
    match view.as_ref().is_none_or(|view| view.name() == name) {
        true => Ok(Seen { name, view }),
        false => Err(DecodeError("not the view that was seen")),
    }
}
