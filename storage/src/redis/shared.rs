//! The state that the connections of a node's Redis ports share.
//!
//! The node coordinates for its clients as any client of the cluster would, through
//! [`Coordinator`], so the guarantees are those of the native client, whichever node a client is
//! connected to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cluster::ids::Address;
use cluster::view::Routes;
use net_common::auth::Secret;
use net_common::server::{Counts, Limits};
use parking_lot::Mutex;
use resp::error::Error;

use super::clients::ClientRegistry;
use super::pause::Pause;
use super::topology::Picture;
use crate::coordinate::Coordinator;
use crate::node::Node;

/// The settings of the Redis ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedisSettings {
    /// Whether FLUSHALL and FLUSHDB may remove all keys of the cluster.
    pub may_flush: bool,
    /// How long a connection may be silent between two requests; `None`: for ever, as in Redis.
    /// Many clients report a connection that the server closes as an error.
    pub idle: Option<Duration>,
}

/// The keys that a node lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the whole cluster: for all clients.
    Cluster,
    /// Its own keys: for cluster-aware clients, which ask each node and add up.
    Own,
}

/// The state that the connections of a node's Redis ports share.
pub struct Shared {
    pub(super) node: Arc<Node>,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) secret: Option<Secret>,
    pub(super) limits: Limits,
    pub(super) settings: RedisSettings,
    /// The port for all clients.
    pub(super) port: u16,
    pub(super) started: Instant,
    pub(super) clients: ClientRegistry,
    pub(super) pause: Pause,
    pub(super) tally: Tally,
    counts: OnceLock<Vec<Box<ConnectionCount>>>,
    baseline: Mutex<Baseline>,
}

/// Counts a port's connections.
pub(super) type ConnectionCount = dyn Fn() -> Counts + Send + Sync;

/// Statistics since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commands executed.
    pub commands: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
    /// Reads that found something.
    pub hits: AtomicU64,
    /// Reads that found nothing.
    pub misses: AtomicU64,
}

/// The counters at the last reset of the statistics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Baseline {
    /// Connections.
    pub connections: Counts,
    /// Records that had expired.
    pub expired: u64,
}

impl Shared {
    /// The state of a node that is about to serve, at this port.
    pub fn new(
        port: u16,
        node: Arc<Node>,
        coordinator: Arc<Coordinator>,
        secret: Option<Secret>,
        limits: Limits,
        settings: RedisSettings,
    ) -> Shared {
        Shared {
            node,
            coordinator,
            secret,
            limits,
            settings,
            port,
            started: Instant::now(),
            clients: ClientRegistry::default(),
            pause: Pause::default(),
            tally: Tally::default(),
            counts: OnceLock::new(),
            baseline: Mutex::default(),
        }
    }

    /// Includes these ports' connections in the statistics.
    pub(super) fn count(&self, ports: Vec<Box<ConnectionCount>>) {
        // Set once, at start.
        let _ = self.counts.set(ports);
    }

    /// Connections of both ports.
    pub fn counts(&self) -> Counts {
        let counts = self.counts.get().into_iter().flatten().map(|count| count());
        counts.fold(Counts::default(), |one, other| Counts {
            open: one.open + other.open,
            served: one.served + other.served,
            turned_away: one.turned_away + other.turned_away,
        })
    }

    /// Resets the statistics.
    pub fn reset_statistics(&self) {
        *self.baseline.lock() =
            Baseline { connections: self.counts(), expired: self.node.expired_count() };
        let Tally { commands, input_bytes, output_bytes, hits, misses } = &self.tally;
        for counter in [commands, input_bytes, output_bytes, hits, misses] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The base of the statistics.
    pub(super) fn baseline(&self) -> Baseline {
        *self.baseline.lock()
    }

    /// The newest view on the node.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before the first.
    pub fn routes(&self) -> Result<Arc<Routes>, Error> {
        let none = || Error::Unavailable("this node has no view yet".into());
        self.node.routes().ok_or_else(none)
    }

    /// A view as cluster-aware clients see it.
    pub fn picture<'v>(&self, routes: &'v Routes) -> Picture<'v> {
        Picture::new(routes, self.node.id(), |id| {
            let member = &routes.view().members[routes.view().place_of(id)?];
            // Port 0 is invalid, and means that there is no Redis port.
            Address::new(member.address.host(), member.redis_port).ok()
        })
    }

    /// Length in bytes of the longest value that the cluster accepts.
    pub fn value_bytes(&self) -> usize {
        self.node.routes().map_or(0, |routes| routes.view().limits.value_bytes)
    }
}

/// The number of nodes that hold each key.
pub(super) fn copies(routes: &Routes) -> usize {
    routes.view().copies.min(routes.view().members.len())
}
