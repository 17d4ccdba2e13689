//! The connections of a node's Redis ports, for CLIENT LIST and CLIENT KILL.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use net_common::server::Served;
use parking_lot::Mutex;
use resp::client::ConnectionFacts;

/// The publicly visible state of a connection.
pub struct ClientEntry {
    /// The facts, except for the two times.
    pub facts: ConnectionFacts,
    /// When its last command was complete.
    pub last: Instant,
    since: Instant,
    stream: Arc<TcpStream>,
}

impl ClientEntry {
    fn new(served: &Served, number: u64) -> ClientEntry {
        let local = served.stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let facts = ConnectionFacts {
            id: number,
            peer: served.peer.to_string(),
            local,
            ..ConnectionFacts::default()
        };
        let stream = served.stream.clone();
        ClientEntry { facts, stream, since: Instant::now(), last: Instant::now() }
    }

    /// Closes the connection.
    fn close(&self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The facts, as of now.
    pub fn described(&self) -> ConnectionFacts {
        ConnectionFacts {
            age_s: self.since.elapsed().as_secs(),
            idle_s: self.last.elapsed().as_secs(),
            ..self.facts.clone()
        }
    }
}

/// All connections, by number.
#[derive(Default)]
pub struct ClientRegistry {
    last_number: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Mutex<ClientEntry>>>>,
}

/// The outcome of a CLIENT KILL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Killed {
    /// The number of connections that matched.
    pub count: usize,
    /// Whether the calling connection is one of them. It is not closed yet.
    pub is_own: bool,
}

impl ClientRegistry {
    /// Serves a connection, which is registered meanwhile.
    pub fn with<T>(&self, served: &Served, serve: impl FnOnce(Arc<Mutex<ClientEntry>>) -> T) -> T {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Mutex::new(ClientEntry::new(served, number)));
        self.open.lock().insert(number, client.clone());
        let ended = serve(client);
        self.open.lock().remove(&number);
        ended
    }

    /// The facts of each connection, in the order in which they were opened.
    pub fn described(&self) -> Vec<ConnectionFacts> {
        self.all().iter().map(|client| client.lock().described()).collect()
    }

    /// Closes the connections that match, except for the calling one.
    pub fn kill(&self, own: u64, is_match: impl Fn(&ConnectionFacts) -> bool) -> Killed {
        let mut killed = Killed::default();
        for client in self.all() {
            let client = client.lock();
            if !is_match(&client.facts) {
                continue;
            }
            killed.count += 1;
            if client.facts.id == own {
                killed.is_own = true;
                continue;
            }
            client.close();
            // It does not count from now on, though its thread has yet to notice.
            let id = client.facts.id;
            drop(client);
            self.open.lock().remove(&id);
        }
        killed
    }

    /// No connection is locked while the list is.
    fn all(&self) -> Vec<Arc<Mutex<ClientEntry>>> {
        self.open.lock().values().cloned().collect()
    }
}
