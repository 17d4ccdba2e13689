//! A store in memory, with nodes that can be killed and faults to choose from.

use std::collections::HashMap;
use std::time::Duration;

use client::{ClientError, Done, Got, Op, Placed};
use cluster::ids::NodeId;
use parking_lot::Mutex;

use super::StoreTarget;
use crate::processes::{KillNode, ProcessError};

/// The fault of a [`Fake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlantedFault {
    None,
    /// Overwriting changes nothing.
    KeepsFirst,
    /// After a kill of a node its keys are lost.
    LosesTheKilled,
    /// After a kill of a node all keys have their first values again.
    RollsBack,
    /// Killed nodes continue to answer.
    Undead,
    /// The first write after a kill fails.
    FailsWrites,
    /// Writes reach one copy less than they should.
    TooFewCopies,
}

pub(crate) struct Fake {
    nodes: usize,
    copies: usize,
    fault: PlantedFault,
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    /// First and newest value of each key.
    values: HashMap<String, (Vec<u8>, Vec<u8>)>,
    killed: Vec<NodeId>,
}

impl Fake {
    pub(crate) fn new(nodes: usize, copies: usize, fault: PlantedFault) -> Self {
        Self { nodes, copies, fault, state: Mutex::default() }
    }

    /// The first live node of the key.
    fn primary(&self, key: &str, killed: &[NodeId]) -> NodeId {
        let first = key.bytes().map(usize::from).sum::<usize>();
        (0..self.nodes)
            .map(|step| node((first + step) % self.nodes + 1))
            .find(|node| self.fault == PlantedFault::Undead || !killed.contains(node))
            .expect("one lives")
    }
}

fn node(number: usize) -> NodeId {
    NodeId::new(&format!("node{number}")).expect("a good name")
}

impl StoreTarget for Fake {
    fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tests write text");
        ops.iter()
            .map(|op| match op {
                Op::Put { key, value } => self.put(&text(key), &text(value)).map(Done::Placed),
                Op::Get { key } => self.get(&text(key)).map(Done::Got),
                Op::Delete { .. } | Op::PutUntil { .. } => {
                    unreachable!("the bench deletes nothing, and what it puts stays")
                }
            })
            .collect()
    }

    fn put(&self, key: &str, value: &str) -> Result<Placed, ClientError> {
        let mut state = self.state.lock();
        if self.fault == PlantedFault::FailsWrites && !state.killed.is_empty() {
            let why = "planted".to_owned();
            return Err(ClientError::NotEnoughReplicas { deadline: Duration::ZERO, why });
        }
        let value = value.as_bytes().to_vec();
        let primary = self.primary(key, &state.killed);
        let entry =
            state.values.entry(key.to_owned()).or_insert_with(|| (value.clone(), value.clone()));
        if self.fault != PlantedFault::KeepsFirst {
            entry.1 = value;
        }
        let copies = self.copies - usize::from(self.fault == PlantedFault::TooFewCopies);
        Ok(Placed { primary, copies })
    }

    fn put_list(&self, key: &str, list: &[&str]) -> Result<Placed, ClientError> {
        self.put(key, &list.join(","))
    }

    fn get(&self, key: &str) -> Result<Option<Got>, ClientError> {
        let state = self.state.lock();
        let primary = self.primary(key, &state.killed);
        let was_hit = self.primary(key, &[]) != primary;
        if self.fault == PlantedFault::LosesTheKilled && was_hit {
            return Ok(None);
        }
        let rolled_back = self.fault == PlantedFault::RollsBack && !state.killed.is_empty();
        Ok(state.values.get(key).map(|(first, newest)| Got {
            expiry: None,
            value: if rolled_back { first } else { newest }.clone(),
            primary,
        }))
    }

    fn get_list(&self, key: &str) -> Result<Option<Vec<String>>, ClientError> {
        let got = self.get(key)?;
        Ok(got.map(|g| String::from_utf8_lossy(&g.value).split(',').map(str::to_owned).collect()))
    }
}

impl KillNode for Fake {
    fn kill(&self, nodes: &[NodeId]) -> Result<(), ProcessError> {
        self.state.lock().killed.extend(nodes.iter().cloned());
        Ok(())
    }
}
