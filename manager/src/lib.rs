//! The manager: who is a member, and who owns what.
//!
//! The decisions are [`cluster::membership`]'s; this crate carries them. One thread owns the state
//! machine ([`monitor`]): it takes events from a channel, watches heartbeats run out, saves what must
//! survive ([`state`]) and sends views to nodes. Connections ([`requests`], [`control`]) only turn
//! frames into events and answers into frames.
//!
//! [`Manager`] puts it together, for `main` and for tests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use cluster::membership::Settings;
use crossbeam_channel::Receiver;
use net_common::auth::Secret;
use net_common::server::{self, Server};

pub mod args;
pub mod asked;
pub mod control;
pub mod monitor;
pub mod reach;
pub mod requests;
pub mod state;

use asked::Asked;
use monitor::Monitor;

/// What a manager runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Heartbeats, copies, limits and ring of a new cluster, and how this manager goes about its work.
    pub settings: Settings,
    /// What of that was asked for, and is told where the cluster has something else.
    pub asked: Asked,
    /// What peers are allowed.
    pub limits: server::Limits,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// Where the views are saved; without it a restarted manager knows nobody.
    pub data: Option<PathBuf>,
    /// Whether a node's port that refuses says that its process has ended (L6). Not in a network in which something
    /// between may refuse for a host that is there.
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

/// A running manager. Stops when dropped.
pub struct Manager {
    // In this order: connections end before the thread that they talk to.
    server: Server,
    monitor: Monitor,
}

impl Manager {
    /// Starts serving on a listener.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(listener: TcpListener, config: Config) -> Result<Manager, StartError> {
        let monitor = Monitor::start(&config)?;
        let open = requests::opener(monitor.handle(), config.secret.clone());
        let server = Server::start("manager", listener, config.limits, config.secret, open)?;
        Ok(Manager { server, monitor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Says why it is to end, if it comes to that: nodes have seen views that its folder does not tell of.
    pub fn ended(&self) -> &Receiver<String> {
        self.monitor.ended()
    }

    /// Stops. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.server.stop();
        self.monitor.stop();
    }
}
