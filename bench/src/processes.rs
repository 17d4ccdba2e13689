//! The service's processes, from the list that the start script writes: one process id a line, the
//! manager first, then node1, node2, …

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cluster::ids::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

/// Name of a node's program: no other process is ever killed.
const NODE_PROGRAM: &str = "storage";

/// Kills nodes.
pub trait KillNode {
    /// Kills all of these at once, as `kill -9` does.
    ///
    /// # Errors
    /// [`ProcessError`]; the nodes before the failed one are dead then.
    fn kill(&self, nodes: &[NodeId]) -> Result<(), ProcessError>;
}

/// A node could not be killed.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// There is no list: the service was not started by the script.
    #[error("cannot read the list of processes {}: {source}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The list has no process id for this node.
    #[error("{} has no process for {node}", path.display())]
    Unlisted {
        /// The list.
        path: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// The process has exited, or its id belongs to another process now.
    #[error("process {pid}, listed for {node}, is no running storage node")]
    Stranger {
        /// The node.
        node: NodeId,
        /// The process id.
        pid: i32,
    },
    /// The signal could not be sent.
    #[error("cannot kill {node}, process {pid}: {source}")]
    Refused {
        /// The node.
        node: NodeId,
        /// The process id.
        pid: i32,
        /// The cause.
        source: io::Error,
    },
}

/// The list of processes. It is read again for each kill, since a restarted node replaces its line.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// The list at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn pid_of(&self, list: &str, node: &NodeId) -> Result<Pid, ProcessError> {
        line_of(node)
            .and_then(|line| list.lines().nth(line))
            .and_then(|line| Pid::from_raw(line.trim().parse().ok().filter(|&pid: &i32| pid > 1)?))
            .ok_or_else(|| ProcessError::Unlisted { path: self.0.clone(), node: node.clone() })
    }
}

impl KillNode for PidFile {
    fn kill(&self, nodes: &[NodeId]) -> Result<(), ProcessError> {
        let list = fs::read_to_string(&self.0)
            .map_err(|source| ProcessError::List { path: self.0.clone(), source })?;
        // Look all of them up before the first kill: all or none.
        let mut victims = Vec::with_capacity(nodes.len());
        for node in nodes {
            let pid = self.pid_of(&list, node)?;
            if !is_node(pid) {
                return Err(ProcessError::Stranger { node: node.clone(), pid: raw(pid) });
            }
            victims.push((node, pid));
        }
        for (node, pid) in victims {
            kill_process(pid, Signal::KILL).map_err(|error| ProcessError::Refused {
                node: node.clone(),
                pid: raw(pid),
                source: error.into(),
            })?;
        }
        Ok(())
    }
}

/// The line, from 0, of a node: its number, since the manager has line 0.
fn line_of(node: &NodeId) -> Option<usize> {
    node.as_str().strip_prefix("node")?.parse().ok().filter(|&number| number > 0)
}

fn is_node(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/comm", raw(pid)))
        .is_ok_and(|name| name.trim_end() == NODE_PROGRAM)
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).expect("a good name")
    }

    #[test]
    fn node_i_stands_on_line_i_plus_1() {
        let file = PidFile::new(Path::new("pids"));
        let pid = |list, name| file.pid_of(list, &node(name)).ok().map(raw);
        let list = "100\n101\n102\n-1\n1\nx\n";
        assert_eq!(pid(list, "node1"), Some(101));
        assert_eq!(pid(list, "node2"), Some(102));
        for name in ["node0", "node3", "node4", "node5", "node6", "node-1", "other", "nodex"] {
            assert_eq!(pid(list, name), None, "{name}");
        }
    }

    #[test]
    fn no_foreign_process_is_killed() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = scratch.path().join("pids");
        let file = PidFile::new(&path);
        let error = file.kill(&[node("node1")]).expect_err("no list");
        assert!(matches!(error, ProcessError::List { .. }), "{error}");
        // The test process itself survives.
        fs::write(&path, format!("1\n{}\n", std::process::id())).expect("written");
        let error = file.kill(&[node("node1")]).expect_err("not a node");
        assert!(matches!(error, ProcessError::Stranger { .. }), "{error}");
        let error = file.kill(&[node("node2")]).expect_err("not listed");
        assert!(matches!(error, ProcessError::Unlisted { .. }), "{error}");
    }
}
