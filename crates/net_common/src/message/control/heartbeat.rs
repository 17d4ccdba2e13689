//! How a node stays in: heartbeats, by itself or when it is asked for one.

use cluster::ids::{Epoch, Incarnation};
use cluster::limits::Limits;
use cluster::tenure::ArcSet;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::{Message, parts};

/// HEARTBEAT: I am alive, this far along, and hold this much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which start of which process speaks.
    pub incarnation: Incarnation,
    /// The sender's count, echoed in the answer.
    pub sequence: u64,
    /// The newest view that it has adopted.
    pub epoch: Epoch,
    /// The arcs that it is synced in under that view.
    pub synced: ArcSet,
    /// The arcs in which it has what its disk had and has yet to gather what others have (H6).
    pub revived: ArcSet,
    /// Keys in its memory.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
    /// Bytes a second that it fetches from others at present.
    pub fetching: u64,
    /// Why what it stores does not reach its disk at the moment; empty if it does, or has none.
    pub disk_trouble: String,
    /// Why no image of its records can be made at the moment; empty if one can.
    pub disk_strain: String,
    /// Whether it holds as much as it may, and refuses what would add to that.
    pub is_full: bool,
    /// Lengths of the longest key and the longest value that it holds, if it has measured them under that view.
    pub longest: Option<Limits>,
    /// The number of the last PROBE that came on this connection; 0 if none did.
    pub probe: u64,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Message<'_> for Heartbeat {
    const KIND: Kind = Kind::Heartbeat;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.incarnation.0);
        out.put_u64(self.sequence);
        out.put_u64(self.epoch.0);
        parts::encode_arc_set(&self.synced, out);
        parts::encode_arc_set(&self.revived, out);
        out.put_u64(self.keys);
        out.put_u64(self.bytes);
        out.put_u64(self.fetching);
        out.put_long(self.disk_trouble.as_bytes());
        out.put_long(self.disk_strain.as_bytes());
        out.put_u8(u8::from(self.is_full));
        out.put_u8(u8::from(self.longest.is_some()));
        self.longest.iter().for_each(|longest| parts::encode_limits(longest, out));
        out.put_u64(self.probe);
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Heartbeat, DecodeError> {
        Ok(Heartbeat {
            incarnation: Incarnation(payload.u64()?),
            sequence: payload.u64()?,
            epoch: Epoch(payload.u64()?),
            synced: parts::decode_arc_set(payload)?,
            revived: parts::decode_arc_set(payload)?,
            keys: payload.u64()?,
            bytes: payload.u64()?,
            fetching: payload.u64()?,
            disk_trouble: payload.long_text()?.to_owned(),
            disk_strain: payload.long_text()?.to_owned(),
            is_full: payload.flag()?,
            longest: match payload.flag()? {
                false => None,
                true => Some(parts::decode_limits(payload)?),
            },
            probe: payload.u64()?,
            wall_ms: payload.u64()?,
        })
    }
}

/// HEARTBEAT_ACK: heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The heartbeat's count.
    pub sequence: u64,
    /// Whether the manager knows this incarnation; if not, it is to register.
    pub known: bool,
    /// How long a lease it has given for this heartbeat, in milliseconds, as it counts itself (rule L1); 0: none, as
    /// for a node that has yet to adopt the view.
    pub lease_ms: u32,
    /// How often the node is to send heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// The epoch of the active view.
    pub active: Epoch,
}

impl Message<'_> for HeartbeatAck {
    const KIND: Kind = Kind::HeartbeatAck;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.sequence);
        out.put_u8(u8::from(self.known));
        out.put_u32(self.lease_ms);
        out.put_u32(self.heartbeat_ms);
        out.put_u64(self.active.0);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<HeartbeatAck, DecodeError> {
        Ok(HeartbeatAck {
            sequence: payload.u64()?,
            known: payload.flag()?,
            lease_ms: payload.u32()?,
            heartbeat_ms: payload.u32()?,
            active: Epoch(payload.u64()?),
        })
    }
}

/// PROBE: are you there? Answered at once by a heartbeat that names it (rules L4 and L5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its number. Later ones have no lower one, on one connection.
    pub number: u64,
}

impl Message<'_> for Probe {
    const KIND: Kind = Kind::Probe;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.number);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Probe, DecodeError> {
        Ok(Probe { number: payload.u64()? })
    }
}
