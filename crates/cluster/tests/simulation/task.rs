//! One operation under way at a client or a node: its requests, their answers, and the end of an
//! attempt.

use std::collections::BTreeMap;

use cluster::operation::write::WriteReply;
use cluster::operation::{Need, Request};
use cluster::version::{Clock, Version};

use crate::client::{Owner, Task, TaskId};
use crate::network::{CommitNotice, Dialled, Dir, Frame, LinkId, Party, Pid, Tag, User};
use crate::world::{Event, World};

impl World {
    /// Begins a finisher's only attempt.
    pub fn begin_task(&mut self, task: Task) {
        let id = self.fresh();
        self.tasks.insert(id, task);
        self.attempt(id);
    }

    fn party_of(&self, owner: Owner) -> (Party, Pid) {
        match owner {
            Owner::Thread(client, _) => (Party::Client(client), self.clients[client].pid),
            Owner::Node(pid) => (Party::Node(self.slot_of(pid)), pid),
        }
    }

    /// One attempt of an operation: sends it to its members.
    pub fn attempt(&mut self, id: TaskId) {
        let attempt = self.fresh();
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Owner::Thread(client, _) = task.owner
            && let Some(routes) = &self.clients[client].routes
        {
            task.routes = routes.clone();
        }
        let routes = task.routes.clone();
        let owner = task.owner;
        let name = &self.keys[usize::from(task.key)].name;
        let members = task.op.begin(&routes, name);
        task.attempt = attempt;
        task.is_collecting = task.op.is_collecting();
        task.members = members.to_vec();
        task.legs = vec![None; members.len()];
        task.open = members.len();
        task.need = Need::View;
        task.is_concluded = false;
        if members.is_empty() {
            return self.conclude(id);
        }
        let from = self.party_of(owner);
        // A client may be killed after any of the frames.
        let last = match owner {
            Owner::Thread(..) if !self.is_calm && self.rng.chance(self.plan.abandon) => {
                self.rng.below(members.len() as u64 + 1) as usize
            }
            _ => usize::MAX,
        };
        for (leg, &place) in members.iter().enumerate() {
            if let (true, Owner::Thread(client, _)) = (leg == last, owner) {
                self.counts.abandoned += 1;
                return self.kill_client(client);
            }
            let slot = usize::from(routes.member(place).address.port() - 6000);
            self.send_leg(id, owner, from, slot, Tag { task: id, attempt, leg });
        }
        self.after(self.plan.patience, Event::Patience(id, attempt));
    }

    fn send_leg(&mut self, id: TaskId, owner: Owner, from: (Party, Pid), slot: usize, tag: Tag) {
        let kept = match owner {
            Owner::Thread(client, thread) => self.thread(client, thread).links.remove(&slot),
            Owner::Node(_) => None,
        };
        let kept = kept.filter(|link| self.links.contains_key(link));
        let link = match kept {
            Some(link) => link,
            None => match self.dial(from, Party::Node(slot), User::Task(id)) {
                Dialled::Open(link) => link,
                Dialled::Refused => return self.settle(tag, None, true),
                // Noticed at the time-out: a frame that was never sent.
                Dialled::Silence => {
                    return self.after(self.plan.patience - 1, Event::Unsent(tag));
                }
            },
        };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let frame = match task.op.request() {
            Request::Read => Frame::Read(tag, task.key),
            Request::Fence => Frame::Fence(tag, task.routes.epoch(), task.key),
            Request::Write { version, body, born, expected } => {
                let epoch = task.routes.epoch();
                Frame::Write(tag, epoch, task.key, version, born, *body, expected)
            }
        };
        task.legs[tag.leg] = Some(link);
        if let Some(link) = self.links.get_mut(&link) {
            link.user = User::Task(id);
        }
        if let Owner::Thread(client, thread) = owner
            && let Some(commits) = self.commits(client, thread, slot)
        {
            self.send(link, Dir::Up, Frame::Commit(commits));
        }
        self.send(link, Dir::Up, frame);
    }

    /// The commits that a thread sends to a node, on its own connection, with its next frame;
    /// `None` if there are none. A confused client may name another client's writer.
    pub fn commits(&mut self, client: usize, thread: usize, slot: usize) -> Option<CommitNotice> {
        let versions = self.clients[client].commits.remove(&slot).unwrap_or_default();
        let mut watermarks: BTreeMap<u64, Clock> =
            self.thread(client, thread).watermarks.remove(&slot).into_iter().collect();
        if self.lies() {
            let all = self.clients.iter().enumerate();
            let all = all.flat_map(|(c, of)| of.threads.iter().enumerate().map(move |t| (c, t)));
            let others = all.filter(|(c, (t, _))| (*c, *t) != (client, thread));
            let writers: Vec<u64> =
                others.map(|(_, (_, t))| t.writer).filter(|w| *w != 0).collect();
            if !writers.is_empty() {
                watermarks.insert(self.rng.pick(&writers), Clock::MAX);
            }
        }
        let is_empty = watermarks.is_empty() && versions.is_empty();
        (!is_empty).then_some(CommitNotice { watermarks, versions })
    }

    /// Whether a client is confused now, and sends a watermark that it cannot know (N3).
    pub fn lies(&mut self) -> bool {
        let is_confused = self.plan.lies > 0 && self.rng.chance(self.plan.lies);
        self.counts.lies += u64::from(is_confused);
        is_confused
    }

    /// A frame reaches an operation.
    pub fn task_frame(&mut self, id: TaskId, link: LinkId, frame: Frame) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (tag, clock) = match frame {
            Frame::Wrote(tag, _, clock) | Frame::Found(tag, _, clock) => (tag, clock),
            _ => {
                // The connection has ended.
                let leg = task.legs.iter().position(|l| *l == Some(link));
                if let Some(leg) = leg {
                    let attempt = task.attempt;
                    self.settle(Tag { task: id, attempt, leg }, None, false);
                }
                return;
            }
        };
        let is_current = tag.task == id
            && tag.attempt == task.attempt
            && task.legs.get(tag.leg) == Some(&Some(link));
        if !is_current {
            return;
        }
        let owner = task.owner;
        if let Owner::Thread(client, thread) = owner {
            let now = self.now;
            let client = &mut self.clients[client];
            client.clock.observe(clock);
            client.clock_at = now;
            if let Some(link_now) = self.links.get_mut(&link)
                && let Party::Node(slot) = link_now.to.0
            {
                link_now.user = User::Idle;
                client.threads[thread].links.insert(slot, link);
            }
        } else {
            self.close(link);
        }
        self.settle(tag, Some(frame), false);
    }

    /// A dial has timed out.
    pub fn unsent(&mut self, tag: Tag) {
        self.settle(tag, None, true);
    }

    /// Counts the result of one leg.
    fn settle(&mut self, tag: Tag, answer: Option<Frame>, is_unsent: bool) {
        let Some(task) = self.tasks.get_mut(&tag.task).filter(|t| t.attempt == tag.attempt) else {
            return;
        };
        if task.is_concluded {
            return;
        }
        task.legs[tag.leg] = None;
        task.open -= 1;
        let member = task.members[tag.leg];
        match answer {
            Some(Frame::Wrote(_, answer, _)) => task.op.wrote(WriteReply::Answer(answer)),
            Some(Frame::Found(_, answer, _)) => task.need = task.op.got(member, Some(answer)),
            _ if matches!(task.op.request(), Request::Write { .. }) => {
                task.op.wrote(if is_unsent { WriteReply::Unsent } else { WriteReply::Lost });
            }
            _ => task.need = task.op.got(member, None),
        }
        if task.open == 0 {
            self.conclude(tag.task);
        }
    }

    /// An attempt times out: unanswered requests count as lost.
    pub fn patience(&mut self, id: TaskId, attempt: u64) {
        loop {
            let Some(task) = self.tasks.get(&id).filter(|t| t.attempt == attempt) else { return };
            let open = task.legs.iter().enumerate().find_map(|(leg, l)| l.map(|l| (leg, l)));
            let Some((leg, link)) = open else { return };
            self.close(link);
            self.settle(Tag { task: id, attempt, leg }, None, false);
        }
    }

    /// All legs of an attempt have been counted.
    fn conclude(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.is_concluded = true;
        let need = if task.is_collecting && !task.members.is_empty() {
            task.op.conclude()
        } else {
            task.need
        };
        match task.owner {
            Owner::Node(_) => {
                let task = self.tasks.remove(&id).expect("it was there");
                if let Some(version) = task.op.committed() {
                    self.commit_by_node(&task, version);
                }
            }
            Owner::Thread(client, thread) => self.follow(client, thread, id, need),
        }
    }

    pub fn write_set(&self, task: &Task) -> Vec<usize> {
        let arc = self.keys[usize::from(task.key)].arc;
        let place = |&place: &u16| usize::from(task.routes.member(place).address.port() - 6000);
        task.routes.write_set(arc).iter().map(place).collect()
    }

    fn commit_by_node(&mut self, task: &Task, version: Version) {
        for slot in self.write_set(task) {
            let versions = vec![(task.key, version)];
            let frame = Frame::Commit(CommitNotice { versions, ..CommitNotice::default() });
            let wait = self.rng.within(100, 5_000);
            self.after(wait, Event::Ghost(slot, frame));
        }
    }
}
