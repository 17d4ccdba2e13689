//! The answering side: an accept thread, a pool of threads, and one of these for each connection.
//!
//! One thread accepts and hands each connection to a [`Pool`] thread, which stays with it until it
//! ends. What is spoken on it is none of this file's business: the module `frames` has our own
//! protocol, and whoever speaks another brings a function that serves one connection
//! ([`Server::serving`]).
//!
//! Beyond the limit of connections a newcomer is told so, and closed; the others do not notice.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fxhash::FxHashMap;
use log::{debug, warn};
use parking_lot::Mutex;

use crate::auth::Secret;
use crate::error::ErrorWord;
use crate::frame::{self, FORMAT_BINARY, PayloadLimit};
use crate::pool::Pool;
use crate::worker::Worker;

mod frames;

pub use frames::{Next, OpenSession, Session};

/// What a server allows its peers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// How long a connection may be silent between two frames.
    pub idle: Duration,
    /// How long a frame may take from its first byte to its last, and a peer to take an answer. It
    /// begins anew while bytes move, at [`LEAST_RATE`](crate::progress::LEAST_RATE) or more.
    pub frame: Duration,
    /// How long a frame may be.
    pub payload: PayloadLimit,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 16_384,
            idle: Duration::from_secs(600),
            frame: Duration::from_secs(10),
            payload: PayloadLimit::default(),
        }
    }
}

/// How long a connection that is to be closed may go on sending, so that the error it was sent is
/// not destroyed by a reset, and how much.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_BYTES: usize = 256 << 10;

/// How many connections may wait to be told `busy`, and how many that were told may linger; beyond
/// that they are just closed.
const TURNED_AWAY: usize = 256;

/// How long to wait when the operating system has no more descriptors to give.
const EXHAUSTED: Duration = Duration::from_millis(20);

/// How often that is reported.
const REPEAT: Duration = Duration::from_secs(5);

/// How long stopping waits for requests that are being served. A node with two servers stops one
/// after the other; twice this is less than the 5 seconds after which `stop_service` kills.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running server. Stops when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Worker,
    turning_away: Worker,
}

/// Serves one connection until it ends.
pub type Serve = dyn Fn(&Served) -> io::Result<()> + Send + Sync;

/// A connection that is being served.
pub struct Served {
    /// Its number, unique while the server runs.
    pub number: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The connection. Reading from it ends when the server stops.
    pub stream: Arc<TcpStream>,
    shared: Arc<Shared>,
}

impl Served {
    /// Whether the server is stopping: then the request under way is the last.
    pub fn is_last(&self) -> bool {
        self.shared.is_stopping.load(Ordering::SeqCst)
    }
}

/// How many connections there are and were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open ones.
    pub open: usize,
    /// All that were served since the start.
    pub served: u64,
    /// Those that were turned away, since there were too many.
    pub turned_away: u64,
}

struct Shared {
    name: String,
    /// Connections served at once.
    limit: usize,
    serve: Box<Serve>,
    is_stopping: AtomicBool,
    /// Open connections by a number of our own, so that stopping can end them.
    connections: Mutex<FxHashMap<u64, Arc<TcpStream>>>,
    next_connection: AtomicU64,
    turned_away: AtomicU64,
}

impl Server {
    /// Starts serving frames on a listener. `name` is what its threads log as.
    ///
    /// # Errors
    /// If the operating system has no threads to give, or cannot tell the listener's address.
    pub fn start(
        name: &str,
        listener: TcpListener,
        limits: Limits,
        secret: Option<Secret>,
        open: Box<OpenSession>,
    ) -> io::Result<Server> {
        let limit = limits.connections;
        let why = format!("this server has its {limit} connections; try again, or another node");
        let mut busy = Vec::new();
        frame::write_error(&mut busy, FORMAT_BINARY, ErrorWord::Busy, &why);
        let serve = move |served: &Served| frames::serve(served, &limits, secret.as_ref(), &open);
        Server::serving(name, listener, limit, busy, Box::new(serve))
    }

    /// Starts serving on a listener whatever `serve` speaks, `limit` connections at once; others
    /// are told `busy`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn serving(
        name: &str,
        listener: TcpListener,
        limit: usize,
        busy: Vec<u8>,
        serve: Box<Serve>,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            limit,
            serve,
            is_stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
            turned_away: AtomicU64::new(0),
        });
        let (away, turned_away) = bounded(TURNED_AWAY);
        let turning_away =
            Worker::spawn(format!("{name} busy"), move |_| turn_away(&turned_away, &busy))?;
        let accepting = {
            let shared = shared.clone();
            Worker::spawn(format!("{name} accept"), move |_| accept(listener, &shared, &away))?
        };
        Ok(Server { address, shared, accepting, turning_away })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts open connections, from anywhere, for as long as anyone cares.
    pub fn connection_count(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || shared.connections.lock().len()
    }

    /// Counts connections, from anywhere, for as long as anyone cares.
    pub fn counts(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || Counts {
            open: shared.connections.lock().len(),
            served: shared.next_connection.load(Ordering::Relaxed) - 1,
            turned_away: shared.turned_away.load(Ordering::Relaxed),
        }
    }

    /// Stops: no new connections, the open ones end after the request they are at. Blocks for a few
    /// seconds at most.
    pub fn stop(&mut self) {
        if self.shared.is_stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        // The accept thread sleeps in the kernel; a connection wakes it.
        let mut wake = self.address;
        if wake.ip().is_unspecified() {
            wake.set_ip(match wake {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect_timeout(&wake, Duration::from_secs(1));
        self.accepting.stop();
        // Its queue has ended with the accept thread.
        self.turning_away.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>, away: &Sender<TcpStream>) {
    let serving = shared.clone();
    let pool = Pool::new(shared.name.clone(), shared.limit, move |stream| serve(stream, &serving));
    let mut complained: Option<Instant> = None;
    while !shared.is_stopping.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok(_) if shared.is_stopping.load(Ordering::SeqCst) => break,
            Ok((stream, _)) => {
                if let Err(stream) = pool.submit(stream) {
                    shared.turned_away.fetch_add(1, Ordering::Relaxed);
                    debug!("at the limit of {} connections, one was turned away", shared.limit);
                    // If even that queue is full the connection is dropped, which is an answer too.
                    let _ = away.try_send(stream);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if complained.is_none_or(|last| last.elapsed() > REPEAT) {
                    warn!("cannot accept a connection: {error}");
                    complained = Some(Instant::now());
                }
                std::thread::sleep(EXHAUSTED);
            }
        }
    }
    // At once, so that nobody waits for answers here who could get them elsewhere.
    drop(listener);
    // Readers see the end of their stream; an answer under way still leaves.
    for stream in shared.connections.lock().values() {
        let _ = stream.shutdown(Shutdown::Read);
    }
    if !pool.finish(FAREWELL) {
        warn!("some connections did not end in {FAREWELL:?}");
    }
}

/// Tells connections beyond the limit so. On a thread of its own: accepting must not wait for
/// peers.
///
/// None waits for another either: each is told at once and kept for a moment, as in [`send_last`]. A
/// client that had to wait for its `busy` would take its request for lost.
fn turn_away(turned_away: &Receiver<TcpStream>, busy: &[u8]) {
    let mut told: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    loop {
        let next = match told.front() {
            None => turned_away.recv().map_err(RecvTimeoutError::from),
            Some((until, _)) => turned_away.recv_deadline(*until),
        };
        match next {
            Ok(mut stream) => {
                let is_told = stream.set_nonblocking(true).is_ok()
                    && stream.write_all(busy).is_ok()
                    && stream.shutdown(Shutdown::Write).is_ok();
                if told.len() == TURNED_AWAY {
                    told.pop_front();
                }
                if is_told {
                    told.push_back((Instant::now() + LINGER, stream));
                }
            }
            Err(RecvTimeoutError::Timeout) => drop(told.pop_front()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Sends a last answer and closes, leaving the peer a moment to stop sending: data that arrives at
/// a closed socket would reset the connection and destroy the answer on its way.
pub fn send_last(mut stream: &TcpStream, out: &[u8]) {
    let prepared = stream.set_write_timeout(Some(LINGER)).is_ok()
        && stream.set_read_timeout(Some(LINGER)).is_ok();
    if !prepared || stream.write_all(out).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let until = Instant::now() + LINGER;
    let mut rest = [0; 4096];
    let mut drained = 0;
    while drained < LINGER_BYTES && Instant::now() < until {
        match stream.read(&mut rest) {
            Ok(0) | Err(_) => return,
            Ok(n) => drained += n,
        }
    }
}

fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let peer = match stream.peer_addr() {
        Ok(peer) => peer,
        // Gone before we came to it.
        Err(_) => return,
    };
    let stream = Arc::new(stream);
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    shared.connections.lock().insert(number, stream.clone());
    if shared.is_stopping.load(Ordering::SeqCst) {
        let _ = stream.shutdown(Shutdown::Read);
    }
    let served = Served { number, peer, stream, shared: shared.clone() };
    match (shared.serve)(&served) {
        Ok(()) => {}
        Err(error) => debug!("{peer}: {error}"),
    }
    shared.connections.lock().remove(&number);
}

#[cfg(test)]
mod tests;
