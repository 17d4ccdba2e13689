//! The socket of one connection.
//!
//! A client may send all of a long pipeline before it reads the first reply. If the server only
//! wrote replies, and read nothing meanwhile, both would wait for each other. So while it waits for
//! the peer to take its replies it continues to read, and keeps the input, up to a bound
//! ([`ClientSocket::fill`] returns it first).
//!
//! The peer is disconnected when no byte has moved for a while, in either direction: a peer that
//! reads or sends slowly is not.

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

/// Least number of bytes to read at once: many small requests.
const READ: usize = 16 << 10;

/// Size of the chunks of input that arrives while replies wait.
const CHUNK: usize = 64 << 10;

/// A buffer above this size is freed once it is empty.
const KEPT: usize = 256 << 10;

/// How much a peer may send after a fatal error, so that it gets to read the error: a client that
/// sends gigabytes without reading only sees the connection close.
const DRAINED: usize = 1 << 30;

/// How long a connection is silent before the system probes the peer, the time between probes, and
/// the number of unanswered probes after which it is closed: what Redis uses for its 300 seconds.
pub const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(100);
const KEEPALIVE_TIMES: u32 = 3;

/// Both directions of one connection.
pub struct ClientSocket {
    stream: Arc<TcpStream>,
    /// How long to wait while no byte moves.
    patience: Duration,
    /// Input that arrived while replies waited.
    ahead: VecDeque<Vec<u8>>,
    ahead_bytes: usize,
    incoming: Incoming,
    /// When the last byte moved.
    moved: Instant,
}

/// What happens to input that arrives while replies are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// It is kept.
    Kept,
    /// It is discarded: this many bytes so far.
    Drained(usize),
    /// The peer has closed its sending direction.
    Ended,
}

impl ClientSocket {
    /// The socket of a new connection. A read without input returns after `poll_interval`, so that
    /// its caller can check time-outs.
    ///
    /// # Errors
    /// Where the operating system refuses the socket options.
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

    /// The number of bytes that have arrived but were not taken yet.
    pub fn ahead(&self) -> usize {
        self.ahead_bytes
    }

    /// Waits for bytes, and appends them to the inbox, which reserves space for `wanted` of them,
    /// but never for much more than has actually arrived. Returns their number; 0 at the end of the
    /// stream.
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

    /// Sends the bytes in `out` and empties it. While the peer does not take them, reads its input,
    /// `limit` bytes at most.
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

    /// Discards input that has no further use.
    fn drain(&mut self) {
        if let Incoming::Drained(drained) = &mut self.incoming {
            *drained += std::mem::take(&mut self.ahead_bytes);
            self.ahead.clear();
        }
    }

    /// Sends a final reply, to a peer that may still be sending, and reads on until the peer
    /// closes, so that the reply arrives: bytes that arrive at a closed socket would reset the
    /// connection, and destroy the reply on its way.
    ///
    /// # Errors
    /// As [`ClientSocket::send`].
    pub fn send_last(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.incoming == Incoming::Kept {
            self.incoming = Incoming::Drained(0);
        }
        self.drain();
        // Input that arrives meanwhile takes no memory.
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
                // It does not send any more, but has not closed.
                Err(Errno::AGAIN) if self.is_stalled() => break,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Input that was received but not executed yet.
#[derive(Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Inbox {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.filled - self.start
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more bytes fit without an allocation.
    pub fn capacity(&self) -> usize {
        self.buffer.len() - self.len()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    /// The bytes, for changes in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.filled]
    }

    /// Removes this many bytes from the front.
    pub fn forget(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = Vec::new();
            }
        }
    }

    /// Reserves space for more bytes. The content moves to the front only if necessary, so that
    /// consuming a long pipeline piece by piece does not move the rest each time.
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

    /// Reads once. Reserves space for the wanted bytes, but never for much more than has actually
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
