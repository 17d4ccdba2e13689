//! Values whose time has passed, and the tombstones that take their place (rule C6).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cluster::ids::Epoch;
use cluster::replica;
use cluster::version::{Clock, Version};
use net_common::message::data::Body;
use parking_lot::Mutex;

/// Whether this is a value whose time has not passed by a node's clock: for those who count, and
/// need no more than what this node knows. Whoever is told that a value is gone is told by a read
/// (C6).
pub(crate) fn is_alive(body: Body<'_>, clock: Clock) -> bool {
    body.value().is_some() && !body.expiry().is_some_and(|at| replica::is_expired(at, clock))
}

/// A tombstone that this node has put in place of a value, under a view.
pub struct Expired {
    /// The view.
    pub epoch: Epoch,
    /// The key.
    pub key: Vec<u8>,
    /// The tombstone's version.
    pub version: Version,
}

/// Tombstones that are still to be handed in to the disk. Hardly ever any.
#[derive(Default)]
pub struct Expirations {
    waiting: Mutex<Vec<Expired>>,
    /// Whether there are any, for the many who only want to know that.
    are_waiting: AtomicBool,
    /// How many there have been.
    count: AtomicU64,
}

impl Expirations {
    /// Adds some. May be called under the holdings's lock.
    pub fn add(&self, expired: impl IntoIterator<Item = Expired>) {
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        waiting.extend(expired);
        self.count.fetch_add((waiting.len() - before) as u64, Ordering::Relaxed);
        drop(waiting);
        self.are_waiting.store(true, Ordering::SeqCst);
    }

    /// Takes those that wait.
    pub fn take(&self) -> Vec<Expired> {
        if !self.are_waiting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.are_waiting.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.waiting.lock())
    }

    /// How many there have been since the process started.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
