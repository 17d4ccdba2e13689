//! The housekeeping thread: it marks records that are known to be committed, finishes the records
//! of dead writers (rule C4), expires values (rule C6) and drops old tombstones (rule N5).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::finish::Finisher;
use cluster::text::{Count, count};
use cluster::version::RETENTION_MS;
use log::{debug, info, warn};
use net_common::auth::Secret;
use net_common::worker::{Stop, Worker};

use crate::node::Node;

/// The interval between searches for pending records. Together with the second for which they may
/// be pending (C4) it makes "about a second".
const INTERVAL: Duration = Duration::from_millis(250);

/// Most records finished at a time: a node that lost a busy client has so many at once, and their
/// other replicas try the same.
const MOST: usize = 1024;

/// Watermarks of silent writers are forgotten after one or two times this interval. The records
/// that they cover are marked by then.
const ROTATE: Duration = Duration::from_secs(30);

/// The interval between searches for expired values (C6). Finishing them takes seconds, so their
/// memory is freed within a minute.
const EXPIRE: Duration = Duration::from_secs(15);

/// The interval between sweeps of tombstones: a tombstone that one sweep finds committed may be
/// dropped by the next.
const SWEEP: Duration = Duration::from_millis(RETENTION_MS / 2);

/// Starts the thread. Stopping it blocks for one attempt to finish records at most.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(node: Arc<Node>, secret: Option<Secret>) -> io::Result<Worker> {
    let finisher = Finisher::new(secret)?;
    let name = format!("{} housekeeping", node.id());
    Worker::spawn(name, move |stop| run(&node, &finisher, &stop))
}

/// Logs when the node becomes full, or is no longer full. Returns whether it is full.
fn log_fullness(node: &Node, was_full: bool) -> bool {
    let is_full = node.is_full();
    let (held, most) = node.memory();
    match (was_full, is_full) {
        (false, true) => warn!(
            "full: its records take {held} of {} bytes; puts to its keys are refused",
            most.unwrap_or(u64::MAX)
        ),
        (true, false) => info!("has room again: its records take {held} bytes"),
        _ => {}
    }
    is_full
}

fn run(node: &Node, finisher: &Finisher, stop: &Stop) {
    let now = Instant::now();
    let (mut swept, mut rotated, mut expired) = (now, now, now);
    let mut was_full = false;
    while !stop.wait(INTERVAL) {
        was_full = log_fullness(node, was_full);
        if node.measure() {
            info!("measured the longest key and value, since the limits are to become lower");
        }
        if let Some((routes, abandoned)) = node.settle(MOST) {
            let found = abandoned.len();
            let complete = finisher.finish(&routes, abandoned);
            info!("finished {complete} of {} left by dead writers", count(found, "record"));
        }
        if rotated.elapsed() >= ROTATE {
            rotated = Instant::now();
            node.rotate_watermarks();
        }
        if expired.elapsed() >= EXPIRE {
            expired = Instant::now();
            let expired_now = node.expire() as u64;
            if expired_now > 0 {
                debug!("{} expired", Count(expired_now, "record").with("has", "have"));
            }
        }
        if swept.elapsed() >= SWEEP
            && let Some(table) = node.table()
        {
            swept = Instant::now();
            let dropped = table.sweep(node.clock());
            info!("dropped {}", count(dropped, "tombstone"));
        }
    }
}
