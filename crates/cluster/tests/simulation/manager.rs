//! The manager's shell: it passes events to [`Membership`] and carries out the effects, as
//! `manager` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::ids::{ClusterId, Epoch, Incarnation, ManagerIncarnation};
use cluster::lease::Terms;
use cluster::limits::Limits;
use cluster::membership::{
    Answer, Behind, Effect, Event as Happening, Gate, Membership, Saved, Settings,
};
use cluster::time::Millis;
use cluster::version::clock_at;
use cluster::view::{Routes, View};

use crate::checker::Ending;
use crate::network::{Dir, Frame, LinkId, Party, Pid};
use crate::plan::Plan;
use crate::world::{ARCS, Event, HEARTBEAT_MS, Key, Micros, REBALANCE_MS, World};

/// Pauses between attempts to reach a port whose process may have ended.
const TRIES: [Micros; 3] = [20, 300, 1_500];

/// The manager, running or not, and its disk.
pub struct Manager {
    /// This start of it; another one when it is restarted.
    pub pid: Pid,
    /// The gate with its state, while it runs.
    pub gate: Option<Gate>,
    /// The state on its disk.
    pub disk: Saved,
    /// An older copy of that, if there is one.
    pub copy: Option<Saved>,
    /// The state on the disk before the copy replaced it.
    pub right: Option<Saved>,
    /// The newest view that nodes had seen when this folder was found to be an older copy.
    pub shown: Epoch,
    /// Whether the operator continues with that.
    pub accepts: bool,
    /// A save under way.
    saving: Option<Saved>,
    /// Until when it is stopped.
    pub paused_until: Micros,
    published: Arc<Routes>,
    /// The newest view whose fresh arcs have been looked at.
    looked_at: Epoch,
    /// Views that are not active yet, with the losses in the history that come with them.
    losses: Vec<(Epoch, usize)>,
    links: BTreeMap<Incarnation, LinkId>,
}

/// The cluster's lease terms.
const TERMS: Terms = Terms { heartbeat_ms: HEARTBEAT_MS, missed: 3 };

/// A start that asks for shorter leases than the cluster was born with: its flags do not
/// count.
fn settings(plan: &Plan, pid: Pid) -> Settings {
    Settings {
        heartbeat_ms: TERMS.heartbeat_ms / 4,
        missed: 1 + (pid % 3) as u32,
        arcs: ARCS,
        copies: plan.copies,
        limits: Limits::default(),
        min_copies: plan.min_copies,
        durability: plan.durability,
        rebalance_ms: REBALANCE_MS,
        return_ms: plan.return_ms,
    }
}

impl Manager {
    /// A manager that has not started.
    pub fn new(plan: &Plan) -> Manager {
        let Plan { copies, min_copies, durability, .. } = *plan;
        let unborn = View::unborn(ClusterId(1), copies, Limits::default());
        let unborn = View { durability, min_copies, ..unborn };
        Manager {
            pid: 0,
            gate: None,
            disk: Saved::new(unborn.clone(), TERMS),
            copy: None,
            right: None,
            shown: Epoch::NONE,
            accepts: false,
            saving: None,
            paused_until: 0,
            published: Arc::new(Routes::new(unborn)),
            looked_at: Epoch::NONE,
            losses: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    /// The state on the disk before an older copy replaced it, as long as the manager knows less.
    pub fn right(&self) -> Option<&Saved> {
        let knows = match self.membership() {
            Some(membership) => membership.newest().epoch(),
            None => newest(&self.disk),
        };
        self.right.as_ref().filter(|right| newest(right) > knows)
    }

    /// Its state machine, while it runs.
    pub fn membership(&self) -> Option<&Membership> {
        self.gate.as_ref().map(Gate::membership)
    }
}

/// The newest view of a saved state.
fn newest(saved: &Saved) -> Epoch {
    saved.coming.as_ref().unwrap_or(&saved.active).epoch
}

impl World {
    /// Keeps a copy of the manager's folder, once a cluster is born.
    pub fn keep_copy(&mut self) {
        if self.is_calm {
            return;
        }
        if self.manager.disk.active.epoch == Epoch::NONE {
            return self.after(50_000, Event::KeepCopy);
        }
        self.manager.copy = Some(self.manager.disk.clone());
        let wait = self.rng.within(50_000, 400_000);
        self.after(wait, Event::PutCopy);
    }

    /// Replaces the folder with the copy, if there are newer views. Not while a node is equally far
    /// behind: if that node comes first, the manager cannot notice.
    pub fn put_copy(&mut self) {
        let Some(copy) = self.manager.copy.clone().filter(|_| !self.is_calm) else { return };
        let is_behind = |epoch: Epoch| epoch > Epoch::NONE && epoch <= newest(&copy);
        let mut processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        let any_behind = processes.any(|process| is_behind(process.holdings.epoch()));
        if any_behind || newest(&self.manager.disk) <= newest(&copy) {
            return self.after(10_000, Event::PutCopy);
        }
        self.counts.older += 1;
        self.crash_manager();
        self.log(|_| {
            format!("an older copy is put in the folder's place, of view {}", newest(&copy))
        });
        self.manager.right = Some(std::mem::replace(&mut self.manager.disk, copy));
        let wait = self.rng.within(1_000, 20_000);
        self.after(wait, Event::ManagerStart);
    }

    /// The manager exits, since its folder is an older copy. The operator restores the right one;
    /// or continues, if the newest view was shown, so that nothing is lost.
    fn manager_lacks(&mut self, behind: &Behind) {
        self.log(|_| format!("manager ends: {}", behind.what));
        self.manager.shown = behind.seen;
        self.crash_manager();
        match self.manager.right.clone() {
            Some(right) if behind.seen < newest(&right) || self.rng.chance(500) => {
                self.manager.disk = right;
                self.manager.right = None;
                self.manager.shown = Epoch::NONE;
            }
            _ => self.manager.accepts = true,
        }
        let wait = self.rng.within(1_000, 20_000);
        self.after(wait, Event::ManagerStart);
    }

    /// Starts the manager from its disk.
    pub fn start_manager(&mut self) {
        let pid = self.fresh();
        let now = self.now / 1000;
        let manager = &mut self.manager;
        let accepts = std::mem::take(&mut manager.accepts);
        let gate = Gate::new(settings(&self.plan, pid), manager.disk.clone(), now);
        let gate = gate.in_life(ManagerIncarnation(pid), manager.shown, accepts);
        let membership = gate.membership();
        manager.pid = pid;
        manager.paused_until = 0;
        manager.links.clear();
        manager.published = membership.active().clone();
        let members: Vec<Incarnation> =
            membership.nodes().map(|node| node.who.incarnation).collect();
        manager.looked_at = membership.newest().epoch();
        let unseen = |(epoch, _): &mut (Epoch, usize)| *epoch > manager.looked_at;
        let unseen: Vec<(Epoch, usize)> = manager.losses.extract_if(.., unseen).collect();
        manager.gate = Some(gate);
        for (_, loss) in unseen {
            self.history.end(loss, Ending::Failed).expect("that view was never seen");
        }
        self.log(|w| format!("manager starts from view {}", w.manager.disk.active.epoch));
        for member in members {
            self.after(TRIES[0], Event::TryPort(pid, member, 0));
        }
        self.after(2_000, Event::ManagerTick(pid));
    }

    /// Kills the manager. A save under way may or may not reach the disk.
    pub fn crash_manager(&mut self) {
        if self.is_to_know() {
            return;
        }
        if self.manager.gate.take().is_some() {
            let saving = self.manager.saving.take();
            if let Some(saving) = saving.filter(|_| self.rng.chance(500)) {
                self.manager.disk = saving;
            }
            self.log(|w| {
                format!("manager dies, its disk has view {}", w.manager.disk.active.epoch)
            });
            let pid = self.manager.pid;
            self.close_all(pid);
            self.operator.hang_up();
        }
    }

    /// Notes views with which arcs start empty, where that is allowed: their records are lost.
    fn note_losses(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        for routes in [membership.active().clone(), membership.newest().clone()] {
            let epoch = routes.epoch();
            if epoch <= self.manager.looked_at {
                continue;
            }
            self.manager.looked_at = epoch;
            if !self.plan.loses || epoch == Epoch::NONE.next() {
                continue;
            }
            for key in 0..self.keys.len() {
                if routes.view().fresh.contains(&(self.keys[key].arc as u16)) {
                    self.log(|_| format!("k{key} is lost with view {epoch}"));
                    let loss = self.history.lose(key as Key);
                    self.manager.losses.push((epoch, loss));
                }
            }
        }
    }

    /// A view is active: its fresh arcs have lost their records.
    fn end_losses(&mut self, active: Epoch) {
        let is_over = |(epoch, _): &mut (Epoch, usize)| *epoch <= active;
        let over: Vec<(Epoch, usize)> = self.manager.losses.extract_if(.., is_over).collect();
        for (_, loss) in over {
            if let Err(why) = self.history.end(loss, Ending::Done) {
                self.fail(why);
            }
        }
    }

    /// Passes an event to the manager. `None` if it died while carrying out the effects.
    pub fn manager_step(&mut self, happening: Happening) -> Option<Answer> {
        let now = self.now / 1000;
        let shown = match &happening {
            Happening::AcceptLoss(shown) => Some(shown.clone()),
            _ => None,
        };
        // Heartbeats and ticks are the most frequent events, and are never refused.
        let is_seldom = !matches!(happening, Happening::Heartbeat(..) | Happening::Tick);
        let before = self.manager.membership().filter(|_| is_seldom).cloned();
        let (answer, effects) = self.manager.gate.as_mut()?.step(now, happening);
        if let (Some(before), Some(membership)) = (before, self.manager.membership()) {
            let newest = membership.newest();
            let is_made = newest.epoch() > before.newest().epoch();
            if answer.is_refusal() && !membership.has_only_aged(before, now) {
                self.fail(format!("a refusal left a trace: {answer:?}"));
            } else if let Some(shown) = shown.filter(|_| is_made && !answer.is_refusal()) {
                let fresh = newest.view().fresh.iter();
                if let Some(arc) = fresh.into_iter().find(|arc| !shown.empty.contains(arc)) {
                    self.fail(format!("arc {arc} begins empty, and that was not shown"));
                }
            }
        }
        self.note_losses();
        self.carry_out(effects).then_some(answer)
    }

    /// A save has reached the disk, or has failed.
    pub fn manager_saved(&mut self, pid: Pid) {
        if self.manager.pid != pid {
            return;
        }
        let Some(gate) = &mut self.manager.gate else { return };
        let Some(saving) = self.manager.saving.take() else { return };
        if !self.is_calm && self.rng.chance(self.plan.disk_fails) {
            gate.not_saved("the disk is full".into());
            return self.log(|_| "manager cannot save".into());
        }
        let effects = gate.saved();
        self.manager.disk = saving;
        self.carry_out(effects);
    }

    /// Returns whether the manager is still running.
    fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        for effect in effects {
            if self.plan.manager_dies_midway
                && !self.is_to_know()
                && !self.is_calm
                && self.rng.chance(15)
            {
                self.counts.manager_crashes += 1;
                self.crash_manager();
                let wait = self.rng.within(1_000, 120_000);
                self.after(wait, Event::ManagerStart);
                return false;
            }
            match effect {
                Effect::Save => {
                    self.manager.saving = self.manager.membership().map(Membership::state);
                    let wait = self.rng.within(20, self.plan.disk);
                    self.after(wait, Event::ManagerSaved(self.manager.pid));
                }
                Effect::Publish(routes) => {
                    self.counts.views += 1;
                    self.log(|_| format!("view {} is active", routes.epoch()));
                    self.end_losses(routes.epoch());
                    self.manager.published = routes;
                }
                Effect::Push(node, routes, active) => {
                    // A node's send queue may be full.
                    if !self.rng.chance(20)
                        && let Some(&link) = self.manager.links.get(&node)
                    {
                        let (clock, every) = self.manager_clock();
                        self.send(link, Dir::Down, Frame::Table(routes, active, clock, every));
                    }
                }
                Effect::Probe(node, number) => {
                    if let Some(&link) = self.manager.links.get(&node) {
                        self.counts.probes += 1;
                        self.send(link, Dir::Down, Frame::Probe(number));
                    }
                }
                Effect::Log(what) => self.log(|_| format!("manager: {what}")),
                Effect::FolderAdopted => {}
                Effect::LossAccepted(arcs) => self.loss_accepted(arcs),
                Effect::CommandOutcome(what) => self.told(&what.map(|outline| outline.what)),
                Effect::Stop(behind) => {
                    self.manager_lacks(&behind);
                    return false;
                }
            }
        }
        true
    }

    /// The clock and the heartbeat interval that it sends with every view.
    fn manager_clock(&self) -> (u64, Millis) {
        let every =
            self.manager.membership().map_or(HEARTBEAT_MS, |m| m.durable_terms().heartbeat_ms);
        (clock_at(self.wall(0)), every)
    }

    /// A tick of the manager.
    pub fn manager_tick(&mut self, pid: Pid) {
        if self.manager.pid == pid && self.manager_step(Happening::Tick).is_some() {
            self.after(2_000, Event::ManagerTick(pid));
        }
    }

    /// The manager tries the port of a node.
    pub fn manager_tries_port(&mut self, pid: Pid, node: Incarnation, tries: usize) {
        if self.manager.pid != pid || self.manager.gate.is_none() {
            return;
        }
        let slot = self.slot_of(node.0);
        let party = Party::Node(slot);
        let is_cut = self.is_cut(Party::Manager, party) || self.is_cut(party, Party::Manager);
        if !is_cut && self.listener(party).is_none() {
            self.manager_step(Happening::Gone(node));
        } else if let Some(pause) = TRIES.get(tries + 1) {
            self.after(*pause, Event::TryPort(pid, node, tries + 1));
        }
    }

    /// A frame reaches the manager.
    pub fn manager_frame(&mut self, link: LinkId, frame: Frame) {
        match frame {
            Frame::Hello => {
                let routes = self.manager.published.clone();
                let active = routes.epoch();
                let (clock, every) = self.manager_clock();
                self.send(link, Dir::Down, Frame::Table(routes, active, clock, every));
            }
            Frame::Register(who, returns, claim, seen) => {
                let node = who.incarnation;
                let is_given_up = |m: &Membership| m.newest().view().line.has_given_up(seen.name);
                let is_given_up = self.manager.membership().is_some_and(is_given_up);
                let seen = Some(seen);
                let reached = Ok(());
                match self.manager_step(Happening::Register { who, returns, claim, seen, reached })
                {
                    Some(Answer::Known { newest, active, .. }) => {
                        let (clock, every) = self.manager_clock();
                        self.send(link, Dir::Down, Frame::Table(newest, active, clock, every));
                        // An older connection's registration may come last (a manager that was
                        // stopped reads them in any order).
                        let known = self.manager.links.entry(node).or_insert(link);
                        *known = link.max(*known);
                    }
                    // It is started anew.
                    Some(Answer::Taken(_)) if is_given_up => {
                        self.counts.given_up += 1;
                        let slot = self.slot_of(node.0);
                        self.drop_node(slot);
                        self.after(1_000, Event::NodeStart(slot));
                    }
                    Some(answer) => {
                        let is_older = matches!(answer, Answer::Older(_));
                        self.send(link, Dir::Down, Frame::NotNow(is_older));
                    }
                    None => {}
                }
            }
            Frame::Heartbeat(number, report) => self.manager_heartbeat(link, number, report),
            // The closed connection is already removed: it is found by its id.
            Frame::Fin => {
                let Some((&node, _)) = self.manager.links.iter().find(|(_, l)| **l == link) else {
                    return;
                };
                self.manager.links.remove(&node);
                if self.manager_step(Happening::Disconnected(node)).is_some() {
                    let pid = self.manager.pid;
                    self.after(TRIES[0], Event::TryPort(pid, node, 0));
                }
            }
            other => unreachable!("{other:?} is not sent to the manager"),
        }
    }

    fn manager_heartbeat(
        &mut self,
        link: LinkId,
        number: u64,
        report: cluster::membership::Report,
    ) {
        let Some(from) = self.links.get(&link).map(|l| Incarnation(l.from.1)) else { return };
        let epoch = report.epoch;
        match self.manager_step(Happening::Heartbeat(from, report)) {
            Some(Answer::Known { newest, active, lease }) => {
                let (clock, every) = self.manager_clock();
                self.send(
                    link,
                    Dir::Down,
                    Frame::HeartbeatReply(number, true, lease, active, every),
                );
                if newest.epoch() > epoch {
                    self.send(link, Dir::Down, Frame::Table(newest, active, clock, every));
                }
            }
            Some(_) => {
                let every = self.manager_clock().1;
                self.send(
                    link,
                    Dir::Down,
                    Frame::HeartbeatReply(number, false, None, epoch, every),
                );
            }
            None => {}
        }
    }
}
