//! Entries: the contents of frames. A frame's body is a sequence of them.
//!
//! ```text
//! kind u8 | length u32 | content
//!
//! 1 records  epoch u64 | record …                        stored or fetched under this view
//! 2 view     epoch u64 | arcs emptied | arcs synced      a view was adopted
//! 3 synced   epoch u64 | arcs                            these arcs were fetched completely
//! 4 arc      arc u16 | stale u8   | record …             of a checkpoint: an arc, or stale
//! 5 ledger   epoch u64 | since u64 for each arc | arcs   of a checkpoint: the log before it
//! 6 end      records u64                                 a checkpoint is whole; a log was closed
//!
//! arcs:   count u32 | arc u16 …
//! record: flags u8 | clock u64 | writer u64 | step, op's writer, op's count u64, if flagged
//!         | expiry u64, if flagged | key: length u16 and bytes
//!         | value: length u32 and bytes, unless it is a tombstone
//! ```
//!
//! A record's state is not saved: after a restart nobody knows whether the other replicas still
//! hold it. So all records count as pending (rule H6), and stale records are compared by version
//! alone (H3). Nor is the expiry of a value saved as such: the value is expired after a restart
//! too, and the same tombstone replaces it (C6).

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;
use cluster::replica::State;
use cluster::version::{Op, Version};
use net_common::codec::{DecodeError, Decoder, Encoder};
use net_common::message::data::{Body, Record};

use super::ledger::{Ledger, ViewEntry};

/// Bytes after which a buffer of records is handed in, so that no buffer grows without bound.
pub const BUFFER_BYTES: usize = 8 << 20;

const RECORDS: u8 = 1;
const VIEW: u8 = 2;
const SYNCED: u8 = 3;
const ARC: u8 = 4;
const LEDGER: u8 = 5;
/// The kind of the last entry of a file. It is the only one of its frame.
pub const END: u8 = 6;

const TOMBSTONE: u8 = 0b01;
const STEPPED: u8 = 0b10;
const EXPIRES: u8 = 0b100;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEntry<'a> {
    /// Records that were stored or fetched under a view.
    Records(Epoch, Records<'a>),
    /// A view was adopted.
    View(ViewEntry),
    /// Arcs were fetched completely under a view.
    Synced(Epoch, Vec<u16>),
    /// Of a checkpoint: records of an arc.
    Arc {
        /// Which.
        arc: u16,
        /// Whether they are stale, and kept as a cache only.
        stale: bool,
        /// The records.
        records: Records<'a>,
    },
    /// Of a checkpoint: the ledger of the log before it.
    Ledger(Ledger),
    /// The end of a file, with the number of its records.
    End(u64),
}

/// A sequence of records, decoded one by one.
#[derive(Debug, Clone)]
pub struct Records<'a>(Decoder<'a>);

impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clone().eq(other.clone())
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.0.left() > 0).then(|| decode_record(&mut self.0))
    }
}

/// Appends an entry whose content `with` appends.
fn entry(kind: u8, out: &mut Vec<u8>, with: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_entry(kind, out);
    with(out);
    end_entry(start, out);
}

fn begin_entry(kind: u8, out: &mut Vec<u8>) -> usize {
    out.put_u8(kind);
    out.put_u32(0);
    out.len()
}

fn end_entry(start: usize, out: &mut [u8]) {
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

/// A sequence of records in progress.
#[derive(Debug)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl RecordBuffer {
    /// A buffer for records that are stored under a view; it reuses `bytes`.
    pub fn new(mut bytes: Vec<u8>, epoch: Epoch) -> RecordBuffer {
        bytes.clear();
        let start = begin_entry(RECORDS, &mut bytes);
        bytes.put_u64(epoch.0);
        RecordBuffer { bytes, start }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) {
        encode_record(record, &mut self.bytes);
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.start + 8
    }

    /// Whether it has to be handed in before more is appended.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BUFFER_BYTES
    }

    /// The entry's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        end_entry(self.start, &mut self.bytes);
        self.bytes
    }

    /// The allocation, for reuse.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends the entry of an adopted view.
pub fn put_view(view: &ViewEntry, out: &mut Vec<u8>) {
    entry(VIEW, out, |out| {
        out.put_u64(view.epoch.0);
        put_arcs(&view.emptied, out);
        put_arcs(&view.synced, out);
        put_arcs(&view.revived, out);
    });
}

/// Appends the entry of arcs that were fetched completely.
pub fn put_synced(epoch: Epoch, arcs: &[u16], out: &mut Vec<u8>) {
    entry(SYNCED, out, |out| {
        out.put_u64(epoch.0);
        put_arcs(arcs, out);
    });
}

/// Appends records of an arc, for a checkpoint; `with` appends them by [`encode_record`].
pub fn put_arc(arc: usize, stale: bool, out: &mut Vec<u8>, with: impl FnOnce(&mut Vec<u8>)) {
    entry(ARC, out, |out| {
        out.put_u16(arc as u16);
        out.put_u8(u8::from(stale));
        with(out);
    });
}

/// Appends the ledger of the log, for a checkpoint.
pub fn put_ledger(ledger: &Ledger, out: &mut Vec<u8>) {
    entry(LEDGER, out, |out| {
        out.put_u64(ledger.epoch().0);
        ledger.since().iter().for_each(|epoch| out.put_u64(epoch.0));
        let synced: Vec<u16> = ledger.synced().ones().map(|arc| arc as u16).collect();
        put_arcs(&synced, out);
    });
}

/// Appends the entry that ends a file.
pub fn put_end(records: u64, out: &mut Vec<u8>) {
    entry(END, out, |out| out.put_u64(records));
}

fn put_arcs(arcs: &[u16], out: &mut Vec<u8>) {
    out.put_u32(arcs.len() as u32);
    arcs.iter().for_each(|&arc| out.put_u16(arc));
}

fn arcs(from: &mut Decoder<'_>, ring: usize) -> Result<Vec<u16>, DecodeError> {
    let count = from.count(2)?;
    let arc = |_| match from.u16()? {
        arc if usize::from(arc) < ring => Ok(arc),
        _ => Err(DecodeError("an arc that the ring does not have")),
    };
    (0..count).map(arc).collect()
}

/// Appends a record.
pub fn encode_record(record: &Record<'_>, out: &mut Vec<u8>) {
    let Record { key, version, body, .. } = record;
    let stepped = if version.is_plain() { 0 } else { STEPPED };
    let tombstone = if *body == Body::Tombstone { TOMBSTONE } else { 0 };
    let expires = if body.expiry().is_some() { EXPIRES } else { 0 };
    out.put_u8(stepped | tombstone | expires);
    out.put_u64(version.clock);
    out.put_u64(version.writer);
    if stepped > 0 {
        out.put_u64(version.step);
        out.put_u64(version.op.writer);
        out.put_u64(version.op.count);
    }
    if let Some(expiry) = body.expiry() {
        out.put_u64(expiry);
    }
    out.put_short(key);
    if let Some(value) = body.value() {
        out.put_long(value);
    }
}

fn decode_record<'a>(from: &mut Decoder<'a>) -> Result<Record<'a>, DecodeError> {
    let flags = from.u8()?;
    if flags & !(TOMBSTONE | STEPPED | EXPIRES) != 0 || flags & TOMBSTONE > 0 && flags & EXPIRES > 0
    {
        return Err(DecodeError("a record has unknown flags"));
    }
    let mut version = Version::plain(from.u64()?, from.u64()?);
    if flags & STEPPED != 0 {
        let step = from.u64()?;
        let op = Op { writer: from.u64()?, count: from.u64()? };
        version = Version { step, op, ..version };
    }
    let expiry = if flags & EXPIRES == 0 { None } else { Some(from.u64()?) };
    let key = from.short()?;
    let body = match flags & TOMBSTONE {
        0 => Body::of_value(from.long()?, expiry),
        _ => Body::Tombstone,
    };
    // The table queues each pending record to be finished (C4), which does not apply to stale
    // records.
    Ok(Record { key, version, state: State::Committed, body })
}

/// Reads the entries of a frame's body, on a ring of so many arcs.
///
/// # Errors
/// [`DecodeError`]: the checksum is good, so another program wrote it, or this one has a bug.
pub fn decode(body: &[u8], ring: usize) -> Result<Vec<LogEntry<'_>>, DecodeError> {
    let mut rest = Decoder::new(body);
    let mut entries = Vec::new();
    while rest.left() > 0 {
        let kind = rest.u8()?;
        let mut content = Decoder::new(rest.long()?);
        entries.push(match kind {
            RECORDS => LogEntry::Records(Epoch(content.u64()?), Records(content)),
            VIEW => {
                let epoch = Epoch(content.u64()?);
                let emptied = arcs(&mut content, ring)?;
                let synced = arcs(&mut content, ring)?;
                let revived = arcs(&mut content, ring)?;
                content.finish()?;
                LogEntry::View(ViewEntry { epoch, emptied, synced, revived })
            }
            SYNCED => {
                let entry = LogEntry::Synced(Epoch(content.u64()?), arcs(&mut content, ring)?);
                content.finish()?;
                entry
            }
            ARC => match (content.u16()?, content.u8()? != 0) {
                (arc, stale) if usize::from(arc) < ring => {
                    LogEntry::Arc { arc, stale, records: Records(content) }
                }
                _ => return Err(DecodeError("an arc that the ring does not have")),
            },
            LEDGER => {
                let epoch = Epoch(content.u64()?);
                let since =
                    (0..ring).map(|_| content.u64().map(Epoch)).collect::<Result<_, _>>()?;
                let synced: ArcSet =
                    arcs(&mut content, ring)?.into_iter().map(usize::from).collect();
                content.finish()?;
                LogEntry::Ledger(Ledger::of(epoch, since, synced))
            }
            END => {
                let records = content.u64()?;
                content.finish()?;
                LogEntry::End(records)
            }
            _ => return Err(DecodeError("an entry of an unknown kind")),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const RING: usize = 8;

    fn decoded(bytes: &[u8]) -> Vec<LogEntry<'_>> {
        decode(bytes, RING).unwrap()
    }

    #[test]
    fn entries_about_views_are_decoded_as_encoded() {
        let view =
            ViewEntry { epoch: Epoch(3), emptied: vec![1, 7], synced: vec![0], revived: vec![4] };
        let mut ledger = Ledger::new(RING);
        ledger.view(&view);
        let mut out = Vec::new();
        put_view(&view, &mut out);
        put_synced(Epoch(3), &[1, 7], &mut out);
        put_ledger(&ledger, &mut out);
        put_end(5, &mut out);
        let want = [
            LogEntry::View(view),
            LogEntry::Synced(Epoch(3), vec![1, 7]),
            LogEntry::Ledger(ledger),
            LogEntry::End(5),
        ];
        assert_eq!(decoded(&out), want);
        for cut in 0..out.len() {
            // Only a cut between two entries decodes.
            if let Ok(entries) = decode(&out[..cut], RING) {
                assert_eq!(entries, want[..entries.len()]);
            }
        }
        out.clear();
        put_synced(Epoch(3), &[8], &mut out);
        assert!(decode(&out, RING).is_err(), "a ring of 8 arcs has no arc 8");
    }

    #[test]
    fn a_buffer_knows_whether_it_is_empty() {
        let mut buffer = RecordBuffer::new(vec![9; 100], Epoch(1));
        assert!(buffer.is_empty());
        let record = Record {
            key: b"key",
            version: Version::plain(1, 2),
            state: State::Committed,
            body: Body::Tombstone,
        };
        buffer.push(&record);
        assert!(!buffer.is_empty() && !buffer.is_full());
    }

    /// A key, the numbers of a version, and a value with an expiry or none, or none.
    type ArbitraryRecord = (Vec<u8>, [u64; 5], Option<(Vec<u8>, Option<u64>)>);

    fn made() -> impl Strategy<Value = ArbitraryRecord> {
        let numbers =
            prop_oneof![any::<[u64; 5]>(), any::<[u64; 2]>().prop_map(|[a, b]| [a, b, 0, 0, 0])];
        (
            vec(any::<u8>(), 0..30),
            numbers,
            proptest::option::of((vec(any::<u8>(), 0..100), any::<Option<u64>>())),
        )
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(made in vec(made(), 0..20), arc in 0..RING) {
            let records: Vec<Record<'_>> = made
                .iter()
                .map(|(key, [clock, writer, step, by, count], value)| Record {
                    key,
                    version: Version {
                        clock: *clock,
                        writer: *writer,
                        step: *step,
                        op: Op { writer: *by, count: *count },
                    },
                    state: State::Committed,
                    body: value.as_ref().map_or(Body::Tombstone, |(value, at)| Body::of_value(value, *at)),
                })
                .collect();
            let mut buffer = RecordBuffer::new(Vec::new(), Epoch(4));
            records.iter().for_each(|record| buffer.push(record));
            let mut out = buffer.finish();
            put_arc(arc, true, &mut out, |out| {
                records.iter().for_each(|record| encode_record(record, out));
            });
            let entries = decoded(&out);
            let [LogEntry::Records(Epoch(4), row), LogEntry::Arc { arc: of, stale: true, records: part }] =
                &entries[..]
            else {
                panic!("{entries:?}");
            };
            prop_assert_eq!(usize::from(*of), arc);
            for got in [row, part] {
                let got: Result<Vec<_>, _> = got.clone().collect();
                prop_assert_eq!(got.unwrap(), &records[..]);
            }
        }

        #[test]
        fn any_bytes_are_entries_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            for entry in decode(&bytes, RING).into_iter().flatten() {
                if let LogEntry::Records(_, records) | LogEntry::Arc { records, .. } = entry {
                    let count = records.count();
                    prop_assert!(count <= bytes.len());
                }
            }
        }
    }
}
