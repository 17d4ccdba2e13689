//! What a node answers on a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use net_common::codec::DecodeError;
use net_common::frame::{self, FORMAT_BINARY, FORMAT_TEXT, Frame, HEADER, Kind, MAX_PAYLOAD};
use net_common::message::Message;
use net_common::message::control::InfoAsk;
use net_common::message::coordinated::{Delete, Get, Put};
use net_common::message::data::{Commits, Fence, ReadBatch, WriteBatch};
use net_common::message::list::List;
use net_common::message::range::RangePull;
use net_common::server::{Next, Open, Session};

use crate::coordinate::Coordinator;
use crate::node::{Node, Unwritten};

/// Opens a session for each connection to a node.
pub fn opener(node: Arc<Node>, coordinator: Arc<Coordinator>) -> Box<Open> {
    Box::new(move |_: SocketAddr| {
        Box::new(Requests { node: node.clone(), coordinator: coordinator.clone() })
    })
}

struct Requests {
    node: Arc<Node>,
    coordinator: Arc<Coordinator>,
}

impl Session for Requests {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next {
        if frame.format == FORMAT_TEXT {
            self.coordinator.text(frame, out);
            // The original speaks one request a connection.
            return Next::Close;
        }
        let start = out.len();
        if let Err(DecodeError(why)) = self.binary(frame, out) {
            frame::write_error(out, FORMAT_BINARY, "malformed", why);
        }
        if out.len() - start > HEADER + MAX_PAYLOAD {
            out.truncate(start);
            out.shrink_to(start);
            let why = "the answer does not fit a frame, ask for fewer keys at once";
            frame::write_error(out, FORMAT_BINARY, "too large", why);
        }
        Next::Go
    }
}

impl Requests {
    fn binary(&self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match Kind::from_wire(frame.kind) {
            Some(Kind::ReplPut) => match self.node.write(&WriteBatch::read(frame.payload)?) {
                Ok(acks) => acks.write(out),
                Err(unwritten) => {
                    let word = match unwritten {
                        Unwritten::Refused(_) => "disk",
                        Unwritten::Unsure(_) => "unsure",
                    };
                    frame::write_error(out, FORMAT_BINARY, word, &unwritten.to_string());
                }
            },
            Some(Kind::Commit) => self.node.commit(&Commits::read(frame.payload)?),
            Some(Kind::Read) => {
                let batch = ReadBatch::read(frame.payload)?;
                frame::write(out, Kind::ReadReply, FORMAT_BINARY, |out| {
                    self.node.read(&batch, out);
                });
            }
            Some(Kind::Fence) => {
                let Fence(batch) = Fence::read(frame.payload)?;
                frame::write(out, Kind::ReadReply, FORMAT_BINARY, |out| {
                    self.node.fence(&batch, out);
                });
            }
            Some(Kind::RangePull) => {
                let pull = RangePull::read(frame.payload)?;
                frame::write(out, Kind::RangePage, FORMAT_BINARY, |out| self.node.page(&pull, out));
            }
            Some(Kind::List) => self.node.list(&List::read(frame.payload)?, out),
            Some(Kind::NodeInfo) => {
                InfoAsk::read(frame.payload)?;
                self.node.info().write(out);
            }
            Some(Kind::ClientPut) => self.coordinator.put(Put::read(frame.payload)?, out),
            Some(Kind::ClientGet) => self.coordinator.get(Get::read(frame.payload)?, out),
            Some(Kind::ClientDelete) => self.coordinator.delete(Delete::read(frame.payload)?, out),
            kind => {
                let name = kind.map_or_else(|| frame.kind.to_string(), |k| format!("{k:?}"));
                let why = format!("a storage node takes no message of type {name}");
                frame::write_error(out, FORMAT_BINARY, "unknown", &why);
            }
        }
        Ok(())
    }
}
