//! A pool of idle connections.
//!
//! A caller takes a connection out, uses it exclusively, and puts it back unless it failed, so no
//! lock is held during I/O. There are as many connections to a server as there were concurrent
//! callers. Messages without an answer may stay unsent on an idle connection: they are sent with
//! its next frame, or after a short time.

use std::time::Duration;

use cluster::ids::Address;
use cluster::limits::Limits;
use fxhash::FxHashMap;
use log::debug;
use net_common::connection::{Connection, Dial, NetError, Waits};
use net_common::in_place::LocalServer;
use parking_lot::Mutex;

/// The most idle connections to one server; further ones are closed when they are returned.
const KEPT: usize = 64;

/// Connections by address.
pub struct ConnectionPool {
    dial: Dial,
    here: Option<LocalServer>,
    idle: Mutex<FxHashMap<Address, Vec<Connection>>>,
}

impl ConnectionPool {
    /// No connections yet. `here` is a server in this process, which needs none.
    pub fn new(dial: Dial, here: Option<LocalServer>) -> ConnectionPool {
        ConnectionPool { dial, here, idle: Mutex::default() }
    }

    /// The cluster takes values up to these limits: answers may be as long as one of them needs.
    pub fn allow(&self, limits: &Limits) {
        self.dial.payload.allow(limits);
    }

    /// Whether the server at `address` is in this process: then a sender waits until it has
    /// answered.
    pub fn is_here(&self, address: &Address) -> bool {
        self.here(address).is_some()
    }

    fn here(&self, address: &Address) -> Option<&LocalServer> {
        self.here.as_ref().filter(|here| here.address == *address)
    }

    /// A connection to `address`: an idle one that still works, otherwise a new one. Its time-outs
    /// are the pool's.
    ///
    /// # Errors
    /// [`NetError`] if none can be opened.
    pub fn take(&self, address: &Address) -> Result<Connection, NetError> {
        match self.take_kept(address) {
            Some(connection) => Ok(connection),
            None => Connection::dial(address, &self.dial),
        }
    }

    /// An idle connection to `address` that still works, or one that costs nothing, if there is
    /// one.
    pub fn take_kept(&self, address: &Address) -> Option<Connection> {
        loop {
            let Some(mut connection) = self.idle.lock().get_mut(address).and_then(Vec::pop) else {
                let here = self.here(address)?;
                return Some(Connection::in_place(here, self.dial.payload.clone()));
            };
            if connection.is_usable() {
                // The previous user may have set other time-outs.
                connection.set_waits(Waits::for_silence_of(self.dial.reply));
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose replies have all been read.
    pub fn put_back(&self, mut connection: Connection) {
        connection.rest();
        {
            let mut idle = self.idle.lock();
            let kept = idle.entry(connection.address().clone()).or_default();
            if kept.len() < KEPT {
                return kept.push(connection);
            }
        }
        if connection.unsent_for().is_some()
            && let Err(error) = connection.flush()
        {
            debug!("commits were lost: {error}");
        }
    }

    /// Sends the messages that have waited on idle connections for at least `age`. Returns whether
    /// more are waiting.
    pub fn flush(&self, age: Duration) -> bool {
        let mut more = false;
        let mut is_due = |link: &mut Connection| {
            let waits = link.unsent_for();
            more |= waits.is_some_and(|time| time < age);
            waits.is_some_and(|time| time >= age)
        };
        let due = {
            let mut idle = self.idle.lock();
            let mut due = Vec::new();
            idle.values_mut().for_each(|kept| due.extend(kept.extract_if(.., &mut is_due)));
            due
        };
        for mut link in due {
            match link.flush() {
                Ok(()) => self.put_back(link),
                Err(error) => debug!("commits were lost: {error}"),
            }
        }
        more
    }

    /// Closes all idle connections to a server: one of them broke, so the others are suspect.
    pub fn forget(&self, address: &Address) {
        // Dropped after the lock is released: closing is a system call.
        let _closed = self.idle.lock().remove(address);
    }
}
