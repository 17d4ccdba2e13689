//! Requests of one connection that go to the nodes together.
//!
//! A pipeline is answered as if its requests were carried out one after the other. As long as no two of
//! them are about the same key, except to read it, nobody can tell whether they were; so these go out as
//! one batch, each node gets one frame, and the nodes work at the same time. What this node holds itself it
//! answers without any of that. Requests that are about the
//! same key, and about no other, become one operation ([`Fold`]). A request with many keys that would touch
//! a key again, or one that touches a key of such a request again, waits for the next batch.
//!
//! Commands with many keys take part key by key: each key by itself is linearizable, the command as a
//! whole is not atomic.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use client::{ClientError, Done, GTStoreClient, Got, Op, Part};
use cluster::limits::{LimitError, Limits};

use super::command::Command;
use super::edit::{Answer, Edit, Held};
use super::error::Error;
use super::fold::{Fold, Said, State, Step};
use super::look::Look;
use super::reply::{Protocol, Replies};
use crate::node::Node;

/// Most operations of a batch, unless a single request has more: what one attempt of the client takes.
const OPERATIONS: usize = 4096;

/// Most bytes that a batch may write, unless a single request has more.
const BYTES: usize = 16 << 20;

/// Most bytes of a single answer. A request of a megabyte must not make an answer of gigabytes.
pub(super) const ANSWER: usize = 64 << 20;

/// Requests that wait to be carried out, in their order.
#[derive(Default)]
pub struct Batch<'b> {
    items: Vec<Item<'b>>,
    folds: Vec<Fold<'b>>,
    /// The keys, and what they are used for. Seeded anew in each process: strangers choose them.
    keys: HashMap<&'b [u8], Use>,
    operations: usize,
    bytes: usize,
}

enum Item<'b> {
    /// An answer that is known already.
    Refused(Error),
    /// The same, as bytes of [`Seen`].
    Seen(Range<usize>),
    Command(Command<'b>),
    /// The next command of this fold.
    Folded(usize),
}

/// What a key is used for.
#[derive(Debug, Clone, Copy)]
struct Use {
    is_written: bool,
    by: By,
}

/// Who uses a key.
#[derive(Debug, Clone, Copy)]
enum By {
    /// This item, which is about no other key.
    Item(usize),
    /// This fold.
    Fold(usize),
    /// A command with many keys.
    Many,
}

/// What this node could tell by itself.
#[derive(Default)]
struct Seen {
    /// Answers, one after the other.
    answers: Vec<u8>,
    /// The limits that are surely in force: no key beyond them exists.
    limits: Option<Limits>,
}

impl Seen {
    /// Whether a key can exist. Otherwise nobody need be asked for it.
    fn can_exist(&self, key: &[u8]) -> bool {
        self.limits.is_none_or(|limits| limits.check_key(key).is_ok())
    }
}

/// Who carries a batch out.
pub trait Store {
    /// The longest keys and values that it takes.
    fn limits(&self) -> Limits;

    /// The same, for who would refuse something by what was known before.
    fn newest_limits(&self) -> Limits {
        self.limits()
    }

    /// Runs parts that are independent of each other, in any order. Each has its own result.
    fn run(&self, parts: Vec<Part<'_>>) -> Vec<Result<Done, ClientError>>;
}

impl Store for Arc<GTStoreClient> {
    fn limits(&self) -> Limits {
        GTStoreClient::limits(self)
    }

    fn newest_limits(&self) -> Limits {
        GTStoreClient::newest_limits(self)
    }

    fn run(&self, parts: Vec<Part<'_>>) -> Vec<Result<Done, ClientError>> {
        // Only what has read-modify-writes pays for them.
        let ops: Option<Vec<Op<'_>>> = parts
            .iter()
            .map(|part| match part {
                Part::Op(op) => Some(*op),
                Part::Update { .. } => None,
            })
            .collect();
        match ops {
            Some(ops) => GTStoreClient::run(self, &ops),
            None => self.run_mixed(parts),
        }
    }
}

/// What running a batch told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// How many nodes hold what was written last.
    pub copies: Option<usize>,
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
}

impl<'b> Batch<'b> {
    /// Whether a command is about keys that it names.
    pub fn is_for(command: &Command<'_>) -> bool {
        matches!(
            command,
            Command::Look { .. }
                | Command::Put { .. }
                | Command::Edit { .. }
                | Command::GetMany(_)
                | Command::PutMany(_)
                | Command::RemoveMany(_)
                | Command::CountMany(_)
        )
    }

    /// Whether there is nothing to do or to say.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether one more command can be carried out together with those that are here.
    pub fn has_room_for(&self, command: &Command<'b>) -> bool {
        let mut is_free = self.operations < OPERATIONS && self.bytes < BYTES;
        if !is_free || self.keys.is_empty() {
            return is_free;
        }
        let is_single = single_key(command).is_some();
        each_key(command, |key, writes| {
            is_free &= self.keys.get(key).is_none_or(|used| match used.by {
                By::Item(_) | By::Fold(_) if is_single => true,
                _ => !used.is_written && !writes,
            });
        });
        is_free
    }

    /// Adds a command.
    pub fn add(&mut self, command: Command<'b>) {
        self.bytes += brings(&command);
        let is_single = single_key(&command).is_some();
        let mut before = None;
        // After one that fills the batch by itself there is no other to hold against its keys.
        let is_last = self.operations + keys(&command) >= OPERATIONS;
        each_key(&command, |key, writes| {
            self.operations += 1;
            self.bytes += key.len();
            if is_last && !is_single {
                return;
            }
            match self.keys.entry(key) {
                Entry::Occupied(mut used) => {
                    let used = used.get_mut();
                    used.is_written |= writes;
                    match (is_single, used.by) {
                        (true, By::Many) => {}
                        (true, by) => before = Some((key, by)),
                        (false, _) => used.by = By::Many,
                    }
                }
                Entry::Vacant(place) => {
                    let by = if is_single { By::Item(self.items.len()) } else { By::Many };
                    place.insert(Use { is_written: writes, by });
                }
            }
        });
        let item = match before {
            None => Item::Command(command),
            Some((key, by)) => self.fold(key, by, command),
        };
        self.items.push(item);
    }

    /// Makes a command a part of the fold that its key has, or is to have from now on.
    fn fold(&mut self, key: &'b [u8], by: By, command: Command<'b>) -> Item<'b> {
        let fold = match by {
            By::Fold(fold) => fold,
            By::Item(item) => {
                let fold = self.folds.len();
                let first = std::mem::replace(&mut self.items[item], Item::Folded(fold));
                let Item::Command(first) = first else {
                    unreachable!("a key that an item uses has it as a command")
                };
                self.folds.push(Fold::new(key, step(first)));
                self.keys.entry(key).and_modify(|used| used.by = By::Fold(fold));
                fold
            }
            By::Many => return Item::Command(command),
        };
        self.folds[fold].push(step(command));
        Item::Folded(fold)
    }

    /// Adds an answer to a request that cannot be carried out.
    pub fn refuse(&mut self, error: Error) {
        self.items.push(Item::Refused(error));
    }

    /// Answers what a node holds itself and may show (see [`Node::glance`]): nothing else has to be asked for it.
    fn look_here(&mut self, node: &Node, now_ms: u64, protocol: Protocol) -> (Seen, Told) {
        let (mut seen, mut told) = (Seen::default(), Told::default());
        node.glance(|glance| {
            seen.limits = glance.limits();
            for item in &mut self.items {
                let Item::Command(Command::Look { key, look }) = item else { continue };
                let start = seen.answers.len();
                let found = glance.key(key, |held| {
                    let held = held.map(|(value, expiry)| Held { value, expiry });
                    look.answer(held, now_ms, &mut Replies::new(&mut seen.answers, protocol));
                    held.is_some()
                });
                match found {
                    Some(true) => told.hits += 1,
                    Some(false) => told.misses += 1,
                    None => continue,
                }
                *item = Item::Seen(start..seen.answers.len());
                self.operations -= 1;
            }
        });
        (seen, told)
    }

    /// Carries all of it out, at a node with this wall clock: what it holds itself is answered in place, the rest
    /// goes to the store. Writes the answers, and leaves the batch empty.
    pub fn run<S: Store>(
        &mut self,
        here: Option<&Node>,
        store: impl FnOnce() -> Result<S, ClientError>,
        clock: &dyn Fn() -> u64,
        out: &mut Replies<'_>,
    ) -> Told {
        let now_ms = clock();
        let (seen, told) =
            here.map(|node| self.look_here(node, now_ms, out.protocol())).unwrap_or_default();
        let mut items = std::mem::take(&mut self.items);
        let mut folds = std::mem::take(&mut self.folds);
        let needs_store = std::mem::take(&mut self.operations) > 0;
        self.bytes = 0;
        self.keys.clear();
        let store = match needs_store.then(store).transpose() {
            Ok(store) => store,
            Err(error) => {
                for item in items {
                    match item {
                        Item::Seen(answer) => out.raw(&seen.answers[answer]),
                        Item::Refused(error) => out.error(&error.to_string()),
                        Item::Command(_) | Item::Folded(_) => {
                            out.error(&refusal(&error).to_string());
                        }
                    }
                }
                return told;
            }
        };
        let mut limits = store.as_ref().map(Store::limits).unwrap_or_default();
        let is_beyond = |item: &Item<'_>| match item {
            Item::Command(command) => check(command, &limits).is_err(),
            _ => false,
        };
        if items.iter().any(is_beyond) || folds.iter().any(|fold| fold.is_beyond(&limits)) {
            limits = store.as_ref().map(Store::newest_limits).unwrap_or_default();
        }
        for item in &mut items {
            if let Item::Command(command) = item
                && let Err(error) = check(command, &limits)
            {
                *item = Item::Refused(error.into());
            }
        }
        for fold in &mut folds {
            fold.check(&limits, |key| seen.can_exist(key));
        }
        // What each edit answers is known once it was last applied.
        let answers = RefCell::new(Vec::new());
        let decide = |edit: Edit<'b>| {
            let place = answers.borrow().len();
            answers.borrow_mut().push(Answer::Null);
            let answers = &answers;
            Box::new(move |found: Option<client::Held<'_>>| {
                let held = found.map(|client::Held { value, expiry }| Held { value, expiry });
                let (change, told) = edit.apply(held, clock());
                answers.borrow_mut()[place] = told;
                change.into()
            })
        };
        let (mut parts, mut changed) = (Vec::new(), VecDeque::new());
        for item in &items {
            let Item::Command(command) = item else { continue };
            let before = parts.len();
            plain(command, &seen, now_ms, &mut parts);
            match command {
                Command::Edit { key, edit } => {
                    parts.push(Part::Update { key, decide: decide(edit.clone()) });
                }
                Command::RemoveMany(keys) => parts.extend(
                    different(keys.iter())
                        .map(|key| Part::Update { key, decide: decide(Edit::Remove) }),
                ),
                _ => {}
            }
            if matches!(command, Command::PutMany(_) | Command::RemoveMany(_)) {
                changed.push_back(parts.len() - before);
            }
        }
        // The parts of folds come last.
        parts.extend(folds.iter_mut().filter_map(|fold| fold.part(clock, limits)));
        let results = store.map(|store| store.run(parts)).unwrap_or_default();
        let count_of_folds = folds.iter().filter(|fold| fold.is_asked()).count();
        let mut results = results;
        let mut of_folds = results.split_off(results.len() - count_of_folds).into_iter();
        let mut told = told;
        let folds = folds.into_iter().map(|fold| {
            let done = fold.is_asked().then(|| of_folds.next().expect("each part has a result"));
            outcome(fold, done, &mut told)
        });
        let mut reading = Reading {
            folds: folds.collect(),
            results: results.into_iter(),
            answers: answers.into_inner().into_iter(),
            changed,
            seen: &seen,
            told,
            now_ms,
        };
        for item in items {
            let start = out.len();
            let written = match item {
                Item::Refused(error) => Err(error),
                Item::Seen(answer) => {
                    out.raw(&seen.answers[answer]);
                    Ok(())
                }
                Item::Command(command) => reading.answer(&command, out),
                Item::Folded(fold) => reading.next_of(fold, out),
            };
            if let Err(error) = written {
                out.truncate(start);
                out.error(&error.to_string());
            }
        }
        reading.told
    }
}

/// How many bytes of values a command brings.
fn brings(command: &Command<'_>) -> usize {
    match command {
        Command::Put { value, .. } => value.len(),
        Command::PutMany(pairs) => pairs.iter().map(|(_, value)| value.len()).sum(),
        _ => 0,
    }
}

/// Whether a command writes only what the cluster takes. If not, nothing of it is done: a command with many
/// keys must not be half done where that can be known before.
fn check(command: &Command<'_>, limits: &Limits) -> Result<(), LimitError> {
    match command {
        Command::Put { key, value, .. } => {
            limits.check_key(key)?;
            limits.check_value(value)
        }
        Command::Edit { key, edit } => {
            limits.check_key(key)?;
            edit.given().map_or(Ok(()), |value| limits.check_value(value))
        }
        Command::RemoveMany(keys) => keys.iter().try_for_each(|key| limits.check_key(key)),
        Command::PutMany(pairs) => pairs.iter().try_for_each(|(key, value)| {
            limits.check_key(key)?;
            limits.check_value(value)
        }),
        _ => Ok(()),
    }
}

/// How many keys a command touches; one that it names twice counts twice.
fn keys(command: &Command<'_>) -> usize {
    match command {
        Command::Look { .. } | Command::Put { .. } | Command::Edit { .. } => 1,
        Command::GetMany(keys) | Command::CountMany(keys) | Command::RemoveMany(keys) => keys.len(),
        Command::PutMany(pairs) => pairs.iter().len(),
        _ => 0,
    }
}

/// Each key that a command touches, and whether it writes it.
fn each_key<'b>(command: &Command<'b>, mut with: impl FnMut(&'b [u8], bool)) {
    match command {
        Command::Look { key, .. } => with(key, false),
        Command::Put { key, .. } | Command::Edit { key, .. } => with(key, true),
        Command::GetMany(keys) | Command::CountMany(keys) => {
            keys.iter().for_each(|key| with(key, false));
        }
        Command::RemoveMany(keys) => keys.iter().for_each(|key| with(key, true)),
        Command::PutMany(pairs) => pairs.iter().for_each(|(key, _)| with(key, true)),
        _ => {}
    }
}

/// Each key once.
fn different<'b>(keys: impl Iterator<Item = &'b [u8]>) -> impl Iterator<Item = &'b [u8]> {
    let mut seen = HashSet::new();
    keys.filter(move |key| seen.insert(*key))
}

/// The plain operations of a command.
fn plain<'b>(command: &Command<'b>, seen: &Seen, now_ms: u64, parts: &mut Vec<Part<'b>>) {
    let mut op = |op| parts.push(Part::Op(op));
    match command {
        Command::Look { key, .. } => op(Op::Get { key }),
        // A time that has passed already ends the key at once.
        Command::Put { key, expiry: Some(at), .. } if *at <= now_ms => op(Op::Delete { key }),
        Command::Put { key, value, expiry: Some(until) } => {
            op(Op::PutUntil { key, value, until: *until });
        }
        Command::Put { key, value, expiry: None } => op(Op::Put { key, value }),
        Command::GetMany(keys) | Command::CountMany(keys) => {
            keys.iter().filter(|key| seen.can_exist(key)).for_each(|key| op(Op::Get { key }));
        }
        Command::PutMany(pairs) => {
            let mut places = HashMap::with_capacity(pairs.iter().len());
            for (key, value) in pairs.iter() {
                let put = Part::Op(Op::Put { key, value });
                match places.entry(key) {
                    // Of one key's values the last one stays.
                    Entry::Occupied(place) => parts[*place.get()] = put,
                    Entry::Vacant(place) => {
                        place.insert(parts.len());
                        parts.push(put);
                    }
                }
            }
        }
        _ => {}
    }
}

/// The key of a command that is about one, and could be a step of a fold.
fn single_key<'b>(command: &Command<'b>) -> Option<&'b [u8]> {
    match command {
        Command::Look { key, .. } | Command::Put { key, .. } | Command::Edit { key, .. } => {
            Some(key)
        }
        Command::RemoveMany(keys) | Command::CountMany(keys) if keys.len() == 1 => {
            keys.iter().next()
        }
        _ => None,
    }
}

/// Such a command as a step.
fn step(command: Command<'_>) -> Step<'_> {
    match command {
        Command::Look { look, .. } => Step::Look(look),
        Command::Put { value, expiry, .. } => Step::Put { value, expiry },
        Command::Edit { edit, .. } => Step::Edit(edit),
        Command::RemoveMany(_) => Step::Edit(Edit::Remove),
        _ => Step::Look(Look::Exists),
    }
}

/// What came of a fold: what its commands have found out, in their order, or why all of them failed.
type Folded = Result<std::vec::IntoIter<Said>, Error>;

fn outcome(fold: Fold<'_>, done: Option<Result<Done, ClientError>>, told: &mut Told) -> Folded {
    let got = match done.transpose().map_err(|error| refusal(&error))? {
        Some(Done::Placed(placed)) => {
            told.copies = Some(placed.copies);
            None
        }
        Some(Done::Got(got)) => got,
        None => None,
    };
    let found = got.as_ref().map(|got| client::Held { value: &got.value, expiry: got.expiry });
    Ok(fold.said(found).into_iter())
}

/// The results of a batch, read command by command.
struct Reading<'s, R, A> {
    results: R,
    answers: A,
    folds: Vec<Folded>,
    /// How many keys each command with many has changed.
    changed: VecDeque<usize>,
    seen: &'s Seen,
    told: Told,
    now_ms: u64,
}

impl<R, A> Reading<'_, R, A>
where
    R: Iterator<Item = Result<Done, ClientError>>,
    A: Iterator<Item = Answer>,
{
    /// The next result. Whatever a command has asked for has one.
    fn done(&mut self) -> Result<Done, Error> {
        let done = self.results.next().expect("an operation has a result");
        if let Ok(Done::Placed(placed)) = &done {
            self.told.copies = Some(placed.copies);
        }
        done.map_err(|error| refusal(&error))
    }

    /// How many keys the next command with many has changed.
    fn changed(&mut self) -> usize {
        self.changed.pop_front().expect("each such command has a count")
    }

    fn got(&mut self, key: &[u8]) -> Result<Option<Got>, Error> {
        let found = match self.seen.can_exist(key).then(|| self.done()).transpose()? {
            Some(Done::Got(got)) => got,
            Some(Done::Placed(_)) | None => None,
        };
        match found {
            Some(_) => self.told.hits += 1,
            None => self.told.misses += 1,
        }
        Ok(found)
    }

    /// Answers the next command of a fold.
    fn next_of(&mut self, fold: usize, out: &mut Replies<'_>) -> Result<(), Error> {
        let said = self.folds[fold].as_mut().map_err(|error| error.clone())?;
        match said.next().expect("each command of a fold has found something out") {
            Said::Answer(answer) => answer.write(out),
            Said::Seen(look, state) => {
                let count =
                    if state.is_some() { &mut self.told.hits } else { &mut self.told.misses };
                *count += 1;
                look.answer(state.as_deref().map(State::held), self.now_ms, out);
            }
        }
        Ok(())
    }

    fn answer(&mut self, command: &Command<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        let now_ms = self.now_ms;
        let look = |look: Look, found: Option<Got>, out: &mut Replies<'_>| {
            let held = found.as_ref().map(|got| Held { value: &got.value, expiry: got.expiry });
            look.answer(held, now_ms, out);
        };
        match command {
            Command::Look { key, look: what } => look(*what, self.got(key)?, out),
            Command::Put { .. } => {
                self.done().map(drop)?;
                out.ok();
            }
            Command::Edit { .. } => {
                let answer = self.answers.next();
                self.done().map(drop)?;
                answer.expect("an edit has an answer").write(out);
            }
            Command::GetMany(keys) => {
                let start = out.len();
                out.array(keys.len());
                all(keys.iter(), |key| {
                    let found = self.got(key)?;
                    if out.len() - start > ANSWER {
                        return Err(Error::LargeAnswer);
                    }
                    look(Look::Value, found, out);
                    Ok(())
                })?;
            }
            Command::CountMany(keys) => {
                let mut count = 0;
                all(keys.iter(), |key| {
                    count += usize::from(self.got(key)?.is_some());
                    Ok(())
                })?;
                out.count(count);
            }
            Command::PutMany(_) => {
                all(0..self.changed(), |_| self.done().map(|_| ()))?;
                out.ok();
            }
            Command::RemoveMany(_) => {
                let mut count = 0;
                all(0..self.changed(), |_| {
                    let answer = self.answers.next();
                    self.done().map(drop)?;
                    count += usize::from(answer == Some(Answer::Integer(1)));
                    Ok(())
                })?;
                out.count(count);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Takes the results of all keys, whatever they are, so that the next command finds its own. Of several errors
/// one that leaves it open what has happened is told first.
fn all<K>(
    keys: impl Iterator<Item = K>,
    mut one: impl FnMut(K) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut trouble: Option<Error> = None;
    for key in keys {
        match (one(key), &trouble) {
            (Ok(()), _) | (Err(_), Some(Error::Unknown(_))) => {}
            (Err(error @ Error::Unknown(_)), _) | (Err(error), None) => trouble = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    trouble.map_or(Ok(()), Err)
}

/// What the client's errors are in Redis's words.
pub(super) fn refusal(error: &ClientError) -> Error {
    match error {
        ClientError::BadKey(limit) | ClientError::BadValue(limit) => Error::Limit(*limit),
        ClientError::Unknown { why } => Error::Unknown(why.clone()),
        ClientError::NoManager { .. } | ClientError::Unavailable => {
            Error::Unavailable(error.to_string())
        }
        ClientError::Full(_) => Error::OutOfMemory,
        ClientError::TooFewCopies { .. } => Error::TooFewCopies,
        ClientError::NotEnoughReplicas { .. } | ClientError::Contended { .. } => {
            Error::TryAgain(error.to_string())
        }
        ClientError::BadList(_) | ClientError::Changed { .. } | ClientError::Refused(_) => {
            Error::Refused(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
