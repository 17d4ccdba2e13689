//! The calling side of a connection: dial, send frames, receive replies in order.
//!
//! Everything blocks, and everything ends: connecting, sending and receiving each have a time-out.
//! It is a limit on silence, not on the transfer ([`Waits`]). Errors tell whether the request can
//! have reached the peer, since that decides whether a write may be called *not done*.

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

/// How to dial.
#[derive(Debug, Clone)]
pub struct Dial {
    /// How long connecting may take.
    pub connect: Duration,
    /// How long sending, and waiting for a reply, may each be silent ([`Waits::silence`]).
    pub reply: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// How long a reply may be.
    pub payload: PayloadLimit,
}

/// How long calls on a connection wait.
///
/// What has been sent may still be on its way: in this machine's buffers, or in those of a proxy or
/// tunnel between. So a reply is waited for longer the longer its request took to send, or would
/// take at the rate that the way is taken to carry.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// How long nothing may move.
    pub silence: Duration,
    /// When it is over whatever moves, but for one more `silence`: what was begun just before may
    /// end.
    pub until: Option<Instant>,
    /// How many bytes a second the way to the peer is taken to carry.
    pub rate: u64,
}

impl Waits {
    /// Waits while something moves, without an end.
    pub fn for_silence_of(silence: Duration) -> Waits {
        Waits { silence, until: None, rate: FIRST_RATE }
    }
}

/// What a way carries for which nothing speaks against it, in bytes a second: it makes a difference
/// for frames of megabytes only.
pub const FIRST_RATE: u64 = 16 << 20;

/// The least time-out of a socket: zero would mean none.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// What is added to a wait counts from here on; less is not worth a system call for each request.
const COUNTS: Duration = Duration::from_millis(10);

/// Most bytes that the kernel takes before they can be sent. How long it takes to hand them over
/// then tells how fast the way is. Large enough that a fast one is never idle.
const UNSENT: u32 = 64 << 10;

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

/// One connection to one server.
pub struct Connection {
    address: Address,
    stream: Wire,
    reader: FrameReader,
    out: Vec<u8>,
    used: Instant,
    waits: Waits,
    /// The time-out for reading that the socket has.
    time_out: Duration,
    /// How much longer than usual the next reply may take to begin.
    allowance: Duration,
}

/// A buffer above this is given back once it was sent: one long value must not cost its size for as
/// long as the connection is kept.
const KEPT: usize = 256 << 10;

/// A connection idle for longer is looked at before it is used: the server may have closed it, and
/// a request sent into a closed connection would count as lost.
const TRUSTED: Duration = Duration::from_millis(500);

impl Connection {
    /// Connects, and proves the secret where there is one.
    ///
    /// # Errors
    /// [`NetError`]. A failed handshake counts as unreachable: no request was sent yet.
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
        // Where the system does not know that option only the rate of slow ways is told less well.
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

    /// A connection to a server in this process: sending a request has it answered.
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

    /// Whom this is a connection to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, to be read or written by others or shut down. `None` where the server is in this
    /// process.
    pub fn stream(&self) -> Option<&TcpStream> {
        match &self.stream {
            Wire::Socket(stream) => Some(stream),
            Wire::InPlace(_) => None,
        }
    }

    /// Has the next calls wait in this way.
    pub fn set_waits(&mut self, waits: Waits) {
        self.waits = Waits { silence: waits.silence.max(LEAST_WAIT), ..waits };
    }

    /// Has replies waited for so long from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.set_waits(Waits { silence: patience, ..self.waits });
    }

    /// When all waiting is over.
    fn end(&self) -> Option<Instant> {
        self.waits.until?.checked_add(self.waits.silence)
    }

    /// Gives the socket the time-out that the next read is to have.
    fn prepare_to_read(&mut self) -> io::Result<()> {
        let Wire::Socket(stream) = &self.stream else { return Ok(()) };
        let mut wait = self.waits.silence.saturating_add(self.allowance);
        if let Some(end) = self.end() {
            let now = Instant::now();
            // What has come while others were waited for is still taken, but not for ever.
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

    /// Whether the connection can be used: not closed by the peer, nothing left to be read on it.
    /// Looks only if it was idle for a while.
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

    /// Puts a message behind those to be sent. Nothing leaves before [`Connection::flush`].
    pub fn push<'m>(&mut self, message: &impl Message<'m>) {
        message.write(&mut self.out);
    }

    /// For how long the connection has not been used although something was pushed, if that is so.
    pub fn unsent_for(&self) -> Option<Duration> {
        (!self.out.is_empty()).then(|| self.used.elapsed())
    }

    /// Sends all that was pushed.
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

    /// Gives back what memory it does not need while nobody uses it.
    pub fn rest(&mut self) {
        self.reader.rest();
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// [`NetError`]; the connection is of no use after one.
    pub fn receive(&mut self) -> Result<Frame<'_>, NetError> {
        // The borrow checker cannot follow a frame out of a loop that also fills, so the first part
        // only makes sure that there is one.
        while !self.has_frame()? {
            self.prepare_to_read().map_err(|source| self.lost(source))?;
            match self.reader.fill(&mut self.stream) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                // Something comes: from now on it is the way here that may be slow.
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

    /// A peer that takes requests as `serve` does, through a socket that holds next to nothing.
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

    /// Reads a request of so many bytes, in as many steps, each of which takes `pause`.
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

    /// A request that takes longer than silence may last is not lost, and its answer may take as
    /// long again: what is between may have held it back.
    #[test]
    fn a_slow_way_is_waited_for() {
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
    fn silence_ends_it_and_so_does_the_time() {
        // It reads nothing, or all and says nothing.
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
        // It goes on for ever.
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
