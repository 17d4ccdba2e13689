//! A manager's configuration, and the errors of a start.

use std::io;
use std::path::PathBuf;

use cluster::membership::Settings;
use net_common::auth::Secret;
use net_common::server;

use crate::requested::RequestedSettings;
use crate::state;

/// A manager's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Heartbeats, copies, limits and ring of a new cluster, and this manager's own settings.
    pub settings: Settings,
    /// The settings that flags requested explicitly: a warning names those that differ from the
    /// cluster's.
    pub asked: RequestedSettings,
    /// The limits on peers.
    pub limits: server::Limits,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// The folder for the saved views; without it a restarted manager knows no node.
    pub data: Option<PathBuf>,
    /// Whether a refused connection to a node's port proves that its process has terminated (L6).
    /// Not in a network where a middlebox may refuse on behalf of a live host.
    pub trusts_refused: bool,
}

/// The reason a manager cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its saved state cannot be used.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The operating system refuses.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}
