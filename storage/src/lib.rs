//! A storage node: it keeps records and answers for them.
//!
//! What it may answer, and what it does with a write, is decided by the rules ([`cluster::holdings`],
//! [`cluster::replica`]); this crate has the records and the threads:
//!
//! * [`table`]: the records in memory, one lock an arc of the ring;
//! * [`node`]: table, holdings and clock together, what every thread of a node shares, and how far
//!   each writer's writes are known to be done;
//! * [`requests`]: frames in, answers out, for each connection; [`coordinate`]: requests that any
//!   node takes and passes on to the real replicas, the original's format 0 among them;
//! * [`control`]: the connection to the manager, heartbeats out and views in;
//! * [`fetch`]: the threads that fetch ranges that this node is to keep and does not hold yet, at a
//!   [`rate`](fetch::rate_limit), [`arc`](fetch::arc) by arc; [`fetch::stats`] counts what comes;
//! * [`stale_cache`]: what the node held before it missed a view; [`fetch::digest`]: how a source
//!   is asked which of that is as good as its own;
//! * [`disk`]: the data folder: a log of what is stored, checkpoints, and reading them again;
//! * [`housekeeping`]: the thread that finishes what dead writers left, and drops old tombstones;
//! * [`redis`]: the Redis server, which speaks the protocol of [`resp`];
//! * [`snapshot_log`]: the writer thread, which tells in the log for people what is stored, after
//!   writes.
//!
//! [`Storage`] puts it together, for `main` and for tests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use cluster::durability::Durability;
use cluster::ids::{Address, Incarnation, NameError, NodeId};
use crossbeam_channel::Receiver;
use net_common::auth::Secret;
use net_common::server::{self, Server};
use net_common::worker::Worker;

pub mod args;
pub mod control;
pub mod coordinate;
pub mod disk;
pub mod fetch;
pub mod housekeeping;
pub mod node;
pub mod redis;
pub mod requests;
pub mod snapshot_log;
pub mod stale_cache;
pub mod table;

use control::{Control, Departure};
use disk::Disk;
use disk::folder::DataFolderError;
use fetch::Fetcher;
use fetch::rate_limit::RateLimit;
use node::Node;
use node::notes::Notes;
use redis::server::{Listeners, Servers};

/// What a node runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub label: NodeId,
    /// The host that others reach it by, and the port where that is not the listener's: behind a
    /// forwarder, say (`HOST` or `HOST:PORT`; `[::1]:PORT` for IPv6).
    pub advertise: String,
    /// Where the manager is.
    pub manager: Address,
    /// Its share of the ring in proportion to the others'.
    pub weight: Option<u32>,
    /// What peers are allowed.
    pub limits: server::Limits,
    /// Megabytes a second that it fetches from other nodes at most, 1 or more; `None`: as fast as
    /// it goes.
    pub transfer_mb_s: Option<u64>,
    /// Bytes that its records may take before it is full; `None`: no limit.
    pub max_memory: Option<u64>,
    /// How its Redis port behaves, if it has one.
    pub redis: redis::shared::RedisSettings,
    /// How it logs snapshots.
    pub snapshot: snapshot_log::SnapshotSettings,
    /// How it keeps what it holds on disk, if it does.
    pub disk: Option<disk::DiskSettings>,
    /// What the cluster is to promise, if it is to take part in no other.
    pub durability: Option<Durability>,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would tell others an address that is none.
    #[error("cannot advertise this address: {0}")]
    Advertise(#[from] NameError),
    /// Its data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// The operating system refuses.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A running node. Stops when dropped.
pub struct Storage {
    // In this order: the port refuses before the control connection ends, so that the manager,
    // which looks at both, need not wait for the node's lease.
    server: Server,
    redis: Option<Servers>,
    control: Control,
    fetcher: Fetcher,
    housekeeping: Worker,
    snapshot_log: Option<Worker>,
    /// Last: what the others store on their way out is written.
    disk: Option<Worker>,
    node: Arc<Node>,
}

impl Storage {
    /// Starts serving on a listener, and the Redis protocol on others if there are such; and, in
    /// the background, registering with the manager.
    ///
    /// # Errors
    /// [`StartError`]. That the manager cannot be reached is no error: it is tried again for ever.
    pub fn start(
        listener: TcpListener,
        redis: Option<Listeners>,
        config: Config,
    ) -> Result<Storage, StartError> {
        let port = listener.local_addr()?.port();
        let redis_port = redis.as_ref().map(Listeners::announced_port).transpose()?;
        let address = advertised(&config.advertise, port)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::from)?;
        let incarnation = Incarnation(u64::from_be_bytes(random));
        let name = config.label.to_string();

        let open = |settings| Disk::open(settings, &config.label);
        let mut disk = config.disk.map(open).transpose()?;
        let (notes, noted) = Notes::channel();
        let mut node = Node::new(config.label.clone(), incarnation, notes);
        if let Some(disk) = &mut disk {
            node = node.with_disk(disk.restore(incarnation));
        }
        let node = Arc::new(node);
        config.max_memory.into_iter().for_each(|bytes| node.limit_memory(bytes));
        let disk = disk.map(|disk| disk.start(incarnation, node.clone())).transpose()?;
        let snapshot_log = snapshot_log::start(node.clone(), config.snapshot, noted)?;
        let here = requests::in_place(node.clone(), address.clone());
        let coordinator =
            coordinate::Coordinator::new(config.manager.clone(), config.secret.clone(), here);
        let coordinator = Arc::new(coordinator);
        let open = requests::opener(node.clone(), coordinator.clone());
        let payload = node.payload_limit().clone();
        let limits = server::Limits { payload, ..config.limits };
        let secret = config.secret.clone();
        let server = Server::start(&name, listener, limits.clone(), secret.clone(), open)?;
        node.count_connections(Box::new(server.connection_count()));
        let serve = |listeners| {
            Servers::start(listeners, node.clone(), coordinator, secret, limits, config.redis)
        };
        let redis = redis.map(serve).transpose()?;
        let fetcher = Fetcher::start(
            node.clone(),
            RateLimit::new(config.transfer_mb_s),
            config.secret.clone(),
        )?;
        let housekeeping = housekeeping::start(node.clone(), config.secret.clone())?;
        let control = Control::start(
            node.clone(),
            control::ControlSettings {
                manager: config.manager,
                address,
                redis_port: redis_port.unwrap_or(0),
                weight: config.weight,
                durability: config.durability,
                secret: config.secret,
            },
            fetcher.wake(),
        )?;
        Ok(Storage { server, redis, control, fetcher, housekeeping, snapshot_log, disk, node })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it speaks the Redis protocol, if it does.
    pub fn redis_address(&self) -> Option<SocketAddr> {
        self.redis.as_ref().map(Servers::address)
    }

    /// Where cluster-aware Redis clients are sent, if they have a port of their own.
    pub fn redis_cluster_address(&self) -> Option<SocketAddr> {
        self.redis.as_ref().and_then(Servers::cluster_address)
    }

    /// The node's state, for tests and tools.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Says why this node's part in the cluster is over, if it comes to that.
    pub fn ended(&self) -> &Receiver<Departure> {
        self.control.ended()
    }

    /// Stops. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        // Rule L6: neither the port nor the control connection closes while there is a lease.
        self.node.give_up_lease();
        self.server.stop();
        if let Some(redis) = &mut self.redis {
            redis.stop();
        }
        self.control.stop();
        self.housekeeping.stop();
        self.fetcher.stop();
        self.snapshot_log.iter_mut().for_each(Worker::stop);
        self.disk.iter_mut().for_each(Worker::stop);
    }
}

/// The address to tell others. Colons without brackets, more than one, are an IPv6 host's own.
fn advertised(advertise: &str, port: u16) -> Result<Address, NameError> {
    if advertise.starts_with('[') || advertise.matches(':').count() == 1 {
        advertise.parse()
    } else {
        Address::new(advertise, port)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_advertise_another_port() {
        for (advertise, want) in [
            ("127.0.0.1", "127.0.0.1:6001"),
            ("::1", "[::1]:6001"),
            ("localhost:7", "localhost:7"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(advertised(advertise, 6001).unwrap().to_string(), want, "{advertise}");
        }
        assert!(advertised("host:x", 6001).is_err());
    }
}
