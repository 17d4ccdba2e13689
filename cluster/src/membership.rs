//! Membership: the manager's state machine.
//!
//! Events go in (a registration, a heartbeat, a lost connection, a tick), effects come out (save,
//! publish, push, say). Everything that makes a cluster change goes through [`Membership::step`]:
//!
//! * a node **registers** and waits outside until the view can take it in;
//! * a **view is made** by [`plan`]: drop who is dead, or let newcomers begin to join, or switch a
//!   finished change; one at a time (rule L3);
//! * it is **saved before anyone sees it**, pushed to the members of both the old and the new view,
//!   and becomes *active* once each of them has acknowledged it or is out;
//! * clients only ever get active views.
//!
//! A member is *out* when it has missed three heartbeats, or when its process is known to be gone. It
//! is dropped from the view only if every arc keeps a live replica that is synced there (L2);
//! otherwise it stays, unserved, until it comes back or the operator accepts the loss.
//!
//! Invariants: epochs only go up, by one; at most one view is being made; a name and an address
//! belong to one incarnation that is not gone at a time; no member that stays is made to skip a view;
//! nothing is pushed or published before it was saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{Address, Epoch, Incarnation, NodeId};
use crate::lease;
use crate::limits::{Limits, MAX_MEMBERS};
use crate::mutation::{Mutation, is_on};
use crate::tenure::ArcSet;
use crate::view::{Member, MemberState, Routes, View};

mod health;
pub mod plan;

pub use health::Health;

/// Milliseconds on the manager's clock, from any start.
pub type Millis = u64;

/// What the operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often a node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Millis,
    /// How many heartbeats a node may miss before it is out.
    pub missed: u32,
    /// Arcs of a new cluster's ring.
    pub arcs: usize,
    /// Copies of each key (K) in a new cluster.
    pub copies: usize,
    /// Bounds on keys and values in a new cluster.
    pub limits: Limits,
}

impl Settings {
    /// How long a silent node counts as alive, in milliseconds.
    pub fn lease_ms(&self) -> Millis {
        self.heartbeat_ms * Millis::from(self.missed)
    }
}

/// A node that wants in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Newcomer {
    /// Its name.
    pub id: NodeId,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub address: Address,
    /// Its share of the ring in proportion to the others'.
    pub weight: u32,
}

/// What a node says of itself every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    /// The newest view that it has adopted.
    pub epoch: Epoch,
    /// The arcs that it is synced in under that view.
    pub synced: ArcSet,
    /// Keys in its memory.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

/// What can happen to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node asks to be a member, or says again that it is one after a lost connection.
    Register(Newcomer),
    /// A node is alive.
    Heartbeat(Incarnation, Report),
    /// The connection that carries a node's heartbeats has ended.
    Disconnected(Incarnation),
    /// A node's process is certainly gone: its connection ended and its port refuses (L6).
    Gone(Incarnation),
    /// The operator goes on without what the members that are out held alone (H4).
    AcceptLoss,
    /// Time has passed. Comes several times in a heartbeat interval.
    Tick,
}

/// What the one who brought an event is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to say beyond "taken".
    Done,
    /// The node is known; the newest view is this, and the active one has this epoch.
    Known(Arc<Routes>, Epoch),
    /// The manager does not know this incarnation: register.
    Unknown,
    /// Another live node has this name or this address. Final.
    Taken(String),
    /// Not now: try again.
    Wait(String),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make [`Membership::state`] durable. What follows must not be seen before.
    Save,
    /// Give this view to clients from now on.
    Publish(Arc<Routes>),
    /// Send the view to a node, with the epoch of the active one.
    Push(Incarnation, Arc<Routes>, Epoch),
    /// Tell the operator.
    Say(String),
}

/// What survives the manager: the active view and the one being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The view that clients use.
    pub active: View,
    /// The one that has been made and is not active yet.
    pub coming: Option<View>,
}

/// What the manager knows of one incarnation.
#[derive(Debug, Clone)]
pub struct Node {
    /// Who it is and where.
    pub who: Newcomer,
    /// When it was last heard of.
    pub heard: Millis,
    /// From when its lease counts: when it was last heard of with a heartbeat that extends it (L1). Of a
    /// node that is no member yet, when it was last heard of at all.
    pub extended: Millis,
    /// Whether the connection that carries its heartbeats is open.
    pub connected: bool,
    /// Whether its process is known to have ended.
    pub gone: bool,
    /// What it said last.
    pub report: Report,
    /// Whether it was a member when the manager started and has not said since what it holds.
    pub is_unheard: bool,
}

/// The manager's state.
#[derive(Debug, Clone)]
pub struct Membership {
    settings: Settings,
    active: Arc<Routes>,
    coming: Option<Arc<Routes>>,
    nodes: BTreeMap<Incarnation, Node>,
    last_step: Millis,
    accept_loss: bool,
}

impl Membership {
    /// Starts from what was saved, or from an unborn view. Members of a saved view have a whole
    /// lease to show up: they may be alive, and serving (L2).
    pub fn new(settings: Settings, saved: Saved, now: Millis) -> Membership {
        let mut nodes = BTreeMap::new();
        for member in saved.coming.iter().chain([&saved.active]).flat_map(|v| &v.members) {
            let who = Newcomer {
                id: member.id.clone(),
                incarnation: member.incarnation,
                address: member.address.clone(),
                weight: member.weight,
            };
            let node = Node { connected: false, is_unheard: true, ..Node::new(who, now) };
            nodes.entry(member.incarnation).or_insert(node);
        }
        Membership {
            settings,
            active: Arc::new(Routes::new(saved.active)),
            coming: saved.coming.map(|v| Arc::new(Routes::new(v))),
            nodes,
            last_step: now,
            accept_loss: false,
        }
    }

    /// What has to survive the manager.
    pub fn state(&self) -> Saved {
        Saved {
            active: self.active.view().clone(),
            coming: self.coming.as_ref().map(|r| r.view().clone()),
        }
    }

    /// The view that clients use.
    pub fn active(&self) -> &Arc<Routes> {
        &self.active
    }

    /// The newest view made.
    pub fn newest(&self) -> &Arc<Routes> {
        self.coming.as_ref().unwrap_or(&self.active)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All incarnations that count for something: members, and newcomers that wait.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Takes one event at time `now` and says what follows.
    pub fn step(&mut self, now: Millis, event: Event) -> (Answer, Vec<Effect>) {
        let mut effects = Vec::new();
        self.notice_pause(now, &mut effects);
        let answer = match event {
            Event::Register(who) => self.register(now, who, &mut effects),
            Event::Heartbeat(incarnation, report) => self.heartbeat(now, incarnation, report),
            Event::Disconnected(incarnation) => {
                if let Some(node) = self.nodes.get_mut(&incarnation) {
                    node.connected = false;
                }
                Answer::Done
            }
            Event::Gone(incarnation) => {
                if let Some(node) = self.nodes.get_mut(&incarnation).filter(|n| !n.connected) {
                    node.gone = true;
                    effects
                        .push(Effect::Say(format!("{} is gone: its process ended", node.who.id)));
                }
                Answer::Done
            }
            Event::AcceptLoss => self.accept_loss(now, &mut effects),
            Event::Tick => Answer::Done,
        };
        self.advance(now, &mut effects);
        self.forget(now);
        // The view may have moved on while the event was worked through.
        let answer = match answer {
            Answer::Known(..) => Answer::Known(self.newest().clone(), self.active.epoch()),
            other => other,
        };
        (answer, effects)
    }

    fn register(&mut self, now: Millis, who: Newcomer, effects: &mut Vec<Effect>) -> Answer {
        if self.nodes.get(&who.incarnation).is_some_and(|node| node.who != who) {
            return Answer::Taken(format!("incarnation {} is another node's", who.incarnation));
        }
        let lease = self.settings.lease_ms();
        let members = self.members();
        for holder in self.nodes.values_mut().filter(|n| n.who.incarnation != who.incarnation) {
            let same_name = holder.who.id == who.id;
            let same_address = holder.who.address == who.address;
            let is_silent = holder.is_out(now, lease);
            // A member keeps its name while it is one: it may come back, and be needed (L2).
            let may_return =
                !holder.gone && (!is_silent || members.contains(&holder.who.incarnation));
            if !(same_name || same_address) || !may_return {
                continue;
            }
            let what = match same_name {
                true => format!("the name {} is taken by a node at {}", who.id, holder.who.address),
                false => format!("the address {} is taken by {}", who.address, holder.who.id),
            };
            match holder.connected && !is_silent {
                // A restart that was quicker than the news of the end of the process before it.
                true if same_name && same_address => {
                    return Answer::Wait(format!("{what}, whose connection has not ended yet"));
                }
                true => return Answer::Taken(what),
                // Nobody can listen where another process still does: the one before has ended, or this
                // registration is a late one of a process that has. Its first heartbeat will tell.
                false if same_address => {}
                false => return Answer::Wait(format!("{what}, which may come back")),
            }
        }
        if let Some(node) = self.nodes.get_mut(&who.incarnation) {
            node.heard = now;
            node.extended = now;
            node.connected = true;
            node.gone = false;
            return Answer::Known(self.active.clone(), self.active.epoch());
        }
        if self.nodes.len() >= MAX_MEMBERS {
            return Answer::Taken(format!("the cluster has its {MAX_MEMBERS} members"));
        }
        effects.push(Effect::Say(format!("{} registered at {}", who.id, who.address)));
        self.nodes.insert(who.incarnation, Node::new(who, now));
        Answer::Known(self.active.clone(), self.active.epoch())
    }

    fn heartbeat(&mut self, now: Millis, incarnation: Incarnation, report: Report) -> Answer {
        let (newest, active) = (self.newest().clone(), self.active.epoch());
        let is_member = self.members().contains(&incarnation);
        if !is_member {
            self.retire_predecessors(incarnation);
        }
        match self.nodes.get_mut(&incarnation).filter(|node| !node.gone) {
            None => Answer::Unknown,
            Some(node) => {
                node.heard = now;
                if !is_member || lease::extends(newest.view(), active, incarnation, report.epoch) {
                    node.extended = now;
                }
                node.connected = true;
                node.report = report;
                node.is_unheard = false;
                Answer::Known(newest, active)
            }
        }
    }

    /// A newcomer is alive and listens at its address: whoever listened there before has ended. That it
    /// has registered is not enough, since a registration may arrive long after its process has ended,
    /// and would retire the one that took its place.
    fn retire_predecessors(&mut self, incarnation: Incarnation) {
        let Some(node) = self.nodes.get(&incarnation).filter(|node| !node.gone) else { return };
        let address = node.who.address.clone();
        for other in self.nodes.values_mut().filter(|other| !other.connected) {
            other.gone |= other.who.address == address && other.who.incarnation != incarnation;
        }
    }

    /// Looks at the time. When a whole interval has passed without any event, not even a tick, the
    /// manager itself was stopped, and the nodes' heartbeats wait in its sockets: everyone gets a
    /// whole lease anew (L2, RULES-WHY F8).
    fn notice_pause(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let paused = now.saturating_sub(self.last_step);
        if paused > self.settings.heartbeat_ms {
            effects
                .push(Effect::Say(format!("paused for {paused} ms: every node gets a new lease")));
            for node in self.nodes.values_mut() {
                node.extended = now;
            }
        }
        self.last_step = now;
    }

    /// Goes on without what is lost, if that can be done now: a wish that stayed would be granted
    /// for a loss that nobody has seen yet. Whoever is out counts as gone, so that its name is free;
    /// where that is everyone, the next to register begins an empty cluster.
    fn accept_loss(&mut self, now: Millis, effects: &mut Vec<Effect>) -> Answer {
        let before = self.newest().epoch();
        if plan::losses(self, now).0 == 0 {
            return Answer::Done;
        }
        if self.coming.is_none() {
            let lease = self.settings.lease_ms();
            for node in self.nodes.values_mut() {
                node.gone = node.is_out(now, lease);
            }
            self.accept_loss = true;
            self.advance(now, effects);
            self.accept_loss = false;
        }
        if self.newest().epoch() == before && self.nodes.values().any(|node| !node.gone) {
            return Answer::Wait("a view is being made".into());
        }
        Answer::Done
    }

    /// Makes the next view, or activates the one that was made, as often as something follows.
    fn advance(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        loop {
            if let Some(coming) = self.coming.clone() {
                if !self.is_acknowledged(&coming, now) {
                    if is_on(Mutation::TwoPending) {
                        self.make_another(coming, now, effects);
                    }
                    return;
                }
                self.active = coming;
                self.coming = None;
                effects.push(Effect::Save);
                effects.push(Effect::Publish(self.active.clone()));
                self.push_to_all(std::slice::from_ref(&self.active), effects);
                continue;
            }
            let Some(plan) = plan::next_view(self, now) else {
                return;
            };
            let made = Arc::new(Routes::new(plan.view));
            let before = self.active.clone();
            effects.push(Effect::Save);
            effects.push(Effect::Say(format!("view {}: {}", made.epoch(), plan.why)));
            self.coming = Some(made.clone());
            if is_on(Mutation::CoordEarly) {
                effects.push(Effect::Publish(made.clone()));
            }
            self.push_to_all(&[made, before], effects);
        }
    }

    /// The mistake of [`Mutation::TwoPending`]: the view after one that nobody may have taken over yet.
    fn make_another(&mut self, pending: Arc<Routes>, now: Millis, effects: &mut Vec<Effect>) {
        let as_if = Membership { active: pending, coming: None, ..self.clone() };
        let Some(plan) = plan::next_view(&as_if, now) else { return };
        let made = Arc::new(Routes::new(plan.view));
        let before = self.active.clone();
        effects.push(Effect::Save);
        self.coming = Some(made.clone());
        self.push_to_all(&[made, before], effects);
    }

    /// Pushes the newest view to the connected members of `views`, each once.
    fn push_to_all(&self, views: &[Arc<Routes>], effects: &mut Vec<Effect>) {
        let mut told: Vec<Incarnation> = Vec::new();
        for member in views.iter().flat_map(|r| &r.view().members) {
            let is_connected = self.nodes.get(&member.incarnation).is_some_and(|n| n.connected);
            if is_connected && !told.contains(&member.incarnation) {
                told.push(member.incarnation);
                let newest = self.newest().clone();
                effects.push(Effect::Push(member.incarnation, newest, self.active.epoch()));
            }
        }
    }

    /// L3: every member of both views has acknowledged the new one, or is out.
    fn is_acknowledged(&self, coming: &Routes, now: Millis) -> bool {
        if is_on(Mutation::NoAckWait) {
            return true;
        }
        let both = self.active.view().members.iter().chain(&coming.view().members);
        both.into_iter().all(|member| {
            self.is_out(member.incarnation, now)
                || self.nodes[&member.incarnation].report.epoch >= coming.epoch()
        })
    }

    /// Whether an incarnation has been silent for a lease, or its process has ended.
    pub fn is_out(&self, incarnation: Incarnation, now: Millis) -> bool {
        let lease = self.settings.lease_ms();
        self.nodes.get(&incarnation).is_none_or(|node| node.is_out(now, lease))
    }

    /// Registered nodes that are in no view yet and still there, and whose name and address no member has
    /// that may be alive.
    fn waiting(&self, now: Millis) -> impl Iterator<Item = &Newcomer> {
        let view = self.newest().view();
        let may_live = |i: &Incarnation| self.nodes.get(i).is_some_and(|node| !node.gone);
        let holders: Vec<&Member> =
            view.members.iter().filter(|m| may_live(&m.incarnation)).collect();
        let members = incarnations(std::slice::from_ref(self.newest()));
        let waits = move |who: &Newcomer| {
            !members.contains(&who.incarnation)
                && !self.is_out(who.incarnation, now)
                && holders.iter().all(|m| m.id != who.id && m.address != who.address)
        };
        self.nodes.values().map(|n| &n.who).filter(move |who| waits(who))
    }

    /// The incarnations in the active view and in the one being made.
    fn members(&self) -> BTreeSet<Incarnation> {
        incarnations([&self.active].into_iter().chain(&self.coming))
    }

    /// Drops what is known of incarnations that are in no view and are out.
    fn forget(&mut self, now: Millis) {
        let lease = self.settings.lease_ms();
        let members = self.members();
        self.nodes.retain(|i, node| members.contains(i) || !node.is_out(now, lease));
    }

    /// The state of a node as a person would call it.
    pub fn state_of(&self, node: &Node, now: Millis) -> &'static str {
        let members = &self.active.view().members;
        match members.iter().find(|m| m.incarnation == node.who.incarnation) {
            _ if self.is_out(node.who.incarnation, now) => "down",
            None => "waiting",
            Some(member) => match member.state {
                MemberState::Joining => "joining",
                MemberState::Active => "active",
                MemberState::Leaving => "leaving",
            },
        }
    }
}

fn incarnations<'a>(views: impl IntoIterator<Item = &'a Arc<Routes>>) -> BTreeSet<Incarnation> {
    views.into_iter().flat_map(|r| r.view().members.iter().map(|m| m.incarnation)).collect()
}

impl Node {
    fn new(who: Newcomer, now: Millis) -> Node {
        let report = Report { epoch: Epoch::NONE, synced: ArcSet::new(), keys: 0, bytes: 0 };
        Node {
            who,
            heard: now,
            extended: now,
            connected: true,
            gone: false,
            report,
            is_unheard: false,
        }
    }

    fn is_out(&self, now: Millis, lease: Millis) -> bool {
        let lease = if is_on(Mutation::RemovedEarly) { lease / 4 } else { lease };
        self.gone || now.saturating_sub(self.extended) >= lease
    }
}

#[cfg(test)]
mod tests;
