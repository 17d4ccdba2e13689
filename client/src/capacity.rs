//! Which nodes are full.
//!
//! A node that holds as much as it may (`storage --max-memory`) says so with every answer, and goes
//! on taking what it is sent: a write that some replicas have taken must be completed at all, and a
//! get completes what it finds. So it is for whoever begins a write to begin none that adds to what
//! such a node holds.
//!
//! A put of a key that a full node keeps goes as a read-modify-write: its fence tells how much is
//! there, and whether the node is still full, before anything is written. And before a single put
//! to a node that has not been heard yet all replicas of the key are asked, so that a program that
//! puts once and ends is refused as well. A batch is not held up for that: the first batch of a
//! client may be too much.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cluster::ids::NodeId;
use cluster::view::Routes;
use fxhash::FxHashMap;
use parking_lot::Mutex;

/// What nodes have said.
#[derive(Default)]
pub(crate) struct Capacity {
    /// How many have said that they are full.
    full: AtomicUsize,
    /// The epoch of a view whose members have all been heard.
    complete: AtomicU64,
    /// Whether each was full when it was heard last.
    known: Mutex<FxHashMap<NodeId, bool>>,
}

impl Capacity {
    /// Nodes have answered, each at its place in the view, and said whether they are full.
    pub(crate) fn note(&self, routes: &Routes, reports: &[(u16, bool)]) {
        let is_news = self.is_any_full()
            || self.complete.load(Ordering::Relaxed) != routes.epoch().0
            || reports.iter().any(|(_, is_full)| *is_full);
        if !is_news {
            return;
        }
        let members = &routes.view().members;
        let mut known = self.known.lock();
        for &(place, is_full) in reports {
            known.insert(routes.member(place).id.clone(), is_full);
        }
        known.retain(|id, _| members.iter().any(|member| member.id == *id));
        self.full.store(known.values().filter(|is_full| **is_full).count(), Ordering::Relaxed);
        if known.len() == members.len() {
            self.complete.store(routes.epoch().0, Ordering::Relaxed);
        }
    }

    /// Whether any node was full when it was heard last.
    pub(crate) fn is_any_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    /// Whether some replica of a key has not been heard yet.
    pub(crate) fn is_any_unknown(&self, routes: &Routes, key: &[u8]) -> bool {
        if self.complete.load(Ordering::Relaxed) == routes.epoch().0 {
            return false;
        }
        let known = self.known.lock();
        write_set_of(routes, key).any(|id| !known.contains_key(id))
    }

    /// A replica of a key that was full when it was heard last, if there is one.
    pub(crate) fn full(&self, routes: &Routes, key: &[u8]) -> Option<NodeId> {
        if !self.is_any_full() {
            return None;
        }
        let known = self.known.lock();
        write_set_of(routes, key).find(|id| known.get(*id) == Some(&true)).cloned()
    }
}

/// Who must take a write of a key.
fn write_set_of<'r>(routes: &'r Routes, key: &[u8]) -> impl Iterator<Item = &'r NodeId> + use<'r> {
    let write_set = routes.arc_of(key).map_or(&[][..], |arc| routes.write_set(arc));
    write_set.iter().map(|&place| &routes.member(place).id)
}
