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
//!
//! How long the values are that a batch reads is not known before. So it is carried out in rounds: what would be too
//! much to hold waits until those before it are answered, and the answers are sent on between two rounds.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use client::{ClientError, Done, GTStoreClient, Got, Op, Part, Ran};
use cluster::limits::{LimitError, Limits};

use super::coalesce::{Fold, Said, Saying, State, Step};
use super::translate;
use crate::node::Node;
use resp::command::Command;
use resp::edit::{Answer, Edit, Held};
use resp::error::Error;
use resp::look::Look;
use resp::reply::{Protocol, Replies};

/// Most operations of a batch, unless a single request has more: what one attempt of the client takes.
const OPERATIONS: usize = 4096;

/// Most bytes that a batch may write, unless a single request has more; and that it may hold of what it has read and not
/// answered yet, but for what one look at the nodes brings more. A megabyte for each of a dozen requests: beyond that
/// another round costs little beside what it carries.
const BYTES: usize = 16 << 20;

/// Answers of a batch are sent once they have so many bytes, although others are to come. Most batches have fewer.
const SENT: usize = 1 << 20;

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

    /// Runs parts that are independent of each other, in any order, until about `most` bytes have been read. Each of
    /// those that have run has its own result. The first always has.
    fn run<'p>(&self, parts: Vec<Part<'p>>, most: usize) -> Vec<Ran<'p>>;
}

impl Store for Arc<GTStoreClient> {
    fn limits(&self) -> Limits {
        GTStoreClient::limits(self)
    }

    fn newest_limits(&self) -> Limits {
        GTStoreClient::newest_limits(self)
    }

    fn run<'p>(&self, parts: Vec<Part<'p>>, most: usize) -> Vec<Ran<'p>> {
        self.run_within(parts, most)
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

    /// Answers what a node holds itself and may show (see [`Node::read_local`]): nothing else has to be asked for it. No more
    /// than may be held at once: the rest is read with what others hold.
    fn look_here(&mut self, node: &Node, now_ms: u64, protocol: Protocol) -> (Seen, Told) {
        let (mut seen, mut told) = (Seen::default(), Told::default());
        node.read_local(|glance| {
            seen.limits = glance.limits();
            for item in &mut self.items {
                let Item::Command(Command::Look { key, look }) = item else { continue };
                let start = seen.answers.len();
                if start >= BYTES {
                    break;
                }
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
    /// goes to the store. Writes the answers, and leaves the batch empty. Where they become many, `send` is to take them
    /// away.
    ///
    /// # Errors
    /// Those of `send`; the rest is not carried out then.
    pub fn run<S: Store>(
        &mut self,
        here: Option<&Node>,
        store: impl FnOnce() -> Result<S, ClientError>,
        clock: &dyn Fn() -> u64,
        out: &mut Replies<'_>,
        mut send: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Told> {
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
                            out.error(&translate::refusal(&error).to_string());
                        }
                    }
                }
                return Ok(told);
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
                *item = Item::Refused(translate::beyond(error));
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
                let (change, told) = edit.apply(found.map(translate::held), clock());
                answers.borrow_mut()[place] = told;
                translate::change(change)
            })
        };
        let (mut parts, mut ends) = (Vec::new(), VecDeque::new());
        for item in &items {
            let Item::Command(command) = item else { continue };
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
            ends.push_back(parts.len());
        }
        let first_fold = parts.len();
        let mut parts: Vec<Option<Ran<'_>>> =
            parts.into_iter().map(|part| Some(Ran::Left(part))).collect();
        parts.extend(folds.iter().map(|fold| fold.part(clock, limits).map(Ran::Left)));
        let sayings = folds.iter().map(|_| None).collect();
        let folds = Folds { all: &folds, first: first_fold, sayings, clock, limits };
        let (next, answer) = (0, 0);
        let mut reading = Reading {
            store,
            parts,
            next,
            ends,
            folds,
            answers: &answers,
            answer,
            seen: &seen,
            told,
            now_ms,
        };
        for item in items {
            if out.len() >= SENT {
                out.hand_over(&mut send)?;
            }
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
        Ok(reading.told)
    }
}

/// How many bytes of values a command brings.
fn brings(command: &Command<'_>) -> usize {
    match command {
        Command::Put { value, .. } => value.len(),
        Command::PutMany(pairs) => pairs.pairs().map(|(_, value)| value.len()).sum(),
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
        Command::PutMany(pairs) => pairs.pairs().try_for_each(|(key, value)| {
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
        Command::PutMany(pairs) => pairs.len() / 2,
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
        Command::PutMany(pairs) => pairs.pairs().for_each(|(key, _)| with(key, true)),
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
            let mut places = HashMap::with_capacity(pairs.len() / 2);
            for (key, value) in pairs.pairs() {
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

/// The folds of a batch.
struct Folds<'p, 'b> {
    all: &'p [Fold<'b>],
    /// Which part is the first one's: they come last.
    first: usize,
    /// What their commands have found out, once it was asked for, or why all of them failed.
    sayings: Vec<Option<Result<Saying<'p, 'b>, Error>>>,
    clock: &'p dyn Fn() -> u64,
    limits: Limits,
}

/// The results of a batch, got and read command by command.
struct Reading<'p, 'b, S> {
    store: Option<S>,
    /// What the store is asked for, and its results, until they are read.
    parts: Vec<Option<Ran<'p>>>,
    /// The next one that is read.
    next: usize,
    /// Where the parts of each command end.
    ends: VecDeque<usize>,
    folds: Folds<'p, 'b>,
    answers: &'p RefCell<Vec<Answer>>,
    /// The next one of them.
    answer: usize,
    seen: &'p Seen,
    told: Told,
    now_ms: u64,
}

impl<S: Store> Reading<'_, '_, S> {
    /// Takes the result of a part, which it waits for if need be.
    fn take(&mut self, part: usize) -> Result<Done, Error> {
        if matches!(self.parts[part], Some(Ran::Left(_))) {
            self.round(part);
        }
        let done = self.parts[part].take().and_then(Ran::over).expect("a part has a result");
        if let Ok(Done::Placed(placed)) = &done {
            self.told.copies = Some(placed.copies);
        }
        done.map_err(|error| translate::refusal(&error))
    }

    /// Asks the store for this part, and for as many of the others as can be held.
    fn round(&mut self, first: usize) {
        let held = self.held();
        let mut asked = vec![first];
        match first.checked_sub(self.folds.first) {
            // It would hold still more, until the last of its commands is answered.
            Some(fold) if held >= BYTES => self.folds.all[fold].cut(),
            _ => {
                asked.extend((0..self.parts.len()).filter(|&part| {
                    part != first && matches!(self.parts[part], Some(Ran::Left(_)))
                }))
            }
        }
        let parts = asked.iter().filter_map(|&part| match self.parts[part].take() {
            Some(Ran::Left(left)) => Some(left),
            _ => None,
        });
        let parts = parts.collect();
        let ran = self.store.as_ref().map(|store| store.run(parts, BYTES.saturating_sub(held)));
        for (part, ran) in asked.into_iter().zip(ran.into_iter().flatten()) {
            self.parts[part] = Some(ran);
        }
    }

    /// How many bytes are held for commands that are still to be answered.
    fn held(&self) -> usize {
        let results = self.parts.iter().map(|ran| match ran {
            Some(Ran::Over(Ok(Done::Got(Some(got))))) => got.value.len(),
            _ => 0,
        });
        let answers = self.answers.borrow();
        let answers = answers.iter().skip(self.answer).map(|answer| match answer {
            Answer::Bulk(value) => value.len(),
            _ => 0,
        });
        let bases = self.folds.all.iter().map(Fold::held);
        let sayings = self.folds.sayings.iter().flatten().flatten().map(Saying::held);
        let held = results.sum::<usize>() + answers.sum::<usize>();
        held + bases.sum::<usize>() + sayings.sum::<usize>()
    }

    /// The next result. Whatever a command has asked for has one.
    fn done(&mut self) -> Result<Done, Error> {
        self.next += 1;
        self.take(self.next - 1)
    }

    /// What the next edit answers, now that its result is there.
    fn answer_of_edit(&mut self) -> Answer {
        self.answer += 1;
        std::mem::replace(&mut self.answers.borrow_mut()[self.answer - 1], Answer::Null)
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
        let (all, part) = (self.folds.all, self.folds.first + fold);
        let mut saying = match self.folds.sayings[fold].take() {
            Some(saying) => saying,
            None => self.begin(&all[fold], part),
        };
        let said = match &mut saying {
            Ok(saying) => {
                Ok(saying.next().expect("each command of a fold has found something out"))
            }
            Err(error) => Err(error.clone()),
        };
        if all[fold].go_on() {
            self.parts[part] = all[fold].part(self.folds.clock, self.folds.limits).map(Ran::Left);
        } else {
            self.folds.sayings[fold] = Some(saying);
        }
        match said? {
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

    /// What the commands of a fold have found out, which the store is asked for, if anything has to be.
    fn begin<'p, 'b>(&mut self, fold: &'p Fold<'b>, part: usize) -> Result<Saying<'p, 'b>, Error> {
        let got = match fold.is_asked().then(|| self.take(part)).transpose()? {
            Some(Done::Got(got)) => got.map(State::got),
            Some(Done::Placed(_)) | None => None,
        };
        Ok(fold.said(got, self.folds.limits))
    }

    /// Answers the next command that is none of a fold. Results that it does not look at are nobody else's.
    fn answer(&mut self, command: &Command<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        let end = self.ends.pop_front().expect("the parts of each command end somewhere");
        let written = self.answer_until(end, command, out);
        self.parts[self.next..end].fill_with(|| None);
        self.next = end;
        written
    }

    fn answer_until(
        &mut self,
        end: usize,
        command: &Command<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
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
                let done = self.done();
                let answer = self.answer_of_edit();
                done.map(drop)?;
                answer.write(out);
            }
            Command::GetMany(keys) => {
                let start = out.len();
                out.array(keys.len());
                for key in keys.iter() {
                    let found = self.got(key)?;
                    if out.len() - start > ANSWER {
                        return Err(Error::LargeAnswer);
                    }
                    look(Look::Value, found, out);
                }
            }
            Command::CountMany(keys) => {
                let mut count = 0;
                for key in keys.iter() {
                    count += usize::from(self.got(key)?.is_some());
                }
                out.count(count);
            }
            Command::PutMany(_) => {
                all(self.next..end, |_| self.done().map(drop))?;
                out.ok();
            }
            Command::RemoveMany(_) => {
                let mut count = 0;
                all(self.next..end, |_| {
                    let done = self.done();
                    let answer = self.answer_of_edit();
                    done.map(drop)?;
                    count += usize::from(answer == Answer::Integer(1));
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

#[cfg(test)]
mod tests;
