//! The manager: who is a member, and who owns what.
//!
//! The decisions are [`cluster::membership`]'s; this crate carries them. One thread owns the state
//! machine ([`monitor`]): it takes events from a channel, watches heartbeats run out, saves what
//! must survive ([`state`]) and sends views to nodes. Connections ([`requests`], [`control`]) only
//! turn frames into events and answers into frames; they speak to the owner by a [`Handle`].
//!
//! [`Manager`] puts it together, for `main` and for tests.

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
        look_for(monitor.handle(), monitor.members().to_vec())?;
        let open = requests::opener(monitor.handle(), config.secret.clone());
        let server = Server::start("manager", listener, config.limits, config.secret, open)?;
        Ok(Manager { server, monitor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Says why it is to end, if it comes to that: nodes have seen views that its folder does not
    /// tell of.
    pub fn ended(&self) -> &Receiver<String> {
        self.monitor.ended()
    }

    /// Stops. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.server.stop();
        self.monitor.stop();
    }
}

/// After a restart of the manager: looks whether the processes of these members are still there.
/// Every control connection ended with the manager, so a port that refuses says that its node is
/// gone (L6).
///
/// # Errors
/// If the operating system has no more threads.
fn look_for(handle: Handle, members: Vec<Newcomer>) -> io::Result<()> {
    if members.is_empty() || !handle.trusts_refused() {
        return Ok(());
    }
    logging::spawn("manager ports".into(), move || {
        for member in members.iter().filter(|member| probe::is_gone(&member.address)) {
            // Of a node that has registered meanwhile this is not believed.
            handle.event(Event::Gone(member.incarnation));
        }
    })
    .map(drop)
}
