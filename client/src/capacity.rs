//! Which nodes are full.
//!
//! A node that has reached its limit (`storage --max-memory`) reports so in every answer, but still
//! stores what it is sent: a write that some replicas have stored must be completed at all, and a
//! get completes pending records. So clients must not start a write that would add to such a node's
//! memory.
//!
//! A put of a key with a full replica becomes a read-modify-write: its fence returns the present
//! value, and whether the node is still full, before anything is written. A single put asks all
//! replicas of the key first if one of them has not answered this client yet, so that a program
//! that puts once and exits is refused too. A batch does not: the first batch of a client may
//! exceed the limit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cluster::ids::NodeId;
use cluster::view::Routes;
use fxhash::FxHashMap;
use parking_lot::Mutex;

/// The nodes' reports.
#[derive(Default)]
pub(crate) struct Capacity {
    /// The number of full nodes.
    full: AtomicUsize,
    /// The epoch of a view whose members have all reported.
    complete: AtomicU64,
    /// Whether each node was full in its last report.
    known: Mutex<FxHashMap<NodeId, bool>>,
}

impl Capacity {
    /// Records reports: places in the view, and whether the node there is full.
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

    /// Whether any node was full in its last report.
    pub(crate) fn is_any_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    /// Whether some replica of a key has not reported yet.
    pub(crate) fn is_any_unknown(&self, routes: &Routes, key: &[u8]) -> bool {
        if self.complete.load(Ordering::Relaxed) == routes.epoch().0 {
            return false;
        }
        let known = self.known.lock();
        write_set_of(routes, key).any(|id| !known.contains_key(id))
    }

    /// A replica of a key that was full in its last report, if there is one.
    pub(crate) fn full(&self, routes: &Routes, key: &[u8]) -> Option<NodeId> {
        if !self.is_any_full() {
            return None;
        }
        let known = self.known.lock();
        write_set_of(routes, key).find(|id| known.get(*id) == Some(&true)).cloned()
    }
}

/// The nodes in the write set of a key.
fn write_set_of<'r>(routes: &'r Routes, key: &[u8]) -> impl Iterator<Item = &'r NodeId> + use<'r> {
    let write_set = routes.arc_of(key).map_or(&[][..], |arc| routes.write_set(arc));
    write_set.iter().map(|&place| &routes.member(place).id)
}
