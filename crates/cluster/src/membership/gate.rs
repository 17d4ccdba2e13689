//! The gate between the manager's decisions and everyone else: nothing passes before it is saved
//! (rule L3).
//!
//! Saving takes as long as the disk takes, and heartbeats cannot wait for that. So the owner of a
//! [`Gate`] passes events to it as it would to [`Membership`], saves on request beside its other
//! work, and reports when that is done. Meanwhile the effects behind a save wait in their order,
//! heartbeats are answered under the views that may be seen, and leases are extended. When several
//! saves wait, the next one covers them all.
//!
//! Invariants: a view is pushed, published or returned in a reply only when it is durable; a lease
//! is granted only to members of such a view, and is no longer than the durable state allows; at
//! most one save is under way; effects keep their order, except probes, which reveal nothing and
//! wait for nothing.
//!
//! What it does not do: it does not save, and it does not know how long that takes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{Epoch, ManagerIncarnation};
use crate::lease::Terms;
use crate::membership::{Answer, Effect, Event, Health, Membership, Saved, Settings};
use crate::time::Millis;
use crate::view::Routes;

/// A membership whose effects wait for the disk.
#[derive(Debug, Clone)]
pub struct Gate {
    membership: Membership,
    /// What is to be done and waits for a save.
    waiting: VecDeque<Effect>,
    saving: Saving,
    /// Why the last save failed, until one succeeds.
    trouble: Option<String>,
    /// Since when something is to be saved that is not.
    unsaved: Option<Millis>,
    /// When there was an event last.
    now: Millis,
    /// The newest view that may be seen, and the epoch of the active one as others know it.
    shown: (Arc<Routes>, Epoch),
}

#[derive(Debug, Clone)]
enum Saving {
    Idle,
    /// The state with this newest view and these leases is on its way.
    UnderWay(Arc<Routes>, Terms),
    /// Tried again at the next tick.
    Failed,
}

impl Gate {
    /// Starts from what was saved, as [`Membership::new`] does.
    pub fn new(settings: Settings, saved: Saved, now: Millis) -> Gate {
        let membership = Membership::new(settings, saved, now);
        Gate {
            shown: (membership.newest().clone(), membership.active().epoch()),
            membership,
            waiting: VecDeque::new(),
            saving: Saving::Idle,
            trouble: None,
            unsaved: None,
            now,
        }
    }

    /// The same for this start of the manager: as [`Membership::in_life`].
    #[must_use]
    pub fn in_life(self, life: ManagerIncarnation, shown: Epoch, goes_on: bool) -> Gate {
        Gate { membership: self.membership.in_life(life, shown, goes_on), ..self }
    }

    /// What has been decided, seen or not.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// How the cluster is at time `now`, the manager's own disk included.
    pub fn health(&self, now: Millis) -> Health {
        let health = self.membership.health(now);
        let late = || {
            let ms = now.saturating_sub(self.unsaved?);
            let is_late = ms >= self.membership.settings().lease_ms();
            is_late.then(|| format!("its disk has not answered for {} s", ms.div_ceil(1000)))
        };
        match self.trouble.clone().or_else(late) {
            Some(why) => Health::Unsaved { why, otherwise: Box::new(health) },
            None => health,
        }
    }

    /// Whether something is to be saved that is not even on its way.
    pub fn has_unsaved(&self) -> bool {
        self.waiting.contains(&Effect::Save)
    }

    /// Handles one event at time `now`. Effects that may be carried out are to be carried out at
    /// once; after an [`Effect::Save`], [`Gate::saved`] or [`Gate::not_saved`] follows at some
    /// time.
    pub fn step(&mut self, now: Millis, event: Event) -> (Answer, Vec<Effect>) {
        self.now = now;
        if event == Event::Tick && matches!(self.saving, Saving::Failed) {
            self.saving = Saving::Idle;
        }
        let from = match event {
            Event::Heartbeat(from, _) => Some(from),
            _ => None,
        };
        let (answer, effects) = self.membership.step(now, event);
        let (probes, effects): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Probe(..) | Effect::Stop(_)));
        self.waiting.extend(effects);
        let effects = probes.into_iter().chain(self.pass()).collect();
        let answer = match answer {
            Answer::Known { lease, .. } => {
                let (newest, active) = self.shown.clone();
                // A restart would not know who is a member of a view that is not saved.
                let is_member = newest.view().members.iter().any(|m| Some(m.incarnation) == from);
                Answer::Known { newest, active, lease: lease.filter(|_| is_member) }
            }
            answer => answer,
        };
        (answer, effects)
    }

    /// What was to be saved is durable. Returns what may be done now.
    pub fn saved(&mut self) -> Vec<Effect> {
        if let Saving::UnderWay(newest, terms) = &self.saving {
            self.shown.0 = newest.clone();
            self.membership.terms_are_durable(*terms);
            self.saving = Saving::Idle;
        }
        (self.trouble, self.unsaved) = (None, None);
        self.pass()
    }

    /// What was to be saved could not be, and why. It is asked for again at the next tick.
    pub fn not_saved(&mut self, why: String) {
        self.trouble = Some(why);
        self.waiting.push_front(Effect::Save);
        self.saving = Saving::Failed;
    }

    /// The effects up to the next save.
    fn pass(&mut self) -> Vec<Effect> {
        let mut passed = Vec::new();
        while matches!(self.saving, Saving::Idle)
            && let Some(effect) = self.waiting.pop_front()
        {
            match &effect {
                Effect::Save => {
                    let membership = &self.membership;
                    let terms = membership.settings().terms();
                    self.saving = Saving::UnderWay(membership.newest().clone(), terms);
                    self.unsaved.get_or_insert(self.now);
                    // The state as it is now has all that waits in it.
                    self.waiting.retain(|waits| *waits != Effect::Save);
                }
                Effect::Publish(routes) => self.shown.1 = routes.epoch(),
                _ => {}
            }
            passed.push(effect);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Address, ClusterId, Incarnation, NodeId};
    use crate::limits::Limits;
    use crate::membership::{Newcomer, Report};
    use crate::view::View;

    fn gate() -> Gate {
        gate_with(2_000)
    }

    fn gate_with(heartbeat_ms: Millis) -> Gate {
        let limits = Limits::default();
        let settings = Settings {
            heartbeat_ms,
            missed: 3,
            arcs: 8,
            copies: 1,
            limits,
            min_copies: 1,
            durability: crate::durability::Durability::default(),
            rebalance_ms: 300_000,
            return_ms: 5_000,
        };
        let saved = Saved::new(View::unborn(ClusterId(1), 1, limits), settings.terms());
        Gate::new(settings, saved, 0)
    }

    fn register(n: u16) -> Event {
        let who = Newcomer {
            id: NodeId::new(&format!("node{n}")).unwrap(),
            incarnation: Incarnation(u64::from(n)),
            address: Address::new("127.0.0.1", n).unwrap(),
            redis_port: 0,
            on_disk: false,
            weight: 1,
        };
        Event::Register { who, returns: false, claim: None, seen: None, reached: Ok(()) }
    }

    fn beat(n: u64, epoch: u64) -> Event {
        let report = Report { epoch: Epoch(epoch), ..Report::default() };
        Event::Heartbeat(Incarnation(n), report)
    }

    /// The newest view and the active one, and whether the lease was extended.
    fn told(answer: &Answer) -> (u64, u64, bool) {
        match answer {
            Answer::Known { newest, active, lease } => {
                (newest.epoch().0, active.0, lease.is_some())
            }
            other => panic!("{other:?}"),
        }
    }

    fn saves(effects: &[Effect]) -> usize {
        effects.iter().filter(|e| **e == Effect::Save).count()
    }

    #[test]
    fn a_view_is_seen_when_it_is_saved() {
        let mut gate = gate();
        let (answer, effects) = gate.step(0, register(1));
        assert_eq!(told(&answer), (0, 0, false), "view 1 is made, and nobody may know");
        assert_eq!(effects.last(), Some(&Effect::Save));
        assert_eq!(gate.membership().newest().epoch(), Epoch(1));
        let (answer, effects) = gate.step(1, beat(1, 0));
        assert_eq!((told(&answer), effects), ((0, 0, false), vec![]));
        let effects = gate.saved();
        assert!(
            matches!(effects.last(), Some(Effect::Push(_, routes, _)) if routes.epoch().0 == 1)
        );
        assert_eq!(told(&gate.step(2, beat(1, 0)).0), (1, 0, true));
    }

    /// With a lease of 600 ms a node that is alive would be out before it has found the
    /// manager again: clients wait for it all the same.
    #[test]
    fn h4_nobody_is_given_up_that_may_still_be_on_its_way_to_a_new_manager() {
        let mut first = gate_with(200);
        first.step(0, register(1));
        first.saved();
        first.step(1, beat(1, 1));
        first.saved();
        let saved = first.membership().state();
        let mut gate = Gate::new(*first.membership().settings(), saved, 0);
        for now in (0..5_000).step_by(100) {
            gate.step(now, Event::Tick);
            assert!(gate.membership().given_up(now).is_empty());
        }
        gate.step(5_000, Event::Tick);
        assert_eq!(gate.membership().given_up(5_000).len(), 8);
        gate.step(5_000, Event::Gone(Incarnation(1)));
        assert_eq!(gate.membership().lost(5_000).len(), 8);
    }

    #[test]
    fn a_failed_save_is_tried_again_at_a_tick() {
        let mut gate = gate();
        gate.step(0, register(1));
        assert!(!gate.has_unsaved(), "it is on its way");
        gate.not_saved("the disk is full".into());
        assert!(gate.has_unsaved());
        assert_eq!(saves(&gate.step(1, beat(1, 0)).1), 0);
        assert_eq!(saves(&gate.step(2, Event::Tick).1), 1);
        assert_eq!(saves(&gate.step(3, Event::Tick).1), 0, "it is under way");
        let why = |gate: &Gate, now| match gate.health(now) {
            Health::Unsaved { why, .. } => why,
            other => panic!("{other}"),
        };
        assert_eq!(why(&gate, 3), "the disk is full", "until one has succeeded");
        assert!(!gate.saved().is_empty());
        assert_eq!(gate.health(4), gate.membership().health(4));
    }

    #[test]
    fn a_disk_that_does_not_answer_is_the_managers_trouble() {
        let mut gate = gate();
        gate.step(0, register(1));
        assert!(!matches!(gate.health(5_999), Health::Unsaved { .. }), "it may be busy");
        let Health::Unsaved { why, .. } = gate.health(6_000) else { panic!() };
        assert_eq!(why, "its disk has not answered for 6 s");
        // What is saved after it has its own time.
        gate.step(6_000, beat(1, 0));
        gate.saved();
        gate.step(6_001, beat(1, 1));
        assert!(!matches!(gate.health(6_002), Health::Unsaved { .. }));
    }

    /// View 1 was to be node1's alone, but node1 died before that was saved, and so did the next
    /// node.
    #[test]
    fn one_save_covers_all_that_wait() {
        let mut gate = gate();
        gate.step(0, register(1));
        for n in 1..4 {
            gate.step(0, Event::Disconnected(Incarnation(n)));
            gate.step(0, Event::Gone(Incarnation(n)));
            gate.step(0, register(n as u16 + 1));
        }
        assert!(gate.membership().active().epoch() >= Epoch(3));
        let after_first = gate.saved();
        assert_eq!(saves(&after_first), 1, "{after_first:?}");
        let rest = gate.saved();
        assert_eq!(saves(&rest), 0, "{rest:?}");
        assert_eq!(told(&gate.step(1, beat(4, 0)).0).0, 4);
    }
}
