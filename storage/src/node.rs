//! What all threads of a node share: its records, its holdings of the ring, its clock.
//!
//! * [`write`](mod@write), `read`, `commit`, `expire`: what it does with records; `local_read`,
//!   [`page`] and `list`: what it shows of them otherwise;
//! * `adopt`, [`views`], `lease`: which view it is in, and whether it may serve under it;
//! * [`merge`], `fetching`: what it has yet to fetch; `report`: what it tells of itself;
//! * `in_flight`, `watermarks`, [`expirations`], [`notes`]: what it keeps besides its records.
//!
//! Locks, in the order in which they may be taken: the holdings, then an arc of the table. A request
//! holds the holdings for reading from its check to its store or read, and adopting a view takes it
//! for writing, so check and access are one step with respect to views (rule N1, F2).
//! Nothing is sent or received under a lock.

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

/// What requests are served from: the records, and the view in force.
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
    /// Made when the first view tells how many arcs there are.
    table: OnceLock<Table>,
    /// What of it may not be on the disk yet, where answers wait for that. Made with it.
    in_flight: OnceLock<InFlight>,
    /// What it held before it missed a view; nobody is shown any of it.
    stale_cache: StaleCache,
    stats: TransferStats,
    watermarks: Watermarks,
    clock: Mutex<ServerClock>,
    lease: Lease,
    /// The epoch of the newest view that the manager has said to be active.
    active: AtomicU64,
    /// How long frames may be to this node and from it.
    payload: PayloadLimit,
    /// Lengths of the longest key and value that it held under a view in which the limits are to be
    /// lower.
    measured: Mutex<Option<(Epoch, Limits)>>,
    notes: Notes,
    /// Where what is stored goes to disk.
    journal: Journal,
    /// Where its folder notes that the manager has heard of this start.
    anchor: Option<Anchor>,
    /// Whether it has a data folder.
    has_folder: bool,
    /// The cluster that this is of.
    origin: Option<ClusterId>,
    /// What it held in its last life, until a view takes it in: a part of it may go on counting
    /// (H6).
    recovered: Mutex<Option<Table>>,
    /// What it told before it adopted a view that its disk does not tell of yet.
    unconfirmed: Mutex<Option<Report>>,
    /// Arcs of which much is pending that all who keep them may hold: it is from disk.
    from_disk: Mutex<Vec<usize>>,
    /// Tombstones of what has expired that are to be handed in.
    expirations: Expirations,
    /// How much its records may take, in bytes.
    max_memory: OnceLock<u64>,
    connections: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Node {
    /// A node that has seen no view and holds nothing.
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

    /// The same with what its data folder had of an earlier life, and where to write what it
    /// stores.
    pub fn with_disk(self, restored: Restored) -> Node {
        let Restored { journal, recovered, starts, anchor } = restored;
        let node = Node { journal, anchor, has_folder: true, ..self };
        let Some(recovered) = recovered else { return node };
        let claim = recovered.claim().map(|claim| Claim { starts, ..claim });
        let Node { id, incarnation, .. } = &node;
        let holdings = Holdings::new(id.clone(), *incarnation).with_claim(claim);
        // Arcs can be moved from the one to the other.
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

    /// The cluster's promise was told: before any view of it is adopted.
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

    /// How long frames may be to this node and from it: it follows the views.
    pub fn payload_limit(&self) -> &PayloadLimit {
        &self.payload
    }

    /// Tells the node how to count its connections, once there is a server.
    pub fn count_connections(&self, count: Box<dyn Fn() -> usize + Send + Sync>) {
        // Set once at start; a second count would be the same.
        let _ = self.connections.set(count);
    }

    /// Says how much its records may take, in bytes, before it tells that it is full. Without this
    /// there is no limit.
    pub fn limit_memory(&self, bytes: u64) {
        // Set once at start; a second limit would be the same.
        let _ = self.max_memory.set(bytes);
    }

    /// What its records take, and what they may.
    pub fn memory(&self) -> (u64, Option<u64>) {
        (self.table.get().map_or(0, Table::memory), self.max_memory.get().copied())
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
        self.lease.send()
    }

    /// The manager answered a heartbeat: with a lease of so many milliseconds (0: none), and with
    /// the active epoch.
    pub fn heartbeat_answered(&self, sequence: u64, lease_ms: u64, active: Epoch) {
        self.note_active(active);
        self.lease.grant(sequence, lease_ms);
    }

    /// The manager has taken a heartbeat: it knows this start.
    pub fn known_to_manager(&self) {
        if let Some(anchor) = &self.anchor {
            anchor.known_to_manager();
        }
    }

    /// Stops serving for good, and waits for the requests that are being served.
    pub fn give_up_lease(&self) {
        self.lease.give_up();
        // Whoever was admitted before holds this for reading.
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

    /// Why what it stores does not reach its disk at the moment, if that is so.
    pub fn disk_trouble(&self) -> Option<Trouble> {
        self.journal.trouble()
    }

    /// How much it holds.
    pub fn size(&self) -> Size {
        self.table.get().map(Table::size).unwrap_or_default()
    }

    /// The newest view that it has adopted.
    pub fn routes(&self) -> Option<Arc<Routes>> {
        self.holdings.read().routes().cloned()
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
            epoch: self.holdings.read().epoch(),
            keys,
            bytes,
            connections: connections as u32,
        }
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

    /// How many keys of some arcs it holds, and how many of them are to expire.
    pub fn count_keys(&self, arcs: &ArcSet) -> (u64, u64) {
        self.table.get().map_or((0, 0), |table| table.count(arcs))
    }

    /// Whether what this node stores in an arc is committed at once (N3): it is the whole write
    /// set, and answers do not wait for its disk.
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
