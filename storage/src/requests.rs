//! A node's answers to requests on a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster::ids::Address;
use cluster::watermarks::WrittenClocks;
use net_common::codec::DecodeError;
use net_common::error::ErrorWord;
use net_common::frame::{self, FORMAT_BINARY, FORMAT_TEXT, Frame, HEADER, Kind};
use net_common::in_place::{self, LocalServer};
use net_common::message::Message;
use net_common::message::control::InfoRequest;
use net_common::message::coordinated::{Delete, Get, Put};
use net_common::message::data::{CommitNotice, Fence, ReadBatch, WriteBatch};
use net_common::message::list::List;
use net_common::message::range::RangePull;
use net_common::server::{Next, OpenSession, Session};

use crate::coordinate::Coordinator;
use crate::node::Node;
use crate::node::write::WriteFailure;

/// Opens a session for each connection to a node.
pub fn opener(node: Arc<Node>, coordinator: Arc<Coordinator>) -> Box<OpenSession> {
    Box::new(move |_: SocketAddr| {
        let (node, coordinator) = (node.clone(), coordinator.clone());
        Box::new(NodeSession { node, coordinator, written: WrittenClocks::default() })
    })
}

struct NodeSession {
    node: Arc<Node>,
    coordinator: Arc<Coordinator>,
    written: WrittenClocks,
}

/// The node's answers to clients in its own process.
pub fn in_place(node: Arc<Node>, address: Address) -> LocalServer {
    let open = move || -> Box<in_place::AnswerFrame> {
        let (node, mut written) = (node.clone(), WrittenClocks::default());
        Box::new(move |frame: Frame<'_>, out: &mut Vec<u8>| {
            let most = node.payload_limit().get();
            answered(most, out, |out| {
                Ok(data(&node, &mut written, &frame, out)? || unknown(&frame, out))
            });
        })
    };
    LocalServer { address, open: Arc::new(open) }
}

impl Session for NodeSession {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next {
        if frame.format == FORMAT_TEXT {
            self.coordinator.text(frame, out);
            // The original sends one request on a connection.
            return Next::Close;
        }
        answered(self.node.payload_limit().get(), out, |out| {
            Ok(data(&self.node, &mut self.written, &frame, out)?
                || self.coordinated(&frame, out)?
                || unknown(&frame, out))
        });
        Next::Go
    }
}

impl NodeSession {
    /// Answers a request that any node coordinates. Returns whether the frame was one.
    fn coordinated(&self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        match Kind::from_wire(frame.kind) {
            Some(Kind::ClientPut) => self.coordinator.put(Put::read(frame.payload)?, out),
            Some(Kind::ClientGet) => self.coordinator.get(Get::read(frame.payload)?, out),
            Some(Kind::ClientDelete) => self.coordinator.delete(Delete::read(frame.payload)?, out),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Writes an answer, or an error instead if the frame is malformed or the answer's payload exceeds
/// `most` bytes.
fn answered(
    most: usize,
    out: &mut Vec<u8>,
    answer: impl FnOnce(&mut Vec<u8>) -> Result<bool, DecodeError>,
) {
    let start = out.len();
    if let Err(DecodeError(why)) = answer(out) {
        frame::write_error(out, FORMAT_BINARY, ErrorWord::Malformed, why);
    }
    if out.len() - start > HEADER + most {
        out.truncate(start);
        out.shrink_to(start);
        let why = "the answer does not fit a frame, ask for fewer keys at once";
        frame::write_error(out, FORMAT_BINARY, ErrorWord::TooLarge, why);
    }
}

/// Answers a request about this node's own records. Returns whether the frame was one. `written`
/// are the earlier writes of this connection (rule N3).
fn data(
    node: &Node,
    written: &mut WrittenClocks,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, DecodeError> {
    match Kind::from_wire(frame.kind) {
        Some(Kind::ReplPut) => {
            let batch = WriteBatch::read(frame.payload)?;
            batch.writes.iter().for_each(|write| written.note(&write.version, write.born));
            match node.write(&batch) {
                Ok(acks) => acks.write(out),
                Err(failure) => {
                    let word = match failure {
                        WriteFailure::Refused(_) => ErrorWord::Disk,
                        WriteFailure::Unsure(_) => ErrorWord::Unsure,
                    };
                    frame::write_error(out, FORMAT_BINARY, word, &failure.to_string());
                }
            }
        }
        Some(Kind::Commit) => node.commit(&CommitNotice::read(frame.payload)?, written),
        Some(Kind::Read) => {
            let batch = ReadBatch::read(frame.payload)?;
            frame::write(out, Kind::ReadReply, FORMAT_BINARY, |out| node.read(&batch, out));
        }
        Some(Kind::Fence) => {
            let Fence(batch) = Fence::read(frame.payload)?;
            frame::write(out, Kind::ReadReply, FORMAT_BINARY, |out| node.fence(&batch, out));
        }
        Some(Kind::RangePull) => {
            let pull = RangePull::read(frame.payload)?;
            frame::write(out, Kind::RangePage, FORMAT_BINARY, |out| node.page(&pull, out));
        }
        Some(Kind::List) => node.list(&List::read(frame.payload)?, out),
        Some(Kind::NodeInfo) => {
            InfoRequest::read(frame.payload)?;
            node.info().write(out);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn unknown(frame: &Frame<'_>, out: &mut Vec<u8>) -> bool {
    let kind = Kind::from_wire(frame.kind);
    let name = kind.map_or_else(|| frame.kind.to_string(), |k| format!("{k:?}"));
    let why = format!("a storage node takes no message of type {name}");
    frame::write_error(out, FORMAT_BINARY, ErrorWord::Unknown, &why);
    true
}
