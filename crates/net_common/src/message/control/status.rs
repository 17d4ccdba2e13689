//! How the cluster is.

use std::fmt;

use cluster::durability::Durability;
use cluster::ids::{Address, Epoch, NodeId};
use cluster::membership::{DiskHealth, Level, Loss, NodeState, WaitingFolder};

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;
use crate::message::Message;
use crate::message::parts::{self, bare};

/// STATUS: how is the cluster?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRequest;

bare!(StatusRequest = Status);

/// How one node is, as the manager sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub id: NodeId,
    /// Where it listens.
    pub address: Address,
    /// Its part in the cluster.
    pub state: NodeState,
    /// Its share of the ring in proportion to the others'.
    pub weight: u32,
    /// Keys in its memory, as of its last heartbeat.
    pub keys: u64,
    /// Bytes of those keys and values.
    pub bytes: u64,
    /// Arcs that it owns, out of [`Status::arcs`].
    pub arcs: u32,
    /// The number of arcs in whose write set it is and which it has yet to fetch.
    pub behind: u32,
    /// Bytes a second that it fetches from others.
    pub fetching: u64,
    /// Milliseconds since its last heartbeat.
    pub silent_ms: u64,
    /// The health of its disk; `None`: records are in memory only.
    pub disk: Option<DiskHealth>,
    /// Whether its memory limit is reached, so that it refuses writes that would add to it.
    pub is_full: bool,
}

/// How well a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthLine {
    /// How bad it is, for programs.
    pub level: Level,
    /// The health as text: `healthy`, or what is wrong and why.
    pub text: String,
}

impl fmt::Display for HealthLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    /// The longest lease that may be valid, in milliseconds: longer than the present terms while
    /// older leases have not run out.
    pub longest_ms: u32,
    /// Which acknowledged writes survive when all their replicas fail at once.
    pub durability: Durability,
    /// Arcs of the ring.
    pub arcs: u32,
    /// How well it is.
    pub health: HealthLine,
    /// Whether a planned change is under way, or a view is about to become active.
    pub changing: bool,
    /// The planned change that is under way, in a few words, if there is one.
    pub change: Option<String>,
    /// The slots without a live replica, as the first and last of each run, in ascending order.
    pub lost: Vec<(u16, u16)>,
    /// What an operator would give up by accepting the loss; `None` where nothing is lost.
    pub loss: Option<Loss>,
    /// The data folders that are held back since they are, or may be, copies.
    pub folders: Vec<WaitingFolder>,
    /// All nodes that the manager knows, by name.
    pub nodes: Vec<NodeStatus>,
}

impl Status {
    /// Whether all is well, and nothing is about to change.
    pub fn is_settled(&self) -> bool {
        self.health.level == Level::Healthy && !self.changing
    }
}

impl Message<'_> for Status {
    const KIND: Kind = Kind::StatusReply;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.put_u8(self.copies);
        out.put_u32(self.heartbeat_ms);
        out.put_u32(self.missed);
        out.put_u32(self.longest_ms);
        out.put_short(self.durability.to_string().as_bytes());
        out.put_u32(self.arcs);
        out.put_u8(self.health.level as u8);
        out.put_long(self.health.text.as_bytes());
        out.put_flag(self.changing);
        out.put_long(self.change.as_deref().unwrap_or_default().as_bytes());
        out.put_list(&self.lost, |(first, last), out| {
            out.put_u16(*first);
            out.put_u16(*last);
        });
        out.put_option(self.loss.as_ref(), parts::encode_loss);
        out.put_list(&self.folders, encode_folder);
        out.put_list(&self.nodes, encode_node);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Status, DecodeError> {
        Ok(Status {
            epoch: Epoch(payload.u64()?),
            copies: payload.u8()?,
            heartbeat_ms: payload.u32()?,
            missed: payload.u32()?,
            longest_ms: payload.u32()?,
            durability: payload.text()?.parse().map_err(DecodeError)?,
            arcs: payload.u32()?,
            health: HealthLine {
                level: Level::from_number(payload.u8()?).ok_or(DecodeError("how bad it is"))?,
                text: payload.long_text()?.to_owned(),
            },
            changing: payload.u8()? != 0,
            change: Some(payload.long_text()?).filter(|what| !what.is_empty()).map(str::to_owned),
            lost: payload.list(4, |payload| Ok((payload.u16()?, payload.u16()?)))?,
            loss: payload.option(parts::decode_loss)?,
            folders: payload.list(LEAST_FOLDER, decode_folder)?,
            nodes: payload.list(LEAST_NODE, decode_node)?,
        })
    }
}

/// The fewest bytes of a folder that is held back.
const LEAST_FOLDER: usize = 2 + 8 + 2 + 2 + 1 + 1;

fn encode_folder(folder: &WaitingFolder, out: &mut Vec<u8>) {
    let WaitingFolder { id, start, address, original, is_copy } = folder;
    parts::encode_node_id(id, out);
    out.put_u64(start.0);
    parts::encode_address(address, out);
    out.put_option(original.as_ref(), parts::encode_address);
    out.put_flag(*is_copy);
}

fn decode_folder(payload: &mut Decoder<'_>) -> Result<WaitingFolder, DecodeError> {
    Ok(WaitingFolder {
        id: parts::decode_node_id(payload)?,
        start: parts::decode_incarnation(payload)?,
        address: parts::decode_address(payload)?,
        original: payload.option(parts::decode_address)?,
        is_copy: payload.flag()?,
    })
}

/// The fewest bytes of a node's status.
const LEAST_NODE: usize = 2 + 2 + 2 + 2 + 4 + 8 + 8 + 4 + 4 + 8 + 8 + 1 + 4 + 1;

fn encode_node(node: &NodeStatus, out: &mut Vec<u8>) {
    parts::encode_node_id(&node.id, out);
    parts::encode_address(&node.address, out);
    out.put_short(node.state.as_str().as_bytes());
    out.put_u32(node.weight);
    out.put_u64(node.keys);
    out.put_u64(node.bytes);
    out.put_u32(node.arcs);
    out.put_u32(node.behind);
    out.put_u64(node.fetching);
    out.put_u64(node.silent_ms);
    encode_disk(node.disk.as_ref(), out);
    out.put_flag(node.is_full);
}

fn decode_node(payload: &mut Decoder<'_>) -> Result<NodeStatus, DecodeError> {
    Ok(NodeStatus {
        id: parts::decode_node_id(payload)?,
        address: parts::decode_address(payload)?,
        state: payload.text()?.parse().map_err(DecodeError)?,
        weight: payload.u32()?,
        keys: payload.u64()?,
        bytes: payload.u64()?,
        arcs: payload.u32()?,
        behind: payload.u32()?,
        fetching: payload.u64()?,
        silent_ms: payload.u64()?,
        disk: decode_disk(payload)?,
        is_full: payload.flag()?,
    })
}

fn encode_disk(disk: Option<&DiskHealth>, out: &mut Vec<u8>) {
    let (number, why) = match disk {
        None => (0, ""),
        Some(DiskHealth::Sound) => (1, ""),
        Some(DiskHealth::Strained(why)) => (2, why.as_str()),
        Some(DiskHealth::Failing(why)) => (3, why.as_str()),
    };
    out.put_u8(number);
    out.put_long(why.as_bytes());
}

fn decode_disk(payload: &mut Decoder<'_>) -> Result<Option<DiskHealth>, DecodeError> {
    let number = payload.u8()?;
    let why = payload.long_text()?.to_owned();
    match number {
        0 => Ok(None),
        1 => Ok(Some(DiskHealth::Sound)),
        2 => Ok(Some(DiskHealth::Strained(why))),
        3 => Ok(Some(DiskHealth::Failing(why))),
        _ => Err(DecodeError("how a disk is")),
    }
}
