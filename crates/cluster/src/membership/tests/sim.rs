//! A cluster without sockets: the manager's state machine, and nodes that are a [`Holdings`] each.
//!
//! [`Sim::step`] passes one event to the manager, carries out the effects, and then checks the
//! invariants of [`crate::membership`] against what the *nodes* know, not against what the manager
//! believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::claim::Claim;
use crate::holdings::Holdings;
use crate::ids::{Address, ClusterId, Epoch, Incarnation, ManagerIncarnation, NodeId};
use crate::limits::Limits;
use crate::membership::{
    Answer, Effect, Event, Gate, Loss, Membership, Newcomer, Report, Saved, Seen, Settings,
};
use crate::time::Millis;
use crate::view::{Member, Routes, View};

/// One start of a node's process.
pub(super) struct Process {
    pub(super) who: Newcomer,
    /// What its reports contain of its disk and its memory.
    pub(super) ails: Report,
    pub(super) holdings: Holdings,
    /// The newest view that it was sent and has not adopted.
    offered: Option<Arc<Routes>>,
    /// Whether it runs.
    pub(super) alive: bool,
    /// Whether nothing gets through between it and the manager.
    pub(super) cut: bool,
    /// Whether the manager has asked for the newest view that it has seen.
    shows: bool,
    /// Whether the manager took its registration, as far as it knows.
    pub(super) registered: bool,
    /// When the manager last took something from it.
    pub(super) heard: Millis,
    /// Until when it may serve, if ever it might.
    leased: Millis,
    /// Whether the manager was notified that it ended.
    gone: bool,
    /// What its data folder has, until it is a member.
    pub(super) claim: Option<Claim>,
    /// What a process that dials it finds wrong.
    pub(super) unreached: Option<String>,
    /// The number of the last probe that it got.
    probe: u64,
    /// Whether it has left, as it was asked to: its process ends when that is known.
    pub(super) has_left: bool,
    /// Lengths of the longest key and value that it holds, once it has measured them.
    pub(super) longest: Option<Limits>,
}

/// What happens to a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// It is saved at once.
    Works,
    /// It is under way until [`Sim::saved`].
    Holds,
    /// It cannot be saved.
    Fails,
}

/// The manager, its disk, its clock, and the nodes by label.
pub(super) struct Sim {
    gate: Gate,
    pub(super) disk: Disk,
    pub(super) now: Millis,
    pub(super) nodes: BTreeMap<String, Process>,
    /// The flags of the manager's starts.
    pub(super) settings: Settings,
    /// What a restart begins from.
    durable: Saved,
    /// What is on its way to the disk.
    saving: Option<Saved>,
    /// A copy of what was on the disk.
    copy: Option<Saved>,
    /// How often the manager has started.
    starts: u64,
    /// Every view that was ever made.
    views: BTreeMap<Epoch, View>,
    /// For each arc the newest view in which it begins afresh.
    fresh_since: BTreeMap<usize, Epoch>,
    /// The arcs that some node has held, and served, since then.
    begun: BTreeSet<usize>,
    /// Whether nodes have disks, whose content this world does not know. (The simulation does.)
    pub(super) has_disks: bool,
    /// What clients have.
    published: Arc<Routes>,
    /// The newest view that was ever active, whatever a restarted manager knows of it.
    ever_active: Epoch,
    /// The loss that the operator has looked at.
    pub(super) shown: Option<Loss>,
    /// Orders that were taken and whose outcome has not been reported yet.
    pub(super) open_orders: usize,
}

impl Sim {
    pub(super) fn new(settings: Settings) -> Sim {
        let unborn = View {
            durability: settings.durability,
            ..View::unborn(ClusterId(1), settings.copies, settings.limits)
        };
        let durable = Saved::new(unborn.clone(), settings.terms());
        Sim {
            gate: Gate::new(settings, durable.clone(), 0).in_life(
                ManagerIncarnation(1),
                Epoch::NONE,
                false,
            ),
            disk: Disk::Works,
            now: 0,
            nodes: BTreeMap::new(),
            settings,
            durable,
            saving: None,
            copy: None,
            starts: 1,
            views: BTreeMap::from([(Epoch::NONE, unborn.clone())]),
            fresh_since: BTreeMap::new(),
            begun: BTreeSet::new(),
            has_disks: false,
            published: Arc::new(Routes::new(unborn)),
            ever_active: Epoch::NONE,
            shown: None,
            open_orders: 0,
        }
    }

    pub(super) fn manager(&self) -> &Membership {
        self.gate.membership()
    }

    /// Starts a process; one of this label must not run.
    pub(super) fn start(
        &mut self,
        label: &str,
        name: &str,
        incarnation: u64,
        port: u16,
        weight: u32,
    ) {
        let id = NodeId::new(name).unwrap();
        let incarnation = Incarnation(incarnation);
        let process = Process {
            who: Newcomer {
                id: id.clone(),
                incarnation,
                address: Address::new("127.0.0.1", port).unwrap(),
                redis_port: 0,
                on_disk: false,
                weight,
            },
            holdings: Holdings::new(id, incarnation),
            ails: Report::default(),
            offered: None,
            alive: true,
            cut: false,
            shows: false,
            registered: false,
            heard: self.now,
            leased: 0,
            gone: false,
            claim: None,
            unreached: None,
            probe: 0,
            has_left: false,
            longest: Some(Limits { key_bytes: 0, value_bytes: 0 }),
        };
        assert!(self.nodes.insert(label.into(), process).is_none_or(|old| !old.alive));
    }

    /// What a folder claims that these starts have had, of which the first has written to it last,
    /// and now this one.
    pub(super) fn claim(&self, line: &str, label: &str) -> Result<Claim, String> {
        let known = |label: &str| self.nodes.get(label).ok_or(format!("no {label}"));
        let starts = line.split('/').chain([label]);
        let starts = starts.map(|label| known(label).map(|node| node.who.incarnation));
        let wrote = known(line.split('/').next().unwrap_or_default())?;
        Ok(Claim {
            of: wrote.who.incarnation,
            epoch: wrote.holdings.epoch(),
            synced: wrote.holdings.synced().clone(),
            starts: starts.collect::<Result<_, _>>()?,
            is_whole: true,
        })
    }

    pub(super) fn register(&mut self, label: &str) -> (Answer, Vec<Effect>) {
        let who = self.nodes[label].who.clone();
        let holdings = &self.nodes[label].holdings;
        let returns = holdings.has_been_member();
        let view = holdings.routes().filter(|_| self.nodes[label].shows);
        let view = view.map(|routes| Box::new(routes.view().clone()));
        let seen = Some(Seen { name: holdings.seen(), view });
        let claim = self.nodes[label].claim.clone().filter(|_| !returns);
        // A connection of its own: what was asked on another is forgotten.
        self.nodes.get_mut(label).expect("it is there").probe = 0;
        // The port is the newcomer's: whatever had it before has ended, and the manager may know.
        for other in self.nodes.values_mut() {
            other.gone |= other.who.address == who.address && !other.alive;
        }
        let reached = self.nodes[label].unreached.clone().map_or(Ok(()), Err);
        let (answer, effects) = self.step(Event::Register { who, returns, claim, seen, reached });
        self.hear(label, &answer);
        (answer, effects)
    }

    pub(super) fn heartbeat(&mut self, label: &str) -> (Answer, Vec<Effect>) {
        let node = &self.nodes[label];
        let report = Report {
            epoch: node.holdings.epoch(),
            synced: node.holdings.synced().clone(),
            longest: node.longest,
            probe: node.probe,
            ..node.ails.clone()
        };
        let (answer, effects) = self.step(Event::Heartbeat(node.who.incarnation, report));
        self.hear(label, &answer);
        (answer, effects)
    }

    /// How a node handles the manager's answer.
    fn hear(&mut self, label: &str, answer: &Answer) {
        let now = self.now;
        let node = self.nodes.get_mut(label).unwrap();
        node.registered = matches!(answer, Answer::Known { .. });
        node.shows |= matches!(answer, Answer::Older(_));
        if let Answer::Known { newest, lease, .. } = answer {
            if let Some(lease_ms) = lease {
                node.heard = now;
                node.leased = node.leased.max(now + lease_ms);
            }
            node.gone = false;
            node.offer(newest.clone());
        }
    }

    /// Adopts the newest view that the node was sent.
    pub(super) fn adopt(&mut self, label: &str) {
        let node = self.nodes.get_mut(label).unwrap();
        let Some(offered) = node.offered.take() else {
            return;
        };
        // rationale F5: a member that stays is never made to skip a view.
        let me = node.who.incarnation;
        let is_member = |v: &View| v.members.iter().any(|m| m.incarnation == me);
        let sole_holders =
            |v: &View| v.place_at(me).is_some_and(|place| v.sole_holder(place).is_some());
        // Of views that followed one another within one step not all are ever saved.
        let mut path =
            (node.holdings.epoch().0..offered.epoch().0).map(|e| self.views.get(&Epoch(e)));
        let stayed = node.holdings.routes().is_some()
            && is_member(offered.view())
            && !sole_holders(offered.view())
            && path.all(|view| view.is_some_and(is_member));
        let follows = offered.view().before() == node.holdings.epoch();
        assert!(follows || !stayed, "{label} stays and must skip to view {}", offered.epoch());
        node.has_left |= node.holdings.leaves_with(offered.view());
        node.holdings.adopt(offered);
        let epoch = node.holdings.epoch();
        let kept = node.holdings.synced().ones();
        self.begun.extend(kept.filter(|arc| self.fresh_since.get(arc) <= Some(&epoch)));
    }

    /// Fetches everything that the node misses and that some node can give it.
    pub(super) fn fetch(&mut self, label: &str) {
        let holdings = &self.nodes[label].holdings;
        let epoch = holdings.epoch();
        let gives = |n: &Process, arc| n.alive && n.holdings.admit_page(epoch, arc).is_ok();
        let missing = holdings.missing().into_iter();
        let given: Vec<usize> =
            missing.filter(|&arc| self.nodes.values().any(|n| gives(n, arc))).collect();
        let holdings = &mut self.nodes.get_mut(label).unwrap().holdings;
        for arc in given {
            holdings.fetched(epoch, arc);
        }
    }

    /// The operator looks at what is lost.
    pub(super) fn look(&mut self) {
        self.shown = self.manager().loss(self.now);
    }

    /// The operator continues without what he has looked at, if anything. Nothing else may be done.
    pub(super) fn accept_loss(&mut self) -> (Answer, Vec<Effect>) {
        let shown = self.shown.clone().unwrap_or_default();
        self.step(Event::AcceptLoss(shown))
    }

    pub(super) fn disconnect(&mut self, label: &str) -> (Answer, Vec<Effect>) {
        self.step(Event::Disconnected(self.nodes[label].who.incarnation))
    }

    /// The manager learns that a node's port refuses.
    pub(super) fn gone(&mut self, label: &str) -> (Answer, Vec<Effect>) {
        let node = self.nodes.get_mut(label).unwrap();
        node.gone = true;
        // A process that has ended serves nobody, whatever a script lets it do afterwards.
        node.leased = 0;
        let event = Event::Gone(node.who.incarnation);
        self.step(event)
    }

    /// The manager ends and starts again from its disk, which may have got what was on its way
    /// there. All connections end with it.
    pub(super) fn restart(&mut self, has_reached_the_disk: bool) {
        if let Some(saving) = self.saving.take().filter(|_| has_reached_the_disk) {
            self.durable = saving;
            self.check_saved();
        }
        self.start_manager(Epoch::NONE, false);
    }

    /// Keeps a copy of what is on the disk.
    pub(super) fn keep(&mut self) {
        self.copy = Some(self.durable.clone());
    }

    /// The manager ends, and starts again from the copy, of which an earlier start has shown that a
    /// view was seen. The operator may continue with that.
    pub(super) fn restart_from_copy(&mut self, shown: Epoch, goes_on: bool) {
        self.saving = None;
        self.durable = self.copy.clone().expect("a copy was kept");
        // What has happened since then is unknown to anyone that was not notified.
        let newest = self.durable_newest().epoch;
        self.views.retain(|epoch, _| *epoch <= newest);
        self.ever_active = self.durable.active.epoch;
        self.start_manager(shown, goes_on);
    }

    fn start_manager(&mut self, shown: Epoch, goes_on: bool) {
        self.starts += 1;
        let gate = Gate::new(self.settings, self.durable.clone(), self.now);
        self.gate = gate.in_life(ManagerIncarnation(self.starts), shown, goes_on);
        self.published = self.gate.membership().active().clone();
        self.open_orders = 0;
        assert_eq!(self.manager().state(), self.durable);
    }

    /// What was on its way to the disk has got there.
    pub(super) fn saved(&mut self) -> Vec<Effect> {
        if self.saving.is_none() {
            return Vec::new();
        }
        let mut effects = self.reach_the_disk();
        self.carry_out(&mut effects);
        effects
    }

    fn reach_the_disk(&mut self) -> Vec<Effect> {
        let Some(saving) = self.saving.take() else { return Vec::new() };
        self.durable = saving;
        self.check_saved();
        self.gate.saved()
    }

    /// What was on its way to the disk is not saved, and the manager knows.
    pub(super) fn not_saved(&mut self) {
        if self.saving.take().is_some() {
            self.gate.not_saved("the disk is full".into());
        }
    }

    /// One event, what follows from it, and the invariants.
    pub(super) fn step(&mut self, event: Event) -> (Answer, Vec<Effect>) {
        let is_order = matches!(event, Event::Command(_));
        let shown = match &event {
            Event::AcceptLoss(shown) => Some(shown.clone()),
            _ => None,
        };
        let before = self.manager().clone();
        let (answer, mut effects) = self.gate.step(self.now, event);
        if answer.is_refusal() {
            assert!(self.manager().has_only_aged(before, self.now), "a refusal left a trace");
        } else if let Some(shown) = shown {
            self.check_accepted(&before, &shown);
        }
        self.open_orders += usize::from(is_order && answer == Answer::Done);
        if let Answer::Known { newest, active, .. } = &answer {
            self.check_was_saved(newest);
            assert!(*active <= self.durable_newest().epoch);
        }
        self.carry_out(&mut effects);
        (answer, effects)
    }

    /// Does what is to be done; what may be done once something is saved is added.
    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        let mut probed = Vec::new();
        let mut at = 0;
        while at < effects.len() {
            match &effects[at] {
                Effect::Save => {
                    assert!(self.saving.is_none(), "one after the other");
                    self.saving = Some(self.manager().state());
                    match self.disk {
                        Disk::Works => {
                            let more = self.reach_the_disk();
                            effects.extend(more);
                        }
                        Disk::Holds => {}
                        Disk::Fails => self.not_saved(),
                    }
                }
                Effect::Publish(routes) => {
                    self.check_was_saved(routes);
                    self.check_activation(routes);
                    self.published = routes.clone();
                    self.ever_active = self.ever_active.max(routes.epoch());
                }
                Effect::Push(to, routes, active) => {
                    self.check_was_saved(routes);
                    assert!(*active <= self.published.epoch(), "a node hears of it before clients");
                    let to = self.nodes.values_mut().find(|n| n.who.incarnation == *to);
                    if let Some(node) = to.filter(|n| n.alive && !n.cut) {
                        node.offer(routes.clone());
                    }
                }
                Effect::Probe(to, number) => probed.push((*to, *number)),
                Effect::CommandOutcome(_) => self.open_orders -= 1,
                Effect::Log(_) | Effect::LossAccepted(_) | Effect::Stop(_) => {}
                Effect::FolderAdopted => {}
            }
            at += 1;
        }
        if self.disk == Disk::Works {
            assert_eq!(self.durable, self.manager().state(), "a change was not saved");
            assert_eq!(self.published.view(), &self.durable.active, "the active view is published");
        }
        let published = self.published.epoch();
        assert!(self.durable.active.epoch <= published && published <= self.durable_newest().epoch);
        self.check_holders();
        self.check_leases();
        // A node that is asked answers, if it can.
        for (to, number) in probed {
            let asked = self.nodes.iter().find(|(_, n)| n.who.incarnation == to);
            let asked = asked.filter(|(_, n)| n.alive && !n.cut && n.registered);
            if let Some(label) = asked.map(|(label, _)| label.clone()) {
                self.nodes.get_mut(&label).expect("it is there").probe = number;
                let (_, more) = self.heartbeat(&label);
                effects.extend(more);
            }
        }
    }

    /// H4: what is given up was shown.
    fn check_accepted(&self, before: &Membership, shown: &Loss) {
        let newest = self.manager().newest();
        let is_made = newest.epoch() > before.newest().epoch();
        for arc in newest.view().fresh.iter().filter(|_| is_made) {
            assert!(shown.empty.contains(arc), "arc {arc} begins empty, and that was not shown");
        }
    }

    fn durable_newest(&self) -> &View {
        self.durable.coming.as_ref().unwrap_or(&self.durable.active)
    }

    /// F3: every node that may serve has adopted every view that was ever active, whether or not
    /// the manager that made it active is the one that runs.
    fn check_leases(&self) {
        for (label, node) in self.nodes.iter().filter(|(_, n)| n.alive) {
            // A node that has left holds nothing, whatever lease it has.
            let keeps_some = node
                .holdings
                .routes()
                .is_some_and(|r| r.view().member(&node.who.id, node.who.incarnation).is_some());
            let is_behind = keeps_some && node.holdings.epoch() < self.ever_active;
            assert!(!is_behind || node.leased <= self.now, "{label} may serve an older view");
        }
    }

    /// Views are sound, epochs go up by one, and at most one view is being made.
    fn check_saved(&mut self) {
        let Saved { active, coming, .. } = &self.durable;
        let newest = coming.as_ref().unwrap_or(active);
        for view in [active, newest] {
            view.check().unwrap();
            if let Some(known) = self.views.get(&view.epoch) {
                // Where it leaps its line records that.
                let known = View { line: view.line.clone(), ..known.clone() };
                assert_eq!(known, *view, "two views of one epoch");
            }
        }
        assert!(newest.epoch <= active.next_epoch(), "more than one view is being made");
        for view in [active, newest] {
            if self.views.insert(view.epoch, view.clone()).is_none() {
                for arc in view.fresh.iter().map(|&arc| usize::from(arc)) {
                    self.fresh_since.insert(arc, view.epoch);
                    self.begun.remove(&arc);
                }
            }
        }
    }

    /// Nothing is seen before it was saved (views that were followed by others within one step are
    /// in nobody's hands any more).
    fn check_was_saved(&self, routes: &Routes) {
        let Saved { active, coming, .. } = &self.durable;
        let view = routes.view();
        assert!(
            view == active || Some(view) == coming.as_ref() || view.epoch < active.epoch,
            "view {} is seen before it was saved",
            view.epoch
        );
    }

    /// L3: a view is active only when every member of it and of the one before has adopted it, or
    /// has been silent for a lease, or has ended.
    fn check_activation(&self, routes: &Routes) {
        let follows = routes.epoch() == self.published.view().next_epoch();
        assert!(follows || self.took_over(routes), "views follow one another");
        for member in self.published.view().members.iter().chain(&routes.view().members) {
            let node = self.process(member.incarnation).expect("members were started");
            let has_adopted = node.holdings.epoch() >= routes.epoch();
            let has_lease = !node.gone && self.now < node.leased;
            assert!(has_adopted || !has_lease, "view {} without {}", routes.epoch(), member.id);
        }
    }

    /// Whether the manager has taken over a view from nodes: then the next one leaps.
    fn took_over(&self, routes: &Routes) -> bool {
        routes.view().next_epoch() > routes.epoch().next()
    }

    /// L2: every arc of every view has a replica that holds it (it may be away), or begins afresh,
    /// or has never begun: each of its replicas died before it had adopted the view in which the
    /// arc was to begin, which a manager that has restarted since does not know.
    fn check_holders(&self) {
        let routes = self.manager().newest();
        for arc in 0..routes.arcs() {
            let is_fresh = routes.view().fresh.contains(&(arc as u16));
            // What is on the disk of a replacement (H6).
            let is_inherited = routes
                .view()
                .replacements
                .iter()
                .any(|replacement| replacement.arcs.contains(&(arc as u16)));
            assert!(
                is_fresh
                    || is_inherited
                    || !self.begun.contains(&arc)
                    || self.has_disks
                    || self.holders(routes, arc).next().is_some(),
                "nobody is left in view {} that holds arc {arc}",
                routes.epoch()
            );
        }
    }

    /// The replicas of an arc that are synced there and will be once they have adopted this view.
    fn holders<'a>(&'a self, routes: &'a Routes, arc: usize) -> impl Iterator<Item = &'a Process> {
        routes
            .write_set(arc)
            .iter()
            .filter_map(|&place| self.process(routes.member(place).incarnation))
            .filter(move |n| {
                let view = routes.view();
                let place = view.place_at(n.who.incarnation);
                // A replacement has what its folder has, once it adopts the view.
                let inherits =
                    place.and_then(|place| view.replacement(place)).is_some_and(|replacement| {
                        let mut claim = n.holdings.claim().into_iter();
                        let has = claim.any(|c| c.of == replacement.of && c.synced.contains(arc));
                        has && replacement.arcs.contains(&(arc as u16))
                    });
                if inherits || !n.holdings.synced().contains(arc) {
                    return inherits;
                }
                let sole_holder = place.and_then(|place| view.sole_holder(place));
                let stays = sole_holder.is_some_and(|sole_holder| {
                    sole_holder.has_followed(&routes.view().line, n.holdings.epoch())
                        && sole_holder.arcs.contains(&(arc as u16))
                });
                stays || n.holdings.epoch() >= routes.view().before()
            })
    }

    /// The arcs of the active view that no node in reach holds. (A manager that restarts may have
    /// to make its newest view active again; it is the one in force.)
    pub(super) fn arcs_without_live_holder(&self) -> BTreeSet<usize> {
        let manager = self.manager();
        let is_behind = manager.active().epoch() < self.ever_active;
        let routes = if is_behind { manager.newest() } else { manager.active() };
        let is_fresh = |arc: usize| routes.view().fresh.contains(&(arc as u16));
        (0..routes.arcs())
            .filter(|&arc| !is_fresh(arc))
            .filter(|&arc| !self.holders(routes, arc).any(|n| n.alive && !n.cut))
            .collect()
    }

    pub(super) fn process(&self, incarnation: Incarnation) -> Option<&Process> {
        self.nodes.values().find(|n| n.who.incarnation == incarnation)
    }

    pub(super) fn label(&self, incarnation: Incarnation) -> String {
        let label = self.nodes.iter().find(|(_, n)| n.who.incarnation == incarnation);
        label.map_or_else(|| incarnation.to_string(), |(label, _)| label.clone())
    }

    /// Labels of the processes that run and reach the manager.
    pub(super) fn in_reach(&self) -> Vec<String> {
        let in_reach = self.nodes.iter().filter(|(_, n)| n.alive && !n.cut);
        in_reach.map(|(label, _)| label.clone()).collect()
    }

    pub(super) fn is_member(&self, label: &str) -> bool {
        let me = self.nodes[label].who.incarnation;
        let is_me = |m: &Member| m.incarnation == me;
        self.manager().active().view().members.iter().any(is_me)
            || self.manager().newest().view().members.iter().any(is_me)
    }
}

impl Process {
    fn offer(&mut self, routes: Arc<Routes>) {
        let newest = self.offered.as_ref().map_or(self.holdings.epoch(), |o| o.epoch());
        if routes.epoch() > newest {
            self.offered = Some(routes);
        }
    }
}
