//! Network faults: on all connections, or on single links between parties.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::sockets::SocketOwners;
use crate::party::Party;

/// A fault of all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkFault {
    /// No fault.
    #[default]
    None,
    /// Each chunk is delayed by this time, in both directions.
    Delay(Duration),
    /// The bandwidth in bytes a second, in each direction.
    Slow(u64),
    /// Data is accepted and not forwarded while the fault lasts; afterwards it is forwarded.
    Stall,
    /// Requests pass; the connection is closed when a reply comes back.
    LoseReplies,
    /// New and open connections are closed.
    Close,
}

/// The affected direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the connecting party.
    Requests,
    /// To the connecting party.
    Replies,
    /// Both.
    Both,
}

impl Direction {
    fn has(self, one: Direction) -> bool {
        self == Direction::Both || self == one
    }
}

/// A link on which nothing passes, as if its cable were unplugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The connecting party.
    pub from: Party,
    /// The party that accepts.
    pub to: Party,
    /// The blocked direction.
    pub way: Direction,
    /// Affects only about half of the connections, chosen with this salt.
    pub half: Option<u64>,
}

impl Cut {
    /// Whether it affects a connection, or may affect it while the connecting party is unknown.
    fn may_stop(&self, link: &LinkIdentity, way: Direction) -> bool {
        let is_chosen = self.half.is_none_or(|salt| {
            (u64::from(link.port) ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 0
        });
        let is_from = link.from.get().is_none_or(|from| *from == self.from);
        self.way.has(way) && is_chosen && is_from && self.to == link.to
    }
}

/// The parties and ports of a connection.
#[derive(Debug)]
pub(super) struct LinkIdentity {
    /// The connecting party, once known.
    pub(super) from: OnceLock<Party>,
    /// The party that accepts.
    pub(super) to: Party,
    /// The connecting port.
    pub(super) port: u16,
    /// The port of the proxy.
    pub(super) proxy: u16,
}

/// All current faults, shared by proxies.
#[derive(Debug, Default)]
pub struct Faults {
    /// The number of current faults: without any, the lock is not taken.
    count: AtomicUsize,
    present: Mutex<ActiveFaults>,
    changed: Condvar,
    holders: SocketOwners,
}

#[derive(Debug, Default)]
struct ActiveFaults {
    of_all: NetworkFault,
    cuts: Vec<(u64, Cut)>,
}

impl Faults {
    /// Sets the fault of all connections.
    pub fn set(&self, fault: NetworkFault) {
        self.change(|present| present.of_all = fault);
    }

    /// Cuts a link; [`Faults::mend`] takes its `id`.
    pub fn cut(&self, id: u64, cut: Cut) {
        self.change(|present| present.cuts.push((id, cut)));
    }

    /// Ends the cut with this id.
    pub fn mend(&self, id: u64) {
        self.change(|present| present.cuts.retain(|(other, _)| *other != id));
    }

    /// Ends all faults.
    pub fn end(&self) {
        self.change(|present| *present = ActiveFaults::default());
    }

    fn change(&self, how: impl FnOnce(&mut ActiveFaults)) {
        let mut present = self.present.lock();
        how(&mut present);
        let count = present.cuts.len() + usize::from(present.of_all != NetworkFault::None);
        self.count.store(count, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Sets the process of a party; `None` while it does not run.
    pub fn set_pid(&self, party: Party, pid: Option<u32>) {
        self.holders.set_pid(party, pid);
    }

    /// Whether connections are to be closed.
    pub(super) fn is_closing(&self) -> bool {
        self.present.lock().of_all == NetworkFault::Close
    }

    /// Wakes waiting threads, which then check their condition again.
    pub(super) fn wake(&self) {
        // The lock prevents a wakeup between a thread's check and its wait.
        let _present = self.present.lock();
        self.changed.notify_all();
    }

    /// Blocks while nothing passes on a link, unless it `is_over`. Returns the delay of a chunk of
    /// `bytes`; `None` closes the connection.
    pub(super) fn passage(
        &self,
        link: &LinkIdentity,
        way: Direction,
        bytes: usize,
        is_over: impl Fn() -> bool,
    ) -> Option<Duration> {
        match self.wait_while_stalled(link, way, is_over) {
            NetworkFault::None | NetworkFault::Stall => Some(Duration::ZERO),
            NetworkFault::Delay(time) => Some(time),
            NetworkFault::Slow(rate) => Some(Duration::from_secs_f64(bytes as f64 / rate as f64)),
            NetworkFault::LoseReplies => (way == Direction::Requests).then_some(Duration::ZERO),
            NetworkFault::Close => None,
        }
    }

    fn wait_while_stalled(
        &self,
        link: &LinkIdentity,
        way: Direction,
        is_over: impl Fn() -> bool,
    ) -> NetworkFault {
        if self.count.load(Ordering::SeqCst) == 0 {
            return NetworkFault::None;
        }
        let mut present = self.present.lock();
        loop {
            if is_over() {
                return NetworkFault::Close;
            }
            let is_cut = present.cuts.iter().any(|(_, cut)| cut.may_stop(link, way));
            if !is_cut && present.of_all != NetworkFault::Stall {
                return present.of_all;
            }
            if is_cut && link.from.get().is_none() {
                // The lookup takes milliseconds, so it happens without the lock.
                MutexGuard::unlocked(&mut present, || {
                    link.from.get_or_init(|| self.holders.holder(link.port, link.proxy));
                });
                continue;
            }
            // The time-out guards against a missed notification.
            self.changed.wait_for(&mut present, Duration::from_millis(500));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_cut_affects_about_half() {
        let cut =
            Cut { from: Party::Client, to: Party::Node(0), way: Direction::Both, half: Some(7) };
        let from = || OnceLock::from(Party::Client);
        let link = |port| LinkIdentity { from: from(), to: Party::Node(0), port, proxy: 1 };
        let is_stopped = |port: &u16| cut.may_stop(&link(*port), Direction::Replies);
        let stopped = (40_000..41_000).filter(is_stopped).count();
        assert!((350..650).contains(&stopped), "{stopped}");
    }
}
