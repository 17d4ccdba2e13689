//! Encode → decode → encode gives the same bytes, and damaged payloads give errors.

use std::borrow::Cow;

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::durability::Durability;
use cluster::ids::{Address, ClusterId, Epoch, Incarnation, ManagerIncarnation, NodeId};
use cluster::limits::Limits;
use cluster::line::{Line, Stretch};
use cluster::membership::{AdminCommand, Amount, Move, Outline, Reconfiguration};
use cluster::membership::{
    DiskHealth, Level, Loss, Newcomer, NodeState, Report, Seen, WaitingFolder,
};
use cluster::replica::{State, WriteAnswer};
use cluster::version::{Op, Version};
use cluster::view::Replacement;
use cluster::view::{Coming, Member, MemberState, SoleHolder, View};
use proptest::prelude::*;

use super::change::*;
use super::control::*;
use super::coordinated::*;
use super::data::*;
use super::list::*;
use super::range::*;
use super::*;
use crate::codec::Encoder;

fn stepped() -> Version {
    Version { clock: 7, writer: 8, step: 2, op: Op { writer: 9, count: 1 } }
}

fn loss() -> Loss {
    let (without, with) = (vec![Incarnation(5)], vec![Incarnation(6), Incarnation(7)]);
    Loss { epoch: Epoch(9), arcs: vec![1, 2, 4095], empty: vec![2], without, with }
}

fn view() -> View {
    let member = |n: u16, state| Member {
        id: NodeId::new(&format!("node{n}")).unwrap(),
        incarnation: Incarnation(u64::from(n) + 40),
        address: Address::new("127.0.0.1", 6000 + n).unwrap(),
        redis_port: 0,
        on_disk: n == 1,
        weight: 2,
        state,
    };
    View {
        epoch: Epoch(9),
        members: vec![member(1, MemberState::Active), member(2, MemberState::Joining)],
        arcs: vec![0; 8],
        coming: Some(Coming {
            arcs: vec![0, 1, 0, 1, 0, 1, 0, 1],
            copies: 3,
            weights: vec![2, 5],
            limits: Limits::ORIGINAL,
            min_copies: 2,
        }),
        fresh: vec![2, 5],
        sole_holders: vec![SoleHolder { place: 1, since: Epoch(8), arcs: vec![1, 7] }],
        replacements: vec![Replacement { place: 0, of: Incarnation(4), arcs: vec![3] }],
        durability: Durability::Sync,
        line: Line::new(vec![Stretch {
            first: Epoch(7),
            before: Epoch(5),
            life: ManagerIncarnation(11),
        }])
        .unwrap(),
        ..View::unborn(ClusterId(3), 2, Limits::default())
    }
}
/// A message as bytes, with a decoder for its kind that encodes it again.
type Sample = (Vec<u8>, Again);

type Again = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

fn again<'a, M: Message<'a>>(payload: &'a [u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    M::read(payload)?.encode(&mut out);
    Ok(out)
}

macro_rules! sample {
    ($message:expr, $type:ty) => {{
        let mut out = Vec::new();
        $message.encode(&mut out);
        (out, (|bytes| again::<$type>(bytes)) as Again)
    }};
}

fn id() -> NodeId {
    NodeId::new("node1").unwrap()
}

fn address() -> Address {
    Address::new("::1", 6001).unwrap()
}

/// Every message once.
fn samples() -> Vec<Sample> {
    let all = [
        data_samples(),
        range_samples(),
        coordinated_samples(),
        change_samples(),
        list_samples(),
        control_samples(),
        node_samples(),
        status_samples(),
    ];
    all.into_iter().flatten().collect()
}

fn data_samples() -> Vec<Sample> {
    let write = |key, version, born, body| Write { key, version, born, body, expected: None };
    let put = write(b"k", Version::plain(5, 6), 5, Body::Value(b"v"));
    let back = write(b"gone", stepped(), 9, Body::Tombstone);
    let swap = Write { expected: Some(Version::ABSENT), ..back };
    let swap_again = Write { expected: Some(stepped()), ..put };
    vec![
        sample!(
            WriteBatch { epoch: Epoch(4), writes: vec![put, back, swap, swap_again] },
            WriteBatch
        ),
        sample!(
            CommitNotice {
                watermarks: vec![(6, 5), (7, 8)],
                versions: vec![(b"k", Version::plain(5, 6)), (b"gone", stepped())],
            },
            CommitNotice
        ),
        sample!(
            WriteAcks {
                epoch: Epoch(4),
                clock: 77,
                shape: Shape { is_full: true },
                answers: vec![
                    WriteAnswer::Stored,
                    WriteAnswer::Superseded(stepped()),
                    WriteAnswer::BlindStored,
                    WriteAnswer::BlindBelow(Version::plain(1, 2)),
                    WriteAnswer::WrongEpoch,
                    WriteAnswer::Conflict,
                    WriteAnswer::BadVersion,
                    WriteAnswer::BadKey,
                    WriteAnswer::BadValue,
                    WriteAnswer::NoLease,
                    WriteAnswer::TooOld,
                    WriteAnswer::Differs(stepped()),
                ],
            },
            WriteAcks
        ),
        sample!(ReadBatch { epoch: Epoch(4), keys: vec![b"a", b"bc"] }, ReadBatch),
        sample!(Fence(ReadBatch { epoch: Epoch(4), keys: vec![b"a", b"bc"] }), Fence),
        sample!(
            ReadReply {
                epoch: Epoch(4),
                clock: 77,
                shape: Shape::default(),
                answers: vec![
                    KeyReply::Absent,
                    KeyReply::Record(Version::plain(1, 2), State::Committed, Body::Value(b"")),
                    KeyReply::Record(stepped(), State::Pending, Body::Tombstone),
                    KeyReply::NoLease,
                    KeyReply::WrongEpoch,
                    KeyReply::Syncing,
                    KeyReply::BadKey,
                    KeyReply::BlindAbsent,
                    KeyReply::Blind(stepped(), State::Pending, Body::Value(b"v")),
                    KeyReply::Record(
                        Version::plain(1, 2),
                        State::Pending,
                        Body::Expiring(b"", u64::MAX),
                    ),
                ],
            },
            ReadReply
        ),
    ]
}

fn range_samples() -> Vec<Sample> {
    let record = |key, version, state, body| Record { key, version, state, body };
    let value = record(b"k", Version::plain(5, 6), State::Committed, Body::Value(b"v\0"));
    let gone = record(b"gone", stepped(), State::Pending, Body::Tombstone);
    let brief = record(b"b", stepped(), State::Committed, Body::Expiring(b"v", 1 << 40));
    let mut buckets = BucketSet::none(16);
    buckets.insert(0);
    buckets.insert(13);
    let page = |end| RangePage {
        epoch: Epoch(4),
        complete: 0,
        records: Vec::new(),
        same: Vec::new(),
        end,
    };
    vec![
        sample!(
            RangePull {
                epoch: Epoch(4),
                seed: [5; 16],
                wanted: vec![
                    ArcRequest { arc: 1, ask: Selection::Of(Cow::Borrowed(&buckets)) },
                    ArcRequest { arc: 2, ask: Selection::All },
                    ArcRequest { arc: 3, ask: Selection::Differing((0..8).collect()) },
                    ArcRequest { arc: 4, ask: Selection::Gather },
                    ArcRequest { arc: 5, ask: Selection::SameDigests((0..8).collect()) },
                ],
                from: Cursor { layout: 6, slot: 7 },
            },
            RangePull
        ),
        sample!(
            RangePage {
                epoch: Epoch(4),
                complete: 1,
                records: vec![value, gone, brief],
                same: vec![(3, buckets.clone()), (4, BucketSet::none(8))],
                end: PageEnd::Within(Cursor { layout: 6, slot: 7 }),
            },
            RangePage
        ),
        sample!(page(PageEnd::Between), RangePage),
        sample!(page(PageEnd::NoSource), RangePage),
    ]
}

fn coordinated_samples() -> Vec<Sample> {
    let placed = WriteReceipt { primary: "node1", copies: 3 };
    vec![
        sample!(Put { key: b"k", value: b"v" }, Put),
        sample!(Get(b"k"), Get),
        sample!(Delete(b"k"), Delete),
        sample!(PutDone(placed), PutDone),
        sample!(Deleted(placed), Deleted),
        sample!(GetReply { primary: "node1", value: Some(b"v") }, GetReply),
        sample!(GetReply { primary: "node1", value: None }, GetReply),
    ]
}

fn change_samples() -> Vec<Sample> {
    let change = |change, force| AdminCommand::Reconfigure { change, force };
    let terms = |heartbeat_ms, missed| Reconfiguration::Terms { heartbeat_ms, missed };
    vec![
        sample!(Begin(change(Reconfiguration::Leave(id()), true)), Begin),
        sample!(Begin(AdminCommand::Cancel), Begin),
        sample!(Plan(change(Reconfiguration::Weight(id(), 7), false)), Plan),
        sample!(Plan(change(Reconfiguration::Copies(4), false)), Plan),
        sample!(Begin(change(terms(Some(300), None), false)), Begin),
        sample!(Plan(change(terms(Some(300), Some(5)), false)), Plan),
        sample!(
            Planned(Outline {
                what: "node1 leaving".into(),
                arcs: 1,
                moves: vec![Move { id: id(), owns: (2, 3), keeps: (4, 5), fetches: 6 }],
                amount: Amount { keys: 7, bytes: 8 },
            }),
            Planned
        ),
    ]
}

fn list_samples() -> Vec<Sample> {
    vec![
        sample!(List { from: 7, most: 10, arcs: vec![1, 5, 4095] }, List),
        sample!(
            Listed {
                refused: vec![5],
                end: Some(1 << 40),
                count: 0,
                keys: vec![Key { key: b"key", is_sure: true }, Key { key: b"\0", is_sure: false },],
            },
            Listed
        ),
    ]
}

fn control_samples() -> Vec<Sample> {
    vec![
        sample!(Hello, Hello),
        sample!(StatusRequest, StatusRequest),
        sample!(InfoRequest, InfoRequest),
        sample!(AcceptLoss(loss()), AcceptLoss),
        sample!(Probe { number: 7 }, Probe),
        sample!(AdoptFolder { id: id(), start: Incarnation(9) }, AdoptFolder),
        sample!(FolderAdopted, FolderAdopted),
        sample!(LossAccepted { arcs: 4 }, LossAccepted),
        sample!(
            HeartbeatAck {
                sequence: 6,
                known: true,
                lease_ms: 6000,
                heartbeat_ms: 2000,
                active: Epoch(7)
            },
            HeartbeatAck
        ),
        sample!(
            Info {
                id: id(),
                incarnation: Incarnation(5),
                epoch: Epoch(7),
                keys: 1,
                bytes: 2,
                connections: 3,
            },
            Info
        ),
    ]
}

fn node_samples() -> Vec<Sample> {
    let synced: ArcSet = [1, 5, 15].into_iter().collect();
    vec![
        sample!(
            Register {
                who: Newcomer {
                    id: id(),
                    incarnation: Incarnation(5),
                    address: address(),
                    redis_port: 0,
                    weight: 1,
                    on_disk: true,
                },
                cluster: Some(ClusterId(6)),
                returns: true,
                claim: Some(Claim {
                    of: Incarnation(4),
                    epoch: Epoch(8),
                    synced: [1, 9].into_iter().collect(),
                    starts: vec![Incarnation(4), Incarnation(5)],
                    is_whole: true,
                }),
                seen: Some(Seen { name: view().name(), view: Some(Box::new(view())) }),
                wall_ms: 9,
            },
            Register
        ),
        sample!(
            TablePush {
                active: Epoch(8),
                clock: 1,
                heartbeat_ms: 2000,
                lease_ms: 6000,
                lost: [3, 9].into_iter().collect(),
                view: view()
            },
            TablePush
        ),
        sample!(
            Heartbeat {
                incarnation: Incarnation(5),
                sequence: 6,
                report: Report {
                    epoch: Epoch(7),
                    synced,
                    revived: [2].into_iter().collect(),
                    keys: 8,
                    bytes: 9,
                    fetching: 11,
                    disk: DiskHealth::Failing("full".into()),
                    is_full: true,
                    longest: Some(Limits::ORIGINAL),
                    probe: 7,
                },
                wall_ms: 10,
            },
            Heartbeat
        ),
    ]
}

fn status_samples() -> Vec<Sample> {
    vec![sample!(
        Status {
            epoch: Epoch(7),
            copies: 3,
            heartbeat_ms: 2000,
            missed: 3,
            longest_ms: 6000,
            durability: Durability::Sync,
            arcs: 4096,
            health: HealthLine {
                level: Level::Degraded,
                text: "refusing writes: node1 (its memory is full)".into(),
            },
            changing: true,
            change: Some("node1 leaving".into()),
            lost: vec![(3, 4), (9, 9)],
            loss: Some(loss()),
            folders: vec![WaitingFolder {
                id: id(),
                start: Incarnation(9),
                address: Address::new("127.0.0.1", 7001).unwrap(),
                original: Some(Address::new("127.0.0.1", 6001).unwrap()),
                is_copy: true,
            }],
            nodes: vec![NodeStatus {
                id: id(),
                address: address(),
                state: NodeState::Active,
                weight: 5,
                keys: 1,
                bytes: 2,
                arcs: 3,
                behind: 6,
                fetching: 7,
                silent_ms: 4,
                disk: Some(DiskHealth::Strained("too large".into())),
                is_full: true,
            }],
        },
        Status
    )]
}

#[test]
fn encode_decode_encode() {
    for (bytes, again) in samples() {
        assert_eq!(again(&bytes).as_ref(), Ok(&bytes));
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    for (bytes, again) in samples() {
        for cut in 0..bytes.len() {
            assert!(again(&bytes[..cut]).is_err(), "cut at {cut} of {bytes:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(again(&longer).is_err(), "a byte too many after {bytes:?}");
    }
}

#[test]
fn golden_bytes() {
    // Processes of different versions must agree on these.
    let write = Write {
        key: b"k",
        version: Version::plain(1, 2),
        born: 1,
        body: Body::Value(b"v"),
        expected: None,
    };
    let mut out = Vec::new();
    WriteBatch { epoch: Epoch(3), writes: vec![write] }.write(&mut out);
    let want = [
        &[0, 6, 0, 2, 0, 0, 0, 37][..],        // REPL_PUT, format 2, 37 bytes
        &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1], // epoch, count
        &[0, 1, b'k', 0],                      // key, flags
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], // clock, writer
        &[0, 0, 0, 1, b'v'],                   // value
    ]
    .concat();
    assert_eq!(out, want);
    out.clear();
    Probe { number: 7 }.write(&mut out);
    let want = [0, 30, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
    assert_eq!(out, want, "PROBE, format 2, 8 bytes, its number");
}

#[test]
fn a_pull_and_a_page_have_their_bytes() {
    let mut set = BucketSet::none(8);
    set.insert(1);
    let pull = RangePull {
        epoch: Epoch(3),
        seed: [7; 16],
        wanted: vec![
            ArcRequest { arc: 1, ask: Selection::Of(Cow::Borrowed(&set)) },
            ArcRequest { arc: 2, ask: Selection::All },
            ArcRequest { arc: 3, ask: Selection::Differing((0..8).collect()) },
        ],
        from: Cursor { layout: 4, slot: 5 },
    };
    let mut out = Vec::new();
    pull.encode(&mut out);
    let number = |n: u8| [0, 0, 0, 0, 0, 0, 0, n];
    let digests: Vec<u8> = (0..8).flat_map(number).collect();
    let want = [
        &number(3)[..],
        &[7; 16],
        &number(4),
        &number(5),
        &[0, 0, 0, 3],
        &[0, 1, 2, 3, 0b10],
        &[0, 2, 0],
        &[0, 3, 1, 3],
        &digests,
    ];
    assert_eq!(out, want.concat());
    out.clear();
    RangePage {
        epoch: Epoch(3),
        complete: 1,
        records: Vec::new(),
        same: vec![(3, set)],
        end: PageEnd::Within(Cursor { layout: 4, slot: 5 }),
    }
    .encode(&mut out);
    let want = [
        &number(3)[..],
        &[0, 0, 0, 1, 0, 0, 0, 0],
        &[0, 0, 0, 1, 0, 3, 3, 0b10],
        &[1],
        &number(4),
        &number(5),
    ];
    assert_eq!(out, want.concat());
}

#[test]
fn buckets_and_arcs_out_of_bounds_are_refused() {
    let head = |wanted: u32| {
        let mut out = vec![0; 8 + 16 + 16];
        out.put_u32(wanted);
        out
    };
    for power in [0, 2, 15, 16, 63, 64, 255] {
        for form in [1, 2] {
            let mut pull = head(1);
            pull.extend_from_slice(&[0, 0, form, power]);
            pull.resize(pull.len() + (1 << 18), 0);
            let error = RangePull::read(&pull).unwrap_err();
            assert_eq!(error.0, "too few or too many buckets", "2^{power}");
        }
    }
    let arcs = u32::from(cluster::slot::SLOTS) + 1;
    let mut pull = head(arcs);
    pull.resize(pull.len() + 3 * arcs as usize, 0);
    assert_eq!(RangePull::read(&pull).unwrap_err().0, "more arcs than a ring has");
}

#[test]
fn a_bucket_set_contains_the_buckets_that_were_added() {
    let mut set = BucketSet::none(16);
    assert!(set.is_empty());
    assert_eq!(set.buckets(), 16);
    set.insert(9);
    let members = |set: &BucketSet| (0..16).filter(|&b| set.contains(b)).collect::<Vec<_>>();
    assert_eq!(members(&set), [9]);
    assert_eq!(members(&set.others()).len(), 15);
    assert!(!set.others().contains(9));
}

proptest! {
    #[test]
    fn damaged_payloads_never_panic(
        which in 0usize..64,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples();
        let (mut bytes, again) = samples[which % samples.len()].clone();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = again(&bytes);
        }
    }

    #[test]
    fn random_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, again) in samples() {
            let _ = again(&bytes);
        }
    }

    #[test]
    fn records_of_any_bytes_survive(
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..400),
        clock in any::<u64>(), writer in any::<u64>(), step in any::<u64>(),
    ) {
        let version = Version { step, ..Version::plain(clock, writer) };
        let state = if step % 2 == 0 { State::Pending } else { State::Committed };
        let record = Record { key: &key, version, state, body: Body::Value(&value) };
        let mut out = Vec::new();
        record.encode(&mut out);
        prop_assert_eq!(Record::decode(&mut Decoder::new(&out)), Ok(record));
    }
}
