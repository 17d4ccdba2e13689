//! A node of the model: the rules of `holdings`, `lease` and `replica` with one record, as
//! `storage` uses them with a table.
//!
//! Time is not modelled: a node has a lease or it does not, and all wall clocks stand still, so
//! only the counters of the hybrid clocks move.

use std::sync::Arc;

use cluster::holdings::{Holdings, Refusal, Standing};
use cluster::ids::{Address, Epoch, Incarnation, NodeId};
use cluster::lease;
use cluster::limits::Limits;
use cluster::membership::{Newcomer, Report};
use cluster::operation::{Body, Found, ReadAnswer};
use cluster::replica::{self, State, WriteAnswer};
use cluster::version::{Clock, ServerClock, Version, clock_at};
use cluster::view::Routes;

use crate::register::Value;

/// The arc of the only key. The others are empty; they matter to the manager alone.
pub const ARC: usize = 0;

/// The only key: `hello` has slot 866, which is in the first of four arcs.
pub const KEY: &[u8] = b"hello";

/// The time of day, at all times.
pub const WALL_MS: u64 = 1_000_000_000;

/// A node's record of the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its version.
    pub version: Version,
    /// Whether all replicas are known to hold it.
    pub state: State,
    /// A value or a tombstone.
    pub body: Body<Value>,
}

/// A page that has been read at a source and has not been merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Page {
    epoch: Epoch,
    record: Option<Record>,
}

/// One start of a node's process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The start's incarnation.
    pub incarnation: Incarnation,
    /// The state of its ranges.
    pub holdings: Holdings,
    /// Whether it has a lease.
    pub has_lease: bool,
    /// The key's record.
    pub held: Option<Record>,
    /// The page that it is about to merge.
    pub page: Option<Page>,
    /// Whether it has left the cluster as ordered: its process may end at any time.
    pub has_left: bool,
    clock: ServerClock,
}

/// The registration of a start of a node.
pub fn who(slot: usize, incarnation: Incarnation) -> Newcomer {
    let id = NodeId::new(&format!("node{slot}")).expect("a valid name");
    let address = Address::new("127.0.0.1", 6000 + slot as u16).expect("a valid address");
    Newcomer { id, incarnation, address, redis_port: 0, on_disk: false, weight: 1 }
}

/// Limits of the model's cluster.
pub fn limits() -> Limits {
    Limits::default()
}

impl Node {
    /// A process that has just started.
    pub fn new(slot: usize, incarnation: Incarnation) -> Node {
        Node {
            incarnation,
            holdings: Holdings::new(who(slot, incarnation).id, incarnation),
            has_lease: false,
            held: None,
            page: None,
            has_left: false,
            clock: ServerClock::default(),
        }
    }

    /// Whether it serves: [`lease::is_valid`] for a lease that ends later, or has ended.
    pub fn serves(&self) -> bool {
        lease::is_valid(u64::from(self.has_lease), 0)
    }

    /// The version that it holds.
    pub fn version(&self) -> Version {
        self.held.as_ref().map_or(Version::ABSENT, |record| record.version)
    }

    /// Whether it is synced in the key's arc.
    pub fn is_synced(&self) -> bool {
        self.holdings.synced().contains(ARC)
    }

    /// Its clock, as it reports it.
    pub fn clock(&self) -> Clock {
        self.clock.clone().read(WALL_MS)
    }

    /// The first half of a write: whether it is admitted.
    ///
    /// # Errors
    /// The answer, where it is not.
    pub fn admit_write(&self, epoch: Epoch, is_swap: bool) -> Result<Standing, WriteAnswer> {
        if !self.serves() {
            return Err(WriteAnswer::NoLease);
        }
        match self.holdings.admit_write(epoch, ARC) {
            Ok(standing)
                if !is_swap || standing == Standing::Synced && self.holdings.is_primary(ARC) =>
            {
                Ok(standing)
            }
            _ => Err(WriteAnswer::WrongEpoch),
        }
    }

    /// The second half: the decision on the record. It is one step with the first (N1), unless that
    /// rule is off.
    pub fn store(
        &mut self,
        standing: Standing,
        version: Version,
        born: Clock,
        body: Body<Value>,
        expected: Option<Version>,
    ) -> WriteAnswer {
        let own = self.clock.read(WALL_MS);
        let same = self.held.as_ref().is_some_and(|record| record.body == body);
        let decision = match expected {
            None => replica::write(self.version(), version, same, born, own, standing),
            Some(base) => replica::swap(self.version(), base, version, same, born, own),
        };
        if decision.keep {
            let set = self.holdings.routes().map_or(0, |routes| routes.write_set(ARC).len());
            let state = replica::state_when_stored(set == 1);
            self.held = Some(Record { version, state, body });
        }
        if matches!(decision.answer, WriteAnswer::Stored | WriteAnswer::BlindStored) {
            self.clock.fold(version.clock);
        }
        decision.answer
    }

    /// A COMMIT.
    pub fn commit(&mut self, version: Version) {
        if let Some(held) = &mut self.held {
            held.state = replica::commit(held.version, held.state, version);
        }
    }

    /// A READ.
    pub fn read(&self) -> ReadAnswer<Value> {
        if !self.serves() {
            return ReadAnswer::NoLease;
        }
        match self.holdings.admit_read(ARC) {
            Err(Refusal::WrongEpoch) => ReadAnswer::WrongEpoch,
            Err(Refusal::Syncing) => ReadAnswer::Syncing,
            Ok(()) => ReadAnswer::Found(self.found()),
        }
    }

    /// A fence's READ.
    pub fn fence(&self, epoch: Epoch) -> ReadAnswer<Value> {
        if !self.serves() {
            return ReadAnswer::NoLease;
        }
        match self.holdings.admit_write(epoch, ARC) {
            Err(_) => ReadAnswer::WrongEpoch,
            Ok(Standing::Synced) => ReadAnswer::Found(self.found()),
            Ok(Standing::Blind) => ReadAnswer::Blind(self.found()),
        }
    }

    /// Its record, as a reader or a finisher sees it.
    pub fn found(&self) -> Found<Value> {
        let (version, state, body) = match &self.held {
            Some(held) => (held.version, held.state, held.body),
            None => (Version::ABSENT, State::Committed, None),
        };
        // The birth of a write-back; its counter does not matter.
        let clock = clock_at(WALL_MS);
        Found { version, body, state, epoch: self.holdings.epoch(), clock }
    }

    /// The page of the key's arc for a node at `epoch`, if this node may be its source.
    pub fn page_for(&self, epoch: Epoch) -> Option<Page> {
        self.holdings.admit_page(epoch, ARC).ok()?;
        Some(Page { epoch: self.holdings.epoch(), record: self.held.clone() })
    }

    /// Merges the page that has arrived.
    pub fn merge(&mut self) {
        let Some(Page { epoch, record }) = self.page.take() else { return };
        if !self.holdings.may_merge(epoch, ARC) {
            return;
        }
        if let Some(record) = record {
            let held = self
                .held
                .as_ref()
                .map_or((Version::ABSENT, State::Pending), |held| (held.version, held.state));
            if held < (record.version, record.state) {
                self.held = Some(record);
            }
        }
        self.holdings.fetched(epoch, ARC);
    }

    /// Adopts a view, if it is newer.
    pub fn adopt(&mut self, routes: Arc<Routes>) {
        self.has_left |= self.holdings.leaves_with(routes.view());
        let Some(adoption) = self.holdings.adopt(routes) else { return };
        if adoption.to_drop.contains(&ARC) {
            self.held = None;
        }
        // A page that cannot be merged any more is dropped.
        self.page.take_if(|page| !self.holdings.may_merge(page.epoch, ARC));
    }

    /// Its report to the manager.
    pub fn report(&self) -> Report {
        let synced = self.holdings.synced().clone();
        Report { epoch: self.holdings.epoch(), synced, ..Report::default() }
    }
}
