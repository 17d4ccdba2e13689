//! What a manager runs with, and why it does not.

use std::io;
use std::path::PathBuf;

use cluster::membership::Settings;
use net_common::auth::Secret;
use net_common::server;

use crate::requested::RequestedSettings;
use crate::state;

/// What a manager runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Heartbeats, copies, limits and ring of a new cluster, and how this manager goes about its
    /// work.
    pub settings: Settings,
    /// What of that was asked for, and is told where the cluster has something else.
    pub asked: RequestedSettings,
    /// What peers are allowed.
    pub limits: server::Limits,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// Where the views are saved; without it a restarted manager knows nobody.
    pub data: Option<PathBuf>,
    /// Whether a node's port that refuses says that its process has ended (L6). Not in a network in
    /// which something between may refuse for a host that is there.
    pub trusts_refused: bool,
}

/// Why a manager does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its saved state cannot be used.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The operating system refuses.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}
