//! Versions on the wire: 16 bytes for a plain write, 40 with step and op.

use cluster::version::{Op, Version};

use crate::codec::{DecodeError, Decoder, Encoder};

/// A record's flag: it carries step and op.
pub(super) const HAS_STEP: u8 = 0b10;

/// The flag that `version` asks for.
pub(super) fn flag(version: &Version) -> u8 {
    if version.is_plain() { 0 } else { HAS_STEP }
}

pub(super) fn encode(version: &Version, out: &mut Vec<u8>) {
    out.put_u64(version.clock);
    out.put_u64(version.writer);
    if !version.is_plain() {
        out.put_u64(version.step);
        out.put_u64(version.op.writer);
        out.put_u64(version.op.count);
    }
}

pub(super) fn decode(flags: u8, payload: &mut Decoder<'_>) -> Result<Version, DecodeError> {
    let version = Version::plain(payload.u64()?, payload.u64()?);
    if flags & HAS_STEP == 0 {
        return Ok(version);
    }
    let step = payload.u64()?;
    let op = Op { writer: payload.u64()?, count: payload.u64()? };
    Ok(Version { step, op, ..version })
}

/// Appends a version with its flag in front.
pub(super) fn encode_with_flag(version: &Version, out: &mut Vec<u8>) {
    out.put_u8(flag(version));
    encode(version, out);
}

pub(super) fn decode_with_flag(payload: &mut Decoder<'_>) -> Result<Version, DecodeError> {
    match payload.u8()? {
        flags if flags & !HAS_STEP == 0 => decode(flags, payload),
        _ => Err(DecodeError("a version has unknown flags")),
    }
}
