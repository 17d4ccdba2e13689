//! Messages between nodes, the manager, and operators.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`Hello`] → [`TablePush`] | client → manager | asks again; an older view than one already known is ignored |
//! | [`Register`] → [`TablePush`] | node → manager | registering again is how a node reconnects |
//! | [`Heartbeat`] → [`HeartbeatAck`] | node → manager | three lost in a row and the node is out |
//! | [`TablePush`] | manager → node, unasked | heartbeats repeat it |
//! | [`Probe`] → [`Heartbeat`] | manager → node | asked again; it changes nothing, and a late one is answered like any |
//! | [`StatusAsk`] → [`Status`], [`InfoAsk`] → [`Info`] | anyone → manager, node | asking changes nothing |
//! | [`AdoptFolder`] → [`FolderAdopted`] | operator → manager | repeated it finds nothing that waits |
//! | [`AcceptLoss`] → [`LossAccepted`] | operator → manager | repeated it finds nothing left to accept |
//!
//! What an operator may ask for beyond that is in [`change`](super::change).

use cluster::claim::Claim;
use cluster::ids::{Address, ClusterId, Epoch, Incarnation, ManagerLife, NodeId};
use cluster::limits::{Limits, MAX_WEIGHT};
use cluster::line::ViewName;
use cluster::membership::{Level, Loss, Seen, WaitingFolder};
use cluster::tenure::ArcSet;
use cluster::version::Clock;
use cluster::view::View;

use super::{Message, view};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// CLIENT_HELLO: give me the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello;

/// STATUS: how is the cluster?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusAsk;

/// NODE_INFO: who are you, and how much do you hold?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoAsk;

/// ACCEPT_LOSS: go on without this, which a [`Status`] has shown. Refused with `changed` where another loss is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptLoss(pub Loss);

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

/// ADOPT_FOLDER: go on with a node's data folder that is held back as a copy, by the start that waits with it (L5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptFolder {
    /// Which node's.
    pub id: NodeId,
    /// The start that waits with it, as a [`Status`] has shown.
    pub start: Incarnation,
}

impl Message<'_> for AdoptFolder {
    const KIND: Kind = Kind::AdoptFolder;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.id.as_str().as_bytes());
        out.put_u64(self.start.0);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<AdoptFolder, DecodeError> {
        Ok(AdoptFolder { id: view::node_id(payload)?, start: Incarnation(payload.u64()?) })
    }
}

/// ADOPT_FOLDER_REPLY: it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderAdopted;

/// Messages whose kind says it all.
macro_rules! bare {
    ($($name:ident = $kind:ident),*) => {$(
        impl Message<'_> for $name {
            const KIND: Kind = Kind::$kind;

            fn encode(&self, _: &mut Vec<u8>) {}

            fn decode(_: &mut Decoder<'_>) -> Result<$name, DecodeError> {
                Ok($name)
            }
        }
    )*};
}

bare!(
    Hello = ClientHello,
    StatusAsk = Status,
    InfoAsk = NodeInfo,
    FolderAdopted = AdoptFolderReply
);

impl Message<'_> for AcceptLoss {
    const KIND: Kind = Kind::AcceptLoss;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_loss(&self.0, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<AcceptLoss, DecodeError> {
        decode_loss(payload).map(AcceptLoss)
    }
}

fn encode_loss(loss: &Loss, out: &mut Vec<u8>) {
    let Loss { epoch, arcs, empty, without, with } = loss;
    out.put_u64(epoch.0);
    for arcs in [arcs, empty] {
        out.put_u32(arcs.len() as u32);
        arcs.iter().for_each(|arc| out.put_u16(*arc));
    }
    for who in [without, with] {
        out.put_u32(who.len() as u32);
        who.iter().for_each(|incarnation| out.put_u64(incarnation.0));
    }
}

fn decode_loss(payload: &mut Decoder<'_>) -> Result<Loss, DecodeError> {
    let epoch = Epoch(payload.u64()?);
    let mut arcs = || -> Result<Vec<u16>, DecodeError> {
        (0..payload.count(2)?).map(|_| payload.u16()).collect()
    };
    let (arcs, empty) = (arcs()?, arcs()?);
    let mut who = || -> Result<Vec<Incarnation>, DecodeError> {
        (0..payload.count(8)?).map(|_| payload.u64().map(Incarnation)).collect()
    };
    let (without, with) = (who()?, who()?);
    Ok(Loss { epoch, arcs, empty, without, with })
}

/// STORAGE_REGISTER: let me in, or: here I am again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The node's name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where clients and peers reach it.
    pub address: Address,
    /// The port that cluster-aware Redis clients are sent to, on the same host; 0: it has none.
    pub redis_port: u16,
    /// Its share of the ring in proportion to the others'; 0: what it had, or 1.
    pub weight: u32,
    /// The cluster of the newest view that it has seen, if it has. A manager of another refuses it.
    pub cluster: Option<ClusterId>,
    /// Whether it has been a member of that cluster: it may hold what nobody else does (H4).
    pub returns: bool,
    /// Whether it has a data folder.
    pub on_disk: bool,
    /// What it held in its last life, by that folder (H6).
    pub claim: Option<Claim>,
    /// The newest view that it has seen, if it has. A manager that does not know it refuses (L7).
    pub seen: Option<Seen>,
    /// Its wall clock, in milliseconds since the Unix epoch. A manager whose own is far off refuses it (N5).
    pub wall_ms: u64,
}

impl Message<'_> for Register {
    const KIND: Kind = Kind::StorageRegister;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.id.as_str().as_bytes());
        out.put_u64(self.incarnation.0);
        out.put_short(self.address.host().as_bytes());
        out.put_u16(self.address.port());
        out.put_u16(self.redis_port);
        out.put_u32(self.weight);
        out.put_u8(u8::from(self.cluster.is_some()));
        if let Some(ClusterId(id)) = self.cluster {
            out.put_u64(id);
        }
        out.put_u8(u8::from(self.returns));
        out.put_u8(u8::from(self.on_disk));
        out.put_u8(u8::from(self.claim.is_some()));
        if let Some(Claim { of, epoch, synced, starts, is_whole }) = &self.claim {
            out.put_u64(of.0);
            out.put_u64(epoch.0);
            encode_arc_set(synced, out);
            out.put_u32(starts.len() as u32);
            starts.iter().for_each(|start| out.put_u64(start.0));
            out.put_u8(u8::from(*is_whole));
        }
        out.put_u8(u8::from(self.seen.is_some()));
        if let Some(Seen { name, view }) = &self.seen {
            out.put_u64(name.epoch.0);
            out.put_u64(name.life.0);
            out.put_u8(u8::from(view.is_some()));
            if let Some(view) = view {
                view::encode(view, out);
                view::encode_line(&view.line, out);
            }
        }
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Register, DecodeError> {
        Ok(Register {
            id: view::node_id(payload)?,
            incarnation: Incarnation(payload.u64()?),
            address: view::address(payload)?,
            redis_port: payload.u16()?,
            weight: Some(payload.u32()?)
                .filter(|weight| *weight <= MAX_WEIGHT)
                .ok_or(DecodeError("a weight out of bounds"))?,
            cluster: if payload.flag()? { Some(ClusterId(payload.u64()?)) } else { None },
            returns: payload.flag()?,
            on_disk: payload.flag()?,
            claim: if payload.flag()? {
                Some(Claim {
                    of: Incarnation(payload.u64()?),
                    epoch: Epoch(payload.u64()?),
                    synced: decode_arc_set(payload)?,
                    starts: (0..payload.count(8)?)
                        .map(|_| payload.u64().map(Incarnation))
                        .collect::<Result<_, _>>()?,
                    is_whole: payload.flag()?,
                })
            } else {
                None
            },
            seen: if payload.flag()? { Some(decode_seen(payload)?) } else { None },
            wall_ms: payload.u64()?,
        })
    }
}

fn decode_seen(payload: &mut Decoder<'_>) -> Result<Seen, DecodeError> {
    let name = ViewName { epoch: Epoch(payload.u64()?), life: ManagerLife(payload.u64()?) };
    let view = if payload.flag()? { Some(Box::new(whole_view(payload)?)) } else { None };
    if view.as_ref().is_none_or(|view| view.name() == name) {
        Ok(Seen { name, view })
    } else {
        Err(DecodeError("not the view that was seen"))
    }
}

/// TABLE_PUSH: a view.
///
/// To a client always the active one. To a node the newest, which may not be active yet: `active`
/// tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePush {
    /// The epoch of the active view.
    pub active: Epoch,
    /// The manager's clock.
    pub clock: Clock,
    /// How often nodes are to send heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long the manager counts a silent node as alive, in milliseconds. A node's lease is as long as the answer
    /// to its heartbeat says: this may have come before it.
    pub lease_ms: u32,
    /// The arcs of the active view that no live member holds (rule H4): nobody need be asked about them.
    pub lost: ArcSet,
    /// The view.
    pub view: View,
}

impl Message<'_> for TablePush {
    const KIND: Kind = Kind::TablePush;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.active.0);
        out.put_u64(self.clock);
        out.put_u32(self.heartbeat_ms);
        out.put_u32(self.lease_ms);
        encode_arc_set(&self.lost, out);
        view::encode(&self.view, out);
        view::encode_line(&self.view.line, out);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<TablePush, DecodeError> {
        Ok(TablePush {
            active: Epoch(payload.u64()?),
            clock: payload.u64()?,
            heartbeat_ms: payload.u32()?,
            lease_ms: payload.u32()?,
            lost: decode_arc_set(payload)?,
            view: whole_view(payload)?,
        })
    }
}

/// A view with its line.
fn whole_view(payload: &mut Decoder<'_>) -> Result<View, DecodeError> {
    let view = view::decode(payload)?;
    Ok(View { line: view::decode_line(payload)?, ..view })
}

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
        encode_arc_set(&self.synced, out);
        encode_arc_set(&self.revived, out);
        out.put_u64(self.keys);
        out.put_u64(self.bytes);
        out.put_u64(self.fetching);
        out.put_long(self.disk_trouble.as_bytes());
        out.put_long(self.disk_strain.as_bytes());
        out.put_u8(u8::from(self.is_full));
        out.put_u8(u8::from(self.longest.is_some()));
        self.longest.iter().for_each(|longest| view::encode_limits(longest, out));
        out.put_u64(self.probe);
        out.put_u64(self.wall_ms);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Heartbeat, DecodeError> {
        Ok(Heartbeat {
            incarnation: Incarnation(payload.u64()?),
            sequence: payload.u64()?,
            epoch: Epoch(payload.u64()?),
            synced: decode_arc_set(payload)?,
            revived: decode_arc_set(payload)?,
            keys: payload.u64()?,
            bytes: payload.u64()?,
            fetching: payload.u64()?,
            disk_trouble: payload.long_text()?.to_owned(),
            disk_strain: payload.long_text()?.to_owned(),
            is_full: payload.flag()?,
            longest: if payload.flag()? { Some(view::decode_limits(payload)?) } else { None },
            probe: payload.u64()?,
            wall_ms: payload.u64()?,
        })
    }
}

/// A set of arcs as bytes, eight arcs each, the lowest arc in the lowest bit.
fn encode_arc_set(set: &ArcSet, out: &mut Vec<u8>) {
    let mut bytes = vec![0u8; set.len().div_ceil(8)];
    for arc in set.ones() {
        bytes[arc / 8] |= 1 << (arc % 8);
    }
    out.put_short(&bytes);
}

fn decode_arc_set(payload: &mut Decoder<'_>) -> Result<ArcSet, DecodeError> {
    let bytes = payload.short()?;
    let mut set = ArcSet::with_capacity(bytes.len() * 8);
    for (i, byte) in bytes.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            set.insert(i * 8 + bit);
        }
    }
    Ok(set)
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
            encode_loss(loss, out);
        }
        out.put_u32(self.folders.len() as u32);
        for WaitingFolder { id, start, address, original, is_copy } in &self.folders {
            out.put_short(id.as_str().as_bytes());
            out.put_u64(start.0);
            put_address(address, out);
            out.put_u8(u8::from(original.is_some()));
            if let Some(original) = original {
                put_address(original, out);
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
        let loss = if payload.flag()? { Some(decode_loss(payload)?) } else { None };
        const LEAST_FOLDER: usize = 2 + 8 + 2 + 2 + 1 + 1;
        let folders = (0..payload.count(LEAST_FOLDER)?)
            .map(|_| {
                Ok(WaitingFolder {
                    id: view::node_id(payload)?,
                    start: Incarnation(payload.u64()?),
                    address: view::address(payload)?,
                    original: payload.flag()?.then(|| view::address(payload)).transpose()?,
                    is_copy: payload.flag()?,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        const LEAST_NODE: usize = 2 + 2 + 2 + 2 + 4 + 8 + 8 + 4 + 4 + 8 + 8 + 4;
        let count = payload.count(LEAST_NODE)?;
        let nodes = (0..count)
            .map(|_| {
                Ok(NodeStatus {
                    id: view::node_id(payload)?,
                    address: view::address(payload)?,
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

fn put_address(address: &Address, out: &mut Vec<u8>) {
    out.put_short(address.host().as_bytes());
    out.put_u16(address.port());
}

/// NODE_INFO_REPLY: who a node is and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// The newest view that it has adopted.
    pub epoch: Epoch,
    /// Keys with a value in its memory.
    pub keys: u64,
    /// Bytes of those keys and values.
    pub bytes: u64,
    /// Connections that it serves at present.
    pub connections: u32,
}

impl Message<'_> for Info {
    const KIND: Kind = Kind::NodeInfoReply;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_short(self.id.as_str().as_bytes());
        out.put_u64(self.incarnation.0);
        out.put_u64(self.epoch.0);
        out.put_u64(self.keys);
        out.put_u64(self.bytes);
        out.put_u32(self.connections);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Info, DecodeError> {
        Ok(Info {
            id: view::node_id(payload)?,
            incarnation: Incarnation(payload.u64()?),
            epoch: Epoch(payload.u64()?),
            keys: payload.u64()?,
            bytes: payload.u64()?,
            connections: payload.u32()?,
        })
    }
}

/// ACCEPT_LOSS_REPLY: what came of it.
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
