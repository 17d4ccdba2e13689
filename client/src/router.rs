//! The client's view and how it is refreshed, and the lost arcs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::arcs::ArcSet;
use cluster::ids::{Address, ClusterId};
use cluster::version::Clock;
use cluster::view::Routes;
use log::debug;
use net_common::connection::NetError;
use net_common::message::control::{Hello, TablePush};
use parking_lot::RwLock;

use crate::connection_pool::ConnectionPool;

/// The newest active view that the manager has sent.
pub struct Router {
    manager: Address,
    routes: RwLock<Arc<Routes>>,
    lost: RwLock<Lost>,
}

/// The lost arcs, and when the manager reported them.
struct Lost {
    arcs: Arc<ArcSet>,
    learned: Instant,
}

/// How long a report of lost arcs is used: not every operation on such an arc has to ask the
/// manager, and a node that returns is noticed soon.
pub(crate) const BELIEVED: Duration = Duration::from_millis(250);

/// Asks a manager for its view.
fn ask(pool: &ConnectionPool, manager: &Address) -> Result<TablePush, NetError> {
    let mut link = pool.take(manager)?;
    let push = link.call::<TablePush>(&Hello).inspect_err(|_| pool.forget(manager))?;
    pool.put_back(link);
    Ok(push)
}

impl Router {
    /// Learns the first view. Returns the manager's clock with it.
    ///
    /// # Errors
    /// [`NetError`] where the manager does not answer.
    pub fn new(pool: &ConnectionPool, manager: Address) -> Result<(Router, Clock), NetError> {
        let push = ask(pool, &manager)?;
        pool.allow(&push.view.limits);
        let routes = RwLock::new(Arc::new(Routes::new(push.view)));
        let lost = RwLock::new(Lost { arcs: Arc::new(push.lost), learned: Instant::now() });
        Ok((Router { manager, routes, lost }, push.clock))
    }

    /// The arcs that are lost by a recent report of the manager (H4). Empty without a recent
    /// report.
    pub fn lost(&self) -> Arc<ArcSet> {
        let lost = self.lost.read();
        if lost.learned.elapsed() < BELIEVED { lost.arcs.clone() } else { Arc::default() }
    }

    /// Whether arcs were lost when the manager was last asked, and it is time to ask again: a
    /// request that is sent to a node which cannot answer may have arrived, and its outcome would
    /// be unknown.
    pub fn is_loss_to_be_reviewed(&self) -> bool {
        let lost = self.lost.read();
        !lost.arcs.is_clear() && lost.learned.elapsed() >= BELIEVED
    }

    /// Whether there is no recent report, so that asking the manager may bring news.
    pub fn is_old(&self) -> bool {
        self.lost.read().learned.elapsed() >= BELIEVED
    }

    /// The view in use.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.read().clone()
    }

    /// Where the manager is.
    pub fn manager(&self) -> &Address {
        &self.manager
    }

    /// Asks the manager for its view. It replaces the view in use only if it is newer, or if it
    /// belongs to another cluster, which makes everything known void. Returns the manager's clock.
    ///
    /// # Errors
    /// [`NetError`] if the manager does not answer; the view in use stays.
    pub fn refresh(&self, pool: &ConnectionPool) -> Result<Clock, NetError> {
        let asked = ask(pool, &self.manager);
        // If it does not answer, the lost arcs are unknown, and not every call has to ask again. A
        // manager that is behind does not know them either: its folder may be an older copy (L7).
        let view = self.routes();
        let (cluster, epoch) = (view.view().cluster, view.epoch());
        let is_behind = |push: &&TablePush| push.view.cluster == cluster && push.view.epoch < epoch;
        let learned = asked.as_ref().ok().filter(|push| !is_behind(push));
        let lost = learned.map(|push| Arc::new(push.lost.clone())).unwrap_or_default();
        *self.lost.write() = Lost { arcs: lost, learned: Instant::now() };
        let push = asked?;
        pool.allow(&push.view.limits);
        let is_news =
            |cluster: ClusterId, epoch| cluster != push.view.cluster || epoch < push.view.epoch;
        let known = self.routes();
        if is_news(known.view().cluster, known.epoch()) {
            debug!("view {} of {} members", push.view.epoch, push.view.members.len());
            let made = Arc::new(Routes::new(push.view));
            let mut routes = self.routes.write();
            // Another thread may have learned a newer one meanwhile.
            if routes.view().cluster != made.view().cluster || routes.epoch() < made.epoch() {
                *routes = made;
            }
        }
        Ok(push.clock)
    }
}
