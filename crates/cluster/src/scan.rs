//! Where a listing of keys has got to.
//!
//! Each key has a [`place`] on a line: its slot, then a hash of the key. A scan goes along this line, and
//! its cursor is the first place that it has not seen. That depends on nothing but keys, so any node can
//! go on where another one stopped, under whatever view, and what is there from start to end is told
//! whoever joins or leaves meanwhile; and each key is told once.
//!
//! Cursors stay below 2^53: some clients keep them in a double.

use crate::slot;

/// Bits of a place that the hash of the key takes; the slot's 14 stand above them.
const HASH_BITS: u32 = 38;

/// Where a key lies. Frozen: nodes of different versions must agree.
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

/// The slot that a scan is in, or `None` for a cursor that no scan can have got to: there are no keys
/// there.
pub fn slot_of(cursor: u64) -> Option<u16> {
    u16::try_from(cursor >> HASH_BITS).ok().filter(|&slot| slot < slot::SLOTS)
}

/// Of the keys of a stretch of the line, in any order: about `count` of the first ones from `cursor` on,
/// and where to go on if these are not all. A few more than `count` where keys share a place.
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

/// FNV-1a, then the end of splitmix64 so that each bit of the key counts for the upper bits. Frozen, too.
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

    /// All keys that a scan tells, and in how many pages, while some are added and taken on the way.
    fn scan(
        keys: &mut BTreeSet<Vec<u8>>,
        count: usize,
        mut change: impl FnMut(&mut BTreeSet<Vec<u8>>),
    ) -> Vec<Vec<u8>> {
        let (mut told, mut cursor) = (Vec::new(), 0);
        loop {
            let (page, next) = page(keys.iter().cloned(), cursor, count);
            assert!(page.len() >= count || next.is_none());
            told.extend(page);
            match next {
                Some(next) => {
                    assert!(next > cursor);
                    cursor = next;
                }
                None => return told,
            }
            change(keys);
        }
    }

    proptest! {
        #[test]
        fn what_is_there_from_start_to_end_is_told_once(
            stay in prop::collection::btree_set("[a-z]{1,3}", 0..40),
            come_and_go in prop::collection::vec("[a-z]{1,3}", 0..40),
            count in 1usize..12,
        ) {
            let stay: BTreeSet<Vec<u8>> = stay.into_iter().map(String::into_bytes).collect();
            let mut keys = stay.clone();
            let mut others = come_and_go.into_iter().map(String::into_bytes);
            let told = scan(&mut keys, count, |keys| {
                if let Some(key) = others.next() && !stay.contains(&key) && !keys.remove(&key) {
                    keys.insert(key);
                }
            });
            let once: BTreeSet<Vec<u8>> = told.iter().cloned().collect();
            prop_assert!(stay.is_subset(&once));
            prop_assert!(told.iter().filter(|key| stay.contains(*key)).count() == stay.len());
        }
    }
}
