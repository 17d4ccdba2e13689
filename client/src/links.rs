//! Kept connections.
//!
//! A caller takes a connection out, uses it alone, and puts it back if nothing went wrong, so no lock is
//! held while bytes travel. There are as many connections to a server as there were callers at once.

use cluster::ids::Address;
use fxhash::FxHashMap;
use net_common::connection::{Connection, Dial, NetError};
use parking_lot::Mutex;

/// Idle connections kept for one server; more are closed when they come back.
const KEPT: usize = 64;

/// Connections by address.
pub struct Links {
    dial: Dial,
    idle: Mutex<FxHashMap<Address, Vec<Connection>>>,
}

impl Links {
    /// No connections yet.
    pub fn new(dial: Dial) -> Links {
        Links { dial, idle: Mutex::default() }
    }

    /// A connection to `address`: a kept one that is still good, else a new one.
    ///
    /// # Errors
    /// [`NetError`] where none can be made.
    pub fn take(&self, address: &Address) -> Result<Connection, NetError> {
        loop {
            let kept = self.idle.lock().get_mut(address).and_then(Vec::pop);
            match kept {
                None => return Connection::dial(address, &self.dial),
                Some(mut connection) => {
                    if connection.is_usable() {
                        return Ok(connection);
                    }
                }
            }
        }
    }

    /// Keeps a connection whose replies have all been read.
    pub fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        let kept = idle.entry(connection.address().clone()).or_default();
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    /// Closes all idle connections to a server: one of them broke, so the others are suspect.
    pub fn forget(&self, address: &Address) {
        // Dropped after the lock is released: closing is a system call.
        let _closed = self.idle.lock().remove(address);
    }

    /// Closes everything.
    pub fn clear(&self) {
        let _closed = std::mem::take(&mut *self.idle.lock());
    }
}
