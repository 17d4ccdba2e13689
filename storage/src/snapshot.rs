//! The writer thread: it logs what is stored, after writes.
//!
//! The original logs its whole map after every write:
//! `Store snapshot on node1: [key1=value1] [key2=value2]`. So does this, but off the request path:
//! requests leave a note in a bounded channel and go on, and the writer puts the writes of a moment
//! into one line. Above a number of keys the line is a summary. Unprintable bytes are escaped, so that
//! a value cannot forge a line.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::info;
use net_common::logging::{self, escaped};
use net_common::message::range::Cursor;

use crate::node::{Node, is_alive};

/// How snapshots are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Above so many keys the line is a summary.
    pub keys: usize,
    /// The least time between two lines.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { keys: 1000, interval: Duration::from_millis(50) }
    }
}

/// Notes that may wait. More are not needed: one that waits already says "something was written".
const NOTES: usize = 1024;

/// The least time between two summaries: they say little, and much the same.
const SUMMARY: Duration = Duration::from_secs(1);

/// What a log may grow by: after a line of n bytes the next waits at least n / rate seconds.
const BYTES_PER_SECOND: usize = 256 << 10;

/// Where requests leave their notes.
#[derive(Clone)]
pub struct Notes(Sender<u32>);

impl Notes {
    /// Notes that records were written. Never waits: a full channel means that the writer knows.
    pub fn wrote(&self, records: u32) {
        let _ = self.0.try_send(records);
    }
}

/// The writer thread, or what it is made of before it starts. Stops when dropped.
pub struct Writer {
    settings: Settings,
    notes: (Sender<u32>, Receiver<u32>),
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Writer {
    /// A writer that does not run yet: notes wait for it.
    pub fn new(settings: &Settings) -> Writer {
        Writer { settings: *settings, notes: bounded(NOTES), running: None }
    }

    /// A way to leave notes.
    pub fn notes(&self) -> Notes {
        Notes(self.notes.0.clone())
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(mut self, node: Arc<Node>) -> io::Result<Writer> {
        let (stop, stopped) = bounded(0);
        let (settings, notes) = (self.settings, self.notes.1.clone());
        let thread = logging::spawn(format!("{} writer", node.id()), move || {
            run(&node, settings, &notes, &stopped);
        })?;
        self.running = Some((stop, thread));
        Ok(self)
    }

    /// Ends the thread, after a last line if something was written since the one before.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(node: &Node, settings: Settings, notes: &Receiver<u32>, stopped: &Receiver<()>) {
    loop {
        let is_last = crossbeam_channel::select! {
            recv(notes) -> _ => false,
            recv(stopped) -> _ => true,
        };
        if is_last && notes.is_empty() {
            return;
        }
        // One line for all that was written up to here. What comes while it is made gets the next.
        while notes.try_recv().is_ok() {}
        let (line, is_summary) = snapshot(node, settings.keys);
        info!("{line}");
        if is_last {
            return;
        }
        // Notes pile up meanwhile without waking anybody; only stopping does.
        let rate = Duration::from_secs_f64(line.len() as f64 / BYTES_PER_SECOND as f64);
        let least = if is_summary { settings.interval.max(SUMMARY) } else { settings.interval };
        let _ = stopped.recv_timeout(least.max(rate));
    }
}

/// Above so many bytes of keys and values the line is a summary as well: as many as the largest thousand of the
/// original's records have.
const LINE: u64 = 1000 * (20 + 1024);

/// The line: every key with its value, or, above `limit` keys or [`LINE`] bytes, a summary. Tells which.
pub fn snapshot(node: &Node, limit: usize) -> (String, bool) {
    let mut line = format!("Store snapshot on {}:", node.id());
    let size = node.size();
    if size.keys > limit as u64 || size.bytes > LINE {
        // Writing to a String cannot fail.
        let _ = write!(line, " {} keys, {} bytes", size.keys, size.bytes);
        return (line, true);
    }
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(size.keys as usize);
    if let Some(table) = node.table() {
        let clock = node.clock();
        for arc in 0..table.arcs() {
            table.scan(arc, Cursor::START, usize::MAX, |record| {
                if let Some(value) = record.body.value()
                    && is_alive(record.body, clock)
                {
                    pairs.push((record.key.to_vec(), value.to_vec()));
                }
                true
            });
        }
    }
    pairs.sort_unstable();
    for (key, value) in pairs {
        let _ = write!(line, " [{}={}]", escaped(&key), escaped(&value));
    }
    (line, false)
}
