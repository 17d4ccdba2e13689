//! The records of a test cluster's nodes, read from the nodes themselves.

use cluster::ids::{Epoch, NodeId};
use cluster::version::Version;
use cluster::view::MemberState;
use net_common::connection::Connection;
use net_common::message::data::{Body, KeyReply, ReadBatch, ReadReply};

use super::TestCluster;
use crate::wait::wait_until;

/// The record of a key on a replica: none, or a version with a value or a tombstone.
pub type ReplicaRecord = Option<(Version, Option<Vec<u8>>)>;

impl TestCluster {
    /// Puts this many keys, `key0` and so on, with values that are computed from their numbers, and
    /// waits until the manager knows of all copies.
    ///
    /// # Panics
    /// If a put fails.
    pub fn fill(&self, keys: usize, value: impl Fn(usize) -> String) -> Vec<(String, String)> {
        let pairs: Vec<(String, String)> =
            (0..keys).map(|n| (format!("key{n}"), value(n))).collect();
        let placed = self.client().put_many(&pairs);
        placed.into_iter().for_each(|placed| drop(placed.expect("a cluster that is well answers")));
        // The manager counts by the nodes' reports.
        let due = (self.options.copies * keys) as u64;
        wait_until("the next heartbeats report the keys", || {
            let keys: u64 = self.status()?.nodes.iter().map(|node| node.keys).sum();
            if keys >= due { Ok(()) } else { Err(format!("{keys} keys")) }
        });
        pairs
    }

    /// The records of a key, read from its replicas, primary first.
    ///
    /// # Panics
    /// If a replica does not reply with a record or its absence.
    pub fn replicas(&self, key: &[u8]) -> Vec<(NodeId, ReplicaRecord)> {
        let asked: Vec<usize> = self.running();
        let routes = self.node(asked[0]).node().routes().expect("it has seen a view");
        let arc = routes.arc_of(key).expect("somebody serves");
        routes
            .replicas(arc)
            .iter()
            .map(|&place| {
                let member = routes.member(place);
                assert_eq!(member.state, MemberState::Active);
                let batch = ReadBatch { epoch: routes.epoch(), keys: vec![key] };
                let mut link = Connection::dial(&member.address, &self.dial()).expect("it is up");
                let reply: ReadReply<'_> = link.call(&batch).expect("it answers");
                let record = match reply.answers[..] {
                    [KeyReply::Absent] => None,
                    [KeyReply::Record(version, _, Body::Tombstone)] => Some((version, None)),
                    [
                        KeyReply::Record(version, _, Body::Value(value) | Body::Expiring(value, _)),
                    ] => Some((version, Some(value.to_vec()))),
                    ref other => panic!("{} answers {other:?}", member.id),
                };
                (member.id.clone(), record)
            })
            .collect()
    }

    /// Asserts that every replica of a key has the same record with this value.
    ///
    /// # Panics
    /// If one has not.
    pub fn assert_replicas(&self, key: &[u8], value: Option<&[u8]>) {
        let replicas = self.replicas(key);
        let first = &replicas[0].1;
        for (id, record) in &replicas {
            assert_eq!(record, first, "{id} and {} differ", replicas[0].0);
            let held = record.as_ref().and_then(|(_, body)| body.as_deref());
            assert_eq!(held, value, "on {id}");
        }
    }

    /// Asserts that each of these keys has its value on this many nodes, the same record on all of
    /// them, and that no other node has anything of it.
    ///
    /// # Panics
    /// With the first key for which this fails.
    pub fn assert_held<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, pairs: &[(K, V)], copies: usize) {
        /// Few enough for a frame of replies, with values of up to a kilobyte.
        const CHUNK: usize = 1000;
        for chunk in pairs.chunks(CHUNK) {
            let keys: Vec<&[u8]> = chunk.iter().map(|(key, _)| key.as_ref()).collect();
            let mut records: Vec<Vec<(Version, Vec<u8>)>> = vec![Vec::new(); chunk.len()];
            for number in self.running() {
                for (held, records) in self.held(number, &keys).into_iter().zip(&mut records) {
                    records.extend(held);
                }
            }
            for ((key, value), records) in chunk.iter().zip(records) {
                let key = String::from_utf8_lossy(key.as_ref()).into_owned();
                assert_eq!(records.len(), copies, "copies of {key}");
                for record in &records {
                    assert_eq!(record, &records[0], "two copies of {key} differ");
                    assert_eq!(record.1, value.as_ref(), "{key}");
                }
            }
        }
        // Records of keys that a node is not a replica of count here as well.
        let held: u64 = self.running().iter().map(|&n| self.node(n).node().info().keys).sum();
        assert_eq!(held, (pairs.len() * copies) as u64, "keys on all nodes together");
    }

    /// The values of these keys on a node, read from the node itself: `None` where it has no such
    /// key.
    fn held(&self, number: usize, keys: &[&[u8]]) -> Vec<Option<(Version, Vec<u8>)>> {
        let batch = ReadBatch { epoch: Epoch::NONE, keys: keys.to_vec() };
        let mut link =
            Connection::dial(&self.advertised(number), &self.dial()).expect("a node accepts");
        // A node that has just returned may be active in the view before it knows that itself.
        wait_until("a node has its lease", || {
            let reply: ReadReply<'_> = link.call(&batch).map_err(|error| error.to_string())?;
            let held = |answer: &KeyReply<'_>| match answer {
                KeyReply::Record(version, _, Body::Value(value) | Body::Expiring(value, _)) => {
                    Ok(Some((*version, value.to_vec())))
                }
                KeyReply::WrongEpoch => Ok(None),
                other => Err(format!("{} answers {other:?}", self.node_name(number))),
            };
            reply.answers.iter().map(held).collect()
        })
    }

    /// The value of a key on a node, whatever other nodes hold. `None` where the node has no such
    /// key, or does not serve.
    ///
    /// # Panics
    /// If it does not reply at all.
    pub fn value_at(&self, number: usize, key: &[u8]) -> Option<Vec<u8>> {
        let batch = ReadBatch { epoch: Epoch::NONE, keys: vec![key] };
        let mut link = Connection::dial(&self.advertised(number), &self.dial()).expect("it is up");
        let reply: ReadReply<'_> = link.call(&batch).ok()?;
        match reply.answers[..] {
            [KeyReply::Record(_, _, Body::Value(value) | Body::Expiring(value, _))] => {
                Some(value.to_vec())
            }
            _ => None,
        }
    }
}
