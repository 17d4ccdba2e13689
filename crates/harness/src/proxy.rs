//! Blocking TCP proxies in front of processes, which inject network faults.
//!
//! A [`NetworkFault`] applies to all traffic; a [`Cut`] to single links between [parties](Party). A
//! cut looks to TCP like an unplugged cable: connections are still accepted (here; on a real
//! network they hang), no data and no close passes, and data in flight arrives late, after the link
//! is restored, even if its sender has given up long before. A cut never refuses connections: to
//! the manager a refused port means that the process is gone (rule L6), but a node that is merely
//! cut off still has its lease and its records. Conversely, connections to a killed node must be
//! refused, so [`Proxy::close`] closes the listener; call it only after the process has exited.
//!
//! In a cluster of processes every node has one proxy, whose address it advertises. The manager has
//! one for each node and one for the clients, so the source of its connections is known. A node's
//! proxy looks the source up, but only for connections that a cut may affect.

mod faults;
mod sockets;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use net_common::worker::Worker;
use parking_lot::Mutex;

use faults::LinkIdentity;
pub use faults::{Cut, Direction, Faults, NetworkFault};

use crate::party::Party;

/// Bytes of a forwarding thread's stack: it calls nothing deep, and there are hundreds.
const STACK: usize = 128 << 10;

/// Pause after a failed accept, for example without free descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// The two parties of a proxy's connections.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// The party that connects, if it is always the same.
    pub from: Option<Party>,
    /// The party behind the proxy.
    pub to: Party,
}

/// A proxy. Its connections are closed on drop.
#[derive(Debug)]
pub struct Proxy {
    route: Arc<Route>,
    /// The accepting thread. [`Proxy::close`] wakes it before it waits for it.
    accepting: Option<Worker>,
}

/// The state that a proxy and its threads share.
#[derive(Debug)]
struct Route {
    front: SocketAddr,
    target: SocketAddr,
    ends: Endpoints,
    faults: Arc<Faults>,
    requested: AtomicU64,
    connections: Mutex<Vec<Weak<ProxiedConnection>>>,
    is_over: AtomicBool,
}

/// A forwarded connection.
#[derive(Debug)]
struct ProxiedConnection {
    link: LinkIdentity,
    near: TcpStream,
    far: TcpStream,
}

impl Proxy {
    /// Forwards connections to `target`, with its own faults.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn alone(listener: TcpListener, target: SocketAddr) -> io::Result<Proxy> {
        let ends = Endpoints { from: Some(Party::Client), to: Party::Node(0) };
        Proxy::between(listener, target, ends, Arc::default())
    }

    /// Forwards connections to `target`, with shared faults.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn between(
        listener: TcpListener,
        target: SocketAddr,
        ends: Endpoints,
        faults: Arc<Faults>,
    ) -> io::Result<Proxy> {
        let route = Arc::new(Route {
            front: listener.local_addr()?,
            target,
            ends,
            faults,
            requested: AtomicU64::new(0),
            connections: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let mut proxy = Proxy { route, accepting: None };
        proxy.listen(listener)?;
        Ok(proxy)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.route.front
    }

    /// Bytes of requests received so far.
    pub fn requested(&self) -> u64 {
        self.route.requested.load(Ordering::Relaxed)
    }

    /// Sets the fault of this proxy and of those that share its faults.
    pub fn set(&self, fault: NetworkFault) {
        self.route.faults.set(fault);
        if fault == NetworkFault::Close {
            self.route.close_all();
        }
    }

    /// Listens on the same port again after [`Proxy::close`].
    ///
    /// # Errors
    /// If the port is taken or no thread can be started.
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.accepting.is_none() {
            self.listen(TcpListener::bind(self.route.front)?)?;
        }
        Ok(())
    }

    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        let route = self.route.clone();
        self.accepting = Some(Worker::spawn("proxy".into(), move |stop| {
            for near in listener.incoming() {
                if stop.has_come() {
                    return;
                }
                match near {
                    Ok(near) => carry(&route, near),
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        })?);
        Ok(())
    }

    /// Refuses connections from now on. Open connections close when their target closes them.
    pub fn close(&mut self) {
        if let Some(mut accepting) = self.accepting.take() {
            accepting.request_stop();
            // The thread blocks in accept; a connection wakes it.
            let _ = TcpStream::connect(self.route.front);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        self.route.is_over.store(true, Ordering::SeqCst);
        self.route.faults.wake();
        self.route.close_all();
    }
}

impl Route {
    /// Closes all connections.
    fn close_all(&self) {
        for connection in self.connections.lock().drain(..) {
            if let Some(connection) = connection.upgrade() {
                connection.close();
            }
        }
    }
}

impl ProxiedConnection {
    fn close(&self) {
        // An error means that it is closed already.
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.far.shutdown(Shutdown::Both);
    }
}

/// Forwards one connection. If descriptors or threads run out, the connection is closed.
fn carry(route: &Arc<Route>, near: TcpStream) {
    if route.faults.is_closing() {
        return;
    }
    let Ok(peer) = near.peer_addr() else { return };
    // If the target refuses, `near` is dropped, which closes the caller's connection.
    let Ok(far) = TcpStream::connect(route.target) else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let link = LinkIdentity {
        from: route.ends.from.map_or_else(OnceLock::new, OnceLock::from),
        to: route.ends.to,
        port: peer.port(),
        proxy: route.front.port(),
    };
    let connection = Arc::new(ProxiedConnection { link, near, far });
    let mut connections = route.connections.lock();
    connections.retain(|connection| connection.strong_count() > 0);
    connections.push(Arc::downgrade(&connection));
    drop(connections);
    for way in [Direction::Requests, Direction::Replies] {
        let (route, carried) = (route.clone(), connection.clone());
        let thread = thread::Builder::new().name("proxy link".into()).stack_size(STACK);
        if thread.spawn(move || pump(&route, &carried, way)).is_err() {
            connection.close();
        }
    }
}

/// Forwards bytes in one direction until the close, which it forwards too.
fn pump(route: &Route, connection: &ProxiedConnection, way: Direction) {
    let ProxiedConnection { link, near, far } = connection;
    let (mut from, mut to) = if way == Direction::Requests { (near, far) } else { (far, near) };
    let is_over = || route.is_over.load(Ordering::SeqCst);
    let mut piece = [0; 16 << 10];
    loop {
        let got = match from.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            got => got,
        };
        let bytes = got.as_ref().copied().unwrap_or_default();
        if way == Direction::Requests {
            route.requested.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let Some(time) = route.faults.passage(link, way, bytes, is_over) else {
            return connection.close();
        };
        if !time.is_zero() {
            thread::sleep(time);
        }
        match got {
            Ok(length @ 1..) => {
                if to.write_all(&piece[..length]).is_err() {
                    // That side is closed: close the other too, as a reset would.
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ports;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    #[test]
    fn a_cut_link_delivers_late() {
        let (target, target_address) = listener();
        // A port that no outgoing connection takes while the proxy is closed.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free(1).expect("one")[0]));
        let front = TcpListener::bind(address).expect("it is free");
        let faults = Arc::new(Faults::default());
        let ends = Endpoints { from: None, to: Party::Node(0) };
        let mut proxy = Proxy::between(front, target_address, ends, faults.clone()).expect("open");
        let mut near = TcpStream::connect(address).expect("connected");
        let (mut far, _) = target.accept().expect("forwarded");
        let mut byte = [0];
        near.write_all(b"a").expect("sent");
        far.read_exact(&mut byte).expect("passed");

        let cut =
            Cut { from: Party::Client, to: Party::Node(0), way: Direction::Requests, half: None };
        faults.cut(1, cut);
        faults.cut(2, Cut { from: Party::Node(1), ..cut });
        near.write_all(b"b").expect("sent");
        far.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        far.read_exact(&mut byte).expect_err("held back");
        far.write_all(b"c").expect("sent");
        near.read_exact(&mut byte).expect("one way only");
        drop(near);
        faults.mend(1);
        far.set_read_timeout(None).expect("set");
        far.read_exact(&mut byte).expect("delivered late");
        assert_eq!((byte, far.read(&mut byte).expect("the end")), ([b'b'], 0));

        proxy.close();
        let error = TcpStream::connect(address).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        proxy.reopen().expect("the port is still ours");
        TcpStream::connect(address).expect("open again");
    }

    #[test]
    fn a_dropped_proxy_closes_its_connections() {
        let (target, target_address) = listener();
        let (front, address) = listener();
        let proxy = Proxy::alone(front, target_address).expect("open");
        let mut near = TcpStream::connect(address).expect("connected");
        let (mut far, _) = target.accept().expect("forwarded");
        proxy.set(NetworkFault::Stall);
        near.write_all(b"a").expect("sent");
        drop(proxy);
        // No data: a close or a reset.
        assert!(!matches!(far.read(&mut [0]), Ok(1..)));
        assert!(!matches!(near.read(&mut [0]), Ok(1..)));
    }

    #[test]
    fn replies_are_lost_and_connections_closed() {
        let (target, target_address) = listener();
        let (front, address) = listener();
        let proxy = Proxy::alone(front, target_address).expect("open");
        let mut near = TcpStream::connect(address).expect("connected");
        let (mut far, _) = target.accept().expect("forwarded");
        proxy.set(NetworkFault::LoseReplies);
        near.write_all(b"a").expect("sent");
        let mut byte = [0];
        far.read_exact(&mut byte).expect("requests pass");
        far.write_all(b"b").expect("sent");
        assert!(!matches!(near.read(&mut byte), Ok(1..)));
        proxy.set(NetworkFault::Close);
        let mut near = TcpStream::connect(address).expect("accepted");
        assert!(!matches!(near.read(&mut byte), Ok(1..)));
        assert_eq!(proxy.requested(), 1);
    }
}
