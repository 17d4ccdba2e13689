//! Leases: who may serve, and until when (rules L1 and L2).
//!
//! A node serves only while it holds a lease from the manager. The node counts from when it *sent* the
//! heartbeat that was answered, the manager from when it *received* it, and the node stops a little
//! early: so whatever the network did in between, and although two clocks never run at quite the same
//! rate, the node has stopped when the manager says that it has (RULES-WHY F9). Both count time since
//! boot, suspended time included.
//!
//! Invariants: a lease never gets shorter by an answer; an answer to a heartbeat that was never sent
//! extends nothing; a lease that was given up never comes back.

use std::fmt;

use crate::ids::{Epoch, Incarnation};
use crate::membership::Millis;
use crate::mutation::{Mutation, is_on};
use crate::view::View;

/// Of a lease's length, in hundredths of a heartbeat interval, what the node counts on. The manager
/// counts 300 (for three missed heartbeats); the 5 % between are the margin for clocks that drift.
const HOLDER_PERCENT: u64 = 95;

/// How many heartbeats may be under way unanswered. Beyond it the oldest are forgotten: their answers
/// would extend nothing that a newer one does not extend further.
const UNDER_WAY: usize = 64;

/// How long a cluster's leases are. The cluster's own, as the number of copies is: a manager that started
/// with another one would not wait for those that the one before has told (L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How often a node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Millis,
    /// How many heartbeats a node may miss before it is out.
    pub missed: u32,
}

impl Terms {
    /// How long the manager counts a silent node as alive, in milliseconds.
    pub fn lease_ms(&self) -> Millis {
        self.heartbeat_ms.saturating_mul(Millis::from(self.missed))
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { heartbeat_ms, missed } = self;
        write!(f, "a heartbeat every {heartbeat_ms} ms, out after {missed} missed")
    }
}

/// A node's side: knows until when it may serve.
#[derive(Debug, Clone, Default)]
pub struct LeaseHolder {
    /// Length of the manager's lease.
    lease_ms: Millis,
    /// Heartbeats that were sent and not answered: their numbers, and when.
    sent: Vec<(u64, Millis)>,
    count: u64,
    until: Millis,
    given_up: bool,
}

impl LeaseHolder {
    /// No lease yet. `lease_ms` is how long the manager counts a silent node as alive.
    pub fn new(lease_ms: Millis) -> LeaseHolder {
        LeaseHolder { lease_ms, ..LeaseHolder::default() }
    }

    /// The manager told the length of a lease; those granted so far keep theirs.
    pub fn set_length(&mut self, lease_ms: Millis) {
        self.lease_ms = lease_ms;
    }

    /// A heartbeat leaves now. Returns its number, by which the answer will name it.
    pub fn send(&mut self, now: Millis) -> u64 {
        if self.sent.len() == UNDER_WAY {
            self.sent.remove(0);
        }
        self.count += 1;
        self.sent.push((self.count, now));
        self.count
    }

    /// The manager answered a heartbeat with a lease. Returns when that ends.
    pub fn granted(&mut self, sequence: u64) -> Millis {
        let answered = self.sent.iter().position(|(number, _)| *number == sequence);
        if let Some(at) = answered.filter(|_| !self.given_up) {
            let (_, sent) = self.sent[at];
            self.sent.drain(..=at);
            self.until = self.until.max(sent + self.lease_ms * HOLDER_PERCENT / 100);
        }
        self.until
    }

    /// The node stops serving for good.
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.until = 0;
    }

    /// When the lease ends.
    pub fn until(&self) -> Millis {
        self.until
    }
}

/// Rule N1: whether a node whose lease ends at `until` may serve now.
pub fn is_valid(until: Millis, now: Millis) -> bool {
    now < until || is_on(Mutation::NoLease)
}

/// The manager's side: whether a heartbeat extends its sender's lease. Only for an incarnation in the
/// newest view that has adopted the active one, or after a restart one that may have been active (`floor`):
/// a member that has lapsed, and that a view went active without, must not serve under the view before
/// (RULES-WHY F3).
pub fn extends(newest: &View, floor: Epoch, from: Incarnation, adopted: Epoch) -> bool {
    (adopted >= floor || is_on(Mutation::RegainAny))
        && (newest.members.iter().any(|m| m.incarnation == from) || is_on(Mutation::QuickRestart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_counts_from_sending_and_ends_early() {
        let mut lease = LeaseHolder::new(6000);
        assert_eq!(lease.until(), 0);
        let number = lease.send(1000);
        assert_eq!(lease.granted(number), 1000 + 5700);
    }

    #[test]
    fn answers_out_of_order_or_out_of_thin_air() {
        let mut lease = LeaseHolder::new(1000);
        let (first, second) = (lease.send(100), lease.send(200));
        assert_eq!(lease.granted(second), 200 + 950);
        assert_eq!(lease.granted(first), 200 + 950, "an older answer takes nothing away");
        assert_eq!(lease.granted(77), 200 + 950, "a heartbeat that was never sent");
    }

    #[test]
    fn what_was_given_up_stays_given_up() {
        let mut lease = LeaseHolder::new(1000);
        let before = lease.send(100);
        lease.give_up();
        let after = lease.send(200);
        assert_eq!((lease.granted(before), lease.granted(after)), (0, 0));
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
        let mut lease = LeaseHolder::new(1000);
        let last = (0..10_000).map(|now| lease.send(now)).last().unwrap();
        assert_eq!(lease.sent.len(), UNDER_WAY);
        assert_eq!(lease.granted(last), 9_999 + 950);
    }
}
