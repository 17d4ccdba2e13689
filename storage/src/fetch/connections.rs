//! Connections to the nodes that are fetched from.

use cluster::view::Routes;
use fxhash::FxHashMap;
use net_common::connection::{Connection, Dial, NetError};
use parking_lot::Mutex;

/// Those that nobody uses at the moment, and how to make more.
pub struct SourceConnections {
    dial: Dial,
    /// By the source's place in the present view.
    kept: Mutex<FxHashMap<u16, Connection>>,
}

impl SourceConnections {
    /// None yet.
    pub fn new(dial: Dial) -> SourceConnections {
        SourceConnections { dial, kept: Mutex::default() }
    }

    /// One to the member at a place.
    ///
    /// # Errors
    /// [`NetError`], if it cannot be reached.
    pub fn take(&self, routes: &Routes, place: u16) -> Result<Connection, NetError> {
        let kept = self.kept.lock().remove(&place);
        match kept {
            Some(link) => Ok(link),
            None => Connection::dial(&routes.member(place).address, &self.dial),
        }
    }

    /// Keeps one for the next who wants it.
    pub fn keep(&self, place: u16, link: Connection) {
        self.kept.lock().insert(place, link);
    }

    /// Closes those that are kept.
    pub fn clear(&self) {
        self.kept.lock().clear();
    }
}
