//! The fetching threads: they make this node synced in the ranges that it is to keep (rule H1).
//!
//! Woken when a view is adopted, the fetcher goes round by round until nothing is missing or the
//! view changes. In a round every missing arc is assigned to one of the other nodes that keep it
//! ([`assignment`]), and some workers fetch from a source each, over connections of their own, one
//! page at a time: whoever is slow to make pages or to merge them is asked for less. A source that
//! refuses an arc, or dies, is not asked for it again while others may have it; what has come
//! stays.
//!
//! * [`rounds`], [`progress`]: what is asked for next, and of whom ([`assignment`], [`refusals`]);
//! * [`workers`], [`job`], [`connections`]: asking a source, page by page; [`arc`]: how far an arc has
//!   come;
//! * [`digest`]: comparing instead of sending; [`confirm`]: what of one's disk all others hold;
//! * [`rate_limit`], [`stats`]: how fast, and how much.
//!
//! An arc that nobody alive held is gathered (H6): whoever has its own disk's part of it asks *all*
//! others who keep it, one after the other, and has it when all have answered in the same view.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::auth::Secret;
use net_common::connection::Dial;
use net_common::worker::Worker;
use parking_lot::Mutex;

use crate::node::Node;

pub mod arc;
pub mod assignment;
pub mod confirm;
pub mod connections;
pub mod digest;
pub mod job;
pub mod progress;
pub mod rate_limit;
pub mod refusals;
pub mod rounds;
pub mod stats;
pub mod workers;

use connections::SourceConnections;
use digest::Digester;
use progress::FetchProgress;
use rate_limit::RateLimit;
use rounds::Rounds;
use workers::Workers;

/// How long one page may take, or connecting. A thousand times what it takes: whoever does not
/// answer by then holds up the round, and another source may have the arcs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running threads. Stop when dropped.
pub struct Fetcher {
    wake: Sender<()>,
    progress: Receiver<()>,
    worker: Worker,
}

/// How the fetcher is told of views, and tells of what it has fetched.
pub struct Wake {
    /// Send to make it look at the view.
    pub wake: Sender<()>,
    /// Receives when arcs became synced.
    pub progress: Receiver<()>,
}

impl Fetcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no more threads, or no random numbers.
    pub fn start(
        node: Arc<Node>,
        rate_limit: RateLimit,
        secret: Option<Secret>,
    ) -> io::Result<Fetcher> {
        let (wake, woken) = bounded(1);
        let (progressed, progress) = bounded(1);
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(io::Error::from)?;
        let name = format!("{} fetch", node.id());
        let payload = node.payload_limit().clone();
        let dial = Dial { connect: PATIENCE, reply: PATIENCE, secret, payload };
        let workers = move |stop| Workers {
            node,
            connections: SourceConnections::new(dial),
            digester: Digester::new(seed),
            rate_limit: Mutex::new(rate_limit),
            started: Instant::now(),
            stop,
        };
        let worker = Worker::spawn(name, move |stop| {
            let (workers, progress) = (workers(stop), FetchProgress::default());
            Rounds { workers, progress }.run(&woken, &progressed);
        })?;
        Ok(Fetcher { wake, progress, worker })
    }

    /// A way to wake it and to hear from it.
    pub fn wake(&self) -> Wake {
        Wake { wake: self.wake.clone(), progress: self.progress.clone() }
    }

    /// Ends the threads. Blocks for a page at most.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}
