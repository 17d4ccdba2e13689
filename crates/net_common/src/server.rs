//! The answering side: an accept thread, and a pool with one thread for each connection.
//!
//! One thread accepts and hands each connection to a [`Pool`] thread, which serves it until it
//! closes. This file knows no protocol: the module `frames` has our own, and a server for another
//! one supplies a function that serves one connection ([`Server::serving`]).
//!
//! Beyond the limit of connections a new one gets an error and is closed; the others are not
//! affected.

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

/// The limits on a server's peers.
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

/// How many connections may wait for their `busy`, and how many may linger after it; beyond that
/// they are closed without it.
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

/// Serves one connection until it closes.
pub type Serve = dyn Fn(&Served) -> io::Result<()> + Send + Sync;

/// A connection that is being served.
pub struct Served {
    /// Its number, unique while the server runs.
    pub number: u64,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The connection. Reads return the end of the stream when the server stops.
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
    /// Open connections by a serial number, so that stopping can close them.
    connections: Mutex<FxHashMap<u64, Arc<TcpStream>>>,
    next_connection: AtomicU64,
    turned_away: AtomicU64,
}

impl Server {
    /// Starts serving frames on a listener. Its threads log as `name`.
    ///
    /// # Errors
    /// If the operating system has no more threads, or does not return the listener's address.
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

    /// Starts serving connections by `serve`, `limit` at once; further ones get `busy`.
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

    /// Stops: accepts no new connections, and closes the open ones after their present request.
    /// Blocks for a few seconds at most.
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
        // Its queue was closed by the accept thread.
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
    // At once, so that no client waits here for an answer that it could get elsewhere.
    drop(listener);
    // Readers see the end of the stream; an answer under way is still sent.
    for stream in shared.connections.lock().values() {
        let _ = stream.shutdown(Shutdown::Read);
    }
    if !pool.finish(FAREWELL) {
        warn!("some connections did not end in {FAREWELL:?}");
    }
}

/// Sends `busy` to connections beyond the limit. It has its own thread: accepting must not wait for
/// peers.
///
/// The connections do not wait for each other either: each gets its answer at once and is closed a
/// moment later, as in [`send_last`]. A client that had to wait for its `busy` would consider its
/// request lost.
fn turn_away(turned_away: &Receiver<TcpStream>, busy: &[u8]) {
    let mut answered: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    loop {
        let next = match answered.front() {
            None => turned_away.recv().map_err(RecvTimeoutError::from),
            Some((until, _)) => turned_away.recv_deadline(*until),
        };
        match next {
            Ok(mut stream) => {
                let is_answered = stream.set_nonblocking(true).is_ok()
                    && stream.write_all(busy).is_ok()
                    && stream.shutdown(Shutdown::Write).is_ok();
                if answered.len() == TURNED_AWAY {
                    answered.pop_front();
                }
                if is_answered {
                    answered.push_back((Instant::now() + LINGER, stream));
                }
            }
            Err(RecvTimeoutError::Timeout) => drop(answered.pop_front()),
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
        // The connection was closed before we accepted it.
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
