//! A cluster of processes: a manager and nodes, as `start_service` starts them.
//!
//! Each process keeps its flags, its log and its data folder, if it has one, so a restarted process
//! returns with its identity. With [faults](ClusterSetup::faults) a [`Proxy`] stands in front of
//! each process. A node that leaves exits by itself with code 0; every other unrequested exit is a
//! finding.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use cluster::durability::Durability;
use cluster::ids::Address;
use rustix::process::Signal;

use crate::party::{Party, node_name};
use crate::ports;
use crate::process::{Process, SpawnError};
use crate::proxy::{Endpoints, Faults, Proxy};

/// The configuration of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSetup {
    /// The folder with the programs.
    pub bin: PathBuf,
    /// The folder for data and logs; it is created.
    pub folder: PathBuf,
    /// Copies of each key.
    pub copies: usize,
    /// The largest number of nodes.
    pub most: usize,
    /// Additional flags of the manager.
    pub manager_flags: Vec<String>,
    /// Additional flags of every node.
    pub node_flags: Vec<String>,
    /// The durability, if nodes have data folders.
    pub durability: Option<Durability>,
    /// The network faults; without them, processes connect directly.
    pub faults: Option<Arc<Faults>>,
}

/// A process that has exited by itself.
#[derive(Debug)]
pub struct ProcessEnd {
    /// The process.
    pub party: Party,
    /// Whether its exit code is 0.
    pub is_well: bool,
    /// A description.
    pub what: String,
}

impl ProcessEnd {
    /// Whether it is a node that was asked to leave and has exited with code 0.
    pub fn has_left(&self, leaving: &[usize]) -> bool {
        self.is_well && matches!(self.party, Party::Node(node) if leaving.contains(&node))
    }
}

/// The running processes.
#[derive(Debug)]
pub struct Service {
    faults: Option<Arc<Faults>>,
    manager_port: u16,
    manager: Process,
    /// The proxy between clients and the manager.
    of_clients: Option<Proxy>,
    nodes: Vec<NodeProcess>,
}

#[derive(Debug)]
struct NodeProcess {
    process: Process,
    proxies: Option<Proxies>,
}

/// The proxies of a node.
#[derive(Debug)]
struct Proxies {
    /// In front of the node.
    front: Proxy,
    /// Between the node and the manager.
    #[expect(dead_code, reason = "it works until it is dropped")]
    to_manager: Proxy,
}

/// Ports not yet used.
struct Ports(IntoIter<u16>);

impl Ports {
    /// All ports that a cluster needs.
    fn of(setup: &ClusterSetup) -> io::Result<Ports> {
        let count = match setup.faults {
            None => 1 + setup.most,
            Some(_) => 2 + 3 * setup.most,
        };
        Ok(Ports(ports::free(count)?.into_iter()))
    }

    fn take(&mut self) -> u16 {
        self.0.next().expect("as many were counted as are taken")
    }

    /// A proxy on the next port.
    fn proxy(&mut self, to: u16, ends: Endpoints, faults: &Arc<Faults>) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.take()))?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
        Proxy::between(listener, target, ends, faults.clone())
    }
}

impl ClusterSetup {
    /// A cluster without data folders, additional flags or faults.
    pub fn new(bin: &Path, folder: &Path, copies: usize, most: usize) -> ClusterSetup {
        ClusterSetup {
            bin: bin.to_owned(),
            folder: folder.to_owned(),
            copies,
            most,
            manager_flags: Vec::new(),
            node_flags: Vec::new(),
            durability: None,
            faults: None,
        }
    }

    /// The flags that turn snapshot lines off, for runs that would fill the disk with them.
    pub fn no_snapshots() -> Vec<String> {
        vec!["--snapshot-keys=0".into(), "--snapshot-interval-ms=60000".into()]
    }

    fn manager(&self, port: u16) -> Process {
        let mut flags = vec![
            format!("--port={port}"),
            format!("--rep={}", self.copies),
            format!("--data={}", self.folder.join("manager").display()),
        ];
        flags.extend(self.manager_flags.iter().cloned());
        flags.extend(self.durability.map(|durability| format!("--durability={durability}")));
        let log = self.folder.join("manager.log");
        Process::new(self.bin.join("manager"), flags, log)
    }

    fn node(&self, number: usize, manager_port: u16, ports: &mut Ports) -> io::Result<NodeProcess> {
        let (party, name) = (Party::Node(number), node_name(number));
        let port = ports.take();
        let mut flags = vec![format!("--label={name}"), format!("--port={port}")];
        let mut proxies = None;
        if let Some(faults) = &self.faults {
            let to_manager = Endpoints { from: Some(party), to: Party::Manager };
            let to_manager = ports.proxy(manager_port, to_manager, faults)?;
            let mut front = ports.proxy(port, Endpoints { from: None, to: party }, faults)?;
            flags.push(format!("--advertise={}", front.address()));
            flags.push(format!("--manager={}", to_manager.address()));
            // It refuses connections until the node runs.
            front.close();
            proxies = Some(Proxies { front, to_manager });
        } else {
            flags.push(format!("--manager=127.0.0.1:{manager_port}"));
        }
        flags.extend(self.node_flags.iter().cloned());
        if self.durability.is_some() {
            flags.push(format!("--data={}", self.folder.join(&name).display()));
        }
        let log = self.folder.join(format!("{name}.log"));
        Ok(NodeProcess { process: Process::new(self.bin.join("storage"), flags, log), proxies })
    }
}

impl Service {
    /// Starts the manager, without nodes.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start(setup: &ClusterSetup) -> Result<Service, SpawnError> {
        fs::create_dir_all(&setup.folder)?;
        let mut ports = Ports::of(setup)?;
        let manager_port = ports.take();
        let of_clients = Endpoints { from: Some(Party::Client), to: Party::Manager };
        let proxy = |faults| ports.proxy(manager_port, of_clients, faults);
        let of_clients = setup.faults.as_ref().map(proxy).transpose()?;
        let nodes = (0..setup.most).map(|node| setup.node(node, manager_port, &mut ports));
        let mut service = Service {
            nodes: nodes.collect::<io::Result<_>>()?,
            faults: setup.faults.clone(),
            manager: setup.manager(manager_port),
            manager_port,
            of_clients,
        };
        service.start_again(Party::Manager)?;
        Ok(service)
    }

    /// The manager's address.
    pub fn manager(&self) -> Address {
        address(self.manager_port)
    }

    /// The manager's address for clients: that of their proxy, if there is one.
    pub fn manager_of_clients(&self) -> Address {
        self.of_clients.as_ref().map_or(self.manager(), |proxy| address(proxy.address().port()))
    }

    /// The number of running nodes.
    pub fn running(&self) -> usize {
        self.nodes.iter().filter(|node| node.process.is_running()).count()
    }

    /// Whether a node runs, as of the last look.
    pub fn is_running(&self, node: usize) -> bool {
        self.nodes[node].process.is_running()
    }

    fn process(&mut self, party: Party) -> Option<&mut Process> {
        match party {
            Party::Manager => Some(&mut self.manager),
            Party::Node(node) => Some(&mut self.nodes[node].process),
            Party::Client => None,
        }
    }

    /// Starts a process that does not run: a new or a stopped node, or the manager with its saved
    /// views.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start_again(&mut self, party: Party) -> Result<(), SpawnError> {
        if let Party::Node(node) = party
            && let Some(proxies) = &mut self.nodes[node].proxies
        {
            proxies.front.reopen()?;
        }
        let Some(process) = self.process(party) else { return Ok(()) };
        let pid = process.start()?;
        self.set_pid(party, Some(pid));
        Ok(())
    }

    /// Starts nodes.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn add(&mut self, nodes: &[usize]) -> Result<(), SpawnError> {
        nodes.iter().try_for_each(|&node| self.start_again(Party::Node(node)))
    }

    /// Kills processes, all of them before it waits for the first exit. Afterwards a node's port
    /// refuses connections. The manager's proxies keep listening and close what they accept, since
    /// no rule depends on whether the manager refuses.
    pub fn kill(&mut self, victims: &[Party]) {
        for &victim in victims {
            if let Some(process) = self.process(victim) {
                process.send_kill();
            }
        }
        for &victim in victims {
            if let Some(process) = self.process(victim) {
                process.kill();
            }
            self.has_ended(victim);
        }
    }

    fn has_ended(&mut self, party: Party) {
        self.set_pid(party, None);
        if let Party::Node(node) = party
            && let Some(proxies) = &mut self.nodes[node].proxies
        {
            proxies.front.close();
        }
    }

    fn set_pid(&self, party: Party, pid: Option<u32>) {
        if let Some(faults) = &self.faults {
            faults.set_pid(party, pid);
        }
    }

    /// Suspends a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn suspend(&mut self, party: Party) -> io::Result<()> {
        self.process(party).map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// Resumes a suspended process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(&mut self, party: Party) -> io::Result<()> {
        self.process(party).map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// The next process that has exited without being killed.
    pub fn ended(&mut self) -> Option<ProcessEnd> {
        let nodes = (0..self.nodes.len()).map(Party::Node);
        let ended = std::iter::once(Party::Manager).chain(nodes).find_map(|party| {
            let process = self.process(party)?;
            let status = process.ended()?;
            Some(ProcessEnd { party, is_well: status.success(), what: process.exit_report(status) })
        })?;
        self.has_ended(ended.party);
        Some(ended)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let nodes = (0..self.nodes.len()).map(Party::Node);
        self.kill(&std::iter::once(Party::Manager).chain(nodes).collect::<Vec<_>>());
        if let Some(faults) = &self.faults {
            faults.end();
        }
    }
}

fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).expect("a port that was bound is not 0")
}
