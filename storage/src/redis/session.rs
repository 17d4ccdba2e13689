//! One connection to the Redis port.
//!
//! Read what has arrived, carry all complete requests out, send the answers, read again. Requests that do
//! not depend on each other go to the nodes together ([`Batch`]); answers come in the requests' order.
//!
//! Limits: what a peer may send ([`request::Limits`](Limits)), and far less before it has shown the
//! password; how long it may be silent, in the middle of a request or between two; how long it may leave
//! its answers unread, and how many of them wait meanwhile: `FLUSH` bytes and one batch.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use net_common::clock;
use net_common::server::{Served, say_last};
use parking_lot::Mutex;

use super::batch::Batch;
use super::client::Facts;
use super::door::Door;
use super::reply::Replies;
use super::request::{Limits, Requests};
use super::talk::Talk;

/// Answers are sent once so many bytes are waiting.
const FLUSH: usize = 64 << 10;

/// How much is read at once, at least: many small requests.
const READ: usize = 16 << 10;

/// A buffer above this is given back once it is empty.
const KEPT: usize = 256 << 10;

/// What others may know of a connection.
pub struct Client {
    /// The facts, but for the two times.
    pub(super) facts: Facts,
    since: Instant,
    last: Instant,
}

impl Client {
    /// A connection that has just begun.
    pub fn new(served: &Served) -> Client {
        let local = served.stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let facts =
            Facts { id: served.number, peer: served.peer.to_string(), local, ..Facts::default() };
        Client { facts, since: Instant::now(), last: Instant::now() }
    }

    /// The facts, as of now.
    pub fn told(&self) -> Facts {
        Facts {
            age_s: self.since.elapsed().as_secs(),
            idle_s: self.last.elapsed().as_secs(),
            ..self.facts.clone()
        }
    }
}

/// A connection being served.
pub struct Session<'s> {
    door: &'s Door,
    served: &'s Served,
    client: Arc<Mutex<Client>>,
    talk: Talk<'s>,
    inbox: Inbox,
    requests: Requests,
    out: Vec<u8>,
    /// When the last request was complete, or the first byte of the next one came.
    quiet_since: Instant,
}

/// How a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for more.
    Go,
    /// Send the answers and close.
    Close,
}

impl<'s> Session<'s> {
    /// A connection that has just begun.
    pub fn new(door: &'s Door, served: &'s Served, client: Arc<Mutex<Client>>) -> Session<'s> {
        Session {
            door,
            served,
            talk: Talk::new(door, served, client.clone()),
            client,
            inbox: Inbox::default(),
            requests: Requests::default(),
            out: Vec::new(),
            quiet_since: Instant::now(),
        }
    }

    /// Serves it until it ends.
    ///
    /// # Errors
    /// Where the connection breaks, or the peer does not take its answers.
    pub fn run(&mut self) -> io::Result<()> {
        let stream = self.served.stream.clone();
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(self.door.limits.frame))?;
        // Whoever is woken by it looks which of the two limits, if any, is over.
        stream.set_read_timeout(Some(self.door.limits.frame.min(self.door.limits.idle)))?;
        loop {
            let (done, next) = self.answer()?;
            send(self.door, &stream, &mut self.out)?;
            if next == Next::Close || self.served.is_last() {
                say_last(&stream, &[]);
                return Ok(());
            }
            // A round takes so many requests at most: there may be more.
            if (done == 0 || self.inbox.filled == 0) && !self.read(&stream)? {
                return Ok(());
            }
        }
    }

    /// Carries out the requests that have arrived. Returns how many.
    fn answer(&mut self) -> io::Result<(usize, Next)> {
        let limits = match self.talk.is_known() {
            true => Limits::KNOWN.for_values(self.talk.value_bytes()),
            false => Limits::STRANGER,
        };
        let broken = self.requests.read(self.inbox.bytes(), &limits).err();
        let count = self.requests.done();
        let mut next = self.carry_out()?;
        if count > 0 {
            self.quiet_since = Instant::now();
            let taken = self.requests.forget();
            self.inbox.forget(taken);
            self.door.tally.commands.fetch_add(count as u64, Ordering::Relaxed);
            let mut client = self.client.lock();
            client.last = self.quiet_since;
            self.talk.describe(&mut client.facts);
            client.facts.input_bytes = self.inbox.filled;
        }
        if let Some(error) = broken
            && next == Next::Go
        {
            Replies::new(&mut self.out, self.talk.protocol()).error(&error.to_string());
            next = Next::Close;
        }
        Ok((count, next))
    }

    fn carry_out(&mut self) -> io::Result<Next> {
        let mut now_ms = clock::wall_ms();
        let mut batch = Batch::default();
        for args in self.requests.each(&self.inbox.buffer) {
            if self.out.len() >= FLUSH {
                send(self.door, &self.served.stream, &mut self.out)?;
            }
            let command = match self.talk.read(args, now_ms) {
                Ok(command) => command,
                Err(error) => {
                    let closes = error.closes();
                    batch.refuse(error);
                    if closes {
                        self.talk.run(&mut batch, &mut self.out);
                        return Ok(Next::Close);
                    }
                    continue;
                }
            };
            if Batch::is_for(&command) {
                if !batch.has_room_for(&command) {
                    self.talk.run(&mut batch, &mut self.out);
                    // It may have taken long, and times to live begin when their command does.
                    now_ms = clock::wall_ms();
                }
                batch.add(command);
            } else {
                self.talk.run(&mut batch, &mut self.out);
                if self.talk.answer(&command, &mut self.out) == Next::Close {
                    return Ok(Next::Close);
                }
                now_ms = clock::wall_ms();
            }
        }
        self.talk.run(&mut batch, &mut self.out);
        Ok(Next::Go)
    }

    /// Reads more. `false` at the end.
    fn read(&mut self, mut stream: &TcpStream) -> io::Result<bool> {
        let was_between = self.inbox.filled == 0;
        loop {
            match self.inbox.fill(&mut stream, self.requests.wanted()) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.door.tally.input_bytes.fetch_add(n as u64, Ordering::Relaxed);
                    if was_between {
                        self.quiet_since = Instant::now();
                    }
                    return Ok(!self.is_over(false));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        if self.is_over(was_between) {
                            return Ok(false);
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Whether the peer has been silent, or busy with one request, for longer than it may. As in Redis it
    /// is closed without a word: an answer that nobody asked for would be taken for that of the next
    /// request.
    fn is_over(&self, between: bool) -> bool {
        let limits = &self.door.limits;
        // Whoever has not shown the password yet gets no idle time either.
        let limit = if between && self.talk.is_known() { limits.idle } else { limits.frame };
        self.quiet_since.elapsed() >= limit
    }
}

fn send(door: &Door, mut stream: &TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    // The time-out is for each write, and a peer that reads a byte now and then makes each succeed: so it
    // bounds the whole as well, at a megabyte for each such time.
    let patience = door.limits.frame * (1 + (out.len() >> 20) as u32);
    let (mut rest, until) = (&out[..], Instant::now() + patience);
    while !rest.is_empty() {
        let n = match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        rest = &rest[n..];
        if !rest.is_empty() && Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    door.tally.output_bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
    out.clear();
    if out.capacity() > KEPT {
        *out = Vec::new();
    }
    Ok(())
}

/// What a peer has sent and nobody has carried out yet.
#[derive(Default)]
struct Inbox {
    buffer: Vec<u8>,
    filled: usize,
}

impl Inbox {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.filled]
    }

    fn forget(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
        if self.filled == 0 && self.buffer.len() > KEPT {
            self.buffer = Vec::new();
        }
    }

    /// Reads once. There is room for what is wanted, but never much more than what has really arrived.
    fn fill(&mut self, stream: &mut impl Read, wanted: usize) -> io::Result<usize> {
        let room = wanted.clamp(READ, READ.max(self.filled));
        if self.buffer.len() < self.filled + room {
            self.buffer.resize(self.filled + room, 0);
        }
        let n = stream.read(&mut self.buffer[self.filled..])?;
        self.filled += n;
        Ok(n)
    }
}
