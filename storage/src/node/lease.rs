//! A node's lease (rules L1 and N1): how long it may serve.

use std::sync::atomic::{AtomicU64, Ordering};

use cluster::lease::{self, LeaseHolder};
use net_common::clock;
use parking_lot::Mutex;

/// The lease, shared by all threads of the node.
#[derive(Default)]
pub struct Lease {
    holder: Mutex<LeaseHolder>,
    /// When it expires, readable without the lock.
    until: AtomicU64,
}

impl Lease {
    /// Notes that a heartbeat is sent now. Returns its number.
    pub fn send(&self) -> u64 {
        self.holder.lock().send(clock::boot_ms())
    }

    /// Takes a lease of so many milliseconds from the answer to a heartbeat; 0: none.
    pub fn grant(&self, sequence: u64, lease_ms: u64) {
        if lease_ms > 0 {
            let mut holder = self.holder.lock();
            self.until.store(holder.granted(sequence, lease_ms), Ordering::SeqCst);
        }
    }

    /// Gives the lease up: there is none from now on.
    pub fn give_up(&self) {
        let mut holder = self.holder.lock();
        holder.give_up();
        self.until.store(0, Ordering::SeqCst);
    }

    /// Whether there is one at the moment.
    pub fn is_valid(&self) -> bool {
        lease::is_valid(self.until.load(Ordering::SeqCst), clock::boot_ms())
    }
}
