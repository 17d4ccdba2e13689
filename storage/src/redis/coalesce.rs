//! Commands of one pipeline that are about one key, made one operation.
//!
//! They are carried out one after the other on what the key holds; the store sees what came of all
//! of them, once. So a pipeline that counts a key up sixteen times costs one read-modify-write, not
//! sixteen. Nobody else sees what the key held in between, as if nobody else had come in between:
//! each command takes effect while the operation does, and in its order.
//!
//! * Commands that only look at the key cost one read.
//! * Where the first one puts a value whatever the key holds, what follows is known without asking:
//!   the whole is a plain write.
//! * The rest is one read-modify-write.
//!
//! The last value is checked by the client again. A value in between that is too long is refused to
//! its command alone, and the others go on with what was there.
//!
//! What each command answers is found out when it is asked for, by carrying them out once more on
//! what the store has found: so no more is held than the key's first value and its present one,
//! however many commands look at it. Where even that is too much, because others hold as much, the
//! next command is carried out alone ([`Coalesced::cut`]).

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use client::{BatchItem, CurrentValue as Found, Got, Op};
use cluster::limits::Limits;
use resp::error::Error;
use resp::read::Read;
use resp::update::{Current, KeyChange, Update, UpdateReply};

use super::translate;

/// A command about one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'b> {
    /// Read at it.
    Read(Read),
    /// Give it a value, whatever it holds.
    Put {
        /// The value.
        value: &'b [u8],
        /// Until when it lives.
        expiry: Option<u64>,
    },
    /// Change it by what it holds.
    Update(Update<'b>),
}

impl Step<'_> {
    /// The value that it gives the key, where that is known before what the key holds.
    fn given(&self) -> Option<&[u8]> {
        match self {
            Step::Read(_) => None,
            Step::Put { value, .. } => Some(value),
            Step::Update(update) => update.given(),
        }
    }
}

/// The commands about one key, in their order.
#[derive(Debug)]
pub struct Coalesced<'b> {
    key: &'b [u8],
    steps: Vec<Step<'b>>,
    turn: Cell<Turn>,
    /// Why the store is not asked.
    refused: Option<BeyondLimits>,
    /// What they leave, where that does not depend on what was there.
    known: OnceCell<Option<Rc<State>>>,
    /// What they were last carried out on, and when.
    base: RefCell<Option<(Option<Rc<State>>, u64)>>,
}

/// Which commands are carried out together now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// All from this one on.
    Rest(usize),
    /// This one alone.
    One(usize),
}

/// A key that the cluster does not take.
#[derive(Debug)]
struct BeyondLimits {
    error: Error,
    /// Whether it is certain that nothing is there, which is all that a read wants to know.
    is_absent: bool,
}

/// What a command has found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// What a read has found.
    Seen(Read, Option<Rc<State>>),
    /// What an update answers.
    UpdateReply(UpdateReply),
}

/// What the key holds between two commands.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    value: Vec<u8>,
    expiry: Option<u64>,
}

impl State {
    /// The same, as the cores take it.
    pub fn current(&self) -> Current<'_> {
        Current { value: &self.value, expiry: self.expiry }
    }

    fn found(found: Option<Found<'_>>) -> Option<Rc<State>> {
        found.map(|Found { value, expiry }| Rc::new(State { value: value.to_vec(), expiry }))
    }

    /// What a get has found.
    pub fn got(got: Got) -> Rc<State> {
        Rc::new(State { value: got.value, expiry: got.expiry })
    }
}

impl<'b> Coalesced<'b> {
    /// One command.
    pub fn new(key: &'b [u8], step: Step<'b>) -> Coalesced<'b> {
        Coalesced {
            key,
            steps: vec![step],
            turn: Cell::new(Turn::Rest(0)),
            refused: None,
            known: OnceCell::new(),
            base: RefCell::new(None),
        }
    }

    /// One more.
    pub fn push(&mut self, step: Step<'b>) {
        self.steps.push(step);
    }

    /// Holds the key against the limits. Beyond them each command is refused, but that whoever
    /// looks finds nothing where the key surely cannot exist.
    pub fn check(&mut self, limits: &Limits, can_exist: impl FnOnce(&[u8]) -> bool) {
        let Err(error) = limits.check_key(self.key) else { return };
        let is_absent = !can_exist(self.key);
        self.refused = Some(BeyondLimits { error: translate::beyond(error), is_absent });
    }

    /// Whether any of it is beyond the limits.
    pub fn is_beyond(&self, limits: &Limits) -> bool {
        let is_long = |value| limits.check_value(value).is_err();
        let steps = &self.steps;
        limits.check_key(self.key).is_err() || steps.iter().filter_map(Step::given).any(is_long)
    }

    /// Whether there is something to ask the store for.
    pub fn is_asked(&self) -> bool {
        self.refused.is_none()
    }

    /// Carries out one command alone, the next time that the store is asked; those after it then
    /// have to ask again.
    pub fn cut(&self) {
        if let (Turn::Rest(at), None) = (self.turn.get(), self.known.get()) {
            self.turn.set(Turn::One(at));
        }
    }

    /// If one command was carried out alone, goes on with the next. Returns whether there is more
    /// to ask for.
    pub fn go_on(&self) -> bool {
        match self.turn.get() {
            Turn::Rest(_) => false,
            Turn::One(at) => {
                self.turn.set(Turn::Rest(at + 1));
                at + 1 < self.steps.len()
            }
        }
    }

    /// The commands that are carried out together.
    fn now(&self) -> &[Step<'b>] {
        match self.turn.get() {
            Turn::Rest(at) => &self.steps[at..],
            Turn::One(at) => &self.steps[at..=at],
        }
    }

    /// How many bytes it holds of what the store has found.
    pub fn held(&self) -> usize {
        let base = self.base.borrow();
        base.as_ref().and_then(|(state, _)| state.as_ref()).map_or(0, |state| state.value.len())
    }

    /// What to ask the store for, if anything, at a node with this wall clock.
    pub fn part<'f>(&'f self, clock: &'f dyn Fn() -> u64, limits: Limits) -> Option<BatchItem<'f>> {
        if !self.is_asked() {
            return None;
        }
        let key = self.key;
        if self.now().iter().all(|step| matches!(step, Step::Read(_))) {
            return Some(BatchItem::Op(Op::Get { key }));
        }
        let is_known = matches!(self.now(), [Step::Put { value, .. }, ..] if limits.check_value(value).is_ok());
        if is_known {
            let known = self.known.get_or_init(|| self.carry_out(None, clock(), &limits).0);
            return Some(BatchItem::Op(match known.as_deref() {
                Some(State { value, expiry: None }) => Op::Put { key, value },
                Some(State { value, expiry: Some(at) }) => Op::PutUntil { key, value, until: *at },
                None => Op::Delete { key },
            }));
        }
        // Asked again when somebody was quicker, and then it is later; what it says last counts.
        let decide = Box::new(move |found: Option<Found<'_>>| {
            translate::change(match self.carry_out(State::found(found), clock(), &limits) {
                (_, false) => KeyChange::Leave,
                (None, true) => KeyChange::Remove,
                (Some(state), true) => {
                    KeyChange::Put { value: state.value.clone(), expiry: state.expiry }
                }
            })
        });
        Some(BatchItem::Update { key, decide })
    }

    /// Carries the commands out on what the key holds. Returns what it holds then, and whether
    /// anything was written.
    fn carry_out(
        &self,
        mut state: Option<Rc<State>>,
        now_ms: u64,
        limits: &Limits,
    ) -> (Option<Rc<State>>, bool) {
        *self.base.borrow_mut() = Some((state.clone(), now_ms));
        let mut is_written = false;
        for step in self.now() {
            is_written |= carry_out(step, &mut state, now_ms, limits).1;
        }
        (state, is_written)
    }

    /// What each command has found out, in their order, now that the store has done what
    /// [`Coalesced::part`] asked for under these limits, and found `got`.
    pub fn findings(&self, got: Option<Rc<State>>, limits: Limits) -> Findings<'_, 'b> {
        // Without a base nothing but a read was asked for.
        let (state, now_ms) = self.base.take().unwrap_or((got, 0));
        Findings { coalesced: self, steps: self.now().iter(), state, now_ms, limits }
    }
}

/// Carries one command out. Returns what it has found out, and whether it has written.
fn carry_out(
    step: &Step<'_>,
    state: &mut Option<Rc<State>>,
    now_ms: u64,
    limits: &Limits,
) -> (Finding, bool) {
    // BeyondLimits whatever the key holds, as it would be by itself.
    if let Some(Err(error)) = step.given().map(|value| limits.check_value(value)) {
        return (Finding::UpdateReply(UpdateReply::Error(translate::beyond(error))), false);
    }
    let (change, answer) = match step {
        Step::Read(read) => return (Finding::Seen(*read, state.clone()), false),
        // A time that has passed already ends the key at once.
        Step::Put { expiry: Some(at), .. } if *at <= now_ms => (KeyChange::Remove, UpdateReply::Ok),
        Step::Put { value, expiry } => {
            (KeyChange::Put { value: value.to_vec(), expiry: *expiry }, UpdateReply::Ok)
        }
        Step::Update(update) => update.apply(state.as_deref().map(State::current), now_ms),
    };
    let next = match change {
        KeyChange::Leave => return (Finding::UpdateReply(answer), false),
        KeyChange::Remove => None,
        KeyChange::Put { value, expiry } => match limits.check_value(&value) {
            Ok(()) => Some(Rc::new(State { value, expiry })),
            Err(error) => {
                return (Finding::UpdateReply(UpdateReply::Error(translate::beyond(error))), false);
            }
        },
    };
    *state = next;
    (Finding::UpdateReply(answer), true)
}

/// What commands that are one operation have found out, one after the other.
pub struct Findings<'f, 'b> {
    coalesced: &'f Coalesced<'b>,
    steps: std::slice::Iter<'f, Step<'b>>,
    /// What the key holds before the next one.
    state: Option<Rc<State>>,
    now_ms: u64,
    limits: Limits,
}

impl Findings<'_, '_> {
    /// How many bytes it holds for those that are still to be answered.
    pub fn held(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.value.len())
    }
}

impl Iterator for Findings<'_, '_> {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        let step = self.steps.next()?;
        let finding = match (&self.coalesced.refused, step) {
            (Some(BeyondLimits { is_absent: true, .. }), Step::Read(read)) => {
                Finding::Seen(*read, None)
            }
            (Some(refused), _) => Finding::UpdateReply(UpdateReply::Error(refused.error.clone())),
            (None, step) => carry_out(step, &mut self.state, self.now_ms, &self.limits).0,
        };
        if self.steps.len() == 0 {
            self.state = None;
        }
        Some(finding)
    }
}

#[cfg(test)]
mod tests {
    use client::UpdateAction as Made;

    use super::*;
    use resp::update::{Answering, Lifetime, When};

    const NOW: u64 = 1_000;
    const LIMITS: Limits = Limits { key_bytes: 20, value_bytes: 5 };

    /// What a store that holds this makes of a part, and what it finds.
    fn store(
        part: BatchItem<'_>,
        held: &mut Option<(Vec<u8>, Option<u64>)>,
    ) -> (&'static str, bool) {
        let found = held.clone();
        match part {
            BatchItem::Op(Op::Get { .. }) => return ("get", false),
            BatchItem::Op(Op::Put { value, .. }) => *held = Some((value.to_vec(), None)),
            BatchItem::Op(Op::PutUntil { value, until, .. }) => {
                *held = Some((value.to_vec(), Some(until)));
            }
            BatchItem::Op(Op::Delete { .. }) => *held = None,
            BatchItem::Update { mut decide, .. } => {
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
            Step::Update(Update::Set { value, when, lifetime, answering: Answering::Before })
        };
        vec![
            Step::Read(Read::Value),
            Step::Read(Read::Exists),
            Step::Put { value: b"1", expiry: None },
            Step::Put { value: b"1", expiry: Some(NOW) },
            Step::Put { value: b"2", expiry: Some(NOW + 9) },
            Step::Put { value: b"too long", expiry: None },
            Step::Update(Update::Add(1)),
            Step::Update(Update::Append(b"77")),
            Step::Update(Update::Remove),
            Step::Update(Update::Persist),
            set(b"x", When::Absent),
            set(b"y", When::Equals(b"1")),
        ]
    }

    #[test]
    fn coalesced_commands_equal_single_ones() {
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
                    let coalesced = Coalesced::new(b"k", step.clone());
                    let before = one_by_one.clone();
                    let part = coalesced.part(&|| NOW, LIMITS).unwrap();
                    store(part, &mut one_by_one);
                    let got =
                        before.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                    want.extend(coalesced.findings(State::found(got), LIMITS));
                }
                let mut together = held.clone();
                let mut coalesced = Coalesced::new(b"k", row[0].clone());
                row[1..].iter().for_each(|step| coalesced.push(step.clone()));
                let (kind, _) = store(coalesced.part(&|| NOW, LIMITS).unwrap(), &mut together);
                kinds.insert((kind, matches!(row[0], Step::Put { value: b"1" | b"2", .. })));
                let got = held.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                let findings: Vec<Finding> =
                    coalesced.findings(State::found(got), LIMITS).collect();
                assert_eq!(findings, want, "{row:?} on {held:?}");
                assert_eq!(together, one_by_one, "{row:?} on {held:?}");
            }
        }
        let want = [("get", false), ("update", false), ("write", true)];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want, "what is known needs no update");
    }
}
