//! Heartbeats: a node sends them regularly and in reply to a probe.

use cluster::ids::{Epoch, Incarnation};
use cluster::membership::{DiskHealth, Report};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::{Message, parts};

/// HEARTBEAT: the node is alive; its epoch, its progress and its load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The node's incarnation.
    pub incarnation: Incarnation,
    /// The sender's count, echoed in the answer.
    pub sequence: u64,
    /// The node's report.
    pub report: Report,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Message<'_> for Heartbeat {
    const KIND: Kind = Kind::Heartbeat;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.incarnation.0);
        out.put_u64(self.sequence);
        encode_report(&self.report, out);
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Heartbeat, DecodeError> {
        Ok(Heartbeat {
            incarnation: parts::decode_incarnation(payload)?,
            sequence: payload.u64()?,
            report: decode_report(payload)?,
            wall_ms: payload.u64()?,
        })
    }
}

fn encode_report(report: &Report, out: &mut Vec<u8>) {
    let Report { epoch, synced, revived, keys, bytes, fetching, disk, is_full, longest, probe } =
        report;
    out.put_u64(epoch.0);
    parts::encode_arc_set(synced, out);
    parts::encode_arc_set(revived, out);
    out.put_u64(*keys);
    out.put_u64(*bytes);
    out.put_u64(*fetching);
    let (trouble, strain) = match disk {
        DiskHealth::Sound => ("", ""),
        DiskHealth::Strained(why) => ("", why.as_str()),
        DiskHealth::Failing(why) => (why.as_str(), ""),
    };
    out.put_long(trouble.as_bytes());
    out.put_long(strain.as_bytes());
    out.put_flag(*is_full);
    out.put_option(longest.as_ref(), parts::encode_limits);
    out.put_u64(*probe);
}

fn decode_report(payload: &mut Decoder<'_>) -> Result<Report, DecodeError> {
    Ok(Report {
        epoch: Epoch(payload.u64()?),
        synced: parts::decode_arc_set(payload)?,
        revived: parts::decode_arc_set(payload)?,
        keys: payload.u64()?,
        bytes: payload.u64()?,
        fetching: payload.u64()?,
        disk: match (payload.long_text()?, payload.long_text()?) {
            ("", "") => DiskHealth::Sound,
            ("", strain) => DiskHealth::Strained(strain.to_owned()),
            (trouble, _) => DiskHealth::Failing(trouble.to_owned()),
        },
        is_full: payload.flag()?,
        longest: payload.option(parts::decode_limits)?,
        probe: payload.u64()?,
    })
}

/// HEARTBEAT_ACK: the manager received a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The heartbeat's count.
    pub sequence: u64,
    /// Whether the manager knows this incarnation; if not, it is to register.
    pub known: bool,
    /// How long a lease it has given for this heartbeat, in milliseconds, as it counts itself (rule
    /// L1); 0: none, as for a node that has yet to adopt the view.
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
        out.put_flag(self.known);
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
