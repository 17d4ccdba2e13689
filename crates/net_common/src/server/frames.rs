//! A connection that speaks frames: our own protocol.
//!
//! Read what has arrived, answer every complete frame, send the answers in one write, read again.
//! So requests can be pipelined to any depth, answers come in their order, and a batch costs one
//! read and one write.
//!
//! Limits: frame size, idle time, the time that a frame may take to arrive, the time that a peer
//! may take to read its answers. Both times begin anew while bytes move ([`Progress`]). A peer that
//! exceeds one gets an error and is closed.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use log::debug;

use super::{Limits, Served, send_last};
use crate::auth::{self, AuthGate, Passage, Secret};
use crate::error::{ErrorWord, Refused};
use crate::foreign::Foreign;
use crate::frame::{self, FORMAT_BINARY, Frame, FrameError, FrameReader, Kind};
use crate::progress::{self, LEAST_RATE, Progress, is_time_out};

/// What the server does after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on to the next frame.
    Go,
    /// Send the answer and close.
    Close,
    /// Send the answer and hand the connection to [`Session::take_over`].
    TakeOver,
}

/// The handler of one connection's requests.
pub trait Session {
    /// Answers one frame by appending to `out`.
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next;

    /// Runs the rest of a connection after [`Next::TakeOver`]. Returns when the connection is
    /// closed.
    fn take_over(&mut self, _stream: Arc<TcpStream>, _reader: FrameReader) {}
}

/// Opens a session for each connection.
pub type OpenSession = dyn Fn(SocketAddr) -> Box<dyn Session> + Send + Sync;

/// Answers are sent once so many bytes are waiting, so that a long pipeline's answers do not pile
/// up.
const FLUSH: usize = 64 << 10;

/// Serves one connection until it closes.
pub(super) fn serve(
    served: &Served,
    limits: &Limits,
    secret: Option<&Secret>,
    open: &OpenSession,
) -> io::Result<()> {
    let mut connection = Serving {
        served,
        limits,
        gate: AuthGate::new(secret),
        session: open(served.peer),
        reader: FrameReader::within(limits.payload.clone()),
        out: Vec::new(),
        stream: served.stream.clone(),
        progress: Progress::begin(),
    };
    connection.run()
}

/// One connection being served.
struct Serving<'s> {
    served: &'s Served,
    limits: &'s Limits,
    stream: Arc<TcpStream>,
    gate: AuthGate,
    session: Box<dyn Session>,
    reader: FrameReader,
    out: Vec<u8>,
    /// Since the last frame was complete, or the first byte of the next one arrived.
    progress: Progress,
}

/// Logs a request, but not its content, which is private.
fn log_request(peer: SocketAddr, frame: Frame<'_>) {
    let bytes = frame.payload.len();
    match Kind::from_wire(frame.kind) {
        Some(kind) => debug!("{peer}: {kind:?} of {bytes} bytes"),
        None => debug!("{peer}: type {} of {bytes} bytes", frame.kind),
    }
}

impl Serving<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(self.limits.frame / 2))?;
        // One time-out for both waits, so that it need not be set for each frame: after it the
        // limits are checked one by one.
        let nap = self.limits.frame.min(self.limits.idle);
        self.stream.set_read_timeout(Some(nap))?;
        loop {
            match self.answer_frames()? {
                Next::Go => {}
                Next::Close => {
                    // A peer may take its time over a large answer, as over any other.
                    self.flush()?;
                    send_last(&self.stream, &[]);
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
            // A peer that always has another request under way would keep us forever.
            if self.served.is_last() {
                return Ok(Next::Close);
            }
            let next = match self.reader.next_frame() {
                Ok(None) => {
                    if answered {
                        self.progress = Progress::begin();
                    }
                    return Ok(Next::Go);
                }
                Ok(Some(frame)) if self.gate.is_needless(&frame) => {
                    frame::write_error(
                        &mut self.out,
                        frame.format,
                        ErrorWord::Auth,
                        auth::NO_SECRET,
                    );
                    Next::Close
                }
                Ok(Some(frame)) if self.gate.lets_pass(frame) => {
                    answered = true;
                    log_request(self.served.peer, frame);
                    self.session.frame(frame, &mut self.out)
                }
                Ok(Some(frame)) => {
                    let format = frame.format;
                    match self.gate.frame(frame, &mut self.out)? {
                        Passage::On => Next::Go,
                        Passage::Refused(why) => {
                            std::thread::sleep(auth::SLOWED);
                            frame::write_error(&mut self.out, format, ErrorWord::Auth, why);
                            Next::Close
                        }
                    }
                }
                Err(FrameError::Foreign(foreign)) => {
                    refuse_foreign(foreign, &mut self.out);
                    Next::Close
                }
                Err(error) => {
                    let Refused { word, why } = error.refused();
                    frame::write_error(&mut self.out, FORMAT_BINARY, word, &why);
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
            progress::write_all(&*self.stream, &self.out, self.limits.frame, None)?;
            self.out.clear();
            if self.out.capacity() > 4 * FLUSH {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads more. `false` at the end of the stream between two frames.
    fn read(&mut self) -> io::Result<bool> {
        let was_between = self.reader.is_between_frames();
        loop {
            match self.reader.fill(&mut &*self.stream) {
                Ok(0) if self.reader.is_between_frames() => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if was_between => {
                    self.progress = Progress::begin();
                    return Ok(true);
                }
                Ok(n) => {
                    // A peer that has not proved the secret gets one such period only.
                    if self.gate.is_open() {
                        self.progress.moved(n, self.limits.frame);
                    }
                    return self.is_over(false).map(|over| !over);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_time_out(&error) => {
                    if self.is_over(was_between)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the peer has been silent, or busy with one frame, for too long; if so it gets an
    /// error.
    fn is_over(&mut self, between: bool) -> io::Result<bool> {
        let limits = self.limits;
        // A peer that has not proved the secret gets no idle time.
        let between = between && self.gate.is_open();
        let (limit, word) =
            if between { (limits.idle, ErrorWord::Idle) } else { (limits.frame, ErrorWord::Slow) };
        if !self.progress.is_over(limit) {
            return Ok(false);
        }
        let why = if between {
            format!("no request for {limit:?}")
        } else {
            format!("no whole frame for {limit:?}, nor {LEAST_RATE} bytes of one each second")
        };
        frame::write_error(&mut self.out, FORMAT_BINARY, word, &why);
        send_last(&self.stream, &self.out);
        Ok(true)
    }
}

/// Appends the answer to a caller of another protocol, in that protocol: that this is a native
/// port.
fn refuse_foreign(foreign: Foreign, out: &mut Vec<u8>) {
    let why = "this is GT Store's native port, and speaks its own protocol; Redis clients go to a node's \
                   Redis port (storage --redis-port)";
    match foreign {
        Foreign::Http => {
            let size = why.len() + 1;
            out.extend_from_slice(
                    format!(
                        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\
                         Connection: close\r\n\r\n{why}\n"
                    )
                    .as_bytes(),
                );
        }
        Foreign::Redis => out.extend_from_slice(format!("-ERR {why}\r\n").as_bytes()),
        Foreign::Tls => {
            frame::write_error(
                out,
                FORMAT_BINARY,
                ErrorWord::Unknown,
                &format!("no {foreign} here: {why}"),
            );
        }
    }
}
