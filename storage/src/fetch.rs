//! The fetching threads: they make this node synced in its ranges (rule H1).
//!
//! An adopted view wakes the fetcher, which then runs rounds until nothing is missing or the view
//! changes. A round assigns every missing arc to one of its other replicas ([`assignment`]), and
//! some workers fetch from one source each, over their own connections, one page at a time. So a
//! source that builds pages slowly gets fewer requests. A source that refuses an arc, or dies, is
//! not asked for it again while others may have it; pages that were merged stay.
//!
//! * [`rounds`], [`progress`]: the next requests and their sources ([`assignment`], [`refusals`]);
//! * [`workers`], [`job`], [`connections`]: fetching from a source, page by page; [`arc`]: the
//!   progress of an arc;
//! * [`digest`]: comparing instead of sending; [`confirm`]: which recovered records all other
//!   replicas hold;
//! * [`rate_limit`], [`stats`]: the rate, and the amount.
//!
//! An arc that no live node held is gathered (H6): a node that has it from its own disk asks *all*
//! other members of the write set, one after the other, and is synced when all have answered in the
//! same view.

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
use rounds::FetchRounds;
use workers::Workers;

/// The time-out for connecting and for one page. It is a thousand times the usual time: a slower
/// source delays the round, and another source may have the arcs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running threads. Stop when dropped.
pub struct Fetcher {
    wake: Sender<()>,
    progress: Receiver<()>,
    worker: Worker,
}

/// The channels between the fetcher and the control connection.
pub struct FetchSignals {
    /// Send to make it check the view.
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
            FetchRounds { workers, progress }.run(&woken, &progressed);
        })?;
        Ok(Fetcher { wake, progress, worker })
    }

    /// The channels to wake it, and to learn of its progress.
    pub fn signals(&self) -> FetchSignals {
        FetchSignals { wake: self.wake.clone(), progress: self.progress.clone() }
    }

    /// Stops the threads. Blocks for a page at most.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}
