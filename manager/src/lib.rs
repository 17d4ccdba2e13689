//! The manager: it decides membership and the assignment of arcs.
//!
//! [`cluster::membership`] makes the decisions; this crate does the I/O. One thread owns the state
//! machine ([`monitor`]): it receives events from a channel, watches for missing heartbeats, saves
//! what must survive ([`state`]) and sends views to nodes. Connections ([`requests`], [`control`])
//! only turn frames into events and answers into frames; they reach that thread through a
//! [`Handle`].
//!
//! [`Manager`] assembles these parts, for `main` and for tests.

use std::io;
use std::net::{SocketAddr, TcpListener};

use cluster::membership::{Event, Newcomer};
use crossbeam_channel::Receiver;
use net_common::logging;
use net_common::server::Server;

pub mod args;
mod config;
pub mod control;
mod control_connections;
mod handle;
pub mod monitor;
mod probe;
mod published;
pub mod reach;
mod reply_queue;
pub mod requested;
pub mod requests;
mod resume;
mod saver;
pub mod state;
mod status;

pub use config::{Config, StartError};
pub use control_connections::Outbound;
pub use handle::Handle;
use monitor::Monitor;

/// A running manager. Stops when dropped.
pub struct Manager {
    // The order matters: connections must close before the thread that answers them stops.
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
        look_for(monitor.handle(), monitor.members().to_vec())?;
        let open = requests::opener(monitor.handle(), config.secret.clone());
        let server = Server::start("manager", listener, config.limits, config.secret, open)?;
        Ok(Manager { server, monitor })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Receives the reason if the manager has to exit: nodes have seen views that its folder lacks.
    pub fn ended(&self) -> &Receiver<String> {
        self.monitor.ended()
    }

    /// Stops. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.server.stop();
        self.monitor.stop();
    }
}

/// After a restart of the manager: checks whether the processes of these members still run. All
/// control connections closed with the manager, so a refused connection proves that a node has
/// terminated (L6).
///
/// # Errors
/// If the operating system has no more threads.
fn look_for(handle: Handle, members: Vec<Newcomer>) -> io::Result<()> {
    if members.is_empty() || !handle.trusts_refused() {
        return Ok(());
    }
    logging::spawn("manager ports".into(), move || {
        for member in members.iter().filter(|member| probe::is_gone(&member.address)) {
            // Ignored for a node that has registered meanwhile.
            handle.event(Event::Gone(member.incarnation));
        }
    })
    .map(drop)
}
