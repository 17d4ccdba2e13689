//! The registration of a node.

use cluster::claim::Claim;
use cluster::ids::{ClusterId, Epoch, ManagerIncarnation};
use cluster::limits::MAX_WEIGHT;
use cluster::line::ViewName;
use cluster::membership::{Newcomer, Seen};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::parts;
use crate::message::{Message, view};

/// STORAGE_REGISTER: let me in, or: here I am again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The node, by this start of its process.
    pub who: Newcomer,
    /// The cluster of the newest view that it has seen, if it has. A manager of another refuses it.
    pub cluster: Option<ClusterId>,
    /// Whether it has been a member of that cluster: it may hold records that no other node has
    /// (H4).
    pub returns: bool,
    /// The claim of its previous incarnation, from its data folder (H6).
    pub claim: Option<Claim>,
    /// The newest view that it has seen, if it has. A manager that does not know it refuses (L7).
    pub seen: Option<Seen>,
    /// Its wall clock, in milliseconds since the Unix epoch. A manager whose own is far off refuses
    /// it (N5).
    pub wall_ms: u64,
}

impl Message<'_> for Register {
    const KIND: Kind = Kind::StorageRegister;

    fn encode(&self, out: &mut Vec<u8>) {
        let Newcomer { id, incarnation, address, redis_port, weight, on_disk } = &self.who;
        parts::encode_node_id(id, out);
        out.put_u64(incarnation.0);
        parts::encode_address(address, out);
        out.put_u16(*redis_port);
        out.put_u32(*weight);
        out.put_option(self.cluster.as_ref(), |cluster, out| out.put_u64(cluster.0));
        out.put_flag(self.returns);
        out.put_flag(*on_disk);
        out.put_option(self.claim.as_ref(), encode_claim);
        out.put_option(self.seen.as_ref(), encode_seen);
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Register, DecodeError> {
        let id = parts::decode_node_id(payload)?;
        let incarnation = parts::decode_incarnation(payload)?;
        let address = parts::decode_address(payload)?;
        let redis_port = payload.u16()?;
        let weight = payload.u32()?;
        if weight > MAX_WEIGHT {
            return Err(DecodeError("a weight out of bounds"));
        }
        let cluster = payload.option(|payload| payload.u64().map(ClusterId))?;
        let returns = payload.flag()?;
        let on_disk = payload.flag()?;
        Ok(Register {
            who: Newcomer { id, incarnation, address, redis_port, weight, on_disk },
            cluster,
            returns,
            claim: payload.option(decode_claim)?,
            seen: payload.option(decode_seen)?,
            wall_ms: payload.u64()?,
        })
    }
}

fn encode_claim(claim: &Claim, out: &mut Vec<u8>) {
    let Claim { of, epoch, synced, starts, is_whole } = claim;
    out.put_u64(of.0);
    out.put_u64(epoch.0);
    parts::encode_arc_set(synced, out);
    out.put_list(starts, |start, out| out.put_u64(start.0));
    out.put_flag(*is_whole);
}

fn decode_claim(payload: &mut Decoder<'_>) -> Result<Claim, DecodeError> {
    Ok(Claim {
        of: parts::decode_incarnation(payload)?,
        epoch: Epoch(payload.u64()?),
        synced: parts::decode_arc_set(payload)?,
        starts: payload.list(8, parts::decode_incarnation)?,
        is_whole: payload.flag()?,
    })
}

fn encode_seen(Seen { name, view }: &Seen, out: &mut Vec<u8>) {
    out.put_u64(name.epoch.0);
    out.put_u64(name.life.0);
    out.put_option(view.as_deref(), view::encode_whole);
}

fn decode_seen(payload: &mut Decoder<'_>) -> Result<Seen, DecodeError> {
    let name = ViewName { epoch: Epoch(payload.u64()?), life: ManagerIncarnation(payload.u64()?) };
    let view = payload.option(view::decode_whole)?.map(Box::new);
    if view.as_ref().is_some_and(|view| view.name() != name) {
        return Err(DecodeError("not the view that was seen"));
    }
    Ok(Seen { name, view })
}
