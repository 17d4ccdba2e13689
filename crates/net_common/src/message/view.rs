//! The encoding of a view, in TABLE_PUSH and in the manager's saved state. Its line is encoded
//! separately, since early saved states have none.

use cluster::durability::Durability;
use cluster::ids::{ClusterId, Epoch, ManagerIncarnation};
use cluster::line::{Line, Stretch};
use cluster::view::Replacement;
use cluster::view::{Coming, Member, MemberState, SoleHolder, View};

use super::parts;
use crate::codec::{DecodeError, Decoder, Encoder};

/// Appends a view, but for its line.
pub fn encode(view: &View, out: &mut Vec<u8>) {
    out.put_u64(view.cluster.0);
    out.put_u64(view.epoch.0);
    out.put_u8(view.copies as u8);
    parts::encode_limits(&view.limits, out);
    out.put_list(&view.members, |member, out| {
        parts::encode_node_id(&member.id, out);
        out.put_u64(member.incarnation.0);
        parts::encode_address(&member.address, out);
        out.put_u16(member.redis_port);
        out.put_u32(member.weight);
        out.put_u8(match member.state {
            MemberState::Joining => 0,
            MemberState::Active => 1,
            MemberState::Leaving => 2,
        });
    });
    encode_arcs(&view.arcs, out);
    out.put_option(view.coming.as_ref(), |coming, out| {
        encode_arcs(&coming.arcs, out);
        out.put_u8(coming.copies as u8);
        // As many as there are members.
        coming.weights.iter().for_each(|&weight| out.put_u32(weight));
    });
    encode_arcs(&view.fresh, out);
    out.put_list(&view.sole_holders, |SoleHolder { place, since, arcs }, out| {
        out.put_u16(*place);
        out.put_u64(since.0);
        encode_arcs(arcs, out);
    });
    out.put_list(&view.replacements, |Replacement { place, of, arcs }, out| {
        out.put_u16(*place);
        out.put_u64(of.0);
        encode_arcs(arcs, out);
    });
    out.put_u8(match view.durability {
        Durability::None => 0,
        Durability::Async => 1,
        Durability::Sync => 2,
    });
    // One for each member.
    view.members.iter().for_each(|member| out.put_flag(member.on_disk));
    out.put_u8(view.min_copies as u8);
    if let Some(coming) = &view.coming {
        parts::encode_limits(&coming.limits, out);
        out.put_u8(coming.min_copies as u8);
    }
}

/// Appends a view's line, which is encoded separately.
pub fn encode_line(line: &Line, out: &mut Vec<u8>) {
    out.put_list(line.stretches(), |Stretch { first, before, life }, out| {
        out.put_u64(first.0);
        out.put_u64(before.0);
        out.put_u64(life.0);
    });
}

/// Appends a view with its line.
pub(super) fn encode_whole(view: &View, out: &mut Vec<u8>) {
    encode(view, out);
    encode_line(&view.line, out);
}

/// Reads a view with its line.
pub(super) fn decode_whole(payload: &mut Decoder<'_>) -> Result<View, DecodeError> {
    let view = decode(payload)?;
    Ok(View { line: decode_line(payload)?, ..view })
}

/// Reads a view's line.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_line(payload: &mut Decoder<'_>) -> Result<Line, DecodeError> {
    let stretches = payload.list(8 + 8 + 8, |payload| {
        let (first, before) = (Epoch(payload.u64()?), Epoch(payload.u64()?));
        Ok(Stretch { first, before, life: ManagerIncarnation(payload.u64()?) })
    })?;
    Line::new(stretches).ok_or(DecodeError("a line of views out of order"))
}

fn encode_arcs(arcs: &[u16], out: &mut Vec<u8>) {
    out.put_list(arcs, |arc, out| out.put_u16(*arc));
}

/// Reads a view, with an empty line, and holds it against its invariants.
///
/// # Errors
/// [`DecodeError`], also for a view that breaks an invariant.
pub fn decode(payload: &mut Decoder<'_>) -> Result<View, DecodeError> {
    decode_with(payload, true)
}

/// The same for a view as it was saved before there were `min_copies` and limits to come.
///
/// # Errors
/// As [`decode`].
pub fn decode_before(payload: &mut Decoder<'_>) -> Result<View, DecodeError> {
    decode_with(payload, false)
}

fn decode_with(payload: &mut Decoder<'_>, has_settings: bool) -> Result<View, DecodeError> {
    let cluster = ClusterId(payload.u64()?);
    let epoch = Epoch(payload.u64()?);
    let copies = usize::from(payload.u8()?);
    let limits = parts::decode_limits(payload)?;
    const LEAST_MEMBER: usize = 2 + 8 + 2 + 2 + 2 + 4 + 1;
    let mut members = payload.list(LEAST_MEMBER, decode_member)?;
    let arcs = decode_arcs(payload)?;
    let mut coming = payload.option(|payload| {
        Ok(Coming {
            arcs: decode_arcs(payload)?,
            copies: usize::from(payload.u8()?),
            weights: members.iter().map(|_| payload.u32()).collect::<Result<_, _>>()?,
            limits,
            min_copies: 1,
        })
    })?;
    let fresh = decode_arcs(payload)?;
    let sole_holders = payload.list(2 + 8 + 4, |payload| {
        let (place, since) = (payload.u16()?, Epoch(payload.u64()?));
        Ok(SoleHolder { place, since, arcs: decode_arcs(payload)? })
    })?;
    let replacements = payload.list(2 + 8 + 4, |payload| {
        let (place, of) = (payload.u16()?, parts::decode_incarnation(payload)?);
        Ok(Replacement { place, of, arcs: decode_arcs(payload)? })
    })?;
    let durability = match payload.u8()? {
        0 => Durability::None,
        1 => Durability::Async,
        2 => Durability::Sync,
        _ => return Err(DecodeError("an unknown durability")),
    };
    for member in &mut members {
        member.on_disk = payload.flag()?;
    }
    let mut min_copies = 1;
    if has_settings {
        min_copies = usize::from(payload.u8()?);
        if let Some(coming) = &mut coming {
            coming.limits = parts::decode_limits(payload)?;
            coming.min_copies = usize::from(payload.u8()?);
        }
    }
    let view = View {
        cluster,
        epoch,
        line: Line::default(),
        copies,
        limits,
        min_copies,
        durability,
        members,
        arcs,
        coming,
        fresh,
        sole_holders,
        replacements,
    };
    view.check().map_err(|bad| DecodeError(bad.0))?;
    Ok(view)
}

fn decode_member(payload: &mut Decoder<'_>) -> Result<Member, DecodeError> {
    Ok(Member {
        id: parts::decode_node_id(payload)?,
        incarnation: parts::decode_incarnation(payload)?,
        address: parts::decode_address(payload)?,
        redis_port: payload.u16()?,
        weight: payload.u32()?,
        state: match payload.u8()? {
            0 => MemberState::Joining,
            1 => MemberState::Active,
            2 => MemberState::Leaving,
            _ => return Err(DecodeError("an unknown member state")),
        },
        on_disk: false,
    })
}

fn decode_arcs(payload: &mut Decoder<'_>) -> Result<Vec<u16>, DecodeError> {
    payload.list(2, Decoder::u16)
}
