//! The calling side of a connection: dial, send frames, receive replies in order.
//!
//! Everything blocks, and everything ends: connecting, sending and receiving each have a time-out.
//! Errors tell whether the request can have reached the peer, since that decides whether a write may
//! be called *not done*.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use cluster::ids::Address;

use crate::auth::{self, Secret};
use crate::codec::DecodeError;
use crate::frame::{FORMAT_BINARY, Frame, FrameError, FrameReader, HEADER, Kind};
use crate::in_place::{Here, InPlace};
use crate::message::Message;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection was made: nothing was sent.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Whom.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke or timed out: what was sent may have arrived.
    #[error("lost the connection to {address}: {source}")]
    Lost {
        /// Whose.
        address: Address,
        /// How.
        source: io::Error,
    },
    /// The peer answered with an ERROR frame.
    #[error("{address} says: {text}")]
    Refused {
        /// Who.
        address: Address,
        /// The word and the reason, as sent.
        text: String,
    },
    /// The peer sent something that makes no sense here.
    #[error("{address} does not speak our protocol: {what}")]
    Protocol {
        /// Who.
        address: Address,
        /// What was wrong.
        what: String,
    },
    /// The peer does not know the secret that it should know.
    #[error("{address} did not prove the cluster's secret")]
    Impostor {
        /// Who.
        address: Address,
    },
}

impl NetError {
    /// Whether what was to be sent certainly never reached the peer's program.
    pub fn is_unsent(&self) -> bool {
        matches!(self, NetError::Unreachable { .. } | NetError::Impostor { .. })
    }

    /// The first word of the peer's ERROR, if that is what it was.
    pub fn word(&self) -> Option<&str> {
        match self {
            NetError::Refused { text, .. } => Some(text.split(':').next().unwrap_or(text)),
            _ => None,
        }
    }
}

/// How to dial.
#[derive(Debug, Clone)]
pub struct Dial {
    /// How long connecting may take.
    pub connect: Duration,
    /// How long sending, and waiting for the first byte of a reply, may each take.
    pub reply: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

/// What bytes travel on.
enum Wire {
    Socket(TcpStream),
    InPlace(InPlace),
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Socket(stream) => stream.read(into),
            Wire::InPlace(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Socket(stream) => stream.write(bytes),
            Wire::InPlace(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection to one server.
pub struct Connection {
    address: Address,
    stream: Wire,
    reader: FrameReader,
    out: Vec<u8>,
    used: Instant,
}

/// A connection idle for longer is looked at before it is used: the server may have closed it, and a
/// request sent into a closed connection would count as lost.
const TRUSTED: Duration = Duration::from_millis(500);

impl Connection {
    /// Connects, and proves the secret where there is one.
    ///
    /// # Errors
    /// [`NetError`]. A failed handshake counts as unreachable: no request was sent yet.
    pub fn dial(address: &Address, dial: &Dial) -> Result<Connection, NetError> {
        let unreachable = |source| NetError::Unreachable { address: address.clone(), source };
        let stream = connect(address, dial.connect).map_err(unreachable)?;
        let prepare = || {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(dial.reply))?;
            stream.set_write_timeout(Some(dial.reply))
        };
        prepare().map_err(unreachable)?;
        let mut connection = Connection::over(address, Wire::Socket(stream));
        if let Some(secret) = &dial.secret {
            connection.prove(secret).map_err(|error| match error {
                NetError::Lost { address, source } => NetError::Unreachable { address, source },
                other => other,
            })?;
        }
        Ok(connection)
    }

    /// A connection to a server in this process: sending a request has it answered.
    pub fn in_place(here: &Here) -> Connection {
        Connection::over(&here.address, Wire::InPlace(InPlace::new(here.answer.clone())))
    }

    fn over(address: &Address, stream: Wire) -> Connection {
        let (reader, out) = (FrameReader::new(), Vec::new());
        Connection { address: address.clone(), stream, reader, out, used: Instant::now() }
    }

    fn prove(&mut self, secret: &Secret) -> Result<(), NetError> {
        let own = auth::hello(&mut self.out).map_err(|source| self.lost(source))?;
        self.flush()?;
        let challenge = self.expect(Kind::AuthChallenge)?;
        auth::answer(secret, &own, &challenge, &mut self.out);
        self.flush()?;
        let proof = self.expect(Kind::AuthOk)?;
        if auth::is_answerer(secret, &own, &challenge, &proof) {
            Ok(())
        } else {
            Err(NetError::Impostor { address: self.address.clone() })
        }
    }

    fn expect(&mut self, kind: Kind) -> Result<Vec<u8>, NetError> {
        let address = self.address.clone();
        let frame = self.receive()?;
        if frame.kind == kind as u16 {
            return Ok(frame.payload.to_vec());
        }
        Err(unexpected(address, frame))
    }

    /// Whom this is a connection to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, to be read or written by others or shut down. `None` where the server is in this process.
    pub fn stream(&self) -> Option<&TcpStream> {
        match &self.stream {
            Wire::Socket(stream) => Some(stream),
            Wire::InPlace(_) => None,
        }
    }

    /// Has replies waited for so long from now on.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] where the system refuses; nothing was sent.
    pub fn set_patience(&self, patience: Duration) -> Result<(), NetError> {
        let set = |stream: &TcpStream| stream.set_read_timeout(Some(patience));
        self.stream()
            .map_or(Ok(()), set)
            .map_err(|source| NetError::Unreachable { address: self.address.clone(), source })
    }

    /// Whether the connection can be used: not closed by the peer, nothing left over on it. Looks
    /// only if it was idle for a while.
    pub fn is_usable(&mut self) -> bool {
        if !self.reader.is_between_frames() || !self.out.is_empty() {
            return false;
        }
        let Wire::Socket(stream) = &self.stream else { return true };
        if self.used.elapsed() < TRUSTED {
            return true;
        }
        let mut byte = [0];
        let quiet = stream.set_nonblocking(true).is_ok()
            && matches!(stream.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        quiet && stream.set_nonblocking(false).is_ok()
    }

    /// Puts a message behind those to be sent. Nothing leaves before [`Connection::flush`].
    pub fn push<'m>(&mut self, message: &impl Message<'m>) {
        message.write(&mut self.out);
    }

    /// Sends all that was pushed.
    ///
    /// # Errors
    /// [`NetError::Lost`]: any part of it may have arrived.
    pub fn flush(&mut self) -> Result<(), NetError> {
        self.used = Instant::now();
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        sent.map_err(|source| self.lost(source))
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// [`NetError`]; the connection is of no use after one.
    pub fn receive(&mut self) -> Result<Frame<'_>, NetError> {
        // The borrow checker cannot follow a frame out of a loop that also fills, so the first part
        // only makes sure that there is one.
        while !self.has_frame()? {
            let n = self.reader.fill(&mut self.stream).map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => self.lost(io::ErrorKind::TimedOut.into()),
                _ => self.lost(source),
            });
            match n {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(NetError::Lost { source, .. })
                    if source.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let address = &self.address;
        let frame = match self.reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => unreachable!("has_frame has just seen one"),
        };
        if frame.kind == Kind::Error as u16 {
            let text = String::from_utf8_lossy(frame.payload).into_owned();
            return Err(NetError::Refused { address: address.clone(), text });
        }
        Ok(frame)
    }

    fn has_frame(&self) -> Result<bool, NetError> {
        self.reader.has_frame().map_err(|error: FrameError| NetError::Protocol {
            address: self.address.clone(),
            what: error.to_string(),
        })
    }

    /// Waits for a reply of a certain kind and reads it.
    ///
    /// # Errors
    /// As [`Connection::receive`], and where the reply is of another kind or malformed.
    pub fn receive_as<'c, M: Message<'c>>(&'c mut self) -> Result<M, NetError> {
        self.receive_sized().map(|(message, _)| message)
    }

    fn receive_sized<'c, M: Message<'c>>(&'c mut self) -> Result<(M, usize), NetError> {
        let address = self.address.clone();
        let frame = self.receive()?;
        if frame.kind != M::KIND as u16 || frame.format != FORMAT_BINARY {
            return Err(unexpected(address, frame));
        }
        let bytes = HEADER + frame.payload.len();
        M::read(frame.payload)
            .map(|message| (message, bytes))
            .map_err(|DecodeError(what)| NetError::Protocol { address, what: what.to_owned() })
    }

    /// Sends one request and waits for its reply; tells how many bytes that is, too.
    ///
    /// # Errors
    /// As [`Connection::receive_as`].
    pub fn call_sized<'c, 'm, M: Message<'c>>(
        &'c mut self,
        request: &impl Message<'m>,
    ) -> Result<(M, usize), NetError> {
        self.push(request);
        self.flush()?;
        self.receive_sized()
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// As [`Connection::receive_as`].
    pub fn call<'c, 'm, M: Message<'c>>(
        &'c mut self,
        request: &impl Message<'m>,
    ) -> Result<M, NetError> {
        self.push(request);
        self.flush()?;
        self.receive_as()
    }

    fn lost(&self, source: io::Error) -> NetError {
        NetError::Lost { address: self.address.clone(), source }
    }
}

fn unexpected(address: Address, frame: Frame<'_>) -> NetError {
    NetError::Protocol {
        address,
        what: format!("type {}, format {} was not asked for", frame.kind, frame.format),
    }
}

fn connect(address: &Address, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the host has no address");
    for candidate in (address.host(), address.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
