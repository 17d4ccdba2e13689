//! The state of a connection, and the replies to requests that are not about keys.
//!
//! Requests about keys go through a [`Batch`]; all others are answered here, from the state of the
//! node, the cluster and the connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::text::count;
use log::{debug, warn};
use net_common::auth::SLOWED;
use net_common::clock;
use net_common::server::Served;
use parking_lot::Mutex;
use resp::args::Args;
use resp::client::{self, ConnectionFacts};
use resp::command::{
    self, ClusterCommand, Command, ConnectionCommand, Hello, InfoName, Kill, ReplyMode,
};
use resp::error::Error;
use resp::lookup;
use resp::reply::{Protocol, Replies};
use resp::spec::Flags;
use resp::transaction::TransactionState;

use super::batch::Batch;
use super::clients::ClientEntry;
use super::listing::{self, RedisListing};
use super::shared::{Scope, Shared, copies};
use super::translate::refusal;

/// The only user there is.
const USER: &[u8] = b"default";

/// What to do with the connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for more requests.
    Go,
    /// Send the replies and close.
    Close,
    /// The same in the middle of a request that is too long: the peer must still receive the error.
    CloseInMidstream,
}

/// The state of one connection.
pub struct Conversation<'s> {
    shared: &'s Shared,
    served: &'s Served,
    client: Arc<Mutex<ClientEntry>>,
    /// The scope of listings at its port.
    at_port: Scope,
    /// The number of nodes that hold its last write.
    copies: Option<usize>,
    /// The last command.
    command: &'static str,
    state: SessionState,
}

/// The state that RESET restores.
struct SessionState {
    protocol: Protocol,
    /// Whether the connection is authenticated, or need not be.
    is_authenticated: bool,
    /// The scope of its listings: once a client has asked for the cluster's topology, it asks each
    /// node for that node's own keys.
    scope: Scope,
    /// Which replies it gets.
    reply_mode: ReplyMode,
    transaction: TransactionState,
}

impl SessionState {
    /// The initial state of a connection.
    fn new(shared: &Shared, at_port: Scope) -> SessionState {
        SessionState {
            protocol: Protocol::default(),
            is_authenticated: shared.secret.is_none(),
            scope: at_port,
            reply_mode: ReplyMode::On,
            transaction: TransactionState::default(),
        }
    }
}

impl<'s> Conversation<'s> {
    /// A new connection, at a port with this scope.
    pub fn new(
        shared: &'s Shared,
        served: &'s Served,
        client: Arc<Mutex<ClientEntry>>,
        at_port: Scope,
    ) -> Conversation<'s> {
        let state = SessionState::new(shared, at_port);
        Conversation { shared, served, client, at_port, copies: None, command: "", state }
    }

    /// Whether the peer is authenticated, or need not be.
    pub fn is_authenticated(&self) -> bool {
        self.state.is_authenticated
    }

    /// The protocol version in use.
    pub fn protocol(&self) -> Protocol {
        self.state.protocol
    }

    /// Fills in the publicly visible facts.
    pub fn describe(&self, facts: &mut ConnectionFacts) {
        facts.command = self.command;
        facts.protocol = self.state.protocol;
        facts.queued = self.state.transaction.queued();
    }

    /// Length in bytes of the longest value that the cluster accepts.
    pub fn value_bytes(&self) -> usize {
        self.shared.value_bytes()
    }

    /// Parses a request.
    ///
    /// # Errors
    /// [`Error`], also where the peer has yet to authenticate.
    pub fn parse<'b>(&mut self, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
        let found = lookup::find(args).and_then(|spec| {
            self.command = spec.name;
            debug!(
                "{}: {} with {}",
                self.served.peer,
                spec.name,
                count(args.len().saturating_sub(1), "argument")
            );
            let is_allowed = self.state.is_authenticated || spec.flags.has(Flags::NO_AUTH);
            if is_allowed { Ok(spec) } else { Err(Error::NoAuth) }
        });
        self.state.transaction.parse(found, args, now_ms)
    }

    /// Executes a batch and empties it. When many bytes of replies have accumulated, `send` takes
    /// them.
    ///
    /// # Errors
    /// Those of `send`.
    pub fn run(
        &mut self,
        batch: &mut Batch<'_>,
        out: &mut Vec<u8>,
        mut send: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let client = || self.shared.coordinator.client();
        let (start, is_on) = (out.len(), self.state.reply_mode != ReplyMode::Off);
        let send = |out: &mut Vec<u8>| {
            if is_on {
                send(out)
            } else {
                out.truncate(start);
                Ok(())
            }
        };
        let mut replies = Replies::new(out, self.state.protocol);
        let node = Some(&*self.shared.node);
        let outcome = batch.run(node, client, &clock::wall_ms, &mut replies, send)?;
        self.copies = outcome.copies.or(self.copies);
        self.shared.tally.hits.fetch_add(outcome.hits, Ordering::Relaxed);
        self.shared.tally.misses.fetch_add(outcome.misses, Ordering::Relaxed);
        if !is_on {
            out.truncate(start);
        }
        Ok(())
    }

    /// Replies to a command that is not for a [`Batch`].
    pub fn answer(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> Next {
        let (start, mode_before) = (out.len(), self.state.reply_mode);
        let next = self.answer_unfiltered(command, out);
        // The reply to the command that turns replies on again is sent.
        if mode_before == ReplyMode::Off && self.state.reply_mode == ReplyMode::Off {
            out.truncate(start);
        }
        next
    }

    fn answer_unfiltered(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> Next {
        let start = out.len();
        let mut replies = Replies::new(out, self.state.protocol);
        let mut next = Next::Go;
        let answered = match command {
            Command::Connection(ConnectionCommand::Quit) => {
                replies.ok();
                return Next::Close;
            }
            Command::Connection(ConnectionCommand::Client(command::ClientCommand::Kill(kill))) => {
                self.kill(kill, &mut replies).map(|then| next = then)
            }
            Command::Connection(connection) => self.connection(connection, &mut replies),
            Command::Server(server) => self.shared.answer_server(server, &mut replies),
            Command::Cluster(cluster) => {
                if matches!(
                    cluster,
                    ClusterCommand::Slots | ClusterCommand::Shards | ClusterCommand::Nodes
                ) {
                    self.state.scope = Scope::Own;
                }
                self.shared.answer_cluster(cluster, &mut replies)
            }
            Command::Transaction(command) => self.state.transaction.answer(command, &mut replies),
            Command::Wait => self.wait(&mut replies),
            command => self.list(command, &mut replies),
        };
        if let Err(error) = answered {
            out.truncate(start);
            Replies::new(out, self.state.protocol).error(&error.to_string());
        }
        next
    }

    /// Whether to suppress the reply to the next request; called once for each request.
    pub fn take_skip(&mut self) -> bool {
        let skips = self.state.reply_mode == ReplyMode::SkipNext;
        if skips {
            self.state.reply_mode = ReplyMode::On;
        }
        skips
    }

    /// Closes connections.
    fn kill(&self, kill: &Kill<'_>, out: &mut Replies<'_>) -> Result<Next, Error> {
        let own = self.client.lock().facts.id;
        let is_match = |facts: &ConnectionFacts| {
            kill.is_normal
                && kill.id.is_none_or(|id| id == facts.id)
                && kill.peer.is_none_or(|peer| peer == facts.peer.as_bytes())
                && kill.local.is_none_or(|local| local == facts.local.as_bytes())
                && !(kill.skips_caller && facts.id == own)
        };
        let killed = self.shared.clients.kill(own, is_match);
        match (kill.is_one, killed.count) {
            (true, 0) => return Err(Error::NoClient),
            (true, _) => out.ok(),
            (false, count) => out.count(count),
        }
        Ok(if killed.is_own { Next::Close } else { Next::Go })
    }

    fn list(&self, command: &Command<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        let client = self.shared.coordinator.client().map_err(|e| refusal(&e))?;
        let own = match self.state.scope {
            Scope::Own => Some(self.shared.picture(&*self.shared.routes()?).own_arcs()),
            Scope::Cluster => None,
        };
        let listing = RedisListing { client: &client, arcs: own.as_ref() };
        listing::answer(command, &listing, self.shared.settings.may_flush, out)
    }

    fn wait(&self, out: &mut Replies<'_>) -> Result<(), Error> {
        let routes = self.shared.routes()?;
        let copies = self.copies.unwrap_or_else(|| copies(&routes));
        out.count(copies.saturating_sub(1));
        Ok(())
    }

    fn connection(
        &mut self,
        connection: &ConnectionCommand<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        match *connection {
            ConnectionCommand::Ping(None) => out.simple("PONG"),
            ConnectionCommand::Ping(Some(text)) | ConnectionCommand::Echo(text) => out.bulk(text),
            ConnectionCommand::Hello(hello) => self.hello(&hello, out)?,
            ConnectionCommand::Auth { user, password } => {
                if user.is_none() && self.shared.secret.is_none() {
                    return Err(Error::NoPassword);
                }
                self.authenticate(user.unwrap_or(USER), password)?;
                out.ok();
            }
            ConnectionCommand::Reset => {
                self.state = SessionState::new(self.shared, self.at_port);
                self.client.lock().facts.name.clear();
                out.switch(self.state.protocol);
                out.simple("RESET");
            }
            ConnectionCommand::ReadOnly => {
                self.state.scope = Scope::Own;
                out.ok();
            }
            ConnectionCommand::Select | ConnectionCommand::Noop | ConnectionCommand::Quit => {
                out.ok()
            }
            ConnectionCommand::Client(client) => self.client(client, out),
        }
        Ok(())
    }

    fn hello(&mut self, hello: &Hello<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        if let Some((user, password)) = hello.auth {
            self.authenticate(user, password)?;
        }
        if !self.state.is_authenticated {
            return Err(Error::HelloWithoutAuth);
        }
        if let Some(name) = hello.name {
            self.client.lock().facts.name = text(name);
        }
        if let Some(protocol) = hello.protocol {
            self.state.protocol = protocol;
            out.switch(protocol);
        }
        client::hello(self.client.lock().facts.id, out);
        Ok(())
    }

    /// Compares a password with the cluster's secret. The reply to a wrong one is delayed, so that
    /// guessing is slow.
    fn authenticate(&mut self, user: &[u8], password: &[u8]) -> Result<(), Error> {
        let is_right =
            self.shared.secret.as_ref().is_none_or(|secret| secret.is_password(password));
        if is_right && user == USER {
            self.state.is_authenticated = true;
            return Ok(());
        }
        warn!("{}: a wrong password on the Redis port", self.served.peer);
        std::thread::sleep(SLOWED);
        Err(Error::WrongPassword)
    }

    fn client(&mut self, client: command::ClientCommand<'_>, out: &mut Replies<'_>) {
        match client {
            command::ClientCommand::Reply(reply_mode) => {
                // If replies are off they stay off.
                if self.state.reply_mode != ReplyMode::Off || reply_mode == ReplyMode::On {
                    self.state.reply_mode = reply_mode;
                }
                if reply_mode == ReplyMode::On {
                    out.ok();
                }
            }
            command::ClientCommand::Pause { ms, writes_only } => {
                self.shared.pause.begin(Duration::from_millis(ms), writes_only);
                out.ok();
            }
            command::ClientCommand::Unpause => {
                self.shared.pause.end();
                out.ok();
            }
            // No connection is ever blocked.
            command::ClientCommand::Unblock => out.integer(0),
            // It is handled by the caller, which can close connections.
            command::ClientCommand::Kill(_) => {}
            command::ClientCommand::Id => {
                out.integer(i64::try_from(self.client.lock().facts.id).unwrap_or(i64::MAX));
            }
            command::ClientCommand::GetName => {
                let name = self.client.lock().facts.name.clone();
                out.bulk_or_null(Some(name.as_bytes()).filter(|name| !name.is_empty()));
            }
            command::ClientCommand::SetName(name) => {
                self.client.lock().facts.name = text(name);
                out.ok();
            }
            command::ClientCommand::SetInfo(which, value) => {
                let facts = &mut self.client.lock().facts;
                match which {
                    InfoName::Library => facts.library = text(value),
                    InfoName::Version => facts.library_version = text(value),
                }
                out.ok();
            }
            command::ClientCommand::Info => {
                let facts = self.client.lock().described();
                out.verbatim(&format!("{}\n", ConnectionFacts { command: self.command, ..facts }));
            }
            command::ClientCommand::List(filter) => {
                let clients = self.shared.clients.described();
                out.verbatim(&client::list(clients.iter().filter(|facts| filter.admits(facts.id))));
            }
        }
    }
}

/// A text that was checked to be printable.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
