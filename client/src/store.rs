//! [`GTStoreClient`]: the calls.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::arcs::ArcSet;
use cluster::ids::{Address, ClusterId, Incarnation, NodeId};
use cluster::limits::{KEY_CEILING, LimitError, Limits};
use cluster::membership::Loss;
use cluster::membership::order::{Order, Outline, Wish};
use cluster::operation::{Choice, Need, Operation, Outcome, Request};
use cluster::replica::{WriteAnswer, is_covered};
use cluster::version::{Clock, Version};
use cluster::view::Routes;
use fxhash::FxHashSet;
use log::debug;
use net_common::auth::Secret;
use net_common::connection::{Connection, Dial, FIRST_RATE, NetError, Waits};
use net_common::error::ErrorWord;
use net_common::frame::PayloadLimit;
use net_common::in_place::Here;
use net_common::message::change::{Begin, Plan, Planned};
use net_common::message::control::{
    AcceptLoss, AdoptFolder, FolderAdopted, Info, InfoAsk, LossAccepted, Status, StatusAsk,
};
use net_common::progress::LEAST_RATE;

use crate::capacity::Capacity;
use crate::commits::{self, Commits, Flusher};
use crate::connection_pool::ConnectionPool;
use crate::copied::Copied;
use crate::error::ClientError;
use crate::fanout;
use crate::operation::{Change, Decide, Done, Got, Held, Op, Part, Placed, Ran, Task, Valued};
use crate::router::Router;
use crate::turns::Turns;
use crate::writers::{Writer, Writers};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the manager is.
    pub manager: Address,
    /// How long an operation is tried before it fails, and a manager waited for at the start; 10 s. `Duration::MAX`: for
    /// ever.
    pub deadline: Duration,
    /// How long one node may be silent before another attempt is made; 1 s. While bytes move it is waited for, until
    /// the deadline.
    pub patience: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// The node that this client is a part of, if it is part of one: it is spoken to in place.
    pub here: Option<Here>,
}

impl Config {
    /// The defaults, for a manager at `manager`.
    pub fn new(manager: Address) -> Config {
        Config {
            manager,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(1),
            secret: None,
            here: None,
        }
    }
}

/// Most operations in one attempt: bounds what one frame carries and what one failure sends again.
pub(crate) const CHUNK_OPS: usize = 4096;

/// Most bytes of keys and values that one attempt begins with, and that one frame of writes has, unless a single
/// one has more. Half a frame, so that what a node's frame has besides always fits. How much comes back is the
/// nodes' affair: what does not fit their answers is asked for again.
pub(crate) const CHUNK_BYTES: usize = net_common::frame::MAX_PAYLOAD / 2;

/// What a record costs in a frame besides key and value, rounded up.
pub(crate) const RECORD_OVERHEAD: usize = 64;

/// Waits between attempts that did not get further, when even a new view does not help: from the first,
/// doubled up to the last. A view change takes milliseconds when all goes well.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// By how much less the way to a node is taken to carry after it was silent: in four such attempts a way is waited for
/// that carries 64 KiB a second, and what a node that hangs costs stays the same but for large frames.
const SLOWER: u64 = 4;

/// A client of one cluster. Share it between threads by reference; each call blocks its own thread.
pub struct GTStoreClient {
    pub(crate) config: Config,
    pub(crate) pool: Arc<ConnectionPool>,
    commits: Arc<Commits>,
    flusher: Flusher,
    pub(crate) router: Router,
    writers: Writers,
    capacity: Capacity,
    copied: Copied,
    turns: Turns,
}

impl GTStoreClient {
    /// Connects to the manager and learns the view. Where there is none yet, or it has no room for another connection,
    /// waits for it until the deadline.
    ///
    /// # Errors
    /// [`ClientError::NoManager`] where it does not answer until then; at once where what answers is not this cluster's
    /// manager, or does not take the secret.
    pub fn init(config: Config) -> Result<GTStoreClient, ClientError> {
        let dial = Dial {
            connect: config.patience,
            reply: config.patience,
            secret: config.secret.clone(),
            payload: PayloadLimit::default(),
        };
        let pool = Arc::new(ConnectionPool::new(dial, config.here.clone()));
        let no_manager =
            |source| ClientError::NoManager { address: config.manager.clone(), source };
        let (until, mut pause) = (after(config.deadline), FIRST_PAUSE);
        let (router, clock) = loop {
            match Router::new(&pool, config.manager.clone()) {
                Ok(made) => break made,
                Err(error) if error.may_pass() && Instant::now() < until => {
                    let left = until.saturating_duration_since(Instant::now());
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                Err(error) => return Err(no_manager(error)),
            }
        };
        let writers = Writers::new(writer_id()?);
        writers.tell(clock);
        let commits = Arc::new(Commits::default());
        let flusher = Flusher::start(pool.clone(), commits.clone())
            .map_err(|e| ClientError::Refused(format!("the system has no more threads: {e}")))?;
        let (capacity, copied, turns) = (Capacity::default(), Copied::default(), Turns::new());
        Ok(GTStoreClient {
            config,
            pool,
            commits,
            flusher,
            router,
            writers,
            capacity,
            copied,
            turns,
        })
    }

    /// Gives a key a value. Blocks until all replicas hold it.
    ///
    /// # Errors
    /// [`ClientError`]; only after [`ClientError::Unknown`] can the value be, or become, visible.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Put { key, value }))
    }

    /// Gives a key a value until a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn put_until(&self, key: &[u8], value: &[u8], until: u64) -> Result<Placed, ClientError> {
        placed(self.one(Op::PutUntil { key, value, until }))
    }

    /// What time it is by the clocks of the cluster, in milliseconds since 1970: those that tell when a value's
    /// time is over. This machine's own may be wrong.
    pub fn now_ms(&self) -> u64 {
        self.stay_fresh();
        self.writers.now_ms()
    }

    /// Fetches a key's value; `None` if it has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Got>, ClientError> {
        got(self.one(Op::Get { key }))
    }

    /// Removes a key, whether it has a value or not. Blocks until all replicas know.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn delete(&self, key: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Delete { key }))
    }

    /// Gives a key a value if what it holds is `expected` (`None`: nothing); otherwise tells what it holds.
    /// Atomic among all writes of the key, whoever makes them and whatever fails meanwhile.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn put_if(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<Done, ClientError> {
        self.update(key, |found| {
            if found == expected { Change::Put(value.to_vec()) } else { Change::Leave }
        })
    }

    /// Makes a key's value from the one that it holds: `decide` gets that, or `None`. Atomic among all
    /// writes of the key, whoever makes them and whatever fails meanwhile. `decide` is asked again when
    /// somebody was quicker; only what it said last takes effect, and that once. Where others change the key all
    /// the time, calls of this client queue for their turn; so `decide` must not call this client itself.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`]; [`ClientError::Contended`] where others were quicker until the deadline;
    /// [`ClientError::BadValue`] where `decide` makes a value that is too long.
    pub fn update(
        &self,
        key: &[u8],
        mut decide: impl FnMut(Option<&[u8]>) -> Change,
    ) -> Result<Done, ClientError> {
        self.update_held(key, |held| decide(held.map(|held| held.value)))
    }

    /// The same, where `decide` is to know until when the value lives.
    ///
    /// # Errors
    /// As [`GTStoreClient::update`].
    pub fn update_held(
        &self,
        key: &[u8],
        decide: impl FnMut(Option<Held<'_>>) -> Change,
    ) -> Result<Done, ClientError> {
        self.hear_of_limits([(key.len(), 0)].into_iter());
        let limits = self.limits();
        let task = update(key, Box::new(decide), &limits);
        let (mut batch, _) = self.run_tasks(self.writers.take(0), vec![task], usize::MAX);
        batch.pop().and_then(|task| task.result).expect("an operation has a result")
    }

    /// Puts many keys at once: each node gets one frame. The keys are independent; each has its own
    /// result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn put_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(K, V)],
    ) -> Vec<Result<Placed, ClientError>> {
        let ops: Vec<Op<'_>> = pairs
            .iter()
            .map(|(key, value)| Op::Put { key: key.as_ref(), value: value.as_ref() })
            .collect();
        self.run(&ops).into_iter().map(placed).collect()
    }

    /// Gets many keys at once; each has its own result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Got>, ClientError>> {
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::Get { key: key.as_ref() }).collect();
        self.run(&ops).into_iter().map(got).collect()
    }

    /// Gives a key a value made of several strings, joined by commas, as the original does.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`], and [`ClientError::BadList`] where a string has a comma of its own.
    pub fn put_list<S: AsRef<str>>(&self, key: &[u8], list: &[S]) -> Result<Placed, ClientError> {
        if let Some(i) = list.iter().position(|item| item.as_ref().contains(',')) {
            return Err(ClientError::BadList(i));
        }
        let items: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
        self.put(key, items.join(",").as_bytes())
    }

    /// Fetches a value as the strings that it is made of.
    ///
    /// # Errors
    /// As [`GTStoreClient::get`].
    pub fn get_list(&self, key: &[u8]) -> Result<Option<Vec<String>>, ClientError> {
        let got = self.get(key)?;
        Ok(got.map(|g| String::from_utf8_lossy(&g.value).split(',').map(str::to_owned).collect()))
    }

    /// Runs a mixed batch. The operations are independent of each other, even those of one key; each
    /// has its own result, in their order.
    #[must_use = "each operation has an error of its own"]
    pub fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let mut results = Vec::with_capacity(ops.len());
        let mut rest = ops;
        while !rest.is_empty() {
            let sizes = rest.iter().map(size);
            let (chunk, later) = rest.split_at(chunk(sizes));
            results.extend(self.run_chunk(chunk));
            rest = later;
        }
        results
    }

    /// The same for a batch that may have read-modify-writes. Independent means here, too, that two of one
    /// key get in each other's way, and take turns.
    #[must_use = "each operation has an error of its own"]
    pub fn run_mixed(&self, parts: Vec<Part<'_>>) -> Vec<Result<Done, ClientError>> {
        let results = self.run_within(parts, usize::MAX).into_iter();
        results.map(|ran| ran.over().expect("an operation has a result")).collect()
    }

    /// The same, until about `most` bytes have been read: what has yet to read then, or to begin, comes back as it
    /// is, and nothing of it is done. The first part never does.
    #[must_use = "each operation has an error of its own"]
    pub fn run_within<'a>(&self, parts: Vec<Part<'a>>, most: usize) -> Vec<Ran<'a>> {
        let mut left = most;
        let mut results = Vec::with_capacity(parts.len());
        let mut rest: VecDeque<Part<'a>> = parts.into();
        while !rest.is_empty() && (results.is_empty() || left > 0) {
            let sizes = rest.iter().map(|part| match part {
                Part::Op(op) => size(op),
                Part::Update { key, .. } => key.len(),
            });
            let chunk = chunk(sizes);
            // It goes alone, and as such (see there).
            if let (1, Some(&Part::Op(op))) = (chunk, rest.front()) {
                rest.pop_front();
                let done = self.one(op);
                left = left.saturating_sub(bytes_of(&done));
                results.push(Ran::Over(done));
                continue;
            }
            self.stay_fresh();
            self.hear_of_limits(rest.iter().take(chunk).map(|part| match part {
                Part::Op(op) => lengths(op),
                Part::Update { key, .. } => (key.len(), 0),
            }));
            let is_write =
                |part: &&Part<'_>| matches!(part, Part::Op(op) if !matches!(op, Op::Get { .. }));
            let mut writer = self.writers.take(rest.iter().take(chunk).filter(is_write).count());
            let routes = self.router.routes();
            let limits = routes.view().limits_for_writes();
            let tasks = rest
                .drain(..chunk)
                .map(|part| match part {
                    Part::Op(op) => self.start(&op, &routes, &mut writer),
                    Part::Update { key, decide } => update(key, decide, &limits),
                })
                .collect();
            let (run, read) = self.run_tasks(writer, tasks, left);
            left = left.saturating_sub(read);
            results.extend(run.into_iter().map(Task::into_ran));
        }
        results.extend(rest.into_iter().map(Ran::Left));
        results
    }

    /// Makes sure that nothing is refused by limits that are not the cluster's any more: who never has a view
    /// refused does not hear of others.
    fn hear_of_limits(&self, mut lengths: impl Iterator<Item = (usize, usize)>) {
        let limits = self.limits();
        let is_beyond =
            |(key, value): (usize, usize)| key > limits.key_bytes || value > limits.value_bytes;
        if lengths.any(is_beyond)
            && self.router.is_old()
            && let Ok(clock) = self.router.refresh(&self.pool)
        {
            self.writers.tell(clock);
        }
    }

    fn one(&self, op: Op<'_>) -> Result<Done, ClientError> {
        self.run_chunk(&[op]).pop().expect("an operation has a result")
    }

    /// Versions must not be too old to be taken.
    fn stay_fresh(&self) {
        if self.writers.is_stale()
            && let Ok(clock) = self.router.refresh(&self.pool)
        {
            self.writers.tell(clock);
        }
    }

    /// Runs a batch as one attempt after the other, however large it is.
    fn run_chunk(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let results = self.run_chunk_within(ops, usize::MAX);
        results.into_iter().map(|done| done.expect("an operation has a result")).collect()
    }

    /// The same, until about `most` bytes have been read. What has yet to read then has no result; the first always
    /// has one.
    pub(crate) fn run_chunk_within(
        &self,
        ops: &[Op<'_>],
        most: usize,
    ) -> Vec<Option<Result<Done, ClientError>>> {
        self.stay_fresh();
        self.hear_of_limits(ops.iter().map(lengths));
        let routes = self.router.routes();
        if let [Op::Put { key, .. } | Op::PutUntil { key, .. }] = *ops
            && self.capacity.is_unheard(&routes, key)
            // It asks all replicas, and so hears whether they are full.
            && let Err(error) = self.update(key, |_| Change::Leave)
        {
            return vec![Some(Err(error))];
        }
        let writes = ops.iter().filter(|op| !matches!(op, Op::Get { .. })).count();
        let mut writer = self.writers.take(writes);
        let batch = ops.iter().map(|op| self.start(op, &routes, &mut writer)).collect();
        let (batch, _) = self.run_tasks(writer, batch, most);
        batch.into_iter().map(|task| task.result).collect()
    }

    /// An operation of a batch. A put of a key that a full node keeps goes as a read-modify-write, and so does any write
    /// of which it is not known that there are as many synced copies as it has to have.
    fn start<'a>(&self, op: &Op<'a>, routes: &Routes, writer: &mut Writer<'_>) -> Task<'a> {
        let limits = &routes.view().limits_for_writes();
        let (key, value) = match *op {
            Op::Put { key, value } | Op::PutUntil { key, value, .. } => (key, value),
            Op::Delete { key } => (key, &[][..]),
            Op::Get { .. } => return start(op, limits, writer),
        };
        let adds = !matches!(op, Op::Delete { .. });
        let is_full = || adds && self.capacity.full(routes, key).is_some();
        if check(key, value, limits).is_err() || self.copied.is_sure(routes, key) && !is_full() {
            return start(op, limits, writer);
        }
        let op = *op;
        let decide = move |_: Option<Held<'_>>| match op {
            Op::Put { value, .. } => Change::Put(value.to_vec()),
            Op::PutUntil { value, until, .. } => Change::PutUntil(value.to_vec(), until),
            Op::Delete { .. } | Op::Get { .. } => Change::Delete,
        };
        update(key, Box::new(decide), limits)
    }

    /// Returns them once they are over, and how many bytes were read for them.
    fn run_tasks<'a>(
        &self,
        mut writer: Writer<'_>,
        mut batch: Vec<Task<'a>>,
        most: usize,
    ) -> (Vec<Task<'a>>, usize) {
        let mut read = 0;
        let until = after(self.config.deadline);
        let mut waits =
            Waits { silence: self.config.patience, until: Some(until), rate: FIRST_RATE };
        let mut pause = FIRST_PAUSE;
        if self.router.is_loss_to_be_reviewed()
            && let Ok(clock) = self.router.refresh(&self.pool)
        {
            self.writers.tell(clock);
        }
        let mut turns = self.turns.none();
        let updates = batch.iter().filter(|task| task.decide.is_some());
        if turns.queue(updates.map(|task| task.key), until) {
            // As far as one can tell: it is the first thing that stood in the way.
            batch.iter_mut().for_each(|task| task.is_contended = task.decide.is_some());
        }
        // The last attempt that came to nothing may have met nobody who refused it.
        let mut refusal = None;
        loop {
            let routes = self.router.routes();
            self.refuse_lost(&routes, &mut batch);
            let is_own = |version: &Version| self.writers.cover(version);
            let attempt =
                fanout::attempt(&self.pool, &self.commits, &routes, &mut batch, waits, &is_own);
            if attempt.is_silent {
                // Perhaps what was sent is still on its way.
                waits.rate = (waits.rate / SLOWER).max(LEAST_RATE);
            }
            if attempt.clock != 0 {
                self.writers.tell(attempt.clock);
            }
            self.capacity.hear(&routes, &attempt.told);
            let mut needs_view = false;
            let mut is_over = true;
            // Gets may still be under way: a mark speaks of writes only.
            let mut is_written = true;
            let mut written = Vec::new();
            let (mut lost, mut changed) = (Vec::new(), FxHashSet::default());
            for (i, (task, need)) in batch.iter_mut().zip(&attempt.needs).enumerate() {
                match *need {
                    Need::View => {
                        needs_view = true;
                        task.is_contended = false;
                    }
                    Need::Version(above) => task.operation.freshen(writer.draw_above(above)),
                    Need::Choice => {
                        let found = task.operation.found().and_then(Option::as_ref);
                        read += found.map_or(0, |found| found.bytes.len());
                        needs_view |= self.choose(task, &routes) == Need::View;
                    }
                    Need::Turn => {
                        task.losses += 1;
                        task.is_contended = true;
                        lost.push(task.key);
                    }
                    Need::Nothing | Need::Attempt => {
                        if task.decide.is_some() && task.operation.may_exist() {
                            changed.insert(task.key);
                        }
                    }
                }
                let was_over = task.is_over();
                if self.settle(task, &routes, &mut writer) {
                    written.push(i);
                }
                if !was_over && task.decide.is_none() {
                    read += task.result.as_ref().map_or(0, bytes_of);
                }
                // What comes first is never left: whoever asks again gets on.
                task.is_left |= i > 0 && read >= most && task.operation.has_yet_to_read();
                is_over &= task.is_over();
                is_written &= task.result.is_some() || !task.operation.is_write();
            }
            let mark = if is_written { writer.mark() } else { None };
            self.commit(&batch, &written, mark, &routes, attempt.used);
            if is_over {
                break;
            }
            if let Some((place, why)) = attempt.refusal {
                refusal = Some(format!("{} {why}", routes.member(place).id));
            }
            let trouble = needs_view.then(|| self.refresh(&routes, &mut pause, until));
            let open = |task: &&Task<'_>| !task.is_over() && task.decide.is_some();
            turns.keep(batch.iter().filter(open).map(|task| task.key));
            // Who lost to another of this very call need not rest.
            lost.retain(|key| !changed.contains(key));
            if !lost.is_empty() {
                turns.lost(lost.into_iter(), until);
            }
            if Instant::now() >= until {
                self.give_up(&mut batch, attempt.trouble.or(refusal), trouble.flatten());
                writer.doubt();
                break;
            }
        }
        (batch, read)
    }

    /// The longest keys and values that the cluster takes.
    pub fn limits(&self) -> Limits {
        self.router.routes().view().limits_for_writes()
    }

    /// The same, once the manager was asked for news, unless it was just before.
    pub fn newest_limits(&self) -> Limits {
        self.hear_of_limits([(usize::MAX, 0)].into_iter());
        self.limits()
    }

    /// The cluster whose view this client has.
    pub fn cluster(&self) -> ClusterId {
        self.router.routes().view().cluster
    }

    /// Ends operations on keys that nobody alive holds, rather than let a whole batch wait for them. A write
    /// that may have been stored before that goes on until the deadline: who holds it may come back.
    fn refuse_lost(&self, routes: &Routes, batch: &mut [Task<'_>]) {
        let lost = self.router.lost();
        if lost.is_clear() {
            return;
        }
        for task in batch.iter_mut().filter(|task| !task.is_over()) {
            let is_lost = routes.arc_of(task.key).is_some_and(|arc| lost.contains(arc));
            if is_lost && !task.operation.may_exist() {
                task.fail(ClientError::Unavailable);
            }
        }
    }

    /// Lets the caller decide what a read-modify-write makes of what it found. Where a replica is full it may
    /// not make more of it.
    fn choose(&self, task: &mut Task<'_>, routes: &Routes) -> Need {
        let Some(decide) = &mut task.decide else { return Need::Nothing };
        let found = task.operation.found().and_then(Option::as_ref);
        let held = found.map(|found| Held { value: &found.bytes, expiry: found.expiry });
        let (value, expiry) = match decide(held) {
            Change::Leave => return task.operation.choose(self.writers.op(), Choice::Leave),
            Change::Delete => (None, None),
            Change::Put(value) => (Some(value), None),
            Change::PutUntil(value, until) => (Some(value), Some(until)),
        };
        if value
            .as_ref()
            .is_some_and(|value| held.is_none_or(|held| held.value.len() < value.len()))
            && let Some(node) = self.capacity.full(routes, task.key)
        {
            task.fail(ClientError::Full(node));
            return Need::Nothing;
        }
        let choice = match value {
            None => Choice::Replace(None),
            Some(value) => match self.check_value(&value) {
                Ok(()) => Choice::Replace(Some(Valued { bytes: Cow::Owned(value), expiry })),
                Err(error) => {
                    task.fail(ClientError::BadValue(error));
                    return Need::Nothing;
                }
            },
        };
        task.operation.choose(self.writers.op(), choice)
    }

    fn check_value(&self, value: &[u8]) -> Result<(), LimitError> {
        self.hear_of_limits([(0, value.len())].into_iter());
        self.limits().check_value(value)
    }

    /// Turns an operation's outcome, if it has one, into the caller's result. Returns whether its replicas
    /// are to be told that something is committed.
    fn settle(&self, task: &mut Task<'_>, routes: &Routes, writer: &mut Writer<'_>) -> bool {
        if task.result.is_some() || task.operation.outcome().is_none() {
            return false;
        }
        let arc = routes.arc_of(task.key).expect("somebody has answered for this key");
        let replicas = routes.replicas(arc);
        let write_set = routes.write_set(arc);
        task.committed = task.operation.committed();
        let node = |place: usize| routes.member(replicas[place]).id.clone();
        let limits = routes.view().limits_for_writes();
        let is_refused = matches!(task.operation.outcome(), Some(Outcome::Refused(_)));
        let is_beyond = match task.operation.request() {
            _ if !is_refused => None,
            Request::Write { body: Some(value), .. } => {
                check(task.key, &value.bytes, &limits).err()
            }
            _ => check(task.key, &[], &limits).err(),
        };
        let operation = std::mem::replace(&mut task.operation, Operation::read());
        task.result = operation.into_outcome().map(|outcome| match outcome {
            Outcome::Written => {
                self.copied.note(routes, arc);
                Ok(Done::Placed(Placed { primary: node(0), copies: write_set.len() }))
            }
            Outcome::Got(value, place) => Ok(Done::Got(value.map(|value| Got {
                value: value.bytes.into_owned(),
                expiry: value.expiry,
                primary: node(place),
            }))),
            Outcome::FewCopies => {
                Err(ClientError::TooFewCopies { least: routes.view().least_copies() })
            }
            // Limits that have become lower are refused in their own words.
            Outcome::Refused(why) => {
                Err(is_beyond.unwrap_or_else(|| ClientError::Refused(refusal(why).into())))
            }
            Outcome::Unknown => {
                writer.doubt();
                Err(ClientError::Unknown {
                    why: "some replica may hold this write, and newer ones are around".into(),
                })
            }
        });
        task.committed.is_some() && write_set.len() > 1
    }

    /// Lets replicas know what is committed of these tasks: by the call's mark, which counts on the connections that its
    /// writes went over, or one by one. Puts the connections back.
    fn commit(
        &self,
        batch: &[Task<'_>],
        written: &[usize],
        mark: Option<(u64, Clock)>,
        routes: &Routes,
        used: Vec<(u16, Connection)>,
    ) {
        let members = if mark.is_some() { routes.view().members.len() } else { 0 };
        let (mut marked, mut is_used) = (vec![false; members], vec![false; members]);
        let mut is_first = false;
        for (place, _) in used.iter().filter(|_| mark.is_some()) {
            is_used[usize::from(*place)] = true;
        }
        for &i in written {
            let task = &batch[i];
            let (Some(version), Some(arc)) = (task.committed, routes.arc_of(task.key)) else {
                continue;
            };
            let covers = |(id, clock)| id == version.writer && is_covered(&version, clock);
            let is_marked = mark.is_some_and(covers);
            let mut named = Vec::new();
            for &place in routes.write_set(arc) {
                // Those who had it in an earlier step of the call had it over a connection that is given back by now.
                if is_marked && is_used[usize::from(place)] {
                    marked[usize::from(place)] = true
                } else {
                    named.push(&routes.member(place).address)
                }
            }
            if !named.is_empty() {
                is_first |= self.commits.version(named.into_iter(), task.key, version);
            }
        }
        let mut wakes = is_first;
        for (place, mut link) in used {
            if let Some(mark) = mark.filter(|_| marked[usize::from(place)]) {
                commits::mark(&mut link, mark);
                wakes = true;
            }
            self.pool.put_back(link);
        }
        if wakes {
            self.flusher.wake();
        }
    }

    /// Learns a newer view; if there is none, pauses. Returns what went wrong with the manager.
    pub(crate) fn refresh(
        &self,
        used: &Routes,
        pause: &mut Duration,
        until: Instant,
    ) -> Option<NetError> {
        let told = self.router.refresh(&self.pool);
        if let Ok(clock) = told {
            self.writers.tell(clock);
            if self.router.routes().epoch() != used.epoch() {
                *pause = FIRST_PAUSE;
                return None;
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep((*pause).min(left));
        *pause = (*pause * 2).min(LAST_PAUSE);
        told.err()
    }

    fn give_up(&self, batch: &mut [Task<'_>], trouble: Option<String>, manager: Option<NetError>) {
        let mut why = trouble.unwrap_or_else(|| "it takes longer than that".into());
        if let Some(error) = manager {
            debug!("at the deadline: {error}");
            why = format!("{why}; and no newer view: {error}");
        }
        for task in batch.iter_mut().filter(|task| !task.is_over()) {
            if task.operation.waits_for_copies() {
                let least = self.router.routes().view().least_copies();
                task.fail(ClientError::TooFewCopies { least });
                continue;
            }
            let (deadline, why) = (self.config.deadline, why.clone());
            task.fail(if task.is_contended {
                ClientError::Contended { deadline, losses: task.losses, why }
            } else {
                ClientError::NotEnoughReplicas { deadline, why }
            });
        }
    }

    /// How the cluster is, as the manager sees it.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.ask_manager(|link| link.call::<Status>(&StatusAsk))
    }

    /// Goes on without what only nodes that are down have held: without this, which a [`Status`] has told. Those keys
    /// begin empty, or with what is on the disks that are there. Returns how many arcs that concerns. While a view
    /// is being made it is asked for again, until the deadline; where the same is lost in another view by then, that is
    /// what is asked for.
    ///
    /// # Errors
    /// [`ClientError::Changed`] where another loss is there by now; [`ClientError::NoManager`], or
    /// [`ClientError::Refused`] where views are being made all the time;
    /// [`ClientError::Unknown`] where the manager was lost before it answered.
    pub fn accept_loss(&self, shown: &Loss) -> Result<u32, ClientError> {
        let until = Instant::now() + self.config.deadline;
        let mut shown = shown.clone();
        loop {
            let order = AcceptLoss(shown.clone());
            let asked = self.ask_patiently(|link| link.call::<LossAccepted>(&order));
            let Err(ClientError::Changed { now }) = asked else {
                return asked.map(|done| done.arcs);
            };
            // Another view, in which the very same is lost, is nothing to decide about.
            match self.status()?.loss {
                Some(loss)
                    if loss != shown && loss.gives_up_what(&shown) && Instant::now() < until =>
                {
                    shown = loss;
                }
                _ => return Err(ClientError::Changed { now }),
            }
        }
    }

    /// Goes on with a node's data folder that is held back since it is, or may be, a copy (rule L5): whoever had it before
    /// has ended. `start` is the one that waits with it, which a [`Status`] has told.
    ///
    /// # Errors
    /// [`ClientError::Changed`] where it does not wait any more; [`ClientError::Refused`] where the node is there;
    /// [`ClientError::NoManager`].
    pub fn adopt_folder(&self, id: &NodeId, start: Incarnation) -> Result<(), ClientError> {
        let order = AdoptFolder { id: id.clone(), start };
        self.ask_patiently(|link| link.call::<FolderAdopted>(&order)).map(drop)
    }

    /// What a planned change would move, were it begun now.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with what speaks against it.
    pub fn plan(&self, wish: Wish, force: bool) -> Result<Outline, ClientError> {
        let order = Order::Change { wish, force };
        self.ask_manager(|link| link.call::<Planned>(&Plan(order))).map(|Planned(outline)| outline)
    }

    /// Begins a planned change of the cluster, or cancels the one that is under way (rule H5). Returns what
    /// it moves once it has begun; [`GTStoreClient::status`] tells how far it is. While something else is
    /// under way it is asked for again, until the deadline.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with what speaks against it;
    /// [`ClientError::Unknown`] where the manager was lost before it answered: look at the status.
    pub fn order(&self, order: &Order) -> Result<Outline, ClientError> {
        // It begins when every node has answered a probe, and is saved.
        self.ask_patiently(|link| link.call::<Planned>(&Begin(order.clone())))
            .map(|Planned(outline)| outline)
    }

    /// Asks for what takes as long as the manager's disk takes; and again, until the deadline, as long as the
    /// answer is that something else is under way.
    fn ask_patiently<T>(
        &self,
        ask: impl Fn(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, ClientError> {
        let until = after(self.config.deadline);
        loop {
            let asked = self.call_manager(|link| {
                link.set_patience(self.config.deadline.max(self.config.patience));
                ask(link)
            });
            match asked {
                Err(error) if error.word() == Some(&ErrorWord::Wait) && Instant::now() < until => {
                    std::thread::sleep(LAST_PAUSE);
                }
                // The manager may have done it before it was lost.
                Err(source @ NetError::Lost { .. }) => {
                    return Err(ClientError::Unknown { why: source.to_string() });
                }
                asked => return asked.map_err(|source| self.managers_error(source)),
            }
        }
    }

    fn ask_manager<T>(
        &self,
        ask: impl FnOnce(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, ClientError> {
        self.call_manager(ask).map_err(|source| self.managers_error(source))
    }

    fn call_manager<T>(
        &self,
        ask: impl FnOnce(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, NetError> {
        let mut link = self.pool.take(self.router.manager())?;
        let answer = ask(&mut link)?;
        self.pool.put_back(link);
        Ok(answer)
    }

    /// What it means that the manager did not do as it was asked. Decided by its word, and never by what follows: names
    /// and keys may be in that.
    fn managers_error(&self, source: NetError) -> ClientError {
        match source {
            NetError::Refused { refused, .. } => match refused.word {
                ErrorWord::Changed => ClientError::Changed { now: refused.why },
                // The error says that it was refused; the manager's word for it need not say so again.
                ErrorWord::Refused => ClientError::Refused(refused.why),
                _ => ClientError::Refused(refused.to_string()),
            },
            source => ClientError::NoManager { address: self.router.manager().clone(), source },
        }
    }

    /// Asks every node of the view how much it holds, the nodes themselves and not the manager.
    ///
    /// # Errors
    /// [`ClientError::NotEnoughReplicas`] where a node does not answer.
    pub fn node_infos(&self) -> Result<Vec<Info>, ClientError> {
        let routes = self.router.routes();
        let ask = |address: &Address| {
            let mut link = self.pool.take(address)?;
            let info = link.call::<Info>(&InfoAsk)?;
            self.pool.put_back(link);
            Ok(info)
        };
        routes
            .view()
            .members
            .iter()
            .map(|member| {
                ask(&member.address).map_err(|error: NetError| ClientError::NotEnoughReplicas {
                    deadline: self.config.patience,
                    why: format!("{}: {error}", member.id),
                })
            })
            .collect()
    }

    /// Brings the view up to date now, not only when an operation finds it out of date.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn refresh_view(&self) -> Result<(), ClientError> {
        let clock = self.router.refresh(&self.pool).map_err(|source| ClientError::NoManager {
            address: self.router.manager().clone(),
            source,
        })?;
        self.writers.tell(clock);
        Ok(())
    }

    /// The arcs that nobody alive holds, as the manager tells now.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn lost(&self) -> Result<Arc<ArcSet>, ClientError> {
        self.refresh_view()?;
        Ok(self.router.lost())
    }

    /// The node that a key's reads go to first, as this client knows it; `None` while nobody serves.
    pub fn primary_of(&self, key: &[u8]) -> Option<cluster::ids::NodeId> {
        let routes = self.router.routes();
        let arc = routes.arc_of(key)?;
        routes.replicas(arc).first().map(|&place| routes.member(place).id.clone())
    }

    /// Tells the replicas what is still to be told, and closes all connections. Dropping the client
    /// does the same; this says it.
    pub fn finalize(self) {}
}

/// When a time that begins now is over. One that is longer than clocks go (`Duration::MAX`) stands for *never*.
pub(crate) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + CENTURY)
}

/// As good as never.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What an operation begins with, in bytes of a frame. What comes back is not known, nor what a read-modify-write
/// makes of it.
fn size(op: &Op<'_>) -> usize {
    match op {
        Op::Put { key, value } | Op::PutUntil { key, value, .. } => key.len() + value.len(),
        Op::Get { key } | Op::Delete { key } => key.len(),
    }
}

/// How much was read for a result.
fn bytes_of(done: &Result<Done, ClientError>) -> usize {
    match done {
        Ok(Done::Got(Some(got))) => got.value.len(),
        _ => 0,
    }
}

/// The lengths of what an operation puts: a key and a value.
fn lengths(op: &Op<'_>) -> (usize, usize) {
    match op {
        Op::Put { key, value } | Op::PutUntil { key, value, .. } => (key.len(), value.len()),
        Op::Delete { key } => (key.len(), 0),
        Op::Get { .. } => (0, 0),
    }
}

/// How many operations of these sizes make one attempt. At least one: a single one always fits a frame, or
/// is refused by the limits.
fn chunk(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = sizes.take(CHUNK_OPS).take_while(|size| {
        bytes += RECORD_OVERHEAD + size;
        bytes <= CHUNK_BYTES
    });
    fits.count().max(1)
}

fn update<'a>(key: &'a [u8], decide: Decide<'a>, limits: &Limits) -> Task<'a> {
    let operation = Operation::read_modify_write();
    let result = limits.check_key(key).err().map(|e| Err(ClientError::BadKey(e)));
    Task { decide: Some(decide), result, ..Task::new(key, operation) }
}

/// An operation of a batch, with a version of its own if it writes, or with an error if it breaks the
/// limits.
fn start<'a>(op: &Op<'a>, limits: &Limits, writer: &mut Writer<'_>) -> Task<'a> {
    let (key, operation, value) = match *op {
        Op::Put { key, value } => (key, put(writer, value, None), value),
        Op::PutUntil { key, value, until } => (key, put(writer, value, Some(until)), value),
        Op::Delete { key } => (key, Operation::write(writer.draw(), None), &[][..]),
        Op::Get { key } => (key, Operation::read(), &[][..]),
    };
    let result = match op {
        // Whether it may exist is for the nodes to say: they know limits that this client has yet to hear of.
        Op::Get { .. } if key.len() > KEY_CEILING => Some(Ok(Done::Got(None))),
        Op::Get { .. } => None,
        _ => check(key, value, limits).err().map(Err),
    };
    Task { result, ..Task::new(key, operation) }
}

/// Whether a cluster with these limits takes this.
fn check(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), ClientError> {
    limits.check_key(key).map_err(ClientError::BadKey)?;
    limits.check_value(value).map_err(ClientError::BadValue)
}

fn put<'a>(writer: &mut Writer<'_>, value: &'a [u8], expiry: Option<u64>) -> Operation<Valued<'a>> {
    Operation::write(writer.draw(), Some(Valued { bytes: Cow::Borrowed(value), expiry }))
}

fn refusal(answer: WriteAnswer) -> &'static str {
    match answer {
        WriteAnswer::BadKey => "the key is longer than the cluster takes",
        WriteAnswer::BadValue => "the value is longer than the cluster takes",
        WriteAnswer::BadVersion => "this client's clock is too far ahead of the replicas'",
        WriteAnswer::Conflict => {
            "another write has the same version: two clients with one identity"
        }
        WriteAnswer::Stored
        | WriteAnswer::Superseded(_)
        | WriteAnswer::BlindStored
        | WriteAnswer::BlindBelow(_)
        | WriteAnswer::Differs(_)
        | WriteAnswer::WrongEpoch
        | WriteAnswer::NoLease
        | WriteAnswer::TooOld => "an answer that refuses nothing",
    }
}

/// 64 random bits, never 0: who writes, for as long as this client lives.
fn writer_id() -> Result<u64, ClientError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| ClientError::Refused(format!("the system has no random bytes: {e}")))?;
    Ok(u64::from_be_bytes(bytes).max(1))
}

fn placed(done: Result<Done, ClientError>) -> Result<Placed, ClientError> {
    done.map(|done| match done {
        Done::Placed(placed) => placed,
        Done::Got(_) => unreachable!("a write ends in a place"),
    })
}

fn got(done: Result<Done, ClientError>) -> Result<Option<Got>, ClientError> {
    done.map(|done| match done {
        Done::Got(got) => got,
        Done::Placed(_) => unreachable!("a get ends in a value or none"),
    })
}
