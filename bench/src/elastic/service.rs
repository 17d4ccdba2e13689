//! The cluster that is stretched: a manager and nodes of our own, as `start_service` would start them.

use std::fs;
use std::path::{Path, PathBuf};

use cluster::ids::Address;

use super::plan;
use crate::child::{ChildError, Process};
use crate::ports;

/// The running processes.
#[derive(Debug)]
pub struct Service {
    bin: PathBuf,
    folder: PathBuf,
    manager_port: u16,
    manager: Process,
    /// Free ports for nodes that come.
    ports: Vec<u16>,
    /// By number, from 1; `None` until it was started once.
    nodes: Vec<Option<Process>>,
}

impl Service {
    /// Starts a manager whose cluster keeps so many copies; `most` nodes may come. Ports come from `random`.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start(
        bin: &Path,
        folder: &Path,
        copies: usize,
        most: usize,
        random: impl FnMut() -> u16,
    ) -> Result<Service, ChildError> {
        fs::create_dir_all(folder)?;
        let mut ports = ports::free(1 + most, random)?;
        let manager_port = ports.pop().expect("one more than nodes was asked for");
        let flags = vec![
            format!("--port={manager_port}"),
            format!("--rep={copies}"),
            format!("--data={}", folder.join("manager").display()),
        ];
        let mut manager = Process::new(bin.join("manager"), flags, folder.join("manager.log"));
        manager.start()?;
        let nodes = (0..=most).map(|_| None).collect();
        Ok(Service {
            bin: bin.to_owned(),
            folder: folder.to_owned(),
            manager_port,
            manager,
            ports,
            nodes,
        })
    }

    /// Where the manager is.
    pub fn manager(&self) -> Address {
        Address::new("127.0.0.1", self.manager_port).expect("a port that was bound is not 0")
    }

    /// Starts nodes, new ones or such as have ended.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn add(&mut self, numbers: &[usize]) -> Result<(), ChildError> {
        for &number in numbers {
            let node = self.nodes[number].get_or_insert_with(|| {
                let name = plan::name(number);
                let port = self.ports.pop().expect("as many as nodes may come");
                let flags = vec![
                    format!("--label={name}"),
                    format!("--port={port}"),
                    format!("--manager=127.0.0.1:{}", self.manager_port),
                ];
                let log = self.folder.join(format!("{name}.log"));
                Process::new(self.bin.join("storage"), flags, log)
            });
            node.start()?;
        }
        Ok(())
    }

    /// Kills nodes, all before it waits for the first to be gone.
    pub fn kill(&mut self, numbers: &[usize]) {
        for &number in numbers {
            if let Some(node) = &mut self.nodes[number] {
                node.strike();
            }
        }
        for &number in numbers {
            if let Some(node) = &mut self.nodes[number] {
                node.kill();
            }
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
