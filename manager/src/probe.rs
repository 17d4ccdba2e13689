//! Detection of terminated processes: their ports refuse connections (rule L6).

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use cluster::ids::Address;

/// The time-out of connecting to the port of a node whose connection has closed. A live host
/// refuses or accepts at once.
const PORT_TIMEOUT: Duration = Duration::from_millis(200);

/// Pauses between tries of that port: the kernel closes a dead process's sockets one after the
/// other, so its listener may outlive its connections by a moment.
const TRIES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
];

/// Whether an address refuses, now or in a moment.
pub fn is_gone(address: &Address) -> bool {
    TRIES.iter().any(|pause| {
        std::thread::sleep(*pause);
        is_refused(address)
    })
}

/// Whether no process listens at an address any more.
fn is_refused(address: &Address) -> bool {
    let Ok(candidates) = (address.host(), address.port()).to_socket_addrs() else { return false };
    do_all_refuse(candidates, |to| TcpStream::connect_timeout(to, PORT_TIMEOUT).map(drop))
}

/// Whether each address of a host refuses. A node listens at some of them, and it is not known
/// which: a silent or unreachable one may be the one that it serves on.
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

    /// L6 as a table: the answer of each address of a name, and whether the node is terminated.
    #[test]
    fn a_node_is_terminated_only_if_every_address_of_its_name_refuses() {
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
