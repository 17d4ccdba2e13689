//! One connection to the Redis port.
//!
//! Read what has arrived, carry all complete requests out, send the answers, read again. Requests that do
//! not depend on each other go to the nodes together ([`Batch`]); answers come in the requests' order.
//!
//! Limits: what a peer may send ([`request::Limits`](Limits)), and far less before it has shown the
//! password; how long no byte may move in the middle of a request or an answer, and how long it may be silent between
//! two requests. It may send on while it leaves answers unread ([`Link`]): as much as one request may have. Of the
//! answers `FLUSH` bytes and one batch's wait meanwhile, which is bounded as well ([`Batch`]).

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use net_common::clock;
use net_common::server::{Served, say_last};
use parking_lot::Mutex;

use super::batch::Batch;
use super::conversation::Talk;
use super::link::{Inbox, Link};
use super::shared::{Door, Kind};
use resp::args::Args;
use resp::client::Facts;
use resp::lookup;
use resp::reply::Replies;
use resp::request::{Limits, Requests};
use resp::spec::{Flags, Name};

/// Answers are sent once so many bytes are waiting.
const FLUSH: usize = 64 << 10;

/// What others may know of a connection.
pub struct Client {
    /// The facts, but for the two times.
    pub(super) facts: Facts,
    stream: Arc<TcpStream>,
    since: Instant,
    last: Instant,
}

impl Client {
    /// A connection that has just begun.
    pub fn new(served: &Served, number: u64) -> Client {
        let local = served.stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let facts = Facts { id: number, peer: served.peer.to_string(), local, ..Facts::default() };
        let stream = served.stream.clone();
        Client { facts, stream, since: Instant::now(), last: Instant::now() }
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
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
    link: Link,
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
    /// The same, where the peer is in the middle of a request that is too long: it is to learn that.
    CloseInMidstream,
}

impl<'s> Session<'s> {
    /// A connection that has just begun.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn new(
        door: &'s Door,
        served: &'s Served,
        client: Arc<Mutex<Client>>,
        kind: Kind,
    ) -> io::Result<Session<'s>> {
        let patience = door.limits.frame;
        let look = door.settings.idle.map_or(patience, |idle| idle.min(patience));
        Ok(Session {
            door,
            served,
            talk: Talk::new(door, served, client.clone(), kind),
            client,
            link: Link::new(served.stream.clone(), patience, look)?,
            inbox: Inbox::default(),
            requests: Requests::default(),
            out: Vec::new(),
            quiet_since: Instant::now(),
        })
    }

    /// Serves it until it ends.
    ///
    /// # Errors
    /// Where the connection breaks, or the peer does not take its answers.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let (done, next) = self.answer()?;
            if next == Next::CloseInMidstream {
                return self.link.say_last(&mut self.out);
            }
            self.send()?;
            if next == Next::Close || self.served.is_last() {
                say_last(&self.served.stream, &[]);
                return Ok(());
            }
            // A round takes so many requests at most: there may be more.
            if (done == 0 || self.inbox.is_empty()) && !self.read()? {
                return Ok(());
            }
        }
    }

    /// Carries out the requests that have arrived. Returns how many.
    fn answer(&mut self) -> io::Result<(usize, Next)> {
        let limits = if self.talk.is_known() {
            Limits::KNOWN.for_values(self.talk.value_bytes())
        } else {
            Limits::STRANGER
        };
        let broken = self.requests.read(self.inbox.bytes_mut(), &limits).err();
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
            client.facts.input_bytes = self.inbox.len() + self.link.ahead();
            client.facts.input_room = self.inbox.room();
            client.facts.output_bytes = 0;
        }
        if let Some(error) = broken
            && next == Next::Go
        {
            Replies::new(&mut self.out, self.talk.protocol()).error(&error.to_string());
            let goes_on = self.talk.is_known() && error.is_too_long();
            next = if goes_on { Next::CloseInMidstream } else { Next::Close };
        }
        Ok((count, next))
    }

    fn carry_out(&mut self) -> io::Result<Next> {
        let mut now_ms = clock::wall_ms();
        let mut batch = Batch::default();
        let room = room(&self.inbox);
        for args in self.requests.each(self.inbox.bytes()) {
            if self.out.len() >= FLUSH {
                send(self.door, &mut self.link, &mut self.out, room)?;
            }
            if self.door.pause.is_on() {
                let sends = sender(self.door, &mut self.link, room);
                self.talk.run(&mut batch, &mut self.out, sends)?;
                send(self.door, &mut self.link, &mut self.out, room)?;
                wait(self.door, self.served, args);
                now_ms = clock::wall_ms();
            }
            let start = self.out.len();
            let mut skips = self.talk.takes_skip();
            match self.talk.read(args, now_ms) {
                Err(error) => {
                    let closes = error.closes();
                    batch.refuse(error);
                    if closes {
                        let sends = sender(self.door, &mut self.link, room);
                        self.talk.run(&mut batch, &mut self.out, sends)?;
                        return Ok(Next::Close);
                    }
                }
                Ok(command) if Batch::is_for(&command) => {
                    if !batch.has_room_for(&command) {
                        let sends = sender(self.door, &mut self.link, room);
                        self.talk.run(&mut batch, &mut self.out, sends)?;
                        // It may have taken long, and times to live begin when their command does.
                        now_ms = clock::wall_ms();
                    }
                    batch.add(command);
                }
                Ok(command) => {
                    let sends = sender(self.door, &mut self.link, room);
                    self.talk.run(&mut batch, &mut self.out, sends)?;
                    let mut client = self.client.lock();
                    client.facts.input_bytes = self.inbox.len() + self.link.ahead();
                    client.facts.input_room = self.inbox.room();
                    client.facts.output_bytes = self.out.len();
                    drop(client);
                    let next = self.talk.answer(&command, &mut self.out);
                    if next == Next::Close {
                        return Ok(Next::Close);
                    }
                    skips &= !command.is_reply_on();
                    now_ms = clock::wall_ms();
                }
            }
            // What came before the CLIENT REPLY has been answered.
            if skips {
                self.talk.run(&mut batch, &mut self.out, |_| Ok(()))?;
                self.out.truncate(start);
            }
        }
        let sends = sender(self.door, &mut self.link, room);
        self.talk.run(&mut batch, &mut self.out, sends)?;
        Ok(Next::Go)
    }

    /// Sends the answers that wait.
    fn send(&mut self) -> io::Result<()> {
        send(self.door, &mut self.link, &mut self.out, room(&self.inbox))
    }

    /// Reads more. `false` at the end.
    fn read(&mut self) -> io::Result<bool> {
        let was_between = self.inbox.is_empty();
        loop {
            match self.link.fill(&mut self.inbox, self.requests.wanted()) {
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

    /// Whether the peer has been silent for longer than it may. As in Redis it is closed without a word: an answer
    /// that nobody asked for would be taken for that of the next request.
    fn is_over(&self, between: bool) -> bool {
        // Whoever has not shown the password yet has so long for all of it.
        if !self.talk.is_known() {
            return self.quiet_since.elapsed() >= self.door.limits.frame;
        }
        if between {
            let idle = self.door.settings.idle;
            return idle.is_some_and(|idle| self.quiet_since.elapsed() >= idle);
        }
        self.link.is_stalled()
    }
}

/// Waits until a request may go on.
fn wait(door: &Door, served: &Served, args: Args<'_>) {
    let spec = lookup::find(args).ok();
    if spec.is_some_and(|spec| spec.id == Name::ClientUnpause) {
        return;
    }
    let writes = spec.is_some_and(|spec| spec.flags.has(Flags::WRITE));
    door.pause.wait(writes, || served.is_last());
}

/// How much a peer may send while answers wait: with what is here already as much as a request may have.
fn room(inbox: &Inbox) -> usize {
    Limits::KNOWN.request.saturating_sub(inbox.len())
}

/// Sends what it is given.
fn sender<'l>(
    door: &'l Door,
    link: &'l mut Link,
    room: usize,
) -> impl FnMut(&mut Vec<u8>) -> io::Result<()> {
    move |out| send(door, link, out, room)
}

fn send(door: &Door, link: &mut Link, out: &mut Vec<u8>, room: usize) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let bytes = out.len() as u64;
    link.send(out, room)?;
    door.tally.output_bytes.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}
