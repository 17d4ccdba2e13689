//! What the operator orders, from when it is taken until it begins or is refused (rule H5).

use crate::lease::Terms;
use crate::membership::admin_command::{AdminCommand, Reconfiguration};
use crate::membership::change::{self, Step};
use crate::membership::objection::objection;
use crate::membership::outline::Outline;
use crate::membership::{Answer, Effect, Membership, Settings};
use crate::time::Millis;
use crate::view::Routes;

impl Membership {
    /// Takes an operator's command. Its outcome is reported when that is saved.
    pub(super) fn take_command(
        &mut self,
        now: Millis,
        order: AdminCommand,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let is_cancel = order == AdminCommand::Cancel;
        match self.order.take() {
            // What waits has not begun: that it never will is all there is to do.
            Some((AdminCommand::Reconfigure { change, .. }, _)) if is_cancel => {
                effects
                    .push(Effect::CommandOutcome(Err("it was cancelled before it began".into())));
                let what = format!("{change}: it had not begun");
                let newest = self.newest().clone();
                let outline = Outline::of(self, what, &newest, newest.view());
                effects.push(Effect::CommandOutcome(Ok(outline)));
                return Answer::Done;
            }
            Some(waits) => {
                self.order = Some(waits);
                return Answer::Wait("another change was just asked for".into());
            }
            None => {}
        }
        if let AdminCommand::Reconfigure { change, force } = &order
            && let Some(terms) = change.terms(self.settings.terms())
        {
            // The operator who ordered first is answered first.
            if self.trial.is_some() {
                return Answer::Wait("other settings are on trial".into());
            }
            let told = match objection(&self.situation(now), change, *force) {
                Some(why) => Err(why),
                None => Ok(self.change_terms(terms, effects)),
            };
            effects.push(Effect::CommandOutcome(told));
            return Answer::Done;
        }
        if !is_cancel && let Some(why) = self.change_under_way() {
            return Answer::Wait(why);
        }
        self.order = Some((order, now));
        Answer::Done
    }

    /// Other leases from now on, that is, from when this is saved: no node relies on a longer one
    /// before, and no node that was granted a longer one is out before that ends.
    fn change_terms(&mut self, terms: Terms, effects: &mut Vec<Effect>) -> Outline {
        let outline = self.terms_outline(terms);
        let Terms { heartbeat_ms, missed } = terms;
        self.settings = Settings { heartbeat_ms, missed, ..self.settings };
        self.longest_ms = self.longest_ms.max(terms.lease_ms());
        effects.push(Effect::Save);
        effects.push(Effect::Log(outline.what.clone()));
        for node in self.nodes.values().filter(|node| node.is_connected()) {
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

    /// Why no other change can be begun now, if so.
    fn change_under_way(&self) -> Option<String> {
        match change::under_way(self.newest().view()) {
            Some(what) => Some(format!("a change is under way: {what}")),
            None => self.coming.is_some().then(|| "a view is being made".into()),
        }
    }

    /// What a change would move, were it granted now.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn outline(
        &self,
        now: Millis,
        change: &Reconfiguration,
        force: bool,
    ) -> Result<Outline, String> {
        if let Some(terms) = change.terms(self.settings.terms()) {
            let refusal = objection(&self.situation(now), change, force);
            return refusal.map_or_else(|| Ok(self.terms_outline(terms)), Err);
        }
        let refusal =
            objection(&self.situation(now), change, force).or_else(|| self.change_under_way());
        refusal.map_or_else(
            || {
                let plan = change::begin(&self.situation(now), Some(change));
                Ok(Outline::of(self, plan.why, &self.active, &plan.view))
            },
            Err,
        )
    }

    /// Checks again what the operator has ordered: nothing is begun when no operator waits for it,
    /// long after the request, or where an objection has arisen since.
    pub(super) fn review_command(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some((order, since)) = &self.order else { return };
        let view = self.active.view();
        let objection = match order {
            AdminCommand::Reconfigure { change, force } => {
                objection(&self.situation(now), change, *force)
            }
            AdminCommand::Cancel => match change::under_way(view) {
                None => Some("no change is under way".into()),
                Some(_) if change::can_cancel(view) => None,
                Some(what) => Some(format!("{what}: stop those who join, and it ends by itself")),
            },
        };
        let is_late = now.saturating_sub(*since) >= self.settings.lease_ms();
        let late = || {
            let what = match order {
                AdminCommand::Reconfigure { .. } => "not every node answers; try again",
                AdminCommand::Cancel => {
                    "not every node answers, or holds what it serves; try again"
                }
            };
            is_late.then(|| what.to_owned())
        };
        if let Some(why) = objection.or_else(late) {
            self.order = None;
            if self.trial.take().is_some() {
                let why = "not every node answers; the status tells what becomes of it";
                effects.push(Effect::CommandOutcome(Err(why.into())));
            }
            effects.push(Effect::CommandOutcome(Err(why)));
        }
    }

    /// Reports the outcome to the operator who ordered the settings that were on trial, once a view
    /// ends the trial.
    pub(super) fn finish_trial(
        &mut self,
        now: Millis,
        step: Option<Step>,
        before: &Routes,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        let ends = matches!(step, Some(Step::Switch | Step::Cancel));
        if !ends || !before.view().changes_settings_alone() {
            return;
        }
        if let Some(outline) = self.trial.take() {
            let told = match step {
                Some(Step::Switch) => Ok(outline),
                _ => Err(change::beyond(&self.situation(now)).unwrap_or_else(|| why.to_owned())),
            };
            effects.push(Effect::CommandOutcome(told));
        }
    }
}
