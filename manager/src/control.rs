//! A node's control connection: heartbeats one way, acknowledgements and views the other.
//!
//! Two threads share it. The connection's own reads heartbeats; a second sends what the owner of the
//! membership and the first have put into the node's channel, so neither ever waits for a node that
//! does not read. When the connection ends, the node's own port is tried: if that refuses, its process
//! is gone, and nobody has to wait for its lease (rule L6). Where something else might refuse in the node's place
//! the operator says so, and its lease is waited for.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use cluster::ids::Address;
use cluster::membership::{Answer, Event, Newcomer};
use cluster::version;
use crossbeam_channel::Receiver;
use log::{debug, info, warn};
use net_common::clock;
use net_common::frame::{FORMAT_BINARY, FrameReader, Kind};
use net_common::logging;
use net_common::message::Message;
use net_common::message::control::{Heartbeat, HeartbeatAck};

use crate::monitor::{Handle, Outbound};

/// How long the port of a node whose connection ended may take to answer. A host that is there
/// refuses or accepts at once.
const PORT_TIMEOUT: Duration = Duration::from_millis(200);

/// Pauses between tries of that port: the kernel closes a dead process's sockets one after the other,
/// so its listener may outlive its connections by a moment.
const TRIES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
];

/// Runs a node's control connection until it ends.
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
        info!("{} is disconnected, and may come back", node.id);
    }
}

/// Sends frames until the channel ends (the node was detached) or the connection breaks.
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
                // Without heartbeats its lease ends; it is refused until its clock is set right.
                return Err(bad(why));
            }
            heartbeat(handle, beat, outbound);
        }
        match reader.fill(&mut stream) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Silence is the membership's to judge.
            Err(e) if is_nothing_yet(&e) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is wrong with a node's wall clock, if anything (rule N5). The clocks are compared when the word
/// arrives: what it took on the way is little beside the bound.
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
    // A node whose channel is full is not reading; it will be out before long.
    let _ = outbound.try_send(Arc::new(out));
}

/// After a restart of the manager: looks whether the processes of these members are still there. Every
/// control connection ended with the manager, so a port that refuses says that its node is gone (L6).
///
/// # Errors
/// If the operating system has no more threads.
pub fn look_for(handle: Handle, members: Vec<Newcomer>) -> io::Result<()> {
    if members.is_empty() || !handle.trusts_refused() {
        return Ok(());
    }
    logging::spawn("manager ports".into(), move || {
        for member in members.iter().filter(|member| is_gone(&member.address)) {
            // Of a node that has registered meanwhile this is not believed.
            handle.event(Event::Gone(member.incarnation));
        }
    })
    .map(drop)
}

/// Whether an address refuses, now or in a moment.
fn is_gone(address: &Address) -> bool {
    TRIES.iter().any(|pause| {
        std::thread::sleep(*pause);
        is_refused(address)
    })
}

/// Whether nobody listens at an address any more.
fn is_refused(address: &Address) -> bool {
    let Ok(candidates) = (address.host(), address.port()).to_socket_addrs() else { return false };
    do_all_refuse(candidates, |to| TcpStream::connect_timeout(to, PORT_TIMEOUT).map(drop))
}

/// Whether each address of a host refuses. A node listens at some of them, and nobody knows at which: one that is
/// silent or cannot be reached from here may be the one that it serves at.
fn do_all_refuse(
    candidates: impl Iterator<Item = SocketAddr>,
    mut dial: impl FnMut(&SocketAddr) -> io::Result<()>,
) -> bool {
    let mut refusals = 0;
    for candidate in candidates {
        match dial(&candidate) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refusals += 1,
            Ok(()) | Err(_) => return false,
        }
    }
    refusals > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L6 as a table: what each address of a name answers, and whether the node is gone.
    #[test]
    fn a_node_is_gone_only_where_every_address_of_its_name_refuses() {
        use ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        let refuses = Some(ConnectionRefused);
        let accepts = None;
        let table: [(&[Option<ErrorKind>], bool); 8] = [
            (&[], false),
            (&[refuses], true),
            (&[refuses, refuses], true),
            (&[refuses, accepts], false),
            (&[accepts, refuses], false),
            (&[refuses, Some(TimedOut)], false),
            (&[Some(TimedOut), refuses], false),
            (&[Some(NetworkUnreachable), refuses], false),
        ];
        for (case, (answers, is_gone)) in table.into_iter().enumerate() {
            let address = |n| SocketAddr::from(([127, 0, 0, 1], n as u16 + 1));
            let answer = |to: &SocketAddr| {
                let answer: Option<ErrorKind> = answers[usize::from(to.port()) - 1];
                answer.map_or(Ok(()), |kind| Err(kind.into()))
            };
            assert_eq!(
                do_all_refuse((0..answers.len()).map(address), answer),
                is_gone,
                "case {case}"
            );
        }
    }
}
