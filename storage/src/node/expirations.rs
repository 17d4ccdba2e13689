//! Tombstones that replace expired values (rule C6).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cluster::ids::Epoch;
use cluster::replica;
use cluster::version::{Clock, Version};
use net_common::message::data::Body;
use parking_lot::Mutex;

/// Whether this is a value that has not expired by a node's clock. It is exact enough for counting:
/// only a read may report to a client that a value has expired (C6).
pub(crate) fn is_alive(body: Body<'_>, clock: Clock) -> bool {
    body.value().is_some() && !body.expiry().is_some_and(|at| replica::is_expired(at, clock))
}

/// A tombstone with which this node has replaced a value, under a view.
pub struct Expired {
    /// The view.
    pub epoch: Epoch,
    /// The key.
    pub key: Vec<u8>,
    /// The tombstone's version.
    pub version: Version,
}

/// Tombstones that are still to be handed in to the journal. There are hardly ever any.
#[derive(Default)]
pub struct Expirations {
    waiting: Mutex<Vec<Expired>>,
    /// Whether there are any, so that most calls need not lock.
    are_waiting: AtomicBool,
    /// The number of all that were added.
    count: AtomicU64,
}

impl Expirations {
    /// Adds some. May be called under the lock of the holdings.
    pub fn add(&self, expired: impl IntoIterator<Item = Expired>) {
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        waiting.extend(expired);
        self.count.fetch_add((waiting.len() - before) as u64, Ordering::Relaxed);
        drop(waiting);
        self.are_waiting.store(true, Ordering::SeqCst);
    }

    /// Takes all that wait.
    pub fn take(&self) -> Vec<Expired> {
        if !self.are_waiting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.are_waiting.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.waiting.lock())
    }

    /// The number of all since the process started.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
