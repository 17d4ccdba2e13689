//! Clients: threads that run one operation after the other, as `client` does; and operations under
//! way, which the nodes' finishers have too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::operation::{Body, Choice, Need, Operation, Outcome};
use cluster::replica;
use cluster::version::{Clock, Op, Version, WriterClock};
use cluster::view::Routes;

use crate::checker::{Action, Ending};
use crate::network::{Dialled, Dir, Frame, LinkId, Party, Pid, User};
use crate::plan::Plan;
use crate::world::{Event, Key, Micros, Value, World};

/// An operation's name.
pub type TaskId = u64;

/// The owner of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A client's thread.
    Thread(usize, usize),
    /// A node that completes a dead writer's record.
    Node(Pid),
}

/// An operation under way.
pub struct Task {
    /// Its owner.
    pub owner: Owner,
    pub key: Key,
    pub op: Operation<Value>,
    pub routes: Arc<Routes>,
    pub attempt: u64,
    pub is_collecting: bool,
    /// The members that the attempt is sent to: a leg each.
    pub members: Vec<u16>,
    /// The connection of each leg without an answer.
    pub legs: Vec<Option<LinkId>>,
    pub open: usize,
    pub need: Need,
    pub is_concluded: bool,
}

impl Task {
    /// An operation that has not begun.
    pub fn new(owner: Owner, key: Key, op: Operation<Value>, routes: Arc<Routes>) -> Task {
        let need = Need::Attempt;
        let (attempt, open, is_concluded) = (0, 0, true);
        let (members, legs, is_collecting) = (Vec::new(), Vec::new(), false);
        Task {
            owner,
            key,
            op,
            routes,
            attempt,
            is_collecting,
            members,
            legs,
            open,
            need,
            is_concluded,
        }
    }
}

/// One of a client's threads.
#[derive(Default)]
pub struct Thread {
    pub links: BTreeMap<usize, LinkId>,
    /// Commit watermarks that wait for a frame on these connections.
    pub watermarks: BTreeMap<usize, (u64, Clock)>,
    /// Its writer, and the highest clock drawn for the operation under way.
    pub writer: u64,
    pub drawn: Clock,
    pub task: Option<TaskId>,
    pub record: usize,
    /// The synced copies that were promised when it began.
    pub least: usize,
    pub until: Micros,
    pub pause: Micros,
    /// Until when it pauses.
    pub still_until: Micros,
    /// A refresh under way, and its number: older time-outs do not count.
    pub refresh: Option<LinkId>,
    pub turn: u64,
    /// An operation that waits for a refresh before it begins.
    pub pending: Option<(Key, Action)>,
    /// The number of operations that it has yet to run.
    pub left: u32,
}

/// One start of a client.
pub struct Client {
    /// This start.
    pub pid: Pid,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Whether it runs.
    pub is_alive: bool,
    pub clock: WriterClock,
    /// Read-modify-writes tried.
    pub ops: u64,
    pub clock_at: Micros,
    pub routes: Option<Arc<Routes>>,
    /// Keys with committed versions that wait for a frame to these nodes.
    pub commits: BTreeMap<usize, Vec<(Key, Version)>>,
}

impl Client {
    /// A client without a view.
    pub fn new(pid: Pid, threads: usize, left: u32) -> Client {
        let threads = (0..threads).map(|_| Thread { left, ..Thread::default() }).collect();
        let (ops, clock_at, routes, commits) = (0, 0, None, BTreeMap::new());
        Client {
            pid,
            threads,
            is_alive: true,
            clock: WriterClock::default(),
            ops,
            clock_at,
            routes,
            commits,
        }
    }
}

impl World {
    /// Starts a client in place of the one that died.
    pub fn start_client(&mut self, client: usize) {
        let pid = self.fresh();
        let left = self.clients[client].threads.iter().map(|t| t.left).max().unwrap_or(0);
        self.clients[client] = Client::new(pid, self.plan.threads, left);
        for thread in 0..self.plan.threads {
            let wait = self.rng.below(self.plan.think + 1);
            self.after(wait, Event::Wake(pid, client, thread));
        }
    }

    /// Kills a client.
    pub fn kill_client(&mut self, client: usize) {
        let pid = self.clients[client].pid;
        self.log(|_| format!("client{client} ({pid}) dies"));
        self.clients[client].is_alive = false;
        for thread in 0..self.clients[client].threads.len() {
            let thread = &mut self.clients[client].threads[thread];
            let is_busy = thread.task.is_some() || thread.pending.is_some();
            if is_busy && thread.task.take().is_some() {
                let record = thread.record;
                // An unknown end is never wrong.
                let _ = self.history.end(record, Ending::Unknown);
            }
        }
        self.tasks.retain(|_, task| !matches!(task.owner, Owner::Thread(c, _) if c == client));
        self.close_all(pid);
        self.after(3_000, Event::ClientStart(client));
    }

    pub fn thread(&mut self, client: usize, thread: usize) -> &mut Thread {
        &mut self.clients[client].threads[thread]
    }

    /// A thread continues: with another attempt, or with the next operation.
    pub fn wake(&mut self, pid: Pid, client: usize, thread: usize) {
        if self.clients[client].pid != pid || !self.clients[client].is_alive {
            return;
        }
        if let Some(task) = self.thread(client, thread).task {
            return self.attempt(task);
        }
        let pending = self.thread(client, thread).pending.take();
        if self.clients[client].routes.is_none() {
            self.thread(client, thread).pending = pending;
            return self.refresh(client, thread);
        }
        let is_asked_for = pending.is_some();
        let Some((key, action)) = pending.or_else(|| self.next_operation(client, thread)) else {
            return;
        };
        // N5: a clock that was received long ago may be too old.
        let stale = self.plan.stale;
        if !is_asked_for && self.now - self.clients[client].clock_at > stale {
            self.thread(client, thread).pending = Some((key, action));
            return self.refresh(client, thread);
        }
        self.start_operation(client, thread, key, action);
    }

    fn next_operation(&mut self, client: usize, thread: usize) -> Option<(Key, Action)> {
        if self.is_final {
            return self.final_gets.pop().map(|key| (key, Action::Get));
        }
        let left = &mut self.thread(client, thread).left;
        *left = left.checked_sub(1)?;
        let keys = self.plan.keys as u64;
        // Half of the operations are on one key.
        let key = if self.rng.chance(400) { 0 } else { self.rng.below(keys) as Key };
        let Plan { gets, deletes, checks, updates, renewals, .. } = self.plan;
        let mut n = self.rng.below(1000);
        let mut is_one_of = |share: u64| {
            let is_one = n < share;
            n = n.saturating_sub(share);
            is_one
        };
        let action = if is_one_of(gets) {
            Action::Get
        } else if is_one_of(deletes) {
            Action::Delete
        } else if is_one_of(checks) {
            Action::Check
        } else if is_one_of(updates) {
            Action::Update(self.new_value())
        } else if is_one_of(renewals) {
            Action::Renew(self.new_value())
        } else {
            Action::Put(self.new_value())
        };
        Some((key, action))
    }

    /// A new value, perhaps with an expiry time.
    fn new_value(&mut self) -> Value {
        self.last_value += 1;
        let is_mortal = self.plan.mortals > 0 && self.rng.chance(self.plan.mortals);
        let until = is_mortal.then(|| {
            self.counts.mortal += 1;
            // In the clocks' milliseconds, of which there are more than in the simulated time.
            self.wall(0) + self.rng.within(0, self.plan.life) / 1000 * self.plan.speed
        });
        Value { number: self.last_value, until }
    }

    fn start_operation(&mut self, client: usize, thread: usize, key: Key, action: Action) {
        let record = self.history.begin(key, action);
        let until = self.now + self.plan.deadline;
        let least = self.operator.least();
        let asks = match &self.clients[client].routes {
            // Half of all writes count their copies before they are sent, as in
            // `client/src/copied.rs` where their number is unknown.
            Some(routes) if routes.view().least_copies() > 1 => self.rng.chance(500),
            _ => false,
        };
        let op = match action {
            Action::Get => Operation::read(),
            Action::Put(_) | Action::Delete if asks => Operation::read_modify_write(),
            Action::Put(value) => Operation::write(self.draw(client, thread), Some(value)),
            Action::Delete => Operation::write(self.draw(client, thread), None),
            Action::Update(_) | Action::Renew(_) | Action::Check => Operation::read_modify_write(),
        };
        let routes = self.clients[client].routes.clone().expect("it has a view");
        self.log(|_| format!("client{client}.{thread} #{record}: {action:?} k{key}"));
        let id = self.fresh();
        let thread_now = self.thread(client, thread);
        thread_now.record = record;
        thread_now.least = least;
        thread_now.until = until;
        thread_now.pause = 200;
        thread_now.task = Some(id);
        self.tasks.insert(id, Task::new(Owner::Thread(client, thread), key, op, routes));
        self.attempt(id);
    }

    /// Draws a version for a thread's operation.
    fn draw(&mut self, client: usize, thread: usize) -> Version {
        if self.thread(client, thread).writer == 0 {
            self.thread(client, thread).writer = self.fresh();
        }
        let client = &mut self.clients[client];
        let thread = &mut client.threads[thread];
        let version = client.clock.draw(thread.writer);
        thread.drawn = version.clock;
        version
    }

    pub fn follow(&mut self, client: usize, thread: usize, id: TaskId, need: Need) {
        match need {
            Need::Nothing => return self.finish(client, thread, id),
            Need::Attempt | Need::Turn => {}
            Need::Version(above) => {
                self.counts.freshened += 1;
                self.clients[client].clock.observe(above.clock);
                let fresh = self.draw(client, thread);
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.op.freshen(fresh);
                }
            }
            Need::View => return self.refresh(client, thread),
            Need::Choice => match self.choose(client, thread, id) {
                Need::Nothing => return self.finish(client, thread, id),
                Need::View => return self.refresh(client, thread),
                _ => {}
            },
        }
        if !self.give_up(client, thread, id) {
            let pid = self.clients[client].pid;
            let pause = self.stand_still(client, thread, id);
            self.thread(client, thread).still_until = self.now + pause;
            self.after(pause, Event::Wake(pid, client, thread));
        }
    }

    /// How long a thread waits before its next attempt. Sometimes long; and sometimes the key's
    /// primary dies meanwhile, between the steps of a read-modify-write.
    fn stand_still(&mut self, client: usize, thread: usize, id: TaskId) -> Micros {
        if self.is_calm {
            return 10;
        }
        let record = self.thread(client, thread).record;
        if matches!(self.history.action(record), Action::Update(_) | Action::Renew(_))
            && self.rng.chance(self.plan.kill_primary)
        {
            let write_set = self.tasks.get(&id).map(|task| self.write_set(task));
            if let Some(&primary) = write_set.as_deref().and_then(<[usize]>::first) {
                self.kill_primary(primary);
                return self.rng.within(10, self.plan.longest / 4);
            }
        }
        // While a value has expired by some clocks only.
        let key = self.history.key(record);
        let (first, last) = self.walls();
        if self.plan.lingers > 0
            && self.history.has_mortal(key, first..=last)
            && self.rng.chance(self.plan.lingers)
        {
            return self.rng.within(10, 20_000);
        }
        if self.rng.chance(self.plan.stall) { self.rng.within(10, self.plan.longest) } else { 10 }
    }

    /// A read-modify-write has read the key: it chooses its own value, or no change.
    fn choose(&mut self, client: usize, thread: usize, id: TaskId) -> Need {
        let record = self.thread(client, thread).record;
        let client = &mut self.clients[client];
        client.ops += 1;
        let op = Op { writer: client.pid, count: client.ops };
        let Some(task) = self.tasks.get_mut(&id) else { return Need::Nothing };
        let found = task.op.found().copied().flatten();
        let choice = match self.history.action(record) {
            Action::Renew(_) if found.is_none() => {
                self.history.update_from(record, None);
                Choice::Leave
            }
            Action::Update(value) | Action::Renew(value) => {
                self.history.update_from(record, Some(found));
                Choice::Replace(Some(value))
            }
            Action::Put(value) => Choice::Replace(Some(value)),
            Action::Delete => Choice::Replace(None),
            _ => Choice::Leave,
        };
        task.op.choose(op, choice)
    }

    /// Ends an operation after its deadline. Returns whether it did.
    pub fn give_up(&mut self, client: usize, thread: usize, id: TaskId) -> bool {
        if self.now < self.thread(client, thread).until {
            return false;
        }
        let Some(task) = self.tasks.remove(&id) else { return true };
        self.end(
            client,
            thread,
            if task.op.may_exist() { Ending::Unknown } else { Ending::Failed },
        );
        true
    }

    pub fn finish(&mut self, client: usize, thread: usize, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.doom(task.key);
        self.check_copies(client, thread, &task);
        let write_set = self.write_set(&task);
        if let Some(version) = task.op.committed()
            && write_set.len() > 1
        {
            let is_confused = self.lies();
            let client_now = &mut self.clients[client];
            let Thread { writer, drawn, .. } = client_now.threads[thread];
            // All its writes are done. A confused client sends a watermark for later ones too.
            let clock = if is_confused { Clock::MAX } else { drawn };
            for slot in write_set {
                // By the watermark of a finished call, or by its version.
                if version.writer == writer && replica::is_covered(&version, drawn) {
                    _ = client_now.threads[thread].watermarks.insert(slot, (writer, clock))
                } else {
                    client_now.commits.entry(slot).or_default().push((task.key, version))
                }
            }
            let pid = client_now.pid;
            let wait = self.rng.within(100, self.plan.commit_wait);
            self.after(wait, Event::Flush(pid, client, thread));
        }
        let ending = match task.op.into_outcome() {
            Some(Outcome::Written) => Ending::Done,
            Some(Outcome::Got(body, _)) => Ending::Got(body),
            Some(Outcome::Refused(_)) => Ending::Failed,
            Some(Outcome::FewCopies) => {
                self.counts.few_copies += 1;
                Ending::Failed
            }
            Some(Outcome::Unknown) | None => Ending::Unknown,
        };
        self.end(client, thread, ending);
    }

    /// Checks an acknowledged write against the least copies: so many synced members must hold it
    /// or a newer version. A member that has died or adopted another view since its answer may have
    /// held it.
    fn check_copies(&mut self, client: usize, thread: usize, task: &Task) {
        if task.op.outcome() != Some(&Outcome::Written) {
            return;
        }
        let Some(version) = task.op.committed() else { return };
        let Thread { record, least, .. } = *self.thread(client, thread);
        // The operator may have ordered fewer meanwhile.
        let least = least.min(self.operator.least()).max(task.routes.view().least_copies());
        let arc = self.keys[usize::from(task.key)].arc;
        let holds = |place: &&u16| {
            let member = task.routes.member(**place);
            let process = self.slots[usize::from(member.address.port() - 6000)].process.as_ref();
            let process = process.filter(|process| process.pid == member.incarnation.0);
            let Some(process) = process else { return true };
            // In a long run it may have swept the tombstone.
            let is_swept = self.plan.speed > 1_000 && !process.table.contains_key(&task.key);
            let stored = process.table.get(&task.key);
            let is_held = is_swept || stored.is_some_and(|stored| stored.version >= version);
            process.holdings.epoch() > task.routes.epoch()
                || process.holdings.synced().contains(arc) && is_held
        };
        let held = task.routes.write_set(arc).iter().filter(holds).count();
        self.counts.guarded += u64::from(least > 1);
        if held < least {
            let key = task.key;
            self.fail(format!("#{record} is done at k{key} with {held} synced copies of {least}"));
        }
    }

    fn end(&mut self, client: usize, thread: usize, ending: Ending) {
        let record = self.thread(client, thread).record;
        let thread_now = self.thread(client, thread);
        thread_now.task = None;
        if ending == Ending::Unknown {
            // A writer whose write may be stored somewhere sends no watermark any more.
            thread_now.writer = 0;
        }
        self.log(|_| format!("client{client}.{thread} #{record}: {ending:?}"));
        match ending {
            Ending::Done | Ending::Got(_) => self.counts.done += 1,
            Ending::Failed => self.counts.failed += 1,
            Ending::Unknown => self.counts.unknown += 1,
        }
        if self.is_final && !matches!(ending, Ending::Got(_)) {
            let key = self.history.key(record);
            self.final_gets.push(key);
            self.final_failures += 1;
        }
        if ending == Ending::Done && self.history.has_renewed(record) {
            self.counts.renewed += 1;
        }
        if let Err(why) = self.history.end(record, ending) {
            self.fail(why);
        }
        let pid = self.clients[client].pid;
        let wait = if self.is_final { 10 } else { self.rng.below(self.plan.think + 1) };
        self.after(wait, Event::Wake(pid, client, thread));
    }

    /// Sends the commits that no other frame has carried.
    pub fn flush(&mut self, pid: Pid, client: usize, thread: usize) {
        if self.clients[client].pid != pid || !self.clients[client].is_alive {
            return;
        }
        let waiting = self.clients[client].commits.keys();
        let slots: BTreeSet<usize> = waiting
            .chain(self.clients[client].threads[thread].watermarks.keys())
            .copied()
            .collect();
        for slot in slots {
            let commits = self.commits(client, thread, slot);
            let link = self.thread(client, thread).links.get(&slot).copied();
            // They are not worth a new connection.
            if let Some(link) = link.filter(|link| self.links.contains_key(link))
                && let Some(commits) = commits
            {
                self.send(link, Dir::Up, Frame::Commit(commits));
            }
        }
    }

    /// A thread asks the manager for the view.
    fn refresh(&mut self, client: usize, thread: usize) {
        let pid = self.clients[client].pid;
        let user = User::Refresh(client, thread);
        let turn = self.fresh();
        self.thread(client, thread).turn = turn;
        let wait = match self.dial((Party::Client(client), pid), Party::Manager, user) {
            Dialled::Open(link) => {
                self.send(link, Dir::Up, Frame::Hello);
                self.thread(client, thread).refresh = Some(link);
                self.plan.patience
            }
            Dialled::Refused => 50,
            Dialled::Silence => self.plan.patience,
        };
        self.after(wait, Event::RefreshOver(pid, client, thread, turn));
    }

    /// The manager's answer reaches a thread.
    pub fn refresh_frame(&mut self, client: usize, thread: usize, link: LinkId, frame: Frame) {
        if self.thread(client, thread).refresh != Some(link) {
            return;
        }
        let mut is_news = false;
        if let Frame::Table(routes, _, clock, _) = frame {
            let now = self.now;
            let client_now = &mut self.clients[client];
            client_now.clock.observe(clock);
            client_now.clock_at = now;
            is_news = client_now.routes.as_ref().is_none_or(|old| old.epoch() < routes.epoch());
            // A view without arcs cannot be used.
            if is_news && routes.arcs() > 0 {
                client_now.routes = Some(routes);
            }
            self.close(link);
        }
        self.refreshed(client, thread, is_news);
    }

    /// A refresh times out.
    pub fn refresh_over(&mut self, pid: Pid, client: usize, thread: usize, turn: u64) {
        if self.clients[client].pid != pid
            || !self.clients[client].is_alive
            || self.thread(client, thread).turn != turn
        {
            return;
        }
        if let Some(link) = self.thread(client, thread).refresh {
            self.close(link);
        }
        self.refreshed(client, thread, false);
    }

    fn refreshed(&mut self, client: usize, thread: usize, is_news: bool) {
        let pid = self.clients[client].pid;
        let thread_now = self.thread(client, thread);
        thread_now.refresh = None;
        thread_now.turn = 0;
        let pause = if is_news { 200 } else { thread_now.pause.clamp(200, 5_000) };
        thread_now.pause = pause * 2;
        if let Some(id) = thread_now.task
            && self.give_up(client, thread, id)
        {
            return;
        }
        let wait = match self.thread(client, thread).task {
            Some(id) if is_news => self.stand_still(client, thread, id),
            _ if is_news => 10,
            _ => pause,
        };
        self.after(wait, Event::Wake(pid, client, thread));
    }

    /// An operation that has been under way for too long although its key is served, if there is
    /// one.
    pub fn unserved(&self, is_served: impl Fn(usize) -> bool) -> Option<String> {
        const LONG: Micros = 300_000;
        let threads = self.clients.iter().filter(|c| c.is_alive).flat_map(|c| &c.threads);
        threads.filter(|thread| thread.task.is_some()).find_map(|thread| {
            let key = self.history.key(thread.record);
            let begun = thread.until - self.plan.deadline;
            let begun = begun.max(self.calm_at()).max(thread.still_until);
            let is_served = is_served(self.keys[usize::from(key)].arc);
            (is_served && self.now > begun + LONG).then(|| format!("k{key} is not served"))
        })
    }

    /// Whether all clients have finished their operations.
    pub fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| {
            client.is_alive && client.threads.iter().all(|t| t.task.is_none() && t.left == 0)
        })
    }
}

/// The content after a put or delete.
pub fn body_of(action: Action) -> Body<Value> {
    match action {
        Action::Put(value) | Action::Update(value) | Action::Renew(value) => Some(value),
        Action::Delete | Action::Get | Action::Check => None,
    }
}
