//! Messages by which a node fetches its arcs (rules H1 and H3).
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`RangePull`] | node → node | changes nothing |
//! | [`RangePage`] | node → node | a page counts only under the epoch it names; lost: requested again |
//!
//! A node with stale records of an arc does not fetch them again. It divides them into *buckets* by
//! a hash of their keys and sends a digest of each bucket. The page lists the buckets that are the
//! same at the source, and has the records of the others only. A bucket with a pending record at
//! the source is never the same: so whatever a node reuses is committed, as confirmed by the
//! source.

use std::borrow::Cow;

use cluster::ids::Epoch;
use cluster::slot::SLOTS;

use super::Message;
use super::data::{LEAST_RECORD, Record};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::frame::Kind;

/// Fewest buckets of an arc: a set of them is whole bytes.
pub const LEAST_BUCKETS: usize = 8;

/// Most buckets of an arc: their digests are 128 KiB.
pub const MOST_BUCKETS: usize = 1 << 14;

/// A position inside an arc where a page ended. It is valid at the source that issued it only: a
/// source that does not recognize it restarts the arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The layout of the table when the page was built.
    pub layout: u64,
    /// Where the next one is.
    pub slot: u64,
}

impl Cursor {
    /// The beginning of an arc.
    pub const START: Cursor = Cursor { layout: 0, slot: 0 };

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.layout);
        out.put_u64(self.slot);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<Cursor, DecodeError> {
        Ok(Cursor { layout: payload.u64()?, slot: payload.u64()? })
    }
}

/// Some of an arc's buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSet(Vec<u8>);

impl BucketSet {
    /// None of `buckets`, a power of two from [`LEAST_BUCKETS`] to [`MOST_BUCKETS`].
    pub fn none(buckets: usize) -> BucketSet {
        BucketSet(vec![0; buckets / 8])
    }

    /// How many buckets the arc is divided into.
    pub fn buckets(&self) -> usize {
        self.0.len() * 8
    }

    /// Takes a bucket in.
    pub fn insert(&mut self, bucket: usize) {
        self.0[bucket / 8] |= 1 << (bucket % 8);
    }

    /// Whether a bucket is in it.
    pub fn contains(&self, bucket: usize) -> bool {
        self.0[bucket / 8] & (1 << (bucket % 8)) != 0
    }

    /// Whether no bucket is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// Keeps those that are in another set of the same size as well.
    pub fn retain(&mut self, other: &BucketSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(byte, other)| *byte &= other);
    }

    /// The other buckets.
    pub fn others(&self) -> BucketSet {
        BucketSet(self.0.iter().map(|byte| !byte).collect())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(power(self.buckets()));
        out.extend_from_slice(&self.0);
    }

    fn decode(payload: &mut Decoder<'_>) -> Result<BucketSet, DecodeError> {
        let buckets = decode_buckets(payload)?;
        Ok(BucketSet(payload.take(buckets / 8)?.to_vec()))
    }
}

fn power(buckets: usize) -> u8 {
    debug_assert!(buckets.is_power_of_two());
    buckets.trailing_zeros() as u8
}

fn decode_buckets(payload: &mut Decoder<'_>) -> Result<usize, DecodeError> {
    match 1usize.checked_shl(payload.u8()?.into()) {
        Some(buckets @ LEAST_BUCKETS..=MOST_BUCKETS) => Ok(buckets),
        _ => Err(DecodeError("too few or too many buckets")),
    }
}

fn encode_digests(digests: &[u64], out: &mut Vec<u8>) {
    out.put_u8(power(digests.len()));
    digests.iter().for_each(|&digest| out.put_u64(digest));
}

fn decode_digests(payload: &mut Decoder<'_>) -> Result<Vec<u64>, DecodeError> {
    let buckets = decode_buckets(payload)?;
    let mut digests = Decoder::new(payload.take(8 * buckets)?);
    (0..buckets).map(|_| digests.u64()).collect()
}

/// Which records of an arc are requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<'a> {
    /// All.
    All,
    /// Those of the buckets whose digests are not these.
    Differing(Cow<'a, [u64]>),
    /// Those of these buckets: a previous page has reported the others as the same.
    Of(Cow<'a, BucketSet>),
    /// All, from any member of the write set, synced or not: no live node holds the arc, and a
    /// replacement gathers the records of all their disks (H6).
    Gather,
    /// None, only the buckets with these digests, pending or not: records that a returning node has
    /// from its disk and all others have too are committed (H6).
    SameDigests(Cow<'a, [u64]>),
}

/// A requested arc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcRequest<'a> {
    /// The arc.
    pub arc: u16,
    /// The records of it.
    pub ask: Selection<'a>,
}

impl<'a> ArcRequest<'a> {
    /// The arc and how it is asked for.
    const LEAST: usize = 2 + 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.arc);
        match &self.ask {
            Selection::All => out.put_u8(0),
            Selection::Differing(digests) => {
                out.put_u8(1);
                encode_digests(digests, out);
            }
            Selection::Of(set) => {
                out.put_u8(2);
                set.encode(out);
            }
            Selection::Gather => out.put_u8(3),
            Selection::SameDigests(digests) => {
                out.put_u8(4);
                encode_digests(digests, out);
            }
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<ArcRequest<'a>, DecodeError> {
        let arc = payload.u16()?;
        let ask = match payload.u8()? {
            0 => Selection::All,
            1 => Selection::Differing(Cow::Owned(decode_digests(payload)?)),
            2 => Selection::Of(Cow::Owned(BucketSet::decode(payload)?)),
            3 => Selection::Gather,
            4 => Selection::SameDigests(Cow::Owned(decode_digests(payload)?)),
            _ => return Err(DecodeError("an unknown way to ask for an arc")),
        };
        Ok(ArcRequest { arc, ask })
    }
}

/// RANGE_PULL: requests records of these arcs, in this order, under this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePull<'a> {
    /// The requester's epoch; the source must be in the same.
    pub epoch: Epoch,
    /// The key of the hashes by which records are in buckets and buckets have digests.
    pub seed: [u8; 16],
    /// The arcs wanted.
    pub wanted: Vec<ArcRequest<'a>>,
    /// The position in the first arc.
    pub from: Cursor,
}

impl<'a> Message<'a> for RangePull<'a> {
    const KIND: Kind = Kind::RangePull;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch.0);
        out.extend_from_slice(&self.seed);
        self.from.encode(out);
        out.put_u32(self.wanted.len() as u32);
        for wanted in &self.wanted {
            wanted.encode(out);
        }
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<RangePull<'a>, DecodeError> {
        Ok(RangePull {
            epoch: Epoch(payload.u64()?),
            seed: payload.take(16)?.try_into().expect("sixteen bytes were taken"),
            from: Cursor::decode(payload)?,
            wanted: {
                if payload.clone().u32()? > u32::from(SLOTS) {
                    return Err(DecodeError("more arcs than a ring has"));
                }
                payload.list(ArcRequest::LEAST, ArcRequest::decode)?
            },
        })
    }
}

/// Why a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEnd {
    /// It is full, or everything is sent: continue with the first incomplete arc.
    Between,
    /// It is full inside the first incomplete arc: continue at this position.
    Within(Cursor),
    /// The node is no source for the first incomplete arc: it is not synced there, or not in the
    /// requester's epoch. It never answers "empty" when it means "unknown".
    NoSource,
}

/// RANGE_PAGE: as many of the wanted arcs as fit, from the first on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePage<'a> {
    /// The source's epoch when it read the records.
    pub epoch: Epoch,
    /// How many of the wanted arcs are complete with this page.
    pub complete: u32,
    /// The records, in the order of the arcs.
    pub records: Vec<Record<'a>>,
    /// For each arc that was begun and asked for with digests, in the order of the arcs: the
    /// buckets that are the same. Also for [`Selection::SameDigests`], where pending records do not
    /// matter.
    pub same: Vec<(u16, BucketSet)>,
    /// Why it ends.
    pub end: PageEnd,
}

impl<'a> RangePage<'a> {
    /// An arc and a set of the fewest buckets.
    const LEAST_SAME: usize = 2 + 1 + LEAST_BUCKETS / 8;
}

impl<'a> Message<'a> for RangePage<'a> {
    const KIND: Kind = Kind::RangePage;

    fn encode(&self, out: &mut Vec<u8>) {
        let mut page = PageWriter::begin(self.epoch, out);
        self.records.iter().for_each(|record| page.push(record));
        self.same.iter().for_each(|(arc, set)| page.same(*arc, set));
        page.complete = self.complete;
        page.finish(self.end);
    }

    fn decode(payload: &mut Decoder<'a>) -> Result<RangePage<'a>, DecodeError> {
        let same = |payload: &mut Decoder<'a>| Ok((payload.u16()?, BucketSet::decode(payload)?));
        Ok(RangePage {
            epoch: Epoch(payload.u64()?),
            complete: payload.u32()?,
            records: payload.list(LEAST_RECORD, Record::decode)?,
            same: payload.list(Self::LEAST_SAME, same)?,
            end: match payload.u8()? {
                0 => PageEnd::Between,
                1 => PageEnd::Within(Cursor::decode(payload)?),
                2 => PageEnd::NoSource,
                _ => return Err(DecodeError("a page ends for an unknown reason")),
            },
        })
    }
}

/// Writes a [`RangePage`]'s payload record by record, straight from a table.
pub struct PageWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    complete: u32,
    records: u32,
    /// The part after the records, which is known first.
    same: Vec<u8>,
    sames: u32,
}

impl<'o> PageWriter<'o> {
    /// The position of the counts, after the epoch.
    const COUNTS: usize = 8;

    /// Starts a page of a node in this epoch.
    pub fn begin(epoch: Epoch, out: &'o mut Vec<u8>) -> PageWriter<'o> {
        let start = out.len();
        out.put_u64(epoch.0);
        out.put_u32(0);
        out.put_u32(0);
        PageWriter { out, start, complete: 0, records: 0, same: Vec::new(), sames: 0 }
    }

    /// How many bytes it has so far.
    pub fn size(&self) -> usize {
        self.out.len() - self.start + self.same.len()
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) {
        record.encode(self.out);
        self.records += 1;
    }

    /// Notes which buckets of an arc are the same.
    pub fn same(&mut self, arc: u16, set: &BucketSet) {
        self.same.put_u16(arc);
        set.encode(&mut self.same);
        self.sames += 1;
    }

    /// Notes that the arc at hand is complete.
    pub fn complete_arc(&mut self) {
        self.complete += 1;
    }

    /// Ends the page.
    pub fn finish(self, end: PageEnd) {
        let at = self.start + Self::COUNTS;
        self.out[at..at + 4].copy_from_slice(&self.complete.to_be_bytes());
        self.out[at + 4..at + 8].copy_from_slice(&self.records.to_be_bytes());
        self.out.put_u32(self.sames);
        self.out.extend_from_slice(&self.same);
        match end {
            PageEnd::Between => self.out.put_u8(0),
            PageEnd::Within(cursor) => {
                self.out.put_u8(1);
                cursor.encode(self.out);
            }
            PageEnd::NoSource => self.out.put_u8(2),
        }
    }
}
