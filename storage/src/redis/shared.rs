//! The Redis ports of a node: what all of their connections share.
//!
//! There are two, so that both kinds of clients are told what they expect. A client that knows of no cluster asks one node
//! for all keys; a cluster-aware one asks each node for its keys, and adds up. On a connection they cannot be told
//! apart: libraries ask one node who keeps which slots, and send the others nothing but requests. So this answer
//! names the second port, where a node lists what is told to be its own.
//!
//! The node coordinates for its clients as any client of the cluster would, through
//! [`Coordinator`], so what is said here holds as it holds for the native client, whichever node a
//! client talks to.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cluster::durability::Durability;
use cluster::ids::Address;
use cluster::view::Routes;
use net_common::auth::Secret;
use net_common::clock;
use net_common::server::{Counts, Limits, Served, Server};
use parking_lot::Mutex;

use super::link;
use super::pause::Pause;
use super::session::{Client, Session};
use super::topology::Picture;
use crate::coordinate::Coordinator;
use crate::node::Node;
use resp::config::{self, Sync};
use resp::error::Error;
use resp::{client, info};

/// How the Redis port behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether FLUSHALL and FLUSHDB may remove all keys of the cluster.
    pub may_flush: bool,
    /// How long a connection may be silent between two requests; `None`: for ever, as in Redis. Many clients
    /// take a connection that is closed for an error of their own.
    pub idle: Option<Duration>,
}

/// Which of the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For everybody: a node lists the keys of the whole cluster.
    Whole,
    /// For cluster-aware clients: it lists its own.
    Cluster,
}

/// Where to listen.
pub struct Listeners {
    /// For everybody.
    pub whole: TcpListener,
    /// For cluster-aware clients; `None`: they are sent to the same port.
    pub cluster: Option<TcpListener>,
}

impl Listeners {
    /// The port that cluster-aware clients are told.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn told(&self) -> io::Result<u16> {
        Ok(self.cluster.as_ref().unwrap_or(&self.whole).local_addr()?.port())
    }
}

/// The running ports. They stop when dropped.
pub struct Servers {
    whole: Server,
    cluster: Option<Server>,
}

impl Servers {
    /// Where everybody is served.
    pub fn address(&self) -> SocketAddr {
        self.whole.address()
    }

    /// Where cluster-aware clients are, if they have a port of their own.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(Server::address)
    }

    /// Stops both. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.whole.stop();
        self.cluster.iter_mut().for_each(Server::stop);
    }
}

/// What the connections of a node's Redis ports share.
pub struct Door {
    pub(super) node: Arc<Node>,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) secret: Option<Secret>,
    pub(super) limits: Limits,
    pub(super) settings: Settings,
    port: u16,
    started: Instant,
    counts: OnceLock<Vec<Box<Count>>>,
    pub(super) tally: Tally,
    /// What the connections' counts were when statistics began anew.
    before: Mutex<Counts>,
    /// What had expired then.
    expired_before: Mutex<u64>,
    pub(super) pause: Pause,
    next_client: AtomicU64,
    clients: Mutex<BTreeMap<u64, Arc<Mutex<Client>>>>,
}

/// What came of a CLIENT KILL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Killed {
    /// How many connections were meant.
    pub count: usize,
    /// Whether that which asks is one of them. It is not closed yet.
    pub is_own: bool,
}

/// Counts a port's connections.
type Count = dyn Fn() -> Counts + Send + std::marker::Sync;

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
    /// Starts serving.
    ///
    /// # Errors
    /// If the operating system has no threads to give.
    pub fn start(
        listeners: Listeners,
        node: Arc<Node>,
        coordinator: Arc<Coordinator>,
        secret: Option<Secret>,
        limits: Limits,
        settings: Settings,
    ) -> io::Result<Servers> {
        let Listeners { whole, cluster } = listeners;
        let name = format!("{} redis", node.id());
        let door = Arc::new(Door {
            node,
            coordinator,
            secret,
            limits,
            settings,
            port: whole.local_addr()?.port(),
            started: Instant::now(),
            counts: OnceLock::new(),
            tally: Tally::default(),
            before: Mutex::default(),
            expired_before: Mutex::default(),
            pause: Pause::default(),
            next_client: AtomicU64::new(1),
            clients: Mutex::default(),
        });
        let whole = door.clone().open(&name, whole, Kind::Whole)?;
        let cluster = cluster
            .map(|listener| door.clone().open(&format!("{name} cluster"), listener, Kind::Cluster))
            .transpose()?;
        let counts = [Some(&whole), cluster.as_ref()].into_iter().flatten();
        let counts = counts.map(|server| Box::new(server.counts()) as Box<Count>).collect();
        // Set once at start.
        let _ = door.counts.set(counts);
        Ok(Servers { whole, cluster })
    }

    fn open(self: Arc<Door>, name: &str, listener: TcpListener, kind: Kind) -> io::Result<Server> {
        let busy = format!("-{}\r\n", Error::TooManyClients).into_bytes();
        let limit = self.limits.connections;
        let serve = Box::new(move |served: &Served| self.serve(served, kind));
        Server::serving(name, listener, limit, busy, serve)
    }

    fn serve(&self, served: &Served, kind: Kind) -> io::Result<()> {
        let number = self.next_client.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Mutex::new(Client::new(served, number)));
        self.clients.lock().insert(number, client.clone());
        let session = Session::new(self, served, client, kind);
        let ended = session.and_then(|mut session| session.run());
        self.clients.lock().remove(&number);
        ended
    }

    /// Connections of both ports.
    fn counts(&self) -> Counts {
        let counts = self.counts.get().into_iter().flatten().map(|count| count());
        counts.fold(Counts::default(), |one, other| Counts {
            open: one.open + other.open,
            served: one.served + other.served,
            turned_away: one.turned_away + other.turned_away,
        })
    }

    /// What is known of each connection, in the order in which they began.
    pub fn clients(&self) -> Vec<client::Facts> {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        clients.iter().map(|client| client.lock().told()).collect()
    }

    /// Closes connections that are meant, but for the own one.
    pub fn kill(&self, own: u64, is_meant: impl Fn(&client::Facts) -> bool) -> Killed {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        let mut killed = Killed::default();
        for client in clients {
            let client = client.lock();
            if !is_meant(&client.facts) {
                continue;
            }
            killed.count += 1;
            if client.facts.id == own {
                killed.is_own = true;
                continue;
            }
            client.close();
            // It counts no more from now on, though its thread has yet to notice.
            let id = client.facts.id;
            drop(client);
            self.clients.lock().remove(&id);
        }
        killed
    }

    /// Since when it has its records, in seconds since 1970.
    pub fn last_save_s(&self) -> i64 {
        let started_ms =
            || clock::wall_ms().saturating_sub(self.started.elapsed().as_millis() as u64);
        let imaged_s = self.node.journal().checkpointed_s();
        i64::try_from(imaged_s.unwrap_or_else(|| started_ms() / 1000)).unwrap_or(i64::MAX)
    }

    /// Lets statistics begin at 0.
    pub fn forget_counts(&self) {
        *self.before.lock() = self.counts();
        *self.expired_before.lock() = self.node.expired_count();
        let Tally { commands, input_bytes, output_bytes, hits, misses } = &self.tally;
        for counter in [commands, input_bytes, output_bytes, hits, misses] {
            counter.store(0, Ordering::Relaxed);
        }
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
    pub fn picture<'v>(&self, routes: &'v Routes) -> Picture<'v> {
        Picture::new(routes, self.node.id(), |id| {
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
            sync: match self.node.durability() {
                Durability::None => Sync::Never,
                Durability::Async => Sync::EverySecond,
                Durability::Sync => Sync::Always,
            },
        }
    }

    /// What there is to tell of the node.
    pub fn info(&self) -> info::Facts {
        let (counts, before) = (self.counts(), *self.before.lock());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let routes = self.node.routes();
        let own = routes.as_ref().map(|routes| self.picture(routes).own_arcs());
        let (keys, expiring_keys) = self.node.count_keys(&own.unwrap_or_default());
        let journal = self.node.journal();
        let is_durable = self.node.durability() != Durability::None;
        let held = self.node.size().keys;
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
            blocked_clients: self.pause.waiting(),
            used_memory: self.node.memory().0,
            resident_memory: resident_memory(),
            max_memory: self.node.memory().1.unwrap_or(0),
            disk: is_durable.then(|| info::Disk {
                is_written: journal.trouble().is_none(),
                is_imaged: journal.strain(self.node.size().bytes).is_none(),
                is_imaging: journal.is_checkpointing(),
                last_save_s: self.last_save_s(),
            }),
            total_connections: counts.served.saturating_sub(before.served),
            rejected_connections: counts.turned_away.saturating_sub(before.turned_away),
            total_commands: count(&self.tally.commands),
            input_bytes: count(&self.tally.input_bytes),
            output_bytes: count(&self.tally.output_bytes),
            expired_keys: self.node.expired_count().saturating_sub(*self.expired_before.lock()),
            hits: count(&self.tally.hits),
            misses: count(&self.tally.misses),
            keys,
            expiring_keys,
            held_keys: held,
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
