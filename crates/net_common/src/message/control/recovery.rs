//! Decisions that only an operator can make: to give up lost records, or to use a folder that may
//! be a copy.

use cluster::ids::{Incarnation, NodeId};
use cluster::membership::Loss;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::Message;
use crate::message::parts::{self, bare};

/// ACCEPT_LOSS: go on without this, which a [`Status`](super::Status) has shown. Refused with
/// `changed` where another loss is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptLoss(pub Loss);

impl Message<'_> for AcceptLoss {
    const KIND: Kind = Kind::AcceptLoss;

    fn encode(&self, out: &mut Vec<u8>) {
        parts::encode_loss(&self.0, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<AcceptLoss, DecodeError> {
        parts::decode_loss(payload).map(AcceptLoss)
    }
}

/// ACCEPT_LOSS_REPLY: the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossAccepted {
    /// Arcs that begin empty; 0 where nothing was lost.
    pub arcs: u32,
}

impl Message<'_> for LossAccepted {
    const KIND: Kind = Kind::AcceptLossReply;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.arcs);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<LossAccepted, DecodeError> {
        Ok(LossAccepted { arcs: payload.u32()? })
    }
}

/// ADOPT_FOLDER: accepts a node's data folder that is held back as a possible copy, as the waiting
/// start presents it (L5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptFolder {
    /// Which node's.
    pub id: NodeId,
    /// The start that waits with it, as a [`Status`](super::Status) has shown.
    pub start: Incarnation,
}

impl Message<'_> for AdoptFolder {
    const KIND: Kind = Kind::AdoptFolder;

    fn encode(&self, out: &mut Vec<u8>) {
        parts::encode_node_id(&self.id, out);
        out.put_u64(self.start.0);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<AdoptFolder, DecodeError> {
        Ok(AdoptFolder { id: parts::decode_node_id(payload)?, start: Incarnation(payload.u64()?) })
    }
}

/// ADOPT_FOLDER_REPLY: it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderAdopted;

bare!(FolderAdopted = AdoptFolderReply);
