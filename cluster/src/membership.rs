//! Membership: the manager's state machine.
//!
//! Events go in (a registration, a heartbeat, a lost connection, a tick), effects come out (save,
//! publish, push, say). Everything that makes a cluster change goes through [`Membership::step`]:
//!
//! * a node **registers** and waits outside until the view can take it in;
//! * a **view is made** by [`plan`]: drop who is dead, or let newcomers begin to join, or switch a
//!   finished change; one at a time (rule L3);
//! * it is **saved before anyone sees it** ([`Gate`] holds back what depends on that), pushed to the
//!   members of both the old and the new view, and becomes *active* once each of them has acknowledged
//!   it or is out; that is saved too, but nobody waits for it;
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

mod gate;
mod health;
pub mod plan;

pub use gate::Gate;
pub use health::Health;
use plan::Change;

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
    /// How old a member's last word may be where a planned change begins (L4), in milliseconds: a tenth of
    /// a second, during which hardly anybody dies, and far less than an interval in any case.
    pub fn answer_ms(&self) -> Millis {
        (self.heartbeat_ms / 4).clamp(1, 100)
    }

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
    /// The node is known.
    Known {
        /// The newest view.
        newest: Arc<Routes>,
        /// The epoch of the active one.
        active: Epoch,
        /// Whether this heartbeat has extended its sender's lease (L1). Decided here and nowhere else: who
        /// is told so must be one whose lease is waited for.
        lease: bool,
    },
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
    /// Make [`Membership::state`], as it is now or later, durable. What follows must not be seen before.
    Save,
    /// Give this view to clients from now on.
    Publish(Arc<Routes>),
    /// Send the view to a node, with the epoch of the active one.
    Push(Incarnation, Arc<Routes>, Epoch),
    /// Ask a node for a heartbeat now. Waits for no save.
    Probe(Incarnation),
    /// Tell the operator.
    Say(String),
    /// Tell the operator who accepted a loss that it is done: how many arcs had no live replica.
    LossAccepted(usize),
}

/// What survives the manager: the active view and the one being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The view that clients use.
    pub active: View,
    /// The one that has been made. It may be active already: that is saved afterwards.
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
    /// The oldest view under which nodes are told of a lease: the active one. After a restart it is the
    /// newest, which may have been active before, for all that was saved says (L1, RULES-WHY F3).
    floor: Epoch,
    nodes: BTreeMap<Incarnation, Node>,
    /// When nodes were last asked for a word.
    probed: Option<Millis>,
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
            floor: saved.coming.as_ref().unwrap_or(&saved.active).epoch,
            active: Arc::new(Routes::new(saved.active)),
            coming: saved.coming.map(|v| Arc::new(Routes::new(v))),
            nodes,
            probed: None,
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
            Answer::Known { lease, .. } => self.known(lease),
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
            return self.known(false);
        }
        if self.nodes.len() >= MAX_MEMBERS {
            return Answer::Taken(format!("the cluster has its {MAX_MEMBERS} members"));
        }
        effects.push(Effect::Say(format!("{} registered at {}", who.id, who.address)));
        self.nodes.insert(who.incarnation, Node::new(who, now));
        self.known(false)
    }

    fn known(&self, lease: bool) -> Answer {
        Answer::Known { newest: self.newest().clone(), active: self.active.epoch(), lease }
    }

    fn heartbeat(&mut self, now: Millis, incarnation: Incarnation, report: Report) -> Answer {
        let (newest, active, floor) = (self.newest().clone(), self.active.epoch(), self.floor);
        let is_member = self.members().contains(&incarnation);
        if !is_member {
            self.retire_predecessors(incarnation);
        }
        match self.nodes.get_mut(&incarnation).filter(|node| !node.gone) {
            None => Answer::Unknown,
            Some(node) => {
                node.heard = now;
                let extends =
                    |floor| lease::extends(newest.view(), floor, incarnation, report.epoch);
                // Whoever is in the active view is waited for, even where it is told of no lease (after a
                // restart): it is there, and may be the last that holds something.
                if !is_member || extends(active) {
                    node.extended = now;
                }
                let lease = extends(floor);
                node.connected = true;
                node.report = report;
                node.is_unheard = false;
                self.known(lease)
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
        let (lost, _) = plan::losses(self, now);
        if lost == 0 {
            effects.push(Effect::LossAccepted(0));
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
        effects.push(Effect::LossAccepted(lost));
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
                self.floor = self.active.epoch();
                // Saved last: it may be used before its being active is on disk, since a manager that
                // restarts from (old, new) begins by having the new one acknowledged again (F18).
                effects.push(Effect::Publish(self.active.clone()));
                self.push_to_all(std::slice::from_ref(&self.active), effects);
                effects.push(Effect::Save);
                continue;
            }
            let plan = plan::repair(self, now).or_else(|| {
                let change = plan::change(self, now)?;
                self.have_answered(now, change, effects)
                    .then(|| plan::planned(self, now, change))?
            });
            let Some(plan) = plan else {
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

    /// L4: whether all whom a planned change would wait for have just been heard of; those who have not
    /// are asked. One that has died unnoticed would hold up every write until its lease is over (RULES-WHY
    /// F15). One that does not answer holds up planned changes only, and not for ever: when it is out it is
    /// dropped, or not waited for.
    fn have_answered(&mut self, now: Millis, change: Change, effects: &mut Vec<Effect>) -> bool {
        let within = self.settings.answer_ms();
        let members = self.members();
        let joiners: Vec<Incarnation> = match change {
            Change::Switch => Vec::new(),
            Change::Join => self.waiting(now).map(|who| who.incarnation).collect(),
        };
        let silent: Vec<Incarnation> = members
            .into_iter()
            .chain(joiners)
            .filter(|i| !self.is_out(*i, now))
            .filter(|i| now.saturating_sub(self.nodes[i].heard) > within)
            .collect();
        // A round trip may take as long as it likes; but not everyone is asked at every event.
        if !silent.is_empty() && self.probed.is_none_or(|last| now - last >= within.div_ceil(2)) {
            self.probed = Some(now);
            effects.extend(silent.iter().copied().map(Effect::Probe));
        }
        silent.is_empty()
    }

    /// The mistake of [`Mutation::TwoPending`]: the view after one that nobody may have taken over yet.
    fn make_another(&mut self, pending: Arc<Routes>, now: Millis, effects: &mut Vec<Effect>) {
        let as_if = Membership { active: pending, coming: None, ..self.clone() };
        let planned = || plan::planned(&as_if, now, plan::change(&as_if, now)?);
        let Some(plan) = plan::repair(&as_if, now).or_else(planned) else { return };
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
