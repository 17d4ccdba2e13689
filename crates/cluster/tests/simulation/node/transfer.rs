//! Transfers of ranges between nodes: pages, and stale records that they are compared with (H1,
//! H3).

use std::collections::BTreeMap;

use cluster::holdings::Adoption;
use cluster::ids::Epoch;
use cluster::mutation::{Mutation, is_on};
use cluster::replica::State;
use cluster::version::Version;
use cluster::view::Routes;

use super::{Now, Process, Stored, state};
use crate::disk::Entry;
use crate::network::{Ask, Buckets, Dialled, Dir, Frame, LinkId, Paged, Party, Pid, User};
use crate::world::{Event, Key, KeyInfo, Micros, World};

/// The fetching of some arcs from one source.
pub struct Fetch {
    link: LinkId,
    source: u16,
    epoch: Epoch,
    arcs: Vec<u16>,
    after: Option<Key>,
    asked: Micros,
}

impl Process {
    /// A page of at most `most` records, how many arcs it completes, and the equal buckets.
    pub(super) fn page(
        &self,
        keys: &[KeyInfo],
        (epoch, arcs, after): (Epoch, &[(u16, Ask)], Option<Key>),
        (most, buckets): (usize, Key),
    ) -> (usize, Vec<Paged>, Vec<(u16, Buckets)>) {
        let (mut records, mut compared) = (Vec::new(), Vec::new());
        for (i, (arc, ask)) in arcs.iter().enumerate() {
            let admitted = match ask {
                Ask::Gather => self.holdings.admit_gathering(epoch, usize::from(*arc)),
                _ => self.holdings.admit_page(epoch, usize::from(*arc)),
            };
            if admitted.is_err() {
                return (i, records, compared);
            }
            let held = || {
                let in_arc = |key: &Key| keys[usize::from(*key)].arc == usize::from(*arc);
                self.table.iter().filter(move |(key, _)| in_arc(key))
            };
            let wanted = match ask {
                Ask::All | Ask::Gather => Buckets::MAX,
                Ask::Of(wanted) => *wanted,
                Ask::Differing(theirs) => {
                    let held: Vec<_> = held().map(|(key, s)| (*key, s.clone())).collect();
                    let same = self.same(&held, theirs, buckets);
                    compared.push((*arc, same));
                    !same
                }
            };
            let is_behind = |key: Key| i > 0 || after.is_none_or(|after| key > after);
            let is_wanted = |key: Key| wanted >> (key % buckets) & 1 == 1;
            for (&key, stored) in held().filter(|(key, _)| is_behind(**key) && is_wanted(**key)) {
                if records.len() == most {
                    return (i, records, compared);
                }
                let Stored { version, body, .. } = *stored;
                records.push(Paged { key, version, state: state(&self.watermarks, stored), body });
            }
        }
        (arcs.len(), records, compared)
    }

    /// The buckets in which this node's records equal the given ones, and are committed.
    fn same(&self, held: &[(Key, Stored)], theirs: &[(Key, Version, bool)], of: Key) -> Buckets {
        let is_same = |bucket: &Key| {
            let is_in = |key: &Key| key % of == *bucket;
            let ours = held.iter().filter(|(key, _)| is_in(key));
            let is_settled =
                |(_, s): &(Key, Stored)| state(&self.watermarks, s) == State::Committed;
            ours.clone().all(is_settled)
                && ours
                    .map(|(key, s)| (*key, s.version, s.body.is_some()))
                    .eq(theirs.iter().copied().filter(|(key, ..)| is_in(key)))
        };
        (0..of).filter(is_same).fold(0, |same, bucket| same | 1 << bucket)
    }

    /// How it asks for an arc.
    fn ask(&self, arc: u16) -> Ask {
        if self.holdings.revived().contains(arc.into()) {
            return Ask::Gather;
        }
        match (self.differing.get(&arc), self.stale.get(&usize::from(arc))) {
            (Some(differing), _) => Ask::Of(*differing),
            (None, None) => Ask::All,
            (None, Some(stale)) => {
                let digest = |(key, s): (&Key, &Stored)| (*key, s.version, s.body.is_some());
                Ask::Differing(stale.iter().map(digest).collect())
            }
        }
    }

    /// Drops and sets aside records as an adopted view requires.
    pub(super) fn clear(&mut self, keys: &[KeyInfo], adoption: &Adoption, follows: bool) {
        self.stale.retain(|arc, _| adoption.to_set_aside.contains(*arc));
        self.differing
            .retain(|arc, _| follows && adoption.to_set_aside.contains(usize::from(*arc)));
        let arc_of = |key: &Key| keys[usize::from(*key)].arc;
        let mut taken: BTreeMap<usize, BTreeMap<Key, Stored>> = BTreeMap::new();
        self.table.retain(|key, stored| {
            let is_dropped = adoption.to_drop.contains(&arc_of(key));
            if is_dropped && adoption.to_set_aside.contains(arc_of(key)) {
                taken.entry(arc_of(key)).or_default().insert(*key, stored.clone());
            }
            !is_dropped
        });
        for (arc, records) in taken {
            if self.stale.get(&arc).is_none_or(|kept| kept.len() < records.len()) {
                self.stale.insert(arc, records);
            }
        }
    }

    /// Takes over the stale records that a source has confirmed, as committed, as they are there.
    fn confirm(&mut self, now: Now, epoch: Epoch, arc: u16, same: Buckets, buckets: Key) -> bool {
        if !self.holdings.may_merge(epoch, arc.into()) {
            return false;
        }
        let since = self.clock.read(now.wall);
        for (key, stale) in self.stale.get(&usize::from(arc)).into_iter().flatten() {
            let held = self.table.get(key).map(|stored| (stored.version, stored.state));
            let confirmed = (stale.version, State::Committed);
            if same >> (key % buckets) & 1 == 1 && held.is_none_or(|held| held < confirmed) {
                let state = State::Committed;
                let stored = Stored { state, since, is_marked: false, ..stale.clone() };
                self.outbox.push(Entry::Record(epoch, *key, stored.version, stored.body));
                self.table.insert(*key, stored);
            }
        }
        self.differing.insert(arc, !same);
        true
    }

    /// The bug of [`Mutation::StaleKept`]: records that no source has confirmed stay.
    fn keep_unconfirmed(&mut self, arc: u16) {
        for (key, stale) in self.stale.get(&usize::from(arc)).into_iter().flatten() {
            self.table.entry(*key).or_insert_with(|| stale.clone());
        }
    }

    /// Merges a page, and logs its records. Returns whether all of it counted.
    fn merge(
        &mut self,
        now: Now,
        keys: &[KeyInfo],
        (epoch, records, compared): (Epoch, &[Paged], &[(u16, Buckets)]),
        buckets: Key,
    ) -> bool {
        let mut compared = compared.iter();
        if !compared.all(|(arc, same)| self.confirm(now, epoch, *arc, *same, buckets)) {
            return false;
        }
        for record in records {
            if !self.holdings.may_merge(epoch, keys[usize::from(record.key)].arc) {
                return false;
            }
            let held = self
                .table
                .get(&record.key)
                .map_or((Version::ABSENT, State::Pending), |s| (s.version, s.state));
            let entry = Entry::Record(epoch, record.key, record.version, record.body);
            self.outbox.push(entry);
            if held < (record.version, record.state) {
                let Paged { key, version, state, body } = *record;
                let since = self.clock.read(now.wall);
                self.table.insert(key, Stored { version, state, body, since, is_marked: false });
            }
        }
        true
    }

    /// Arcs were fully fetched.
    pub(super) fn fetched(&mut self, epoch: Epoch, arcs: &[u16]) {
        for &arc in arcs {
            if !self.holdings.fetched(epoch, usize::from(arc)) {
                continue;
            }
            if is_on(Mutation::StaleKept) {
                self.keep_unconfirmed(arc);
            }
            self.stale.remove(&usize::from(arc));
            self.differing.remove(&arc);
        }
    }

    /// The gathered arcs for which all other members of the write set have answered.
    fn complete_gatherings(&self) -> Vec<u16> {
        let is_complete = |arc: &usize| {
            let has_told = |place| self.gathered.contains(&(*arc, place));
            self.holdings.has_gathered(*arc, has_told)
        };
        self.holdings.revived().ones().filter(is_complete).map(|arc| arc as u16).collect()
    }

    /// The other members of an arc's write set: a joining one may be the only one left that holds
    /// it. In a gather, those that have not answered.
    fn sources(&self, routes: &Routes, arc: usize) -> Vec<u16> {
        let is_other = |place: &u16| routes.member(*place).id != self.who.id;
        let has_told = |place: &u16| {
            self.holdings.revived().contains(arc) && self.gathered.contains(&(arc, *place))
        };
        let others = routes.write_set(arc).iter().copied().filter(is_other);
        others.filter(|place| !has_told(place)).collect()
    }
}

impl World {
    /// Fetches missing arcs, if there are any.
    pub fn node_fetch(&mut self, pid: Pid) {
        let now = self.now;
        let Some(process) = self.process(pid) else { return };
        if let Some(fetch) = &process.fetch {
            if now - fetch.asked > 25_000 {
                let link = fetch.link;
                process.fetch = None;
                self.close(link);
            }
        } else {
            self.fetch_next(pid);
        }
        let wait = self.rng.within(1_000, 5_000);
        self.after(wait, Event::NodeFetch(pid));
    }

    fn fetch_next(&mut self, pid: Pid) {
        let now = self.now;
        self.end_gathering(self.slot_of(pid));
        let Some(process) = self.process(pid) else { return };
        let missing = process.holdings.missing();
        let Some(routes) = process.holdings.routes().cloned() else { return };
        if missing.is_empty() {
            return;
        }
        process.turn += 1;
        let turn = process.turn;
        let mut wanted: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for arc in missing {
            let sources = process.sources(&routes, arc);
            if let Some(&source) = sources.get(turn % sources.len().max(1)) {
                wanted.entry(source).or_default().push(arc as u16);
            }
        }
        // After an outage some members have yet to come back: all others must be asked.
        let which =
            if self.plan.outages { self.rng.below(wanted.len().max(1) as u64) as usize } else { 0 };
        let Some((source, arcs)) = wanted.into_iter().nth(which) else { return };
        let from = (Party::Node(self.slot_of(pid)), pid);
        let to = Party::Node(usize::from(routes.member(source).address.port() - 6000));
        let Dialled::Open(link) = self.dial(from, to, User::Fetch) else { return };
        let epoch = routes.epoch();
        let process = self.process(pid).expect("it runs");
        let asks = arcs.iter().map(|&arc| (arc, process.ask(arc))).collect();
        self.send(link, Dir::Up, Frame::Pull(epoch, asks, None));
        let process = self.process(pid).expect("it runs");
        process.fetch = Some(Fetch { link, source, epoch, arcs, after: None, asked: now });
    }

    /// Completes the gather of arcs for which all members have answered.
    fn end_gathering(&mut self, slot: usize) {
        let Some(process) = self.slots[slot].process.as_ref() else { return };
        let (epoch, arcs) = (process.holdings.epoch(), process.complete_gatherings());
        if !arcs.is_empty() {
            self.counts.gathered += arcs.len() as u64;
            self.complete(slot, epoch, arcs);
        }
    }

    /// A page reaches the node that requested it.
    pub fn fetch_frame(&mut self, party: Party, link: LinkId, frame: Frame) {
        let Party::Node(slot) = party else { return };
        let (now, own) = (self.now, self.node_now(slot));
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let Some(mut fetch) = process.fetch.take_if(|fetch| fetch.link == link) else { return };
        let Frame::Page(epoch, complete, records, compared) = frame else { return };
        let is_source = complete > 0 || !records.is_empty() || !compared.is_empty();
        let done: Vec<u16> = fetch.arcs[..complete].to_vec();
        let page = (epoch, &records[..], &compared[..]);
        if !is_source || !process.merge(own, &self.keys, page, self.plan.buckets) {
            return self.close(link);
        }
        let source = fetch.source;
        let (gathered, fetched): (Vec<u16>, Vec<u16>) =
            done.iter().partition(|arc| process.holdings.revived().contains(usize::from(**arc)));
        process.gathered.extend(gathered.iter().map(|&arc| (usize::from(arc), source)));
        self.counts.compared += compared.len() as u64;
        let rest = fetch.arcs.split_off(complete);
        self.log(|_| format!("node{slot} fetched {done:?} at epoch {epoch}: {records:?}"));
        self.hand_in(slot);
        if !fetched.is_empty() {
            self.complete(slot, epoch, fetched);
        }
        self.end_gathering(slot);
        if rest.is_empty() {
            return self.close(link);
        }
        let keys = &self.keys;
        let is_partial = |key: &Key| keys[usize::from(*key)].arc == usize::from(rest[0]);
        let after = records.last().map(|r| r.key).filter(is_partial).or(match complete {
            0 => fetch.after,
            _ => None,
        });
        let process = self.slots[slot].process.as_mut().expect("it runs");
        let asks = rest.iter().map(|&arc| (arc, process.ask(arc))).collect();
        self.send(link, Dir::Up, Frame::Pull(fetch.epoch, asks, after));
        let process = self.slots[slot].process.as_mut().expect("it runs");
        process.fetch = Some(Fetch { arcs: rest, after, asked: now, ..fetch });
    }
}
