//! The table against a simpler twin.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ARCS: usize = 4;

fn value<'a>(key: &'a [u8], clock: u64, value: &'a [u8]) -> Record<'a> {
    Record { key, version: Version::plain(clock, 1), body: Body::Value(value) }
}

fn write(table: &Table, record: &Record<'_>) -> WriteAnswer {
    table.write(0, record, 0, Standing::Synced)
}

fn read(table: &Table, key: &[u8]) -> Option<Vec<u8>> {
    table.read(0, key, |found| match found {
        Some((_, Body::Value(value))) => Some(value.to_vec()),
        _ => None,
    })
}

#[test]
fn newer_wins_older_is_told_so() {
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
    let gone = Record { key: b"k", version: Version::plain(2, 1), body: Body::Tombstone };
    assert_eq!(write(&table, &gone), WriteAnswer::Stored);
    assert_eq!(read(&table, b"k"), None);
    assert_eq!(table.size(), Size::default());
    assert!(matches!(write(&table, &value(b"k", 1, b"late")), WriteAnswer::Superseded(_)));
}

#[test]
fn an_arc_taken_away_is_empty() {
    let table = Table::new(ARCS);
    write(&table, &value(b"k", 1, b"value"));
    drop(table.take(0));
    assert_eq!(read(&table, b"k"), None);
    assert_eq!(table.size(), Size::default());
}

#[test]
fn pages_are_in_order_and_can_be_continued() {
    let table = Table::new(ARCS);
    for n in 0..100u32 {
        write(&table, &value(&n.to_be_bytes(), 1, b"v"));
    }
    let (mut after, mut seen) = (Vec::new(), Vec::new());
    loop {
        let mut room = 7;
        let complete = table.page(0, &after, |record| {
            if room == 0 {
                return false;
            }
            room -= 1;
            seen.push(record.key.to_vec());
            true
        });
        if complete {
            break;
        }
        after = seen.last().unwrap().clone();
    }
    let want: Vec<Vec<u8>> = (0..100u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(seen, want);
}

proptest! {
    #[test]
    fn it_agrees_with_an_ordered_map(
        writes in prop::collection::vec(
            (0u8..12, 0u64..30, 0u64..3, prop::option::of(prop::collection::vec(any::<u8>(), 0..5))),
            0..200,
        ),
        merged in any::<bool>(),
    ) {
        let table = Table::new(ARCS);
        let mut twin: BTreeMap<u8, (Version, Option<Vec<u8>>)> = BTreeMap::new();
        for (key, clock, step, body) in &writes {
            let version = Version { step: *step, ..Version::plain(*clock + 1, 1) };
            let record = Record {
                key: &[*key],
                version,
                body: body.as_ref().map_or(Body::Tombstone, |v| Body::Value(v)),
            };
            if merged {
                table.merge(0, &record);
            } else {
                write(&table, &record);
            }
            let held = twin.get(key).map_or(Version::ABSENT, |(version, _)| *version);
            if version > held {
                twin.insert(*key, (version, body.clone()));
            }
        }
        let mut size = Size::default();
        for (key, (version, body)) in &twin {
            let got = table.read(0, &[*key], |found| {
                found.map(|(version, body)| (version, match body {
                    Body::Value(value) => Some(value.to_vec()),
                    Body::Tombstone => None,
                }))
            });
            prop_assert_eq!(got, Some((*version, body.clone())));
            if let Some(value) = body {
                size = Size { keys: size.keys + 1, bytes: size.bytes + 1 + value.len() as u64 };
            }
        }
        prop_assert_eq!(table.size(), size);
    }
}
