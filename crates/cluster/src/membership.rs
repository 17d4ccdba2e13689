//! Membership: the manager's state machine.
//!
//! Events go in (a registration, a heartbeat, a lost connection, a tick), effects come out (save,
//! publish, push, say). Everything that makes a cluster change goes through [`Membership::step`]:
//!
//! * a node **registers** and waits outside until the view can take it in;
//! * an **operator asks** for a change ([`order`]): a leave, a weight, another number of copies;
//! * a **view is made**, one at a time (rule L3): a repair drops who is dead ([`repair`]); a planned change
//!   begins, is switched when everyone has finished it, or is cancelled ([`change`]);
//! * it is **saved before anyone sees it** ([`Gate`] holds back what depends on that), pushed to the
//!   members of both the old and the new view, and becomes *active* once each of them has acknowledged
//!   it or is out; that is saved too, but nobody waits for it;
//! * clients only ever get active views.
//!
//! A member is *out* when it has missed three heartbeats, or when its process is known to be gone. It
//! is dropped from the view only if every arc keeps a live replica that is synced there (L2); otherwise it
//! stays for the arcs that it alone holds ([`SoleHolder`](crate::view::SoleHolder)), until it comes back or the operator
//! accepts the loss; it comes back as itself, or by a replacement that has its data folder (`recovery`). What it owned is remembered for a while (`losses`), in case it returns.
//!
//! A manager that goes on from an older copy of its folder learns so from nodes, and serves nobody (`older`).
//!
//! Invariants: epochs only go up, by one, but where views were lost ([`line`](crate::line)); at most one view is being made; a name and an address
//! belong to one incarnation that is not gone at a time; no member that stays is made to skip a view;
//! nothing is pushed or published before it was saved; what is refused leaves no trace: all is as if only time had
//! passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::claim::Claim;
use crate::durability::Durability;
use crate::ids::{Epoch, Incarnation, ManagerLife, NodeId};
use crate::lease::{self, Terms};
use crate::limits::Limits;
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::{Member, MemberState, Routes, View};

pub mod change;
mod condition;
mod folders;
mod gate;
mod health;
mod loss;
mod losses;
mod node;
mod older;
pub mod order;
pub mod progress;
mod reach;
mod recovery;
mod registration;
pub mod repair;
pub mod starts;
mod unused;

use change::Change;
pub use condition::{DiskHealth, NodeState};
use folders::Waiting;
pub use folders::{FolderCopy, Folders, MAX_COPIES, WaitingFolder};
pub use gate::Gate;
pub use health::{Health, Level};
pub use loss::Loss;
use losses::Losses;
pub use node::{Newcomer, Node, Report};
use older::Older;
pub use older::{Behind, Seen};
use order::{Order, Outline, Wish};
use progress::Progress;
use reach::Unreached;

/// Rounds in which views are made and activated after one event: more in a row are a mistake, since a view drops,
/// takes in or gives up somebody, and mostly somebody who is alive has to acknowledge it.
const MOST_ROUNDS: u32 = 1_000;

/// What the operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often a node of a new cluster sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Millis,
    /// How many heartbeats a node of a new cluster may miss before it is out.
    pub missed: u32,
    /// Arcs of a new cluster's ring.
    pub arcs: usize,
    /// Copies of each key (K) in a new cluster.
    pub copies: usize,
    /// Bounds on keys and values in a new cluster.
    pub limits: Limits,
    /// Synced copies that a write has to have at least, in a new cluster.
    pub min_copies: usize,
    /// What a new cluster promises when all who hold something end at once.
    pub durability: Durability,
    /// How long after a loss arcs stay where they fell, in milliseconds, before they are dealt out evenly.
    pub rebalance_ms: Millis,
    /// How long a silent member that holds what nobody else does is waited for at least before everything else
    /// goes on without it (H4), in milliseconds: longer than a node that has lost its manager needs to find it.
    pub return_ms: Millis,
}

impl Settings {
    /// How old a member's last word may be where a planned change begins (L4), in milliseconds: a tenth of
    /// a second, during which hardly anybody dies, and far less than an interval in any case.
    pub fn answer_ms(&self) -> Millis {
        (self.heartbeat_ms / 4).clamp(1, 100)
    }

    /// How long leases are.
    pub fn terms(&self) -> Terms {
        Terms { heartbeat_ms: self.heartbeat_ms, missed: self.missed }
    }

    /// How long a silent node counts as alive, in milliseconds.
    pub fn lease_ms(&self) -> Millis {
        self.terms().lease_ms()
    }
}

/// What can happen to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node asks to be a member, or says again that it is one after a lost connection.
    Register {
        /// The node.
        who: Newcomer,
        /// Whether it has been a member of this cluster.
        returns: bool,
        /// What it held then, by its data folder.
        claim: Option<Claim>,
        /// The newest view that it has seen.
        seen: Option<Seen>,
        /// Whether whoever was dialled at its address is this very process; if not, what is wrong. It is not dialled
        /// where it is a member already.
        reached: Result<(), String>,
    },
    /// A node is alive.
    Heartbeat(Incarnation, Report),
    /// The connection that carries a node's heartbeats has ended.
    Disconnected(Incarnation),
    /// A node's process is certainly gone: its connection ended and its port refuses (L6).
    Gone(Incarnation),
    /// The operator goes on without what the members that are out held alone (H4): this, and no more.
    AcceptLoss(Loss),
    /// The operator goes on with a node's data folder that is held back since it is, or may be, a copy (L5).
    AdoptFolder {
        /// Which node's.
        id: NodeId,
        /// The start that waits with it.
        start: Incarnation,
    },
    /// The operator wants a change (H5). What comes of it is told by [`Effect::Told`], some time.
    Order(Order),
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
        /// How long a lease this heartbeat has given its sender, if it has (L1). Decided here and nowhere else:
        /// who is told so must be one whose lease is waited for.
        lease: Option<Millis>,
    },
    /// The manager does not know this incarnation: register.
    Unknown,
    /// The node is held back and remembered: its data folder is, or may be, a copy (L5). It is to come again.
    Aside(String),
    /// Nobody reaches the node at the address that it tells, so it cannot serve: it is held back and remembered, and is
    /// to come again.
    Unreached(String),
    /// Another live node has this name or this address. Final.
    Taken(String),
    /// Not now: try again.
    Wait(String),
    /// What the operator was shown is not what there is now, which this tells. Look again.
    Changed(String),
    /// It has seen a view that the manager does not know (L7): it is to tell that view, and to try again.
    Older(String),
}

impl Event {
    /// Whether it may be refused.
    fn may_be_refused(&self) -> bool {
        matches!(
            self,
            Event::Register { .. }
                | Event::AcceptLoss(_)
                | Event::AdoptFolder { .. }
                | Event::Order(_)
        )
    }
}

impl Answer {
    /// Whether it says that nothing was done. Then the event has left no trace ([`Membership::step`]).
    pub fn is_refusal(&self) -> bool {
        matches!(self, Answer::Taken(_) | Answer::Wait(_) | Answer::Changed(_))
    }
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
    /// Ask a node for a heartbeat now, by this number. Waits for no save.
    Probe(Incarnation, u64),
    /// Tell the operator.
    Say(String),
    /// Tell the operator who accepted a loss that it is done: how many arcs had no live replica.
    LossAccepted(usize),
    /// Tell the operator who goes on with another data folder that it is done.
    FolderAdopted,
    /// Tell the operator whose order was taken first what came of it: what begins, or why nothing does.
    Told(Result<Outline, String>),
    /// End the manager: its folder is an older copy, and this says what it lacks (L7). Waits for no save. Nothing is
    /// done any more.
    Stop(Behind),
}

/// What survives the manager: the views, and what it has told that binds the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The view that clients use.
    pub active: View,
    /// The one that has been made. It may be active already: that is saved afterwards.
    pub coming: Option<View>,
    /// How long leases are.
    pub terms: Terms,
    /// The longest lease that may be out, in milliseconds: what a manager that starts from here waits for (L2).
    pub longest_ms: Millis,
    /// What has to be remembered of data folders (L5).
    pub folders: Folders,
    /// Views before the active one, the oldest first, as far back as there may be a way (H6).
    pub unused: Vec<Unused>,
    /// Members that are known to have ended without having adopted the newest view.
    pub ended: Vec<Ended>,
}

/// A view before the active one, and where it was of no effect (H6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The view, without its line.
    pub view: View,
    /// The arcs in which nothing was acknowledged under it, in ascending order.
    pub arcs: Vec<u16>,
}

/// What is known of a member that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// The newest view that it had told to have adopted.
    pub adopted: Epoch,
}

impl Saved {
    /// The state of a cluster in which nothing has happened but that this view is active.
    pub fn new(active: View, terms: Terms) -> Saved {
        let (folders, unused, ended) = Default::default();
        let longest_ms = terms.lease_ms();
        Saved { active, coming: None, terms, longest_ms, folders, unused, ended }
    }
}

/// The manager's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// This start of the manager.
    life: ManagerLife,
    /// The newest view that somebody had seen, as the operator was shown who goes on with an older copy.
    accepts: Epoch,
    /// What nodes have told that the manager does not know: since then it serves nobody.
    older: Option<Older>,
    /// With the cluster's own terms of leases, once it has been saved, and not those of this start's flags.
    settings: Settings,
    /// The terms that are durable: those that nodes are told.
    told: Terms,
    active: Arc<Routes>,
    coming: Option<Arc<Routes>>,
    /// The longest lease that may be out, in milliseconds.
    longest_ms: Millis,
    /// The oldest view under which nodes are told of a lease: the active one. After a restart it is the
    /// newest, which may have been active before, for all that was saved says (L1, RULES-WHY F3).
    floor: Epoch,
    nodes: BTreeMap<Incarnation, Node>,
    /// When nodes were last asked for a word.
    probed: Option<Millis>,
    last_step: Millis,
    /// How many events there were.
    steps: u64,
    accept_loss: bool,
    /// The view of which the operator has given up everything, with nobody there yet to begin anew.
    all_given_up: Option<Epoch>,
    /// What the operator has ordered and has not begun, and since when.
    order: Option<(Order, Millis)>,
    /// The outline of other settings that are on trial: whoever ordered them waits to be told.
    trial: Option<Outline>,
    losses: Losses,
    /// Views before the active one, the oldest first, as far back as there may be a way (H6).
    earlier: Vec<unused::Earlier>,
    progress: Option<Progress>,
    folders: Folders,
    /// Who is held back with a data folder that is, or may be, a copy.
    held_back: BTreeMap<Incarnation, Waiting>,
    /// Who is held back since nobody reaches it.
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
            let (gone, adopted) = (ended.is_some(), ended.map(|ended| ended.adopted));
            let node = Node::new(who, now, lease_ms);
            Node { connected: false, is_unheard: true, gone, adopted, ..node }
        };
        for member in saved.coming.iter().chain([&saved.active]).flat_map(|v| &v.members) {
            nodes.entry(member.incarnation).or_insert_with(|| node(member));
        }
        let earlier = unused::restored(saved.unused, &saved.active, node);
        Membership {
            life: ManagerLife::UNKNOWN,
            accepts: Epoch::NONE,
            older: None,
            settings,
            told: saved.terms,
            floor: saved.coming.as_ref().unwrap_or(&saved.active).epoch,
            active: Arc::new(Routes::new(saved.active)),
            coming: saved.coming.map(|v| Arc::new(Routes::new(v))),
            longest_ms,
            nodes,
            probed: None,
            last_step: now,
            steps: 0,
            accept_loss: false,
            all_given_up: None,
            order: None,
            trial: None,
            losses: Losses::new(now),
            earlier,
            progress: None,
            folders: saved.folders,
            held_back: BTreeMap::new(),
            unreached: BTreeMap::new(),
        }
    }

    /// The same for this start of the manager. `shown` is the newest view that nodes had seen when an earlier start
    /// found this folder to be an older copy, 0 where none did: a folder that lacks it serves nobody, even if it is the
    /// ones who have seen nothing newer that register first. `goes_on` says that the operator goes on with that.
    #[must_use]
    pub fn in_life(self, life: ManagerLife, shown: Epoch, goes_on: bool) -> Membership {
        let accepts = if goes_on { shown } else { Epoch::NONE };
        let older = (shown > self.newest().epoch()).then(|| Older::since(self.last_step, shown));
        Membership { life, accepts, older, ..self }
    }

    /// What has to survive the manager.
    pub fn state(&self) -> Saved {
        let (unused, ended) = unused::saved(self);
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
    pub fn order(&self) -> Option<&(Order, Millis)> {
        self.order.as_ref()
    }

    /// All incarnations that count for something: members, and newcomers that wait.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Takes one event at time `now` and says what follows. One that is refused leaves no trace: it is tried on a
    /// copy, and where the answer is a refusal only the time has passed. (What is tried then is seldom; heartbeats
    /// and ticks are not.)
    pub fn step(&mut self, now: Millis, event: Event) -> (Answer, Vec<Effect>) {
        if !event.may_be_refused() || is_on(Mutation::WaitLeaves) {
            return self.take(now, event);
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
        let ended = unused::ended(self);
        let answer = match event {
            Event::Register { who, returns, claim, seen: _, reached } => {
                self.register(now, who, returns, claim, reached, &mut effects)
            }
            Event::Heartbeat(incarnation, report) => {
                self.heartbeat(now, incarnation, report, &mut effects)
            }
            Event::Disconnected(incarnation) => {
                if let Some(node) = self.nodes.get_mut(&incarnation) {
                    node.connected = false;
                }
                Answer::Done
            }
            Event::Gone(incarnation) => {
                let steps = self.steps;
                if let Some(node) = self.nodes.get_mut(&incarnation).filter(|n| !n.connected) {
                    (node.gone, node.step) = (true, steps);
                    effects
                        .push(Effect::Say(format!("{} is gone: its process ended", node.who.id)));
                    if node.who.on_disk {
                        self.ask_who_is_left(&mut effects);
                    }
                }
                Answer::Done
            }
            Event::AcceptLoss(shown) => self.accept_loss(now, &shown, &mut effects),
            Event::AdoptFolder { id, start } => self.adopt_folder(now, &id, start, &mut effects),
            Event::Order(order) => self.take_order(now, order, &mut effects),
            Event::Tick => Answer::Done,
        };
        if unused::ended(self) != ended {
            effects.push(Effect::Save);
        }
        self.advance(now, &mut effects);
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
        let lease_ms = self.told.lease_ms();
        if !is_member {
            self.retire_predecessors(now, incarnation, effects);
        }
        if self.nodes.get(&incarnation).is_some_and(|node| !node.gone) {
            self.note_word(incarnation, report.probe, effects);
            self.note_first(incarnation, effects);
        }
        match self.nodes.get_mut(&incarnation).filter(|node| !node.gone) {
            None => Answer::Unknown,
            Some(node) => {
                node.heard = now;
                node.step = steps;
                node.has_beaten = true;
                let extends =
                    |floor| lease::extends(newest.view(), floor, incarnation, report.epoch);
                // Whoever is in the active view is waited for, even where it is told of no lease (after a
                // restart): it is there, and may be the last that holds something.
                if !is_member || extends(active) {
                    node.extend(now, lease_ms);
                }
                let lease = extends(floor);
                node.connected = true;
                node.adopted = node.adopted.max(Some(report.epoch));
                node.report = report;
                node.is_unheard = false;
                self.known(lease.then_some(lease_ms))
            }
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
            let lease_ms = self.told.lease_ms();
            for node in self.nodes.values_mut() {
                node.extend(now, lease_ms);
            }
        }
        self.last_step = now;
    }

    /// The longest lease need not be waited for any more, not even by the next manager, when those that are
    /// out end no later than one that would be told now.
    fn note_leases_over(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let lease_ms = self.settings.lease_ms();
        let is_told = self.told == self.settings.terms();
        let are_over = || self.nodes.values().all(|node| node.until <= now + lease_ms);
        if self.longest_ms > lease_ms && is_told && are_over() {
            self.longest_ms = lease_ms;
            effects.push(Effect::Save);
        }
    }

    /// Takes an operator's order. It is told what comes of it when that is saved.
    fn take_order(&mut self, now: Millis, order: Order, effects: &mut Vec<Effect>) -> Answer {
        let is_cancel = order == Order::Cancel;
        match self.order.take() {
            // What waits has not begun: that it never will is all there is to do.
            Some((Order::Change { wish, .. }, _)) if is_cancel => {
                effects.push(Effect::Told(Err("it was cancelled before it began".into())));
                let what = format!("{wish}: it had not begun");
                let newest = self.newest().clone();
                let outline = Outline::of(self, what, &newest, newest.view());
                effects.push(Effect::Told(Ok(outline)));
                return Answer::Done;
            }
            Some(waits) => {
                self.order = Some(waits);
                return Answer::Wait("another change was just asked for".into());
            }
            None => {}
        }
        if let Order::Change { wish, force } = &order
            && let Some(terms) = wish.terms(self.settings.terms())
        {
            // Whoever ordered first is told first.
            if self.trial.is_some() {
                return Answer::Wait("other settings are on trial".into());
            }
            let told = match order::objection(self, now, wish, *force) {
                Some(why) => Err(why),
                None => Ok(self.change_terms(terms, effects)),
            };
            effects.push(Effect::Told(told));
            return Answer::Done;
        }
        if !is_cancel && let Some(why) = self.change_under_way() {
            return Answer::Wait(why);
        }
        self.order = Some((order, now));
        Answer::Done
    }

    /// Other leases from now on, that is, from when this is saved: no node counts on a longer one before, and none
    /// that was told a longer one is out sooner than that ends.
    fn change_terms(&mut self, terms: Terms, effects: &mut Vec<Effect>) -> Outline {
        let outline = self.terms_outline(terms);
        let Terms { heartbeat_ms, missed } = terms;
        self.settings = Settings { heartbeat_ms, missed, ..self.settings };
        self.longest_ms = self.longest_ms.max(terms.lease_ms());
        effects.push(Effect::Save);
        effects.push(Effect::Say(outline.what.clone()));
        for node in self.nodes.values().filter(|node| node.connected) {
            let incarnation = node.who.incarnation;
            effects.push(Effect::Push(incarnation, self.newest().clone(), self.active.epoch()));
        }
        outline
    }

    fn terms_outline(&self, terms: Terms) -> Outline {
        let (lease_ms, longest_ms) = (terms.lease_ms(), self.longest_ms);
        let until_then = if longest_ms > lease_ms {
            format!(", once the leases of {longest_ms} ms are over that are out")
        } else {
            String::new()
        };
        Outline::still(format!("{terms}: a silent node is out after {lease_ms} ms{until_then}"))
    }

    /// The longest lease that may be out, in milliseconds.
    pub fn longest_ms(&self) -> Millis {
        self.longest_ms
    }

    /// What nodes are told of leases.
    pub fn told(&self) -> Terms {
        self.told
    }

    /// What the state says of leases has become durable.
    pub(super) fn may_tell(&mut self, terms: Terms) {
        self.told = terms;
    }

    /// Why no other change can be begun now, if so.
    fn change_under_way(&self) -> Option<String> {
        match change::under_way(self.newest().view()) {
            Some(what) => Some(format!("a change is under way: {what}")),
            None => self.coming.is_some().then(|| "a view is being made".into()),
        }
    }

    /// What a wish would move, were it granted now.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn outline(&self, now: Millis, wish: &Wish, force: bool) -> Result<Outline, String> {
        if let Some(terms) = wish.terms(self.settings.terms()) {
            let refusal = order::objection(self, now, wish, force);
            return refusal.map_or_else(|| Ok(self.terms_outline(terms)), Err);
        }
        let refusal = order::objection(self, now, wish, force).or_else(|| self.change_under_way());
        refusal.map_or_else(
            || {
                let plan = change::begin(self, now, Some(wish));
                Ok(Outline::of(self, plan.why, &self.active, &plan.view))
            },
            Err,
        )
    }

    /// Looks again at what the operator has ordered: nothing is begun for nobody, long after it was asked
    /// for, or where something speaks against it by now.
    fn review_order(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some((order, since)) = &self.order else { return };
        let view = self.active.view();
        let objection = match order {
            Order::Change { wish, force } => order::objection(self, now, wish, *force),
            Order::Cancel => match change::under_way(view) {
                None => Some("no change is under way".into()),
                Some(_) if change::can_cancel(view) => None,
                Some(what) => Some(format!("{what}: stop those who join, and it ends by itself")),
            },
        };
        let is_late = now.saturating_sub(*since) >= self.settings.lease_ms();
        let late = || {
            let what = match order {
                Order::Change { .. } => "not every node answers; try again",
                Order::Cancel => "not every node answers, or holds what it serves; try again",
            };
            is_late.then(|| what.to_owned())
        };
        if let Some(why) = objection.or_else(late) {
            self.order = None;
            if self.trial.take().is_some() {
                let why = "not every node answers; the status tells what becomes of it";
                effects.push(Effect::Told(Err(why.into())));
            }
            effects.push(Effect::Told(Err(why)));
        }
    }

    /// Makes the next view, or activates the one that was made, as often as something follows.
    fn advance(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            debug_assert!(rounds < MOST_ROUNDS, "it never settles");
            if let Some(coming) = self.coming.clone() {
                if !self.is_acknowledged(&coming, now) {
                    if is_on(Mutation::TwoPending) {
                        self.make_another(coming, now, effects);
                    }
                    return;
                }
                unused::note(self, &coming);
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
            self.review_order(now, effects);
            self.review_losses(now);
            let (plan, change) = match repair::due(self, now) {
                Some(repair) => (repair, None),
                None => {
                    let Some(change) = change::due(self, now) else { return };
                    if !self.have_answered(now, change, effects) {
                        return;
                    }
                    let Some(plan) = change::plan(self, now, change) else { return };
                    (plan, Some(change))
                }
            };
            let before = self.active.clone();
            let made = self.made(plan.view);
            self.note_departures(now, &before, &made, change);
            effects.push(Effect::Save);
            effects.push(Effect::Say(format!("view {}: {}", made.epoch(), plan.why)));
            self.tell_trial(change, &before, &plan.why, effects);
            if matches!(change, Some(Change::Begin | Change::Cancel))
                && let Some((order, _)) = self.order.take()
            {
                let outline = Outline::of(self, plan.why, &before, made.view());
                match &order {
                    Order::Change { wish, .. } if wish.is_of_settings() => {
                        self.trial = Some(outline)
                    }
                    _ => effects.push(Effect::Told(Ok(outline))),
                }
            }
            unused::remember(self, made.view());
            self.coming = Some(made.clone());
            if is_on(Mutation::CoordEarly) {
                effects.push(Effect::Publish(made.clone()));
            }
            self.push_to_all(&[made, before], effects);
        }
    }

    /// A view that follows the active one, with who made it.
    fn made(&self, mut view: View) -> Arc<Routes> {
        let before = self.active.view();
        view.line.clone_from(&before.line);
        view.line.made(view.epoch, before.epoch, self.life);
        Arc::new(Routes::new(view))
    }

    /// Tells whoever ordered the settings that were on trial what came of them, once a view ends that.
    fn tell_trial(
        &mut self,
        change: Option<Change>,
        before: &Routes,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        let ends = matches!(change, Some(Change::Switch | Change::Cancel));
        if !ends || !before.view().changes_settings_alone() {
            return;
        }
        if let Some(outline) = self.trial.take() {
            let told = match change {
                Some(Change::Switch) => Ok(outline),
                _ => Err(change::beyond(self).unwrap_or_else(|| why.to_owned())),
            };
            effects.push(Effect::Told(told));
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
            Change::Switch | Change::Cancel => Vec::new(),
            Change::Begin => self.waiting(now).map(|who| who.incarnation).collect(),
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
            let steps = self.steps;
            effects.extend(silent.iter().map(|i| Effect::Probe(*i, steps)));
        }
        silent.is_empty()
    }

    /// The mistake of [`Mutation::TwoPending`]: the view after one that nobody may have taken over yet.
    fn make_another(&mut self, pending: Arc<Routes>, now: Millis, effects: &mut Vec<Effect>) {
        let as_if = Membership { active: pending, coming: None, ..self.clone() };
        let planned = || change::plan(&as_if, now, change::due(&as_if, now)?);
        let Some(plan) = repair::due(&as_if, now).or_else(planned) else { return };
        let before = self.active.clone();
        let made = as_if.made(plan.view);
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
        self.nodes.get(&incarnation).is_none_or(|node| node.is_out(now))
    }

    /// Registered nodes that are in no view yet and still there, and whose name and address no member has
    /// that may be alive, and no other newcomer that was heard of later.
    fn waiting(&self, now: Millis) -> impl Iterator<Item = &Newcomer> {
        let view = self.newest().view();
        let may_live = |i: &Incarnation| self.nodes.get(i).is_some_and(|node| !node.gone);
        let holders: Vec<&Member> =
            view.members.iter().filter(|m| may_live(&m.incarnation)).collect();
        let members = incarnations(std::slice::from_ref(self.newest()));
        let is_later =
            |a: &Node, b: &Node| (a.heard, a.who.incarnation) > (b.heard, b.who.incarnation);
        let is_outside = move |node: &Node| {
            !members.contains(&node.who.incarnation)
                && !self.is_out(node.who.incarnation, now)
                && !node.has_left
        };
        let waits = move |node: &Node| {
            let who = &node.who;
            let mut rivals =
                self.nodes.values().filter(|o| o.who.id == who.id || o.who.address == who.address);
            is_outside(node)
                && !rivals.any(|other| is_outside(other) && is_later(other, node))
                && holders.iter().all(|m| m.id != who.id && m.address != who.address)
        };
        self.nodes.values().filter(move |node| waits(node)).map(|node| &node.who)
    }

    /// The incarnations in the active view and in the one being made.
    fn members(&self) -> BTreeSet<Incarnation> {
        incarnations([&self.active].into_iter().chain(&self.coming))
    }

    /// The arcs of the active view that no live member is synced in, in ascending order (H4).
    pub fn lost(&self, now: Millis) -> Vec<usize> {
        repair::losses(self, now).0
    }

    /// Whether nobody waits for a member any more: its process has ended, or it has been silent for so long
    /// that it would have found its way back. After a restart of the manager everyone is waited for.
    fn is_given_up(&self, incarnation: Incarnation, now: Millis) -> bool {
        let (lease_ms, node) = (self.settings.lease_ms(), &self.nodes[&incarnation]);
        let patience = lease_ms.max(self.settings.return_ms.saturating_sub(lease_ms));
        node.gone || now >= node.until + patience
    }

    /// The arcs that clients need not wait for: as [`Membership::lost`], but whoever is only silent may be
    /// back in a moment.
    pub fn given_up(&self, now: Millis) -> Vec<usize> {
        let members = self.active.view().members.iter();
        let out: Vec<bool> = members.map(|m| self.is_given_up(m.incarnation, now)).collect();
        if out.contains(&true) { repair::lost_arcs(self, &out) } else { Vec::new() }
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

    /// The state of a node as a person would call it.
    pub fn state_of(&self, node: &Node, now: Millis) -> NodeState {
        let members = &self.active.view().members;
        match members.iter().find(|m| m.incarnation == node.who.incarnation) {
            _ if self.is_out(node.who.incarnation, now) => NodeState::Down,
            None if node.has_left => NodeState::Left,
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
