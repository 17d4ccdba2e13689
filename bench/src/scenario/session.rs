//! The steps of one client. Each is printed as the client command prints it and checked against
//! previous puts.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use client::{Got, Placed};
use cluster::ids::NodeId;

use super::{ScenarioError, WrongResult};
use crate::target::StoreTarget;

/// A client that remembers what it put.
pub struct ScenarioSession<'a, T> {
    target: &'a T,
    out: &'a mut dyn Write,
    copies: usize,
    latest: BTreeMap<String, AcknowledgedPut>,
    dead: Vec<NodeId>,
    slowest: Slowest,
}

/// The newest put of a key.
struct AcknowledgedPut {
    value: String,
    primary: NodeId,
}

/// The longest times of steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slowest {
    /// The longest read.
    pub read: Duration,
    /// The longest write.
    pub write: Duration,
}

impl<'a, T: StoreTarget> ScenarioSession<'a, T> {
    /// A session with a cluster that has `copies` of each key and whose nodes are all alive.
    pub fn new(target: &'a T, copies: usize, out: &'a mut dyn Write) -> Self {
        let (latest, dead) = (BTreeMap::new(), Vec::new());
        Self { target, out, copies, latest, dead, slowest: Slowest::default() }
    }

    /// The store, for steps of another kind.
    pub fn target(&self) -> &'a T {
        self.target
    }

    /// Prints a line that is not an answer.
    ///
    /// # Errors
    /// [`ScenarioError::Output`].
    pub fn print_line(&mut self, line: &str) -> Result<(), ScenarioError> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Puts a value: `OK, node3`.
    ///
    /// # Errors
    /// [`ScenarioError`] if it fails or has too few or too many copies.
    pub fn put(&mut self, key: &str, value: &str) -> Result<(), ScenarioError> {
        let start = Instant::now();
        let placed = self.target.put(key, value);
        self.slowest.write = self.slowest.write.max(start.elapsed());
        let placed = placed.map_err(|source| failed("put", key, source))?;
        self.placed(key, value, placed)
    }

    /// Puts a list: `OK, node3`.
    ///
    /// # Errors
    /// As [`ScenarioSession::put`].
    pub fn put_list(&mut self, key: &str, list: &[&str]) -> Result<(), ScenarioError> {
        let placed =
            self.target.put_list(key, list).map_err(|source| failed("put", key, source))?;
        self.placed(key, &list.join(","), placed)
    }

    /// Records the result of a put.
    ///
    /// # Errors
    /// As [`ScenarioSession::put`].
    pub fn placed(&mut self, key: &str, value: &str, placed: Placed) -> Result<(), ScenarioError> {
        let Placed { primary, copies } = placed;
        writeln!(self.out, "OK, {primary}")?;
        check_alive(&self.dead, key, &primary)?;
        if copies != self.copies {
            return Err(WrongResult::Copies {
                key: key.to_owned(),
                want: self.copies,
                got: copies,
            }
            .into());
        }
        self.latest.insert(key.to_owned(), AcknowledgedPut { value: value.to_owned(), primary });
        Ok(())
    }

    /// Gets a key that was put: `key1, value1, node3`.
    ///
    /// # Errors
    /// [`ScenarioError`] if it fails, if it does not return the newest value, or if another node
    /// than the primary answers while all nodes live.
    ///
    /// # Panics
    /// If this session has not put the key.
    pub fn get(&mut self, key: &str) -> Result<(), ScenarioError> {
        let start = Instant::now();
        let got = self.target.get(key);
        self.slowest.read = self.slowest.read.max(start.elapsed());
        let got = got.map_err(|source| failed("get", key, source))?;
        let AcknowledgedPut { value, primary } = &self.latest[key];
        let Some(Got { value: bytes, primary: from, .. }) = got else {
            return Err(WrongResult::Missing { key: key.to_owned(), want: value.clone() }.into());
        };
        let text = String::from_utf8_lossy(&bytes);
        writeln!(self.out, "{key}, {text}, {from}")?;
        check_alive(&self.dead, key, &from)?;
        if bytes != value.as_bytes() {
            let (want, got) = (value.clone(), text.into_owned());
            return Err(WrongResult::Value { key: key.to_owned(), want, got }.into());
        }
        if self.dead.is_empty() && from != *primary {
            let want = primary.clone();
            return Err(WrongResult::Node { key: key.to_owned(), want, got: from }.into());
        }
        Ok(())
    }

    /// Gets a list, and checks its strings one by one.
    ///
    /// # Errors
    /// As [`ScenarioSession::get`].
    pub fn check_list(&mut self, key: &str, want: &[&str]) -> Result<(), ScenarioError> {
        let got = self.target.get_list(key).map_err(|source| failed("get", key, source))?;
        match got {
            Some(list) if list == want => Ok(()),
            Some(list) => {
                let (want, got) = (format!("{want:?}"), format!("{list:?}"));
                Err(WrongResult::Value { key: key.to_owned(), want, got }.into())
            }
            None => {
                Err(WrongResult::Missing { key: key.to_owned(), want: format!("{want:?}") }.into())
            }
        }
    }

    /// The keys that were put, by their primaries.
    pub fn keys_by_primary(&self) -> BTreeMap<NodeId, Vec<String>> {
        let mut keys: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for (key, known) in &self.latest {
            keys.entry(known.primary.clone()).or_default().push(key.clone());
        }
        keys
    }

    /// Marks these nodes as killed: they must not answer any more. Resets the times.
    pub fn exclude_killed(&mut self, dead: &[NodeId]) {
        self.dead.extend_from_slice(dead);
        self.slowest = Slowest::default();
    }

    /// The longest steps since the last kill.
    pub fn slowest(&self) -> Slowest {
        self.slowest
    }

    /// Records a write of another thread that took this long.
    pub fn count_write(&mut self, took: Duration) {
        self.slowest.write = self.slowest.write.max(took);
    }
}

fn check_alive(dead: &[NodeId], key: &str, node: &NodeId) -> Result<(), WrongResult> {
    if dead.contains(node) {
        return Err(WrongResult::Undead { key: key.to_owned(), node: node.clone() });
    }
    Ok(())
}

/// The error of an operation that failed.
pub(super) fn failed(verb: &str, key: &str, source: client::ClientError) -> ScenarioError {
    ScenarioError::Store { what: format!("{verb} {key}"), source }
}
