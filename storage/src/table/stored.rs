//! One record in memory: a single allocation, with a header (flags, key length, version), the key
//! and the value. An update of the same length overwrites in place, so a steady workload does not
//! touch the allocator.

use cluster::replica::{self, State};
use cluster::version::{Clock, Op, Version};
use net_common::message::data::{Body, Record};

/// A number and size of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

/// One record: flags (1 byte), key length (2), clock (8), writer (8), for read-modify-writes step
/// and op (24), for expiring values the time (8), then key and value. Numbers are in native byte
/// order; they never leave the process.
pub struct TableRecord(Box<[u8]>);

/// The memory of a record beside its bytes: its slot in the table, which is three quarters full on
/// average, and the overhead of an allocator.
const APART: u64 = 32;

const TOMBSTONE: u8 = 0b0001;
const STEPPED: u8 = 0b0010;
const PENDING: u8 = 0b0100;
/// A tombstone that the last sweep found committed.
const MARKED: u8 = 0b1000;
/// A value with an expiry: the time is before the key.
const EXPIRING: u8 = 0b1_0000;
const CLOCK: usize = 3;
const WRITER: usize = 11;
const STEP: usize = 19;
const OP_WRITER: usize = 27;
const OP_COUNT: usize = 35;
const PLAIN_HEADER: usize = 19;
const STEPPED_HEADER: usize = 43;
const EXPIRY: usize = 8;

impl TableRecord {
    /// Copies a record.
    pub fn new(record: &Record<'_>) -> TableRecord {
        let mut bytes = vec![0; encoded_len(record)].into_boxed_slice();
        encode(record, &mut bytes);
        TableRecord(bytes)
    }

    /// Replaces it with another version of the same key.
    pub fn replace(&mut self, record: &Record<'_>) {
        if self.0.len() == encoded_len(record) {
            encode(record, &mut self.0);
        } else {
            *self = TableRecord::new(record);
        }
    }

    /// Loads its first and last bytes into the processor's cache.
    pub fn touch(&self) -> u8 {
        self.0[0].wrapping_add(self.0[self.0.len() - 1])
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn header(&self) -> usize {
        let header = if self.0[0] & STEPPED == 0 { PLAIN_HEADER } else { STEPPED_HEADER };
        if self.0[0] & EXPIRING == 0 { header } else { header + EXPIRY }
    }

    fn key_len(&self) -> usize {
        usize::from(u16::from_ne_bytes([self.0[1], self.0[2]]))
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        &self.0[header..header + self.key_len()]
    }

    /// Its version.
    pub fn version(&self) -> Version {
        let version = Version::plain(self.number(CLOCK), self.number(WRITER));
        if self.0[0] & STEPPED == 0 {
            return version;
        }
        let op = Op { writer: self.number(OP_WRITER), count: self.number(OP_COUNT) };
        Version { step: self.number(STEP), op, ..version }
    }

    /// Its value or tombstone.
    pub fn body(&self) -> Body<'_> {
        let value = &self.0[self.header() + self.key_len()..];
        match self.0[0] & (TOMBSTONE | EXPIRING) {
            0 => Body::Value(value),
            EXPIRING => Body::Expiring(value, self.number(self.header() - EXPIRY)),
            _ => Body::Tombstone,
        }
    }

    /// Its version, if it is an expired value.
    pub fn version_if_due(&self, own_clock: Clock) -> Option<Version> {
        let at = self.body().expiry()?;
        replica::is_expired(at, own_clock).then(|| self.version())
    }

    /// Whether it is committed.
    pub fn state(&self) -> State {
        if self.0[0] & PENDING == 0 { State::Committed } else { State::Pending }
    }

    /// Marks it as committed.
    pub fn commit(&mut self) {
        self.0[0] &= !PENDING;
    }

    /// Marks it as pending again.
    pub fn renew(&mut self) {
        self.0[0] = (self.0[0] | PENDING) & !MARKED;
    }

    /// Whether it is a tombstone that the last sweep found committed.
    pub fn is_marked(&self) -> bool {
        self.0[0] & MARKED != 0
    }

    /// Marks it as found committed by a sweep.
    pub fn mark(&mut self) {
        self.0[0] |= MARKED;
    }

    /// All of it.
    pub fn record(&self) -> Record<'_> {
        Record { key: self.key(), version: self.version(), state: self.state(), body: self.body() }
    }

    /// Its memory.
    pub fn memory(&self) -> u64 {
        self.0.len() as u64 + APART
    }

    /// Its share of the size.
    pub fn size(&self) -> Size {
        match self.body().value() {
            Some(value) => Size { keys: 1, bytes: (self.key_len() + value.len()) as u64 },
            None => Size::default(),
        }
    }
}

fn encoded_len(record: &Record<'_>) -> usize {
    let header = if record.version.is_plain() { PLAIN_HEADER } else { STEPPED_HEADER };
    let expiry = if record.body.expiry().is_some() { EXPIRY } else { 0 };
    header + expiry + record.key.len() + record.body.value().map_or(0, <[u8]>::len)
}

fn encode(record: &Record<'_>, into: &mut [u8]) {
    let Record { key, version, state, body } = record;
    let mut flags = match state {
        State::Pending => PENDING,
        State::Committed => 0,
    };
    into[CLOCK..CLOCK + 8].copy_from_slice(&version.clock.to_ne_bytes());
    into[WRITER..WRITER + 8].copy_from_slice(&version.writer.to_ne_bytes());
    let mut header = if version.is_plain() {
        PLAIN_HEADER
    } else {
        flags |= STEPPED;
        into[STEP..STEP + 8].copy_from_slice(&version.step.to_ne_bytes());
        into[OP_WRITER..OP_WRITER + 8].copy_from_slice(&version.op.writer.to_ne_bytes());
        into[OP_COUNT..OP_COUNT + 8].copy_from_slice(&version.op.count.to_ne_bytes());
        STEPPED_HEADER
    };
    if let Some(at) = body.expiry() {
        flags |= EXPIRING;
        into[header..header + EXPIRY].copy_from_slice(&at.to_ne_bytes());
        header += EXPIRY;
    }
    let key_len = u16::try_from(key.len()).expect("keys are below 64 KiB");
    into[1..3].copy_from_slice(&key_len.to_ne_bytes());
    into[header..header + key.len()].copy_from_slice(key);
    match body.value() {
        Some(value) => into[header + key.len()..].copy_from_slice(value),
        None => flags |= TOMBSTONE,
    }
    into[0] = flags;
}
