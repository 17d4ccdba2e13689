//! The view as this client knows it, and how it learns a newer one.

use std::sync::Arc;

use cluster::ids::{Address, ClusterId};
use cluster::version::Clock;
use cluster::view::Routes;
use log::debug;
use net_common::connection::NetError;
use net_common::message::control::{Hello, TablePush};
use parking_lot::RwLock;

use crate::links::Links;

/// The newest active view that the manager has told.
pub struct Router {
    manager: Address,
    routes: RwLock<Arc<Routes>>,
}

/// Asks a manager for its view.
fn ask(links: &Links, manager: &Address) -> Result<TablePush, NetError> {
    let mut link = links.take(manager)?;
    let push = link.call::<TablePush>(&Hello).inspect_err(|_| links.forget(manager))?;
    links.put_back(link);
    Ok(push)
}

impl Router {
    /// Learns the first view. Returns the manager's clock with it.
    ///
    /// # Errors
    /// [`NetError`] where the manager does not answer.
    pub fn new(links: &Links, manager: Address) -> Result<(Router, Clock), NetError> {
        let push = ask(links, &manager)?;
        let routes = RwLock::new(Arc::new(Routes::new(push.view)));
        Ok((Router { manager, routes }, push.clock))
    }

    /// The view in use.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.read().clone()
    }

    /// Where the manager is.
    pub fn manager(&self) -> &Address {
        &self.manager
    }

    /// Asks the manager again. The view in use changes only if the told one is newer, or if the
    /// manager's cluster is another one: then everything known is void. Returns the manager's clock.
    ///
    /// # Errors
    /// [`NetError`] where the manager does not answer; the view in use stays.
    pub fn refresh(&self, links: &Links) -> Result<Clock, NetError> {
        let push = ask(links, &self.manager)?;
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
