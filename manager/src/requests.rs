//! The manager's answers on a connection, in both formats.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::durability::Durability;
use cluster::membership::AdminCommand;
use cluster::membership::{Answer, Event, Newcomer};
use cluster::text::count;
use cluster::view::View;
use log::{debug, info, warn};
use net_common::auth::Secret;
use net_common::codec::DecodeError;
use net_common::error::{ErrorWord, Refused};
use net_common::frame::{self, FORMAT_BINARY, FORMAT_TEXT, Frame, FrameReader, Kind};
use net_common::message::Message;
use net_common::message::change::{Begin, Plan, Planned};
use net_common::message::control::{
    AcceptLoss, AdoptFolder, FolderAdopted, Hello, LossAccepted, Register, StatusRequest, TablePush,
};
use net_common::server::{Next, OpenSession, Session};
use net_common::text;

use crate::control;
use crate::handle::Handle;
use crate::reach;

/// Opens a session for each connection to the manager.
pub fn opener(handle: Handle, secret: Option<Secret>) -> Box<OpenSession> {
    // Numbers distinguish a node's control connections.
    let next_number = AtomicU64::new(1);
    Box::new(move |peer| {
        let number = next_number.fetch_add(1, Ordering::Relaxed);
        let (handle, secret) = (handle.clone(), secret.clone());
        Box::new(Requests { handle, secret, peer, number, node: None })
    })
}

struct Requests {
    handle: Handle,
    /// The secret that the manager proves to a node that it calls back.
    secret: Option<Secret>,
    peer: SocketAddr,
    number: u64,
    /// The node that registered on this connection.
    node: Option<Newcomer>,
}

impl Session for Requests {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next {
        if frame.format == FORMAT_TEXT {
            self.text(frame, out);
            // The original sends one request on a connection.
            return Next::Close;
        }
        match self.binary(frame, out) {
            Ok(next) => next,
            Err(DecodeError(why)) => {
                frame::write_error(out, FORMAT_BINARY, ErrorWord::Malformed, why);
                Next::Go
            }
        }
    }

    fn take_over(&mut self, stream: Arc<TcpStream>, reader: FrameReader) {
        if let Some(node) = self.node.take() {
            control::run(&self.handle, &node, self.number, &stream, reader);
        }
    }
}

impl Requests {
    fn binary(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<Next, DecodeError> {
        let error = |out: &mut Vec<u8>, word, why: &str| {
            frame::write_error(out, FORMAT_BINARY, word, why);
        };
        match Kind::from_wire(frame.kind) {
            Some(Kind::ClientHello) => {
                Hello::read(frame.payload)?;
                let active = self.handle.published();
                self.handle.table(&active, active.epoch()).write(out);
            }
            Some(Kind::StorageRegister) => {
                return Ok(self.register(Register::read(frame.payload)?, out));
            }
            Some(Kind::Status) => {
                StatusRequest::read(frame.payload)?;
                match self.handle.status() {
                    Some(status) => status.write(out),
                    None => stopping(out),
                }
            }
            Some(Kind::AcceptLoss) => {
                let AcceptLoss(shown) = AcceptLoss::read(frame.payload)?;
                info!(
                    "{} accepts the loss of {} of view {}",
                    self.peer,
                    count(shown.arcs.len(), "arc"),
                    shown.epoch
                );
                match self.handle.accept_loss(shown) {
                    Some(Ok(arcs)) => LossAccepted { arcs: arcs as u32 }.write(out),
                    Some(Err(why)) => refused(out, why),
                    None => stopping(out),
                }
            }
            Some(Kind::AdoptFolder) => {
                let AdoptFolder { id, start } = AdoptFolder::read(frame.payload)?;
                info!("{} accepts the data folder of {id} that {start} waits with", self.peer);
                match self.handle.adopt_folder(id, start) {
                    Some(Ok(())) => FolderAdopted.write(out),
                    Some(Err(why)) => refused(out, why),
                    None => stopping(out),
                }
            }
            Some(Kind::ChangePlan) => self.plan(Plan::read(frame.payload)?.0, out),
            Some(Kind::Change) => self.change(Begin::read(frame.payload)?.0, out),
            kind => {
                let name = kind.map_or_else(|| frame.kind.to_string(), |k| format!("{k:?}"));
                error(
                    out,
                    ErrorWord::Unknown,
                    &format!("a manager takes no message of type {name}"),
                );
            }
        }
        Ok(Next::Go)
    }

    fn plan(&self, order: AdminCommand, out: &mut Vec<u8>) {
        let AdminCommand::Reconfigure { change, force } = order else {
            return frame::write_error(
                out,
                FORMAT_BINARY,
                ErrorWord::Refused,
                "cancelling moves nothing",
            );
        };
        match self.handle.plan(change, force) {
            Some(Ok(outline)) => Planned(outline).write(out),
            Some(Err(why)) => frame::write_error(out, FORMAT_BINARY, ErrorWord::Refused, &why),
            None => stopping(out),
        }
    }

    fn change(&self, order: AdminCommand, out: &mut Vec<u8>) {
        match &order {
            AdminCommand::Reconfigure { change, .. } => {
                info!("{} asks for a change: {change}", self.peer)
            }
            AdminCommand::Cancel => info!("{} cancels the change under way", self.peer),
        }
        match self.handle.order(order) {
            Some(Ok(outline)) => Planned(outline).write(out),
            Some(Err(why)) => refused(out, why),
            None => stopping(out),
        }
    }

    fn register(&mut self, node: Register, out: &mut Vec<u8>) -> Next {
        match self.taken_in(node) {
            Ok(push) => {
                push.write(out);
                Next::TakeOver
            }
            Err(Refused { word, why }) => {
                frame::write_error(out, FORMAT_BINARY, word, &why);
                Next::Close
            }
        }
    }

    /// Registers a node, and returns the reply.
    fn taken_in(&mut self, node: Register) -> Result<TablePush, Refused> {
        let view = self.handle.published();
        let view = view.view();
        may_register(view, &node)?;
        let Register { who, returns, claim, seen, .. } = node;
        let who = Newcomer { on_disk: who.on_disk && view.durability != Durability::None, ..who };
        let is_member = view.members.iter().any(|m| m.incarnation == who.incarnation);
        // On this connection's own thread: the others do not wait for it.
        let reached = if is_member { Ok(()) } else { reach::meet(&who, self.secret.as_ref()) };
        let node = who.clone();
        let (word, why) =
            match self.handle.event(Event::Register { who, returns, claim, seen, reached }) {
                Some(Answer::Known { newest, active, .. }) => {
                    self.node = Some(node);
                    return Ok(self.handle.table(&newest, active));
                }
                Some(Answer::Taken(why)) => (ErrorWord::Taken, why),
                Some(Answer::Wait(why)) => (ErrorWord::Wait, why),
                Some(Answer::Aside(why)) => (ErrorWord::Copy, why),
                Some(Answer::Unreached(why)) => (ErrorWord::Unreachable, why),
                Some(Answer::Older(why)) => (ErrorWord::Older, why),
                Some(Answer::Done | Answer::Unknown | Answer::Changed(_)) | None => {
                    (ErrorWord::Wait, "the manager is stopping".to_owned())
                }
            };
        debug!("{} may not register: {why}", node.id);
        Err(Refused { word, why })
    }

    /// The original's requests. Its storage nodes cannot store our records, so one that registers
    /// gets the table and is assigned no arcs.
    fn text(&self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let answer = |out: &mut Vec<u8>, kind, text: &str| {
            frame::write(out, kind, FORMAT_TEXT, |out| out.extend_from_slice(text.as_bytes()));
        };
        let table = || text::table(self.handle.published().view());
        match Kind::from_wire(frame.kind) {
            Some(Kind::ClientHello) => answer(out, Kind::TablePush, &table()),
            Some(Kind::Heartbeat) => answer(out, Kind::HeartbeatAck, "ok"),
            Some(Kind::StorageRegister) => match text::parse_register(frame.payload) {
                None => frame::write_error(out, FORMAT_TEXT, ErrorWord::BadRegister, ""),
                Some((id, address)) => {
                    let view = self.handle.published();
                    let is_taken =
                        view.view().members.iter().any(|m| m.id == id || m.address == address);
                    if is_taken {
                        frame::write_error(out, FORMAT_TEXT, ErrorWord::Taken, "");
                    } else {
                        info!(
                            "{id} registered in format 0 at {address}: it gets the table, no arcs"
                        );
                        answer(out, Kind::TablePush, &table());
                    }
                }
            },
            _ => frame::write_error(out, FORMAT_TEXT, ErrorWord::Unknown, ""),
        }
    }
}

/// Refuses a node that can be no member of this cluster as it is.
fn may_register(view: &View, node: &Register) -> Result<(), Refused> {
    let Register { who, cluster, wall_ms, .. } = node;
    if cluster.is_some_and(|theirs| theirs != view.cluster) {
        let why = format!(
            "{} holds records of another cluster: give this manager that cluster's --data, or start the node anew to \
             join this one empty",
            who.id
        );
        return Err(Refused::new(ErrorWord::OtherCluster, why));
    }
    if let Some(why) = control::clock_trouble(*wall_ms) {
        warn!("{} may not register: {why}", who.id);
        return Err(Refused::new(ErrorWord::Clock, why));
    }
    if view.durability == Durability::Sync && !who.on_disk {
        let why = format!(
            "this cluster keeps all records on disk (--durability sync): give {} a folder, with --data",
            who.id
        );
        return Err(Refused::new(ErrorWord::NoDisk, why));
    }
    Ok(())
}

fn refused(out: &mut Vec<u8>, Refused { word, why }: Refused) {
    frame::write_error(out, FORMAT_BINARY, word, &why);
}

fn stopping(out: &mut Vec<u8>) {
    frame::write_error(out, FORMAT_BINARY, ErrorWord::Stopping, "the manager is stopping");
}
