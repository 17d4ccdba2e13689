//! Cursors: how far a listing of keys has come.
//!
//! Each key has a [`place`] on a line: its slot, then a hash of the key. A scan goes along this
//! line, and its cursor is the first place that it has not visited. Places depend only on keys, so
//! any node can continue where another one stopped, under any view. A key that exists throughout
//! the scan is listed whatever nodes join or leave meanwhile, and no key is listed twice.
//!
//! Cursors stay below 2^53: some clients keep them in a double.

use crate::slot;

/// The bits of a place for the hash of the key; the slot's 14 bits are above them.
const HASH_BITS: u32 = 38;

/// The place of a key. Frozen: nodes of different versions must agree.
pub fn place(key: &[u8]) -> u64 {
    first_of(slot::slot(key)) | (hash(key) >> (64 - HASH_BITS))
}

/// The first place of a slot.
pub fn first_of(slot: u16) -> u64 {
    u64::from(slot) << HASH_BITS
}

/// The first place after a slot.
pub fn end_of(slot: u16) -> u64 {
    first_of(slot) + (1 << HASH_BITS)
}

/// The slot of a cursor, or `None` for a cursor that no scan can have reached: there are no keys
/// there.
pub fn slot_of(cursor: u64) -> Option<u16> {
    u16::try_from(cursor >> HASH_BITS).ok().filter(|&slot| slot < slot::SLOTS)
}

/// Selects about `count` of the first keys from `cursor` on, out of the keys of a part of the line
/// in any order. Returns the next cursor too if these are not all. There are a few more than
/// `count` where keys share a place.
pub fn page<K: AsRef<[u8]>>(
    keys: impl Iterator<Item = K>,
    cursor: u64,
    count: usize,
) -> (Vec<K>, Option<u64>) {
    let placed = keys.map(|key| (place(key.as_ref()), key));
    let mut left: Vec<(u64, K)> = placed.filter(|(place, _)| *place >= cursor).collect();
    let mut next = None;
    if left.len() > count {
        let (_, (last, _), _) =
            left.select_nth_unstable_by_key(count.max(1) - 1, |(place, _)| *place);
        let last = *last;
        let before = left.len();
        left.retain(|(place, _)| *place <= last);
        next = (left.len() < before).then_some(last + 1);
    }
    (left.into_iter().map(|(_, key)| key).collect(), next)
}

/// FNV-1a, then the final steps of splitmix64, so that each bit of the key affects the upper bits.
/// Frozen, too.
pub fn hash(key: &[u8]) -> u64 {
    let mut hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn golden_places() {
        for (key, want) in [
            ("", 263_243_266_666),
            ("foo", 3_348_678_827_432_975),
            ("bar", 1_391_244_957_743_126),
            ("key1", 2_526_116_686_525_838),
        ] {
            assert_eq!(place(key.as_bytes()), want, "{key}");
        }
        assert_eq!(slot_of(place(b"foo")), Some(12_182));
    }

    #[test]
    fn cursors_fit_a_double() {
        assert!(first_of(slot::SLOTS - 1) + (1 << HASH_BITS) <= 1 << 53);
        assert_eq!(slot_of(u64::MAX), None);
        assert_eq!(slot_of(first_of(slot::SLOTS)), None);
        assert_eq!(slot_of(0), Some(0));
    }

    /// All keys that a scan lists while some are added and removed on the way.
    fn scan(
        keys: &mut BTreeSet<Vec<u8>>,
        count: usize,
        mut change: impl FnMut(&mut BTreeSet<Vec<u8>>),
    ) -> Vec<Vec<u8>> {
        let (mut listed, mut cursor) = (Vec::new(), 0);
        loop {
            let (page, next) = page(keys.iter().cloned(), cursor, count);
            assert!(page.len() >= count || next.is_none());
            listed.extend(page);
            match next {
                Some(next) => {
                    assert!(next > cursor);
                    cursor = next;
                }
                None => return listed,
            }
            change(keys);
        }
    }

    proptest! {
        #[test]
        fn a_key_that_stays_is_listed_once(
            stay in prop::collection::btree_set("[a-z]{1,3}", 0..40),
            come_and_go in prop::collection::vec("[a-z]{1,3}", 0..40),
            count in 1usize..12,
        ) {
            let stay: BTreeSet<Vec<u8>> = stay.into_iter().map(String::into_bytes).collect();
            let mut keys = stay.clone();
            let mut others = come_and_go.into_iter().map(String::into_bytes);
            let listed = scan(&mut keys, count, |keys| {
                if let Some(key) = others.next() && !stay.contains(&key) && !keys.remove(&key) {
                    keys.insert(key);
                }
            });
            let once: BTreeSet<Vec<u8>> = listed.iter().cloned().collect();
            prop_assert!(stay.is_subset(&once));
            prop_assert!(listed.iter().filter(|key| stay.contains(*key)).count() == stay.len());
        }
    }
}
