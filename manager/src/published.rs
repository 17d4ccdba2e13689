//! State that the monitor thread publishes and connections read without going through it.

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

/// The view and the terms that clients and nodes get. Clones share it.
#[derive(Clone)]
pub(crate) struct Published(Arc<RwLock<PublishedState>>);

struct PublishedState {
    active: Arc<Routes>,
    /// The arcs without a live replica.
    lost: Arc<ArcSet>,
    /// The terms of leases.
    terms: Terms,
}

impl Published {
    /// The published state of a manager that starts.
    pub(crate) fn of(membership: &Membership) -> Published {
        let (active, terms) = (membership.active().clone(), membership.durable_terms());
        Published(Arc::new(RwLock::new(PublishedState { active, lost: Arc::default(), terms })))
    }

    /// The active view.
    pub(crate) fn active(&self) -> Arc<Routes> {
        self.0.read().active.clone()
    }

    /// The terms of leases that nodes get.
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

    /// Publishes this view to clients.
    pub(crate) fn publish(&self, active: Arc<Routes>) {
        self.0.write().active = active;
    }

    /// Publishes the arcs without a live replica.
    pub(crate) fn note_lost(&self, lost: ArcSet) {
        if *self.0.read().lost != lost {
            self.0.write().lost = Arc::new(lost);
        }
    }

    /// Publishes the terms of leases.
    pub(crate) fn note_terms(&self, terms: Terms) {
        if self.0.read().terms != terms {
            self.0.write().terms = terms;
        }
    }
}
