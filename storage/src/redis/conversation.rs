//! What a connection has said so far, and the answers to what is not about keys.
//!
//! Requests that are about keys go through a [`Batch`]; all others are answered here, by what the node
//! knows of itself, of the cluster and of its connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::text::count;
use cluster::view::View;
use log::{debug, warn};
use net_common::auth::SLOWED;
use net_common::clock;
use net_common::server::Served;
use parking_lot::Mutex;

use super::batch::Batch;
use super::listing::{self, Listing};
use super::shared::{self, Door};
use super::{session, topology, translate};
use resp::args::Args;
use resp::client::{self, Facts};
use resp::command::{Client, Cluster, Command, Connection, Heard, Hello, InfoName, Kill, Server};
use resp::error::Error;
use resp::lolwut::Ring;
use resp::reply::{Protocol, Replies};
use resp::spec::Flags;
use resp::topology::Health;
use resp::transaction::Transaction;
use resp::{docs, info, lookup};
use session::Next;

/// The only user there is.
const USER: &[u8] = b"default";

/// One connection's conversation.
pub struct Talk<'s> {
    door: &'s Door,
    served: &'s Served,
    client: Arc<Mutex<session::Client>>,
    protocol: Protocol,
    /// Whether it has shown the password, or need not.
    is_known: bool,
    /// Nodes that hold what it has written last.
    copies: Option<usize>,
    /// The last command.
    command: &'static str,
    /// Whether it is a cluster-aware client's: such a one asks each node for what is its own.
    is_of_cluster: bool,
    kind: shared::Kind,
    /// Which answers it hears.
    heard: Heard,
    transaction: Transaction,
}

impl<'s> Talk<'s> {
    /// One that has just begun.
    pub fn new(
        door: &'s Door,
        served: &'s Served,
        client: Arc<Mutex<session::Client>>,
        kind: shared::Kind,
    ) -> Talk<'s> {
        let (protocol, is_known) = (Protocol::default(), door.secret.is_none());
        Talk {
            door,
            served,
            client,
            protocol,
            is_known,
            copies: None,
            command: "",
            kind,
            is_of_cluster: kind == shared::Kind::Cluster,
            heard: Heard::All,
            transaction: Transaction::default(),
        }
    }

    /// Whether the peer may do everything.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The protocol that it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Tells what others may know.
    pub fn describe(&self, facts: &mut Facts) {
        facts.command = self.command;
        facts.protocol = self.protocol;
        facts.queued = self.transaction.queued();
    }

    /// Longest value that the cluster takes.
    pub fn value_bytes(&self) -> usize {
        self.door.value_bytes()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Error`], also where the peer has yet to show the password.
    pub fn read<'b>(&mut self, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
        let found = lookup::find(args).and_then(|spec| {
            self.command = spec.name;
            debug!(
                "{}: {} with {}",
                self.served.peer,
                spec.name,
                count(args.len().saturating_sub(1), "argument")
            );
            let is_allowed = self.is_known || spec.flags.has(Flags::NO_AUTH);
            if is_allowed { Ok(spec) } else { Err(Error::NoAuth) }
        });
        self.transaction.parse(found, args, now_ms)
    }

    /// Carries a batch out and empties it. Where the answers become many, `send` takes them away.
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
        let client = || self.door.coordinator.client();
        let (start, is_heard) = (out.len(), self.heard != Heard::None);
        let send = |out: &mut Vec<u8>| {
            if is_heard {
                send(out)
            } else {
                out.truncate(start);
                Ok(())
            }
        };
        let mut replies = Replies::new(out, self.protocol);
        let node = Some(&*self.door.node);
        let told = batch.run(node, client, &clock::wall_ms, &mut replies, send)?;
        self.copies = told.copies.or(self.copies);
        self.door.tally.hits.fetch_add(told.hits, Ordering::Relaxed);
        self.door.tally.misses.fetch_add(told.misses, Ordering::Relaxed);
        if !is_heard {
            out.truncate(start);
        }
        Ok(())
    }

    /// Answers a command that is not for a [`Batch`].
    pub(super) fn answer(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> Next {
        let (start, was_heard) = (out.len(), self.heard);
        let next = self.answer_aloud(command, out);
        // What ends the silence is heard.
        if was_heard == Heard::None && self.heard == Heard::None {
            out.truncate(start);
        }
        next
    }

    fn answer_aloud(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> Next {
        let start = out.len();
        let mut replies = Replies::new(out, self.protocol);
        let mut next = Next::Go;
        let answered = match command {
            Command::Connection(Connection::Quit) => {
                replies.ok();
                return Next::Close;
            }
            Command::Connection(Connection::Client(Client::Kill(kill))) => {
                self.kill(kill, &mut replies).map(|then| next = then)
            }
            Command::Connection(connection) => self.connection(connection, &mut replies),
            Command::Server(server) => self.server(server, &mut replies),
            Command::Cluster(cluster) => self.cluster(cluster, &mut replies),
            Command::Transaction(said) => self.transaction.answer(said, &mut replies),
            Command::Wait => self.wait(&mut replies),
            command => self.list(command, &mut replies),
        };
        if let Err(error) = answered {
            out.truncate(start);
            Replies::new(out, self.protocol).error(&error.to_string());
        }
        next
    }

    /// Whether the next request's answer is not to be heard; asked once for each request.
    pub fn takes_skip(&mut self) -> bool {
        let skips = self.heard == Heard::NotTheNext;
        if skips {
            self.heard = Heard::All;
        }
        skips
    }

    /// Closes connections.
    fn kill(&self, kill: &Kill<'_>, out: &mut Replies<'_>) -> Result<Next, Error> {
        let own = self.client.lock().facts.id;
        let is_meant = |facts: &Facts| {
            kill.is_normal
                && kill.id.is_none_or(|id| id == facts.id)
                && kill.peer.is_none_or(|peer| peer == facts.peer.as_bytes())
                && kill.local.is_none_or(|local| local == facts.local.as_bytes())
                && !(kill.spares_me && facts.id == own)
        };
        let killed = self.door.kill(own, is_meant);
        match (kill.is_one, killed.count) {
            (true, 0) => return Err(Error::NoClient),
            (true, _) => out.ok(),
            (false, count) => out.count(count),
        }
        Ok(if killed.is_own { Next::Close } else { Next::Go })
    }

    fn list(&self, command: &Command<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        let client = self.door.coordinator.client().map_err(|e| translate::refusal(&e))?;
        let own = if self.is_of_cluster {
            Some(self.door.picture(&*self.door.routes()?).own_arcs())
        } else {
            None
        };
        let listing = Listing { client: &client, arcs: own.as_ref() };
        listing::answer(command, &listing, self.door.settings.may_flush, out)
    }

    fn wait(&self, out: &mut Replies<'_>) -> Result<(), Error> {
        let routes = self.door.routes()?;
        let copies = self.copies.unwrap_or_else(|| shared::copies(&routes));
        out.count(copies.saturating_sub(1));
        Ok(())
    }

    fn connection(
        &mut self,
        connection: &Connection<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        match *connection {
            Connection::Ping(None) => out.simple("PONG"),
            Connection::Ping(Some(text)) | Connection::Echo(text) => out.bulk(text),
            Connection::Hello(hello) => self.hello(&hello, out)?,
            Connection::Auth { user, password } => {
                if user.is_none() && self.door.secret.is_none() {
                    return Err(Error::NoPassword);
                }
                self.authenticate(user.unwrap_or(USER), password)?;
                out.ok();
            }
            Connection::Reset => {
                self.is_known = self.door.secret.is_none();
                self.protocol = Protocol::default();
                self.transaction = Transaction::default();
                self.is_of_cluster = self.kind == shared::Kind::Cluster;
                self.heard = Heard::All;
                self.client.lock().facts.name.clear();
                out.switch(self.protocol);
                out.simple("RESET");
            }
            Connection::ReadOnly => {
                self.is_of_cluster = true;
                out.ok();
            }
            Connection::Select | Connection::Noop | Connection::Quit => out.ok(),
            Connection::Client(client) => self.client(client, out),
        }
        Ok(())
    }

    fn hello(&mut self, hello: &Hello<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        if let Some((user, password)) = hello.auth {
            self.authenticate(user, password)?;
        }
        if !self.is_known {
            return Err(Error::HelloWithoutAuth);
        }
        if let Some(name) = hello.name {
            self.client.lock().facts.name = text(name);
        }
        if let Some(protocol) = hello.protocol {
            self.protocol = protocol;
            out.switch(protocol);
        }
        client::hello(self.client.lock().facts.id, out);
        Ok(())
    }

    /// Holds a password against the cluster's secret. A wrong one is answered late, so that guessing is
    /// slow.
    fn authenticate(&mut self, user: &[u8], password: &[u8]) -> Result<(), Error> {
        let is_right = self.door.secret.as_ref().is_none_or(|secret| secret.is_password(password));
        if is_right && user == USER {
            self.is_known = true;
            return Ok(());
        }
        warn!("{}: a wrong password on the Redis port", self.served.peer);
        std::thread::sleep(SLOWED);
        Err(Error::WrongPassword)
    }

    fn client(&mut self, client: Client<'_>, out: &mut Replies<'_>) {
        match client {
            Client::Reply(heard) => {
                // What hears nothing goes on to.
                if self.heard != Heard::None || heard == Heard::All {
                    self.heard = heard;
                }
                if heard == Heard::All {
                    out.ok();
                }
            }
            Client::Pause { ms, writes_only } => {
                self.door.pause.begin(Duration::from_millis(ms), writes_only);
                out.ok();
            }
            Client::Unpause => {
                self.door.pause.end();
                out.ok();
            }
            // None is ever blocked.
            Client::Unblock => out.integer(0),
            // It is answered where connections may close.
            Client::Kill(_) => {}
            Client::Id => {
                out.integer(i64::try_from(self.client.lock().facts.id).unwrap_or(i64::MAX));
            }
            Client::GetName => {
                let name = self.client.lock().facts.name.clone();
                out.bulk_or_null(Some(name.as_bytes()).filter(|name| !name.is_empty()));
            }
            Client::SetName(name) => {
                self.client.lock().facts.name = text(name);
                out.ok();
            }
            Client::SetInfo(which, value) => {
                let facts = &mut self.client.lock().facts;
                match which {
                    InfoName::Library => facts.library = text(value),
                    InfoName::Version => facts.library_version = text(value),
                }
                out.ok();
            }
            Client::Info => {
                let told = self.client.lock().told();
                out.verbatim(&format!("{}\n", Facts { command: self.command, ..told }));
            }
            Client::List(filter) => {
                let clients = self.door.clients();
                out.verbatim(&client::list(clients.iter().filter(|facts| filter.lets(facts.id))));
            }
        }
    }

    fn server(&self, server: &Server<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        match *server {
            Server::Commands => docs::all(out),
            Server::CommandCount => docs::count(out),
            Server::CommandInfo(names) => docs::info(names, out),
            Server::CommandDocs(names) => docs::docs(names, out),
            Server::CommandKeys(request) => docs::keys(request, out)?,
            Server::CommandNames(of) => docs::names(of, out),
            Server::Help(family) => docs::help(family, out),
            Server::ResetStatistics => {
                self.door.forget_counts();
                out.ok();
            }
            Server::LastSave => out.integer(self.door.last_save_s()),
            Server::Modules => out.array(0),
            Server::ConfigGet(patterns) => self.door.config().get(patterns, out),
            Server::Info(sections) => {
                out.verbatim(&info::text(&self.door.info(), sections.iter()));
            }
            Server::Time => client::time(clock::wall_ms() * 1000, out),
            Server::Role => client::role(out),
            Server::LolWut => {
                let ring = ring(self.door.routes()?.view());
                out.verbatim(&ring.text(env!("CARGO_PKG_VERSION")));
            }
        }
        Ok(())
    }

    fn cluster(&mut self, cluster: &Cluster<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        self.is_of_cluster |= matches!(cluster, Cluster::Slots | Cluster::Shards | Cluster::Nodes);
        let routes = self.door.routes()?;
        let picture = self.door.picture(&routes);
        match *cluster {
            Cluster::Slots => picture.topology().slots(out),
            Cluster::Shards => picture.topology().shards(out),
            Cluster::Nodes => out.verbatim(&picture.topology().nodes_text()),
            Cluster::Info => {
                // Where there is no manager the node's lease, which it renews, has to do.
                let client = self.door.coordinator.client();
                let lost = client.and_then(|client| client.lost()).unwrap_or_default();
                let is_member = routes.view().place_of(self.door.node.id()).is_some();
                let serves =
                    !routes.view().arcs.is_empty() && (self.door.node.has_lease() || !is_member);
                let lost_slots = lost.count_ones(..) * picture.slots_of_arc();
                out.verbatim(&picture.topology().info_text(Health { serves, lost_slots }));
            }
            Cluster::MyId => {
                out.text(&topology::node_id(routes.view().cluster, self.door.node.id()));
            }
            Cluster::KeySlot(key) => out.integer(i64::from(cluster::slot::slot(key))),
            Cluster::CountKeysInSlot(slot) => out.count(self.door.node.keys_in_slot(slot)),
        }
        Ok(())
    }
}

/// What was checked to be printable.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What LOLWUT draws.
fn ring(view: &View) -> Ring {
    Ring {
        nodes: view.members.iter().map(|member| member.id.to_string()).collect(),
        copies: view.copies,
        owners: view.arcs.iter().map(|&owner| usize::from(owner)).collect(),
    }
}
