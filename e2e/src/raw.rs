//! A socket that need not follow the protocol.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use net_common::codec::Encoder;
use net_common::frame::{FORMAT_TEXT, FrameReader, Kind};
use net_common::message::Message;

use crate::wait::PATIENCE;

/// A frame with any type, format and payload, valid or not.
pub fn frame(kind: u16, format: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(kind);
    out.put_u16(format);
    out.put_u32(payload.len() as u32);
    out.extend_from_slice(payload);
    out
}

/// One of the original's requests on a connection of its own. Returns the reply's kind and text.
///
/// # Panics
/// If the server does not reply, or does not close the connection after its reply.
pub fn text_request(address: SocketAddr, kind: Kind, payload: &[u8]) -> (Kind, Vec<u8>) {
    let mut connection = RawConnection::open(address);
    connection.send(&frame(kind as u16, FORMAT_TEXT, payload));
    let reply = connection.receive().expect("every request is answered");
    assert_eq!(reply.format, FORMAT_TEXT);
    connection.expect_end();
    (Kind::from_wire(reply.kind).expect("a kind that exists"), reply.payload)
}

/// A received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u16,
    /// Its format.
    pub format: u16,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The text of an ERROR.
    ///
    /// # Panics
    /// If it is not an ERROR.
    pub fn error(&self) -> &str {
        assert_eq!(self.kind, Kind::Error as u16, "{self:?}");
        std::str::from_utf8(&self.payload).expect("errors are text")
    }
}

/// A connection that sends any bytes.
pub struct RawConnection {
    stream: TcpStream,
    reader: FrameReader,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Panics
    /// If the connection is refused.
    pub fn open(address: SocketAddr) -> RawConnection {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens");
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes options");
        RawConnection { stream, reader: FrameReader::new() }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If they cannot be sent.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the peer takes bytes");
    }

    /// Sends bytes that the peer may refuse to take.
    ///
    /// # Errors
    /// As a socket's `write`.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes the sending direction.
    pub fn finish(&self) {
        // A peer that has closed already need not be notified.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next frame; `None` where the peer has closed or reset the connection.
    ///
    /// # Panics
    /// If neither happens, or the bytes are not a frame.
    pub fn receive(&mut self) -> Option<RawFrame> {
        loop {
            if let Some(frame) = self.reader.next_frame().expect("servers send frames") {
                let (kind, format) = (frame.kind, frame.format);
                return Some(RawFrame { kind, format, payload: frame.payload.to_vec() });
            }
            match self.reader.fill(&mut self.stream) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return None,
                    ErrorKind::Interrupted => {}
                    _ => panic!("neither an answer nor an end: {error}"),
                },
            }
        }
    }

    /// Sends a message and returns the reply.
    ///
    /// # Panics
    /// If none comes.
    pub fn ask<'m>(&mut self, message: &impl Message<'m>) -> RawFrame {
        let mut out = Vec::new();
        message.write(&mut out);
        self.send(&out);
        self.receive().expect("every request is answered")
    }

    /// Waits until the peer closes the connection.
    ///
    /// # Panics
    /// If a frame arrives instead.
    pub fn expect_end(&mut self) {
        assert_eq!(self.receive(), None, "the connection should have ended");
    }
}
