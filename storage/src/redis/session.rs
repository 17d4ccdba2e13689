//! One connection to the Redis port.
//!
//! It reads the bytes that have arrived, executes all complete requests, sends the replies, and
//! reads again. Requests that do not depend on each other go to the nodes together ([`Batch`]);
//! replies come in the order of the requests.
//!
//! Limits: how much a peer may send ([`request::Limits`](Limits)), and far less before it has
//! authenticated; how long no byte may move in the middle of a request or a reply, and how long the
//! peer may be silent between two requests. The peer may continue to send while it leaves replies
//! unread ([`ClientSocket`]): as much as one request may have. Of the replies, `FLUSH` bytes and
//! those of one batch wait meanwhile, which is bounded as well ([`Batch`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use net_common::clock;
use net_common::server::{Served, send_last};
use parking_lot::Mutex;
use resp::args::Args;
use resp::client::ConnectionFacts;
use resp::lookup;
use resp::reply::Replies;
use resp::request::{Limits, Requests};
use resp::spec::{Flags, Name};

use super::batch::Batch;
use super::bounds::FLUSH;
use super::client_socket::{ClientSocket, Inbox};
use super::clients::ClientEntry;
use super::conversation::{Conversation, Next};
use super::shared::{Scope, Shared};

/// A connection being served.
pub struct Session<'s> {
    shared: &'s Shared,
    served: &'s Served,
    client: Arc<Mutex<ClientEntry>>,
    conversation: Conversation<'s>,
    inbox: Inbox,
    requests: Requests,
    outgoing: Outgoing<'s>,
    /// When the last request was complete, or the first byte of the next one arrived.
    quiet_since: Instant,
}

impl<'s> Session<'s> {
    /// A new connection.
    ///
    /// # Errors
    /// If it is closed already.
    pub fn new(
        shared: &'s Shared,
        served: &'s Served,
        client: Arc<Mutex<ClientEntry>>,
        scope: Scope,
    ) -> io::Result<Session<'s>> {
        let patience = shared.limits.frame;
        let poll_interval = shared.settings.idle.map_or(patience, |idle| idle.min(patience));
        Ok(Session {
            shared,
            served,
            conversation: Conversation::new(shared, served, client.clone(), scope),
            client,
            inbox: Inbox::default(),
            requests: Requests::default(),
            outgoing: Outgoing {
                shared,
                socket: ClientSocket::new(served.stream.clone(), patience, poll_interval)?,
                bytes: Vec::new(),
            },
            quiet_since: Instant::now(),
        })
    }

    /// Serves it until it closes.
    ///
    /// # Errors
    /// If the connection breaks, or the peer does not take its replies.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let (done, next) = self.answer()?;
            if next == Next::CloseInMidstream {
                return self.outgoing.send_last();
            }
            self.outgoing.send(&self.inbox)?;
            if next == Next::Close || self.served.is_last() {
                send_last(&self.served.stream, &[]);
                return Ok(());
            }
            // A round takes a limited number of requests: there may be more.
            if (done == 0 || self.inbox.is_empty()) && !self.read()? {
                return Ok(());
            }
        }
    }

    /// Executes the requests that have arrived. Returns their number.
    fn answer(&mut self) -> io::Result<(usize, Next)> {
        let limits = if self.conversation.is_authenticated() {
            Limits::AUTHENTICATED.for_values(self.conversation.value_bytes())
        } else {
            Limits::UNAUTHENTICATED
        };
        let broken = self.requests.read(self.inbox.bytes_mut(), &limits).err();
        let count = self.requests.done();
        let mut next = self.carry_out()?;
        if count > 0 {
            self.quiet_since = Instant::now();
            let taken = self.requests.forget();
            self.inbox.forget(taken);
            self.shared.tally.commands.fetch_add(count as u64, Ordering::Relaxed);
            let mut client = self.client.lock();
            client.last = self.quiet_since;
            self.conversation.describe(&mut client.facts);
            self.describe_bytes(&mut client.facts, 0);
        }
        if let Some(error) = broken
            && next == Next::Go
        {
            Replies::new(&mut self.outgoing.bytes, self.conversation.protocol())
                .error(&error.to_string());
            let goes_on = self.conversation.is_authenticated() && error.is_too_long();
            next = if goes_on { Next::CloseInMidstream } else { Next::Close };
        }
        Ok((count, next))
    }

    fn carry_out(&mut self) -> io::Result<Next> {
        let mut now_ms = clock::wall_ms();
        let mut batch = Batch::default();
        for args in self.requests.each(self.inbox.bytes()) {
            if self.outgoing.bytes.len() >= FLUSH {
                self.outgoing.send(&self.inbox)?;
            }
            if self.shared.pause.is_on() {
                self.outgoing.run(&mut batch, &mut self.conversation, &self.inbox)?;
                self.outgoing.send(&self.inbox)?;
                wait(self.shared, self.served, args);
                now_ms = clock::wall_ms();
            }
            let start = self.outgoing.bytes.len();
            let mut skips = self.conversation.take_skip();
            match self.conversation.parse(args, now_ms) {
                Err(error) => {
                    let closes = error.closes();
                    batch.refuse(error);
                    if closes {
                        self.outgoing.run(&mut batch, &mut self.conversation, &self.inbox)?;
                        return Ok(Next::Close);
                    }
                }
                Ok(command) if Batch::is_for(&command) => {
                    if !batch.accepts(&command) {
                        self.outgoing.run(&mut batch, &mut self.conversation, &self.inbox)?;
                        // The batch may have taken long, and times to live begin when their command
                        // does.
                        now_ms = clock::wall_ms();
                    }
                    batch.add(command);
                }
                Ok(command) => {
                    self.outgoing.run(&mut batch, &mut self.conversation, &self.inbox)?;
                    let waiting = self.outgoing.bytes.len();
                    self.describe_bytes(&mut self.client.lock().facts, waiting);
                    let next = self.conversation.answer(&command, &mut self.outgoing.bytes);
                    if next == Next::Close {
                        return Ok(Next::Close);
                    }
                    skips &= !command.is_reply_on();
                    now_ms = clock::wall_ms();
                }
            }
            // Requests before the CLIENT REPLY have been answered.
            if skips {
                self.conversation.run(&mut batch, &mut self.outgoing.bytes, |_| Ok(()))?;
                self.outgoing.bytes.truncate(start);
            }
        }
        self.outgoing.run(&mut batch, &mut self.conversation, &self.inbox)?;
        Ok(Next::Go)
    }

    /// Fills in the publicly visible numbers of waiting bytes.
    fn describe_bytes(&self, facts: &mut ConnectionFacts, output: usize) {
        facts.input_bytes = self.inbox.len() + self.outgoing.socket.ahead();
        facts.input_capacity = self.inbox.capacity();
        facts.output_bytes = output;
    }

    /// Reads more. `false` at the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        let was_between = self.inbox.is_empty();
        loop {
            match self.outgoing.socket.fill(&mut self.inbox, self.requests.wanted()) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.shared.tally.input_bytes.fetch_add(n as u64, Ordering::Relaxed);
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

    /// Whether the peer has been silent for longer than allowed. As in Redis the connection is
    /// closed without an error: an unsolicited reply would be taken for that of the next request.
    fn is_over(&self, between: bool) -> bool {
        // Before authentication this is the time for all of it.
        if !self.conversation.is_authenticated() {
            return self.quiet_since.elapsed() >= self.shared.limits.frame;
        }
        if between {
            let idle = self.shared.settings.idle;
            return idle.is_some_and(|idle| self.quiet_since.elapsed() >= idle);
        }
        self.outgoing.socket.is_stalled()
    }
}

/// Waits until a request may proceed.
fn wait(shared: &Shared, served: &Served, args: Args<'_>) {
    let spec = lookup::find(args).ok();
    if spec.is_some_and(|spec| spec.id == Name::ClientUnpause) {
        return;
    }
    let writes = spec.is_some_and(|spec| spec.flags.has(Flags::WRITE));
    shared.pause.wait(writes, || served.is_last());
}

/// Replies on their way to the client.
struct Outgoing<'s> {
    shared: &'s Shared,
    socket: ClientSocket,
    /// The bytes that are not sent yet.
    bytes: Vec<u8>,
}

impl Outgoing<'_> {
    /// Executes a batch. Its replies are sent when they are many. `inbox` has the input so far.
    fn run(
        &mut self,
        batch: &mut Batch<'_>,
        conversation: &mut Conversation<'_>,
        inbox: &Inbox,
    ) -> io::Result<()> {
        let Outgoing { shared, socket, bytes } = self;
        conversation.run(batch, bytes, |bytes| send(shared, socket, bytes, inbox))
    }

    /// Sends the waiting bytes.
    fn send(&mut self, inbox: &Inbox) -> io::Result<()> {
        send(self.shared, &mut self.socket, &mut self.bytes, inbox)
    }

    /// The same, where nothing follows in either direction.
    fn send_last(&mut self) -> io::Result<()> {
        self.socket.send_last(&mut self.bytes)
    }
}

fn send(
    shared: &Shared,
    socket: &mut ClientSocket,
    bytes: &mut Vec<u8>,
    inbox: &Inbox,
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let count = bytes.len() as u64;
    // While replies wait, the peer may send as much as a request may have, together with the input
    // so far.
    socket.send(bytes, Limits::AUTHENTICATED.request.saturating_sub(inbox.len()))?;
    shared.tally.output_bytes.fetch_add(count, Ordering::Relaxed);
    Ok(())
}
