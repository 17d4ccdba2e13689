//! What everybody may know without asking the owner of the membership: it writes it, connections
//! read it.

use std::sync::Arc;

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;
use cluster::lease::Terms;
use cluster::membership::Membership;
use cluster::version::clock_at;
use cluster::view::Routes;
use net_common::clock;
use net_common::message::control::TablePush;
use parking_lot::RwLock;

/// What clients and nodes are told. Clones share it.
#[derive(Clone)]
pub(crate) struct Published(Arc<RwLock<PublishedState>>);

struct PublishedState {
    active: Arc<Routes>,
    /// The arcs that nobody alive holds.
    lost: Arc<ArcSet>,
    /// What leases are.
    terms: Terms,
}

impl Published {
    /// What a manager that starts has to tell.
    pub(crate) fn of(membership: &Membership) -> Published {
        let (active, terms) = (membership.active().clone(), membership.told());
        Published(Arc::new(RwLock::new(PublishedState { active, lost: Arc::default(), terms })))
    }

    /// The active view.
    pub(crate) fn active(&self) -> Arc<Routes> {
        self.0.read().active.clone()
    }

    /// What nodes are told of leases.
    pub(crate) fn terms(&self) -> Terms {
        self.0.read().terms
    }

    /// The message that carries a view.
    pub(crate) fn table(&self, routes: &Routes, active: Epoch) -> TablePush {
        let facts = self.0.read();
        TablePush {
            active,
            clock: clock_at(clock::wall_ms()),
            heartbeat_ms: facts.terms.heartbeat_ms as u32,
            lease_ms: facts.terms.lease_ms() as u32,
            lost: ArcSet::clone(&facts.lost),
            view: routes.view().clone(),
        }
    }

    /// Gives clients this view from now on.
    pub(crate) fn publish(&self, active: Arc<Routes>) {
        self.0.write().active = active;
    }

    /// Lets clients know which arcs nobody alive holds.
    pub(crate) fn note_lost(&self, lost: ArcSet) {
        if *self.0.read().lost != lost {
            self.0.write().lost = Arc::new(lost);
        }
    }

    /// Lets those who answer nodes know what leases are.
    pub(crate) fn note_terms(&self, terms: Terms) {
        if self.0.read().terms != terms {
            self.0.write().terms = terms;
        }
    }
}
