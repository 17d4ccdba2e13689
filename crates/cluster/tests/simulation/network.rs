//! The network: connections that keep their order and nothing else.
//!
//! A connection delivers each direction's frames in order, after delays of any length; it can lose
//! frames in one direction or both, and its ends may or may not notice. A cut between two parties
//! delays everything (TCP sends it again) until the cut ends. Frames of a dead process may still
//! arrive.

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

/// One start of a process of any kind.
pub type Pid = u64;

/// A connection's name.
pub type LinkId = u64;

/// An end of a connection.
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
    /// Whether it is committed at its source.
    pub state: State,
    /// Its content.
    pub body: Body<Value>,
}

/// The buckets of an arc's records, a bit each (H3).
pub type Buckets = u64;

/// How a node asks for an arc: for all of it; or with its stale records, to be compared with the
/// source's; or, after the comparison, for the buckets that differ.
#[derive(Debug, Clone)]
pub enum Ask {
    /// For all of it.
    All,
    /// For the differences from these: keys, versions, whether there is a value. They stand for
    /// digests.
    Differing(Vec<(Key, Version, bool)>),
    /// For these buckets.
    Of(Buckets),
    /// For the records of the member's own disk, in a gather (H6).
    Gather,
}

/// The task and attempt of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: u64,
    /// The leg of the attempt.
    pub leg: usize,
}

/// A client's notice of committed records.
#[derive(Debug, Clone, Default)]
pub struct CommitNotice {
    /// Commit watermarks by writer.
    pub watermarks: BTreeMap<u64, Clock>,
    /// Keys, and their versions.
    pub versions: Vec<(Key, Version)>,
}

/// A message.
#[derive(Debug, Clone)]
pub enum Frame {
    /// COMMIT, to a node: writers with their watermarks, and keys with their versions.
    Commit(CommitNotice),
    /// WRITE, to a node; with an expected version, CAS.
    Write(Tag, Epoch, Key, Version, Clock, Body<Value>, Option<Version>),
    /// Its answer.
    Wrote(Tag, WriteAnswer, Clock),
    /// READ, to a node.
    Read(Tag, Key),
    /// A fence's READ, to a node, under this epoch.
    Fence(Tag, Epoch, Key),
    /// The answer to both.
    Found(Tag, ReadAnswer<Value>, Clock),
    /// RANGE_PULL, to a node: its epoch, the arcs, and the key after which the first of them
    /// continues.
    Pull(Epoch, Vec<(u16, Ask)>, Option<Key>),
    /// Its answer: the source's epoch, how many arcs are complete, records, and the equal buckets
    /// of arcs that were compared.
    Page(Epoch, usize, Vec<Paged>, Vec<(u16, Buckets)>),
    /// CLIENT_HELLO, to the manager.
    Hello,
    /// STORAGE_REGISTER, to the manager: its identity, whether it was a member before, and its
    /// claim.
    Register(Newcomer, bool, Option<Claim>, Seen),
    /// The manager does not accept the node now; `true`: it does not know the view that the node
    /// has seen.
    NotNow(bool),
    /// TABLE_PUSH: a view, the active epoch, the manager's clock, the heartbeat interval.
    Table(Arc<Routes>, Epoch, Clock, Millis),
    /// HEARTBEAT, to the manager, with its number.
    Heartbeat(u64, Report),
    /// Its answer: number, whether the node is known, the length of its lease, the active epoch,
    /// the heartbeat interval.
    HeartbeatReply(u64, bool, Option<Millis>, Epoch, Millis),
    /// PROBE, to a node, with its number.
    Probe(u64),
    /// The other end is closed or gone.
    Fin,
}

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dir {
    /// From the dialling party.
    Up,
    /// To the dialling party.
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

/// The dialling party's use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// An operation.
    Task(TaskId),
    /// A client's thread requests the view.
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
    /// The dialling party.
    pub from: (Party, Pid),
    /// The dialled party.
    pub to: (Party, Pid),
    /// Its use.
    pub user: User,
    /// The writes that a node has received over it (N3).
    pub written: WrittenClocks,
    queues: [VecDeque<Frame>; 2],
    is_pumping: [bool; 2],
    is_dead: [bool; 2],
}

/// The result of dialling.
pub enum Dialled {
    /// A connection.
    Open(LinkId),
    /// No process listens there.
    Refused,
    /// No answer.
    Silence,
}

impl World {
    /// Whether one party is cut off from another now.
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
        // A slow heartbeat must not let a lease expire: that would be a fault that is not counted.
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

    /// A connection breaks: frames under way are lost in one direction or both, and its ends may or
    /// may not notice.
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
        // Frames to a node may still arrive, from a connection that no longer exists.
        for (slot, frame) in late {
            if self.rng.chance(500) {
                self.counts.ghosts += 1;
                let wait = self.rng.within(1_000, 250_000);
                self.after(wait, Event::Ghost(slot, frame));
            }
        }
        // The ends of a control connection always notice: they read all the time.
        if notifies || is_control {
            self.fin(id, Dir::Down);
            self.fin(id, Dir::Up);
        }
    }

    /// Notifies one end, behind all frames under way to it, that the connection is closed.
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

    /// The dialling party closes: its frames still arrive, frames to it do not.
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
            // Sometimes a reset overtakes frames under way.
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
                // The receiver is gone: the sender is notified, unless it is gone too.
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
        // The other end is notified on its own.
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
    /// It is stopped, and continues then.
    Paused(Micros),
    /// It has ended.
    No,
}
