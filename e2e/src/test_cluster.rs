//! A cluster in this process.

mod records;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use client::{Config, GTStoreClient};
use cluster::durability::Durability;
use cluster::ids::{Address, NodeId};
use cluster::limits::Limits;
use cluster::membership::{Level, NodeState, Settings};
use harness::proxy::{NetworkFault, Proxy};
use manager::Manager;
use manager::requested::RequestedSettings;
use net_common::auth::Secret;
use net_common::bind;
use net_common::connection::Dial;
use net_common::frame::PayloadLimit;
use net_common::message::control::Status;
use net_common::server;
use storage::Storage;
use storage::disk;
use storage::redis::server::Listeners;
use tempfile::TempDir;

use crate::wait::{PATIENCE, wait_until};
pub use records::ReplicaRecord;

/// The configuration of a test cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes to start with.
    pub nodes: usize,
    /// Copies of each key (K).
    pub copies: usize,
    /// Milliseconds between heartbeats; a node that misses three is out.
    pub heartbeat_ms: u64,
    /// Arcs of the ring. Fewer than by default, so that debug builds assign them fast.
    pub arcs: usize,
    /// Limits on keys and values.
    pub limits: Limits,
    /// Fewest synced copies that a write must reach.
    pub min_copies: usize,
    /// The nodes' limits for their peers.
    pub peers: server::Limits,
    /// The cluster's secret.
    pub secret: Option<Secret>,
    /// Whether the nodes also speak the Redis protocol.
    pub has_redis: bool,
    /// How long a connection to the Redis port may be silent.
    pub redis_idle: Option<Duration>,
    /// Whether the manager saves its views.
    pub is_saved: bool,
    /// Whether all connections to each node go through a [`Proxy`], and its connection to the
    /// manager through another.
    pub is_proxied: bool,
    /// Megabytes a second that a node fetches at most: gives tests time in the middle of a change.
    pub transfer_mb_s: Option<u64>,
    /// Whether the nodes keep their records on disk, each in a folder of its own, across restarts.
    pub durability: Durability,
    /// Most bytes of a node's records.
    pub max_memory: Option<u64>,
    /// How long arcs stay with their new owners after a loss, in milliseconds.
    pub rebalance_ms: u64,
    /// Whether the manager takes a refusing port as proof that the process has terminated.
    pub trusts_refused: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            nodes: 3,
            copies: 2,
            heartbeat_ms: 200,
            arcs: 256,
            limits: Limits::default(),
            min_copies: 1,
            peers: server::Limits::default(),
            secret: None,
            has_redis: false,
            redis_idle: None,
            is_saved: true,
            is_proxied: false,
            transfer_mb_s: None,
            durability: Durability::None,
            max_memory: None,
            rebalance_ms: 300_000,
            trusts_refused: true,
        }
    }
}

/// A manager and nodes. All of them stop when it is dropped.
pub struct TestCluster {
    options: Options,
    // Nodes stop before the manager, so that they do not try to reconnect.
    nodes: Vec<TestNode>,
    manager: Option<Manager>,
    manager_address: SocketAddr,
    data: TempDir,
}

struct TestNode {
    name: NodeId,
    address: SocketAddr,
    redis: Option<SocketAddr>,
    running: Option<Storage>,
    proxy: Option<Proxy>,
    to_manager: Option<Proxy>,
}

/// A listener on a free port of loopback.
fn any_port() -> TcpListener {
    bind::listen("127.0.0.1", 0, false).expect("there is a free port")
}

/// The Redis ports; the view names a separate one for cluster-aware clients.
fn listeners(whole: TcpListener) -> Listeners {
    Listeners { whole, cluster: Some(any_port()) }
}

/// A listener on a port that this process had before. Another process's outgoing connection may
/// have it for a moment.
fn same_port(address: SocketAddr) -> TcpListener {
    wait_until("the port is free again", || {
        bind::listen("127.0.0.1", address.port(), false).map_err(|e| e.to_string())
    })
}

fn proxy(listener: TcpListener, target: SocketAddr) -> Proxy {
    Proxy::alone(listener, target).expect("there are threads")
}

fn to_address(address: SocketAddr) -> Address {
    address.to_string().parse().expect("a socket's address is one")
}

/// The name of the node with this number, counted from 0.
fn name(number: usize) -> NodeId {
    NodeId::new(&format!("node{}", number + 1)).expect("a good name")
}

impl TestCluster {
    /// A healthy cluster with this many nodes and copies.
    pub fn start(nodes: usize, copies: usize) -> TestCluster {
        TestCluster::with(Options { nodes, copies, ..Options::default() })
    }

    /// A healthy cluster.
    pub fn with(options: Options) -> TestCluster {
        let mut cluster = TestCluster::without_nodes(options);
        for _ in 0..cluster.options.nodes {
            cluster.add_node();
        }
        cluster.wait_until_well();
        cluster
    }

    /// A manager without nodes.
    pub fn without_nodes(options: Options) -> TestCluster {
        let mut cluster = TestCluster::without_manager(options);
        cluster.start_manager();
        cluster
    }

    /// Neither manager nor nodes; only the manager's future address is known.
    pub fn without_manager(options: Options) -> TestCluster {
        let manager_address = any_port().local_addr().expect("a listener has an address");
        let data = tempfile::tempdir().expect("there is room for a folder");
        TestCluster { options, nodes: Vec::new(), manager: None, manager_address, data }
    }

    /// The address of the manager, now or later.
    pub fn manager_address(&self) -> SocketAddr {
        self.manager_address
    }

    /// The address of a node; with proxies, that of its proxy.
    pub fn node_address(&self, number: usize) -> SocketAddr {
        self.nodes[number].address
    }

    /// The address of a node's Redis port.
    ///
    /// # Panics
    /// If the cluster was started without Redis ports.
    pub fn redis_address(&self, number: usize) -> SocketAddr {
        self.nodes[number].redis.expect("the cluster was started with Redis ports")
    }

    /// The address that a running node gives to cluster-aware Redis clients.
    ///
    /// # Panics
    /// If it has no such port.
    pub fn redis_cluster_address(&self, number: usize) -> SocketAddr {
        self.node(number).redis_cluster_address().expect("it has such a port")
    }

    /// A node's name.
    pub fn node_name(&self, number: usize) -> NodeId {
        self.nodes[number].name.clone()
    }

    /// The number of the node with this name.
    pub fn number_of(&self, name: &NodeId) -> usize {
        self.nodes.iter().position(|node| node.name == *name).expect("a node of this cluster")
    }

    /// The numbers of the running nodes.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&n| self.nodes[n].running.is_some()).collect()
    }

    /// A running node.
    pub fn node(&self, number: usize) -> &Storage {
        self.nodes[number].running.as_ref().expect("it runs")
    }

    /// A node's proxy.
    pub fn proxy(&self, number: usize) -> &Proxy {
        self.nodes[number].proxy.as_ref().expect("the cluster was started with proxies")
    }

    /// Applies this fault to all of a node's traffic, except for its own connections to other
    /// nodes.
    ///
    /// # Panics
    /// If the cluster was started without proxies.
    pub fn set_fault(&self, number: usize, fault: NetworkFault) {
        let node = &self.nodes[number];
        for proxy in [&node.proxy, &node.to_manager] {
            proxy.as_ref().expect("the cluster was started with proxies").set(fault);
        }
    }

    /// Applies this fault between a node and the manager only.
    ///
    /// # Panics
    /// If the cluster was started without proxies.
    pub fn set_manager_fault(&self, number: usize, fault: NetworkFault) {
        let proxy = self.nodes[number].to_manager.as_ref();
        proxy.expect("the cluster was started with proxies").set(fault);
    }

    /// The heartbeat interval for the next start of the manager.
    pub fn ask_for_heartbeats(&mut self, heartbeat_ms: u64) {
        self.options.heartbeat_ms = heartbeat_ms;
    }

    /// The manager's folder.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("manager")
    }

    /// Starts the manager at its previous address.
    pub fn start_manager(&mut self) {
        self.start_manager_asking(RequestedSettings::default());
    }

    /// The same with additional flags.
    pub fn start_manager_asking(&mut self, asked: RequestedSettings) {
        let Options { heartbeat_ms, copies, arcs, limits, min_copies, rebalance_ms, .. } =
            self.options;
        let config = manager::Config {
            settings: Settings {
                heartbeat_ms,
                missed: 3,
                arcs,
                copies,
                limits,
                min_copies,
                durability: self.options.durability,
                rebalance_ms,
                return_ms: 5_000,
            },
            asked,
            trusts_refused: self.options.trusts_refused,
            limits: server::Limits::default(),
            secret: self.options.secret.clone(),
            data: self.options.is_saved.then(|| self.data()),
        };
        let listener = same_port(self.manager_address);
        self.manager = Some(Manager::start(listener, config).expect("it starts"));
    }

    /// The reason why the manager must exit, once it reports one.
    pub fn manager_ended(&self) -> Option<String> {
        self.manager.as_ref().expect("it runs").ended().try_recv().ok()
    }

    /// Stops the manager.
    pub fn stop_manager(&mut self) {
        self.manager = None;
    }

    /// Starts another node. Returns its number.
    pub fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        let listener = any_port();
        let address = listener.local_addr().expect("a listener has an address");
        let manager = self.manager_address;
        let to_manager = self.options.is_proxied.then(|| proxy(any_port(), manager));
        let name = name(number);
        let redis = self.options.has_redis.then(any_port);
        self.nodes.push(TestNode {
            name,
            address,
            redis: redis.as_ref().map(|l| l.local_addr().expect("a listener has an address")),
            running: None,
            proxy: None,
            to_manager,
        });
        self.run_node(number, listener, redis);
        number
    }

    /// Starts a node again at its previous address.
    pub fn start_node(&mut self, number: usize) {
        let listener = same_port(self.nodes[number].address);
        let redis = self.nodes[number].redis.map(same_port);
        self.run_node(number, listener, redis);
    }

    fn run_node(&mut self, number: usize, listener: TcpListener, redis: Option<TcpListener>) {
        let node = &mut self.nodes[number];
        if self.options.is_proxied && node.proxy.is_none() {
            // The same port at another address of loopback: the node advertises a host, and peers
            // assume the listener's port.
            let front = bind::listen("127.0.0.2", node.address.port(), true).expect("it is free");
            node.proxy = Some(proxy(front, node.address));
        }
        let node = &self.nodes[number];
        let mut config = self.node_config(&node.name);
        if let Some(proxy) = &node.to_manager {
            config.manager = to_address(proxy.address());
        }
        let storage = Storage::start(listener, redis.map(listeners), config).expect("it starts");
        self.nodes[number].running = Some(storage);
    }

    /// The configuration of a node of this cluster.
    pub fn node_config(&self, name: &NodeId) -> storage::Config {
        storage::Config {
            label: name.clone(),
            advertise: if self.options.is_proxied { "127.0.0.2" } else { "127.0.0.1" }.into(),
            manager: to_address(self.manager_address),
            weight: None,
            limits: self.options.peers.clone(),
            transfer_mb_s: self.options.transfer_mb_s,
            max_memory: self.options.max_memory,
            redis: storage::redis::shared::RedisSettings {
                may_flush: true,
                idle: self.options.redis_idle,
            },
            snapshot: storage::snapshot_log::SnapshotSettings::default(),
            disk: self.disk_settings(name),
            durability: None,
            secret: self.options.secret.clone(),
        }
    }

    fn disk_settings(&self, name: &NodeId) -> Option<disk::DiskSettings> {
        let folder = self.data.path().join(name.as_str());
        (self.options.durability != Durability::None).then(|| disk::DiskSettings::new(folder))
    }

    /// Stops a node.
    pub fn stop_node(&mut self, number: usize) {
        self.nodes[number].running = None;
    }

    /// Closes a node's connection to the manager, and makes its public port refuse, while it runs:
    /// as a broken network might. Peers that know its own port can still reach it.
    ///
    /// # Panics
    /// If the cluster was started without proxies.
    pub fn refuse_for(&mut self, number: usize) {
        self.close_front(number);
        self.set_manager_fault(number, NetworkFault::Close);
    }

    /// Makes a node's public port refuse.
    fn close_front(&mut self, number: usize) {
        let front = self.nodes[number].proxy.take().expect("started with proxies").address();
        wait_until("its port refuses", || match TcpStream::connect(front) {
            Ok(_) => Err("it accepts".into()),
            Err(_) => Ok(()),
        });
    }

    /// Kills several nodes at once, in a cluster with proxies: before the first of them stops, none
    /// of them can be reached, so none can fetch another's records.
    ///
    /// # Panics
    /// If the cluster was started without proxies.
    pub fn kill_at_once(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|&number| self.close_front(number));
        let nodes = self.nodes.iter_mut().enumerate();
        let dying: Vec<&mut TestNode> =
            nodes.filter(|(n, _)| numbers.contains(n)).map(|(_, node)| node).collect();
        std::thread::scope(|scope| {
            for node in dying {
                scope.spawn(|| node.running = None);
            }
        });
    }

    /// A client configuration for this cluster.
    pub fn config(&self) -> Config {
        let mut config = Config::new(to_address(self.manager_address));
        config.secret = self.options.secret.clone();
        config.deadline = PATIENCE;
        config
    }

    /// A client of this cluster.
    ///
    /// # Panics
    /// If the manager does not answer.
    pub fn client(&self) -> GTStoreClient {
        GTStoreClient::init(self.config()).expect("the manager answers")
    }

    /// The status of the cluster.
    pub fn status(&self) -> Result<Status, String> {
        let client = GTStoreClient::init(self.config()).map_err(|e| e.to_string())?;
        client.status().map_err(|e| e.to_string())
    }

    /// Accepts the present loss, as an operator does who has looked at it. Returns the number of
    /// affected arcs.
    pub fn accept_loss(&self) -> Result<u32, String> {
        let client = GTStoreClient::init(self.config()).map_err(|e| e.to_string())?;
        let Some(loss) = client.status().map_err(|e| e.to_string())?.loss else { return Ok(0) };
        client.accept_loss(&loss).map_err(|e| e.to_string())
    }

    /// Waits until every running node serves, all copies are restored, and a request to every node
    /// was answered.
    pub fn wait_until_well(&self) {
        let running: Vec<NodeId> =
            self.running().iter().map(|&n| self.nodes[n].name.clone()).collect();
        wait_until("the cluster is well", || {
            let status = self.status()?;
            let serving: Vec<NodeId> = status
                .nodes
                .iter()
                .filter(|node| node.state == NodeState::Active)
                .map(|node| node.id.clone())
                .collect();
            // A cluster with fewer nodes than copies is as healthy as it can be.
            let is_well =
                status.health.level == Level::Healthy || running.len() < self.options.copies;
            let has_all = running.iter().all(|name| serving.contains(name));
            if serving.len() != running.len() || !has_all || status.changing || !is_well {
                return Err(format!("{serving:?} of {running:?} serve, {}", status.health));
            }
            Ok(())
        });
        let keys: Vec<String> = (0..16 * running.len()).map(|n| format!("{{{n}}}")).collect();
        for got in self.client().get_many(&keys) {
            got.expect("a cluster that is well answers");
        }
    }

    /// How tests connect.
    pub fn dial(&self) -> Dial {
        let (secret, payload) = (self.options.secret.clone(), PayloadLimit::default());
        payload.allow(&self.options.limits);
        Dial { connect: PATIENCE, reply: PATIENCE, secret, payload }
    }

    /// The advertised address of a node.
    pub fn advertised(&self, number: usize) -> Address {
        let node = &self.nodes[number];
        to_address(node.proxy.as_ref().map_or(node.address, Proxy::address))
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        // With a lasting fault, a stop would wait for time-outs.
        for node in &mut self.nodes {
            (node.proxy, node.to_manager) = (None, None);
        }
        std::thread::scope(|scope| {
            for node in &mut self.nodes {
                scope.spawn(|| node.running = None);
            }
        });
    }
}
