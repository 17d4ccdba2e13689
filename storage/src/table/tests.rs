//! The table against a simpler model.

use std::collections::BTreeMap;

use cluster::replica::WriteAnswer;
use cluster::version::{Op, RETENTION_MS, clock_at};
use proptest::prelude::*;

use super::*;

const ARCS: usize = 4;

fn put<'a>(key: &'a [u8], clock: u64, body: Body<'a>) -> Write<'a> {
    Write { key, version: Version::plain(clock, 1), born: clock, body, expected: None }
}

fn value<'a>(key: &'a [u8], clock: u64, value: &'a [u8]) -> Write<'a> {
    put(key, clock, Body::Value(value))
}

fn write(table: &Table, write: &Write<'_>) -> WriteAnswer {
    table.write(0, write, 0, Standing::Synced, false).answer
}

fn read(table: &Table, key: &[u8]) -> Option<Vec<u8>> {
    table.read(0, key, |found| match found {
        Some((_, _, Body::Value(value))) => Some(value.to_vec()),
        _ => None,
    })
}

#[test]
fn a_newer_write_wins_and_an_older_one_is_superseded() {
    let table = Table::new(ARCS);
    assert_eq!(write(&table, &value(b"k", 2, b"two")), WriteAnswer::Stored);
    assert_eq!(write(&table, &value(b"k", 2, b"two")), WriteAnswer::Stored);
    assert_eq!(write(&table, &value(b"k", 2, b"TWO")), WriteAnswer::Conflict);
    let newer = Version::plain(2, 1);
    assert_eq!(write(&table, &value(b"k", 1, b"one")), WriteAnswer::Superseded(newer));
    assert_eq!(read(&table, b"k").unwrap(), b"two");
    assert_eq!(write(&table, &value(b"k", 3, b"")), WriteAnswer::Stored);
    assert_eq!(read(&table, b"k").unwrap(), b"");
}

#[test]
fn tombstones_hide_and_are_not_counted() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"value"));
    assert_eq!(table.size(), Size { keys: 1, bytes: 6 });
    assert_eq!(write(&table, &put(b"k", 2, Body::Tombstone)), WriteAnswer::Stored);
    assert_eq!(read(&table, b"k"), None);
    assert_eq!(table.size(), Size::default());
    assert!(matches!(write(&table, &value(b"k", 1, b"late")), WriteAnswer::Superseded(_)));
}

#[test]
fn c6_an_expired_value_becomes_a_pending_tombstone_above_it() {
    let table = Table::new(ARCS);
    let until = |key, at| put(key, clock_at(1), Body::Expiring(b"value", at));
    write(&table, &until(b"soon", 1000));
    write(&table, &until(b"later", 5000));
    write(&table, &value(b"ever", clock_at(1), b"value"));
    assert_eq!(table.size(), Size { keys: 3, bytes: 13 + 15 });
    let held = |key: &[u8]| {
        table.read(0, key, |found| {
            found.map(|(version, state, body)| (version, state, body.expiry()))
        })
    };
    let version = Version::plain(clock_at(1), 1);
    assert_eq!(held(b"later"), Some((version, State::Pending, Some(5000))));
    assert_eq!(table.expire(0, clock_at(999), false).len(), 0);
    table.expire_key(0, b"soon", clock_at(999), false);
    assert_eq!(held(b"soon"), Some((version, State::Pending, Some(1000))));
    assert_eq!(table.expire(0, clock_at(1000), false).len(), 1);
    assert_eq!(held(b"soon"), Some((version.expired(), State::Pending, None)));
    assert_eq!(table.size(), Size { keys: 2, bytes: 9 + 10 });
    // A late write of the value finds it expired, and a write that has prolonged it wins.
    let end = WriteAnswer::Superseded(version.expired());
    assert_eq!(write(&table, &until(b"soon", 1000)), end);
    let prolonged = version.successor(Op { writer: 1, count: 1 });
    let prolonged = Write { version: prolonged, ..until(b"soon", 9000) };
    assert_eq!(write(&table, &prolonged), WriteAnswer::Stored);
    assert_eq!(held(b"soon"), Some((prolonged.version, State::Pending, Some(9000))));
    // A sole replica commits at once.
    table.expire_key(0, b"later", clock_at(6000), true);
    assert_eq!(held(b"later"), Some((version.expired(), State::Committed, None)));
    assert_eq!(table.expire(0, clock_at(6000), true).len(), 0);
    assert_eq!(table.expire(0, clock_at(9000), true).len(), 1);
    assert_eq!(table.expire(0, u64::MAX, true).len(), 0, "none is left that could");
    assert_eq!(table.size(), Size { keys: 1, bytes: 9 });
}

fn state(table: &Table, key: &[u8]) -> Option<State> {
    table.read(0, key, |found| found.map(|(_, state, _)| state))
}

fn abandoned(table: &Table, own_clock: Clock) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    table.settle(0, own_clock, |_| false, 10, |record| keys.push(record.key.to_vec()));
    keys
}

#[test]
fn records_are_pending_until_committed() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"value"));
    assert_eq!(state(&table, b"k"), Some(State::Pending));
    table.commit(0, b"k", Version::plain(2, 1));
    assert_eq!(state(&table, b"k"), Some(State::Pending), "that was another version");
    table.commit(0, b"k", Version::plain(1, 1));
    assert_eq!(state(&table, b"k"), Some(State::Committed));
    assert_eq!(abandoned(&table, clock_at(5000)), [b""; 0]);
    write(&table, &value(b"k", 2, b"VALUE"));
    assert_eq!(state(&table, b"k"), Some(State::Pending), "overwritten in place");
    table.write(0, &value(b"alone", 1, b""), 0, Standing::Synced, true);
    assert_eq!(state(&table, b"alone"), Some(State::Committed));
}

#[test]
fn pending_records_are_checked_every_second() {
    let table = Table::new(ARCS);
    for key in [b"done", b"gone"] {
        write(&table, &value(key, 1, b"value"));
    }
    write(&table, &value(b"done", 2, b"again"));
    assert_eq!(abandoned(&table, clock_at(1000)), [b""; 0], "too early");
    let mut left = Vec::new();
    let is_done = |version: &Version| *version == Version::plain(2, 1);
    // With a limit of 0 none is returned: it stays for the next call.
    for most in [0, 10] {
        let now = clock_at(if most == 0 { 1001 } else { 2002 });
        table.settle(0, now, is_done, most, |record| left.push(record.key.to_vec()));
    }
    assert_eq!(left, [b"gone"]);
    assert_eq!(state(&table, b"done"), Some(State::Committed));
    assert_eq!(state(&table, b"gone"), Some(State::Pending));
    assert_eq!(table.arcs[0].read().pending.len(), 1, "one entry for what is pending, no other");
}

#[test]
fn a_page_may_commit_a_held_record() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"value"));
    let version = Version::plain(1, 1);
    let record = |state| Record { key: b"k", version, state, body: Body::Value(b"value") };
    table.merge(0, [record(State::Committed)], 0);
    assert_eq!(state(&table, b"k"), Some(State::Committed));
    table.merge(0, [record(State::Pending)], 0);
    assert_eq!(state(&table, b"k"), Some(State::Committed));
    assert_eq!(abandoned(&table, clock_at(5000)), [b""; 0]);
}

#[test]
fn the_second_sweep_after_retention_drops_a_tombstone() {
    let table = Table::new(ARCS);
    write(&table, &put(b"k", 1, Body::Tombstone));
    write(&table, &value(b"kept", 1, b"value"));
    let late = clock_at(2 * RETENTION_MS);
    assert_eq!(table.sweep(late), 0, "it is pending");
    table.commit(0, b"k", Version::plain(1, 1));
    assert_eq!(table.sweep(late), 0, "it may have been committed only now");
    assert_eq!(table.sweep(late), 1);
    assert_eq!(state(&table, b"k"), None);
    assert_eq!(read(&table, b"kept").unwrap(), b"value");
}

#[test]
fn a_taken_arc_is_empty() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"value"));
    drop(table.take(0));
    assert_eq!(read(&table, b"k"), None);
    assert_eq!(table.size(), Size::default());
}

/// Scans an arc in pieces; `between` is called after each.
fn scan(table: &Table, most: usize, mut between: impl FnMut(usize)) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut at = Some(Cursor::START);
    for piece in 0.. {
        let Some(from) = at else { break };
        let mut left = most;
        at = table.scan(0, from, 3 * most, |record| {
            if left == 0 {
                return false;
            }
            left -= 1;
            seen.push(record.key.to_vec());
            true
        });
        between(piece);
    }
    seen
}

#[test]
fn a_scan_sees_each_record_once_while_nothing_moves() {
    let table = Table::new(ARCS);
    assert_eq!(scan(&table, 7, |_| {}), [b""; 0]);
    for n in 0..100u32 {
        write(&table, &value(&n.to_be_bytes(), 1, b"v"));
    }
    let mut seen = scan(&table, 7, |piece| {
        write(&table, &value(&(piece as u32).to_be_bytes(), 2, b"another length"));
    });
    seen.sort_unstable();
    let want: Vec<Vec<u8>> = (0..100u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(seen, want);
    assert_eq!(table.records(0), 100);
}

#[test]
fn a_cursor_of_another_layout_starts_over() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"v"));
    let mut seen = 0;
    let mut count = |from| {
        table.scan(0, from, 1 << 10, |_| {
            seen += 1;
            true
        })
    };
    assert_eq!(count(Cursor { layout: 1, slot: 1 << 40 }), None);
    assert_eq!(count(Cursor { layout: 1, slot: u64::MAX }), None);
    assert_eq!(seen, 2);
    // A cursor of this layout, but beyond its end.
    let Cursor { layout, .. } = table.scan(0, Cursor::START, 0, |_| true).unwrap();
    assert_eq!(table.scan(0, Cursor { layout, slot: u64::MAX }, 9, |_| panic!("none")), None);
    drop(table.take(0));
    write(&table, &value(b"k", 1, b"v"));
    let Cursor { layout: after, .. } = table.scan(0, Cursor::START, 0, |_| true).unwrap();
    assert_ne!(layout, after, "taking an arc changes the layout");
}

proptest! {
    #[test]
    fn a_scan_misses_nothing_despite_concurrent_writes(
        before in 1usize..300,
        most in 1usize..20,
        writes in prop::collection::vec((0u16..600, any::<bool>()), 0..400),
        sweep_at in 0usize..40,
    ) {
        let table = Table::new(ARCS);
        let mut clock = 1;
        for n in 0..before as u16 {
            write(&table, &value(&n.to_be_bytes(), clock, b"v"));
        }
        let mut writes = writes.into_iter();
        let seen = scan(&table, most, |piece| {
            for (key, dies) in writes.by_ref().take(8) {
                clock += 1;
                let body = if dies { Body::Tombstone } else { Body::Value(b"w") };
                // Old records stay; new ones may be removed again, which frees slots.
                let key = if dies { key + 600 } else { key };
                let key = key.to_be_bytes();
                write(&table, &put(&key, clock, body));
                if dies {
                    table.commit(0, &key, Version::plain(clock, 1));
                }
            }
            if piece >= sweep_at {
                table.sweep(clock_at(3 * RETENTION_MS));
            }
        });
        for n in 0..before as u16 {
            prop_assert!(seen.contains(&n.to_be_bytes().to_vec()), "{n} was missed");
        }
    }

    #[test]
    fn the_table_agrees_with_an_ordered_map(
        writes in prop::collection::vec(
            (0u8..12, 0u64..30, 0u64..3, prop::option::of(prop::collection::vec(any::<u8>(), 0..5))),
            0..200,
        ),
        merged in any::<bool>(),
    ) {
        let table = Table::new(ARCS);
        let mut model: BTreeMap<u8, (Version, Option<Vec<u8>>)> = BTreeMap::new();
        for (key, clock, step, body) in &writes {
            let version = Version { step: *step, ..Version::plain(*clock + 1, 1) };
            let body_of = body.as_ref().map_or(Body::Tombstone, |v| Body::Value(v));
            if merged {
                let state = State::Committed;
                table.merge(0, [Record { key: &[*key], version, state, body: body_of }], 0);
            } else {
                write(&table, &Write { key: &[*key], version, born: *clock, body: body_of, expected: None });
            }
            let held = model.get(key).map_or(Version::ABSENT, |(version, _)| *version);
            if version > held {
                model.insert(*key, (version, body.clone()));
            }
        }
        let mut size = Size::default();
        for (key, (version, body)) in &model {
            let got = table.read(0, &[*key], |found| {
                found.map(|(version, _, body)| (version, body.value().map(<[u8]>::to_vec)))
            });
            prop_assert_eq!(got, Some((*version, body.clone())));
            if let Some(value) = body {
                size = Size { keys: size.keys + 1, bytes: size.bytes + 1 + value.len() as u64 };
            }
        }
        prop_assert_eq!(table.size(), size);
        let shard = table.arcs[0].read();
        prop_assert_eq!(table.memory(), shard.records.iter().map(TableRecord::memory).sum::<u64>());
        drop(shard);
        // Twice, since a tombstone is dropped only if an earlier sweep found it committed.
        table.sweep(u64::MAX);
        table.sweep(u64::MAX);
        let left = table.arcs[0].read().records.iter().map(TableRecord::memory).sum::<u64>();
        prop_assert_eq!(table.memory(), left);
        drop(table.take(0));
        prop_assert_eq!(table.memory(), 0);
    }
}
