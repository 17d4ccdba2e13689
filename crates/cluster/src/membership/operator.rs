//! What the operator orders, from when it is taken until it begins or is refused (rule H5).

use crate::lease::Terms;
use crate::membership::change::{self, Change};
use crate::membership::order::{self, Order, Outline, Wish};
use crate::membership::{Answer, Effect, Membership, Settings};
use crate::time::Millis;
use crate::view::Routes;

impl Membership {
    /// Takes an operator's order. It is told what comes of it when that is saved.
    pub(super) fn take_order(
        &mut self,
        now: Millis,
        order: Order,
        effects: &mut Vec<Effect>,
    ) -> Answer {
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
            let told = match order::objection(&self.situation(now), wish, *force) {
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
            let refusal = order::objection(&self.situation(now), wish, force);
            return refusal.map_or_else(|| Ok(self.terms_outline(terms)), Err);
        }
        let refusal =
            order::objection(&self.situation(now), wish, force).or_else(|| self.change_under_way());
        refusal.map_or_else(
            || {
                let plan = change::begin(&self.situation(now), Some(wish));
                Ok(Outline::of(self, plan.why, &self.active, &plan.view))
            },
            Err,
        )
    }

    /// Looks again at what the operator has ordered: nothing is begun for nobody, long after it was asked
    /// for, or where something speaks against it by now.
    pub(super) fn review_order(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some((order, since)) = &self.order else { return };
        let view = self.active.view();
        let objection = match order {
            Order::Change { wish, force } => order::objection(&self.situation(now), wish, *force),
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

    /// Tells whoever ordered the settings that were on trial what came of them, once a view ends that.
    pub(super) fn tell_trial(
        &mut self,
        now: Millis,
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
                _ => Err(change::beyond(&self.situation(now)).unwrap_or_else(|| why.to_owned())),
            };
            effects.push(Effect::Told(told));
        }
    }
}
