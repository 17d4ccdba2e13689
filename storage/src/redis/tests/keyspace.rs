//! A store that is a map, with a clock that stands still unless it is moved, and the smallest
//! server that can execute commands: those about keys in batches, as a connection does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use client::{
    BatchItem, ClientError, CurrentValue, Done, Got, ItemOutcome, Op, Placed, UpdateAction,
};
use cluster::ids::NodeId;
use cluster::limits::Limits;
use cluster::scan;

use crate::redis::batch::Batch;
use crate::redis::batch::store::Store;
use resp::command::{Command, ConnectionCommand};
use resp::error::Error;
use resp::glob::Pattern;
use resp::reply::{Protocol, Replies};
use resp::request::{self, Requests};
use resp::transaction::TransactionState;
use resp::{listing, lookup};

/// A key's value, and when it expires.
pub type Record = (Vec<u8>, Option<u64>);

/// The store.
pub struct Keyspace {
    records: RefCell<BTreeMap<Vec<u8>, Record>>,
    pub limits: Limits,
    /// The time at which commands are parsed.
    pub now_ms: u64,
    /// How much later they are executed.
    pub lag_ms: u64,
    /// How far the store's clock is behind.
    pub behind_ms: u64,
    /// The number of calls.
    pub asked: Cell<usize>,
    /// Which parts it leaves for the next call: a repeating pattern of bits.
    pub left: Cell<u64>,
    /// The most bytes that it has read at once.
    pub most_read: Cell<usize>,
    transaction: TransactionState,
}

impl Store for &Keyspace {
    fn limits(&self) -> Limits {
        self.limits
    }

    /// From the last to the first: their order must not matter. Some reads are left, as the
    /// contract permits.
    fn run<'p>(&self, parts: Vec<BatchItem<'p>>, most: usize) -> Vec<ItemOutcome<'p>> {
        self.asked.set(self.asked.get() + 1);
        let mut left = self.left.get();
        let mut read = 0;
        let mut results: Vec<_> = (0..parts.len())
            .zip(parts)
            .rev()
            .map(|(i, part)| {
                left = left.rotate_left(1);
                let reads =
                    matches!(part, BatchItem::Op(Op::Get { .. }) | BatchItem::Update { .. });
                if reads && i > 0 && (left & 1 == 1 || read >= most) {
                    return ItemOutcome::Left(part);
                }
                read += self.bytes(&part);
                ItemOutcome::Over(self.part(part))
            })
            .collect();
        results.reverse();
        self.most_read.set(self.most_read.get().max(read));
        results
    }
}

impl Keyspace {
    pub fn new(now_ms: u64) -> Keyspace {
        Keyspace {
            records: RefCell::default(),
            limits: Limits { key_bytes: 512, value_bytes: 1 << 20 },
            now_ms,
            lag_ms: 0,
            behind_ms: 0,
            asked: Cell::default(),
            left: Cell::default(),
            most_read: Cell::default(),
            transaction: TransactionState::default(),
        }
    }

    /// Stores a value without an expiry.
    pub fn hold(&self, key: &str, value: &str) {
        self.records.borrow_mut().insert(key.into(), (value.into(), None));
    }

    /// Its content.
    pub fn records(&self) -> BTreeMap<Vec<u8>, Record> {
        self.expire();
        self.records.borrow().clone()
    }

    /// Executes a client's input, and returns the replies.
    pub fn exchange(&mut self, sent: &[u8]) -> Vec<u8> {
        let (mut buffer, mut requests, mut out) = (sent.to_vec(), Requests::default(), Vec::new());
        let error = requests.read(&mut buffer, &request::Limits::AUTHENTICATED).err();
        let mut batch = Batch::default();
        for args in requests.each(&buffer) {
            match self.transaction.parse(lookup::find(args), args, self.now_ms) {
                Ok(command) if Batch::is_for(&command) => {
                    if !batch.accepts(&command) {
                        self.run(&mut batch, &mut out);
                    }
                    batch.add(command);
                }
                Ok(command) => {
                    self.run(&mut batch, &mut out);
                    let mut replies = Replies::new(&mut out, Protocol::Resp2);
                    if let Err(error) = self.carry_out(&command, &mut replies) {
                        replies.error(&error.to_string());
                    }
                }
                Err(error) => batch.refuse(error),
            }
        }
        self.run(&mut batch, &mut out);
        if let Some(error) = error {
            Replies::new(&mut out, Protocol::Resp2).error(&error.to_string());
        }
        out
    }

    fn run(&self, batch: &mut Batch<'_>, out: &mut Vec<u8>) {
        let clock = || self.now_ms + self.lag_ms;
        let mut replies = Replies::new(out, Protocol::Resp2);
        batch.run(None, || Ok(self), &clock, &mut replies, |_| Ok(())).expect("nothing is sent");
    }

    /// The number of bytes that a part reads.
    fn bytes(&self, part: &BatchItem<'_>) -> usize {
        let (BatchItem::Op(Op::Get { key }) | BatchItem::Update { key, .. }) = part else {
            return 0;
        };
        self.records.borrow().get(*key).map_or(0, |(value, _)| value.len())
    }

    fn part(&self, part: BatchItem<'_>) -> Result<Done, ClientError> {
        let (key, change) = match part {
            BatchItem::Op(Op::Get { key }) => (key, UpdateAction::Leave),
            BatchItem::Op(Op::Put { key, value }) => (key, UpdateAction::Put(value.to_vec())),
            BatchItem::Op(Op::PutUntil { key, value, until }) => {
                (key, UpdateAction::PutUntil(value.to_vec(), until))
            }
            BatchItem::Op(Op::Delete { key }) => (key, UpdateAction::Delete),
            BatchItem::Update { key, mut decide } => {
                // Another writer was quicker at first.
                decide(Some(CurrentValue { value: b"9", expiry: None }));
                let held = self.held(key);
                let held =
                    held.as_ref().map(|(value, expiry)| CurrentValue { value, expiry: *expiry });
                (key, decide(held))
            }
        };
        self.limits.check_key(key).map_err(ClientError::BadKey)?;
        let primary = NodeId::new("node1").expect("a name");
        let (value, expiry) = match change {
            UpdateAction::Leave => {
                let found = self.held(key);
                let got = found.map(|(value, expiry)| Got { value, expiry, primary });
                return Ok(Done::Got(got));
            }
            UpdateAction::Delete => {
                self.records.borrow_mut().remove(key);
                return Ok(Done::Placed(Placed { primary, copies: 1 }));
            }
            UpdateAction::Put(value) => (value, None),
            UpdateAction::PutUntil(value, until) => (value, Some(until)),
        };
        self.limits.check_value(&value).map_err(ClientError::BadValue)?;
        self.records.borrow_mut().insert(key.to_vec(), (value, expiry));
        Ok(Done::Placed(Placed { primary, copies: 1 }))
    }

    fn held(&self, key: &[u8]) -> Option<Record> {
        self.expire();
        self.records.borrow().get(key).cloned()
    }

    fn expire(&self) {
        let now_ms = self.now_ms + self.lag_ms - self.behind_ms;
        let is_alive = |expiry: &Option<u64>| expiry.is_none_or(|at| at > now_ms);
        self.records.borrow_mut().retain(|_, (_, expiry)| is_alive(expiry));
    }

    fn carry_out(&mut self, command: &Command<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        self.expire();
        let mut records = self.records.borrow_mut();
        match command {
            Command::Scan(scan) => {
                let (keys, next) = scan::page(records.keys(), scan.cursor, scan.count);
                listing::page(scan, keys, next, out);
            }
            Command::Keys(pattern) => {
                let pattern = Pattern::new(pattern, false);
                let keys: Vec<_> = records.keys().filter(|key| pattern.matches(key)).collect();
                listing::keys(&keys, out);
            }
            Command::RandomKey => out.bulk_or_null(records.keys().next().map(Vec::as_slice)),
            Command::DbSize => out.count(records.len()),
            Command::Flush => {
                records.clear();
                out.ok();
            }
            Command::Wait => out.integer(0),
            Command::Connection(ConnectionCommand::Ping(None)) => out.simple("PONG"),
            Command::Connection(
                ConnectionCommand::Ping(Some(text)) | ConnectionCommand::Echo(text),
            ) => {
                out.bulk(text);
            }
            Command::Connection(ConnectionCommand::Reset) => {
                self.transaction = TransactionState::default();
                out.simple("RESET");
            }
            Command::Connection(_) => out.ok(),
            Command::Transaction(command) => return self.transaction.answer(command, out),
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }
}
