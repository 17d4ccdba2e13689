//! A node's disk: a log that survives the process.
//!
//! It models the log of `storage` (`storage/src/disk`), entry by entry. Each entry has a time when
//! it is *written*, and survives the end of the process, and a time when it is *durable*, and
//! survives a loss of power. When an entry is written or durable, so are all before it. Views are
//! an exception: they are in a file of their own too, and survive whatever is left of the log
//! before them.
//!
//! * **Order.** Records are logged after they were stored. A view is logged when it is adopted, and
//!   the writer takes views before waiting records. So a view may be before records that were
//!   stored before it, and is never behind records that were stored under it.
//! * **An end of the process** leaves all written entries, and perhaps some later ones. **A loss of
//!   power** leaves all durable entries, and perhaps some later ones. The remaining entries are
//!   durable from then on: a starting process closes the log.
//! * **Recovery** ([`Recovered`]) does what `storage/src/disk/recovered.rs` and `ledger.rs` do with
//!   such a log.

use std::collections::BTreeMap;

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::ids::{Epoch, Incarnation};
use cluster::operation::Body;
use cluster::version::Version;

use crate::network::Pid;
use crate::world::{ARCS, Key, KeyInfo, Micros, Value};

/// An entry's content.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A record that was stored or fetched under a view.
    Record(Epoch, Key, Version, Body<Value>),
    /// A view was adopted.
    View(Noted),
    /// Arcs were fully fetched under a view.
    Synced(Epoch, Vec<u16>),
}

/// The changes to a node's holdings with a view.
#[derive(Debug, Clone)]
pub struct Noted {
    /// The view.
    pub epoch: Epoch,
    /// Arcs whose records it dropped or set aside.
    pub emptied: Vec<usize>,
    /// Arcs in which it is synced, or has the records of its own disk.
    pub held: ArcSet,
    /// Arcs in which the last incarnation's records still count.
    pub revived: ArcSet,
}

/// An entry, its process, and when it is written and durable.
#[derive(Debug, Clone)]
struct Line {
    of: Pid,
    entry: Entry,
    written: Micros,
    durable: Micros,
}

/// The ways in which a process can end, for its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exits normally, or nothing was logged just now.
    Quiet,
    /// kill -9.
    Kill,
    /// Its machine loses its power.
    Power,
}

/// The log.
#[derive(Debug, Clone, Default)]
pub struct Disk(Vec<Line>);

/// Some of a node's records: versions, and values or tombstones.
pub type RecoveredRecords = BTreeMap<Key, (Version, Body<Value>)>;

/// The state that is recovered from a log: that of the last incarnation, and stale records of those
/// before.
#[derive(Debug, Clone)]
pub struct Recovered {
    of: Pid,
    epoch: Epoch,
    since: Vec<Epoch>,
    synced: ArcSet,
    /// The node's records.
    pub held: RecoveredRecords,
    /// Its stale records, by arc.
    pub stale: BTreeMap<usize, RecoveredRecords>,
}

impl Disk {
    /// Takes an entry that is written and durable at these times.
    pub fn push(&mut self, of: Pid, entry: Entry, (written, durable): (Micros, Micros)) {
        self.0.push(Line { of, entry, written, durable });
    }

    /// Takes a view, before the last so many of the entries that are not written at time `now`.
    pub fn note(
        &mut self,
        now: Micros,
        late: usize,
        of: Pid,
        noted: Noted,
        times: (Micros, Micros),
    ) {
        let (written, _) = self.ends(now);
        let is_mine = |line: &&Line| line.of == of;
        let waiting = self.0[written..].iter().rev().take_while(is_mine).count();
        // Views keep their order.
        let views = self.0.iter().rposition(|line| matches!(line.entry, Entry::View(_)));
        let at = (self.0.len() - waiting.min(late)).max(views.map_or(0, |last| last + 1));
        let entry = Entry::View(noted);
        self.0.insert(at, Line { of, entry, written: times.0, durable: times.1 });
    }

    /// How many entries are written, and how many durable, at time `now`.
    fn ends(&self, now: Micros) -> (usize, usize) {
        let end = |is_safe: &dyn Fn(&Line) -> bool| {
            let in_log = |line: &Line| !matches!(line.entry, Entry::View(_)) && is_safe(line);
            self.0.iter().rposition(in_log).map_or(0, |last| last + 1)
        };
        let durable = end(&|line| line.durable <= now);
        (end(&|line| line.written <= now).max(durable), durable)
    }

    /// How many entries certainly survive this end of a process at time `now`, and how many there
    /// are.
    pub fn left(&self, now: Micros, end: End) -> (usize, usize) {
        let (written, durable) = self.ends(now);
        let least = match end {
            End::Quiet => self.0.len(),
            End::Kill => written,
            End::Power => durable,
        };
        (least, self.0.len())
    }

    /// Keeps so many entries, and all views that are durable at time `now`.
    pub fn cut(&mut self, left: usize, now: Micros) {
        let mut place = 0;
        self.0.retain(|line| {
            place += 1;
            place <= left || matches!(line.entry, Entry::View(_)) && line.durable <= now
        });
        for line in &mut self.0 {
            (line.written, line.durable) = (0, 0);
        }
    }

    /// Recovers the state from the log; `None` if it is empty.
    pub fn life(&self, keys: &[KeyInfo]) -> Option<Recovered> {
        let mut life = Recovered::new(self.0.first()?.of);
        for line in &self.0 {
            if line.of != life.of {
                let revived = match &line.entry {
                    Entry::View(noted) => noted.revived.clone(),
                    _ => ArcSet::new(),
                };
                life.go_on(line.of, &revived, keys);
            }
            life.take(&line.entry, keys);
        }
        Some(life)
    }
}

impl Recovered {
    fn new(of: Pid) -> Recovered {
        Recovered {
            of,
            epoch: Epoch::NONE,
            since: vec![Epoch::NONE; ARCS],
            synced: ArcSet::with_capacity(ARCS),
            held: RecoveredRecords::new(),
            stale: BTreeMap::new(),
        }
    }

    /// Another incarnation begins, with the last one's records of these arcs.
    fn go_on(&mut self, of: Pid, revived: &ArcSet, keys: &[KeyInfo]) {
        (0..ARCS).filter(|arc| !revived.contains(*arc)).for_each(|arc| self.set_aside(arc, keys));
        let Recovered { held, stale, .. } = std::mem::replace(self, Recovered::new(of));
        (self.held, self.stale) = (held, stale);
    }

    fn set_aside(&mut self, arc: usize, keys: &[KeyInfo]) {
        let taken = take_arc(&mut self.held, arc, keys);
        set_aside(&mut self.stale, arc, taken);
    }

    fn take(&mut self, entry: &Entry, keys: &[KeyInfo]) {
        match entry {
            Entry::Record(epoch, key, version, body) => {
                let is_new = self.held.get(key).is_none_or(|(held, _)| held < version);
                if is_new && *epoch >= self.since[keys[usize::from(*key)].arc] {
                    self.held.insert(*key, (*version, *body));
                }
            }
            Entry::View(Noted { epoch, emptied, held, .. }) => {
                self.epoch = *epoch;
                for &arc in emptied {
                    self.since[arc] = *epoch;
                    self.set_aside(arc, keys);
                }
                self.synced = held.clone();
                self.stale.retain(|arc, _| !held.contains(*arc));
            }
            Entry::Synced(epoch, arcs) if *epoch == self.epoch => {
                for arc in arcs.iter().map(|&arc| usize::from(arc)) {
                    self.synced.grow(ARCS);
                    self.synced.insert(arc);
                    self.stale.remove(&arc);
                }
            }
            Entry::Synced(..) => {}
        }
    }

    /// The claim of a node that starts with the log, if it was a member (H6).
    pub fn claim(&self) -> Option<Claim> {
        (self.epoch > Epoch::NONE).then(|| Claim {
            of: Incarnation(self.of),
            epoch: self.epoch,
            synced: self.synced.clone(),
            starts: Vec::new(),
            is_whole: true,
        })
    }
}

/// Removes an arc's records.
pub fn take_arc(held: &mut RecoveredRecords, arc: usize, keys: &[KeyInfo]) -> RecoveredRecords {
    let is_in = |key: &Key| keys[usize::from(*key)].arc == arc;
    let taken =
        held.iter().filter(|(key, _)| is_in(key)).map(|(key, record)| (*key, *record)).collect();
    held.retain(|key, _| !is_in(key));
    taken
}

/// Sets an arc's records aside as stale, unless there are more already.
pub fn set_aside<T>(
    stale: &mut BTreeMap<usize, BTreeMap<Key, T>>,
    arc: usize,
    taken: BTreeMap<Key, T>,
) {
    let is_more = stale.get(&arc).is_none_or(|kept| kept.len() <= taken.len());
    if !taken.is_empty() && is_more {
        stale.insert(arc, taken);
    }
}
