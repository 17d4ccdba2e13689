//! The bytes of one connection.
//!
//! A client may send all of a long pipeline before it reads the first answer. Were its answers only
//! written, and nothing read meanwhile, both would wait for each other. So whoever waits here for
//! the peer to take its answers goes on reading, and keeps what comes ([`ClientSocket::fill`] has it
//! first), up to a bound.
//!
//! The peer is given up when no byte has moved for a while, in either direction: one that reads
//! slowly, or sends slowly, is not.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// How much is read at once, at least: many small requests.
const READ: usize = 16 << 10;

/// How much is kept together of what comes while answers wait.
const CHUNK: usize = 64 << 10;

/// A buffer above this is given back once it is empty.
const KEPT: usize = 256 << 10;

/// How much a peer may send that was told it had sent nonsense, so that it comes to read why: a
/// client that sends gigabytes without looking learns it by the end of the connection.
const DRAINED: usize = 1 << 30;

/// How long a connection is silent before the system asks whether the peer is still there, how long
/// between two such questions, and how many of them go unanswered until it is closed: what Redis
/// uses for its 300 seconds.
pub const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(100);
const KEEPALIVE_TIMES: u32 = 3;

/// One connection's two directions.
pub struct ClientSocket {
    stream: Arc<TcpStream>,
    /// How long no byte may move while something is waited for.
    patience: Duration,
    /// What came while answers waited.
    ahead: VecDeque<Vec<u8>>,
    ahead_bytes: usize,
    incoming: Incoming,
    /// When the last byte moved.
    moved: Instant,
}

/// What becomes of bytes that come while something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// They are kept.
    Kept,
    /// They are of no use any more: so many were thrown away.
    Drained(usize),
    /// The peer has said that it sends no more.
    Ended,
}

impl ClientSocket {
    /// A connection that has just begun. A read that waits for so long returns, for its caller to
    /// look which limit, if any, is over.
    ///
    /// # Errors
    /// Where the system does not let it be set up.
    pub fn new(
        stream: Arc<TcpStream>,
        patience: Duration,
        poll_interval: Duration,
    ) -> io::Result<ClientSocket> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(poll_interval))?;
        sockopt::set_socket_keepalive(&*stream, true)?;
        sockopt::set_tcp_keepidle(&*stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(&*stream, KEEPALIVE_AGAIN)?;
        sockopt::set_tcp_keepcnt(&*stream, KEEPALIVE_TIMES)?;
        Ok(ClientSocket {
            stream,
            patience,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            incoming: Incoming::Kept,
            moved: Instant::now(),
        })
    }

    /// Whether no byte has moved for as long as the peer is waited for.
    pub fn is_stalled(&self) -> bool {
        self.moved.elapsed() >= self.patience
    }

    /// How many bytes have come that nobody has taken yet.
    pub fn ahead(&self) -> usize {
        self.ahead_bytes
    }

    /// Waits for bytes, and adds them to the inbox, which has room for `wanted` of them and never
    /// for much more than what has really come. Returns how many; 0 at the end.
    ///
    /// # Errors
    /// As a read from a socket: also a time-out, after which it can be called again.
    pub fn fill(&mut self, inbox: &mut Inbox, wanted: usize) -> io::Result<usize> {
        if let Some(chunk) = self.ahead.pop_front() {
            self.ahead_bytes -= chunk.len();
            inbox.push(&chunk);
            return Ok(chunk.len());
        }
        let n = inbox.read(&mut &*self.stream, wanted)?;
        self.moved = Instant::now();
        Ok(n)
    }

    /// Sends what is in `out` and empties it. As long as the peer does not take it, reads on what
    /// that sends, `limit` bytes at most.
    ///
    /// # Errors
    /// Where the connection breaks, or nothing moves.
    pub fn send(&mut self, out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        let mut rest = &out[..];
        while !rest.is_empty() {
            match send(&*self.stream, rest, SendFlags::DONTWAIT) {
                Ok(n) => {
                    rest = &rest[n..];
                    if !rest.is_empty() {
                        self.moved = Instant::now();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(limit)?,
                Err(error) => return Err(error.into()),
            }
        }
        out.clear();
        if out.capacity() > KEPT {
            *out = Vec::new();
        }
        Ok(())
    }

    /// Waits until the peer takes more, or sends something, and reads that.
    fn wait(&mut self, limit: usize) -> io::Result<()> {
        let reads = self.incoming != Incoming::Ended && self.ahead_bytes < limit;
        let wanted = if reads { PollFlags::OUT | PollFlags::IN } else { PollFlags::OUT };
        let mut polled = [PollFd::new(&*self.stream, wanted)];
        let patience = self.patience.saturating_sub(self.moved.elapsed());
        let patience = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut polled, Some(&patience)) {
            Ok(0) if self.is_stalled() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if reads && polled[0].revents().contains(PollFlags::IN) {
            self.read_ahead()?;
        }
        Ok(())
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        let is_open = self.ahead.back().is_some_and(|chunk| chunk.len() < CHUNK);
        if !is_open {
            self.ahead.push_back(Vec::with_capacity(CHUNK));
        }
        let chunk = self.ahead.back_mut().expect("there is one");
        match recv(&*self.stream, spare_capacity(chunk), RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.incoming = Incoming::Ended,
            Ok((n, _)) => {
                self.ahead_bytes += n;
                self.moved = Instant::now();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        self.drain();
        if self.ahead.back().is_some_and(Vec::is_empty) {
            self.ahead.pop_back();
        }
        Ok(())
    }

    /// Throws away what has come, where it is of no use.
    fn drain(&mut self) {
        if let Incoming::Drained(drained) = &mut self.incoming {
            *drained += std::mem::take(&mut self.ahead_bytes);
            self.ahead.clear();
        }
    }

    /// Sends a last answer, to a peer that may still be sending, and reads on until it has ended,
    /// so that the answer arrives: bytes that come to a closed socket would reset the connection,
    /// and destroy it on its way.
    ///
    /// # Errors
    /// As [`ClientSocket::send`].
    pub fn send_last(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.incoming == Incoming::Kept {
            self.incoming = Incoming::Drained(0);
        }
        self.drain();
        // Whatever comes meanwhile takes no room.
        self.send(out, CHUNK)?;
        self.stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::with_capacity(CHUNK);
        while let Incoming::Drained(drained @ ..DRAINED) = self.incoming {
            rest.clear();
            match recv(&*self.stream, spare_capacity(&mut rest), RecvFlags::empty()) {
                Ok((0, _)) => self.incoming = Incoming::Ended,
                Ok((n, _)) => {
                    self.moved = Instant::now();
                    self.incoming = Incoming::Drained(drained + n);
                }
                // It sends no more, but has not ended.
                Err(Errno::AGAIN) if self.is_stalled() => break,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What a peer has sent and nobody has carried out yet.
#[derive(Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Inbox {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.filled - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more it could hold without growing.
    pub fn capacity(&self) -> usize {
        self.buffer.len() - self.len()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    /// The bytes, for who changes them in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.filled]
    }

    /// Forgets so many of the first.
    pub fn forget(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = Vec::new();
            }
        }
    }

    /// Makes room for so many more. What is there moves to the front only if that is needed, so
    /// that taking a long pipeline piece by piece does not move its rest each time.
    fn reserve(&mut self, bytes: usize) {
        if self.buffer.len() - self.filled < bytes && self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            (self.start, self.filled) = (0, self.filled - self.start);
        }
        if self.buffer.len() - self.filled < bytes {
            self.buffer.resize(self.filled + bytes, 0);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Reads once. There is room for what is wanted, but never much more than what has really
    /// arrived.
    fn read(&mut self, stream: &mut impl io::Read, wanted: usize) -> io::Result<usize> {
        self.reserve(wanted.clamp(READ, READ.max(self.len())));
        let n = stream.read(&mut self.buffer[self.filled..])?;
        self.filled += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
