//! The processes under test: a real manager and real nodes, each behind its [`Proxy`].
//!
//! Some nodes run from the beginning, some are *spares*: they have their ports and forwarders, and are started
//! when the schedule has them join. A node that leaves ends by itself, with exit code 0; any other process
//! that ends without being told to is a finding.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cluster::ids::Address;
use harness::ports;
use harness::process::{ChildError, Process};
use harness::proxy::{Cuts, Party, Proxy};
use rustix::process::Signal;

/// How the service is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the programs are.
    pub bin: PathBuf,
    /// Where data and logs go.
    pub folder: PathBuf,
    /// How many nodes run from the beginning.
    pub nodes: usize,
    /// How many more there may be.
    pub spares: usize,
    /// Copies of each key.
    pub copies: usize,
    /// Between heartbeats.
    pub heartbeat_ms: u64,
}

/// A process that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Which node, unless it is the manager.
    pub node: Option<usize>,
    /// With exit code 0.
    pub is_well: bool,
    /// In words.
    pub what: String,
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    cuts: Arc<Cuts>,
    manager: Process,
    manager_port: u16,
    /// The manager as the clients reach it, then as each node does.
    to_manager: Vec<Proxy>,
    nodes: Vec<(Process, Proxy)>,
}

impl Service {
    /// Starts it all but the spares. Ports come from `random`.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start(
        plan: &Plan,
        cuts: Arc<Cuts>,
        random: impl FnMut() -> u16,
    ) -> Result<Service, ChildError> {
        fs::create_dir_all(&plan.folder)?;
        let most = plan.nodes + plan.spares;
        let mut ports = ports::free(2 + 3 * most, random)?.into_iter();
        let mut port = || ports.next().expect("as many as are used below");
        let log = |name: String| plan.folder.join(name + ".log");
        let manager_port = port();
        let flags = vec![
            format!("--port={manager_port}"),
            format!("--rep={}", plan.copies),
            format!("--heartbeat-ms={}", plan.heartbeat_ms),
            format!("--data={}", plan.folder.join("manager").display()),
        ];
        let manager = Process::new(plan.bin.join("manager"), flags, log("manager".into()));
        let open =
            |at: u16, from| Proxy::open(at, manager_port, from, Party::Manager, cuts.clone());
        let mut to_manager = vec![open(port(), Some(Party::Client))?];
        let mut nodes = Vec::with_capacity(most);
        for i in 0..most {
            let own_manager = open(port(), Some(Party::Node(i)))?;
            let (own, outer) = (port(), port());
            let mut proxy = Proxy::open(outer, own, None, Party::Node(i), cuts.clone())?;
            // Refuses until the node runs.
            proxy.close();
            let flags = vec![
                format!("--label={}", name(i)),
                format!("--port={own}"),
                format!("--advertise=127.0.0.1:{outer}"),
                format!("--manager=127.0.0.1:{}", own_manager.port()),
                // Not what is tested here, and it would fill the disk.
                "--snapshot-keys=0".into(),
                "--snapshot-interval-ms=60000".into(),
            ];
            to_manager.push(own_manager);
            nodes.push((Process::new(plan.bin.join("storage"), flags, log(name(i))), proxy));
        }
        let mut service = Service { cuts, manager, manager_port, to_manager, nodes };
        service.start_manager()?;
        for node in 0..plan.nodes {
            service.start_node(node)?;
        }
        Ok(service)
    }

    /// The manager as clients reach it.
    pub fn manager_of_clients(&self) -> Address {
        address(self.to_manager[0].port())
    }

    /// The manager itself.
    pub fn manager(&self) -> Address {
        address(self.manager_port)
    }

    /// How many nodes run.
    pub fn running(&self) -> usize {
        self.nodes.iter().filter(|(process, _)| process.is_running()).count()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start_node(&mut self, node: usize) -> Result<(), ChildError> {
        let (process, proxy) = &mut self.nodes[node];
        proxy.reopen()?;
        let pid = process.start()?;
        self.cuts.set_pid(Party::Node(node), Some(pid));
        Ok(())
    }

    /// Kills a node; its port refuses afterwards.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].0.kill();
        self.bury(node);
    }

    fn bury(&mut self, node: usize) {
        self.cuts.set_pid(Party::Node(node), None);
        self.nodes[node].1.close();
    }

    /// Starts the manager.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start_manager(&mut self) -> Result<(), ChildError> {
        let pid = self.manager.start()?;
        self.cuts.set_pid(Party::Manager, Some(pid));
        Ok(())
    }

    /// Kills the manager. Its forwarders go on and close what they accept; nothing follows from whether
    /// a manager refuses.
    pub fn kill_manager(&mut self) {
        self.manager.kill();
        self.cuts.set_pid(Party::Manager, None);
    }

    /// Stops or continues a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn pause(&self, who: Party, is_stopped: bool) -> io::Result<()> {
        let signal = if is_stopped { Signal::STOP } else { Signal::CONT };
        match who {
            Party::Manager => self.manager.signal(signal),
            Party::Node(node) => self.nodes[node].0.signal(signal),
            Party::Client => Ok(()),
        }
    }

    /// The next process that has ended without being killed.
    pub fn ended(&mut self) -> Option<Ended> {
        let find = |node, process: &mut Process| {
            let status = process.ended()?;
            Some(Ended { node, is_well: status.success(), what: process.obituary(status) })
        };
        let nodes = self.nodes.iter_mut().enumerate();
        let mut nodes = nodes.map(|(i, (process, _))| (Some(i), process));
        let found = find(None, &mut self.manager)
            .or_else(|| nodes.find_map(|(node, process)| find(node, process)))?;
        if let Some(node) = found.node {
            self.bury(node);
        }
        Some(found)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.manager.kill();
        for (process, _) in &mut self.nodes {
            process.kill();
        }
        self.cuts.end();
    }
}

/// What a node is called.
pub fn name(node: usize) -> String {
    format!("node{}", node + 1)
}

fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).expect("a port that was bound is not 0")
}
