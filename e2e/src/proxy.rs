//! A blocking TCP proxy that stands in front of a node and makes trouble.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// What a proxy does to what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Holds back every piece for so long, in both directions.
    Delay(Duration),
    /// Passes on so many bytes a second, one after the other, in both directions.
    Slow(u64),
    /// Takes everything and passes nothing on, for as long as the fault lasts; what was held back is
    /// passed on afterwards.
    Stall,
    /// Passes requests on, and closes the connection where an answer comes back.
    LoseReplies,
    /// Closes connections, new ones and those in use.
    Cut,
}

/// How often a stalled connection looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);

/// A running proxy. New connections end when it is dropped; those under way end with their peers.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    fault: Mutex<Fault>,
    is_stopped: Mutex<bool>,
    streams: Mutex<Vec<TcpStream>>,
    requested: AtomicU64,
}

impl Proxy {
    /// Listens and passes everything on to `target`.
    pub fn start(listener: TcpListener, target: SocketAddr) -> Proxy {
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            fault: Mutex::new(Fault::None),
            is_stopped: Mutex::new(false),
            streams: Mutex::default(),
            requested: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *accepting.is_stopped.lock() {
                    return;
                }
                accepting.clone().carry(stream);
            }
        });
        Proxy { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes of requests have come in.
    pub fn requested(&self) -> u64 {
        self.shared.requested.load(Ordering::Relaxed)
    }

    /// Makes this trouble from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock() = fault;
        if fault == Fault::Cut {
            for stream in self.shared.streams.lock().drain(..) {
                // Closed already is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *self.shared.is_stopped.lock() = true;
        self.set(Fault::Cut);
        // The accepting thread sleeps in the kernel; a connection wakes it.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn carry(self: Arc<Shared>, near: TcpStream) {
        if *self.fault.lock() == Fault::Cut {
            return;
        }
        // A target that refuses is refused to the caller as well: `near` is dropped.
        let Ok(far) = TcpStream::connect(self.target) else { return };
        let both = || Some((near.try_clone().ok()?, far.try_clone().ok()?));
        let (Some((near_too, far_too)), Some((a, b))) = (both(), both()) else { return };
        self.streams.lock().extend([a, b]);
        let back = self.clone();
        thread::spawn(move || self.pump(near, far, false));
        thread::spawn(move || back.pump(far_too, near_too, true));
    }

    /// Carries bytes one way until an end.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_reply: bool) {
        let mut piece = [0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if !is_reply {
                self.requested.fetch_add(n as u64, Ordering::Relaxed);
            }
            if !self.may_pass(is_reply, n) || to.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// Makes trouble for one piece of so many bytes. `false` closes the connection.
    fn may_pass(&self, is_reply: bool, bytes: usize) -> bool {
        loop {
            let fault = *self.fault.lock();
            match fault {
                Fault::None => return true,
                Fault::Delay(time) => {
                    thread::sleep(time);
                    return true;
                }
                Fault::Slow(rate) => {
                    thread::sleep(Duration::from_secs_f64(bytes as f64 / rate as f64));
                    return true;
                }
                Fault::LoseReplies => return !is_reply,
                Fault::Cut => return false,
                Fault::Stall => thread::sleep(LOOK),
            }
        }
    }
}
