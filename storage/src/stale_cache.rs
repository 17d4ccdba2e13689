//! Records of an earlier life (rule H3): what this node held before it missed a view.
//!
//! Something may have been deleted meanwhile, and its tombstone dropped: nobody may be shown these
//! records (F10, R6). They are kept beside the table, as a cache, for when the node is to
//! keep the arc again: then a source says which of them are as good as its own, and only the others
//! are sent.
//!
//! They are never changed: what a source confirms is copied into the table, and all of an arc is
//! let go of when the arc is synced, or when the node is not to keep it.

use std::sync::Arc;

use cluster::arcs::ArcSet;
use fxhash::FxHashMap;
use parking_lot::Mutex;

use crate::table::Shard;

/// Records of an earlier life, by arc.
#[derive(Default)]
pub struct StaleCache(Mutex<FxHashMap<usize, Arc<Shard>>>);

impl StaleCache {
    /// Keeps an arc's records. Where there are more already, those stay: it is only a cache.
    /// Returns what is of no more use: freeing many records takes a while, and is not to be done
    /// under a lock.
    pub fn set_aside(&self, arc: usize, shard: Shard) -> Option<Arc<Shard>> {
        let mut arcs = self.0.lock();
        if arcs.get(&arc).is_none_or(|kept| kept.len() <= shard.len()) {
            arcs.insert(arc, Arc::new(shard))
        } else {
            Some(Arc::new(shard))
        }
    }

    /// Lets go of all arcs but these, and returns the others.
    pub fn retain(&self, arcs: &ArcSet) -> Vec<(usize, Arc<Shard>)> {
        self.0.lock().extract_if(|arc, _| !arcs.contains(*arc)).collect()
    }

    /// An arc's records, if there are any.
    pub fn get(&self, arc: usize) -> Option<Arc<Shard>> {
        self.0.lock().get(&arc).cloned()
    }

    /// How many records there are, tombstones too.
    pub fn records(&self) -> usize {
        self.0.lock().values().map(|shard| shard.len()).sum()
    }

    /// Lets go of an arc's records.
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
