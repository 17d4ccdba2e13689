//! The state that all threads of a node share: its records, its holdings of the ring, its clock.
//!
//! * [`write`](mod@write), `read`, `commit`, `expire`: the operations on records; `local_read`,
//!   [`page`] and `list`: other ways to read them;
//! * `adopt`, [`views`], `lease`: the view in force, and whether the node may serve under it;
//! * [`merge`], `fetching`: the arcs that are still to be fetched; `report`: the contents of a
//!   heartbeat;
//! * `in_flight`, `watermarks`, [`expirations`], [`notes`]: state beside the records.
//!
//! Locks, in the order in which they may be taken: the holdings, then an arc of the table. A
//! request holds the holdings for reading from its check to its access of the table, and adopting a
//! view locks them for writing. So check and access are one step with respect to views (rules N1,
//! F2). Nothing is sent or received under a lock.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::durability::Durability;
use cluster::holdings::Holdings;
use cluster::ids::{ClusterId, Epoch, Incarnation, NodeId};
use cluster::limits::Limits;
use cluster::membership::Report;
use cluster::ring::arc_of_slot;
use cluster::slot;
use cluster::version::{Clock, ServerClock};
use cluster::view::Routes;
use net_common::clock;
use net_common::frame::PayloadLimit;
use net_common::message::control::Info;
use net_common::message::data::Shape;
use net_common::message::range::Cursor;
use parking_lot::{Mutex, RwLock};

use crate::disk::checkpoint::CheckpointSource;
use crate::disk::journal::{Journal, Trouble};
use crate::disk::{Anchor, Restored};
use crate::fetch::stats::TransferStats;
use crate::stale_cache::StaleCache;
use crate::table::{Size, Table};

mod adopt;
mod commit;
pub mod expirations;
mod expire;
mod fetching;
mod in_flight;
mod lease;
mod list;
mod local_read;
pub mod merge;
pub mod notes;
pub mod page;
mod read;
mod report;
pub mod views;
mod watermarks;
pub mod write;

use expirations::{Expirations, is_alive};
use in_flight::InFlight;
use lease::Lease;
use notes::Notes;
use watermarks::Watermarks;

/// The records and the view in force, which requests are served from.
#[derive(Clone, Copy)]
struct Serving<'a> {
    table: &'a Table,
    routes: &'a Routes,
}

/// One node's state.
pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    holdings: RwLock<Holdings>,
    /// Created with the first view, which has the number of arcs.
    table: OnceLock<Table>,
    /// The arcs with records that may not be on the disk yet, where answers wait for the disk.
    /// Created together with `table`.
    in_flight: OnceLock<InFlight>,
    /// Records from before the node missed a view. They are never shown to anybody.
    stale_cache: StaleCache,
    stats: TransferStats,
    watermarks: Watermarks,
    clock: Mutex<ServerClock>,
    lease: Lease,
    /// The epoch of the newest view that the manager has reported as active.
    active: AtomicU64,
    /// The longest frames that this node sends and receives.
    payload: PayloadLimit,
    /// The lengths of the longest key and value held, measured under a view whose target has lower
    /// limits.
    measured: Mutex<Option<(Epoch, Limits)>>,
    notes: Notes,
    /// The way to the disk.
    journal: Journal,
    /// Records in the data folder that the manager knows this start.
    anchor: Option<Anchor>,
    /// Whether it has a data folder.
    has_folder: bool,
    /// The cluster of the data folder.
    origin: Option<ClusterId>,
    /// Records recovered from disk, kept aside until this node joins a view: some arcs may stay
    /// authoritative (H6).
    recovered: Mutex<Option<Table>>,
    /// The last report from before the present view, while the view file does not have that view
    /// yet.
    unconfirmed: Mutex<Option<Report>>,
    /// Arcs that came from disk: many of their records are pending although all replicas may hold
    /// them.
    from_disk: Mutex<Vec<usize>>,
    /// Tombstones of expired values that are still to be handed in to the journal.
    expirations: Expirations,
    /// The limit for the memory of its records, in bytes.
    max_memory: OnceLock<u64>,
    connections: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Node {
    /// A node without a view and without records.
    pub fn new(id: NodeId, incarnation: Incarnation, notes: Notes) -> Node {
        Node {
            holdings: RwLock::new(Holdings::new(id.clone(), incarnation)),
            id,
            incarnation,
            table: OnceLock::new(),
            in_flight: OnceLock::new(),
            stale_cache: StaleCache::default(),
            stats: TransferStats::default(),
            watermarks: Watermarks::default(),
            clock: Mutex::default(),
            lease: Lease::default(),
            active: AtomicU64::new(0),
            payload: PayloadLimit::default(),
            measured: Mutex::default(),
            notes,
            journal: Journal::default(),
            anchor: None,
            has_folder: false,
            origin: None,
            recovered: Mutex::default(),
            unconfirmed: Mutex::default(),
            from_disk: Mutex::default(),
            expirations: Expirations::default(),
            max_memory: OnceLock::new(),
            connections: OnceLock::new(),
        }
    }

    /// Adds the contents of a data folder, and the journal for new records.
    pub fn with_disk(self, restored: Restored) -> Node {
        let Restored { journal, recovered, starts, anchor } = restored;
        let node = Node { journal, anchor, has_folder: true, ..self };
        let Some(recovered) = recovered else { return node };
        let claim = recovered.claim().map(|claim| Claim { starts, ..claim });
        let Node { id, incarnation, .. } = &node;
        let holdings = Holdings::new(id.clone(), *incarnation).with_claim(claim);
        // Like the recovered table, so that arcs can be moved between the two.
        let table = OnceLock::from(recovered.records.empty_like());
        Node {
            holdings: RwLock::new(holdings),
            table,
            stale_cache: recovered.stale_cache,
            origin: Some(recovered.owner.cluster),
            recovered: Mutex::new(Some(recovered.records)),
            ..node
        }
    }

    /// Whether it has a data folder.
    pub fn has_folder(&self) -> bool {
        self.has_folder
    }

    /// Sets the cluster's durability, before any view of the cluster is adopted.
    pub fn set_durability(&self, durability: Durability) {
        self.journal.set_durability(durability);
    }

    /// Its name.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// This start of its process.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The longest frames that this node sends and receives. The limit follows the views.
    pub fn payload_limit(&self) -> &PayloadLimit {
        &self.payload
    }

    /// Sets the function that counts the node's connections, once there is a server.
    pub fn count_connections(&self, count: Box<dyn Fn() -> usize + Send + Sync>) {
        // Set once at start; a second count would be the same.
        let _ = self.connections.set(count);
    }

    /// Sets the memory limit of its records, in bytes: above it the node reports that it is full.
    /// By default there is no limit.
    pub fn limit_memory(&self, bytes: u64) {
        // Set once at start; a second limit would be the same.
        let _ = self.max_memory.set(bytes);
    }

    /// The memory of its records, and the limit.
    pub fn memory(&self) -> (u64, Option<u64>) {
        (self.table.get().map_or(0, Table::memory), self.max_memory.get().copied())
    }

    /// Whether its records exceed the memory limit.
    pub fn is_full(&self) -> bool {
        let (held, most) = self.memory();
        most.is_some_and(|most| held > most)
    }

    fn shape(&self) -> Shape {
        Shape { is_full: self.is_full() }
    }

    /// Notes that a heartbeat is sent now. Returns its number.
    pub fn send_heartbeat(&self) -> u64 {
        self.lease.send()
    }

    /// Takes the manager's answer to a heartbeat: a lease of so many milliseconds (0: none), and
    /// the active epoch.
    pub fn heartbeat_answered(&self, sequence: u64, lease_ms: u64, active: Epoch) {
        self.note_active(active);
        self.lease.grant(sequence, lease_ms);
    }

    /// Notes that the manager has accepted a heartbeat, so it knows this start.
    pub fn known_to_manager(&self) {
        if let Some(anchor) = &self.anchor {
            anchor.known_to_manager();
        }
    }

    /// Stops serving permanently, and waits for the requests in progress.
    pub fn give_up_lease(&self) {
        self.lease.give_up();
        // Requests that were admitted before hold this lock for reading.
        drop(self.holdings.write());
    }

    /// Rule N1: nothing is served without a lease.
    pub fn has_lease(&self) -> bool {
        self.lease.is_valid()
    }

    /// Its clock: never behind its wall clock or a version that it holds.
    pub fn clock(&self) -> Clock {
        self.clock.lock().read(clock::wall_ms())
    }

    /// The records, once there is a view.
    pub fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    /// Why new records do not reach the disk at the moment, if they do not.
    pub fn disk_trouble(&self) -> Option<Trouble> {
        self.journal.trouble()
    }

    /// The number and size of its records.
    pub fn size(&self) -> Size {
        self.table.get().map(Table::size).unwrap_or_default()
    }

    /// The newest view that it has adopted.
    pub fn routes(&self) -> Option<Arc<Routes>> {
        self.holdings.read().routes().cloned()
    }

    /// The number of keys that it holds in a slot.
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

    /// Its identity and the size of its records.
    pub fn info(&self) -> Info {
        let Size { keys, bytes } = self.size();
        let connections = self.connections.get().map_or(0, |count| count());
        Info {
            id: self.id.clone(),
            incarnation: self.incarnation,
            epoch: self.holdings.read().epoch(),
            keys,
            bytes,
            connections: connections as u32,
        }
    }

    /// The durability of what it stores: the cluster's, if the node has a data folder.
    pub fn durability(&self) -> Durability {
        let routes = self.routes().filter(|_| self.has_folder);
        routes.map_or(Durability::None, |routes| routes.view().durability)
    }

    /// The journal, for the state of the disk.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The number of keys that it holds in some arcs, and how many of them have an expiry.
    pub fn count_keys(&self, arcs: &ArcSet) -> (u64, u64) {
        self.table.get().map_or((0, 0), |table| table.count(arcs))
    }

    /// Whether a record that this node stores in an arc is committed at once (N3): the node is the
    /// whole write set, and answers do not wait for its disk.
    fn commits_alone(&self, routes: &Routes, arc: usize) -> bool {
        routes.write_set(arc).len() == 1 && !self.journal.is_sync()
    }

    /// The table and the view in force, once there is one.
    fn serving<'a>(&'a self, holdings: &'a Holdings) -> Option<Serving<'a>> {
        Some(Serving { table: self.table.get()?, routes: holdings.routes()? })
    }
}

impl CheckpointSource for Node {
    fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    fn stale_cache(&self) -> &StaleCache {
        &self.stale_cache
    }
}

#[cfg(test)]
mod tests;
