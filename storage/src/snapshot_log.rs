//! The writer thread: it logs the stored records, after writes.
//!
//! The original logs its whole map after every write: `Store snapshot on node1: [key1=value1]
//! [key2=value2]`. This thread does so too, but off the request path: requests put a note into a
//! bounded channel and continue, and the thread logs the writes of a moment in one line. Above a
//! number of keys the line is a summary. Unprintable bytes are escaped, so that a value cannot
//! forge a line. The length of a line and the log of a day are bounded: [`LONGEST`],
//! [`BYTES_PER_SECOND`].

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cluster::ring::arc_of_key;
use cluster::text::Count;
use crossbeam_channel::Receiver;
use log::info;
use net_common::logging::escaped;
use net_common::message::range::Cursor;
use net_common::worker::{Stop, Worker};

use crate::node::Node;
use crate::node::expirations::is_alive;

/// Settings of snapshot lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Whether they are logged.
    pub is_on: bool,
    /// The number of keys above which a line is a summary.
    pub keys: usize,
    /// The least time between two lines.
    pub interval: Duration,
}

impl Default for SnapshotSettings {
    fn default() -> SnapshotSettings {
        SnapshotSettings { is_on: true, keys: 1000, interval: Duration::from_millis(50) }
    }
}

/// The least time between two summaries: they differ little.
const SUMMARY: Duration = Duration::from_secs(1);

/// The growth of the log: after a line of n bytes the next waits at least n / rate seconds. That is
/// 340 MB a day at most, and a small store is still logged after every write.
pub const BYTES_PER_SECOND: usize = 4 << 10;

/// Approximate length of the time, the level and the thread's name in a line, in bytes.
const FRONT: usize = 64;

/// Longest line, in bytes. Keys that do not fit are counted.
pub const LONGEST: usize = 64 << 10;

/// Space reserved in a line for the number of omitted keys, in bytes.
const REST: usize = 64;

/// Longest value that is logged as it is, in bytes: the original's longest. A longer one is logged
/// by its size.
const LONGEST_VALUE: usize = 1024;

/// Most keys that a line can have, each with its brackets, and so most that are collected for one.
const MOST_KEYS: usize = LONGEST / 5;

/// Starts the thread, if snapshots are logged. When it is stopped it logs a last line if something
/// was written since the one before.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(
    node: Arc<Node>,
    settings: SnapshotSettings,
    notes: Receiver<u32>,
) -> io::Result<Option<Worker>> {
    let name = format!("{} writer", node.id());
    let run = move |stop: Stop| run(&node, settings, &notes, &stop);
    settings.is_on.then(|| Worker::spawn(name, run)).transpose()
}

fn run(node: &Node, settings: SnapshotSettings, notes: &Receiver<u32>, stop: &Stop) {
    loop {
        let is_last = crossbeam_channel::select! {
            recv(notes) -> _ => false,
            recv(stop.channel()) -> _ => true,
        };
        if is_last && notes.is_empty() {
            return;
        }
        // One line for all writes up to here. Later writes get the next.
        while notes.try_recv().is_ok() {}
        let (line, is_summary) = snapshot(node, settings.keys.min(MOST_KEYS));
        info!("{line}");
        if is_last {
            return;
        }
        // Notes collect meanwhile without waking the thread; only a stop wakes it.
        let rate = Duration::from_secs_f64((line.len() + FRONT) as f64 / BYTES_PER_SECOND as f64);
        let least = if is_summary { settings.interval.max(SUMMARY) } else { settings.interval };
        stop.wait(least.max(rate));
    }
}

/// The line: every key with its value, in the order of the keys, as far as it has room; or, above
/// `limit` keys, a summary. Returns the line, and whether it is a summary. Values are escaped in
/// place, without a copy.
pub fn snapshot(node: &Node, limit: usize) -> (String, bool) {
    let mut line = format!("Store snapshot on {}:", node.id());
    let size = node.size();
    if size.keys > limit as u64 {
        // Writing to a String cannot fail.
        let _ = write!(line, " {}, {} bytes", Count(size.keys, "key"), size.bytes);
        return (line, true);
    }
    let Some(table) = node.table() else { return (line, false) };
    let clock = node.clock();
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(size.keys as usize);
    for arc in 0..table.arcs() {
        table.scan(arc, Cursor::START, usize::MAX, |record| {
            let is_shown = is_alive(record.body, clock) && keys.len() < limit;
            if is_shown {
                keys.push(record.key.to_vec());
            }
            true
        });
    }
    keys.sort_unstable();
    for (n, key) in keys.iter().enumerate() {
        let end = line.len();
        table.read(arc_of_key(key, table.arcs()), key, |found| {
            let Some((_, _, body)) = found else { return };
            // Removed or expired since it was listed.
            let Some(value) = body.value().filter(|_| is_alive(body, clock)) else { return };
            let _ = if value.len() > LONGEST_VALUE {
                write!(line, " [{}=({} bytes)]", escaped(key), value.len())
            } else {
                write!(line, " [{}={}]", escaped(key), escaped(value))
            };
        });
        if line.len() > LONGEST - REST {
            line.truncate(end);
            let _ = write!(line, " and {} more", Count((keys.len() - n) as u64, "key"));
            break;
        }
    }
    (line, false)
}
