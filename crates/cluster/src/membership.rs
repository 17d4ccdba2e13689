//! Membership: the manager's state machine.
//!
//! Events are the input (a registration, a heartbeat, a lost connection, a tick); effects are the
//! output (save, publish, push, log). Everything that changes the cluster goes through
//! [`Membership::step`]:
//!
//! * A node **registers** and waits outside until the view can admit it.
//! * An **operator requests** a change ([`AdminCommand`]): a leave, a weight, another number of
//!   copies.
//! * A **view is made**, one at a time (rule L3): a repair drops dead members (`repair`); a planned
//!   change begins, is switched when every member has finished it, or is cancelled (`change`).
//! * The view is **saved before anyone sees it** ([`Gate`] holds back what depends on that) and
//!   pushed to the members of both the old and the new view. It becomes *active* once each of them
//!   has acknowledged it or is out; that is saved too, but nothing waits for it.
//! * Clients only ever get active views.
//!
//! A member is *out* when it has missed three heartbeats, or when its process is known to have
//! ended. It is dropped from the view only if every arc keeps a live replica that is synced there
//! (L2). Otherwise it stays for the arcs that it alone holds
//! ([`SoleHolder`](crate::view::SoleHolder)), until it returns or the operator accepts the loss. It
//! returns as itself, or through a replacement that has its data folder (`recovery`). What it owned
//! is remembered for a while (`losses`), in case it returns.
//!
//! A manager that continues from an older copy of its folder learns so from nodes, and serves no
//! node (`older`).
//!
//! Invariants: epochs only go up, by one, except where views were lost ([`line`](crate::line)); at
//! most one view is being made; a name and an address belong to at most one incarnation that has
//! not ended; no member that stays is made to skip a view; nothing is pushed or published before it
//! is saved; a refused event leaves no trace: the state is as if only time had passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{Epoch, Incarnation, ManagerIncarnation};
use crate::lease::{self, Terms};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::{Member, MemberState, Routes};

mod admin_command;
mod advance;
mod change;
mod condition;
mod departures;
mod event;
mod folders;
mod gate;
mod health;
mod holders;
mod lifecycle;
mod loss;
mod losses;
mod node;
mod objection;
mod older;
mod operator;
mod outline;
mod past_view;
pub mod progress;
mod proposal;
mod reach;
mod recovery;
mod registration;
mod repair;
mod situation;
pub mod starts;
mod unused;

pub use admin_command::{AdminCommand, Reconfiguration};
pub use condition::{DiskHealth, NodeState};
pub use event::{Answer, Effect, Ended, Event, Saved, Settings, Unused};
use folders::Waiting;
pub use folders::{FolderCopy, Folders, MAX_COPIES, WaitingFolder};
pub use gate::Gate;
pub use health::{Health, Level};
use lifecycle::NodeEvent;
pub use lifecycle::{Evidence, Lifecycle, Process};
pub use loss::Loss;
use losses::Losses;
pub use node::{Newcomer, Node, Report};
use older::Older;
pub use older::{Behind, Seen};
pub use outline::{Amount, Move, Outline};
use past_view::PastView;
use progress::Progress;
use reach::Unreached;

/// The manager's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// This start of the manager.
    life: ManagerIncarnation,
    /// The newest view that nodes had seen, as shown to the operator who continues with an older
    /// copy.
    accepts: Epoch,
    /// Reports of nodes that show views unknown to the manager: since then it serves nobody.
    older: Option<Older>,
    /// With the cluster's own lease terms, once they have been saved, instead of those of this
    /// start's flags.
    settings: Settings,
    /// The terms that are durable: those that nodes receive.
    durable_terms: Terms,
    active: Arc<Routes>,
    coming: Option<Arc<Routes>>,
    /// The longest lease that may be out, in milliseconds.
    longest_ms: Millis,
    /// The oldest view under which nodes are granted a lease: the active one. After a restart it is
    /// the newest, since by what was saved that may have been active before (L1, rationale F3).
    floor: Epoch,
    nodes: BTreeMap<Incarnation, Node>,
    /// When nodes were last probed.
    probed: Option<Millis>,
    last_step: Millis,
    /// How many events there were.
    steps: u64,
    /// The view of which the operator has given up everything, while no node is there yet to begin
    /// anew.
    all_given_up: Option<Epoch>,
    /// What the operator has ordered and has not begun, and since when.
    order: Option<(AdminCommand, Millis)>,
    /// The outline of other settings that are on trial: the operator who ordered them waits for the
    /// outcome.
    trial: Option<Outline>,
    losses: Losses,
    /// Views before the active one, the oldest first, as far back as there may be a way (H6).
    past_views: Vec<PastView>,
    progress: Option<Progress>,
    folders: Folders,
    /// Nodes that are held back with a data folder that is, or may be, a copy.
    held_back: BTreeMap<Incarnation, Waiting>,
    /// Nodes that are held back because their address cannot be reached.
    unreached: BTreeMap<Incarnation, Unreached>,
}

impl Membership {
    /// Starts from what was saved, or from an unborn view. Members of a saved view have a whole
    /// lease to show up, the longest that may be out: they may be alive, and serving (L2).
    pub fn new(settings: Settings, saved: Saved, now: Millis) -> Membership {
        let mut nodes = BTreeMap::new();
        let longest_ms = saved.longest_ms.max(saved.terms.lease_ms());
        let lease_ms = if is_on(Mutation::ShortLease) {
            settings.lease_ms().min(saved.terms.lease_ms())
        } else {
            longest_ms
        };
        let Terms { heartbeat_ms, missed } = saved.terms;
        let settings = Settings { heartbeat_ms, missed, ..settings };
        let node = |member: &Member| {
            let who = Newcomer {
                id: member.id.clone(),
                incarnation: member.incarnation,
                address: member.address.clone(),
                redis_port: member.redis_port,
                weight: member.weight,
                on_disk: member.on_disk,
            };
            let ended = saved.ended.iter().find(|ended| ended.incarnation == member.incarnation);
            let process = if ended.is_some() { Process::Ended } else { Process::Disconnected };
            Node {
                lifecycle: Lifecycle::Stays(process),
                evidence: Evidence::Unknown,
                adopted: ended.map(|ended| ended.adopted),
                ..Node::new(who, now, lease_ms)
            }
        };
        for member in saved.coming.iter().chain([&saved.active]).flat_map(|v| &v.members) {
            nodes.entry(member.incarnation).or_insert_with(|| node(member));
        }
        let past_views = past_view::restored(saved.unused, &saved.active, node);
        Membership {
            life: ManagerIncarnation::UNKNOWN,
            accepts: Epoch::NONE,
            older: None,
            settings,
            durable_terms: saved.terms,
            floor: saved.coming.as_ref().unwrap_or(&saved.active).epoch,
            active: Arc::new(Routes::new(saved.active)),
            coming: saved.coming.map(|v| Arc::new(Routes::new(v))),
            longest_ms,
            nodes,
            probed: None,
            last_step: now,
            steps: 0,
            all_given_up: None,
            order: None,
            trial: None,
            losses: Losses::new(now),
            past_views,
            progress: None,
            folders: saved.folders,
            held_back: BTreeMap::new(),
            unreached: BTreeMap::new(),
        }
    }

    /// The same for this start of the manager. `shown` is the newest view that nodes had seen when
    /// an earlier start found this folder to be an older copy, or 0. A folder that lacks that view
    /// serves nobody, even if nodes that have seen nothing newer register first. `goes_on` means
    /// that the operator continues with it.
    #[must_use]
    pub fn in_life(self, life: ManagerIncarnation, shown: Epoch, goes_on: bool) -> Membership {
        let accepts = if goes_on { shown } else { Epoch::NONE };
        let older = (shown > self.newest().epoch()).then(|| Older::since(self.last_step, shown));
        Membership { life, accepts, older, ..self }
    }

    /// What has to survive the manager.
    pub fn state(&self) -> Saved {
        let (unused, ended) = past_view::saved(self);
        Saved {
            active: self.active.view().clone(),
            coming: self.coming.as_ref().map(|r| r.view().clone()),
            terms: self.settings.terms(),
            longest_ms: self.longest_ms,
            folders: self.folders.clone(),
            unused,
            ended,
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

    /// What the operator has ordered and has not begun, and since when.
    pub fn order(&self) -> Option<&(AdminCommand, Millis)> {
        self.order.as_ref()
    }

    /// All incarnations that count for something: members, and newcomers that wait.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Handles one event at time `now` and returns what follows. A refused event leaves no trace:
    /// it is tried on a copy, and after a refusal only the time has passed. (Events that are tried
    /// this way are rare; heartbeats and ticks are not.)
    pub fn step(&mut self, now: Millis, event: Event) -> (Answer, Vec<Effect>) {
        if is_on(Mutation::WaitLeaves) {
            return self.take(now, event);
        }
        if !event.may_be_refused() {
            let (answer, effects) = self.take(now, event);
            // So a refusal never leaves a trace, and no heartbeat has to be compared for that.
            debug_assert!(!answer.is_refusal(), "refused, and not tried on a copy");
            return (answer, effects);
        }
        let mut tried = self.clone();
        let (answer, effects) = tried.take(now, event);
        if answer.is_refusal() {
            let (_, effects) = self.take(now, Event::Tick);
            return (answer, effects);
        }
        *self = tried;
        (answer, effects)
    }

    /// Whether this is what an earlier state has become by time alone: what a refusal leaves.
    pub fn has_only_aged(&self, mut before: Membership, now: Millis) -> bool {
        before.take(now, Event::Tick);
        before == *self
    }

    fn take(&mut self, now: Millis, event: Event) -> (Answer, Vec<Effect>) {
        let mut effects = Vec::new();
        self.steps += 1;
        self.notice_pause(now, &mut effects);
        if let Some(answer) = self.while_older(now, &event, &mut effects) {
            return (answer, effects);
        }
        let (ended, steps) = (past_view::ended(self), self.steps);
        let answer = match event {
            Event::Register { who, returns, claim, seen: _, reached } => {
                self.register(now, who, returns, claim, reached, &mut effects)
            }
            Event::Heartbeat(incarnation, report) => {
                self.heartbeat(now, incarnation, report, &mut effects)
            }
            Event::Disconnected(incarnation) => {
                if let Some(node) = self.nodes.get_mut(&incarnation) {
                    node.on(NodeEvent::ConnectionEnds, steps);
                }
                Answer::Done
            }
            Event::Gone(incarnation) => {
                if let Some(node) = self.nodes.get_mut(&incarnation).filter(|n| !n.is_connected()) {
                    node.on(NodeEvent::ProcessEnds, steps);
                    effects
                        .push(Effect::Log(format!("{} is gone: its process ended", node.who.id)));
                    if node.who.on_disk {
                        self.ask_who_is_left(&mut effects);
                    }
                }
                Answer::Done
            }
            Event::AcceptLoss(shown) => self.accept_loss(now, &shown, &mut effects),
            Event::AdoptFolder { id, start } => self.adopt_folder(now, &id, start, &mut effects),
            Event::Command(order) => self.take_command(now, order, &mut effects),
            Event::Tick => Answer::Done,
        };
        if past_view::ended(self) != ended {
            effects.push(Effect::Save);
        }
        self.advance(now, false, &mut effects);
        self.forget(now);
        self.note_leases_over(now, &mut effects);
        self.progress = Progress::look(self.progress, self.all_behind(), now);
        // The view may have moved on while the event was worked through.
        let answer = match answer {
            Answer::Known { lease, .. } => self.known(lease),
            other => other,
        };
        (answer, effects)
    }

    fn known(&self, lease: Option<Millis>) -> Answer {
        Answer::Known { newest: self.newest().clone(), active: self.active.epoch(), lease }
    }

    fn heartbeat(
        &mut self,
        now: Millis,
        incarnation: Incarnation,
        report: Report,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let (newest, active, floor) = (self.newest().clone(), self.active.epoch(), self.floor);
        let (is_member, steps) = (self.members().contains(&incarnation), self.steps);
        let lease_ms = self.durable_terms.lease_ms();
        if !is_member {
            self.retire_predecessors(now, incarnation, effects);
        }
        if self.nodes.get(&incarnation).is_some_and(|node| !node.is_gone()) {
            self.note_probe_answer(incarnation, report.probe, effects);
            self.note_first(incarnation, effects);
        }
        match self.nodes.get_mut(&incarnation).filter(|node| !node.is_gone()) {
            None => Answer::Unknown,
            Some(node) => {
                node.heard = now;
                let extends =
                    |floor| lease::extends(newest.view(), floor, incarnation, report.epoch);
                // Members of the active view are waited for, even where they are granted no lease
                // (after a restart): they are alive, and each may be the last that holds something.
                if !is_member || extends(active) {
                    node.extend(now, lease_ms);
                }
                let lease = extends(floor);
                node.on(NodeEvent::Heartbeat, steps);
                node.adopted = node.adopted.max(Some(report.epoch));
                node.report = report;
                self.known(lease.then_some(lease_ms))
            }
        }
    }

    /// Looks at the time. When a whole interval has passed without any event, not even a tick, the
    /// manager itself was stopped, and the nodes' heartbeats wait in its sockets: everyone gets a
    /// whole lease anew (L2, rationale F8).
    fn notice_pause(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let paused = now.saturating_sub(self.last_step);
        if paused > self.settings.heartbeat_ms {
            effects
                .push(Effect::Log(format!("paused for {paused} ms: every node gets a new lease")));
            let lease_ms = self.durable_terms.lease_ms();
            for node in self.nodes.values_mut() {
                node.extend(now, lease_ms);
            }
        }
        self.last_step = now;
    }

    /// The longest lease need not be waited for any more, not even by the next manager, once those
    /// that are out end no later than one granted now would.
    fn note_leases_over(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let lease_ms = self.settings.lease_ms();
        let is_told = self.durable_terms == self.settings.terms();
        let are_over = || self.nodes.values().all(|node| node.until <= now + lease_ms);
        if self.longest_ms > lease_ms && is_told && are_over() {
            self.longest_ms = lease_ms;
            effects.push(Effect::Save);
        }
    }

    /// The longest lease that may be out, in milliseconds.
    pub fn longest_ms(&self) -> Millis {
        self.longest_ms
    }

    /// The terms of leases that nodes receive: those that are durable.
    pub fn durable_terms(&self) -> Terms {
        self.durable_terms
    }

    /// The terms of the state have become durable.
    pub(super) fn terms_are_durable(&mut self, terms: Terms) {
        self.durable_terms = terms;
    }

    /// Whether an incarnation has been silent for a lease, or its process has ended.
    pub fn is_out(&self, incarnation: Incarnation, now: Millis) -> bool {
        self.nodes.get(&incarnation).is_none_or(|node| node.is_out(now))
    }

    /// The incarnations in the active view and in the one being made.
    fn members(&self) -> BTreeSet<Incarnation> {
        incarnations([&self.active].into_iter().chain(&self.coming))
    }

    /// The arcs of the active view that no live member is synced in, in ascending order (H4).
    pub fn lost(&self, now: Millis) -> Vec<usize> {
        holders::losses(&self.situation(now)).0
    }

    /// The arcs that clients need not wait for: as [`Membership::lost`], but a member that is only
    /// silent may be back in a moment.
    pub fn given_up(&self, now: Millis) -> Vec<usize> {
        let situation = self.situation(now);
        let members = self.active.view().members.iter();
        let out: Vec<bool> = members.map(|m| situation.is_given_up(m.incarnation)).collect();
        if out.contains(&true) { holders::lost_arcs(&situation, &out) } else { Vec::new() }
    }

    /// The planned change that is under way, in a few words, if there is one.
    pub fn change(&self) -> Option<String> {
        change::under_way(self.active.view())
    }

    /// Drops what is known of incarnations that are in no view and are out.
    fn forget(&mut self, now: Millis) {
        self.forget_folders(now);
        self.forget_unreached(now);
        let members = self.members();
        self.nodes.retain(|i, node| members.contains(i) || !node.is_out(now));
    }

    /// The state of a node, in words for people.
    pub fn state_of(&self, node: &Node, now: Millis) -> NodeState {
        let members = &self.active.view().members;
        match members.iter().find(|m| m.incarnation == node.who.incarnation) {
            _ if self.is_out(node.who.incarnation, now) => NodeState::Down,
            None if node.has_left() => NodeState::Left,
            None => NodeState::Waiting,
            Some(member) => match member.state {
                MemberState::Joining => NodeState::Joining,
                MemberState::Active => NodeState::Active,
                MemberState::Leaving => NodeState::Leaving,
            },
        }
    }
}

fn incarnations<'a>(views: impl IntoIterator<Item = &'a Arc<Routes>>) -> BTreeSet<Incarnation> {
    views.into_iter().flat_map(|r| r.view().members.iter().map(|m| m.incarnation)).collect()
}

#[cfg(test)]
mod tests;
