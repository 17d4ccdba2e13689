//! A connection that speaks frames: our own protocol.
//!
//! Read what has arrived, answer every complete frame, send the answers in one write, read again. So
//! requests can be pipelined to any depth, answers come in their order, and a batch costs one read and
//! one write.
//!
//! Limits: frame size, idle time, the time that a frame may take to arrive, the time that a peer may
//! take to read its answers. A peer that is over one is told and closed.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use super::{Limits, Served, say_last};
use crate::auth::{self, Gate, Passage, Secret};
use crate::frame::{self, FORMAT_BINARY, Frame, FrameReader};

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

/// Serves one connection until it ends.
pub(super) fn serve(
    served: &Served,
    limits: &Limits,
    secret: Option<&Secret>,
    open: &Open,
) -> io::Result<()> {
    let mut connection = Serving {
        served,
        limits,
        gate: Gate::new(secret),
        session: open(served.peer),
        reader: FrameReader::new(),
        out: Vec::new(),
        stream: served.stream.clone(),
        quiet_since: Instant::now(),
    };
    connection.run()
}

/// One connection being served.
struct Serving<'s> {
    served: &'s Served,
    limits: &'s Limits,
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
        self.stream.set_write_timeout(Some(self.limits.frame))?;
        // One time-out for both waits, so that it need not be set again for each frame: whoever is
        // woken by it looks which of the two limits, if any, is over.
        let nap = self.limits.frame.min(self.limits.idle);
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
            if self.served.is_last() {
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
        let limits = self.limits;
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
