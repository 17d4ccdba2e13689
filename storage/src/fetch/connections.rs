//! Connections to sources.

use cluster::view::Routes;
use fxhash::FxHashMap;
use net_common::connection::{Connection, Dial, NetError};
use parking_lot::Mutex;

/// Idle connections, and the settings for new ones.
pub struct SourceConnections {
    dial: Dial,
    /// By the source's place in the present view.
    kept: Mutex<FxHashMap<u16, Connection>>,
}

impl SourceConnections {
    /// Without connections.
    pub fn new(dial: Dial) -> SourceConnections {
        SourceConnections { dial, kept: Mutex::default() }
    }

    /// A connection to the member at a place.
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

    /// Keeps a connection for reuse.
    pub fn keep(&self, place: u16, link: Connection) {
        self.kept.lock().insert(place, link);
    }

    /// Closes the idle connections.
    pub fn clear(&self) {
        self.kept.lock().clear();
    }
}
