//! The thread that writes the log.
//!
//! It takes what has been handed in, all there is up to about a megabyte, and appends it as one frame: one
//! system call for the writes of a moment, and with `sync` one wait for the disk. In `async` another thread
//! waits for the disk, about once a second, and this one goes on appending; between two groups it rests for a
//! millisecond, so that nobody has to wake it for each write.
//!
//! When a segment is full it is closed and another begun, and when the log has become long a checkpoint is made, by
//! a thread that comes and goes. Once that is complete, what it covers is removed.
//!
//! * `segment`: the file that is being written; `flusher`: the thread that waits for the disk in `async`;
//! * `checkpointing`: when a checkpoint is made; `pacing`: how long the log may become; `failure`: when the disk fails.
//!
//! **When the disk fails**, or is full, with `sync` writes are refused until that is mended; in `async` it is said
//! in the log and in what the node tells of itself.
//!
//! Invariants: all segments but the last are closed, and on the disk; a checkpoint has a name only when it is on the
//! disk; nothing that a checkpoint or a segment of this life has to tell is removed before the checkpoint after it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::ids::{ClusterId, Incarnation};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use log::error;
use net_common::logging;

use super::Settings;
use super::entry;
use super::folder::Folder;
use super::frame;
use super::journal::{Ends, LogItem, LogRequest, Noted};
use super::ledger::Ledger;
use super::recovery::Report;
use crate::node::Node;

mod checkpointing;
mod failure;
mod flusher;
mod pacing;
mod segment;

use checkpointing::{Checkpointing, Logged, Pause};
use failure::Complaints;
use flusher::{Flushed, Flusher};
use segment::Segment;

/// Bytes after which a group ends.
const GROUP: usize = 1 << 20;

/// How long the thread rests after a group in `async`.
const REST: Duration = Duration::from_millis(1);

/// How long the thread waits where nothing is due.
const IDLE: Duration = Duration::from_secs(10);

/// The running threads. Stop when dropped.
pub struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Ends the threads, after all that was handed in is on the disk.
    pub fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts to write a folder's log, from where recovery has left it.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(
    settings: Settings,
    folder: Folder,
    (report, next): (&Report, u64),
    ends: Ends,
    node: Arc<Node>,
) -> io::Result<Running> {
    let (stop, stopped) = bounded(0);
    let name = node.id().to_string();
    let flusher = Flusher::start(&name)?;
    let writer = Writer {
        incarnation: node.incarnation(),
        node,
        settings,
        folder,
        ends,
        stopped,
        flusher,
        origin: None,
        ledger: Ledger::new(0),
        next,
        segment: None,
        broken: None,
        leftover: None,
        out: Vec::new(),
        unflushed: 0,
        logged: Arc::new(AtomicU64::new(report.log_bytes)),
        checkpoint_bytes: report.checkpoint_bytes,
        // What was not sound must not be met again, and a gap is to be filled.
        wants_checkpoint: !report.lost.is_empty() || report.has_gap,
        checkpointing: None,
        pause: None,
        checkpoint_complaints: Complaints::default(),
        has_gap: report.has_gap,
        failed: None,
        complaints: Complaints::default(),
    };
    let thread = logging::spawn(format!("{name} disk"), move || writer.run())?;
    Ok(Running { stop: Some(stop), thread: Some(thread) })
}

struct Writer {
    node: Arc<Node>,
    incarnation: Incarnation,
    settings: Settings,
    folder: Folder,
    ends: Ends,
    /// Disconnected when the node stops; nothing is ever sent.
    stopped: Receiver<()>,
    flusher: Flusher,
    /// The cluster and the size of its ring, once a view has told.
    origin: Option<(ClusterId, usize)>,
    ledger: Ledger,
    /// The number of the next segment.
    next: u64,
    segment: Option<Segment>,
    /// The segment in which the disk has failed.
    broken: Option<Segment>,
    /// A file that could not be begun, nor removed.
    leftover: Option<PathBuf>,
    out: Vec<u8>,
    /// Bytes that were appended since the flusher began its last job.
    unflushed: u64,
    /// Bytes of the log that no checkpoint covers.
    logged: Logged,
    /// Bytes of the last checkpoint.
    checkpoint_bytes: u64,
    /// Whether a checkpoint is to be made however short the log is.
    wants_checkpoint: bool,
    checkpointing: Option<Checkpointing>,
    /// The pause after a checkpoint that could not be made.
    pause: Option<Pause>,
    checkpoint_complaints: Complaints,
    /// Whether the folder may say that the log has a gap.
    has_gap: bool,
    /// When the log could not be written, or that was tried again last.
    failed: Option<Instant>,
    complaints: Complaints,
}

impl Writer {
    fn run(mut self) {
        loop {
            let made = self
                .checkpointing
                .as_ref()
                .map_or(never(), |checkpointing| checkpointing.made().clone());
            let mut rests = false;
            select! {
                recv(self.ends.requests) -> request => match request {
                    Ok(request) => {
                        self.group(request);
                        rests = !self.ends.shared.is_sync();
                    }
                    Err(_) => return,
                },
                recv(self.flusher.done()) -> done => {
                    if let Ok(flushed) = done {
                        self.flusher.heard();
                        self.flushed(flushed);
                        self.advance();
                    }
                }
                recv(made) -> made => {
                    // None: it gave up, since the node stops.
                    self.checkpointed(made.ok());
                }
                recv(self.stopped) -> _ => return self.end(),
                default(self.patience()) => {}
            }
            self.turn();
            if rests {
                // Not woken by what is handed in.
                let _ = self.stopped.recv_timeout(REST);
            }
        }
    }

    /// How long there may be nothing to do.
    fn patience(&self) -> Duration {
        let left = |age: Duration, time: Duration| time.saturating_sub(age);
        let is_durable = self.segment.as_ref().is_none_or(Segment::is_durable);
        let mut patience = IDLE;
        if let Some(since) = self.failed.filter(|_| self.may_mend()) {
            patience = left(since.elapsed(), self.settings.retry);
        }
        if !is_durable && !self.flusher.is_busy() {
            patience = patience.min(left(self.flusher.age(), self.settings.flush));
        }
        // A checkpoint is not begun before.
        if let Some(pause) = self.pause.filter(|_| is_durable && self.is_checkpoint_due()) {
            patience = patience.min(pause.left());
        }
        patience
    }

    /// What is due by the clock.
    fn turn(&mut self) {
        if self.may_mend()
            && self.failed.is_some_and(|since| since.elapsed() >= self.settings.retry)
        {
            self.mend();
        }
        let Some(segment) = &self.segment else { return };
        if segment.is_durable() {
            return self.advance();
        }
        let Settings { flush, flush_bytes, .. } = self.settings;
        if !self.flusher.is_busy() && (self.flusher.age() >= flush || self.unflushed >= flush_bytes)
        {
            self.flusher.flush(segment.sequence, segment.end, segment.output.clone());
            self.unflushed = 0;
        }
    }

    /// Takes in what was handed in up to now, and writes it.
    fn group(&mut self, first: LogRequest) {
        let mut requests = vec![first];
        let mut bytes = 0;
        loop {
            if let Some(LogRequest { item: LogItem::Records(buffer), .. }) = requests.last() {
                bytes += buffer.len();
            }
            if bytes >= GROUP {
                break;
            }
            let Ok(request) = self.ends.requests.try_recv() else { break };
            requests.push(request);
        }
        self.ends.shared.taken(bytes);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let start = frame::begin(&mut out);
        // After the requests were received: what was taken under a view stands behind it.
        for Noted { cluster, arcs, view } in self.ends.shared.take_noted() {
            if self.origin.is_none() {
                self.origin = Some((cluster, arcs));
                self.ledger = Ledger::new(arcs);
            }
            self.ledger.view(&view);
            entry::put_view(&view, &mut out);
        }
        let mut acks = Vec::new();
        #[cfg(test)]
        let mut still = Vec::new();
        for LogRequest { item, ack } in requests {
            match item {
                LogItem::Records(buffer) => {
                    out.extend_from_slice(&buffer);
                    self.ends.spare.put(buffer);
                }
                LogItem::Synced(epoch, arcs) => {
                    if self.ledger.fetched(epoch, &arcs) {
                        entry::put_synced(epoch, &arcs, &mut out);
                    }
                }
                LogItem::Look => {}
                #[cfg(test)]
                LogItem::AreYouStill(tell) => still.push(tell),
            }
            acks.extend(ack);
        }
        let written = if out.len() > frame::HEAD { self.append(&mut out, start) } else { Ok(()) };
        if let Err(error) = written {
            self.fail(&error);
        }
        // While an old gap is open nothing counts as being on the disk.
        let answer = self.ends.shared.trouble().map_or(Ok(()), Err);
        for ack in acks {
            // Whoever has gone away meanwhile needs no answer.
            let _ = ack.try_send(answer.clone());
        }
        #[cfg(test)]
        still.into_iter().for_each(|tell| tell.send(self.is_still()).unwrap_or_default());
        if out.capacity() > 4 * GROUP {
            out = Vec::new();
        }
        self.out = out;
    }

    /// Writes a frame.
    fn append(&mut self, out: &mut [u8], start: usize) -> io::Result<()> {
        if self.failed.is_some() && self.segment.is_none() {
            // The checkpoint that mends it has all of this.
            return Ok(());
        }
        if self.segment.is_none() {
            self.begin()?;
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.append(out, start)?;
        self.unflushed += out.len() as u64;
        self.logged.fetch_add(out.len() as u64, Ordering::Relaxed);
        if self.ends.shared.is_sync() { segment.sync() } else { Ok(()) }
    }

    /// What came of the flusher's job.
    fn flushed(&mut self, Flushed { sequence, end, result }: Flushed) {
        match (result, &mut self.segment) {
            // Told once, whatever the segment is by now.
            (Err(error), _) => self.fail(&error),
            (Ok(()), Some(segment)) if segment.sequence == sequence => {
                segment.durable = segment.durable.max(end);
            }
            (Ok(()), _) => {}
        }
    }

    #[cfg(test)]
    fn is_still(&self) -> bool {
        self.segment.as_ref().is_none_or(Segment::is_durable)
            && !self.flusher.is_busy()
            && self.checkpointing.is_none()
            && self.failed.is_none()
    }

    /// Writes what is left.
    fn end(&mut self) {
        while let Ok(request) = self.ends.requests.try_recv() {
            self.group(request);
        }
        // A view may have been noted after the last request.
        self.group(LogRequest { item: LogItem::Look, ack: None });
        if let Some(last) = self.flusher.stop() {
            self.flushed(last);
        }
        if let Some(segment) = &mut self.segment
            && let Err(error) = segment.close()
        {
            self.fail(&error);
        }
        if self.failed.is_some() {
            error!("the end of the log may be lost");
        }
        // It gives up at its next rest, unless it is about to be complete.
        if let Some(checkpointing) = &self.checkpointing {
            let made = checkpointing.made().recv().ok();
            self.checkpointed(made);
        }
    }
}
