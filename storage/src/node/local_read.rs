//! What a node can answer from its own records, without asking anybody: for requests that it
//! coordinates.
//!
//! A client reads at one replica, and what that holds as committed, or not at all, is the answer
//! (C3, N4). Where the node that coordinates is itself such a replica, it looks. All the rest (a
//! record that is pending, a key of others, no lease) is for a client's round.

use cluster::holdings::Holdings;
use cluster::limits::Limits;
use cluster::replica::State;
use cluster::version::Clock;

use super::Node;
use super::read::KeyLocation;

/// A look at several keys, under one view.
pub struct LocalRead<'n> {
    node: &'n Node,
    holdings: &'n Holdings,
    clock: Clock,
    has_lease: bool,
}

impl Node {
    /// Looks at keys. Views wait until `look` is done (N1).
    pub fn read_local<T>(&self, look: impl FnOnce(&LocalRead<'_>) -> T) -> T {
        let clock = self.clock();
        let holdings = self.holdings.read();
        let seen = look(&LocalRead {
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
    /// The limits of this node's view, where it has a lease under it: no newer view with longer
    /// keys is active then (L3), so no key beyond them exists.
    pub fn limits(&self) -> Option<Limits> {
        let serving = self.node.serving(self.holdings).filter(|_| self.has_lease)?;
        Some(serving.routes.view().limits)
    }

    /// Shows a key's value, and until when it lives; `None`: it has none. Where that is not for
    /// this node to say, `with` is not called and nothing comes back.
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
