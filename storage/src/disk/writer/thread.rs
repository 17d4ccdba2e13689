//! The thread itself: it takes requests, writes them, and runs timers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::ids::{ClusterId, Incarnation, NodeId};
use crossbeam_channel::{Receiver, Sender, never, select};
use log::error;
use net_common::worker::{Stop, Worker};

use super::checkpoint_job::Logged;
use super::flusher::{DiskFlusher, Flushed};
use super::retry::{Complaints, RetryPause};
use super::segment::Segment;
use super::state::{Debt, Log};
use crate::disk::checkpoint::CheckpointSource;
use crate::disk::entry;
use crate::disk::folder::Folder;
use crate::disk::frame;
use crate::disk::journal::{Ack, LogItem, LogRequest, NotedView, WriterEnds};
use crate::disk::ledger::Ledger;
use crate::disk::recovery::RecoveryReport;
use crate::disk::settings::DiskSettings;

/// Bytes after which a group ends.
const GROUP: usize = 1 << 20;

/// The rest after a group in `async`.
const REST: Duration = Duration::from_millis(1);

/// The longest wait if nothing is due.
const IDLE: Duration = Duration::from_secs(10);

/// The parameters of a writer.
pub struct Start {
    /// The settings of the folder.
    pub settings: DiskSettings,
    /// The node.
    pub node: NodeId,
    /// The start of its process.
    pub incarnation: Incarnation,
    /// The folder.
    pub folder: Folder,
    /// The report of its recovery.
    pub report: RecoveryReport,
    /// The number of the next segment.
    pub next: u64,
    /// Its side of the journal.
    pub ends: WriterEnds,
}

/// Starts the writer of a folder's log, at the end that recovery has found. When it is stopped, it
/// first brings all earlier requests to the disk.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(start: Start, source: Arc<dyn CheckpointSource>) -> io::Result<Worker> {
    let flusher = DiskFlusher::start(start.node.as_str())?;
    let name = format!("{} disk", start.node);
    Worker::spawn(name, move |stop| LogWriter::new(start, source, flusher, stop).run())
}

/// The cluster of a log, and the size of its ring.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub cluster: ClusterId,
    /// The number of arcs of its ring.
    pub arcs: usize,
}

/// A checkpoint in progress.
pub(super) struct Checkpointing {
    /// The segment that it leads up to.
    pub sequence: u64,
    /// Bytes of the log that it covers.
    pub covers: u64,
    /// Receives its size in bytes, or the error. If nothing is received it gave up, since the node
    /// stops.
    pub made: Receiver<io::Result<u64>>,
}

pub(super) struct LogWriter {
    pub(super) settings: DiskSettings,
    /// The node's name.
    pub(super) name: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) folder: Folder,
    /// The source of checkpoints.
    pub(super) source: Arc<dyn CheckpointSource>,
    pub(super) ends: WriterEnds,
    pub(super) stop: Stop,
    pub(super) flusher: DiskFlusher,
    /// Known from the first view on.
    pub(super) origin: Option<Origin>,
    pub(super) ledger: Ledger,
    /// The number of the next segment.
    pub(super) next: u64,
    /// A segment that could be neither completed nor removed.
    pub(super) leftover: Option<PathBuf>,
    pub(super) log: Log<Segment, Checkpointing>,
    /// The flaw that the next checkpoint removes.
    pub(super) debt: Debt,
    out: Vec<u8>,
    /// Bytes appended since the flusher began its last job.
    unflushed: u64,
    /// Bytes of the log that no checkpoint covers.
    pub(super) logged: Logged,
    /// Bytes of the last checkpoint.
    pub(super) checkpoint_bytes: u64,
    /// The pause after a failed checkpoint.
    pub(super) pause: Option<RetryPause>,
    pub(super) checkpoint_complaints: Complaints,
    /// Complaints about the log itself.
    pub(super) complaints: Complaints,
}

impl LogWriter {
    fn new(
        start: Start,
        source: Arc<dyn CheckpointSource>,
        flusher: DiskFlusher,
        stop: Stop,
    ) -> LogWriter {
        let Start { settings, node, incarnation, folder, report, next, ends } = start;
        let debt = if report.has_gap {
            Debt::Gap
        } else if report.lost.is_empty() {
            Debt::Nothing
        } else {
            Debt::Damage
        };
        LogWriter {
            settings,
            name: node,
            incarnation,
            folder,
            source,
            ends,
            stop,
            flusher,
            origin: None,
            ledger: Ledger::new(0),
            next,
            leftover: None,
            log: Log::new(),
            debt,
            out: Vec::new(),
            unflushed: 0,
            logged: Arc::new(AtomicU64::new(report.log_bytes)),
            checkpoint_bytes: report.checkpoint_bytes,
            pause: None,
            checkpoint_complaints: Complaints::default(),
            complaints: Complaints::default(),
        }
    }

    fn run(mut self) {
        loop {
            let made = self.log.checkpoint().map_or(never(), |job| job.made.clone());
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
                        self.flusher.took_result();
                        self.flushed(flushed);
                        self.advance();
                    }
                }
                recv(made) -> made => {
                    // If it gave up, the node stops.
                    self.checkpointed(made.ok());
                }
                recv(self.stop.channel()) -> _ => return self.finish(),
                default(self.time_to_wait()) => {}
            }
            self.run_timers();
            if rests {
                // New requests do not interrupt this rest.
                self.stop.wait(REST);
            }
        }
    }

    /// The time until the next timer.
    fn time_to_wait(&self) -> Duration {
        let left = |age: Duration, time: Duration| time.saturating_sub(age);
        let is_durable = self.log.segment().is_none_or(Segment::is_durable);
        let mut patience = IDLE;
        if let Some(tried) = self.log.tried().filter(|_| self.may_rebuild()) {
            patience = left(tried.elapsed(), self.settings.retry);
        }
        if !is_durable && !self.flusher.is_busy() {
            patience = patience.min(left(self.flusher.age(), self.settings.flush));
        }
        // A checkpoint begins only when the segment is durable.
        if let Some(pause) = self.pause.filter(|_| is_durable && self.is_checkpoint_due()) {
            patience = patience.min(pause.left());
        }
        patience
    }

    /// Runs the timers.
    fn run_timers(&mut self) {
        if self.may_rebuild()
            && self.log.tried().is_some_and(|tried| tried.elapsed() >= self.settings.retry)
        {
            self.rebuild();
        }
        let Some(segment) = self.log.segment() else { return };
        if segment.is_durable() {
            return self.advance();
        }
        let DiskSettings { flush, flush_bytes, .. } = self.settings;
        if !self.flusher.is_busy() && (self.flusher.age() >= flush || self.unflushed >= flush_bytes)
        {
            self.flusher.flush(segment.sequence, segment.end, segment.output.clone());
            self.unflushed = 0;
        }
    }

    /// Takes all requests up to now, and writes them.
    fn group(&mut self, first: LogRequest) {
        let requests = self.receive(first);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let start = frame::begin(&mut out);
        // After the requests were received, so that records follow the view under which they were
        // stored.
        self.put_views(&mut out);
        let Waiters { acks, idle } = self.put_items(requests, &mut out);
        let written = if out.len() > frame::HEAD { self.append(&mut out, start) } else { Ok(()) };
        if let Err(error) = written {
            self.fail(&error);
        }
        // While there is a gap nothing counts as being on the disk.
        let answer = self.ends.shared.trouble().map_or(Ok(()), Err);
        for ack in acks {
            // A thread that no longer waits needs no answer.
            let _ = ack.try_send(answer.clone());
        }
        idle.into_iter().for_each(|reply| reply.send(self.is_idle()).unwrap_or_default());
        if out.capacity() > 4 * GROUP {
            out = Vec::new();
        }
        self.out = out;
    }

    /// All requests that wait, up to about a group.
    fn receive(&self, first: LogRequest) -> Vec<LogRequest> {
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
        requests
    }

    fn put_views(&mut self, out: &mut Vec<u8>) {
        for NotedView { cluster, arcs, view } in self.ends.shared.take_noted() {
            if self.origin.is_none() {
                self.origin = Some(Origin { cluster, arcs });
                self.ledger = Ledger::new(arcs);
            }
            self.ledger.view(&view);
            entry::put_view(&view, out);
        }
    }

    fn put_items(&mut self, requests: Vec<LogRequest>, out: &mut Vec<u8>) -> Waiters {
        let mut waiters = Waiters::default();
        for LogRequest { item, ack } in requests {
            match item {
                LogItem::Records(buffer) => {
                    out.extend_from_slice(&buffer);
                    self.ends.spare.put(buffer);
                }
                LogItem::Synced(epoch, arcs) => {
                    if self.ledger.fetched(epoch, &arcs) {
                        entry::put_synced(epoch, &arcs, out);
                    }
                }
                LogItem::CheckViews => {}
                #[cfg(test)]
                LogItem::AskIdle(reply) => waiters.idle.push(reply),
            }
            waiters.acks.extend(ack);
        }
        waiters
    }

    /// Writes a frame.
    fn append(&mut self, out: &mut [u8], start: usize) -> io::Result<()> {
        if self.log.has_failed() {
            // The checkpoint that rebuilds it has all of this.
            return Ok(());
        }
        if self.log.segment().is_none() {
            self.begin()?;
        }
        let Some(segment) = self.log.segment_mut() else { return Ok(()) };
        segment.append(out, start)?;
        self.unflushed += out.len() as u64;
        self.logged.fetch_add(out.len() as u64, Ordering::Relaxed);
        if self.ends.shared.is_sync() { segment.sync() } else { Ok(()) }
    }

    /// Takes the result of the flusher's job.
    fn flushed(&mut self, Flushed { sequence, end, result }: Flushed) {
        match (result, self.log.segment_mut()) {
            // An error is reported only once, whichever segment is current now.
            (Err(error), _) => self.fail(&error),
            (Ok(()), Some(segment)) if segment.sequence == sequence => {
                segment.durable = segment.durable.max(end);
            }
            (Ok(()), _) => {}
        }
    }

    /// Whether all is on the disk, and nothing in progress. Only tests ask.
    fn is_idle(&self) -> bool {
        self.log.segment().is_none_or(Segment::is_durable)
            && !self.flusher.is_busy()
            && self.log.checkpoint().is_none()
            && !self.log.has_gap()
    }

    /// Writes the remaining requests.
    fn finish(&mut self) {
        while let Ok(request) = self.ends.requests.try_recv() {
            self.group(request);
        }
        // A view may have been noted after the last request.
        self.group(LogRequest { item: LogItem::CheckViews, ack: None });
        if let Some(last) = self.flusher.stop() {
            self.flushed(last);
        }
        if let Some(segment) = self.log.segment_mut()
            && let Err(error) = segment.close()
        {
            self.fail(&error);
        }
        if self.log.has_gap() {
            error!("the end of the log may be lost");
        }
        // It gives up at its next rest, unless it is nearly complete.
        if let Some(job) = self.log.checkpoint() {
            let made = job.made.recv().ok();
            self.checkpointed(made);
        }
    }
}

/// The threads that wait for the result of a group.
#[derive(Default)]
struct Waiters {
    acks: Vec<Ack>,
    /// Tests that ask whether all is on the disk.
    idle: Vec<Sender<bool>>,
}
