//! Stale records (rule H3): those that this node held before it missed a view.
//!
//! They are never shown to anybody (F10, R6): a record may have been deleted meanwhile, and its
//! tombstone dropped. They are kept beside the table, as a cache, for the case that the node
//! becomes a replica of the arc again: then a source confirms those that are current, and sends
//! only the others.
//!
//! They never change: confirmed records are copied into the table, and an arc's records are dropped
//! when the arc is synced, or when the node is not to be a replica of it.

use std::sync::Arc;

use cluster::arcs::ArcSet;
use fxhash::FxHashMap;
use parking_lot::Mutex;

use crate::table::Shard;

/// Stale records, by arc.
#[derive(Default)]
pub struct StaleCache(Mutex<FxHashMap<usize, Arc<Shard>>>);

impl StaleCache {
    /// Keeps an arc's records. If the cache has more of them already, those stay: it is only a
    /// cache. Returns a shard that is no longer needed: freeing many records takes a while, and
    /// must not happen under a lock.
    pub fn set_aside(&self, arc: usize, shard: Shard) -> Option<Arc<Shard>> {
        let mut arcs = self.0.lock();
        if arcs.get(&arc).is_none_or(|kept| kept.len() <= shard.len()) {
            arcs.insert(arc, Arc::new(shard))
        } else {
            Some(Arc::new(shard))
        }
    }

    /// Removes all arcs but these, and returns the removed ones.
    pub fn retain(&self, arcs: &ArcSet) -> Vec<(usize, Arc<Shard>)> {
        self.0.lock().extract_if(|arc, _| !arcs.contains(*arc)).collect()
    }

    /// An arc's records, if there are any.
    pub fn get(&self, arc: usize) -> Option<Arc<Shard>> {
        self.0.lock().get(&arc).cloned()
    }

    /// The number of records, with tombstones.
    pub fn records(&self) -> usize {
        self.0.lock().values().map(|shard| shard.len()).sum()
    }

    /// Drops an arc's records.
    pub fn forget(&self, arc: usize) {
        let removed = self.0.lock().remove(&arc);
        // Not under the lock.
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use cluster::replica::State;
    use cluster::version::Version;
    use net_common::message::data::{Body, Record};

    use super::*;
    use crate::table::Table;

    fn shard(keys: &[&[u8]]) -> Shard {
        let table = Table::new(1);
        let record = |key| Record {
            key,
            version: Version::plain(1, 1),
            state: State::Committed,
            body: Body::Tombstone,
        };
        table.merge(0, keys.iter().map(|key| record(key)), 0);
        table.take(0)
    }

    #[test]
    fn the_larger_of_two_shards_is_kept() {
        let cache = StaleCache::default();
        for (keys, want) in [(&[&b"a"[..], b"b"][..], 2), (&[b"c"], 2), (&[b"d", b"e", b"f"], 3)] {
            cache.set_aside(7, shard(keys));
            assert_eq!(cache.get(7).unwrap().len(), want);
        }
        cache.forget(7);
        assert!(cache.get(7).is_none());
    }

    #[test]
    fn retain_drops_all_other_arcs() {
        let cache = StaleCache::default();
        cache.set_aside(1, shard(&[b"a"]));
        cache.set_aside(2, shard(&[b"a"]));
        cache.retain(&[0, 2].into_iter().collect());
        assert!(cache.get(1).is_none() && cache.get(2).is_some());
    }
}
