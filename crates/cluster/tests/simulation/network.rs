//! The network: connections that keep their order and nothing else.
//!
//! A connection delivers each direction's frames in order, after delays of any length; it can lose what is
//! under way in one direction or both, with or without word to the ends; a cut between two parties holds
//! everything up (TCP sends it again) until the cut ends. What a dead process had sent may still arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cluster::claim::Claim;
use cluster::ids::Epoch;
use cluster::membership::{Newcomer, Report, Seen};
use cluster::operation::{Body, ReadAnswer};
use cluster::replica::{State, WriteAnswer};
use cluster::time::Millis;
use cluster::version::{Clock, Version};
use cluster::view::Routes;
use cluster::watermarks::WrittenClocks;

use crate::client::TaskId;
use crate::world::{Event, Key, Micros, Value, World};

/// One start of a process, of whatever kind.
pub type Pid = u64;

/// A connection's name.
pub type LinkId = u64;

/// Who can be cut off from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The manager.
    Manager,
    /// The node at this address.
    Node(usize),
    /// A client.
    Client(usize),
}

/// A record in a page.
#[derive(Debug, Clone)]
pub struct Paged {
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// What its source knows of the other replicas.
    pub state: State,
    /// What it holds.
    pub body: Body<Value>,
}

/// The buckets of an arc's records, a bit each (H3).
pub type Buckets = u64;

/// How a node asks for an arc: for all of it; or with what it held there in an earlier life, to be compared
/// with what the source holds; or, when that is done, for the buckets that were not the same.
#[derive(Debug, Clone)]
pub enum Ask {
    /// For all of it.
    All,
    /// For what differs from these: keys, versions, whether there is a value. They stand for digests.
    Differing(Vec<(Key, Version, bool)>),
    /// For these buckets.
    Of(Buckets),
    /// For what the source's own disk had, as all who keep it are asked (H6).
    Gather,
}

/// Which attempt of which task a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: u64,
    /// The leg of the attempt.
    pub leg: usize,
}

/// What a client says is committed.
#[derive(Debug, Clone, Default)]
pub struct CommitNotice {
    /// Writers, and up to which clock they are done.
    pub watermarks: BTreeMap<u64, Clock>,
    /// Keys, and their versions.
    pub versions: Vec<(Key, Version)>,
}

/// What travels.
#[derive(Debug, Clone)]
pub enum Frame {
    /// COMMIT, to a node: writers with their marks, and keys with their versions.
    Commit(CommitNotice),
    /// WRITE, to a node; with a version that it is to take the place of, CAS.
    Write(Tag, Epoch, Key, Version, Clock, Body<Value>, Option<Version>),
    /// Its answer.
    Wrote(Tag, WriteAnswer, Clock),
    /// READ, to a node.
    Read(Tag, Key),
    /// A fence's READ, to a node, under this epoch.
    Fence(Tag, Epoch, Key),
    /// The answer to both.
    Found(Tag, ReadAnswer<Value>, Clock),
    /// RANGE_PULL, to a node: its epoch, the arcs, and the key that the first of them goes on behind.
    Pull(Epoch, Vec<(u16, Ask)>, Option<Key>),
    /// Its answer: the source's epoch, how many arcs are complete, records, and of arcs that were compared
    /// the buckets that are the same.
    Page(Epoch, usize, Vec<Paged>, Vec<(u16, Buckets)>),
    /// CLIENT_HELLO, to the manager.
    Hello,
    /// STORAGE_REGISTER, to the manager: who it is, whether it was a member before, and what its disk has.
    Register(Newcomer, bool, Option<Claim>, Seen),
    /// The manager does not take the node now; or, if so, does not know the view that the node has seen.
    NotNow(bool),
    /// TABLE_PUSH: a view, the active epoch, the manager's clock, how often heartbeats are to come.
    Table(Arc<Routes>, Epoch, Clock, Millis),
    /// HEARTBEAT, to the manager, with its number.
    Heartbeat(u64, Report),
    /// Its answer: number, whether the node is known, how long a lease it has been given, the active epoch, how
    /// often heartbeats are to come.
    HeartbeatReply(u64, bool, Option<Millis>, Epoch, Millis),
    /// PROBE, to a node, with its number.
    Probe(u64),
    /// The other end is closed, or there is no other end any more.
    Fin,
}

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dir {
    /// From the one who dialled.
    Up,
    /// To the one who dialled.
    Down,
}

impl Dir {
    fn index(self) -> usize {
        match self {
            Dir::Up => 0,
            Dir::Down => 1,
        }
    }
}

/// What the one who dialled uses a connection for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// An operation.
    Task(TaskId),
    /// A client's thread that asks for the view.
    Refresh(usize, usize),
    /// A node's heartbeats.
    Control,
    /// A node's fetching.
    Fetch,
    /// Nothing at present.
    Idle,
}

/// A connection.
pub struct Link {
    /// Who dialled.
    pub from: (Party, Pid),
    /// Who was dialled.
    pub to: (Party, Pid),
    /// What for.
    pub user: User,
    /// What a node has got over it (N3).
    pub written: WrittenClocks,
    queues: [VecDeque<Frame>; 2],
    is_pumping: [bool; 2],
    is_dead: [bool; 2],
}

/// What came of dialling.
pub enum Dialled {
    /// A connection.
    Open(LinkId),
    /// Nobody listens there.
    Refused,
    /// No answer.
    Silence,
}

impl World {
    /// Whether nothing gets from one party to another now.
    pub fn is_cut(&self, from: Party, to: Party) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Opens a connection.
    pub fn dial(&mut self, from: (Party, Pid), to: Party, user: User) -> Dialled {
        if self.is_cut(from.0, to) || self.is_cut(to, from.0) {
            return Dialled::Silence;
        }
        let Some(pid) = self.listener(to) else { return Dialled::Refused };
        let id = self.fresh();
        let link = Link {
            from,
            to: (to, pid),
            user,
            written: WrittenClocks::default(),
            queues: Default::default(),
            is_pumping: [false; 2],
            is_dead: [false; 2],
        };
        self.links.insert(id, link);
        Dialled::Open(id)
    }

    /// How long a frame takes, in microseconds.
    fn delay(&mut self, is_control: bool) -> Micros {
        let usual = self.rng.within(30, self.plan.delay);
        if !self.rng.chance(self.plan.slow) {
            return usual;
        }
        // A slow heartbeat must not make a lease run out: that would be a fault that nobody counts.
        let slowest = if is_control { 6_000 } else { 40_000 };
        usual + self.rng.below(slowest)
    }

    /// Sends a frame.
    pub fn send(&mut self, id: LinkId, dir: Dir, frame: Frame) {
        let Some(link) = self.links.get(&id) else { return };
        let is_control = link.user == User::Control;
        if link.is_dead[dir.index()] {
            return;
        }
        let is_lost = !is_control && !self.is_calm && self.rng.chance(self.plan.loss);
        let delay = self.delay(is_control);
        let link = self.links.get_mut(&id).expect("it was there");
        link.queues[dir.index()].push_back(frame);
        if !link.is_pumping[dir.index()] {
            link.is_pumping[dir.index()] = true;
            self.after(delay, Event::Pump(id, dir));
        }
        if is_lost {
            self.break_link(id);
        }
    }

    /// A connection breaks: what is under way is lost in one direction or both, and its ends hear of it
    /// or do not.
    pub fn break_link(&mut self, id: LinkId) {
        self.counts.broken += 1;
        let (up, down, notifies) = self.rng.pick(&[
            (true, true, true),
            (false, true, true),
            (true, true, false),
            (false, true, false),
            (true, false, false),
        ]);
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut late = Vec::new();
        for (dir, is_lost) in [(Dir::Up, up), (Dir::Down, down)] {
            if is_lost {
                link.is_dead[dir.index()] = true;
                let lost = std::mem::take(&mut link.queues[dir.index()]);
                if let (Dir::Up, Party::Node(slot)) = (dir, link.to.0) {
                    late.extend(lost.into_iter().map(|frame| (slot, frame)));
                }
            }
        }
        let is_control = link.user == User::Control;
        // What was on its way to a node may still arrive, from a connection that nobody has any more.
        for (slot, frame) in late {
            if self.rng.chance(500) {
                self.counts.ghosts += 1;
                let wait = self.rng.within(1_000, 250_000);
                self.after(wait, Event::Ghost(slot, frame));
            }
        }
        // The ends of a control connection always hear of it: they read all the time.
        if notifies || is_control {
            self.fin(id, Dir::Down);
            self.fin(id, Dir::Up);
        }
    }

    /// Lets one end hear, behind everything that is under way to it, that the connection has ended.
    fn fin(&mut self, id: LinkId, dir: Dir) {
        let delay = self.delay(true);
        let Some(link) = self.links.get_mut(&id) else { return };
        let i = dir.index();
        link.is_dead[i] = true;
        link.queues[i].push_back(Frame::Fin);
        if !link.is_pumping[i] {
            link.is_pumping[i] = true;
            self.after(delay, Event::Pump(id, dir));
        }
    }

    /// The one who dialled closes: what it sent still arrives, what is sent to it does not.
    pub fn close(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.user = User::Idle;
        link.queues[Dir::Down.index()].clear();
        link.is_dead[Dir::Down.index()] = true;
        if !link.is_dead[Dir::Up.index()] {
            self.fin(id, Dir::Up);
        }
    }

    /// Ends all connections of a process that has died.
    pub fn close_all(&mut self, pid: Pid) {
        let ends: Vec<(LinkId, Dir)> = self
            .links
            .iter()
            .filter_map(|(id, link)| match (link.from.1 == pid, link.to.1 == pid) {
                (true, _) => Some((*id, Dir::Up)),
                (_, true) => Some((*id, Dir::Down)),
                _ => None,
            })
            .collect();
        for (id, dir) in ends {
            // A reset overtakes what was under way, now and then.
            if self.rng.chance(300)
                && let Some(link) = self.links.get_mut(&id)
            {
                link.queues[dir.index()].clear();
            }
            self.fin(id, dir);
        }
    }

    /// Delivers the next frame of a direction.
    pub fn pump(&mut self, id: LinkId, dir: Dir) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (from, to) = match dir {
            Dir::Up => (link.from, link.to),
            Dir::Down => (link.to, link.from),
        };
        let is_control = link.user == User::Control;
        if self.cuts.contains_key(&(from.0, to.0)) {
            let wait = self.rng.within(1_000, 4_000);
            return self.after(wait, Event::Pump(id, dir));
        }
        match self.standing(to) {
            Alive::Yes => {}
            Alive::Paused(until) => {
                let wait = until.saturating_sub(self.now) + self.rng.below(2_000);
                return self.after(wait, Event::Pump(id, dir));
            }
            Alive::No => {
                // Nobody is there: whoever sent hears that, unless it has gone as well.
                let other = if dir == Dir::Up { Dir::Down } else { Dir::Up };
                let link = self.links.get_mut(&id).expect("it was there");
                link.queues[dir.index()].clear();
                let is_known = link.is_dead[other.index()];
                if is_known {
                    self.links.remove(&id);
                } else {
                    link.is_pumping[dir.index()] = false;
                    link.is_dead[dir.index()] = true;
                    self.fin(id, other);
                }
                return;
            }
        }
        let link = self.links.get_mut(&id).expect("it was there");
        let Some(frame) = link.queues[dir.index()].pop_front() else {
            link.is_pumping[dir.index()] = false;
            return;
        };
        let user = link.user;
        let has_more = !link.queues[dir.index()].is_empty();
        link.is_pumping[dir.index()] = has_more;
        // The other end hears of the end by itself.
        let is_reported = matches!(link.queues[1 - dir.index()].back(), Some(Frame::Fin));
        if has_more {
            let delay = self.delay(is_control);
            self.after(delay, Event::Pump(id, dir));
        }
        if matches!(frame, Frame::Fin) && !is_reported {
            self.links.remove(&id);
        }
        match (dir, to.0) {
            (Dir::Up, Party::Node(slot)) => self.node_frame(slot, Some(id), frame),
            (Dir::Up, _) => self.manager_frame(id, frame),
            (Dir::Down, party) => match user {
                User::Task(task) => self.task_frame(task, id, frame),
                User::Refresh(client, thread) => self.refresh_frame(client, thread, id, frame),
                User::Control => self.control_frame(party, id, frame),
                User::Fetch => self.fetch_frame(party, id, frame),
                User::Idle => {}
            },
        }
    }
}

/// Whether a process runs.
pub enum Alive {
    /// It does.
    Yes,
    /// It is stopped, and goes on then.
    Paused(Micros),
    /// It has ended.
    No,
}
