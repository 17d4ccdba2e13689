//! Commit notices on their way (rule C2).
//!
//! When a write is done its replicas are notified lazily: the notice travels with the next frame to
//! each of them, or is sent by itself after about a millisecond. Nothing waits for it and nothing
//! depends on it: if a replica never receives it, the replica or a reader completes the record.
//! Usually the notice is a watermark, which covers everything that a writer has written
//! (`writers.rs`) over a connection, and waits on that connection for its next frame. Versions that
//! no watermark covers are named with their keys, wait here, and travel on any connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ids::Address;
use cluster::version::{Clock, Version};
use crossbeam_channel::{Receiver, Sender, bounded};
use fxhash::FxHashMap;
use log::debug;
use net_common::connection::Connection;
use net_common::message::data;
use net_common::worker::Worker;
use parking_lot::Mutex;

use crate::connection_pool::ConnectionPool;

/// How long a commit waits for a frame to ride on.
const WAIT: Duration = Duration::from_millis(1);

/// Versions that wait for one node at most. A node that gets no frames for so many writes is down,
/// and its place will be taken by one that fetches the records as they are.
const MOST: usize = 16_384;

/// A key with the version of it that every replica holds.
type Commit = (Arc<[u8]>, Version);

/// Waiting commit notices, by node.
#[derive(Default)]
pub struct CommitQueue {
    waiting: Mutex<FxHashMap<Address, PendingCommits>>,
}

struct PendingCommits {
    since: Instant,
    versions: Vec<Commit>,
}

impl PendingCommits {
    fn new() -> PendingCommits {
        PendingCommits { since: Instant::now(), versions: Vec::new() }
    }
}

impl CommitQueue {
    /// Queues the notice that a version of a key is committed for each of these nodes. Returns
    /// whether it is the first in the queue.
    pub fn version<'a>(
        &self,
        nodes: impl Iterator<Item = &'a Address>,
        key: &[u8],
        version: Version,
    ) -> bool {
        let key: Arc<[u8]> = key.into();
        self.add(nodes, |waiting| {
            if waiting.versions.len() < MOST {
                waiting.versions.push((key.clone(), version));
            }
        })
    }

    fn add<'a>(
        &self,
        nodes: impl Iterator<Item = &'a Address>,
        mut put: impl FnMut(&mut PendingCommits),
    ) -> bool {
        let mut waiting = self.waiting.lock();
        let is_first = waiting.is_empty();
        for address in nodes {
            // Looked up before it is entered: the address is cloned only for the first.
            match waiting.get_mut(address) {
                Some(queue) => put(queue),
                None => put(waiting.entry(address.clone()).or_insert_with(PendingCommits::new)),
            }
        }
        is_first
    }

    /// Adds the waiting notices for this connection's node to its next frames.
    pub fn ride(&self, link: &mut Connection) {
        let taken = self.waiting.lock().remove(link.address());
        if let Some(taken) = taken {
            push(link, taken);
        }
    }

    /// Sends the notices that have waited for at least `age`, over open connections. Returns
    /// whether more are waiting.
    pub fn flush(&self, pool: &ConnectionPool, age: Duration) -> bool {
        let (due, more) = {
            let mut waiting = self.waiting.lock();
            let due: Vec<(Address, PendingCommits)> =
                waiting.extract_if(|_, queue| queue.since.elapsed() >= age).collect();
            (due, !waiting.is_empty())
        };
        for (address, queue) in due {
            // Not worth a new connection: a replica that misses it completes the record itself.
            let Some(mut link) = pool.take_kept(&address) else { continue };
            push(&mut link, queue);
            match link.flush() {
                Ok(()) => pool.put_back(link),
                Err(error) => debug!("commits were lost: {error}"),
            }
        }
        more
    }
}

fn push(link: &mut Connection, PendingCommits { versions, .. }: PendingCommits) {
    let versions = versions.iter().map(|(key, version)| (&**key, *version)).collect();
    link.push(&data::CommitNotice { watermarks: Vec::new(), versions });
}

/// Queues a writer's watermark on a connection that carried its writes, for its next frame.
pub(crate) fn watermark(link: &mut Connection, watermark: (u64, Clock)) {
    link.push(&data::CommitNotice { watermarks: vec![watermark], versions: Vec::new() });
}

/// The thread that sends commits which found no frame to ride on. Ends when dropped.
pub struct Flusher {
    // The order matters: the thread exits once its channel is closed.
    wake: Sender<()>,
    _worker: Worker,
}

impl Flusher {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(pool: Arc<ConnectionPool>, commits: Arc<CommitQueue>) -> std::io::Result<Flusher> {
        let (wake, woken) = bounded(1);
        let run = move |_| run(&pool, &commits, &woken);
        Ok(Flusher { wake, _worker: Worker::spawn("client commits".into(), run)? })
    }

    /// Something waits.
    pub fn wake(&self) {
        // A wake-up that is still queued serves for this one too.
        let _ = self.wake.try_send(());
    }
}

fn run(pool: &ConnectionPool, commits: &CommitQueue, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        loop {
            std::thread::sleep(WAIT);
            let more = commits.flush(pool, WAIT);
            if !pool.flush(WAIT) && !more {
                break;
            }
        }
    }
    commits.flush(pool, Duration::ZERO);
    pool.flush(Duration::ZERO);
}
