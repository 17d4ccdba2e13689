//! Leases: how long a node may serve (rules L1 and L2).
//!
//! A node serves only while it has a lease from the manager. The node counts from when it *sent*
//! the heartbeat that was answered, the manager from when it *received* it, and the node stops a
//! little early. So the node has stopped before the manager considers the lease expired, whatever
//! the network did in between and although two clocks never run at exactly the same rate (F9). Both
//! count time since boot, suspended time included.
//!
//! Invariants: an answer never shortens a lease; an answer to a heartbeat that was never sent
//! extends nothing; a lease that was given up is never extended.

use std::fmt;
use std::ops::RangeInclusive;

use crate::ids::{Epoch, Incarnation};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::View;

/// The share of a lease that the node uses, in percent. The manager counts the whole lease; the
/// difference of 5 % is the margin for clock drift.
const HOLDER_PERCENT: u64 = 95;

/// The most unanswered heartbeats that are remembered. Beyond it the oldest are forgotten: a newer
/// one's answer extends the lease further anyway.
const UNDER_WAY: usize = 64;

/// How often nodes may send heartbeats, in milliseconds. A shorter interval is below the pauses of
/// a disk or a busy processor; with a longer one a silent node would be waited for too long.
pub const HEARTBEATS_MS: RangeInclusive<Millis> = 10..=3_600_000;

/// How many heartbeats may be missed.
pub const MISSED: RangeInclusive<u32> = 1..=1000;

// The wire carries it in 32 bits.
const _: () = assert!(*HEARTBEATS_MS.end() * *MISSED.end() as u64 <= u32::MAX as u64);

/// The length of a cluster's leases. It is a property of the cluster, like the number of copies: a
/// manager that started with another length would not wait for leases that its predecessor has
/// granted (L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How often a node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Millis,
    /// How many heartbeats a node may miss before it is out.
    pub missed: u32,
}

impl Terms {
    /// How long the manager considers a silent node alive, in milliseconds.
    pub fn lease_ms(&self) -> Millis {
        self.heartbeat_ms.saturating_mul(Millis::from(self.missed))
    }

    /// Whether both are within their bounds.
    pub fn is_valid(&self) -> bool {
        HEARTBEATS_MS.contains(&self.heartbeat_ms) && MISSED.contains(&self.missed)
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { heartbeat_ms, missed } = self;
        write!(f, "a heartbeat every {heartbeat_ms} ms, out after {missed} missed")
    }
}

/// The node's side of a lease.
#[derive(Debug, Clone, Default)]
pub struct LeaseHolder {
    /// Heartbeats that were sent and not answered: their numbers and times.
    sent: Vec<(u64, Millis)>,
    count: u64,
    until: Millis,
    given_up: bool,
}

impl LeaseHolder {
    /// No lease yet.
    pub fn new() -> LeaseHolder {
        LeaseHolder::default()
    }

    /// Notes that a heartbeat is sent now. Returns its number, which the answer repeats.
    pub fn send(&mut self, now: Millis) -> u64 {
        if self.sent.len() == UNDER_WAY {
            self.sent.remove(0);
        }
        self.count += 1;
        self.sent.push((self.count, now));
        self.count
    }

    /// Notes the manager's answer to a heartbeat, with the length of the lease by its count.
    /// Returns when the lease ends; one that was granted before may end later.
    pub fn granted(&mut self, sequence: u64, lease_ms: Millis) -> Millis {
        let answered = self.sent.iter().position(|(number, _)| *number == sequence);
        if let Some(at) = answered.filter(|_| !self.given_up) {
            let (_, sent) = self.sent[at];
            self.sent.drain(..=at);
            self.until = self.until.max(sent + lease_ms * HOLDER_PERCENT / 100);
        }
        self.until
    }

    /// The node stops serving and will not resume.
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.until = 0;
    }

    /// When the lease ends.
    pub fn until(&self) -> Millis {
        self.until
    }
}

/// Rule N1: whether a node whose lease ends at `until` may serve at `now`.
pub fn is_valid(until: Millis, now: Millis) -> bool {
    now < until || is_on(Mutation::NoLease)
}

/// The manager's side: whether a heartbeat extends its sender's lease. Its incarnation must be in
/// the newest view and must have adopted the active one; after the manager's restart, one that may
/// have been active (`floor`). A member whose lease expired, and without which a view became
/// active, must not serve under the view before (F3).
pub fn extends(newest: &View, floor: Epoch, from: Incarnation, adopted: Epoch) -> bool {
    (adopted >= floor || is_on(Mutation::RegainAny))
        && (newest.members.iter().any(|m| m.incarnation == from) || is_on(Mutation::QuickRestart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_counts_from_sending_and_ends_early() {
        let mut lease = LeaseHolder::new();
        assert_eq!(lease.until(), 0);
        let number = lease.send(1000);
        assert_eq!(lease.granted(number, 6000), 1000 + 5700);
    }

    #[test]
    fn old_and_unknown_answers_change_nothing() {
        let mut lease = LeaseHolder::new();
        let (first, second) = (lease.send(100), lease.send(200));
        assert_eq!(lease.granted(second, 1000), 200 + 950);
        assert_eq!(lease.granted(first, 1000), 200 + 950, "an older answer takes nothing away");
        assert_eq!(lease.granted(77, 1000), 200 + 950, "a heartbeat that was never sent");
    }

    #[test]
    fn a_shorter_lease_takes_nothing_from_a_longer_one() {
        let mut lease = LeaseHolder::new();
        let number = lease.send(100);
        assert_eq!(lease.granted(number, 10_000), 100 + 9_500);
        let number = lease.send(200);
        assert_eq!(lease.granted(number, 1000), 100 + 9_500);
        let number = lease.send(9_000);
        assert_eq!(lease.granted(number, 1000), 9_000 + 950);
    }

    #[test]
    fn a_lease_that_was_given_up_is_never_extended() {
        let mut lease = LeaseHolder::new();
        let before = lease.send(100);
        lease.give_up();
        let after = lease.send(200);
        assert_eq!((lease.granted(before, 1000), lease.granted(after, 1000)), (0, 0));
    }

    #[test]
    fn f3_only_a_member_of_the_newest_view_that_is_not_behind() {
        use crate::view::MemberState::Active;
        use crate::view::tests::{member, view};
        let newest = view(5, 1, vec![member(1, Active)], &[0]);
        let extends = |from, adopted| extends(&newest, Epoch(4), Incarnation(from), Epoch(adopted));
        assert!(extends(1, 4) && extends(1, 5));
        assert!(!extends(1, 3), "a view went active without it");
        assert!(!extends(2, 5), "it is no member any more");
    }

    #[test]
    fn unanswered_heartbeats_do_not_pile_up() {
        let mut lease = LeaseHolder::new();
        let last = (0..10_000).map(|now| lease.send(now)).last().unwrap();
        assert_eq!(lease.sent.len(), UNDER_WAY);
        assert_eq!(lease.granted(last, 1000), 9_999 + 950);
    }
}
