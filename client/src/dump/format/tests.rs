//! What goes in comes out; and whatever else happens to a dump is noticed.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

type Owned = (Vec<u8>, Vec<u8>, Option<u64>);

const ENDED: u64 = 1_700_000_000_500;

fn header() -> Header {
    Header {
        cluster: ClusterId(0x1122_3344_5566_7788),
        began: 1_700_000_000_000,
        salt: 0x5ca1_ab1e,
    }
}

fn block(records: &[Owned]) -> Block {
    let mut block = Block::default();
    for (key, value, expiry) in records {
        block.push(&DumpRecord { key, value, expiry: *expiry });
    }
    block
}

fn dump_with(header: &Header, blocks: &[Vec<Owned>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = DumpWriter::begin(&mut out, header).unwrap();
    for records in blocks {
        writer.block(block(records)).unwrap();
    }
    let (keys, bytes) = writer.end(ENDED).unwrap();
    assert_eq!(keys, blocks.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(bytes, out.len() as u64);
    out
}

fn dump(blocks: &[Vec<Owned>]) -> Vec<u8> {
    dump_with(&header(), blocks)
}

/// All blocks of a dump, if all of it is good.
fn read(bytes: &[u8]) -> Result<Vec<Vec<Owned>>, ReadError> {
    let mut reader = DumpReader::begin(bytes)?;
    let mut all = Vec::new();
    while let Some(block) = reader.next_block()? {
        let owned = |r: DumpRecord<'_>| (r.key.to_vec(), r.value.to_vec(), r.expiry);
        let records: Vec<Owned> = block.records().map(owned).collect();
        assert_eq!(records.len(), block.keys());
        all.push(records);
    }
    let keys = all.iter().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(reader.end(), Some(&End { keys, ended: ENDED }));
    assert_eq!(reader.place(), bytes.len() as u64);
    Ok(all)
}

/// The position of a dump's damage; `None` if it is recognized as no dump, or as a newer one.
fn bad_place(bytes: &[u8]) -> Option<u64> {
    match read(bytes) {
        Err(ReadError::Damaged { place, .. }) => Some(place),
        Err(ReadError::Foreign | ReadError::Newer(_)) => None,
        Err(ReadError::Io(error)) => panic!("{error}"),
        Ok(blocks) => panic!("taken for valid: {blocks:?}"),
    }
}

fn record(key: &str, value: &str, expiry: Option<u64>) -> Owned {
    (key.as_bytes().to_vec(), value.as_bytes().to_vec(), expiry)
}

/// Three blocks, the last two of the same length.
fn sample() -> Vec<Vec<Owned>> {
    vec![
        vec![record("key1", "value1", None), record("\0\n\u{7f}", "", Some(u64::MAX))],
        vec![record("key2", "value2", None)],
        vec![record("key3", "value3", None)],
    ]
}

/// Where each block of a dump lies, the end included.
fn blocks_of(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        blocks.push(at..at + HEAD + length);
        at += HEAD + length;
    }
    blocks
}

#[test]
fn golden_bytes() {
    // Those of docs/dump.md. They must stay readable.
    let blocks = [vec![record("key1", "value1", None), record("k", "", Some(1))]];
    let bytes = dump(&blocks);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let want = [
        "475453746f444d50 0002 1122334455667788 0000018bcfe56800 5ca1ab1e 11df6470",
        "01 00000021 4db24e92",
        "00 0004 6b657931 00000006 76616c756531",
        "01 0000000000000001 0001 6b 00000000",
        "02 00000010 28cb52ea",
        "0000000000000002 0000018bcfe569f4",
    ];
    assert_eq!(hex, want.concat().replace(' ', ""));
    // So were those of format 1.
    let before = with_header(&bytes, |header| header[9] = 1);
    assert_eq!(before[HEADER - 4..HEADER], [0x6a, 0xc1, 0xe6, 0x93]);
    assert_eq!(read(&before).unwrap(), blocks);
}

#[test]
fn a_written_dump_is_read_back() {
    for blocks in [vec![], vec![vec![]], sample()] {
        assert_eq!(read(&dump(&blocks)).unwrap(), blocks);
    }
    let reader = DumpReader::begin(&dump(&sample())[..]).map(|reader| *reader.header());
    assert_eq!(reader.unwrap(), header());
}

#[test]
fn the_longest_record_fits_behind_an_almost_full_block() {
    let (key, value) = (vec![7; KEY_CEILING], vec![9; VALUE_CEILING]);
    let mut records = vec![(b"k".to_vec(), vec![1; FULL - 1 - 2 - 1 - 4 - 1], None)];
    assert!(!block(&records).is_full());
    records.push((key.clone(), value.clone(), Some(1)));
    assert!(block(&records).is_full());
    assert_eq!(read(&dump(&[records.clone()])).unwrap(), [records]);
    // Records that no cluster can hold are refused, even with a valid checksum.
    for (key, value) in
        [(vec![7; KEY_CEILING + 1], vec![]), (b"k".to_vec(), vec![9; VALUE_CEILING + 1])]
    {
        assert_eq!(bad_place(&dump(&[vec![(key, value, None)]])), Some(HEADER as u64));
    }
}

#[test]
fn every_flipped_bit_is_noticed_in_its_block() {
    let good = dump(&sample());
    let blocks = blocks_of(&good);
    for at in 0..good.len() {
        let begin = blocks.iter().find(|block| block.contains(&at)).map_or(0, |block| block.start);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let place = bad_place(&bad);
            let want = (at >= MAGIC.len()).then_some(begin as u64);
            assert_eq!(place, want, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_cut_and_every_byte_too_many_is_noticed() {
    let good = dump(&sample());
    let blocks = blocks_of(&good);
    for end in 0..good.len() {
        let last = blocks.iter().rev().find(|block| block.start <= end);
        let want = last.map_or(0, |block| block.start as u64);
        assert_eq!(bad_place(&good[..end]), Some(want), "cut at {end}");
    }
    assert_eq!(bad_place(&[&good[..], &[0]].concat()), Some(good.len() as u64));
    assert_eq!(bad_place(&[&good[..], &good[..]].concat()), Some(good.len() as u64));
}

#[test]
fn blocks_missing_repeated_swapped_or_from_elsewhere_are_noticed() {
    let good = dump(&sample());
    let blocks = blocks_of(&good);
    assert_eq!(blocks.len(), 4);
    assert_eq!(blocks[1].len(), blocks[2].len());
    let other = dump_with(&Header { salt: 1, ..header() }, &sample());
    let first = HEADER as u64;
    let start = |n: usize| blocks[n].start as u64;
    let of = |order: &[usize]| {
        let pieces = order.iter().flat_map(|&n| good[blocks[n].clone()].to_vec());
        good[..HEADER].iter().copied().chain(pieces).collect::<Vec<u8>>()
    };
    assert_eq!(of(&[0, 1, 2, 3]), good);
    for (order, want) in [
        (&[1, 2, 3][..], first),
        (&[0, 2, 3], start(1)),
        (&[0, 1, 3], start(2)),
        (&[0, 0, 1, 2, 3], start(1)),
        (&[0, 1, 1, 2, 3], start(2)),
        // In another's place, so that all others are in their own.
        (&[0, 1, 1, 3], start(2)),
        (&[0, 2, 1, 3], start(1)),
        (&[3], first),
    ] {
        assert_eq!(bad_place(&of(order)), Some(want), "{order:?}");
    }
    for (n, block) in blocks.iter().enumerate() {
        let mut mixed = good.clone();
        mixed[block.clone()].copy_from_slice(&other[block.clone()]);
        assert_eq!(bad_place(&mixed), Some(start(n)), "block {n} of another dump");
    }
}

/// A dump's bytes with a good checksum for a header in which something is changed.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes[..HEADER - 4]);
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn other_files_and_newer_formats_are_distinguished_from_damage() {
    let good = dump(&sample());
    for (bytes, want) in [
        (b"GTStoLOG\0\x01".to_vec(), "this is no dump of GT Store"),
        (b"x".to_vec(), "this is no dump of GT Store"),
        (vec![], "damaged at byte 0: it ends too soon"),
        (
            with_header(&good, |header| header[9] = 3),
            "a dump of format 3, and this client reads formats up to 2: use a newer client",
        ),
        (
            with_header(&good, |header| header[9] = 0),
            "damaged at byte 0: a format that there is not",
        ),
    ] {
        assert_eq!(read(&bytes).unwrap_err().to_string(), want);
    }
}

#[test]
fn a_number_of_records_that_is_not_theirs_is_noticed() {
    let mut out = Vec::new();
    let mut writer = DumpWriter::begin(&mut out, &header()).unwrap();
    writer.block(block(&sample()[1])).unwrap();
    writer.keys += 1;
    writer.end(ENDED).unwrap();
    let want = HEADER + HEAD + block(&sample()[1]).bytes.len() - HEAD;
    assert_eq!(bad_place(&out), Some(want as u64));
}

#[test]
fn an_announced_length_is_held_against_its_bound() {
    let mut bytes = dump(&[]);
    bytes[HEADER + 1..HEADER + 5].copy_from_slice(&(MOST as u32 + 1).to_be_bytes());
    let why = read(&bytes).unwrap_err().to_string();
    assert_eq!(why, "damaged at byte 34: no block begins there");
}

proptest! {
    #[test]
    fn any_records_survive(
        blocks in prop::collection::vec(
            prop::collection::vec(
                (
                    prop::collection::vec(any::<u8>(), 0..40),
                    prop::collection::vec(any::<u8>(), 0..300),
                    any::<Option<u64>>(),
                ),
                0..20,
            ),
            0..6,
        ),
    ) {
        prop_assert_eq!(read(&dump(&blocks)).unwrap(), blocks);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // Also behind a good header.
        let good = dump(&[]);
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&[&good[..HEADER], &bytes[..]].concat()).is_err());
    }
}
