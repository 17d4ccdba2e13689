//! How the cluster is.

use cluster::ids::{Address, Epoch, Incarnation, NodeId};
use cluster::membership::{Level, Loss, WaitingFolder};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::Message;
use crate::message::parts::{self, bare};

/// STATUS: how is the cluster?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusAsk;

bare!(StatusAsk = Status);

/// How one node is, as the manager sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub id: NodeId,
    /// Where it listens.
    pub address: Address,
    /// `active`, `joining`, `leaving`, `waiting`, `left` or `down`.
    pub state: String,
    /// Its share of the ring in proportion to the others'.
    pub weight: u32,
    /// Keys in its memory, as of its last heartbeat.
    pub keys: u64,
    /// Bytes of those keys and values.
    pub bytes: u64,
    /// Arcs that it owns, out of [`Status::arcs`].
    pub arcs: u32,
    /// Copies of arcs that it keeps or is to keep and has yet to fetch.
    pub behind: u32,
    /// Bytes a second that it fetches from others.
    pub fetching: u64,
    /// Milliseconds since its last heartbeat.
    pub silent_ms: u64,
    /// How its disk is.
    pub disk: Disk,
    /// Whether it holds as much as it may, and refuses what would add to that.
    pub is_full: bool,
}

/// How a node's disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// It keeps records in memory only.
    None,
    /// What it stores reaches its disk.
    Sound,
    /// The same, but no image of its records can be made, for this reason: its folder grows.
    Strained(String),
    /// What it stores does not reach its disk, for this reason.
    Failing(String),
}

impl Disk {
    fn encode(&self, out: &mut Vec<u8>) {
        let (number, why) = match self {
            Disk::None => (0, ""),
            Disk::Sound => (1, ""),
            Disk::Strained(why) => (2, why.as_str()),
            Disk::Failing(why) => (3, why.as_str()),
        };
        out.put_u8(number);
        out.put_long(why.as_bytes());
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Disk, DecodeError> {
        let number = payload.u8()?;
        let why = payload.long_text()?.to_owned();
        match number {
            0 => Ok(Disk::None),
            1 => Ok(Disk::Sound),
            2 => Ok(Disk::Strained(why)),
            3 => Ok(Disk::Failing(why)),
            _ => Err(DecodeError("how a disk is")),
        }
    }
}

/// STATUS_REPLY: how the cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The active view's epoch.
    pub epoch: Epoch,
    /// Copies of each key asked for.
    pub copies: u8,
    /// How often a node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: u32,
    /// How many heartbeats a node may miss before it is out.
    pub missed: u32,
    /// The longest lease that may be out, in milliseconds: longer than these say while an older one is waited for.
    pub longest_ms: u32,
    /// What an acknowledged write is worth when all who hold it end at once: `none`, `async` or `sync`.
    pub durability: String,
    /// Arcs of the ring.
    pub arcs: u32,
    /// How bad it is.
    pub level: Level,
    /// The same in words for people: `healthy`, or what is wrong and why.
    pub health: String,
    /// Whether a planned change is under way, or a view is being made.
    pub changing: bool,
    /// The planned change that is under way, in a few words; empty if there is none.
    pub change: String,
    /// The slots that nobody alive holds, as first and last of each run of them, in ascending order.
    pub lost: Vec<(u16, u16)>,
    /// What would be given up by going on without those who are away; `None` where nothing is lost.
    pub loss: Option<Loss>,
    /// The data folders that are held back since they are, or may be, copies.
    pub folders: Vec<WaitingFolder>,
    /// All nodes that the manager knows, by name.
    pub nodes: Vec<NodeStatus>,
}

impl Message<'_> for Status {
    const KIND: Kind = Kind::StatusReply;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u8(self.copies);
        out.put_u32(self.heartbeat_ms);
        out.put_u32(self.missed);
        out.put_u32(self.longest_ms);
        out.put_short(self.durability.as_bytes());
        out.put_u32(self.arcs);
        out.put_u8(self.level as u8);
        out.put_long(self.health.as_bytes());
        out.put_u8(u8::from(self.changing));
        out.put_long(self.change.as_bytes());
        out.put_u32(self.lost.len() as u32);
        for (first, last) in &self.lost {
            out.put_u16(*first);
            out.put_u16(*last);
        }
        out.put_u8(u8::from(self.loss.is_some()));
        if let Some(loss) = &self.loss {
            parts::encode_loss(loss, out);
        }
        out.put_u32(self.folders.len() as u32);
        for WaitingFolder { id, start, address, original, is_copy } in &self.folders {
            out.put_short(id.as_str().as_bytes());
            out.put_u64(start.0);
            parts::put_address(address, out);
            out.put_u8(u8::from(original.is_some()));
            if let Some(original) = original {
                parts::put_address(original, out);
            }
            out.put_u8(u8::from(*is_copy));
        }
        out.put_u32(self.nodes.len() as u32);
        for node in &self.nodes {
            out.put_short(node.id.as_str().as_bytes());
            out.put_short(node.address.host().as_bytes());
            out.put_u16(node.address.port());
            out.put_short(node.state.as_bytes());
            out.put_u32(node.weight);
            out.put_u64(node.keys);
            out.put_u64(node.bytes);
            out.put_u32(node.arcs);
            out.put_u32(node.behind);
            out.put_u64(node.fetching);
            out.put_u64(node.silent_ms);
            node.disk.encode(out);
            out.put_u8(u8::from(node.is_full));
        }
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Status, DecodeError> {
        let epoch = Epoch(payload.u64()?);
        let copies = payload.u8()?;
        let (heartbeat_ms, missed, longest_ms) = (payload.u32()?, payload.u32()?, payload.u32()?);
        let durability = payload.text()?.to_owned();
        let arcs = payload.u32()?;
        let level = Level::from_number(payload.u8()?).ok_or(DecodeError("how bad it is"))?;
        let health = payload.long_text()?.to_owned();
        let changing = payload.u8()? != 0;
        let change = payload.long_text()?.to_owned();
        let count = payload.count(4)?;
        let lost = (0..count)
            .map(|_| Ok((payload.u16()?, payload.u16()?)))
            .collect::<Result<_, DecodeError>>()?;
        let loss = match payload.flag()? {
            false => None,
            true => Some(parts::decode_loss(payload)?),
        };
        const LEAST_FOLDER: usize = 2 + 8 + 2 + 2 + 1 + 1;
        let folders = (0..payload.count(LEAST_FOLDER)?)
            .map(|_| {
                Ok(WaitingFolder {
                    id: parts::node_id(payload)?,
                    start: Incarnation(payload.u64()?),
                    address: parts::address(payload)?,
                    original: payload.flag()?.then(|| parts::address(payload)).transpose()?,
                    is_copy: payload.flag()?,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        const LEAST_NODE: usize = 2 + 2 + 2 + 2 + 4 + 8 + 8 + 4 + 4 + 8 + 8 + 4;
        let count = payload.count(LEAST_NODE)?;
        let nodes = (0..count)
            .map(|_| {
                Ok(NodeStatus {
                    id: parts::node_id(payload)?,
                    address: parts::address(payload)?,
                    state: payload.text()?.to_owned(),
                    weight: payload.u32()?,
                    keys: payload.u64()?,
                    bytes: payload.u64()?,
                    arcs: payload.u32()?,
                    behind: payload.u32()?,
                    fetching: payload.u64()?,
                    silent_ms: payload.u64()?,
                    disk: Disk::decode(payload)?,
                    is_full: payload.flag()?,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        Ok(Status {
            epoch,
            copies,
            heartbeat_ms,
            missed,
            longest_ms,
            durability,
            arcs,
            level,
            health,
            changing,
            change,
            lost,
            loss,
            folders,
            nodes,
        })
    }
}
