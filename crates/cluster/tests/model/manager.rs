//! The manager of the model: the real [`Membership`], with time that passes for one node alone.
//!
//! In every state of the model each node has either just sent a heartbeat, or its lease has
//! expired: nothing between the two matters to the rules. So two managers are the same state when
//! their views and their records of each node are the same, whatever the time is.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cluster::durability::Durability;
use cluster::ids::{Epoch, Incarnation};
use cluster::membership::{Answer, Effect, Event, Membership, Node, Report, Saved, Settings};
use cluster::time::Millis;
use cluster::view::{Routes, View};

use crate::node::limits;

/// Any length would do.
const HEARTBEAT_MS: Millis = 1000;

/// The manager.
#[derive(Debug, Clone)]
pub struct Manager {
    /// The state machine.
    pub membership: Membership,
    /// The view that clients receive.
    pub published: Arc<Routes>,
    /// The first view and all views made since: each may be pushed to a node late.
    pub made: Vec<Arc<Routes>>,
    /// Whether a refused command has changed the state.
    pub has_trace: bool,
    now: Millis,
}

impl Hash for Manager {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let is_published = self.published.epoch() == self.membership.active().epoch();
        (self.membership.active().epoch(), is_published).hash(hasher);
        self.made.hash(hasher);
        let order = self.membership.order().map(|(order, since)| (order, self.now - since));
        (order, self.membership.remembered(), self.has_trace).hash(hasher);
        for node in self.membership.nodes() {
            let has_lapsed = self.is_over(node);
            // The times that the state machine distinguishes: a heartbeat has just arrived (L4),
            // one was missed (L2).
            let silent = self.now - node.heard;
            let answer_ms = self.membership.settings().answer_ms();
            let times = (silent > answer_ms, silent > HEARTBEAT_MS * 3 / 2);
            let flags = (
                node.is_connected(),
                node.is_gone(),
                node.is_unreported(),
                node.has_left(),
                has_lapsed,
                times,
            );
            (node.who.incarnation, node.returns, flags, &node.report).hash(hasher);
        }
    }
}

impl Manager {
    /// A manager that continues from an active view.
    pub fn new(active: View) -> Manager {
        let settings = Settings {
            heartbeat_ms: HEARTBEAT_MS,
            missed: 3,
            arcs: active.arcs.len(),
            copies: active.copies,
            limits: limits(),
            min_copies: 1,
            // No rebalance comes by itself: a setup orders its own changes.
            durability: Durability::default(),
            rebalance_ms: u64::MAX,
            return_ms: 0,
        };
        let membership = Membership::new(settings, Saved::new(active, settings.terms()), 0);
        let published = membership.active().clone();
        Manager { membership, made: vec![published.clone()], published, has_trace: false, now: 0 }
    }

    /// Passes an event to the state machine, and carries out the effects.
    pub fn step(&mut self, event: Event) -> Answer {
        let before = self.membership.clone();
        let (answer, effects) = self.membership.step(self.now, event);
        if answer.is_refusal() && !self.membership.has_only_aged(before, self.now) {
            self.has_trace = true;
        }
        for effect in effects {
            match effect {
                Effect::Publish(routes) => self.published = routes,
                Effect::Push(_, routes, _) if self.newest().epoch() < routes.epoch() => {
                    self.made.push(routes);
                }
                Effect::Push(..) | Effect::Probe(..) | Effect::Save => {}
                Effect::Log(_)
                | Effect::LossAccepted(_)
                | Effect::CommandOutcome(_)
                | Effect::Stop(_) => {}
                Effect::FolderAdopted => {}
            }
        }
        // A view is pushed only to connected nodes.
        let newest = self.membership.newest();
        if self.newest().epoch() < newest.epoch() {
            self.made.push(newest.clone());
        }
        answer
    }

    /// The newest view.
    pub fn newest(&self) -> &Arc<Routes> {
        self.made.last().expect("it holds the first view from the beginning")
    }

    /// A view that it has made.
    pub fn view(&self, epoch: Epoch) -> Option<&Arc<Routes>> {
        self.made.iter().find(|routes| routes.epoch() == epoch)
    }

    /// The record of an incarnation.
    pub fn knows(&self, incarnation: Incarnation) -> Option<&Node> {
        self.membership.nodes().find(|node| node.who.incarnation == incarnation)
    }

    /// Whether an incarnation counts as out.
    pub fn is_out(&self, incarnation: Incarnation) -> bool {
        self.membership.is_out(incarnation, self.now)
    }

    /// Whether an incarnation's lease is over, by the time that has passed.
    pub fn has_lapsed(&self, incarnation: Incarnation) -> bool {
        self.knows(incarnation).is_some_and(|node| self.is_over(node))
    }

    fn is_over(&self, node: &Node) -> bool {
        self.now >= node.until
    }

    /// Time passes while one node is silent and all others send heartbeats. Stops at the next view,
    /// or when the silent one's lease has expired.
    pub fn silence(&mut self, silent: Incarnation) {
        let newest = self.newest().epoch();
        while self.knows(silent).is_some_and(|node| !self.is_over(node)) {
            self.now += HEARTBEAT_MS / 2;
            let is_heard = |node: &&Node| node.is_connected() && !self.is_over(node);
            let others: Vec<(Incarnation, Report)> = self
                .membership
                .nodes()
                .filter(|node| node.who.incarnation != silent)
                .filter(is_heard)
                .map(|node| (node.who.incarnation, node.report.clone()))
                .collect();
            for (incarnation, report) in others {
                self.step(Event::Heartbeat(incarnation, report));
            }
            self.step(Event::Tick);
            if self.newest().epoch() != newest {
                break;
            }
        }
    }
}
