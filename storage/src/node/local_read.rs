//! Answers from a node's own records, without a round trip, for requests that it coordinates.
//!
//! A client reads at one replica: a committed record there, or the absence of one, is the answer
//! (C3, N4). If the coordinator is itself such a replica, it answers from its table. All other
//! cases (a pending record, a key of other nodes, no lease) need a client's round.

use cluster::holdings::Holdings;
use cluster::limits::Limits;
use cluster::replica::State;
use cluster::version::Clock;

use super::Node;
use super::read::KeyLocation;

/// Reads of several keys under one view.
pub struct LocalRead<'n> {
    node: &'n Node,
    holdings: &'n Holdings,
    clock: Clock,
    has_lease: bool,
}

impl Node {
    /// Reads keys. New views wait until `read` returns (N1).
    pub fn read_local<T>(&self, read: impl FnOnce(&LocalRead<'_>) -> T) -> T {
        let clock = self.clock();
        let holdings = self.holdings.read();
        let seen = read(&LocalRead {
            node: self,
            holdings: &holdings,
            clock,
            has_lease: self.has_lease(),
        });
        drop(holdings);
        self.hand_in_expired();
        seen
    }
}

impl LocalRead<'_> {
    /// The limits of this node's view, if it has a lease under it: then no newer view with longer
    /// keys is active (L3), so no key beyond them exists.
    pub fn limits(&self) -> Option<Limits> {
        let serving = self.node.serving(self.holdings).filter(|_| self.has_lease)?;
        Some(serving.routes.view().limits)
    }

    /// Passes a key's value and its expiry to `with`; `None`: the key has no value. If this node
    /// cannot decide that, `with` is not called and the result is `None`.
    pub fn key<T>(
        &self,
        key: &[u8],
        with: impl FnOnce(Option<(&[u8], Option<u64>)>) -> T,
    ) -> Option<T> {
        let serving = self.node.serving(self.holdings).filter(|_| self.has_lease)?;
        let Some(location) = KeyLocation::of(serving, key) else { return Some(with(None)) };
        self.holdings.admit_read(location.arc).ok()?;
        self.node.look_up(location, self.clock, |found| {
            let Some((version, state, body)) = found else { return Some(with(None)) };
            (self.node.state(&version, state) == State::Committed)
                .then(|| with(body.value().map(|value| (value, body.expiry()))))
        })
    }
}
