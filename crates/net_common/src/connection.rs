//! The calling side of a connection: dial, send frames, receive replies in order.
//!
//! Every call blocks, and every call has a time-out: connecting, sending and receiving. It limits
//! silence, not the transfer as a whole ([`Waits`]). Errors distinguish whether the request may
//! have reached the peer, since only a request that did not may be reported as *not done*.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use cluster::ids::Address;
use socket2::SockRef;

use crate::auth::{self, Secret};
use crate::codec::DecodeError;
use crate::error::Refused;
use crate::frame::{FORMAT_BINARY, Frame, FrameError, FrameReader, HEADER, Kind, PayloadLimit};
use crate::in_place::{InPlace, LocalServer};
use crate::message::Message;
use crate::progress::{self, is_time_out};

mod error;

pub use error::NetError;

/// The parameters of a new connection.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The time-out of connecting.
    pub connect: Duration,
    /// The longest silence while sending, and while waiting for a reply ([`Waits::silence`]).
    pub reply: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// The largest payload of a reply.
    pub payload: PayloadLimit,
}

/// The time-outs of the calls on a connection.
///
/// Bytes that were sent may still be in this machine's buffers, or in those of a proxy or a tunnel.
/// So the longer a request took to send, or would take at the assumed rate of the path, the longer
/// its reply may take.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// The longest time without progress.
    pub silence: Duration,
    /// The deadline, whatever progress there is. A call that started just before it gets one more
    /// `silence`.
    pub until: Option<Instant>,
    /// The assumed rate of the path to the peer, in bytes a second.
    pub rate: u64,
}

impl Waits {
    /// No deadline: waits as long as there is progress.
    pub fn for_silence_of(silence: Duration) -> Waits {
        Waits { silence, until: None, rate: FIRST_RATE }
    }
}

/// The assumed rate of a path until it is measured, in bytes a second. It matters for frames of
/// megabytes only.
pub const FIRST_RATE: u64 = 16 << 20;

/// The least time-out of a socket: zero would mean none.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// The smallest extension of a time-out that is applied: a smaller one is not worth a system call
/// for each request.
const COUNTS: Duration = Duration::from_millis(10);

/// The largest send buffer, in bytes. With a small one the time that writing takes shows how fast
/// the path is; this is large enough to keep a fast path busy.
const UNSENT: u32 = 64 << 10;

/// The transport of a connection.
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

/// One connection to one server.
pub struct Connection {
    address: Address,
    stream: Wire,
    reader: FrameReader,
    out: Vec<u8>,
    used: Instant,
    waits: Waits,
    /// The socket's present read time-out.
    time_out: Duration,
    /// The extra time that the next reply may take to start.
    allowance: Duration,
}

/// A buffer larger than this is freed once it is sent: one long value must not occupy memory for as
/// long as the connection is open.
const KEPT: usize = 256 << 10;

/// A connection that was idle for longer is checked before use: the server may have closed it, and
/// a request sent into a closed connection would count as lost.
const TRUSTED: Duration = Duration::from_millis(500);

impl Connection {
    /// Connects, and proves the secret where there is one.
    ///
    /// # Errors
    /// [`NetError`]. A failed handshake counts as unreachable, since no request was sent.
    pub fn dial(address: &Address, dial: &Dial) -> Result<Connection, NetError> {
        let unreachable = |source| NetError::Unreachable { address: address.clone(), source };
        let stream = connect(address, dial.connect.max(LEAST_WAIT)).map_err(unreachable)?;
        let silence = dial.reply.max(LEAST_WAIT);
        let prepare = || {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some((silence / 2).max(LEAST_WAIT)))
        };
        prepare().map_err(unreachable)?;
        // Without this option slow paths are measured less precisely, and nothing else changes.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let wire = Wire::Socket(stream);
        let mut connection = Connection::over(address, wire, silence, dial.payload.clone());
        if let Some(secret) = &dial.secret {
            connection.prove(secret).map_err(|error| match error {
                NetError::Lost { address, source } => NetError::Unreachable { address, source },
                other => other,
            })?;
        }
        Ok(connection)
    }

    /// A connection to a server in this process, which answers while the request is being sent.
    pub fn in_place(here: &LocalServer, payload: PayloadLimit) -> Connection {
        let stream = Wire::InPlace(InPlace::new((here.open)(), payload.clone()));
        Connection::over(&here.address, stream, Duration::MAX, payload)
    }

    fn over(
        address: &Address,
        stream: Wire,
        silence: Duration,
        payload: PayloadLimit,
    ) -> Connection {
        Connection {
            address: address.clone(),
            stream,
            reader: FrameReader::within(payload),
            out: Vec::new(),
            used: Instant::now(),
            waits: Waits::for_silence_of(silence),
            time_out: silence,
            allowance: Duration::ZERO,
        }
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

    /// The peer's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, for other threads to read, write or shut down. `None` for a server in this
    /// process.
    pub fn stream(&self) -> Option<&TcpStream> {
        match &self.stream {
            Wire::Socket(stream) => Some(stream),
            Wire::InPlace(_) => None,
        }
    }

    /// Sets the time-outs of the following calls.
    pub fn set_waits(&mut self, waits: Waits) {
        self.waits = Waits { silence: waits.silence.max(LEAST_WAIT), ..waits };
    }

    /// Sets the longest silence while waiting for replies.
    pub fn set_patience(&mut self, patience: Duration) {
        self.set_waits(Waits { silence: patience, ..self.waits });
    }

    /// The deadline of all waiting.
    fn end(&self) -> Option<Instant> {
        self.waits.until?.checked_add(self.waits.silence)
    }

    /// Sets the socket's time-out for the next read.
    fn prepare_to_read(&mut self) -> io::Result<()> {
        let Wire::Socket(stream) = &self.stream else { return Ok(()) };
        let mut wait = self.waits.silence.saturating_add(self.allowance);
        if let Some(end) = self.end() {
            let now = Instant::now();
            // A reply that arrived while the caller waited for other connections is still read, but
            // not without a limit.
            if now.saturating_duration_since(end) > self.waits.silence {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait = wait.min(end.saturating_duration_since(now));
        }
        let wait = wait.max(LEAST_WAIT);
        if wait != self.time_out {
            stream.set_read_timeout(Some(wait))?;
            self.time_out = wait;
        }
        Ok(())
    }

    /// Whether the connection can be used: the peer has not closed it and no bytes are left to
    /// read. Checks only after it was idle for a while.
    pub fn is_usable(&mut self) -> bool {
        if !self.reader.is_between_frames() {
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

    /// Appends a message to the send buffer. Nothing is sent before [`Connection::flush`].
    pub fn push<'m>(&mut self, message: &impl Message<'m>) {
        message.write(&mut self.out);
    }

    /// How long pushed messages have been waiting to be sent, if there are any.
    pub fn unsent_for(&self) -> Option<Duration> {
        (!self.out.is_empty()).then(|| self.used.elapsed())
    }

    /// Sends all pushed messages.
    ///
    /// # Errors
    /// [`NetError::Lost`]: any part of it may have arrived.
    pub fn flush(&mut self) -> Result<(), NetError> {
        self.used = Instant::now();
        let end = self.end();
        let sent = match &mut self.stream {
            Wire::Socket(stream) => progress::write_all(stream, &self.out, self.waits.silence, end),
            Wire::InPlace(stream) => stream.write_all(&self.out),
        };
        let at_rate = self.out.len() as u64 * 1000 / self.waits.rate.max(1);
        let allowance = self.used.elapsed().max(Duration::from_millis(at_rate));
        self.allowance = if allowance < COUNTS { Duration::ZERO } else { allowance };
        self.out.clear();
        self.out.shrink_to(KEPT);
        sent.map_err(|source| self.lost(source))
    }

    /// Frees memory that an idle connection does not need.
    pub fn rest(&mut self) {
        self.reader.rest();
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// [`NetError`]; the connection cannot be used after one.
    pub fn receive(&mut self) -> Result<Frame<'_>, NetError> {
        // The borrow checker cannot follow a frame out of a loop that also fills, so the first part
        // only makes sure that there is one.
        while !self.has_frame()? {
            self.prepare_to_read().map_err(|source| self.lost(source))?;
            match self.reader.fill(&mut self.stream) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                // The reply has started to arrive: from now on only the path back may be slow.
                Ok(_) => self.allowance = Duration::ZERO,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) if is_time_out(&source) => {
                    return Err(self.lost(io::ErrorKind::TimedOut.into()));
                }
                Err(source) => return Err(self.lost(source)),
            }
        }
        let address = &self.address;
        let frame = match self.reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => unreachable!("has_frame has just seen one"),
        };
        if frame.kind == Kind::Error as u16 {
            let refused = Refused::read(frame.payload).into();
            return Err(NetError::Refused { address: address.clone(), refused });
        }
        Ok(frame)
    }

    fn has_frame(&self) -> Result<bool, NetError> {
        self.reader.has_frame().map_err(|error: FrameError| NetError::Protocol {
            address: self.address.clone(),
            what: error.to_string(),
        })
    }

    /// Waits for a reply of a certain kind and decodes it.
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

    /// Sends one request and waits for its reply; also returns the reply's size in bytes.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::message::coordinated::Put;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::thread;

    use socket2::{Domain, Socket, Type};

    const SILENCE: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A peer that serves requests by `serve`, behind a socket with a tiny buffer.
    fn peer(
        serve: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (Connection, thread::JoinHandle<()>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let listener: TcpListener = socket.into();
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || serve(listener.accept().unwrap().0));
        let address = Address::new("127.0.0.1", port).unwrap();
        let dial = Dial {
            connect: PATIENCE,
            reply: SILENCE,
            secret: None,
            payload: PayloadLimit::default(),
        };
        (Connection::dial(&address, &dial).unwrap(), serving)
    }

    fn large() -> Vec<u8> {
        vec![7; 2 << 20]
    }

    /// Reads a request in steps, with a `pause` before each.
    fn read_slowly(stream: &mut TcpStream, bytes: usize, steps: usize, pause: Duration) {
        let mut piece = vec![0; bytes.div_ceil(steps)];
        let mut left = bytes;
        while left > 0 {
            thread::sleep(pause);
            let n = piece.len().min(left);
            stream.read_exact(&mut piece[..n]).unwrap();
            left -= n;
        }
    }

    /// A request that takes longer than the longest silence is not lost, and its answer may take as
    /// long again: a proxy on the path may have buffered it.
    #[test]
    fn a_slow_path_is_no_time_out() {
        let put = Put { key: b"key", value: &large() };
        let mut bytes = Vec::new();
        put.write(&mut bytes);
        let size = bytes.len();
        let (mut link, serving) = peer(move |mut stream| {
            read_slowly(&mut stream, size, 40, SILENCE * 3 / 40);
            thread::sleep(SILENCE * 3 / 2);
            let mut reply = Vec::new();
            frame::write(&mut reply, Kind::PutOk, FORMAT_BINARY, |out| out.push(7));
            stream.write_all(&reply).unwrap();
        });
        link.push(&put);
        link.flush().unwrap();
        assert_eq!(link.receive().unwrap().payload, [7]);
        serving.join().unwrap();
    }

    #[test]
    fn silence_and_the_deadline_end_a_call() {
        // The peer reads nothing, or reads everything and does not answer.
        for is_deaf in [true, false] {
            let put = Put { key: b"key", value: &large() };
            let (mut link, serving) = peer(move |mut stream| {
                if is_deaf {
                    thread::sleep(SILENCE * 3)
                } else {
                    _ = io::copy(&mut stream, &mut io::sink())
                }
            });
            link.push(&put);
            let lost = link.flush().and_then(|()| link.receive().map(drop)).unwrap_err();
            assert!(lost.is_silence(), "{lost}");
            drop(link);
            serving.join().unwrap();
        }
        // The peer never stops sending.
        let (mut link, serving) = peer(|mut stream| {
            let header = [0, Kind::PutOk as u8, 0, 2, 0, 0x3f, 0, 0];
            let mut went = stream.write_all(&header);
            while went.is_ok() {
                thread::sleep(SILENCE / 10);
                went = stream.write_all(b"x");
            }
        });
        let until = Some(Instant::now() + SILENCE);
        link.set_waits(Waits { silence: SILENCE, until, rate: FIRST_RATE });
        let lost = link.receive().unwrap_err();
        assert!(lost.is_silence(), "{lost}");
        drop(link);
        serving.join().unwrap();
    }
}
