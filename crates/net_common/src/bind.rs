//! Where a process may listen: on loopback, or elsewhere with a secret.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use crate::handover;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`. Thousands
/// of clients that reconnect at once after a restart must not run into SYN retries of a second.
const BACKLOG: i32 = 4096;

/// The reason a process cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The host cannot be resolved.
    #[error("cannot resolve --bind {host}: {source}")]
    Host {
        /// The host and port, as given.
        host: String,
        /// The cause.
        source: io::Error,
    },
    /// Listening beyond this machine without a secret.
    #[error(
        "refusing to listen on {0}, which other machines may reach, without a secret: give \
         --secret-file FILE (or GTSTORE_SECRET_FILE) to every node, manager and client, or bind to \
         127.0.0.1"
    )]
    Open(IpAddr),
    /// The port is taken or not permitted.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// Listens on `host:port`; port 0 takes any free one. A taken port is tried again for up to
/// [`handover::PATIENCE`]: the process that had it may still be exiting.
///
/// # Errors
/// [`BindError`]: the host is unknown, is not loopback while there is no secret, or the port is not
/// available.
pub fn listen(host: &str, port: u16, has_secret: bool) -> Result<TcpListener, BindError> {
    let unresolved = |source| BindError::Host { host: host.into(), source };
    let address = (host, port)
        .to_socket_addrs()
        .map_err(unresolved)?
        .next()
        .ok_or_else(|| unresolved(io::Error::other("it has no address")))?;
    if !address.ip().is_loopback() && !has_secret {
        return Err(BindError::Open(address.ip()));
    }
    let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    handover::retry(Instant::now(), is_taken, || open(address))
        .map_err(|source| BindError::Listen { address, source })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before to leave TIME_WAIT. (On
    // Linux a port with a live listener still counts as taken.)
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_needs_no_secret_and_others_do() {
        listen("127.0.0.1", 0, false).unwrap();
        assert!(matches!(listen("0.0.0.0", 0, false), Err(BindError::Open(_))));
        listen("0.0.0.0", 0, true).unwrap();
        assert!(matches!(listen("no such host", 0, true), Err(BindError::Host { .. })));
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let first = listen("127.0.0.1", 0, false).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = listen("127.0.0.1", port, false).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
