//! The housekeeping thread: it notes in the records what is known to be committed, finishes what
//! dead writers left (rule C4), lets values expire (rule C6) and drops tombstones that have served
//! their time (rule N5).

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

/// How often pending records are looked for. With the second that they may be pending for (C4) it
/// makes "about a second".
const INTERVAL: Duration = Duration::from_millis(250);

/// Records finished in one go: a node that lost a busy client has this many at once, and the others
/// that keep them try the same.
const MOST: usize = 1024;

/// After how long the watermarks of silent writers are forgotten, once or twice this. What they
/// cover has been noted in the records by then.
const ROTATE: Duration = Duration::from_secs(30);

/// How often values whose time has passed are looked for (C6); with the seconds that it takes to
/// finish them their memory is back within a minute.
const EXPIRE: Duration = Duration::from_secs(15);

/// How often tombstones are swept: a tombstone that is found committed by one sweep may go at the
/// next.
const SWEEP: Duration = Duration::from_millis(RETENTION_MS / 2);

/// Starts the thread. To stop it blocks for an attempt at finishing at most.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(node: Arc<Node>, secret: Option<Secret>) -> io::Result<Worker> {
    let finisher = Finisher::new(secret)?;
    let name = format!("{} housekeeping", node.id());
    Worker::spawn(name, move |stop| run(&node, &finisher, &stop))
}

/// Logs that the node has become full, or has room again. Returns whether it is full.
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
            info!("has measured the longest key and value, as the limits are to be lower");
        }
        if let Some((routes, abandoned)) = node.settle(MOST) {
            let found = abandoned.len();
            let complete = finisher.finish(&routes, abandoned);
            info!("finished {complete} of {} whose writers are gone", count(found, "record"));
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
