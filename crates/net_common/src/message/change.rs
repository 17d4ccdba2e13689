//! Planned changes: an operator's requests and the manager's replies.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`Plan`] → [`Planned`] | operator → manager | looking changes nothing |
//! | [`Begin`] → [`Planned`] | operator → manager | repeated while the change runs it is refused; after it, there is nothing left to change |

use cluster::membership::{AdminCommand, Amount, Move, Outline, Reconfiguration};

use super::{Message, parts};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// CHANGE: begins a reconfiguration or cancels the present one. Answered once it has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin(pub AdminCommand);

/// CHANGE_PLAN: requests what a reconfiguration would move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(pub AdminCommand);

/// CHANGE_REPLY: what it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned(pub Outline);

const LEAVE: u8 = 1;
const WEIGHT: u8 = 2;
const COPIES: u8 = 3;
const CANCEL: u8 = 4;
const TERMS: u8 = 5;
const LIMITS: u8 = 6;
const MIN_COPIES: u8 = 7;

fn encode_order(order: &AdminCommand, out: &mut Vec<u8>) {
    let AdminCommand::Reconfigure { change, force } = order else { return out.put_u8(CANCEL) };
    match change {
        Reconfiguration::Leave(id) => {
            out.put_u8(LEAVE);
            parts::encode_node_id(id, out);
        }
        Reconfiguration::Weight(id, weight) => {
            out.put_u8(WEIGHT);
            parts::encode_node_id(id, out);
            out.put_u32(*weight);
        }
        Reconfiguration::Copies(copies) => {
            out.put_u8(COPIES);
            out.put_u32(*copies as u32);
        }
        Reconfiguration::Terms { heartbeat_ms, missed } => {
            out.put_u8(TERMS);
            // 0, which neither can be, means unchanged.
            out.put_u64(heartbeat_ms.unwrap_or(0));
            out.put_u32(missed.unwrap_or(0));
        }
        Reconfiguration::Limits { key, value } => {
            out.put_u8(LIMITS);
            for limit in [key, value] {
                out.put_option(limit.as_ref(), |limit, out| out.put_u32(*limit as u32));
            }
        }
        Reconfiguration::MinCopies(copies) => {
            out.put_u8(MIN_COPIES);
            out.put_u32(*copies as u32);
        }
    }
    out.put_flag(*force);
}

fn decode_order(payload: &mut Decoder<'_>) -> Result<AdminCommand, DecodeError> {
    let change = match payload.u8()? {
        LEAVE => Reconfiguration::Leave(parts::decode_node_id(payload)?),
        WEIGHT => Reconfiguration::Weight(parts::decode_node_id(payload)?, payload.u32()?),
        COPIES => Reconfiguration::Copies(payload.u32()? as usize),
        TERMS => Reconfiguration::Terms {
            heartbeat_ms: Some(payload.u64()?).filter(|&ms| ms > 0),
            missed: Some(payload.u32()?).filter(|&missed| missed > 0),
        },
        LIMITS => {
            let mut limit = || payload.option(|payload| Ok(payload.u32()? as usize));
            Reconfiguration::Limits { key: limit()?, value: limit()? }
        }
        MIN_COPIES => Reconfiguration::MinCopies(payload.u32()? as usize),
        CANCEL => return Ok(AdminCommand::Cancel),
        _ => return Err(DecodeError("an unknown change")),
    };
    let force = payload.flag()?;
    Ok(AdminCommand::Reconfigure { change, force })
}

impl Message<'_> for Begin {
    const KIND: Kind = Kind::Change;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_order(&self.0, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Begin, DecodeError> {
        decode_order(payload).map(Begin)
    }
}

impl Message<'_> for Plan {
    const KIND: Kind = Kind::ChangePlan;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_order(&self.0, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Plan, DecodeError> {
        decode_order(payload).map(Plan)
    }
}

impl Message<'_> for Planned {
    const KIND: Kind = Kind::ChangeReply;

    fn encode(&self, out: &mut Vec<u8>) {
        let Outline { what, arcs, moves, amount } = &self.0;
        out.put_long(what.as_bytes());
        out.put_u32(*arcs as u32);
        out.put_u64(amount.keys);
        out.put_u64(amount.bytes);
        out.put_list(moves, |m, out| {
            parts::encode_node_id(&m.id, out);
            for number in [m.owns.0, m.owns.1, m.keeps.0, m.keeps.1, m.fetches] {
                out.put_u32(number as u32);
            }
        });
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Planned, DecodeError> {
        let what = payload.long_text()?.to_owned();
        let arcs = payload.u32()? as usize;
        let amount = Amount { keys: payload.u64()?, bytes: payload.u64()? };
        const LEAST_MOVE: usize = 2 + 5 * 4;
        let moves = payload.list(LEAST_MOVE, decode_move)?;
        Ok(Planned(Outline { what, arcs, moves, amount }))
    }
}

fn decode_move(payload: &mut Decoder<'_>) -> Result<Move, DecodeError> {
    let id = parts::decode_node_id(payload)?;
    let mut number = || payload.u32().map(|n| n as usize);
    Ok(Move { id, owns: (number()?, number()?), keeps: (number()?, number()?), fetches: number()? })
}
