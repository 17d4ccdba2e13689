//! [`GTStoreClient`]: the state that all calls share, and how it follows the cluster.

use std::sync::Arc;
use std::time::Instant;

use cluster::arcs::ArcSet;
use cluster::ids::{ClusterId, NodeId};
use cluster::limits::Limits;
use cluster::view::Routes;
use net_common::connection::{Dial, NetError};
use net_common::frame::PayloadLimit;

use crate::backoff::{Backoff, after};
use crate::capacity::Capacity;
use crate::chunk::Lengths;
use crate::commits::{CommitQueue, Flusher};
use crate::config::Config;
use crate::connection_pool::ConnectionPool;
use crate::copied::Copied;
use crate::error::ClientError;
use crate::router::Router;
use crate::turns::Turns;
use crate::writers::Writers;

/// A client of one cluster. Share it between threads by reference; each call blocks its own thread.
pub struct GTStoreClient {
    pub(crate) config: Config,
    pub(crate) pool: Arc<ConnectionPool>,
    pub(crate) commits: Arc<CommitQueue>,
    pub(crate) flusher: Flusher,
    pub(crate) router: Router,
    pub(crate) writers: Writers,
    pub(crate) capacity: Capacity,
    pub(crate) copied: Copied,
    pub(crate) turns: Turns,
}

impl GTStoreClient {
    /// Connects to the manager and gets the view. If the manager is not up yet, or has too many
    /// connections, waits for it until the deadline.
    ///
    /// # Errors
    /// [`ClientError::NoManager`] if it does not answer until then; at once if the answer is not
    /// from this cluster's manager, or the secret is refused.
    pub fn init(config: Config) -> Result<GTStoreClient, ClientError> {
        let dial = Dial {
            connect: config.patience,
            reply: config.patience,
            secret: config.secret.clone(),
            payload: PayloadLimit::default(),
        };
        let pool = Arc::new(ConnectionPool::new(dial, config.here.clone()));
        let no_manager =
            |source| ClientError::NoManager { address: config.manager.clone(), source };
        let (until, mut backoff) = (after(config.deadline), Backoff::new());
        let (router, clock) = loop {
            match Router::new(&pool, config.manager.clone()) {
                Ok(made) => break made,
                Err(error) if error.may_pass() && Instant::now() < until => backoff.pause(until),
                Err(error) => return Err(no_manager(error)),
            }
        };
        let writers = Writers::new(writer_id()?);
        writers.observe(clock);
        let commits = Arc::new(CommitQueue::default());
        let flusher = Flusher::start(pool.clone(), commits.clone())
            .map_err(|e| ClientError::Refused(format!("the system has no more threads: {e}")))?;
        let (capacity, copied, turns) = (Capacity::default(), Copied::default(), Turns::new());
        Ok(GTStoreClient {
            config,
            pool,
            commits,
            flusher,
            router,
            writers,
            capacity,
            copied,
            turns,
        })
    }

    /// The time by the clocks of the cluster, in milliseconds since 1970: these decide when a value
    /// expires. This machine's clock may be wrong.
    pub fn now_ms(&self) -> u64 {
        self.stay_fresh();
        self.writers.now_ms()
    }

    /// Refreshes limits before they refuse a key or a value: a client whose view is never refused
    /// does not learn new limits otherwise.
    pub(crate) fn learn_limits(&self, mut lengths: impl Iterator<Item = Lengths>) {
        let limits = self.limits();
        let is_beyond =
            |Lengths { key, value }| key > limits.key_bytes || value > limits.value_bytes;
        if lengths.any(is_beyond) && self.router.is_old() {
            self.ask_for_view();
        }
    }

    /// Versions must not be too old to be taken.
    pub(crate) fn stay_fresh(&self) {
        if self.writers.is_stale() {
            self.ask_for_view();
        }
    }

    /// Asks the manager for news. Where it does not answer all goes on as it was.
    pub(crate) fn ask_for_view(&self) {
        if let Ok(clock) = self.router.refresh(&self.pool) {
            self.writers.observe(clock);
        }
    }

    /// The longest keys and values that the cluster takes.
    pub fn limits(&self) -> Limits {
        self.router.routes().view().limits_for_writes()
    }

    /// The same, once the manager was asked for news, unless it was just before.
    pub fn newest_limits(&self) -> Limits {
        self.learn_limits([Lengths { key: usize::MAX, value: 0 }].into_iter());
        self.limits()
    }

    /// The cluster whose view this client has.
    pub fn cluster(&self) -> ClusterId {
        self.router.routes().view().cluster
    }

    /// Gets a newer view; if there is none, pauses. Returns the manager's error, if any.
    pub(crate) fn refresh(
        &self,
        used: &Routes,
        backoff: &mut Backoff,
        until: Instant,
    ) -> Option<NetError> {
        let refreshed = self.router.refresh(&self.pool);
        if let Ok(clock) = refreshed {
            self.writers.observe(clock);
            if self.router.routes().epoch() != used.epoch() {
                backoff.reset();
                return None;
            }
        }
        backoff.pause(until);
        refreshed.err()
    }

    /// Brings the view up to date now, not only when an operation finds it out of date.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn refresh_view(&self) -> Result<(), ClientError> {
        let clock = self.router.refresh(&self.pool).map_err(|source| ClientError::NoManager {
            address: self.router.manager().clone(),
            source,
        })?;
        self.writers.observe(clock);
        Ok(())
    }

    /// The arcs that are lost, as the manager reports now.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn lost(&self) -> Result<Arc<ArcSet>, ClientError> {
        self.refresh_view()?;
        Ok(self.router.lost())
    }

    /// The node that a key's reads go to first, by this client's view; `None` while no node serves.
    pub fn primary_of(&self, key: &[u8]) -> Option<NodeId> {
        let routes = self.router.routes();
        let arc = routes.arc_of(key)?;
        routes.replicas(arc).first().map(|&place| routes.member(place).id.clone())
    }

    /// Sends the waiting commit notices, and closes all connections. Dropping the client does the
    /// same; this makes it explicit.
    pub fn finalize(self) {}
}

/// 64 random bits, never 0: the first writer id of this client.
fn writer_id() -> Result<u64, ClientError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| ClientError::Refused(format!("the system has no random bytes: {e}")))?;
    Ok(u64::from_be_bytes(bytes).max(1))
}
