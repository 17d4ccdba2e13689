//! A storage node: it stores records and answers requests for them.
//!
//! The rules in [`cluster::holdings`] and [`cluster::replica`] decide what it may answer, and what
//! becomes of a write. This crate has the records and the threads:
//!
//! * [`table`]: the records in memory, with a lock for each arc of the ring;
//! * [`node`]: the state that all threads of a node share: table, holdings, clock and commit
//!   watermarks;
//! * [`requests`]: frames in, answers out, for each connection; [`coordinate`]: requests that any
//!   node accepts and sends to the replicas, among them the original's format 0;
//! * [`control`]: the connection to the manager, heartbeats out and views in;
//! * [`fetch`]: the threads that fetch this node's ranges, at a limited
//!   [`rate`](fetch::rate_limit), [`arc`](fetch::arc) by arc; [`fetch::stats`] counts transfers;
//! * [`stale_cache`]: records from before the node missed a view; [`fetch::digest`]: comparing them
//!   with a source's;
//! * [`disk`]: the data folder: a log of stored records, checkpoints, and recovery from them;
//! * [`housekeeping`]: the thread that finishes the records of dead writers, and drops old
//!   tombstones;
//! * [`redis`]: the Redis server, which speaks the protocol of [`resp`];
//! * [`snapshot_log`]: the writer thread, which logs the stored records for people, after writes.
//!
//! [`Storage`] combines them, for `main` and for tests.

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

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub label: NodeId,
    /// The host at which others reach it, with the port if that is not the listener's, for example
    /// behind a forwarder (`HOST` or `HOST:PORT`; `[::1]:PORT` for IPv6).
    pub advertise: String,
    /// The manager's address.
    pub manager: Address,
    /// Its share of the ring in proportion to the others'.
    pub weight: Option<u32>,
    /// Limits for peers.
    pub limits: server::Limits,
    /// The limit for transfers from other nodes, in megabytes a second, 1 or more; `None`: no
    /// limit.
    pub transfer_mb_s: Option<u64>,
    /// The memory limit of its records, in bytes; `None`: no limit.
    pub max_memory: Option<u64>,
    /// Settings of its Redis port, if it has one.
    pub redis: redis::shared::RedisSettings,
    /// Settings of snapshot lines.
    pub snapshot: snapshot_log::SnapshotSettings,
    /// Settings of its data folder, if it has one.
    pub disk: Option<disk::DiskSettings>,
    /// The durability that it requires of its cluster, if it requires one.
    pub durability: Option<Durability>,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address that it advertises is invalid.
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
    // Dropped in this order: the port closes before the control connection, so that the manager,
    // which checks both, need not wait for the node's lease.
    server: Server,
    redis: Option<Servers>,
    control: Control,
    fetcher: Fetcher,
    housekeeping: Worker,
    snapshot_log: Option<Worker>,
    /// After the other threads, so that their last records are written.
    disk: Option<Worker>,
    node: Arc<Node>,
}

impl Storage {
    /// Starts to serve on a listener, the Redis protocol on others if given, and registers with the
    /// manager in the background.
    ///
    /// # Errors
    /// [`StartError`]. A manager that cannot be reached is no error: the node tries forever.
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
            fetcher.signals(),
        )?;
        Ok(Storage { server, redis, control, fetcher, housekeeping, snapshot_log, disk, node })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The address of its Redis port, if it has one.
    pub fn redis_address(&self) -> Option<SocketAddr> {
        self.redis.as_ref().map(Servers::address)
    }

    /// The address of its port for cluster-aware Redis clients, if it has one.
    pub fn redis_cluster_address(&self) -> Option<SocketAddr> {
        self.redis.as_ref().and_then(Servers::cluster_address)
    }

    /// The node's state, for tests and tools.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Receives why this node has left the cluster, when it does.
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

/// The advertised address. More than one colon without brackets is an IPv6 host.
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
