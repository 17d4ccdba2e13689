//! Completing records that a dead writer has left pending (rule C4).
//!
//! A storage node does this for its own records, under its own view: it is the write-back of a get
//! without a reader.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use cluster::operation::{Found, Operation};
use cluster::view::Routes;
use net_common::auth::Secret;
use net_common::connection::{Dial, Waits};
use net_common::frame::PayloadLimit;

use crate::commits::{CommitQueue, Flusher};
use crate::connection_pool::ConnectionPool;
use crate::fanout::Fanout;
use crate::task::{Task, Valued};

/// A key, and its record of a writer that must have died: the value and its expiry time.
pub type Abandoned = (Vec<u8>, Found<(Vec<u8>, Option<u64>)>);

/// The time-out for one node. A finisher has time: what it does not complete now it will complete
/// next time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connections and commits of a node that finishes.
pub struct Finisher {
    pool: Arc<ConnectionPool>,
    commits: Arc<CommitQueue>,
    flusher: Flusher,
}

impl Finisher {
    /// Starts without connections.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn new(secret: Option<Secret>) -> std::io::Result<Finisher> {
        let payload = PayloadLimit::default();
        let dial = Dial { connect: PATIENCE, reply: PATIENCE, secret, payload };
        let pool = Arc::new(ConnectionPool::new(dial, None));
        let commits = Arc::new(CommitQueue::default());
        let flusher = Flusher::start(pool.clone(), commits.clone())?;
        Ok(Finisher { pool, commits, flusher })
    }

    /// Tries once to complete each of these records under `routes`, the view they were found under.
    /// Returns how many are complete; the others stay as they are.
    pub fn finish(&self, routes: &Routes, records: Vec<Abandoned>) -> usize {
        self.pool.allow(&routes.view().limits);
        let (keys, found): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let mut batch: Vec<Task<'_>> = keys
            .iter()
            .zip(found)
            .map(|(key, found)| {
                let Found { version, body, state, epoch, clock } = found;
                let body = body.map(|(value, expiry)| Valued { bytes: Cow::Owned(value), expiry });
                let found = Found { version, body, state, epoch, clock };
                let operation = Operation::finish(found);
                Task::new(key, operation)
            })
            .collect();
        let (pool, commits, waits) = (&*self.pool, &*self.commits, Waits::for_silence_of(PATIENCE));
        let fanout = Fanout { pool, commits, routes, waits, is_own: &|_| false };
        let attempt = fanout.attempt(&mut batch);
        attempt.used.into_iter().for_each(|(_, link)| self.pool.put_back(link));
        let mut complete = 0;
        for task in &batch {
            let Some(version) = task.operation.committed() else { continue };
            complete += 1;
            let Some(arc) = routes.arc_of(task.key) else { continue };
            let nodes = routes.write_set(arc).iter().map(|&place| &routes.member(place).address);
            if self.commits.version(nodes, task.key, version) {
                self.flusher.wake();
            }
        }
        complete
    }
}
