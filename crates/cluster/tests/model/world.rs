//! The states of the model and the steps between them.
//!
//! A state is the manager, four places for nodes, the clients, the frames under way and the
//! register's history. A step is one thing that happens to one of them. Frames lie in a bag: each
//! arrives at any time, in any order, or never.

use std::sync::Arc;

use cluster::holdings::Standing;
use cluster::ids::{Epoch, Incarnation};
use cluster::lease;
use cluster::membership::{Answer, Event};
use cluster::operation::Body;
use cluster::replica::{self, State as Settled};
use cluster::version::{Clock, Version, clock_at};
use cluster::view::{Routes, View};

use crate::client::{Client, Step};
use crate::manager::Manager;
use crate::node::{ARC, Node, WALL_MS, who};
use crate::part::Part;
use crate::register::{Register, Value};
use crate::setup::Setup;

/// Places for nodes.
pub const NODES: usize = 4;

/// Places for clients; the last is the nodes' finisher.
pub const CLIENTS: usize = 4;

/// The client that is no client.
pub const FINISHER: usize = CLIENTS - 1;

/// How many numbers there are for starts of one node.
const STARTS: u64 = 16;

/// A frame under way to a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frame {
    /// WRITE. `from` is `None` where the writer does not wait for the answer any more.
    Write {
        to: usize,
        from: Option<usize>,
        epoch: Epoch,
        version: Version,
        born: Clock,
        body: Body<Value>,
        expected: Option<Version>,
    },
    /// READ; or a fence's, under an epoch, to the member at a place of the view.
    Read { to: usize, from: usize, fence: Option<(Epoch, u16)> },
    /// COMMIT.
    Commit { to: usize, version: Version },
    /// A write that was admitted and is not stored yet. Only where N1 is off; otherwise the two are
    /// one step.
    Admitted {
        to: usize,
        from: Option<usize>,
        standing: Standing,
        version: Version,
        born: Clock,
        body: Body<Value>,
        expected: Option<Version>,
    },
}

/// A step. Clients, nodes and frames are named by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Begin,
    /// A client calls its next operation.
    Start(u8),
    /// A client that waits for a newer view tries again.
    Retry(u8),
    /// A client's attempt times out, and it makes the next.
    GiveUp(u8),
    /// A client's put reaches its deadline.
    Abandon(u8),
    /// A frame arrives.
    Deliver(u8),
    /// A frame arrives, and the answer is lost.
    LoseReply(u8),
    /// A node completes its pending record (C4).
    Finish(u8),
    /// A node's process is killed.
    Crash(u8),
    /// A node's process is started again, as another incarnation.
    Restart(u8),
    /// The manager notices that a process has ended.
    Notice(u8),
    /// A node that the manager does not know registers.
    Register(u8),
    /// A node's lease runs out.
    Lapse(u8),
    /// A node's heartbeat is answered.
    Beat(u8),
    /// A view reaches a node.
    Adopt(u8, u8),
    /// A node reads the page of the key at a source.
    Pull(u8, u8),
    /// It merges the page.
    Merge(u8),
    /// The operator gives the next order.
    Order,
    /// The process of a node that has left ends by itself.
    End(u8),
}

/// How much of a setup's bounds is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    pub crashes: u8,
    pub lapses: u8,
    pub restarts: u8,
    pub finishes: u8,
    pub orders: u8,
    /// Whether as many copies have been lost as there were, by the smaller of the current and the
    /// target's number: nothing is promised any more.
    pub is_beyond: bool,
}

/// The state of everything.
#[derive(Debug, Clone, Hash)]
pub struct State {
    pub manager: Part<Manager>,
    pub nodes: [Part<Option<Node>>; NODES],
    pub clients: [Part<Client>; CLIENTS],
    pub bag: Part<Vec<Frame>>,
    pub register: Part<Register>,
    /// The newest version that was acknowledged, or returned by a get.
    pub promised: Version,
    pub spent: Spent,
    /// Whether a node was sent two records under one version.
    pub has_conflict: bool,
    /// Whether the manager has made a view without any of the nodes that hold the promised version.
    pub has_given_up: bool,
    /// A view in which nobody serves.
    pub unborn: Arc<Routes>,
}

/// The model: possible steps, and violations.
pub struct World {
    /// Processes, scripts and failures.
    pub setup: Setup,
}

impl World {
    /// The state in which a setup begins.
    pub fn initial(&self) -> State {
        self.setup.initial()
    }

    /// Every step that may follow a state.
    pub fn actions(&self, state: &State, out: &mut Vec<Action>) {
        for client in 0..FINISHER {
            self.actions_of_client(state, client, out);
        }
        for (i, frame) in state.bag.iter().enumerate() {
            // Of equal frames one is enough.
            if i > 0 && state.bag[i - 1] == *frame {
                continue;
            }
            out.push(Action::Deliver(i as u8));
            if self.setup.loses_replies && state.would_store(frame) {
                out.push(Action::LoseReply(i as u8));
            }
        }
        for slot in 0..NODES {
            self.actions_of_node(state, slot, out);
        }
        if usize::from(state.spent.orders) < self.setup.orders.len() {
            out.push(Action::Order);
        }
    }

    fn actions_of_client(&self, state: &State, client: usize, out: &mut Vec<Action>) {
        let (c, number) = (&state.clients[client], client as u8);
        match &c.running {
            None if !c.script.is_empty() => out.push(Action::Start(number)),
            None => {}
            Some(running) => {
                match running.awaited {
                    0 if c.tries > 0 => out.push(Action::Retry(number)),
                    0 => {}
                    _ if c.tries > 0 || !running.op.is_collecting() => {
                        out.push(Action::GiveUp(number));
                    }
                    _ => {}
                }
                if self.setup.abandons && running.step != Step::Read {
                    out.push(Action::Abandon(number));
                }
            }
        }
    }

    fn actions_of_node(&self, state: &State, slot: usize, out: &mut Vec<Action>) {
        let (number, spent, manager) = (slot as u8, &state.spent, &state.manager);
        let ended = state.ended_processes(slot);
        if ended.iter().any(|&i| {
            manager
                .knows(i)
                .is_some_and(|k| k.is_connected() || !k.is_gone() && state.nodes[slot].is_none())
        }) {
            out.push(Action::Notice(number));
        }
        let Some(node) = state.nodes[slot].as_ref() else {
            if self.setup.restarts > spent.restarts && self.setup.has_lived(slot) {
                out.push(Action::Restart(number));
            }
            return;
        };
        if node.has_left {
            out.push(Action::End(number));
        }
        if spent.crashes < self.setup.crashes && node.holdings.epoch() > Epoch::NONE {
            out.push(Action::Crash(number));
        }
        if spent.lapses < self.setup.lapses && node.has_lease {
            out.push(Action::Lapse(number));
        }
        if manager.knows(node.incarnation).is_none() {
            out.push(Action::Register(number));
        } else if state.has_news(slot) {
            out.push(Action::Beat(number));
        }
        for routes in &manager.made {
            let is_member = routes.view().members.iter().any(|m| m.incarnation == node.incarnation);
            let is_newer = routes.epoch() > node.holdings.epoch();
            let is_reported = manager.knows(node.incarnation).is_some();
            if is_newer && (is_member || is_reported || node.holdings.epoch() > Epoch::NONE) {
                out.push(Action::Adopt(number, routes.epoch().0 as u8));
            }
        }
        if node.page.is_some() {
            out.push(Action::Merge(number));
        } else if node.holdings.missing().contains(&ARC) {
            for source in state.sources(slot, ARC) {
                out.push(Action::Pull(number, source as u8));
            }
        }
        let is_known_active = manager.published.epoch() == node.holdings.epoch();
        if spent.finishes < self.setup.finishes
            && state.clients[FINISHER].running.is_none()
            && node.serves()
            && node.is_synced()
            && is_known_active
            && node.held.as_ref().is_some_and(|held| {
                // Its clock is late enough: how long it waits does not affect correctness.
                held.state == Settled::Pending
                    && replica::is_abandoned(clock_at(WALL_MS), clock_at(2 * WALL_MS))
            })
        {
            out.push(Action::Finish(number));
        }
    }

    /// The state after a step; `None` where it leads out of the setup's bounds.
    pub fn next(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.take_step(&mut state, action)?;
        if self.setup.is_prompt
            && let Action::Adopt(slot, _) | Action::Merge(slot) = action
            && state.has_news(usize::from(slot))
        {
            state.beat(usize::from(slot));
        }
        state.drop_useless_frames();
        if self.setup.lapses == 0
            && state.manager.newest().epoch() != before.manager.newest().epoch()
        {
            state.has_given_up |= state.is_given_up_by(state.manager.newest());
        }
        let newest = state.manager.newest().view();
        // Where K copies are lost the manager may start the arc empty, and nothing is promised any
        // more. With fewer it may not: then the search continues, and finds the violation.
        let is_given_up = newest.epoch > Epoch(1)
            && newest.fresh.contains(&(ARC as u16))
            && state.spent.is_beyond;
        (newest.epoch.0 <= self.setup.epochs && !is_given_up).then_some(state)
    }

    /// Takes a step; `None` where it is impossible.
    fn take_step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Begin => {}
            Action::Start(client) => state.start(usize::from(client)),
            Action::Retry(client) => state.retry(usize::from(client)),
            Action::GiveUp(client) => state.give_up_waiting(usize::from(client)),
            Action::Abandon(client) => state.abandon(usize::from(client)),
            Action::Deliver(i) | Action::LoseReply(i) => {
                let frame = state.bag.edit(|bag| bag.remove(usize::from(i)));
                state.deliver(frame, matches!(action, Action::LoseReply(_)));
            }
            Action::Finish(slot) => {
                state.spent.finishes += 1;
                state.finish(usize::from(slot));
            }
            Action::Crash(slot) => {
                state.spent.crashes += 1;
                state.note_failure();
                state.end_process(usize::from(slot));
            }
            Action::Restart(slot) => state.restart(usize::from(slot)),
            Action::Notice(slot) => state.notice(usize::from(slot)),
            Action::Register(slot) => state.register_node(usize::from(slot)),
            Action::Lapse(slot) => {
                state.spent.lapses += 1;
                state.note_failure();
                state.lapse(usize::from(slot));
            }
            Action::Beat(slot) => state.beat(usize::from(slot)),
            Action::Adopt(slot, epoch) => {
                return state.adopt(usize::from(slot), Epoch(u64::from(epoch)));
            }
            Action::Pull(slot, source) => {
                return state.pull(usize::from(slot), usize::from(source));
            }
            Action::Merge(slot) => {
                state.nodes[usize::from(slot)].edit(|node| node.as_mut().map(Node::merge));
            }
            Action::Order => {
                let order = self.setup.orders[usize::from(state.spent.orders)].clone();
                state.spent.orders += 1;
                state.manager.edit(|manager| manager.step(Event::Command(order)));
            }
            Action::End(slot) => state.end_process(usize::from(slot)),
        }
        Some(())
    }

    /// The violation in a state, if there is one.
    pub fn violation(&self, state: &State) -> Option<&'static str> {
        if state.register.is_broken() {
            return Some("linearizability");
        }
        if state.has_conflict {
            return Some("one version, one record");
        }
        if state.has_given_up {
            return Some("the last copy");
        }
        if state.manager.has_trace {
            return Some("a refusal leaves no trace");
        }
        let is_kept = || {
            let mut nodes = state.nodes.iter().filter_map(|node| node.as_ref());
            nodes.any(|node| node.is_synced() && node.version() >= state.promised)
        };
        if !state.spent.is_beyond && state.promised > Version::ABSENT && !is_kept() {
            return Some("loss");
        }
        None
    }
}

/// The name of a node's start.
pub fn incarnation(slot: usize, start: u64) -> Incarnation {
    Incarnation((slot as u64 + 1) * STARTS + start)
}

impl State {
    /// The incarnations at a place that the manager knows and that run no more.
    fn ended_processes(&self, slot: usize) -> Vec<Incarnation> {
        let now = self.nodes[slot].as_ref().map(|node| node.incarnation);
        let here = |i: &Incarnation| i.0 / STARTS == slot as u64 + 1 && Some(*i) != now;
        self.manager.membership.nodes().map(|node| node.who.incarnation).filter(here).collect()
    }

    /// Another copy of the key may be lost: a node is killed, or counts as dead.
    fn note_failure(&mut self) {
        let (active, newest) = (self.manager.membership.active(), self.manager.newest());
        let of =
            |view: &View| view.coming.as_ref().map_or(view.copies, |c| c.copies.min(view.copies));
        let copies = of(active.view()).min(of(newest.view()));
        self.spent.is_beyond |= usize::from(self.spent.crashes + self.spent.lapses) >= copies;
    }

    /// Whether a view takes the key from all holders of the promised version that the manager
    /// knows, while it knows of all deaths. The last copy must never be given up, whatever was lost
    /// before.
    fn is_given_up_by(&self, next: &Routes) -> bool {
        let is_unnoticed = |slot: usize| {
            let mut ended = self.ended_processes(slot).into_iter();
            ended.any(|i| self.manager.knows(i).is_some_and(|node| !node.is_gone()))
        };
        let holds = |node: &&Node| {
            let known = self.manager.knows(node.incarnation);
            node.is_synced()
                && node.version() >= self.promised
                && known.is_some_and(|known| known.report.synced.contains(ARC))
        };
        let keeps = |node: &Node| {
            let mut members = next.write_set(ARC).iter();
            members.any(|&place| next.member(place).incarnation == node.incarnation)
        };
        let mut holders =
            self.nodes.iter().filter_map(|node| node.as_ref()).filter(holds).peekable();
        self.promised > Version::ABSENT
            && !(0..NODES).any(is_unnoticed)
            && holders.peek().is_some()
            && !holders.any(keeps)
    }

    /// The connections of ended processes close; where nothing listens any more, the processes are
    /// gone (L6).
    fn notice(&mut self, slot: usize) {
        let is_port_free = self.nodes[slot].is_none();
        for ended in self.ended_processes(slot) {
            self.manager.edit(|manager| {
                manager.step(Event::Disconnected(ended));
                if is_port_free {
                    manager.step(Event::Gone(ended));
                }
            });
        }
    }

    fn end_process(&mut self, slot: usize) {
        self.nodes[slot].edit(|node| *node = None);
    }

    fn restart(&mut self, slot: usize) {
        self.spent.restarts += 1;
        let start = u64::from(self.spent.restarts);
        let node = Node::new(slot, incarnation(slot, start));
        self.nodes[slot] = Part::new(Some(node));
    }

    /// A node adopts a view; `None` where the manager has not made it.
    fn adopt(&mut self, slot: usize, epoch: Epoch) -> Option<()> {
        let routes = self.manager.view(epoch)?.clone();
        self.nodes[slot].edit(|node| node.as_mut().map(|node| node.adopt(routes)));
        Some(())
    }

    /// A node reads the page of the key at a source; `None` where that has none for it.
    fn pull(&mut self, slot: usize, source: usize) -> Option<()> {
        let epoch = self.nodes[slot].as_ref()?.holdings.epoch();
        let page = self.nodes[source].as_ref()?.page_for(epoch)?;
        self.nodes[slot].edit(|node| node.as_mut().map(|node| node.page = Some(page)));
        Some(())
    }

    fn register_node(&mut self, slot: usize) {
        let Some(node) = self.nodes[slot].as_ref() else { return };
        let newcomer = who(slot, node.incarnation);
        self.manager.edit(|manager| {
            manager.step(Event::Register {
                who: newcomer,
                returns: false,
                claim: None,
                seen: None,
                reached: Ok(()),
            })
        });
    }

    fn lapse(&mut self, slot: usize) {
        let Some(silent) = self.nodes[slot].as_ref().map(|node| node.incarnation) else { return };
        self.manager.edit(|manager| manager.silence(silent));
        let over = |node: &Node| self.manager.has_lapsed(node.incarnation);
        let over: Vec<usize> =
            (0..NODES).filter(|&i| self.nodes[i].as_ref().is_some_and(over)).collect();
        for slot in over {
            self.nodes[slot].edit(|node| node.as_mut().map(|node| node.has_lease = false));
        }
    }

    /// The possible sources for the page of an arc.
    fn sources(&self, slot: usize, arc: usize) -> Vec<usize> {
        let Some(node) = self.nodes[slot].as_ref() else { return Vec::new() };
        let Some(routes) = node.holdings.routes() else { return Vec::new() };
        let epoch = node.holdings.epoch();
        routes
            .write_set(arc)
            .iter()
            .map(|&place| usize::from(routes.member(place).address.port() - 6000))
            .filter(|&other| other != slot)
            .filter(|&other| {
                let source = self.nodes[other].as_ref();
                source.is_some_and(|source| source.holdings.admit_page(epoch, arc).is_ok())
            })
            .collect()
    }

    /// The arcs other than the key's that a node can fetch now. They are empty, so they are fetched
    /// at once, before the node's next heartbeat.
    fn empty_arcs(&self, slot: usize) -> Vec<usize> {
        let Some(node) = self.nodes[slot].as_ref() else { return Vec::new() };
        let mut arcs = node.holdings.missing();
        arcs.retain(|&arc| arc != ARC && !self.sources(slot, arc).is_empty());
        arcs
    }

    /// Whether a heartbeat would change anything.
    fn has_news(&self, slot: usize) -> bool {
        let Some(node) = self.nodes[slot].as_ref() else { return false };
        let Some(known) = self.manager.knows(node.incarnation) else { return false };
        let report = node.report();
        known.report != report
            || !self.empty_arcs(slot).is_empty()
            || (!node.has_lease || self.manager.is_out(node.incarnation))
                && self.is_extended(node.incarnation, report.epoch)
    }

    fn is_extended(&self, incarnation: Incarnation, adopted: Epoch) -> bool {
        let active = self.manager.membership.active().epoch();
        lease::extends(self.manager.newest().view(), active, incarnation, adopted)
    }

    /// A heartbeat, and the answer to it.
    pub fn beat(&mut self, slot: usize) {
        let arcs = self.empty_arcs(slot);
        if !arcs.is_empty() {
            self.nodes[slot].edit(|node| {
                let Some(node) = node else { return };
                for arc in arcs {
                    node.holdings.fetched(node.holdings.epoch(), arc);
                }
            });
        }
        let Some(node) = self.nodes[slot].as_ref() else { return };
        let (from, report) = (node.incarnation, node.report());
        let (had_lease, adopted) = (node.has_lease, report.epoch);
        let answer = self.manager.edit(|manager| manager.step(Event::Heartbeat(from, report)));
        let is_known = matches!(answer, Answer::Known { .. });
        if !had_lease && is_known && self.is_extended(from, adopted) {
            self.nodes[slot].edit(|node| node.as_mut().map(|node| node.has_lease = true));
        }
    }

    /// Whether a write that arrives now would be stored, or compared with the stored record.
    fn would_store(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Write { to, from: Some(_), epoch, expected, .. } => {
                let is_swap = expected.is_some();
                self.nodes[*to].as_ref().is_some_and(|n| n.admit_write(*epoch, is_swap).is_ok())
            }
            Frame::Admitted { from, .. } => from.is_some(),
            _ => false,
        }
    }

    /// Drops frames that cannot change anything any more, and sorts the others.
    fn drop_useless_frames(&mut self) {
        let is_of_use = |frame: &Frame| match frame {
            // A client waits for the answer.
            Frame::Read { .. } | Frame::Write { from: Some(_), .. } => true,
            // Epochs never go down, and neither do versions within one.
            Frame::Write { to, epoch, version, .. } => self.nodes[*to]
                .as_ref()
                .is_some_and(|node| node.holdings.epoch() <= *epoch && node.version() < *version),
            Frame::Commit { to, version } => self.nodes[*to].as_ref().is_some_and(|node| {
                let held = node.held.as_ref();
                held.is_some_and(|h| h.version == *version && h.state == Settled::Pending)
            }),
            Frame::Admitted { to, .. } => self.nodes[*to].is_some(),
        };
        if self.bag.is_sorted() && self.bag.iter().all(is_of_use) {
            return;
        }
        let mut kept: Vec<Frame> = self.bag.iter().filter(|f| is_of_use(f)).cloned().collect();
        kept.sort();
        self.bag = Part::new(kept);
    }
}
