//! Forwarders in front of every process, in which single links can be cut.
//!
//! A cut is what a cable that was pulled looks like to TCP: connections are still accepted (here; on a
//! real network they hang), nothing passes, ends of connections do not pass either, and what was on its
//! way when the link was mended arrives then, late, even if its sender has long given up. A cut never
//! refuses: to the manager a refused port means that the process is gone (rule L6), and a node that is
//! merely cut off has its lease and its records. The other way round, a node that was killed must be
//! refused, so [`Proxy::close`] ends the listener; call it only after the process has ended.
//!
//! Every node has one forwarder, whose address it advertises. The manager has one for each node and one
//! for the clients, so there the source is known. On a node's forwarder it is found from `/proc`: the
//! one of our processes that holds the other end of the connection; if none does, it is a client. That
//! costs milliseconds, so it is looked up only for connections that a cut may concern.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Who is at one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The manager.
    Manager,
    /// A node, from 0.
    Node(usize),
    /// Any client.
    Client,
}

/// Which connections a cut concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Who connects.
    pub from: Party,
    /// Who is connected to.
    pub to: Party,
    /// What is sent to the one who is connected to (requests) does not pass.
    pub stops_requests: bool,
    /// What comes back does not pass.
    pub stops_replies: bool,
    /// Only about half of the connections, chosen with this salt.
    pub half: Option<u64>,
}

/// What is cut at present; shared by all forwarders.
#[derive(Debug, Default)]
pub struct Cuts {
    /// How many there are: spares the lock while all is well.
    count: AtomicUsize,
    cuts: Mutex<Vec<(u64, Cut)>>,
    mended: Condvar,
    pids: Mutex<Vec<(Party, u32)>>,
    sockets: Mutex<Sockets>,
}

impl Cuts {
    /// Cuts a link; `id` is for mending it.
    pub fn cut(&self, id: u64, cut: Cut) {
        let mut cuts = self.cuts.lock();
        cuts.push((id, cut));
        self.count.store(cuts.len(), Ordering::SeqCst);
    }

    /// Mends the cut of this id.
    pub fn mend(&self, id: u64) {
        let mut cuts = self.cuts.lock();
        cuts.retain(|(other, _)| *other != id);
        self.count.store(cuts.len(), Ordering::SeqCst);
        self.mended.notify_all();
    }

    /// Mends everything, for good.
    pub fn end(&self) {
        self.cuts.lock().clear();
        self.count.store(0, Ordering::SeqCst);
        self.mended.notify_all();
    }

    /// Which process a party is from now on, `None` while it has none.
    pub fn set_pid(&self, party: Party, pid: Option<u32>) {
        let mut pids = self.pids.lock();
        pids.retain(|(other, _)| *other != party);
        pids.extend(pid.map(|pid| (party, pid)));
    }

    fn wait_until_mended(&self, link: &Link, is_reply: bool) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut cuts = self.cuts.lock();
        while cuts.iter().any(|(_, cut)| cut.may_stop(link, is_reply)) {
            // Found out without the lock: it takes a while.
            if link.from.get().is_none() {
                MutexGuard::unlocked(&mut cuts, || {
                    link.from.get_or_init(|| self.holder(link.port, link.proxy));
                });
                continue;
            }
            // With a time-out only against a notification that was missed.
            self.mended.wait_for(&mut cuts, Duration::from_millis(500));
        }
    }

    /// Who holds the other end of a connection to us, by the port it comes from.
    fn holder(&self, from: u16, to: u16) -> Party {
        let key = (from, to);
        let mut sockets = self.sockets.lock();
        // A connection that is not there is younger than the table, or has ended.
        if !sockets.inodes.contains_key(&key) || sockets.read.is_none_or(|at| at.elapsed() > FRESH)
        {
            *sockets = Sockets { read: Some(Instant::now()), inodes: inodes() };
        }
        let Some(inode) = sockets.inodes.get(&key).copied() else { return Party::Client };
        drop(sockets);
        let socket = format!("socket:[{inode}]");
        let pids = self.pids.lock().clone();
        let holds = |pid: u32| {
            let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            entries
                .flatten()
                .any(|e| fs::read_link(e.path()).is_ok_and(|l| l.as_os_str() == socket.as_str()))
        };
        pids.into_iter().find(|(_, pid)| holds(*pid)).map_or(Party::Client, |(party, _)| party)
    }
}

impl Cut {
    /// Whether it concerns a connection, or may: who connects is not known yet.
    fn may_stop(&self, link: &Link, is_reply: bool) -> bool {
        let way = if is_reply { self.stops_replies } else { self.stops_requests };
        let chosen = self.half.is_none_or(|salt| {
            (u64::from(link.port) ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 0
        });
        let is_from = link.from.get().is_none_or(|from| *from == self.from);
        way && chosen && is_from && self.to == link.to
    }
}

/// How long the table of sockets is believed: a port may be used again by somebody else.
const FRESH: Duration = Duration::from_millis(300);

/// The sockets of this machine that are connected over loopback.
#[derive(Debug, Default)]
struct Sockets {
    read: Option<Instant>,
    /// By own port and the other's.
    inodes: HashMap<(u16, u16), u64>,
}

fn inodes() -> HashMap<(u16, u16), u64> {
    // "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode"
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = |word: &str| u16::from_str_radix(word.strip_prefix("0100007F:")?, 16).ok();
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (own, other) = (port(words.next()?)?, port(words.next()?)?);
            let inode = words.nth(6)?.parse().ok()?;
            Some(((own, other), inode))
        })
        .collect()
}

/// One connection's place in the network.
#[derive(Debug)]
struct Link {
    /// Who connected, once that is known.
    from: OnceLock<Party>,
    to: Party,
    /// The port it comes from.
    port: u16,
    /// The port of the forwarder.
    proxy: u16,
}

/// One forwarder.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    target: SocketAddr,
    /// Who connects, where that is always the same.
    from: Option<Party>,
    to: Party,
    cuts: Arc<Cuts>,
    listening: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

/// Bytes of a forwarding thread's stack: it calls nothing deep, and there are hundreds.
const STACK: usize = 128 << 10;

impl Proxy {
    /// Listens on `port` of loopback for connections to `target`.
    ///
    /// # Errors
    /// If the port is taken or there are no more threads.
    pub fn open(
        port: u16,
        target: u16,
        from: Option<Party>,
        to: Party,
        cuts: Arc<Cuts>,
    ) -> io::Result<Proxy> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let mut proxy = Proxy { port, target, from, to, cuts, listening: None };
        proxy.reopen()?;
        Ok(proxy)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Listens again on the same port after [`Proxy::close`].
    ///
    /// # Errors
    /// As [`Proxy::open`].
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.listening.is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        let is_open = Arc::new(AtomicBool::new(true));
        let (open, cuts) = (is_open.clone(), self.cuts.clone());
        let (target, from, to, own) = (self.target, self.from, self.to, self.port);
        let thread = thread::Builder::new().name("chaos proxy".into()).spawn(move || {
            for near in listener.incoming() {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(near) = near else {
                    // Out of descriptors, perhaps: not in a spin.
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                let Ok(peer) = near.peer_addr() else { continue };
                let from = from.map_or_else(OnceLock::new, OnceLock::from);
                let link = Link { from, to, port: peer.port(), proxy: own };
                // Where the target is not there (yet), dropping `near` closes it.
                if let Ok(far) = TcpStream::connect(target) {
                    carry(Arc::new(link), near, far, &cuts);
                }
            }
        })?;
        self.listening = Some((is_open, thread));
        Ok(())
    }

    /// Refuses connections from now on. Those that are open end as their target ends them.
    pub fn close(&mut self) {
        if let Some((is_open, thread)) = self.listening.take() {
            is_open.store(false, Ordering::SeqCst);
            // The thread sleeps in the kernel; a connection wakes it.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

fn carry(link: Arc<Link>, near: TcpStream, far: TcpStream, cuts: &Arc<Cuts>) {
    // Nothing of this can fail but for want of descriptors or threads; the connection then ends.
    let prepared = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (Ok(()), Ok(near_too), Ok(far_too)) = (prepared, near.try_clone(), far.try_clone()) else {
        return;
    };
    let (there, back, link_too) = (cuts.clone(), cuts.clone(), link.clone());
    let thread = || thread::Builder::new().name("chaos link".into()).stack_size(STACK);
    let _ = thread().spawn(move || pump(&there, &link, near, far, false));
    let _ = thread().spawn(move || pump(&back, &link_too, far_too, near_too, true));
}

/// Carries bytes one way until an end, which it carries as well.
fn pump(cuts: &Cuts, link: &Link, mut from: TcpStream, mut to: TcpStream, is_reply: bool) {
    let mut piece = [0; 16 << 10];
    loop {
        let got = from.read(&mut piece);
        cuts.wait_until_mended(link, is_reply);
        match got {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(length @ 1..) => {
                if to.write_all(&piece[..length]).is_err() {
                    // Gone on that side: the other learns it too, as from a reset.
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
    use super::*;
    use crate::ports;

    #[test]
    fn a_cut_link_holds_back_and_delivers_later() {
        let target = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target_port = target.local_addr().expect("bound").port();
        let cuts = Arc::new(Cuts::default());
        let mut seed = std::process::id() as u16;
        let random = || {
            seed = seed.wrapping_mul(5).wrapping_add(7);
            seed
        };
        let port = ports::free(1, random).expect("a free port")[0];
        let mut proxy = Proxy::open(port, target_port, None, Party::Node(0), cuts.clone())
            .expect("the port is free");
        let mut near = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let (mut far, _) = target.accept().expect("forwarded");
        let mut byte = [0];
        near.write_all(b"a").expect("sent");
        far.read_exact(&mut byte).expect("passed");

        let cut = Cut {
            from: Party::Client,
            to: Party::Node(0),
            stops_requests: true,
            stops_replies: false,
            half: None,
        };
        cuts.cut(1, cut);
        cuts.cut(2, Cut { from: Party::Node(1), ..cut });
        near.write_all(b"b").expect("sent");
        far.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        far.read_exact(&mut byte).expect_err("held back");
        far.write_all(b"c").expect("sent");
        near.read_exact(&mut byte).expect("one way only");
        drop(near);
        cuts.mend(1);
        far.set_read_timeout(None).expect("set");
        far.read_exact(&mut byte).expect("delivered late");
        assert_eq!((byte, far.read(&mut byte).expect("the end")), ([b'b'], 0));

        proxy.close();
        let error = TcpStream::connect(("127.0.0.1", port)).expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        proxy.reopen().expect("the port is still ours");
        TcpStream::connect(("127.0.0.1", port)).expect("open again");
    }

    #[test]
    fn a_half_cut_takes_about_half() {
        let cut = Cut {
            from: Party::Client,
            to: Party::Node(0),
            stops_requests: true,
            stops_replies: true,
            half: Some(7),
        };
        let link =
            |port| Link { from: OnceLock::from(Party::Client), to: Party::Node(0), port, proxy: 1 };
        let stopped = (40_000..41_000).filter(|&port| cut.may_stop(&link(port), false)).count();
        assert!((350..650).contains(&stopped), "{stopped}");
    }
}
