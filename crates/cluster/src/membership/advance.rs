//! Views in succession: made, saved, pushed, and active once all have acknowledged it (rules L3,
//! L4).

use std::sync::Arc;

use crate::ids::Incarnation;
use crate::membership::admin_command::AdminCommand;
use crate::membership::change::{self, Step};
use crate::membership::outline::Outline;
use crate::membership::situation::Situation;
use crate::membership::{Effect, Membership, repair, unused};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::{Routes, View};

/// Rounds in which views are made and activated after one event. More in a row are a bug: a view
/// drops, admits or gives up a member, and usually a live member has to acknowledge it.
const MOST_ROUNDS: u32 = 1_000;

impl Membership {
    /// Makes the next view, or activates the one that was made, as often as something follows;
    /// where the operator gives up what is lost, without that.
    pub(super) fn advance(&mut self, now: Millis, accepts_loss: bool, effects: &mut Vec<Effect>) {
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
                // Saved last: it may be used before its being active is on disk, since a manager
                // that restarts from (old, new) begins by having the new one acknowledged again
                // (F18).
                effects.push(Effect::Publish(self.active.clone()));
                self.push_to_all(std::slice::from_ref(&self.active), effects);
                effects.push(Effect::Save);
                continue;
            }
            self.review_command(now, effects);
            self.review_losses(now);
            let (plan, step) = match repair::due(&self.planning(now, accepts_loss)) {
                Some(repair) => (repair, None),
                None => {
                    let Some(step) = change::due(&self.situation(now)) else { return };
                    if !self.have_answered(now, step, effects) {
                        return;
                    }
                    let Some(plan) = change::plan(&self.situation(now), step) else { return };
                    (plan, Some(step))
                }
            };
            let before = self.active.clone();
            let made = self.made(&before, plan.view);
            self.note_departures(now, &before, &made, step);
            effects.push(Effect::Save);
            effects.push(Effect::Log(format!("view {}: {}", made.epoch(), plan.why)));
            self.finish_trial(now, step, &before, &plan.why, effects);
            if matches!(step, Some(Step::Begin | Step::Cancel))
                && let Some((order, _)) = self.order.take()
            {
                let outline = Outline::of(self, plan.why, &before, made.view());
                match &order {
                    AdminCommand::Reconfigure { change, .. } if change.is_of_settings() => {
                        self.trial = Some(outline)
                    }
                    _ => effects.push(Effect::CommandOutcome(Ok(outline))),
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

    /// A view that follows another, with the manager that made it.
    fn made(&self, before: &Routes, mut view: View) -> Arc<Routes> {
        let before = before.view();
        view.line.clone_from(&before.line);
        view.line.made(view.epoch, before.epoch, self.life);
        Arc::new(Routes::new(view))
    }

    /// L4: whether every member that a planned change would wait for has just been heard from; the
    /// others are probed. A member that has died unnoticed would hold up every write until its
    /// lease is over (rationale F15). A member that does not answer holds up planned changes only,
    /// and not for ever: when it is out it is dropped, or not waited for.
    fn have_answered(&mut self, now: Millis, step: Step, effects: &mut Vec<Effect>) -> bool {
        let within = self.settings.answer_ms();
        let members = self.members();
        let joiners: Vec<Incarnation> = match step {
            Step::Switch | Step::Cancel => Vec::new(),
            Step::Begin => self.situation(now).waiting().map(|who| who.incarnation).collect(),
        };
        let silent: Vec<Incarnation> = members
            .into_iter()
            .chain(joiners)
            .filter(|i| !self.is_out(*i, now))
            .filter(|i| now.saturating_sub(self.nodes[i].heard) > within)
            .collect();
        // A round trip may take as long as it likes, but not every member is probed at every event.
        if !silent.is_empty() && self.probed.is_none_or(|last| now - last >= within.div_ceil(2)) {
            self.probed = Some(now);
            let steps = self.steps;
            effects.extend(silent.iter().map(|i| Effect::Probe(*i, steps)));
        }
        silent.is_empty()
    }

    /// The bug of [`Mutation::TwoPending`]: the view after one that no node may have adopted yet.
    fn make_another(&mut self, pending: Arc<Routes>, now: Millis, effects: &mut Vec<Effect>) {
        let as_if = Situation { active: &pending, coming: None, ..self.situation(now) };
        let planned = || change::plan(&as_if, change::due(&as_if)?);
        let Some(plan) = repair::due(&as_if).or_else(planned) else { return };
        let before = self.active.clone();
        let made = self.made(&pending, plan.view);
        effects.push(Effect::Save);
        self.coming = Some(made.clone());
        self.push_to_all(&[made, before], effects);
    }

    /// Pushes the newest view to the connected members of `views`, each once.
    fn push_to_all(&self, views: &[Arc<Routes>], effects: &mut Vec<Effect>) {
        let mut told: Vec<Incarnation> = Vec::new();
        for member in views.iter().flat_map(|r| &r.view().members) {
            let is_connected =
                self.nodes.get(&member.incarnation).is_some_and(|n| n.is_connected());
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
}
