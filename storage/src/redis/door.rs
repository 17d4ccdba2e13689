//! The Redis port of a node: what all of its connections share.
//!
//! The node coordinates for its clients as any client of the cluster would, through
//! [`Coordinator`], so what is said here holds as it holds for the native client, whichever node a
//! client talks to.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cluster::ids::Address;
use cluster::view::Routes;
use net_common::auth::Secret;
use net_common::clock;
use net_common::server::{Counts, Limits, Served, Server};
use parking_lot::Mutex;

use super::config::{self, Sync};
use super::error::Error;
use super::session::{Client, Session};
use super::topology::Topology;
use super::{client, info, link};
use crate::coordinate::Coordinator;
use crate::node::Node;

/// How the Redis port behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether FLUSHALL and FLUSHDB may remove all keys of the cluster.
    pub may_flush: bool,
    /// How long a connection may be silent between two requests; `None`: for ever, as in Redis. Many clients
    /// take a connection that is closed for an error of their own.
    pub idle: Option<Duration>,
}

/// What the connections of one Redis port share.
pub struct Door {
    pub(super) node: Arc<Node>,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) secret: Option<Secret>,
    pub(super) limits: Limits,
    pub(super) settings: Settings,
    port: u16,
    started: Instant,
    counts: OnceLock<Box<dyn Fn() -> Counts + Send + std::marker::Sync>>,
    pub(super) tally: Tally,
    clients: Mutex<BTreeMap<u64, Arc<Mutex<Client>>>>,
}

/// What has been done since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commands.
    pub commands: AtomicU64,
    /// Bytes that came.
    pub input_bytes: AtomicU64,
    /// Bytes that went.
    pub output_bytes: AtomicU64,
    /// Reads that found something.
    pub hits: AtomicU64,
    /// Reads that found nothing.
    pub misses: AtomicU64,
}

impl Door {
    /// Starts serving on a listener.
    ///
    /// # Errors
    /// If the operating system has no threads to give.
    pub fn start(
        listener: TcpListener,
        node: Arc<Node>,
        coordinator: Arc<Coordinator>,
        secret: Option<Secret>,
        limits: Limits,
        settings: Settings,
    ) -> io::Result<Server> {
        let name = format!("{} redis", node.id());
        let limit = limits.connections;
        let door = Arc::new(Door {
            node,
            coordinator,
            secret,
            limits,
            settings,
            port: listener.local_addr()?.port(),
            started: Instant::now(),
            counts: OnceLock::new(),
            tally: Tally::default(),
            clients: Mutex::default(),
        });
        let busy = format!("-{}\r\n", Error::TooManyClients).into_bytes();
        let serve = {
            let door = door.clone();
            Box::new(move |served: &Served| door.serve(served))
        };
        let server = Server::serving(&name, listener, limit, busy, serve)?;
        // Set once at start.
        let _ = door.counts.set(Box::new(server.counts()));
        Ok(server)
    }

    fn serve(&self, served: &Served) -> io::Result<()> {
        let client = Arc::new(Mutex::new(Client::new(served)));
        self.clients.lock().insert(served.number, client.clone());
        let ended = Session::new(self, served, client).and_then(|mut session| session.run());
        self.clients.lock().remove(&served.number);
        ended
    }

    /// What is known of each connection, in the order in which they began.
    pub fn clients(&self) -> Vec<client::Facts> {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        clients.iter().map(|client| client.lock().told()).collect()
    }

    /// The newest view that the node has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before the first.
    pub fn routes(&self) -> Result<Arc<Routes>, Error> {
        let none = || Error::Unavailable("this node has not been told yet who serves".into());
        self.node.routes().ok_or_else(none)
    }

    /// A view as cluster-aware clients see it.
    pub fn topology<'v>(&self, routes: &'v Routes) -> Topology<'v> {
        Topology::new(routes, self.node.id(), |id| {
            let member = &routes.view().members[routes.view().place_of(id)?];
            // Port 0 is no address's, and says that there is none.
            Address::new(member.address.host(), member.redis_port).ok()
        })
    }

    /// Longest value that the cluster takes, in bytes.
    pub fn value_bytes(&self) -> usize {
        self.node.routes().map_or(0, |routes| routes.view().limits.value_bytes)
    }

    /// What is configured.
    pub fn config(&self) -> config::Settings {
        config::Settings {
            max_memory: self.node.memory().1.unwrap_or(0),
            max_clients: self.limits.connections as u64,
            port: self.port,
            // 0 would be for ever.
            idle_timeout_s: self.settings.idle.map_or(0, |idle| idle.as_secs().max(1)),
            keepalive_s: link::KEEPALIVE.as_secs(),
            value_bytes: self.value_bytes(),
            sync: Sync::Never,
        }
    }

    /// What there is to tell of the node.
    pub fn info(&self) -> info::Facts {
        let counts = self.counts.get().map(|count| count()).unwrap_or_default();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let size = self.node.size();
        let routes = self.node.routes();
        info::Facts {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.id().to_string(),
            run_id: format!("{:040x}", self.node.incarnation().0),
            process: std::process::id(),
            port: self.port,
            uptime_s: self.started.elapsed().as_secs(),
            now_us: clock::wall_ms() * 1000,
            is_loading: routes.as_ref().is_none_or(|routes| routes.view().arcs.is_empty()),
            clients: counts.open as u64,
            max_clients: self.limits.connections as u64,
            used_memory: self.node.memory().0,
            resident_memory: resident_memory(),
            max_memory: self.node.memory().1.unwrap_or(0),
            is_durable: false,
            total_connections: counts.served,
            rejected_connections: counts.turned_away,
            total_commands: count(&self.tally.commands),
            input_bytes: count(&self.tally.input_bytes),
            output_bytes: count(&self.tally.output_bytes),
            expired_keys: 0,
            hits: count(&self.tally.hits),
            misses: count(&self.tally.misses),
            keys: size.keys,
            expiring_keys: 0,
            copies: routes.map_or(0, |routes| copies(&routes).saturating_sub(1) as u64),
        }
    }
}

/// How many nodes hold each key.
pub(super) fn copies(routes: &Routes) -> usize {
    routes.view().copies.min(routes.view().members.len())
}

/// Bytes of memory that the process has, where Linux tells.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
