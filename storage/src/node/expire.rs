//! Replacing expired values with tombstones (rule C6).

use cluster::replica::State;
use net_common::message::data::{Body, Record};

use super::Node;
use super::expirations::Expired;

impl Node {
    /// Replaces expired values with tombstones, where this node is synced (C6). The tombstones are
    /// finished like the records of a dead writer. Returns how many.
    pub fn expire(&self) -> usize {
        let Some(table) = self.table.get() else { return 0 };
        let mut count = 0;
        for arc in 0..table.arcs() {
            // Arc by arc: a new view must not wait for all of it.
            let holdings = self.holdings.read();
            let Some(routes) = holdings.routes() else { return count };
            if self.has_lease() && holdings.synced().contains(arc) {
                let alone = self.commits_alone(routes, arc);
                let expired = table.expire(arc, self.clock(), alone);
                count += expired.len();
                let tombstone = |(key, version)| Expired { epoch: holdings.epoch(), key, version };
                self.expirations.add(expired.into_iter().map(tombstone));
            }
            drop(holdings);
            self.hand_in_expired();
        }
        count
    }

    /// The number of values that it has expired since it started.
    pub fn expired_count(&self) -> u64 {
        self.expirations.count()
    }

    /// Hands in the tombstones of expired values: after a restart another node's clock, which may
    /// be behind, would take the value to be alive (C6, H6). Must not be called under a lock; does
    /// not wait for the disk.
    pub(super) fn hand_in_expired(&self) {
        for Expired { epoch, key, version } in self.expirations.take() {
            let (state, body) = (State::Pending, Body::Tombstone);
            self.journal.fetched(epoch, [Record { key: &key, version, state, body }]);
        }
    }
}
