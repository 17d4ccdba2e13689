//! Messages that carry records.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`WriteBatch`] | client → replica | repeated under one epoch it changes nothing: equal versions answer STORED; late, after a new view, it is refused |
//! | [`WriteAcks`] | replica → client | lost: the client sends the same versions again |
//! | [`CommitNotice`] | client → replica | no reply; lost: the record stays pending until it is read, or its replica finishes it (C4); late or repeated it names versions, so it cannot touch others |
//! | [`ReadBatch`], [`Fence`], [`ReadReply`] | client → replica → client | reading changes nothing |

use cluster::ids::Epoch;
use cluster::replica::{State, WriteAnswer};
use cluster::version::{Clock, Version};

use super::{Message, version};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// The content of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// A value.
    Value(&'a [u8]),
    /// A value until a time, in milliseconds since 1970 (rule C6).
    Expiring(&'a [u8], u64),
    /// The key was deleted.
    Tombstone,
}

impl<'a> Body<'a> {
    /// A value, with or without an expiry time.
    pub fn of_value(value: &'a [u8], expiry: Option<u64>) -> Body<'a> {
        expiry.map_or(Body::Value(value), |at| Body::Expiring(value, at))
    }

    /// The value, if it is one.
    pub fn value(self) -> Option<&'a [u8]> {
        match self {
            Body::Value(value) | Body::Expiring(value, _) => Some(value),
            Body::Tombstone => None,
        }
    }

    /// Its expiry time, if it has one.
    pub fn expiry(self) -> Option<u64> {
        match self {
            Body::Expiring(_, at) => Some(at),
            Body::Value(_) | Body::Tombstone => None,
        }
    }
}

/// A key and a replica's record of it, as in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its version.
    pub version: Version,
    /// Whether every replica is known to hold it.
    pub state: State,
    /// Its content.
    pub body: Body<'a>,
}

/// A key and the record to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The version.
    pub version: Version,
    /// When the write was born (rule N5): for a plain put or delete its version's own clock.
    pub born: Clock,
    /// The new content.
    pub body: Body<'a>,
    /// For a swap (rule C5): the version that it is to take the place of, and of no other.
    pub expected: Option<Version>,
}

const TOMBSTONE: u8 = 0b1;
const PENDING: u8 = 0b100;
const HAS_BORN: u8 = 0b1000;
const IS_SWAP: u8 = 0b1_0000;
const HAS_EXPIRY: u8 = 0b10_0000;
/// Key length, flags, and a plain version.
pub(super) const LEAST_RECORD: usize = 2 + 1 + 16;

impl<'a> Record<'a> {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.key);
        encode_held(&self.version, self.state, self.body, out);
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`DecodeError`], also for undefined flags.
    pub fn decode(payload: &mut Decoder<'a>) -> Result<Record<'a>, DecodeError> {
        let key = payload.short()?;
        let (version, state, body) = decode_held(payload)?;
        Ok(Record { key, version, state, body })
    }
}

impl<'a> Write<'a> {
    /// Appends the write's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.key);
        let has_born = self.born != self.version.clock;
        out.put_u8(
            version::flag(&self.version)
                | body_flag(self.body)
                | if has_born { HAS_BORN } else { 0 }
                | if self.expected.is_some() { IS_SWAP } else { 0 },
        );
        version::encode(&self.version, out);
        if has_born {
            out.put_u64(self.born);
        }
        if let Some(expected) = &self.expected {
            version::encode_with_flag(expected, out);
        }
        encode_body(self.body, out);
    }

    /// Reads one write.
    ///
    /// # Errors
    /// [`DecodeError`], also for undefined flags.
    pub fn decode(payload: &mut Decoder<'a>) -> Result<Write<'a>, DecodeError> {
        let key = payload.short()?;
        let flags =
            flags(payload, TOMBSTONE | version::HAS_STEP | HAS_BORN | IS_SWAP | HAS_EXPIRY)?;
        let version = version::decode(flags, payload)?;
        let born = if flags & HAS_BORN == 0 { version.clock } else { payload.u64()? };
        let expected = match flags & IS_SWAP {
            0 => None,
            _ => Some(version::decode_with_flag(payload)?),
        };
        Ok(Write { key, version, born, body: decode_body(flags, payload)?, expected })
    }
}

fn encode_held(version: &Version, state: State, body: Body<'_>, out: &mut Vec<u8>) {
    let pending = match state {
        State::Pending => PENDING,
        State::Committed => 0,
    };
    out.put_u8(version::flag(version) | body_flag(body) | pending);
    version::encode(version, out);
    encode_body(body, out);
}

fn decode_held<'a>(payload: &mut Decoder<'a>) -> Result<(Version, State, Body<'a>), DecodeError> {
    let flags = flags(payload, TOMBSTONE | version::HAS_STEP | PENDING | HAS_EXPIRY)?;
    let version = version::decode(flags, payload)?;
    let state = if flags & PENDING == 0 { State::Committed } else { State::Pending };
    Ok((version, state, decode_body(flags, payload)?))
}

/// Reads flags, of which only those in `known` may be set.
fn flags(payload: &mut Decoder<'_>, known: u8) -> Result<u8, DecodeError> {
    match payload.u8()? {
        flags if flags & !known == 0 => Ok(flags),
        _ => Err(DecodeError("a record has unknown flags")),
    }
}

fn body_flag(body: Body<'_>) -> u8 {
    match body {
        Body::Value(_) => 0,
        Body::Expiring(..) => HAS_EXPIRY,
        Body::Tombstone => TOMBSTONE,
    }
}

fn encode_body(body: Body<'_>, out: &mut Vec<u8>) {
    if let Some(at) = body.expiry() {
        out.put_u64(at);
    }
    if let Some(value) = body.value() {
        out.put_long(value);
    }
}

fn decode_body<'a>(flags: u8, payload: &mut Decoder<'a>) -> Result<Body<'a>, DecodeError> {
    match flags & (TOMBSTONE | HAS_EXPIRY) {
        0 => Ok(Body::Value(payload.long()?)),
        TOMBSTONE => Ok(Body::Tombstone),
        HAS_EXPIRY => {
            let at = payload.u64()?;
            Ok(Body::Expiring(payload.long()?, at))
        }
        _ => Err(DecodeError("a tombstone that expires")),
    }
}

/// REPL_PUT: writes for one replica, all under one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteBatch<'a> {
    /// The epoch that the writer routed by.
    pub epoch: Epoch,
    /// The writes, each on its own.
    pub writes: Vec<Write<'a>>,
}

impl<'a> Message<'a> for WriteBatch<'a> {
    const KIND: Kind = Kind::ReplPut;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u32(self.writes.len() as u32);
        for write in &self.writes {
            write.encode(out);
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<WriteBatch<'a>, DecodeError> {
        Ok(WriteBatch {
            epoch: Epoch(payload.u64()?),
            writes: payload.list(LEAST_RECORD, Write::decode)?,
        })
    }
}

/// COMMIT: every replica holds these versions, or newer ones (rules C2 and N3). There is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitNotice<'a> {
    /// Writers, and up to which clock all their plain writes are done, or stored nowhere.
    pub watermarks: Vec<(u64, Clock)>,
    /// Keys, and versions of them that no watermark covers.
    pub versions: Vec<(&'a [u8], Version)>,
}

impl<'a> Message<'a> for CommitNotice<'a> {
    const KIND: Kind = Kind::Commit;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.watermarks.len() as u32);
        for (writer, clock) in &self.watermarks {
            out.put_u64(*writer);
            out.put_u64(*clock);
        }
        out.put_u32(self.versions.len() as u32);
        for (key, version) in &self.versions {
            out.put_short(key);
            version::encode_with_flag(version, out);
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<CommitNotice<'a>, DecodeError> {
        let watermark = |payload: &mut Decoder<'a>| Ok((payload.u64()?, payload.u64()?));
        let version =
            |payload: &mut Decoder<'a>| Ok((payload.short()?, version::decode_with_flag(payload)?));
        Ok(CommitNotice {
            watermarks: payload.list(16, watermark)?,
            versions: payload.list(LEAST_RECORD, version)?,
        })
    }
}

/// A replica's condition, whatever the request was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its memory limit is reached. It still stores writes, since a write that some replicas have
    /// stored must be completed at all; but clients start no new write that would add to its
    /// memory.
    pub is_full: bool,
}

impl Shape {
    const FULL: u8 = 1;

    fn bits(self) -> u8 {
        if self.is_full { Shape::FULL } else { 0 }
    }

    fn from_bits(bits: u8) -> Result<Shape, DecodeError> {
        match bits {
            0 | Shape::FULL => Ok(Shape { is_full: bits == Shape::FULL }),
            _ => Err(DecodeError("an unknown shape of a replica")),
        }
    }
}

/// REPL_ACK: one answer for each record of a [`WriteBatch`], in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteAcks {
    /// The replica's epoch.
    pub epoch: Epoch,
    /// The replica's clock.
    pub clock: Clock,
    /// How it is.
    pub shape: Shape,
    /// The result of each write.
    pub answers: Vec<WriteAnswer>,
}

impl Message<'_> for WriteAcks {
    const KIND: Kind = Kind::ReplAck;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u64(self.clock);
        out.put_u8(self.shape.bits());
        out.put_u32(self.answers.len() as u32);
        for answer in &self.answers {
            encode_answer(answer, out);
        }
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<WriteAcks, DecodeError> {
        Ok(WriteAcks {
            epoch: Epoch(payload.u64()?),
            clock: payload.u64()?,
            shape: Shape::from_bits(payload.u8()?)?,
            answers: payload.list(1, decode_answer)?,
        })
    }
}

fn encode_answer(answer: &WriteAnswer, out: &mut Vec<u8>) {
    let with_version = |code, version: &Version, out: &mut Vec<u8>| {
        out.put_u8(code);
        version::encode_with_flag(version, out);
    };
    match answer {
        WriteAnswer::Stored => out.put_u8(0),
        WriteAnswer::Superseded(version) => with_version(1, version, out),
        WriteAnswer::BlindStored => out.put_u8(2),
        WriteAnswer::BlindBelow(version) => with_version(3, version, out),
        WriteAnswer::WrongEpoch => out.put_u8(4),
        WriteAnswer::Conflict => out.put_u8(5),
        WriteAnswer::BadVersion => out.put_u8(6),
        WriteAnswer::BadKey => out.put_u8(7),
        WriteAnswer::BadValue => out.put_u8(8),
        WriteAnswer::NoLease => out.put_u8(9),
        WriteAnswer::TooOld => out.put_u8(10),
        WriteAnswer::Differs(version) => with_version(11, version, out),
    }
}

fn decode_answer(payload: &mut Decoder<'_>) -> Result<WriteAnswer, DecodeError> {
    Ok(match payload.u8()? {
        0 => WriteAnswer::Stored,
        1 => WriteAnswer::Superseded(version::decode_with_flag(payload)?),
        2 => WriteAnswer::BlindStored,
        3 => WriteAnswer::BlindBelow(version::decode_with_flag(payload)?),
        4 => WriteAnswer::WrongEpoch,
        5 => WriteAnswer::Conflict,
        6 => WriteAnswer::BadVersion,
        7 => WriteAnswer::BadKey,
        8 => WriteAnswer::BadValue,
        9 => WriteAnswer::NoLease,
        10 => WriteAnswer::TooOld,
        11 => WriteAnswer::Differs(version::decode_with_flag(payload)?),
        _ => return Err(DecodeError("an unknown answer to a write")),
    })
}

/// READ: keys for one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBatch<'a> {
    /// The epoch that the reader routed by; for the log only, reads need no equal epoch (N1).
    pub epoch: Epoch,
    /// The keys.
    pub keys: Vec<&'a [u8]>,
}

impl<'a> Message<'a> for ReadBatch<'a> {
    const KIND: Kind = Kind::Read;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u32(self.keys.len() as u32);
        for key in &self.keys {
            out.put_short(key);
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<ReadBatch<'a>, DecodeError> {
        Ok(ReadBatch { epoch: Epoch(payload.u64()?), keys: payload.list(2, Decoder::short)? })
    }
}

/// FENCE: the same of every member of the keys' write sets, under this very epoch; members that are
/// not synced answer as well (rule C5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence<'a>(pub ReadBatch<'a>);

impl<'a> Message<'a> for Fence<'a> {
    const KIND: Kind = Kind::Fence;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<Fence<'a>, DecodeError> {
        ReadBatch::decode(payload).map(Fence)
    }
}

/// One replica's answer to a read of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyReply<'a> {
    /// There is no record.
    Absent,
    /// There is a record.
    Record(Version, State, Body<'a>),
    /// This node is no replica of the key in the newest view that it knows.
    WrongEpoch,
    /// This node is a replica of the key but is still fetching it.
    Syncing,
    /// The key is longer than the cluster takes.
    BadKey,
    /// This node holds no lease.
    NoLease,
    /// To a fence: this node is still fetching the key, and has no record of it yet.
    BlindAbsent,
    /// To a fence: this node is still fetching the key, and this is its record so far.
    Blind(Version, State, Body<'a>),
    /// The frame is full with the answers before it: repeat the request for this key. Never the
    /// answer to a frame's first key.
    Later,
}

impl<'a> KeyReply<'a> {
    /// Appends the answer's bytes: a server writes each straight from its table into the reply.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            KeyReply::Absent => out.put_u8(0),
            KeyReply::Record(version, state, body) => {
                out.put_u8(1);
                encode_held(version, *state, *body, out);
            }
            KeyReply::WrongEpoch => out.put_u8(2),
            KeyReply::Syncing => out.put_u8(3),
            KeyReply::BadKey => out.put_u8(4),
            KeyReply::NoLease => out.put_u8(5),
            KeyReply::BlindAbsent => out.put_u8(6),
            KeyReply::Blind(version, state, body) => {
                out.put_u8(7);
                encode_held(version, *state, *body, out);
            }
            KeyReply::Later => out.put_u8(8),
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<KeyReply<'a>, DecodeError> {
        Ok(match payload.u8()? {
            0 => KeyReply::Absent,
            1 => {
                let (version, state, body) = decode_held(payload)?;
                KeyReply::Record(version, state, body)
            }
            2 => KeyReply::WrongEpoch,
            3 => KeyReply::Syncing,
            4 => KeyReply::BadKey,
            5 => KeyReply::NoLease,
            6 => KeyReply::BlindAbsent,
            7 => {
                let (version, state, body) = decode_held(payload)?;
                KeyReply::Blind(version, state, body)
            }
            8 => KeyReply::Later,
            _ => return Err(DecodeError("an unknown answer to a read")),
        })
    }
}

/// READ_REPLY: one answer for each key of a [`ReadBatch`], in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReply<'a> {
    /// The replica's epoch.
    pub epoch: Epoch,
    /// The replica's clock.
    pub clock: Clock,
    /// How it is.
    pub shape: Shape,
    /// The answers.
    pub answers: Vec<KeyReply<'a>>,
}

impl ReadReply<'_> {
    /// Appends the head of the reply, which precedes the answers.
    pub fn encode_head(epoch: Epoch, clock: Clock, shape: Shape, count: usize, out: &mut Vec<u8>) {
        out.put_u64(epoch.0);
        out.put_u64(clock);
        out.put_u8(shape.bits());
        out.put_u32(count as u32);
    }
}

impl<'a> Message<'a> for ReadReply<'a> {
    const KIND: Kind = Kind::ReadReply;

    fn encode(&self, out: &mut Vec<u8>) {
        ReadReply::encode_head(self.epoch, self.clock, self.shape, self.answers.len(), out);
        for answer in &self.answers {
            answer.encode(out);
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<ReadReply<'a>, DecodeError> {
        Ok(ReadReply {
            epoch: Epoch(payload.u64()?),
            clock: payload.u64()?,
            shape: Shape::from_bits(payload.u8()?)?,
            answers: payload.list(1, KeyReply::decode)?,
        })
    }
}
