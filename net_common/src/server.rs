//! The answering side: an accept thread, a pool of threads, and a session for each connection.
//!
//! One thread accepts and hands each connection to a [`Pool`] thread, which stays with it until it
//! ends: read what has arrived, answer every complete frame, send the answers in one write, read
//! again. So requests can be pipelined to any depth, answers come in their order, and a batch costs
//! one read and one write.
//!
//! Limits: connections (beyond them a newcomer is told `busy`), frame size, idle time, the time that a
//! frame may take to arrive, the time that a peer may take to read its answers. A peer that is over
//! one is told and closed; the others do not notice.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fxhash::FxHashMap;
use log::{debug, warn};
use parking_lot::Mutex;

use crate::auth::{self, Gate, Passage, Secret};
use crate::frame::{self, FORMAT_BINARY, Frame, FrameReader};
use crate::logging;
use crate::pool::Pool;

/// What a server allows its peers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// How long a connection may be silent between two frames.
    pub idle: Duration,
    /// How long a frame may take from its first byte to its last, and a peer to take an answer.
    pub frame: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 16_384,
            idle: Duration::from_secs(600),
            frame: Duration::from_secs(10),
        }
    }
}

/// What a session wants done after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on to the next frame.
    Go,
    /// Send the answer and close.
    Close,
    /// Send the answer and hand the connection to [`Session::take_over`].
    TakeOver,
}

/// What a server does with one connection's requests.
pub trait Session {
    /// Answers one frame by appending to `out`.
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next;

    /// Runs the rest of a connection by itself, after [`Next::TakeOver`]. Returns when it has ended.
    fn take_over(&mut self, _stream: Arc<TcpStream>, _reader: FrameReader) {}
}

/// Opens a session for each connection.
pub type Open = dyn Fn(SocketAddr) -> Box<dyn Session> + Send + Sync;

/// Answers are sent once so many bytes are waiting, so that a long pipeline's answers do not pile up.
const FLUSH: usize = 64 << 10;

/// How long a connection that is to be closed may go on sending, so that the error it was sent is not
/// destroyed by a reset, and how much.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_BYTES: usize = 256 << 10;

/// How many connections may wait to be told `busy`, and how many that were told may linger; beyond that
/// they are just closed.
const TURNED_AWAY: usize = 256;

/// How long to wait when the operating system has no more descriptors to give.
const EXHAUSTED: Duration = Duration::from_millis(20);

/// How often that is reported.
const REPEAT: Duration = Duration::from_secs(5);

/// How long stopping waits for requests that are being served.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running server. Stops when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    turning_away: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    limits: Limits,
    secret: Option<Secret>,
    open: Box<Open>,
    is_stopping: AtomicBool,
    /// Open connections by a number of our own, so that stopping can end them.
    connections: Mutex<FxHashMap<u64, Arc<TcpStream>>>,
    next_connection: AtomicU64,
}

impl Server {
    /// Starts serving on a listener. `name` is what its threads log as.
    ///
    /// # Errors
    /// If the operating system has no threads to give, or cannot tell the listener's address.
    pub fn start(
        name: &str,
        listener: TcpListener,
        limits: Limits,
        secret: Option<Secret>,
        open: Box<Open>,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            limits,
            secret,
            open,
            is_stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
        });
        let (away, turned_away) = bounded(TURNED_AWAY);
        let limit = shared.limits.connections;
        let turning_away =
            logging::spawn(format!("{name} busy"), move || turn_away(&turned_away, limit))?;
        let accepting = {
            let shared = shared.clone();
            logging::spawn(format!("{name} accept"), move || accept(&listener, &shared, &away))?
        };
        Ok(Server { address, shared, accepting: Some(accepting), turning_away: Some(turning_away) })
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

    /// Stops: no new connections, the open ones end after the request they are at. Blocks for a few
    /// seconds at most.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        // The accept thread sleeps in the kernel; a connection wakes it.
        let mut wake = self.address;
        if wake.ip().is_unspecified() {
            wake.set_ip(match wake {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect_timeout(&wake, Duration::from_secs(1));
        for thread in [Some(accepting), self.turning_away.take()].into_iter().flatten() {
            // A panic there has been reported already; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, away: &Sender<TcpStream>) {
    let serving = shared.clone();
    let pool = Pool::new(shared.name.clone(), shared.limits.connections, move |stream| {
        serve(stream, &serving);
    });
    let mut complained: Option<Instant> = None;
    while !shared.is_stopping.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok(_) if shared.is_stopping.load(Ordering::SeqCst) => break,
            Ok((stream, _)) => {
                if let Err(stream) = pool.submit(stream) {
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
    // Readers see the end of their stream; an answer under way still leaves.
    for stream in shared.connections.lock().values() {
        let _ = stream.shutdown(Shutdown::Read);
    }
    if !pool.finish(FAREWELL) {
        warn!("some connections did not end in {FAREWELL:?}");
    }
}

/// Tells connections beyond the limit so. On a thread of its own: accepting must not wait for peers.
///
/// None waits for another either: each is told at once and kept for a moment, as in [`say_last`]. A
/// client that had to wait for its `busy` would take its request for lost.
fn turn_away(turned_away: &Receiver<TcpStream>, limit: usize) {
    let why = format!("this server has its {limit} connections; try again, or another node");
    let mut out = Vec::new();
    frame::write_error(&mut out, FORMAT_BINARY, "busy", &why);
    let mut told: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    loop {
        let next = match told.front() {
            None => turned_away.recv().map_err(RecvTimeoutError::from),
            Some((until, _)) => turned_away.recv_deadline(*until),
        };
        match next {
            Ok(mut stream) => {
                debug!("at the limit of {limit} connections, one more was turned away");
                let is_told = stream.set_nonblocking(true).is_ok()
                    && stream.write_all(&out).is_ok()
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

/// Sends a last answer and closes, leaving the peer a moment to stop sending: data that arrives at a
/// closed socket would reset the connection and destroy the answer on its way.
fn say_last(mut stream: &TcpStream, out: &[u8]) {
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

fn serve(stream: TcpStream, shared: &Shared) {
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
    let mut connection = Serving {
        shared,
        gate: Gate::new(shared.secret.as_ref()),
        session: (shared.open)(peer),
        reader: FrameReader::new(),
        out: Vec::new(),
        stream: stream.clone(),
        quiet_since: Instant::now(),
    };
    match connection.run() {
        Ok(()) => {}
        Err(error) => debug!("{peer}: {error}"),
    }
    shared.connections.lock().remove(&number);
}

/// One connection being served.
struct Serving<'s> {
    shared: &'s Shared,
    stream: Arc<TcpStream>,
    gate: Gate,
    session: Box<dyn Session>,
    reader: FrameReader,
    out: Vec<u8>,
    /// When the last frame was complete, or the first byte of the next one came.
    quiet_since: Instant,
}

impl Serving<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(self.shared.limits.frame))?;
        // One time-out for both waits, so that it need not be set again for each frame: whoever is
        // woken by it looks which of the two limits, if any, is over.
        let nap = self.shared.limits.frame.min(self.shared.limits.idle);
        self.stream.set_read_timeout(Some(nap))?;
        loop {
            match self.answer_frames()? {
                Next::Go => {}
                Next::Close => {
                    // A peer may take its time over a large answer, as over any other.
                    self.flush()?;
                    say_last(&self.stream, &[]);
                    return Ok(());
                }
                Next::TakeOver => {
                    self.flush()?;
                    let reader = std::mem::take(&mut self.reader);
                    self.session.take_over(self.stream.clone(), reader);
                    return Ok(());
                }
            }
            self.flush()?;
            if !self.read()? {
                return Ok(());
            }
        }
    }

    /// Answers all frames that have arrived.
    fn answer_frames(&mut self) -> io::Result<Next> {
        let mut answered = false;
        loop {
            // A peer that always has the next request on its way would keep us for ever.
            if self.shared.is_stopping.load(Ordering::SeqCst) {
                return Ok(Next::Close);
            }
            let next = match self.reader.next_frame() {
                Ok(None) => {
                    if answered {
                        self.quiet_since = Instant::now();
                    }
                    return Ok(Next::Go);
                }
                Ok(Some(frame)) if self.gate.is_open() => {
                    answered = true;
                    self.session.frame(frame, &mut self.out)
                }
                Ok(Some(frame)) => {
                    let format = frame.format;
                    match self.gate.frame(frame, &mut self.out)? {
                        Passage::On => Next::Go,
                        Passage::Refused(why) => {
                            std::thread::sleep(auth::SLOWED);
                            frame::write_error(&mut self.out, format, "auth", why);
                            Next::Close
                        }
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    let (word, why) = text.split_once(": ").unwrap_or((&text, ""));
                    frame::write_error(&mut self.out, FORMAT_BINARY, word, why);
                    Next::Close
                }
            };
            if next != Next::Go {
                return Ok(next);
            }
            if self.out.len() >= FLUSH {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            (&*self.stream).write_all(&self.out)?;
            self.out.clear();
            if self.out.capacity() > 4 * FLUSH {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads more. `false` at a clean end.
    fn read(&mut self) -> io::Result<bool> {
        let was_between = self.reader.is_between_frames();
        loop {
            match self.reader.fill(&mut &*self.stream) {
                Ok(0) if self.reader.is_between_frames() => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if was_between => {
                    self.quiet_since = Instant::now();
                    return Ok(true);
                }
                Ok(_) => return self.is_over(false).map(|over| !over),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        if self.is_over(was_between)? {
                            return Ok(false);
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Whether the peer has been silent, or busy with one frame, for longer than it may; if so it is
    /// told.
    fn is_over(&mut self, between: bool) -> io::Result<bool> {
        let limits = &self.shared.limits;
        // Whoever has not proved the secret yet gets no idle time either.
        let between = between && self.gate.is_open();
        let (limit, word) = if between { (limits.idle, "idle") } else { (limits.frame, "slow") };
        if self.quiet_since.elapsed() < limit {
            return Ok(false);
        }
        let what = if between { "no request" } else { "no whole frame" };
        let why = format!("{what} for {limit:?}");
        frame::write_error(&mut self.out, FORMAT_BINARY, word, &why);
        say_last(&self.stream, &self.out);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
