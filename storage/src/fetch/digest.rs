//! Digests, with which two nodes find the records of an arc that they both hold, without sending
//! them (rule H3).
//!
//! An arc's records are divided into buckets by a hash of their keys. A bucket's digest is the sum
//! of a hash of each of its records: of key, version, kind of body and expiry. A version identifies
//! its bytes, so they need not be hashed. The state of a record is not hashed, since a bucket with
//! a pending record never counts as equal.
//!
//! The hash is SipHash-1-3, which is the same everywhere, with a random key of the puller. Clients
//! that choose keys and values do not know it beforehand, so two different buckets have the same
//! digest with probability 2^-64, whatever their contents. A million nodes that return with a
//! million records each compare 2^37 buckets: the probability that a single different one counts as
//! equal is one in a hundred million.

use std::hash::Hasher;

use cluster::replica::State;
use cluster::version::Version;
use net_common::message::data::{Body, Record};
use net_common::message::range::{BucketSet, LEAST_BUCKETS, MOST_BUCKETS};
use siphasher::sip::SipHasher13;

/// Approximate number of records in a bucket. A record that differs moves together with its bucket;
/// and each compared record costs a byte of digests.
const PER_BUCKET: usize = 8;

/// An arc with more records is sent, not compared: a source has to read all of them before it
/// answers. A million takes about a tenth of a second.
pub const MOST_COMPARED: usize = 1 << 20;

const TOMBSTONE: u8 = 0b01;
const STEPPED: u8 = 0b10;
const EXPIRING: u8 = 0b100;

/// The number of buckets for so many records.
pub fn buckets_for(records: usize) -> usize {
    (records / PER_BUCKET).next_power_of_two().clamp(LEAST_BUCKETS, MOST_BUCKETS)
}

/// Hashes records with one key.
pub struct Digester {
    seed: [u8; 16],
    /// In its initial state.
    hasher: SipHasher13,
}

impl Digester {
    /// A digester with this key.
    pub fn new(seed: [u8; 16]) -> Digester {
        Digester { seed, hasher: SipHasher13::new_with_key(&seed) }
    }

    /// Its key.
    pub fn seed(&self) -> [u8; 16] {
        self.seed
    }

    /// The bucket of a key, of so many.
    pub fn bucket(&self, key: &[u8], buckets: usize) -> usize {
        let mut hasher = self.hasher;
        hasher.write(key);
        hasher.finish() as usize & (buckets - 1)
    }

    /// The bucket of a record, of so many, and the summand for that bucket's digest.
    pub fn place(&self, record: &Record<'_>, buckets: usize) -> (usize, u64) {
        let mut hasher = self.hasher;
        hasher.write(record.key);
        let bucket = hasher.finish() as usize & (buckets - 1);
        // The last byte determines the layout before it, so no two records are hashed as the same
        // bytes.
        let Version { clock, writer, step, op } = record.version;
        let (mut numbers, mut count, mut flags) =
            ([clock, writer, step, op.writer, op.count, 0], 2, 0);
        if !record.version.is_plain() {
            (count, flags) = (5, STEPPED);
        }
        if let Some(at) = record.body.expiry() {
            numbers[count] = at;
            count += 1;
            flags |= EXPIRING;
        }
        let numbers = &numbers[..count];
        let mut rest = [0; 49];
        for (place, number) in rest.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        rest[8 * numbers.len()] = match record.body {
            Body::Value(_) | Body::Expiring(..) => flags,
            Body::Tombstone => flags | TOMBSTONE,
        };
        hasher.write(&rest[..=8 * numbers.len()]);
        (bucket, hasher.finish())
    }

    /// The digests of an arc's `count` records, and the bucket of each, in their order.
    pub fn digests<'r>(
        &self,
        records: impl Iterator<Item = Record<'r>>,
        count: usize,
    ) -> (Vec<u64>, Vec<u16>) {
        let mut sums = vec![0u64; buckets_for(count)];
        let mut buckets = Vec::with_capacity(count);
        for record in records {
            let (bucket, hash) = self.place(&record, sums.len());
            sums[bucket] = sums[bucket].wrapping_add(hash);
            buckets.push(bucket as u16);
        }
        (sums, buckets)
    }
}

/// A comparison of an arc's records, one by one, with the digests of another node.
pub struct Comparison<'d> {
    digester: &'d Digester,
    /// Their digests minus ours.
    rest: Vec<u64>,
    pending: BucketSet,
    /// Buckets with records that may be lost here.
    unsure: BucketSet,
}

impl<'d> Comparison<'d> {
    /// A comparison without records.
    pub fn new(digester: &'d Digester, theirs: &[u64]) -> Comparison<'d> {
        let none = BucketSet::none(theirs.len());
        Comparison { digester, rest: theirs.to_vec(), pending: none.clone(), unsure: none }
    }

    /// Adds one of our records; `is_sure`: it is not lost when this process ends.
    pub fn add(&mut self, record: &Record<'_>, is_sure: bool) {
        let (bucket, hash) = self.digester.place(record, self.rest.len());
        self.rest[bucket] = self.rest[bucket].wrapping_sub(hash);
        if record.state == State::Pending {
            self.pending.insert(bucket);
            if !is_sure {
                self.unsure.insert(bucket);
            }
        }
    }

    /// The buckets that are equal, and committed here.
    pub fn same(&self) -> BucketSet {
        self.equal(|bucket| !self.pending.contains(bucket))
    }

    /// The buckets that are equal, committed here or not, and not lost when this process ends.
    pub fn held(&self) -> BucketSet {
        self.equal(|bucket| !self.unsure.contains(bucket))
    }

    fn equal(&self, counts: impl Fn(usize) -> bool) -> BucketSet {
        let mut equal = BucketSet::none(self.rest.len());
        for (bucket, &rest) in self.rest.iter().enumerate() {
            if rest == 0 && counts(bucket) {
                equal.insert(bucket);
            }
        }
        equal
    }
}

#[cfg(test)]
mod tests {
    use cluster::version::Op;

    use super::*;

    fn record(key: &'static str, clock: u64) -> Record<'static> {
        Record {
            key: key.as_bytes(),
            version: Version::plain(clock, 1),
            state: State::Committed,
            body: Body::Value(b"value"),
        }
    }

    fn same(held: &[Record<'_>], cached: &[Record<'_>]) -> Vec<usize> {
        let digester = Digester::new([7; 16]);
        let (theirs, _) = digester.digests(cached.iter().copied(), cached.len());
        let mut comparison = Comparison::new(&digester, &theirs);
        held.iter().for_each(|record| comparison.add(record, true));
        let same = comparison.same();
        (0..same.buckets()).filter(|&bucket| same.contains(bucket)).collect()
    }

    #[test]
    fn the_hash_matches_its_test_vector() {
        let key: Vec<u8> = (0..16).collect();
        let mut hasher = SipHasher13::new_with_key(&key.try_into().unwrap());
        hasher.write(&(0..15).collect::<Vec<u8>>());
        assert_eq!(hasher.finish(), 0xd320_d86d_2a51_9956);
    }

    #[test]
    fn golden_digests() {
        // Processes of different versions must agree, or a return costs a copy.
        let digester = Digester::new([7; 16]);
        let mut stepped = record("key2", 2);
        stepped.version = Version { step: 2, op: Op { writer: 3, count: 4 }, ..stepped.version };
        let tombstone = Record { body: Body::Tombstone, ..record("key3", 3) };
        for (record, want) in [
            (record("key1", 1), (2, 0xcb45_64be_a5bc_b68a)),
            (stepped, (3, 0x3a7c_b0d9_1fc7_10b3)),
            (tombstone, (6, 0x5e7f_a7d4_0a0d_0fc4)),
        ] {
            assert_eq!(digester.place(&record, 8), want);
        }
    }

    #[test]
    fn only_buckets_that_differ_are_reported() {
        let a = record("a", 1);
        let digester = Digester::new([7; 16]);
        let bucket = digester.bucket(a.key, 8);
        let differs: Vec<usize> = (0..8).filter(|&b| b != bucket).collect();
        let all: Vec<usize> = (0..8).collect();
        let newer = Record { version: Version::plain(2, 1), ..a };
        let stepped = Record { version: a.version.successor(Op { writer: 1, count: 1 }), ..a };
        let tombstone = Record { body: Body::Tombstone, ..a };
        let brief = Record { body: Body::Expiring(b"value", 5), ..a };
        let longer = Record { body: Body::Expiring(b"value", 6), ..a };
        let pending = Record { state: State::Pending, ..a };
        for (held, cached, want) in [
            (&[a][..], &[a][..], &all),
            (&[a], &[pending], &all),
            (&[a], &[brief], &differs),
            (&[brief], &[longer], &differs),
            (&[brief], &[brief], &all),
            (&[], &[], &all),
            (&[pending], &[a], &differs),
            (&[a], &[newer], &differs),
            (&[a], &[stepped], &differs),
            (&[a], &[tombstone], &differs),
            (&[a], &[], &differs),
            (&[], &[a], &differs),
        ] {
            assert_eq!(&same(held, cached), want, "{held:?} {cached:?}");
        }
    }

    #[test]
    fn buckets_have_about_eight_records_each() {
        for (records, want) in
            [(0, 8), (64, 8), (72, 16), (1000, 128), (1 << 17, 1 << 14), (usize::MAX / 2, 1 << 14)]
        {
            assert_eq!(buckets_for(records), want, "{records}");
        }
    }
}
