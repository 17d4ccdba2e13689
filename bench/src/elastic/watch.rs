//! Observes the cluster while it changes: its health, and the copies that nodes must fetch for each
//! new view.

use std::collections::BTreeSet;
use std::time::Duration;

use client::{ClientError, Config, GTStoreClient, status};
use cluster::ids::Address;
use cluster::view::Routes;
use net_common::connection::{Connection, Dial};
use net_common::frame::PayloadLimit;
use net_common::message::control::{Hello, Status, TablePush};

use super::movement::KeysOfArcs;

/// How long to wait for the manager.
const PATIENCE: Duration = Duration::from_secs(2);

/// Observes a cluster.
pub struct Watch {
    client: GTStoreClient,
    manager: Address,
    connection: Option<Connection>,
    keys: KeysOfArcs,
    /// The newest view seen.
    routes: Option<Routes>,
    /// Copies that nodes had to fetch so far.
    fetched: u64,
    /// The health texts, each with the time at which it began. Successive ones differ.
    health: Vec<(Duration, String)>,
}

impl Watch {
    /// Connects to the manager.
    ///
    /// # Errors
    /// [`ClientError`] if there is no manager.
    pub fn new(config: &Config) -> Result<Watch, ClientError> {
        let mut config = config.clone();
        config.patience = PATIENCE;
        Ok(Watch {
            manager: config.manager.clone(),
            client: GTStoreClient::init(config)?,
            connection: None,
            keys: KeysOfArcs::count(std::iter::empty(), 0),
            routes: None,
            fetched: 0,
            health: Vec::new(),
        })
    }

    /// Resets the observations, with these keys in the cluster.
    pub fn begin<'a>(&mut self, keys: impl Iterator<Item = &'a str>) {
        let arcs = self.routes.as_ref().map_or(0, Routes::arcs);
        self.keys = KeysOfArcs::count(keys, arcs);
        self.fetched = 0;
        self.health.clear();
    }

    /// The number of keys in each arc.
    pub fn keys(&self) -> &KeysOfArcs {
        &self.keys
    }

    /// The newest view seen.
    pub fn routes(&self) -> Option<&Routes> {
        self.routes.as_ref()
    }

    /// Copies that nodes had to fetch so far.
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// The health texts, each with the time at which it began.
    pub fn health(&self) -> &[(Duration, String)] {
        &self.health
    }

    /// Requests the status once; `None` if the manager does not reply.
    pub fn poll(&mut self, now: Duration) -> Option<Status> {
        let status = self.client.status().ok()?;
        if self.health.last().is_none_or(|(_, health)| *health != status.health.text) {
            self.health.push((now, status.health.text.clone()));
        }
        if self.routes.as_ref().is_none_or(|routes| routes.epoch() != status.epoch) {
            self.fetch_view();
        }
        Some(status)
    }

    /// Requests the view, and counts the copies that must be fetched for it.
    fn fetch_view(&mut self) {
        let dial = Dial {
            connect: PATIENCE,
            reply: PATIENCE,
            secret: None,
            payload: PayloadLimit::default(),
        };
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::dial(&self.manager, &dial),
        };
        // A lost connection is opened again by the next poll.
        let Ok(mut connection) = connection else { return };
        let Ok(push) = connection.call::<TablePush>(&Hello) else { return };
        self.connection = Some(connection);
        let new = Routes::new(push.view);
        if let Some(before) = &self.routes {
            self.fetched += self.keys.fetched(before, &new);
        }
        self.routes = Some(new);
    }

    /// The sum of the key counts that the nodes report, copies included.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn held(&self) -> Result<u64, ClientError> {
        self.client.refresh_view()?;
        Ok(self.client.node_infos()?.iter().map(|info| info.keys).sum())
    }
}

/// Whether the cluster is healthy and exactly these nodes serve.
pub fn is_healed(status: &Status, names: &BTreeSet<String>) -> bool {
    let serving: BTreeSet<String> =
        status::serving(status).into_iter().map(ToString::to_string).collect();
    status.is_settled() && serving == *names
}
