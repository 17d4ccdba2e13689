//! Commands of one pipeline about one key, merged into one operation.
//!
//! They are executed one after the other on the key's content; the store sees their combined
//! effect, once. So a pipeline that increments a key sixteen times costs one read-modify-write, not
//! sixteen. No other client sees the states in between, as if none had accessed the key in between:
//! each command takes effect during the operation, and in its order.
//!
//! * Commands that only read the key cost one read.
//! * If the first command puts a value unconditionally, the effect of the following ones is known
//!   without a read: together they are a plain write.
//! * Anything else is one read-modify-write.
//!
//! The client checks the last value again. If a value in between is too long, only its command is
//! refused, and the others continue with the previous content.
//!
//! The reply of each command is computed on demand, by executing the commands once more on the
//! content that the store found. So only the key's first value and its present one are held,
//! however many commands read it. Where even that exceeds the memory bound, because other keys hold
//! as much, the next command is executed alone ([`Coalesced::run_next_alone`]).

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
    /// Read the key.
    Read(Read),
    /// Give it a value unconditionally.
    Put {
        /// The value.
        value: &'b [u8],
        /// When it expires.
        expiry: Option<u64>,
    },
    /// Change it depending on its content.
    Update(Update<'b>),
}

impl Step<'_> {
    /// The value that it stores, where that does not depend on the key's content.
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
    /// Their combined effect, where that does not depend on the key's content.
    known: OnceCell<Option<Rc<KeyState>>>,
    /// The content and the time of their last execution.
    base: RefCell<Option<(Option<Rc<KeyState>>, u64)>>,
}

/// Which commands are executed together now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// All commands from this one on.
    Rest(usize),
    /// This one alone.
    One(usize),
}

/// A key beyond the cluster's limits.
#[derive(Debug)]
struct BeyondLimits {
    error: Error,
    /// Whether the key is known not to exist, which is all that a read needs.
    is_absent: bool,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The result of a read.
    Seen(Read, Option<Rc<KeyState>>),
    /// The reply of an update.
    UpdateReply(UpdateReply),
}

/// The content of the key between two commands.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyState {
    value: Vec<u8>,
    expiry: Option<u64>,
}

impl KeyState {
    /// The same, for the pure cores.
    pub fn current(&self) -> Current<'_> {
        Current { value: &self.value, expiry: self.expiry }
    }

    fn found(found: Option<Found<'_>>) -> Option<Rc<KeyState>> {
        found.map(|Found { value, expiry }| Rc::new(KeyState { value: value.to_vec(), expiry }))
    }

    /// The content that a get has found.
    pub fn got(got: Got) -> Rc<KeyState> {
        Rc::new(KeyState { value: got.value, expiry: got.expiry })
    }
}

impl<'b> Coalesced<'b> {
    /// Starts with one command.
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

    /// Adds a command.
    pub fn push(&mut self, step: Step<'b>) {
        self.steps.push(step);
    }

    /// Checks the key against the limits. Beyond them each command is refused, except that reads
    /// find nothing where the key cannot exist.
    pub fn check(&mut self, limits: &Limits, can_exist: impl FnOnce(&[u8]) -> bool) {
        let Err(error) = limits.check_key(self.key) else { return };
        let is_absent = !can_exist(self.key);
        self.refused = Some(BeyondLimits { error: translate::beyond(error), is_absent });
    }

    /// Whether the key or a value is beyond the limits.
    pub fn is_beyond(&self, limits: &Limits) -> bool {
        let is_long = |value| limits.check_value(value).is_err();
        let steps = &self.steps;
        limits.check_key(self.key).is_err() || steps.iter().filter_map(Step::given).any(is_long)
    }

    /// Whether the store must be asked.
    pub fn is_asked(&self) -> bool {
        self.refused.is_none()
    }

    /// Executes one command alone, the next time that the store is asked; the commands after it
    /// must then ask again.
    pub fn run_next_alone(&self) {
        if let (Turn::Rest(at), None) = (self.turn.get(), self.known.get()) {
            self.turn.set(Turn::One(at));
        }
    }

    /// If one command was executed alone, continues with the next. Returns whether there are more.
    pub fn advance(&self) -> bool {
        match self.turn.get() {
            Turn::Rest(_) => false,
            Turn::One(at) => {
                self.turn.set(Turn::Rest(at + 1));
                at + 1 < self.steps.len()
            }
        }
    }

    /// The commands that are executed together.
    fn steps_to_run(&self) -> &[Step<'b>] {
        match self.turn.get() {
            Turn::Rest(at) => &self.steps[at..],
            Turn::One(at) => &self.steps[at..=at],
        }
    }

    /// The number of bytes that it holds of the store's results.
    pub fn held(&self) -> usize {
        let base = self.base.borrow();
        base.as_ref().and_then(|(state, _)| state.as_ref()).map_or(0, |state| state.value.len())
    }

    /// The operation that the store must run, if any, on a node with this wall clock.
    pub fn part<'f>(&'f self, clock: &'f dyn Fn() -> u64, limits: Limits) -> Option<BatchItem<'f>> {
        if !self.is_asked() {
            return None;
        }
        let key = self.key;
        if self.steps_to_run().iter().all(|step| matches!(step, Step::Read(_))) {
            return Some(BatchItem::Op(Op::Get { key }));
        }
        let is_known = match self.steps_to_run() {
            [Step::Put { value, .. }, ..] => limits.check_value(value).is_ok(),
            _ => false,
        };
        if is_known {
            let known = self.known.get_or_init(|| self.carry_out(None, clock(), &limits).0);
            return Some(BatchItem::Op(match known.as_deref() {
                Some(KeyState { value, expiry: None }) => Op::Put { key, value },
                Some(KeyState { value, expiry: Some(at) }) => {
                    Op::PutUntil { key, value, until: *at }
                }
                None => Op::Delete { key },
            }));
        }
        // It runs again, at a later time, if another writer was quicker; its last result counts.
        let decide = Box::new(move |found: Option<Found<'_>>| {
            translate::change(match self.carry_out(KeyState::found(found), clock(), &limits) {
                (_, false) => KeyChange::Leave,
                (None, true) => KeyChange::Remove,
                (Some(state), true) => {
                    KeyChange::Put { value: state.value.clone(), expiry: state.expiry }
                }
            })
        });
        Some(BatchItem::Update { key, decide })
    }

    /// Executes the commands on the key's content. Returns the new content, and whether any command
    /// has written.
    fn carry_out(
        &self,
        mut state: Option<Rc<KeyState>>,
        now_ms: u64,
        limits: &Limits,
    ) -> (Option<Rc<KeyState>>, bool) {
        *self.base.borrow_mut() = Some((state.clone(), now_ms));
        let mut is_written = false;
        for step in self.steps_to_run() {
            is_written |= carry_out(step, &mut state, now_ms, limits).1;
        }
        (state, is_written)
    }

    /// The result of each command, in their order, after the store has run [`Coalesced::part`]
    /// under these limits, and has found `got`.
    pub fn findings(&self, got: Option<Rc<KeyState>>, limits: Limits) -> Findings<'_, 'b> {
        // Without a base there was only a read.
        let (state, now_ms) = self.base.take().unwrap_or((got, 0));
        Findings { coalesced: self, steps: self.steps_to_run().iter(), state, now_ms, limits }
    }
}

/// Executes one command. Returns its result, and whether it has written.
fn carry_out(
    step: &Step<'_>,
    state: &mut Option<Rc<KeyState>>,
    now_ms: u64,
    limits: &Limits,
) -> (Finding, bool) {
    // Refused whatever the key holds, as it would be by itself.
    if let Some(Err(error)) = step.given().map(|value| limits.check_value(value)) {
        return (Finding::UpdateReply(UpdateReply::Error(translate::beyond(error))), false);
    }
    let (change, answer) = match step {
        Step::Read(read) => return (Finding::Seen(*read, state.clone()), false),
        // A time that has already passed removes the key at once.
        Step::Put { expiry: Some(at), .. } if *at <= now_ms => (KeyChange::Remove, UpdateReply::Ok),
        Step::Put { value, expiry } => {
            (KeyChange::Put { value: value.to_vec(), expiry: *expiry }, UpdateReply::Ok)
        }
        Step::Update(update) => update.apply(state.as_deref().map(KeyState::current), now_ms),
    };
    let next = match change {
        KeyChange::Leave => return (Finding::UpdateReply(answer), false),
        KeyChange::Remove => None,
        KeyChange::Put { value, expiry } => match limits.check_value(&value) {
            Ok(()) => Some(Rc::new(KeyState { value, expiry })),
            Err(error) => {
                return (Finding::UpdateReply(UpdateReply::Error(translate::beyond(error))), false);
            }
        },
    };
    *state = next;
    (Finding::UpdateReply(answer), true)
}

/// The results of merged commands, one after the other.
pub struct Findings<'f, 'b> {
    coalesced: &'f Coalesced<'b>,
    steps: std::slice::Iter<'f, Step<'b>>,
    /// The content of the key before the next command.
    state: Option<Rc<KeyState>>,
    now_ms: u64,
    limits: Limits,
}

impl Findings<'_, '_> {
    /// The number of bytes that it holds for commands that are yet to be answered.
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
    use resp::update::{Answering, Lifetime, SetCondition};

    const NOW: u64 = 1_000;
    const LIMITS: Limits = Limits { key_bytes: 20, value_bytes: 5 };

    /// Runs a part on a store with this content. Returns the kind of operation, and whether it
    /// wrote.
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
                // Another writer was quicker at first.
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
            set(b"x", SetCondition::Absent),
            set(b"y", SetCondition::Equals(b"1")),
        ]
    }

    #[test]
    fn coalesced_commands_equal_single_ones() {
        // All sequences of up to four of them.
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
                    want.extend(coalesced.findings(KeyState::found(got), LIMITS));
                }
                let mut together = held.clone();
                let mut coalesced = Coalesced::new(b"k", row[0].clone());
                row[1..].iter().for_each(|step| coalesced.push(step.clone()));
                let (kind, _) = store(coalesced.part(&|| NOW, LIMITS).unwrap(), &mut together);
                kinds.insert((kind, matches!(row[0], Step::Put { value: b"1" | b"2", .. })));
                let got = held.as_ref().map(|(value, expiry)| Found { value, expiry: *expiry });
                let findings: Vec<Finding> =
                    coalesced.findings(KeyState::found(got), LIMITS).collect();
                assert_eq!(findings, want, "{row:?} on {held:?}");
                assert_eq!(together, one_by_one, "{row:?} on {held:?}");
            }
        }
        let want = [("get", false), ("update", false), ("write", true)];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want, "what is known needs no update");
    }
}
