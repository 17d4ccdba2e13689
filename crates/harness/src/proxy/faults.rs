//! What goes wrong between parties: on every connection that passes, or on single links.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::sockets::SocketOwners;
use crate::party::Party;

/// What happens to everything that passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkFault {
    /// Nothing.
    #[default]
    None,
    /// Every piece is held back for so long, in both directions.
    Delay(Duration),
    /// So many bytes a second pass, one after the other, in both directions.
    Slow(u64),
    /// Everything is taken and nothing passes, for as long as the fault lasts; what was held back
    /// passes afterwards.
    Stall,
    /// Requests pass, and the connection is closed where an answer comes back.
    LoseReplies,
    /// Connections are closed, new ones and those in use.
    Close,
}

/// What of a link is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What is sent to the one who is connected to.
    Requests,
    /// What comes back.
    Replies,
    /// Both.
    Both,
}

impl Direction {
    fn has(self, one: Direction) -> bool {
        self == Direction::Both || self == one
    }
}

/// Links on which nothing passes, as if a cable were pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Who connects.
    pub from: Party,
    /// Who is connected to.
    pub to: Party,
    /// What does not pass.
    pub way: Direction,
    /// Only about half of the connections, chosen with this salt.
    pub half: Option<u64>,
}

impl Cut {
    /// Whether it concerns a connection, or may: who connects is not known yet.
    fn may_stop(&self, link: &LinkIdentity, way: Direction) -> bool {
        let is_chosen = self.half.is_none_or(|salt| {
            (u64::from(link.port) ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 0
        });
        let is_from = link.from.get().is_none_or(|from| *from == self.from);
        self.way.has(way) && is_chosen && is_from && self.to == link.to
    }
}

/// One connection's place in the network.
#[derive(Debug)]
pub(super) struct LinkIdentity {
    /// Who connected, once that is known.
    pub(super) from: OnceLock<Party>,
    /// Who is connected to.
    pub(super) to: Party,
    /// The port it comes from.
    pub(super) port: u16,
    /// The port of the proxy.
    pub(super) proxy: u16,
}

/// Everything that is wrong at present; proxies share one.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many cuts there are, and a fault of all: spares the lock while all is well.
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
    /// What happens to everything from now on.
    pub fn set(&self, fault: NetworkFault) {
        self.change(|present| present.of_all = fault);
    }

    /// Cuts a link; `id` is for mending it.
    pub fn cut(&self, id: u64, cut: Cut) {
        self.change(|present| present.cuts.push((id, cut)));
    }

    /// Mends the cut of this id.
    pub fn mend(&self, id: u64) {
        self.change(|present| present.cuts.retain(|(other, _)| *other != id));
    }

    /// Mends everything.
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

    /// Which process a party is from now on, `None` while it has none.
    pub fn set_pid(&self, party: Party, pid: Option<u32>) {
        self.holders.set_pid(party, pid);
    }

    /// Whether connections are to be closed.
    pub(super) fn is_closing(&self) -> bool {
        self.present.lock().of_all == NetworkFault::Close
    }

    /// Lets those who wait look whether they still have to.
    pub(super) fn wake(&self) {
        // Not between the look of one who waits and its sleep.
        let _present = self.present.lock();
        self.changed.notify_all();
    }

    /// Blocks as long as nothing passes on a link, or until it `is_over`. Then: for how long a
    /// piece of so many bytes is held back; `None` closes the connection.
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
                // Found out without the lock: it takes a while.
                MutexGuard::unlocked(&mut present, || {
                    link.from.get_or_init(|| self.holders.holder(link.port, link.proxy));
                });
                continue;
            }
            // With a time-out only against a notification that was missed.
            self.changed.wait_for(&mut present, Duration::from_millis(500));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_cut_takes_about_half() {
        let cut =
            Cut { from: Party::Client, to: Party::Node(0), way: Direction::Both, half: Some(7) };
        let from = || OnceLock::from(Party::Client);
        let link = |port| LinkIdentity { from: from(), to: Party::Node(0), port, proxy: 1 };
        let is_stopped = |port: &u16| cut.may_stop(&link(*port), Direction::Replies);
        let stopped = (40_000..41_000).filter(is_stopped).count();
        assert!((350..650).contains(&stopped), "{stopped}");
    }
}
