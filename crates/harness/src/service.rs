//! A cluster of our own: a manager and nodes, as `start_service` would start them.
//!
//! Each process has its flags, its log and, where records are kept, its folder from the first start on: one
//! that is started again comes back as what it was. Nodes have numbers from 1.

use std::fs;
use std::path::PathBuf;

use cluster::durability::Durability;
use cluster::ids::Address;

use crate::ports;
use crate::process::{ChildError, Process};

/// What the programs are told about durability, in one place: flags of the manager, then of a node, which has
/// its `--data` besides.
fn durability_flags(durability: Durability) -> (Vec<String>, Vec<String>) {
    (vec![format!("--durability={durability}")], Vec::new())
}

/// How the cluster is to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where the programs are.
    pub bin: PathBuf,
    /// Where data and logs go; created if need be.
    pub folder: PathBuf,
    /// Copies of each key.
    pub copies: usize,
    /// The highest number that a node may have.
    pub most: usize,
    /// More flags of the manager.
    pub manager_flags: Vec<String>,
    /// More flags of every node.
    pub node_flags: Vec<String>,
    /// Whether nodes keep their records on disk, and how.
    pub durability: Option<Durability>,
}

/// The running processes.
#[derive(Debug)]
pub struct Service {
    setup: Setup,
    manager_port: u16,
    manager: Process,
    /// Free ports for nodes that come.
    ports: Vec<u16>,
    /// By number, from 1; `None` until it was started once.
    nodes: Vec<Option<Process>>,
}

impl Service {
    /// Starts the manager. Ports come from `random`.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start(mut setup: Setup, random: impl FnMut() -> u16) -> Result<Service, ChildError> {
        fs::create_dir_all(&setup.folder)?;
        let mut ports = ports::free(1 + setup.most, random)?;
        let manager_port = ports.pop().expect("one more than nodes was asked for");
        let mut flags = vec![
            format!("--port={manager_port}"),
            format!("--rep={}", setup.copies),
            format!("--data={}", setup.folder.join("manager").display()),
        ];
        if let Some(durability) = setup.durability {
            let (of_manager, of_nodes) = durability_flags(durability);
            setup.manager_flags.extend(of_manager);
            setup.node_flags.extend(of_nodes);
        }
        flags.extend(setup.manager_flags.iter().cloned());
        let log = setup.folder.join("manager.log");
        let manager = Process::new(setup.bin.join("manager"), flags, log);
        let nodes = (0..=setup.most).map(|_| None).collect();
        let mut service = Service { setup, manager_port, manager, ports, nodes };
        service.start_manager()?;
        Ok(service)
    }

    /// Where the manager is.
    pub fn manager(&self) -> Address {
        Address::new("127.0.0.1", self.manager_port).expect("a port that was bound is not 0")
    }

    /// Starts the manager again, with the views that it has saved.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start_manager(&mut self) -> Result<(), ChildError> {
        self.manager.start().map(|_| ())
    }

    /// Starts nodes, new ones or such as have ended.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn add(&mut self, numbers: &[usize]) -> Result<(), ChildError> {
        for &number in numbers {
            let node = self.nodes[number].get_or_insert_with(|| {
                let name = name(number);
                let port = self.ports.pop().expect("as many as nodes may come");
                let mut flags = vec![
                    format!("--label={name}"),
                    format!("--port={port}"),
                    format!("--manager=127.0.0.1:{}", self.manager_port),
                ];
                let Setup { bin, folder, node_flags, durability, .. } = &self.setup;
                flags.extend(node_flags.iter().cloned());
                if durability.is_some() {
                    flags.push(format!("--data={}", folder.join(&name).display()));
                }
                Process::new(bin.join("storage"), flags, folder.join(format!("{name}.log")))
            });
            node.start()?;
        }
        Ok(())
    }

    /// Kills nodes, all before it waits for the first to be gone.
    pub fn kill(&mut self, numbers: &[usize]) {
        self.strike(numbers, false);
    }

    /// Kills nodes and, if so wanted, the manager, all before it waits for the first to be gone.
    pub fn strike(&mut self, numbers: &[usize], with_manager: bool) {
        let nodes = self.nodes.iter_mut().enumerate();
        let nodes = nodes.filter(|(number, _)| numbers.contains(number));
        let mut victims: Vec<&mut Process> = nodes.filter_map(|(_, node)| node.as_mut()).collect();
        if with_manager {
            victims.push(&mut self.manager);
        }
        for victim in &mut victims {
            victim.strike();
        }
        for victim in victims {
            victim.kill();
        }
    }

    /// Whether a node has ended by itself and well; `None` while it runs.
    ///
    /// # Errors
    /// What is wrong, in words, if it ended badly.
    pub fn has_left(&mut self, number: usize) -> Option<Result<(), String>> {
        let Some(node) = &mut self.nodes[number] else { return Some(Ok(())) };
        if !node.is_running() {
            return Some(Ok(()));
        }
        let status = node.ended()?;
        Some(if status.success() { Ok(()) } else { Err(node.obituary(status)) })
    }

    /// The first process that has ended by itself, but for nodes that are `leaving`.
    pub fn ended(&mut self, leaving: &[usize]) -> Option<String> {
        if let Some(status) = self.manager.ended() {
            return Some(self.manager.obituary(status));
        }
        let nodes = self.nodes.iter_mut().enumerate();
        let mut others = nodes.filter(|(number, _)| !leaving.contains(number));
        others.find_map(|(_, node)| {
            let node = node.as_mut()?;
            let status = node.ended()?;
            Some(node.obituary(status))
        })
    }
}

/// What a node is called.
pub fn name(node: usize) -> String {
    format!("node{node}")
}
