//! A node's control connection: heartbeats one way, acknowledgements and views the other.
//!
//! Two threads share it. The connection's own thread reads heartbeats. A second one sends the
//! frames that the monitor thread and the first have put into the node's channel, so neither waits
//! for a node that does not read. When the connection closes, the manager tries the node's port: if
//! that refuses, the process has terminated and its lease need not run out (rule L6).
//! `--no-trust-refused` disables this for networks where something else may refuse in the node's
//! place.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use cluster::membership::{Answer, Event, Newcomer};
use cluster::version;
use crossbeam_channel::Receiver;
use log::{debug, info, warn};
use net_common::clock;
use net_common::frame::{FORMAT_BINARY, FrameReader, Kind};
use net_common::logging;
use net_common::message::Message;
use net_common::message::control::{Heartbeat, HeartbeatAck};

use crate::control_connections::Outbound;
use crate::handle::Handle;
use crate::probe::is_gone;

/// Runs a node's control connection until it closes.
pub fn run(
    handle: &Handle,
    node: &Newcomer,
    number: u64,
    stream: &Arc<TcpStream>,
    mut reader: FrameReader,
) {
    let (outbound, frames) = handle.attach(node.incarnation, number);
    let sender = {
        let stream = stream.clone();
        logging::spawn(format!("manager to {}", node.id), move || send(&stream, &frames))
    };
    match sender {
        Ok(_) => {
            if let Err(error) = receive(handle, node, stream, &mut reader, &outbound) {
                debug!("{}: {error}", node.id);
            }
        }
        Err(error) => warn!("cannot start a thread for {}: {error}", node.id),
    }
    let _ = stream.shutdown(Shutdown::Both);
    handle.detach(node.incarnation, number);
    if handle.trusts_refused() && is_gone(&node.address) {
        handle.event(Event::Gone(node.incarnation));
    } else {
        info!("lost the connection to {}, waiting for it to reconnect", node.id);
    }
}

/// Sends frames until the channel closes (the node was detached) or the connection breaks.
fn send(mut stream: &TcpStream, frames: &Receiver<Arc<Vec<u8>>>) {
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            // The reading side notices and cleans up.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn receive(
    handle: &Handle,
    node: &Newcomer,
    mut stream: &TcpStream,
    reader: &mut FrameReader,
    outbound: &Outbound,
) -> io::Result<()> {
    let bad = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    loop {
        while let Some(frame) = reader.next_frame().map_err(|e| bad(e.to_string()))? {
            if frame.kind != Kind::Heartbeat as u16 || frame.format != FORMAT_BINARY {
                return Err(bad(format!("type {} on a control connection", frame.kind)));
            }
            let beat = Heartbeat::read(frame.payload).map_err(|e| bad(e.to_string()))?;
            if beat.incarnation != node.incarnation {
                return Err(bad("a heartbeat of another incarnation".into()));
            }
            if let Some(why) = clock_trouble(beat.wall_ms) {
                // Without heartbeats its lease runs out; it is refused until its clock is
                // corrected.
                return Err(bad(why));
            }
            heartbeat(handle, beat, outbound);
        }
        match reader.fill(&mut stream) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // The membership judges silence.
            Err(e) if is_nothing_yet(&e) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The defect of a node's wall clock, if any (rule N5). The clocks are compared when the message
/// arrives: its latency is small compared with the bound.
pub fn clock_trouble(wall_ms: u64) -> Option<String> {
    let own = clock::wall_ms();
    version::are_apart(wall_ms, own).then(|| {
        let (seconds, bound) = (wall_ms.abs_diff(own) / 1000, version::MAX_AHEAD_MS / 1000);
        let side = if wall_ms > own { "ahead of" } else { "behind" };
        format!(
            "the node's clock is {seconds} s {side} the manager's, {bound} s are the most; set it right"
        )
    })
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn heartbeat(handle: &Handle, beat: Heartbeat, outbound: &Outbound) {
    let Heartbeat { incarnation, sequence, report, .. } = beat;
    let epoch = report.epoch;
    let answer = handle.event(Event::Heartbeat(incarnation, report));
    let heartbeat_ms = handle.terms().heartbeat_ms as u32;
    let mut out = Vec::new();
    let Some(Answer::Known { newest, active, lease }) = answer else {
        HeartbeatAck { sequence, known: false, lease_ms: 0, heartbeat_ms, active: epoch }
            .write(&mut out);
        let _ = outbound.try_send(Arc::new(out));
        return;
    };
    let lease_ms = lease.unwrap_or(0) as u32;
    HeartbeatAck { sequence, known: true, lease_ms, heartbeat_ms, active }.write(&mut out);
    if newest.epoch() > epoch {
        handle.table(&newest, active).write(&mut out);
    }
    // A node whose channel is full does not read; it will soon be out.
    let _ = outbound.try_send(Arc::new(out));
}
