//! What all threads of a node share: its records, its tenure of the ring, its clock.
//!
//! Locks, in the order in which they may be taken: the tenure, then an arc of the table. A request
//! holds the tenure for reading from its check to its store or read, and adopting a view takes it for
//! writing, so check and access are one step with respect to views (rule N1, RULES-WHY F2). Nothing
//! is sent or received under a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use client::finish::Abandoned;
use cluster::claim::Claim;
use cluster::durability::Durability;
use cluster::ids::{ClusterId, Epoch, Incarnation, NodeId};
use cluster::lease::{self, LeaseHolder};
use cluster::limits::Limits;
use cluster::line::ViewName;
use cluster::marks::Written;
use cluster::membership::{DiskHealth, Report};
use cluster::mutation::{Mutation, is_on};
use cluster::operation::Found;
use cluster::replica::{self, Decision, State, WriteAnswer};
use cluster::ring::{arc_of_key, arc_of_slot};
use cluster::slot;
use cluster::tenure::{ArcSet, Refusal, Standing, Tenure};
use cluster::text::count;
use cluster::version::{Clock, ServerClock, Version};
use cluster::view::{Routes, View};
use log::info;
use net_common::clock;
use net_common::frame::PayloadLimit;
use net_common::message::control::Info;
use net_common::message::data::{
    Body, Commits, ReadAnswer, ReadAnswers, ReadBatch, Record, Shape, Write, WriteAcks, WriteBatch,
};
use net_common::message::range::Cursor;
use parking_lot::{Mutex, RwLock};

use crate::disk::Restored;
use crate::disk::checkpoint::Source;
use crate::disk::entry::RecordBuffer;
use crate::disk::folder::Owner;
use crate::disk::journal::{Journal, Noted, Trouble};
use crate::disk::ledger::ViewEntry;
use crate::fetch::arc::ArcFetch;
use crate::fetch::stats::{Transfer, TransferStats};
use crate::in_flight::InFlight;
use crate::stale_cache::StaleCache;
use crate::table::{Size, Table};

mod list;
mod local_read;
pub mod merge;
pub mod notes;
pub mod page;
mod watermarks;

use notes::Notes;
use watermarks::Watermarks;

/// Why a node does not follow a manager's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// It is of another cluster than the node's own.
    #[error(
        "the manager belongs to cluster {theirs}, this node to {ours}; to join that one, start it anew, with no \
         data folder or an empty one"
    )]
    OtherCluster {
        /// The cluster of this node's view.
        ours: ClusterId,
        /// The cluster of the view that came.
        theirs: ClusterId,
    },
    /// It does not go on from what the node has seen: the manager's folder is an older copy (L7).
    #[error(
        "the manager knows view {theirs}, which does not go on from view {ours}, that this node has seen: its folder \
         is an older copy"
    )]
    OtherLine {
        /// The newest view that this node has seen.
        ours: Epoch,
        /// The view that came.
        theirs: Epoch,
    },
}

/// Why a batch of writes has no answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// Nothing was stored.
    #[error("{0}")]
    Refused(Trouble),
    /// It may be stored, and on the disk or not.
    #[error("{0}")]
    Unsure(Trouble),
}

/// Bytes of values that are handed out at once to be finished: a few frames. What is left is there the next time.
const SETTLED: usize = 16 << 20;

/// What a heartbeat tells of a tenure.
fn told(tenure: &Tenure, rest: Report) -> Report {
    let (synced, revived) = (tenure.synced().clone(), tenure.revived().clone());
    Report { epoch: tenure.epoch(), synced, revived, ..rest }
}

fn numbers(arcs: impl Iterator<Item = usize>) -> Vec<u16> {
    arcs.map(|arc| arc as u16).collect()
}

/// Whether this is a value whose time has not passed by a node's clock: for those who count, and need no
/// more than what this node knows. Whoever is told that a value is gone is told by a read (C6).
pub(crate) fn is_alive(body: Body<'_>, clock: Clock) -> bool {
    body.value().is_some() && !body.expiry().is_some_and(|at| replica::is_expired(at, clock))
}

/// A tombstone that this node has put in place of a value, under a view (C6).
struct Expired {
    epoch: Epoch,
    key: Vec<u8>,
    version: Version,
}

/// One node's state.
pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    tenure: RwLock<Tenure>,
    /// Made when the first view tells how many arcs there are.
    table: OnceLock<Table>,
    /// What of it may not be on the disk yet, where answers wait for that. Made with it.
    in_flight: OnceLock<InFlight>,
    /// What it held before it missed a view; nobody is shown any of it.
    stale_cache: StaleCache,
    stats: TransferStats,
    watermarks: Watermarks,
    clock: Mutex<ServerClock>,
    lease: Mutex<LeaseHolder>,
    /// When the lease ends, for those who only want to know whether it has.
    lease_until: AtomicU64,
    /// The epoch of the newest view that the manager has said to be active.
    active: AtomicU64,
    /// How long frames may be to this node and from it.
    payload: PayloadLimit,
    /// Lengths of the longest key and value that it held under a view in which the limits are to be lower.
    measured: Mutex<Option<(Epoch, Limits)>>,
    notes: Notes,
    /// Where what is stored goes to disk.
    journal: Journal,
    /// Whether it has a data folder.
    has_folder: bool,
    /// The cluster that this is of.
    origin: Option<ClusterId>,
    /// What it held in its last life, until a view takes it in: a part of it may go on counting (H6).
    held: Mutex<Option<Table>>,
    /// What it told before it adopted a view that its disk does not tell of yet.
    unconfirmed: Mutex<Option<Report>>,
    /// Arcs of which much is pending that all who keep them may hold: it is from disk.
    from_disk: Mutex<Vec<usize>>,
    /// Tombstones of what has expired that are to be handed in. Hardly ever any.
    expired: Mutex<Vec<Expired>>,
    /// Whether there are any, for the many who only want to know that.
    has_expired: AtomicBool,
    /// How many values it has found to be over.
    expired_count: AtomicU64,
    /// How much its records may take, in bytes.
    most: OnceLock<u64>,
    connections: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Node {
    /// A node that has seen no view and holds nothing.
    pub fn new(id: NodeId, incarnation: Incarnation, notes: Notes) -> Node {
        Node {
            tenure: RwLock::new(Tenure::new(id.clone(), incarnation)),
            id,
            incarnation,
            table: OnceLock::new(),
            in_flight: OnceLock::new(),
            stale_cache: StaleCache::default(),
            stats: TransferStats::default(),
            watermarks: Watermarks::default(),
            clock: Mutex::default(),
            lease: Mutex::default(),
            lease_until: AtomicU64::new(0),
            active: AtomicU64::new(0),
            payload: PayloadLimit::default(),
            measured: Mutex::default(),
            notes,
            journal: Journal::default(),
            has_folder: false,
            origin: None,
            held: Mutex::default(),
            unconfirmed: Mutex::default(),
            from_disk: Mutex::default(),
            expired: Mutex::default(),
            has_expired: AtomicBool::new(false),
            expired_count: AtomicU64::new(0),
            most: OnceLock::new(),
            connections: OnceLock::new(),
        }
    }

    /// The same with what its data folder had of an earlier life, and where to write what it stores.
    pub fn with_disk(self, restored: Restored) -> Node {
        let Restored { journal, life, starts } = restored;
        let node = Node { journal, has_folder: true, ..self };
        let Some(life) = life else { return node };
        let claim = life.claim().map(|claim| Claim { starts, ..claim });
        let Node { id, incarnation, .. } = &node;
        let tenure = Tenure::new(id.clone(), *incarnation).with_claim(claim);
        // Arcs can be moved from the one to the other.
        let table = OnceLock::from(life.held.empty_like());
        Node {
            tenure: RwLock::new(tenure),
            table,
            stale_cache: life.stale_cache,
            origin: Some(life.owner.cluster),
            held: Mutex::new(Some(life.held)),
            ..node
        }
    }

    /// Whether it has a data folder.
    pub fn has_folder(&self) -> bool {
        self.has_folder
    }

    /// What it claims to have held in its last life, while it waits to become a member (H6).
    pub fn claim(&self) -> Option<Claim> {
        self.tenure.read().claim().cloned()
    }

    /// The cluster's promise was told: before any view of it is adopted.
    pub fn promised(&self, durability: Durability) {
        self.journal.promise(durability);
    }

    /// Its name.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// This start of its process.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// How long frames may be to this node and from it: it follows the views.
    pub fn payload_limit(&self) -> &PayloadLimit {
        &self.payload
    }

    /// Tells the node how to count its connections, once there is a server.
    pub fn count_connections(&self, count: Box<dyn Fn() -> usize + Send + Sync>) {
        // Set once at start; a second count would be the same.
        let _ = self.connections.set(count);
    }

    /// Says how much its records may take, in bytes, before it tells that it is full. Without this there is no
    /// limit.
    pub fn limit_memory(&self, bytes: u64) {
        // Set once at start; a second limit would be the same.
        let _ = self.most.set(bytes);
    }

    /// What its records take, and what they may.
    pub fn memory(&self) -> (u64, Option<u64>) {
        (self.table.get().map_or(0, Table::memory), self.most.get().copied())
    }

    /// Whether its records take more than they may.
    pub fn is_full(&self) -> bool {
        let (held, most) = self.memory();
        most.is_some_and(|most| held > most)
    }

    fn shape(&self) -> Shape {
        Shape { is_full: self.is_full() }
    }

    /// A heartbeat leaves now. Returns its number.
    pub fn send_heartbeat(&self) -> u64 {
        self.lease.lock().send(clock::boot_ms())
    }

    /// The manager told which view is active.
    pub fn told(&self, active: Epoch) {
        self.active.fetch_max(active.0, Ordering::SeqCst);
    }

    /// The manager answered a heartbeat: with a lease of so many milliseconds (0: none), and with the active epoch.
    pub fn heartbeat_answered(&self, sequence: u64, lease_ms: u64, active: Epoch) {
        self.active.fetch_max(active.0, Ordering::SeqCst);
        if lease_ms > 0 {
            let mut holder = self.lease.lock();
            self.lease_until.store(holder.granted(sequence, lease_ms), Ordering::SeqCst);
        }
    }

    /// Stops serving for good, and waits for the requests that are being served.
    pub fn give_up_lease(&self) {
        {
            let mut holder = self.lease.lock();
            holder.give_up();
            self.lease_until.store(0, Ordering::SeqCst);
        }
        // Whoever was admitted before holds this for reading.
        drop(self.tenure.write());
    }

    /// Rule N1: nothing is served without a lease.
    fn has_lease(&self) -> bool {
        lease::is_valid(self.lease_until.load(Ordering::SeqCst), clock::boot_ms())
    }

    /// Its clock: never behind its wall clock or a version that it holds.
    pub fn clock(&self) -> Clock {
        self.clock.lock().read(clock::wall_ms())
    }

    /// The records, once there is a view.
    pub fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    /// The cluster that it has seen a view of, or that its data folder is of.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.routes().map(|routes| routes.view().cluster).or(self.origin)
    }

    /// Why what it stores does not reach its disk at the moment, if that is so.
    pub fn disk_trouble(&self) -> Option<Trouble> {
        self.journal.trouble()
    }

    /// The newest view that it has seen, in this life or, by its data folder, in the last one.
    pub fn seen(&self) -> ViewName {
        self.tenure.read().seen()
    }

    /// Whether a manager whose newest view this is knows all that this node has seen (L7).
    ///
    /// # Errors
    /// [`NotFollowed::OtherLine`].
    pub fn check_line(&self, newest: &View) -> Result<(), NotFollowed> {
        let seen = self.seen();
        if newest.has(seen) || is_on(Mutation::OlderState) {
            Ok(())
        } else {
            Err(NotFollowed::OtherLine { ours: seen.epoch, theirs: newest.epoch })
        }
    }

    /// How much it holds.
    pub fn size(&self) -> Size {
        self.table.get().map(Table::size).unwrap_or_default()
    }

    /// The newest view that it has adopted.
    pub fn routes(&self) -> Option<Arc<Routes>> {
        self.tenure.read().routes().cloned()
    }

    /// Whether it has been a member of the cluster, in this life or, by its data folder, in an earlier one: then
    /// it may hold what nobody else does, and no cluster is to begin empty while it waits.
    pub fn has_been_member(&self) -> bool {
        let tenure = self.tenure.read();
        tenure.claim().is_some() || tenure.has_been_member()
    }

    /// Whether this node's part ends with a view: it was leaving, and is a member no more.
    pub fn leaves_with(&self, next: &View) -> bool {
        self.tenure.read().leaves_with(next)
    }

    /// What to say in a heartbeat.
    pub fn report(&self) -> Report {
        let Size { keys, bytes } = self.size();
        let fetching = self.transfer().rate;
        let disk = match (self.disk_trouble(), self.journal.strain(bytes)) {
            (Some(trouble), _) => DiskHealth::Failing(trouble.why.to_string()),
            (None, Some(why)) => DiskHealth::Strained(why),
            (None, None) => DiskHealth::Sound,
        };
        let is_full = self.is_full();
        let rest = Report { keys, bytes, fetching, disk, is_full, ..Report::default() };
        let tenure = self.tenure.read();
        // Before the disk tells of a view it is not acknowledged: if the process ended its folder would claim
        // something of a view that the manager has left behind (H6).
        match &*self.unconfirmed.lock() {
            Some(before) => {
                let Report { epoch, synced, revived, .. } = before.clone();
                Report { epoch, synced, revived, ..rest }
            }
            None => {
                let measured = self.measured.lock().filter(|(epoch, _)| *epoch == tenure.epoch());
                told(&tenure, Report { longest: measured.map(|(_, longest)| longest), ..rest })
            }
        }
    }

    /// Where the limits are to be lower, measures the longest key and value that it holds, once for each view. Nothing
    /// longer than what is to come is written any more under that view, and what is fetched its source has measured
    /// as well. A committed tombstone does not count: nobody need ever pass it on. Returns whether there is news.
    pub fn measure(&self) -> bool {
        let Some((table, routes)) = self.table.get().zip(self.routes()) else { return false };
        let (view, epoch) = (routes.view(), routes.epoch());
        let is_due = view.coming.as_ref().is_some_and(|to| !to.limits.covers(&view.limits))
            && self.measured.lock().is_none_or(|(before, _)| before != epoch);
        if !is_due {
            return false;
        }
        let mut longest = Limits { key_bytes: 0, value_bytes: 0 };
        for arc in 0..table.arcs() {
            table.scan(arc, Cursor::START, usize::MAX, |record| {
                let value = record.body.value();
                let is_pending = self.state(&record.version, record.state) == State::Pending;
                if value.is_some() || is_pending {
                    longest.key_bytes = longest.key_bytes.max(record.key.len());
                    longest.value_bytes = longest.value_bytes.max(value.map_or(0, <[u8]>::len));
                }
                true
            });
        }
        *self.measured.lock() = Some((epoch, longest));
        true
    }

    /// How many keys of a slot it holds.
    pub fn keys_in_slot(&self, slot: u16) -> usize {
        let Some(table) = self.table.get() else { return 0 };
        let (arc, clock) = (arc_of_slot(slot, table.arcs()), self.clock());
        let mut count = 0;
        table.scan(arc, Cursor::START, usize::MAX, |record| {
            count += usize::from(is_alive(record.body, clock) && slot::slot(record.key) == slot);
            true
        });
        count
    }

    /// Who it is and how much it holds.
    pub fn info(&self) -> Info {
        let Size { keys, bytes } = self.size();
        let connections = self.connections.get().map_or(0, |count| count());
        Info {
            id: self.id.clone(),
            incarnation: self.incarnation,
            epoch: self.tenure.read().epoch(),
            keys,
            bytes,
            connections: connections as u32,
        }
    }

    /// Adopts a view, if it is newer than the present one. Waits for requests under the present one, and until the
    /// disk tells of the new one. Returns whether it was adopted.
    ///
    /// # Errors
    /// [`NotFollowed`]; nothing changed.
    pub fn adopt(&self, view: View) -> Result<bool, NotFollowed> {
        if let Some(ours) = self.cluster()
            && ours != view.cluster
        {
            return Err(NotFollowed::OtherCluster { ours, theirs: view.cluster });
        }
        // An older one may come late.
        if view.epoch > self.seen().epoch {
            self.check_line(&view)?;
        }
        if !view.arcs.is_empty() {
            self.in_flight.get_or_init(|| InFlight::new(view.arcs.len()));
            self.table.get_or_init(|| Table::new(view.arcs.len()));
        }
        let routes = Arc::new(Routes::new(view));
        self.payload.allow(&routes.view().limits);
        // What is of no more use is freed when nobody waits.
        let (mut freed, mut last_life) = (Vec::new(), None);
        let (mut counts, mut noted) = ((0, 0), None);
        let own_clock = self.clock();
        let adoption = {
            let mut tenure = self.tenure.write();
            let before = told(&tenure, Report::default());
            let Some(adoption) = tenure.adopt(routes.clone()) else { return Ok(false) };
            if let Some(table) = self.table.get() {
                // Whoever fetches finds it set aside as soon as the arc is missing.
                freed.extend(self.stale_cache.retain(&adoption.to_set_aside));
                let dropped = adoption.to_drop.iter().map(|&arc| (arc, table.take(arc)));
                let (set_aside, dropped): (Vec<_>, Vec<_>) =
                    dropped.partition(|(arc, _)| adoption.to_set_aside.contains(*arc));
                counts = (dropped.len(), set_aside.len());
                freed.extend(dropped.into_iter().map(|(arc, shard)| (arc, Arc::new(shard))));
                if tenure.has_been_member() {
                    last_life = self.held.lock().take();
                }
                let rest = adoption.to_set_aside.ones();
                let rest = rest.filter_map(|arc| Some((arc, last_life.as_ref()?.take(arc))));
                for (arc, shard) in set_aside.into_iter().chain(rest) {
                    let of_no_use =
                        (!shard.is_empty()).then(|| self.stale_cache.set_aside(arc, shard));
                    freed.extend(of_no_use.flatten().map(|shard| (arc, shard)));
                }
                for arc in adoption.to_revive.ones() {
                    let Some(held) = &last_life else { break };
                    let alone = routes.write_set(arc).len() == 1;
                    table.put(arc, held.take(arc), own_clock, alone);
                }
                // Not while it waits to be taken in: its last life stays the one that the folder tells of (H6).
                if tenure.has_been_member() {
                    let view = ViewEntry {
                        epoch: routes.epoch(),
                        emptied: numbers(adoption.to_drop.iter().copied()),
                        // What it has its own disk's part of is as much as this disk ever had.
                        synced: numbers(tenure.synced().union(tenure.revived())),
                        revived: numbers(adoption.to_revive.ones()),
                    };
                    *self.unconfirmed.lock() = Some(before);
                    // Before any write under this view is: the log must not tell of it first.
                    let (cluster, arcs) = (routes.view().cluster, table.arcs());
                    self.journal.note(Noted { cluster, arcs, view: view.clone() });
                    noted = Some((arcs, view));
                }
            }
            adoption
        };
        self.journal.look();
        self.fold_clock(adoption.to_revive.ones());
        if let Some((arcs, view)) = noted {
            let (node, incarnation) = (self.id.clone(), self.incarnation);
            let cluster = routes.view().cluster;
            self.journal.tell(&Owner { cluster, node, incarnation, arcs }, &view);
            *self.unconfirmed.lock() = None;
        }
        info!(
            "view {}: {}, {} to fetch, {} dropped, {} set aside",
            routes.epoch(),
            count(routes.view().members.len(), "member"),
            count(adoption.to_fetch.len(), "arc"),
            counts.0,
            counts.1
        );
        self.from_disk.lock().extend(adoption.to_revive.ones());
        drop((freed, last_life));
        Ok(true)
    }

    /// Never to be behind a version that it holds.
    fn fold_clock(&self, arcs: impl Iterator<Item = usize>) {
        let Some(table) = self.table.get() else { return };
        let mut newest = 0;
        for arc in arcs {
            table.scan(arc, Cursor::START, usize::MAX, |record| {
                newest = newest.max(record.version.clock);
                true
            });
        }
        self.clock.lock().fold(newest);
    }

    /// Answers a batch of writes.
    ///
    /// # Errors
    /// [`Unwritten`], where answers wait for the disk (`--durability sync`) and it keeps nothing.
    pub fn write(&self, batch: &WriteBatch<'_>) -> Result<WriteAcks, Unwritten> {
        self.journal.check().map_err(Unwritten::Refused)?;
        let own_clock = self.clock();
        let tenure = self.tenure.read();
        let has_lease = self.has_lease();
        let mut buffer = self.journal.buffer(tenure.epoch());
        let is_sync = self.journal.is_sync();
        let mut flight = self.in_flight.get().filter(|_| is_sync).map(InFlight::begin);
        let mut newest = 0;
        let mut stored = 0;
        let answers: Vec<WriteAnswer> = batch
            .writes
            .iter()
            .map(|write| {
                if !has_lease {
                    return WriteAnswer::NoLease;
                }
                if let (Some(flight), Some(table)) = (&mut flight, self.table.get()) {
                    flight.add(arc_of_key(write.key, table.arcs()));
                }
                let Decision { keep, answer } =
                    self.write_one(&tenure, batch.epoch, write, own_clock);
                if keep {
                    newest = newest.max(write.version.clock);
                    stored += 1;
                    if let Some(buffer) = &mut buffer {
                        let Write { key, version, body, .. } = *write;
                        buffer.push(&Record { key, version, state: State::Pending, body });
                    }
                } else if is_sync && let Some(buffer) = &mut buffer {
                    return self.vouch(write.key, answer, buffer);
                }
                answer
            })
            .collect();
        let (epoch, routes) = (tenure.epoch(), tenure.routes().cloned());
        drop(tenure);
        if stored > 0 {
            self.clock.lock().fold(newest);
            self.notes.wrote(stored);
        }
        self.journal.hand_in(buffer).map_err(Unwritten::Unsure)?;
        if let Some(flight) = flight {
            flight.land();
        }
        if is_sync {
            self.commit_alone(&routes, batch, &answers);
        }
        Ok(WriteAcks { epoch, clock: own_clock.max(newest), shape: self.shape(), answers })
    }

    /// Whether all that was seen in an arc before this call is on the disk, where that is waited for. Of what has expired
    /// here it is not known: [`Node::vouches_for`].
    pub fn is_on_disk(&self, arc: usize) -> bool {
        !self.journal.is_sync() || self.in_flight.get().is_some_and(|all| all.is_none(arc))
    }

    /// Whether a record that was seen in an arc of which all is on the disk ([`Node::is_on_disk`]) is there too. The
    /// tombstones that this node puts in place of what has expired go there without anybody waiting for it.
    pub fn vouches_for(&self, version: &Version) -> bool {
        !self.journal.is_sync() || !version.is_expiry()
    }

    /// Rule N3 for what this node alone is to hold, once that is on the disk. Whoever is to hold it since has it
    /// from here: it was in the table before the next view was adopted.
    fn commit_alone(
        &self,
        routes: &Option<Arc<Routes>>,
        batch: &WriteBatch<'_>,
        answers: &[WriteAnswer],
    ) {
        let (Some(table), Some(routes)) = (self.table.get(), routes) else { return };
        for (write, answer) in batch.writes.iter().zip(answers) {
            let arc = arc_of_key(write.key, table.arcs());
            if *answer == WriteAnswer::Stored && routes.write_set(arc).len() == 1 {
                table.commit(arc, write.key, write.version);
            }
        }
    }

    /// An answer that vouches for a record that was stored before: somebody else may still wait until it is on
    /// the disk, so it goes there with this answer too (RULES-WHY F14).
    fn vouch(&self, key: &[u8], answer: WriteAnswer, buffer: &mut RecordBuffer) -> WriteAnswer {
        let vouches = matches!(
            answer,
            WriteAnswer::Stored
                | WriteAnswer::Superseded(_)
                | WriteAnswer::BlindStored
                | WriteAnswer::BlindBelow(_)
        );
        let Some(table) = self.table.get().filter(|_| vouches) else { return answer };
        if buffer.is_full() {
            // Large values for small requests. Nothing was stored for this one: to be sent again.
            return WriteAnswer::NoLease;
        }
        table.read(arc_of_key(key, table.arcs()), key, |found| {
            if let Some((version, state, body)) = found {
                buffer.push(&Record { key, version, state, body });
            }
        });
        answer
    }

    fn write_one(
        &self,
        tenure: &Tenure,
        epoch: Epoch,
        write: &Write<'_>,
        own_clock: Clock,
    ) -> Decision {
        let refuse = |answer| Decision { keep: false, answer };
        let Some((table, routes)) = self.serving(tenure) else {
            return refuse(WriteAnswer::WrongEpoch);
        };
        let limits = routes.view().limits_for_writes();
        let arc = arc_of_key(write.key, table.arcs());
        match tenure.admit_write(epoch, arc) {
            // Only under the writer's own epoch: else it is to hear of the newer limits first.
            Ok(_) if limits.check_key(write.key).is_err() => refuse(WriteAnswer::BadKey),
            Ok(_) if write.body.value().is_some_and(|value| limits.check_value(value).is_err()) => {
                refuse(WriteAnswer::BadValue)
            }
            // Only the primary swaps, and only when it is synced (C5). Whoever asks another, or too early, has
            // another view than this.
            Ok(standing)
                if write.expected.is_some()
                    && (standing == Standing::Blind || !tenure.is_primary(arc)) =>
            {
                refuse(WriteAnswer::WrongEpoch)
            }
            Ok(standing) => {
                // What is committed is shown to everybody: not before it is on the disk.
                let alone = self.commits_alone(routes, arc);
                table.write(arc, write, own_clock, standing, alone)
            }
            Err(Refusal::WrongEpoch | Refusal::Syncing) => refuse(WriteAnswer::WrongEpoch),
        }
    }

    /// Takes word that versions are committed (rule N3). In any epoch, with or without a lease: it is a
    /// fact. Watermarks count for what was `written` over the connection that tells them.
    pub fn commit(&self, commits: &Commits<'_>, written: &Written) {
        for (writer, clock) in &commits.marks {
            if let Some(clock) = written.bounded(*writer, *clock) {
                self.watermarks.take(*writer, clock);
            }
        }
        if commits.versions.is_empty() {
            return;
        }
        let tenure = self.tenure.read();
        let Some((table, _)) = self.serving(&tenure) else { return };
        for (key, version) in &commits.versions {
            table.commit(arc_of_key(key, table.arcs()), key, *version);
        }
    }

    /// The state of a record, by what was noted in it and what its writer has told since.
    fn state(&self, version: &Version, noted: State) -> State {
        match noted {
            State::Pending if self.watermarks.cover(version) => State::Committed,
            noted => noted,
        }
    }

    /// Forgets what writers told long ago.
    pub fn turn_marks(&self) {
        self.watermarks.turn();
    }

    /// Puts tombstones in place of values whose time has passed, where this node is synced (C6). They are
    /// finished as what a dead writer left is. Returns how many.
    pub fn expire(&self) -> usize {
        let Some(table) = self.table.get() else { return 0 };
        let mut count = 0;
        for arc in 0..table.arcs() {
            // Arc by arc: a new view must not wait for all of it.
            let tenure = self.tenure.read();
            let Some(routes) = tenure.routes() else { return count };
            if self.has_lease() && tenure.synced().contains(arc) {
                let alone = self.commits_alone(routes, arc);
                let expired = table.expire(arc, self.clock(), alone);
                count += expired.len();
                let tombstone = |(key, version)| Expired { epoch: tenure.epoch(), key, version };
                self.note_expired(expired.into_iter().map(tombstone));
            }
            drop(tenure);
            self.hand_in_expired();
        }
        count
    }

    /// Notes in the records which of them are committed by now. Returns those that have been pending for
    /// long in arcs where this node is synced, at most `most` or some megabytes, and its view, if that is the active one: their
    /// writers must have died (C4). Only a synced replica finishes (RULES-WHY R3), and only under the active
    /// view (F4).
    pub fn settle(&self, most: usize) -> Option<(Arc<Routes>, Vec<Abandoned>)> {
        let clock = self.clock();
        let (table, routes) = (self.table.get()?, self.routes()?);
        let epoch = routes.epoch();
        let may_finish = epoch.0 == self.active.load(Ordering::SeqCst) && self.has_lease();
        let (mut found, mut bytes) = (Vec::new(), 0);
        for arc in 0..table.arcs() {
            // Arc by arc: a new view must not wait for all of it.
            let tenure = self.tenure.read();
            let is_mine = tenure.epoch() == epoch && tenure.synced().contains(arc);
            let most = if may_finish && is_mine { most - found.len() } else { 0 };
            table.settle(
                arc,
                clock,
                |version| self.watermarks.cover(version),
                most,
                |record| {
                    if bytes >= SETTLED {
                        return;
                    }
                    bytes += record.body.value().map_or(0, <[u8]>::len);
                    let expiry = record.body.expiry();
                    let body = record.body.value().map(|value| (value.to_vec(), expiry));
                    let Record { version, state, .. } = record;
                    found.push((record.key.to_vec(), Found { version, body, state, epoch, clock }));
                },
            );
        }
        (!found.is_empty()).then_some((routes, found))
    }

    /// The table and the view in force, once there is one.
    fn serving<'t>(&self, tenure: &'t Tenure) -> Option<(&Table, &'t Routes)> {
        Some((self.table.get()?, tenure.routes()?))
    }

    /// Answers a batch of reads: appends a READ_REPLY's payload, each record straight from the table. A
    /// request of a few bytes a key must not make an answer of gigabytes: once a frame is full the rest of the
    /// keys is to be asked for again.
    pub fn read(&self, batch: &ReadBatch<'_>, out: &mut Vec<u8>) {
        self.answer(batch, out, |tenure, clock, key, out| self.read_one(tenure, clock, key, out));
    }

    fn answer(
        &self,
        batch: &ReadBatch<'_>,
        out: &mut Vec<u8>,
        one: impl Fn(&Tenure, Clock, &[u8], &mut Vec<u8>),
    ) {
        let most = out.len() + self.payload.get();
        let clock = self.clock();
        let tenure = self.tenure.read();
        ReadAnswers::encode_head(tenure.epoch(), clock, self.shape(), batch.keys.len(), out);
        if !self.has_lease() {
            return batch.keys.iter().for_each(|_| ReadAnswer::NoLease.encode(out));
        }
        let mut is_full = false;
        for (i, key) in batch.keys.iter().enumerate() {
            let start = out.len();
            if !is_full {
                one(&tenure, clock, key, out);
                // What comes after it takes a byte each at least.
                is_full = i > 0 && out.len() + (batch.keys.len() - 1 - i) > most;
            }
            if is_full {
                out.truncate(start);
                ReadAnswer::Later.encode(out);
            }
        }
        drop(tenure);
        self.hand_in_expired();
    }

    /// Whether what this node stores in an arc is committed at once (N3): it is the whole write set, and answers do
    /// not wait for its disk.
    fn commits_alone(&self, routes: &Routes, arc: usize) -> bool {
        routes.write_set(arc).len() == 1 && !self.journal.is_sync()
    }

    fn note_expired(&self, expired: impl IntoIterator<Item = Expired>) {
        let mut waiting = self.expired.lock();
        let before = waiting.len();
        waiting.extend(expired);
        self.expired_count.fetch_add((waiting.len() - before) as u64, Ordering::Relaxed);
        drop(waiting);
        self.has_expired.store(true, Ordering::SeqCst);
    }

    /// How many values whose time was over it has put an end to, since it started.
    pub fn expired_count(&self) -> u64 {
        self.expired_count.load(Ordering::Relaxed)
    }

    /// What it promises of what it stores: the cluster's word, if it has a folder.
    pub fn durability(&self) -> Durability {
        let routes = self.routes().filter(|_| self.has_folder);
        routes.map_or(Durability::None, |routes| routes.view().durability)
    }

    /// How its disk does.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether it may serve at the moment.
    pub fn is_serving(&self) -> bool {
        self.has_lease()
    }

    /// How many keys of some arcs it holds, and how many of them are to expire.
    pub fn count_keys(&self, arcs: &ArcSet) -> (u64, u64) {
        self.table.get().map_or((0, 0), |table| table.count(arcs))
    }

    /// Hands in the tombstones of what has expired: after a restart another node's clock, which may be behind, would
    /// say of the value that it lives (C6, H6). Not to be called under a lock; waits for no disk.
    fn hand_in_expired(&self) {
        if !self.has_expired.load(Ordering::Relaxed) {
            return;
        }
        self.has_expired.store(false, Ordering::SeqCst);
        let expired = std::mem::take(&mut *self.expired.lock());
        for Expired { epoch, key, version } in expired {
            let (state, body) = (State::Pending, Body::Tombstone);
            self.journal.fetched(epoch, [Record { key: &key, version, state, body }]);
        }
    }

    /// Looks a key up where this node is synced. A value whose time has passed is a pending tombstone from here
    /// on, and shown as such (C6).
    fn look_up<T>(
        &self,
        (table, routes): (&Table, &Routes),
        (arc, key): (usize, &[u8]),
        clock: Clock,
        with: impl FnOnce(Option<(Version, State, Body<'_>)>) -> T,
    ) -> T {
        let is_due = |at| replica::is_expired(at, clock);
        let mut with = Some(with);
        let mut take = |found: Option<(Version, State, Body<'_>)>| {
            with.take().expect("it is called once")(found)
        };
        let looked = table.read(arc, key, |found| match found {
            Some((.., body)) if body.expiry().is_some_and(is_due) => None,
            found => Some(take(found)),
        });
        looked.unwrap_or_else(|| {
            let alone = self.commits_alone(routes, arc);
            if let Some(version) = table.expire_key(arc, key, clock, alone) {
                let (epoch, key) = (routes.epoch(), key.to_vec());
                self.note_expired([Expired { epoch, key, version }]);
            }
            table.read(arc, key, take)
        })
    }

    fn read_one(&self, tenure: &Tenure, clock: Clock, key: &[u8], out: &mut Vec<u8>) {
        let Some((table, routes)) = self.serving(tenure) else {
            return ReadAnswer::WrongEpoch.encode(out);
        };
        if routes.view().limits.check_key(key).is_err() {
            return ReadAnswer::BadKey.encode(out);
        }
        let arc = arc_of_key(key, table.arcs());
        match tenure.admit_read(arc) {
            Err(Refusal::WrongEpoch) => ReadAnswer::WrongEpoch.encode(out),
            Err(Refusal::Syncing) => ReadAnswer::Syncing.encode(out),
            Ok(()) => self.look_up((table, routes), (arc, key), clock, |found| match found {
                None => ReadAnswer::Absent.encode(out),
                Some((version, state, body)) => {
                    ReadAnswer::Record(version, self.state(&version, state), body).encode(out);
                }
            }),
        }
    }

    /// Answers a fence (C5): appends a READ_REPLY's payload, as [`Node::read`] does. What this node has of
    /// an arc that it is still fetching is what this incarnation was written or has merged, since an arc
    /// that begins anew is emptied first: never a record of an earlier life (RULES-WHY R6).
    pub fn fence(&self, batch: &ReadBatch<'_>, out: &mut Vec<u8>) {
        self.answer(batch, out, |tenure, clock, key, out| {
            self.fence_one(tenure, batch.epoch, clock, key, out);
        });
    }

    fn fence_one(
        &self,
        tenure: &Tenure,
        epoch: Epoch,
        clock: Clock,
        key: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Some((table, routes)) = self.serving(tenure) else {
            return ReadAnswer::WrongEpoch.encode(out);
        };
        if routes.view().limits.check_key(key).is_err() {
            return ReadAnswer::BadKey.encode(out);
        }
        let arc = arc_of_key(key, table.arcs());
        match tenure.admit_write(epoch, arc) {
            Err(Refusal::WrongEpoch | Refusal::Syncing) => ReadAnswer::WrongEpoch.encode(out),
            Ok(standing) => {
                // Only what a synced replica holds expires: what another has may never have been
                // acknowledged.
                if standing == Standing::Synced {
                    self.look_up((table, routes), (arc, key), clock, |_| ());
                }
                table.read(arc, key, |found| {
                    let found = found
                        .map(|(version, state, body)| (version, self.state(&version, state), body));
                    match (standing, found) {
                        (Standing::Synced, None) => ReadAnswer::Absent,
                        (Standing::Synced, Some((version, state, body))) => {
                            ReadAnswer::Record(version, state, body)
                        }
                        (Standing::Blind, None) => ReadAnswer::BlindAbsent,
                        (Standing::Blind, Some((version, state, body))) => {
                            ReadAnswer::Blind(version, state, body)
                        }
                    }
                    .encode(out);
                })
            }
        }
    }

    /// The arcs that it keeps and has yet to fetch, and the view that says so.
    pub fn missing(&self) -> Option<(Arc<Routes>, Vec<usize>)> {
        let tenure = self.tenure.read();
        let missing = tenure.missing();
        let routes = tenure.routes()?.clone();
        (!missing.is_empty()).then_some((routes, missing))
    }

    /// An arc to be fetched, with what it holds of it from an earlier life; or to be gathered.
    pub fn part(&self, arc: usize) -> ArcFetch {
        if self.gathers(arc) {
            ArcFetch::to_gather(arc)
        } else {
            ArcFetch::new(arc, self.stale_cache.get(arc))
        }
    }

    /// The arcs that have come from disk since this was asked last, and the view in force; `None` as long as others may
    /// not have adopted it.
    pub fn take_from_disk(&self) -> Option<(Arc<Routes>, Vec<usize>)> {
        let routes = self.routes()?;
        let is_active = self.active.load(Ordering::SeqCst) >= routes.epoch().0;
        let arcs = is_active.then(|| std::mem::take(&mut *self.from_disk.lock()))?;
        (!arcs.is_empty()).then_some((routes, arcs))
    }

    /// Whether it has its own disk's part of an arc, and is to gather that of all others who keep it (H6).
    pub fn gathers(&self, arc: usize) -> bool {
        self.tenure.read().revived().contains(arc)
    }

    /// Whether an arc that it gathers is complete, by who has told under this view what they had (H6).
    pub fn has_gathered(&self, epoch: Epoch, arc: usize, has_told: impl Fn(u16) -> bool) -> bool {
        let tenure = self.tenure.read();
        tenure.epoch() == epoch && tenure.has_gathered(arc, has_told)
    }

    /// A page came.
    pub fn count_page(&self, bytes: usize) {
        self.stats.page(clock::boot_ms(), bytes);
    }

    /// How much it has fetched, and how fast.
    pub fn transfer(&self) -> Transfer {
        self.stats.read(clock::boot_ms())
    }
}

impl Source for Node {
    fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    fn stale_cache(&self) -> &StaleCache {
        &self.stale_cache
    }
}

#[cfg(test)]
mod tests;
