//! Commands of one pipeline that are about one key, made one operation.
//!
//! They are carried out one after the other on what the key holds; the store sees what came of all of them,
//! once. So a pipeline that counts a key up sixteen times costs one read-modify-write, not sixteen. Nobody
//! else sees what the key held in between, as if nobody else had come in between: each command takes
//! effect while the operation does, and in its order.
//!
//! * Commands that only look at the key cost one read.
//! * Where the first one puts a value whatever the key holds, what follows is known without asking: the whole is
//!   a plain write.
//! * The rest is one read-modify-write.
//!
//! The last value is checked by the client again. A value in between that is too long is refused to its command
//! alone, and the others go on with what was there.

use std::rc::Rc;

use client::{Held as Found, Op, Part};
use cluster::limits::Limits;

use super::edit::{Answer, Change, Edit, Held};
use super::look::Look;

/// A command about one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'b> {
    /// Look at it.
    Look(Look),
    /// Give it a value, whatever it holds.
    Put {
        /// The value.
        value: &'b [u8],
        /// Until when it lives.
        expiry: Option<u64>,
    },
    /// Change it by what it holds.
    Edit(Edit<'b>),
}

impl Step<'_> {
    /// The value that it gives the key, where that is known before what the key holds.
    fn given(&self) -> Option<&[u8]> {
        match self {
            Step::Look(_) => None,
            Step::Put { value, .. } => Some(value),
            Step::Edit(edit) => edit.given(),
        }
    }
}

/// The commands about one key, in their order.
#[derive(Debug)]
pub struct Fold<'b> {
    key: &'b [u8],
    steps: Vec<Step<'b>>,
    /// What each has found out, once they have been carried out.
    said: Vec<Said>,
    /// What they leave, where that does not depend on what was there.
    known: Option<Rc<State>>,
    /// Whether the store is asked at all.
    is_asked: bool,
}

/// What a command has found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// What a look has seen.
    Seen(Look, Option<Rc<State>>),
    /// What an edit answers.
    Answer(Answer),
}

/// What the key holds between two commands.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    value: Vec<u8>,
    expiry: Option<u64>,
}

impl State {
    /// The same, as the cores take it.
    pub fn held(&self) -> Held<'_> {
        Held { value: &self.value, expiry: self.expiry }
    }

    fn found(found: Option<Found<'_>>) -> Option<Rc<State>> {
        found.map(|Found { value, expiry }| Rc::new(State { value: value.to_vec(), expiry }))
    }
}

impl<'b> Fold<'b> {
    /// One command.
    pub fn new(key: &'b [u8], step: Step<'b>) -> Fold<'b> {
        Fold { key, steps: vec![step], said: Vec::new(), known: None, is_asked: true }
    }

    /// One more.
    pub fn push(&mut self, step: Step<'b>) {
        self.steps.push(step);
    }

    /// Holds the key against the limits. Beyond them each command is refused, but that whoever looks finds nothing
    /// where the key surely cannot exist.
    pub fn check(&mut self, limits: &Limits, can_exist: impl FnOnce(&[u8]) -> bool) {
        let Err(error) = limits.check_key(self.key) else { return };
        let is_absent = !can_exist(self.key);
        self.is_asked = false;
        let said = self.steps.iter().map(|step| match step {
            Step::Look(look) if is_absent => Said::Seen(*look, None),
            _ => Said::Answer(Answer::Error(error.into())),
        });
        self.said = said.collect();
    }

    /// Whether any of it is beyond the limits.
    pub fn is_beyond(&self, limits: &Limits) -> bool {
        let is_long = |step: &Step<'_>| match step {
            Step::Put { value, .. } => limits.check_value(value).is_err(),
            Step::Edit(edit) => {
                edit.given().is_some_and(|value| limits.check_value(value).is_err())
            }
            Step::Look(_) => false,
        };
        limits.check_key(self.key).is_err() || self.steps.iter().any(is_long)
    }

    /// Whether there is something to ask the store for.
    pub fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// What to ask the store for, if anything, at a node with this wall clock.
    pub fn part<'f>(&'f mut self, clock: &'f dyn Fn() -> u64, limits: Limits) -> Option<Part<'f>> {
        if !self.is_asked {
            return None;
        }
        let key = self.key;
        if self.steps.iter().all(|step| matches!(step, Step::Look(_))) {
            return Some(Part::Op(Op::Get { key }));
        }
        let is_known = matches!(&self.steps[..], [Step::Put { value, .. }, ..] if limits.check_value(value).is_ok());
        if is_known {
            self.known = self.carry_out(None, clock(), &limits).0;
            return Some(Part::Op(match self.known.as_deref() {
                Some(State { value, expiry: None }) => Op::Put { key, value },
                Some(State { value, expiry: Some(at) }) => Op::PutUntil { key, value, until: *at },
                None => Op::Delete { key },
            }));
        }
        // Asked again when somebody was quicker, and then it is later; what it says last counts.
        let decide = Box::new(move |found: Option<Found<'_>>| {
            match self.carry_out(State::found(found), clock(), &limits) {
                (_, false) => Change::Leave,
                (None, true) => Change::Remove,
                (Some(state), true) => {
                    Change::Put { value: state.value.clone(), expiry: state.expiry }
                }
            }
            .into()
        });
        Some(Part::Update { key, decide })
    }

    /// Carries the commands out on what the key holds. Returns what it holds then, and whether anything was
    /// written.
    fn carry_out(
        &mut self,
        mut state: Option<Rc<State>>,
        now_ms: u64,
        limits: &Limits,
    ) -> (Option<Rc<State>>, bool) {
        let mut is_written = false;
        self.said.clear();
        for step in &self.steps {
            // Refused whatever the key holds, as it would be by itself.
            if let Some(Err(error)) = step.given().map(|value| limits.check_value(value)) {
                self.said.push(Said::Answer(Answer::Error(error.into())));
                continue;
            }
            let (change, answer) = match step {
                Step::Look(look) => {
                    self.said.push(Said::Seen(*look, state.clone()));
                    continue;
                }
                // A time that has passed already ends the key at once.
                Step::Put { expiry: Some(at), .. } if *at <= now_ms => (Change::Remove, Answer::Ok),
                Step::Put { value, expiry } => {
                    (Change::Put { value: value.to_vec(), expiry: *expiry }, Answer::Ok)
                }
                Step::Edit(edit) => edit.apply(state.as_deref().map(State::held), now_ms),
            };
            let (next, answer) = match change {
                Change::Leave => (None, answer),
                Change::Remove => (Some(None), answer),
                Change::Put { value, expiry } => match limits.check_value(&value) {
                    Ok(()) => (Some(Some(Rc::new(State { value, expiry }))), answer),
                    Err(error) => (None, Answer::Error(error.into())),
                },
            };
            self.said.push(Said::Answer(answer));
            if let Some(next) = next {
                is_written = true;
                state = next;
            }
        }
        (state, is_written)
    }

    /// What each command has found out, now that the store has done what [`Fold::part`] asked for, and found
    /// `got`.
    pub fn said(self, got: Option<Found<'_>>) -> Vec<Said> {
        if !self.said.is_empty() {
            return self.said;
        }
        // Nothing but a read was asked for.
        let state = State::found(got);
        let looks = self.steps.iter().filter_map(|step| match step {
            Step::Look(look) => Some(Said::Seen(*look, state.clone())),
            _ => None,
        });
        looks.collect()
    }
}

#[cfg(test)]
mod tests {
    use client::Change as Made;

    use super::super::edit::{Answering, Lifetime, When};
    use super::*;

    const NOW: u64 = 1_000;
    const LIMITS: Limits = Limits { key_bytes: 20, value_bytes: 5 };

    /// What a store that holds this makes of a part, and what it finds.
    fn store(part: Part<'_>, held: &mut Option<(Vec<u8>, Option<u64>)>) -> (&'static str, bool) {
        let found = held.clone();
        match part {
            Part::Op(Op::Get { .. }) => return ("get", false),
            Part::Op(Op::Put { value, .. }) => *held = Some((value.to_vec(), None)),
            Part::Op(Op::PutUntil { value, until, .. }) => {
                *held = Some((value.to_vec(), Some(until)));
            }
            Part::Op(Op::Delete { .. }) => *held = None,
            Part::Update { mut decide, .. } => {
                // Somebody was quicker at first.
                decide(Some(Found { value: b"9", expiry: None }));
                let found = found.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                match decide(found) {
                    Made::Leave => {}
                    Made::Delete => *held = None,
                    Made::Put(value) => *held = Some((value, None)),
                    Made::PutUntil(value, until) => *held = Some((value, Some(until))),
                }
                return ("update", true);
            }
        }
        ("write", true)
    }

    fn steps() -> Vec<Step<'static>> {
        let set = |value, when| {
            let lifetime = Lifetime::Until(None);
            Step::Edit(Edit::Set { value, when, lifetime, answering: Answering::Before })
        };
        vec![
            Step::Look(Look::Value),
            Step::Look(Look::Exists),
            Step::Put { value: b"1", expiry: None },
            Step::Put { value: b"1", expiry: Some(NOW) },
            Step::Put { value: b"2", expiry: Some(NOW + 9) },
            Step::Put { value: b"too long", expiry: None },
            Step::Edit(Edit::Add(1)),
            Step::Edit(Edit::Append(b"77")),
            Step::Edit(Edit::Remove),
            Step::Edit(Edit::Persist),
            set(b"x", When::Absent),
            set(b"y", When::Equals(b"1")),
        ]
    }

    #[test]
    fn together_is_as_one_by_one() {
        // All ways to put up to four of them in a row.
        let steps = steps();
        let mut kinds = std::collections::BTreeSet::new();
        for number in 0..steps.len().pow(4) {
            let digits = (0..4).map(|place| number / steps.len().pow(place) % steps.len());
            let row: Vec<_> = digits.map(|digit| steps[digit].clone()).collect();
            for held in [None, Some((b"4".to_vec(), Some(NOW + 5)))] {
                let mut one_by_one = held.clone();
                let mut want = Vec::new();
                for step in &row {
                    let mut fold = Fold::new(b"k", step.clone());
                    let before = one_by_one.clone();
                    let part = fold.part(&|| NOW, LIMITS).unwrap();
                    store(part, &mut one_by_one);
                    let got =
                        before.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                    want.extend(fold.said(got));
                }
                let mut together = held.clone();
                let mut fold = Fold::new(b"k", row[0].clone());
                row[1..].iter().for_each(|step| fold.push(step.clone()));
                let (kind, _) = store(fold.part(&|| NOW, LIMITS).unwrap(), &mut together);
                kinds.insert((kind, matches!(row[0], Step::Put { value: b"1" | b"2", .. })));
                let got = held.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                assert_eq!(fold.said(got), want, "{row:?} on {held:?}");
                assert_eq!(together, one_by_one, "{row:?} on {held:?}");
            }
        }
        let want = [("get", false), ("update", false), ("write", true)];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want, "what is known needs no update");
    }
}
