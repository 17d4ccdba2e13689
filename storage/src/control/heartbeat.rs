//! Sending heartbeats, over a connection that another thread reads.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cluster::membership::Report;
use crossbeam_channel::{Receiver, never, select};
use net_common::clock;
use net_common::connection::Connection;
use net_common::message::Message;
use net_common::message::control::Heartbeat;

use crate::node::Node;

/// After so many heartbeat intervals without a message from the manager the connection is closed: a
/// new one may work where this one is stuck.
const DEAF: u32 = 3;

/// The interval between heartbeats, in milliseconds, as set by the manager.
#[derive(Clone, Default)]
pub struct HeartbeatInterval(Arc<AtomicU32>);

impl HeartbeatInterval {
    /// The interval.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the interval from the next heartbeat on, and the time-out for answers accordingly.
    pub fn set(&self, heartbeat_ms: u32, link: &mut Connection) {
        self.0.store(heartbeat_ms, Ordering::Relaxed);
        link.set_patience(self.time() * DEAF);
    }

    fn time(&self) -> Duration {
        Duration::from_millis(u64::from(self.get().max(1)))
    }
}

/// The sender of heartbeats.
pub struct Heartbeats {
    /// The node.
    pub node: Arc<Node>,
    /// The stream to the manager.
    pub stream: TcpStream,
    /// The interval.
    pub interval: HeartbeatInterval,
    /// Receives when one has to be sent at once. They stop when the channel closes.
    pub beats: Receiver<()>,
    /// Receives when arcs became synced: one is sent at once.
    pub progress: Receiver<()>,
    /// The number of the last probe, which each heartbeat contains.
    pub probe: Arc<AtomicU64>,
}

impl Heartbeats {
    /// Sends one every interval, and at once when asked to.
    pub fn send(mut self) {
        let mut out = Vec::new();
        loop {
            self.encode(&mut out);
            if self.stream.write_all(&out).is_err() {
                // The reading thread notices, and connects again.
                let _ = self.stream.shutdown(Shutdown::Both);
                return;
            }
            select! {
                recv(self.beats) -> beat => if beat.is_err() { return },
                recv(self.progress) -> word => if word.is_err() { self.progress = never() },
                default(self.interval.time()) => {}
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Heartbeats { node, probe, .. } = self;
        let sequence = node.send_heartbeat();
        let report = Report { probe: probe.load(Ordering::Relaxed), ..node.report() };
        out.clear();
        let (incarnation, wall_ms) = (node.incarnation(), clock::wall_ms());
        Heartbeat { incarnation, sequence, report, wall_ms }.write(out);
    }
}
