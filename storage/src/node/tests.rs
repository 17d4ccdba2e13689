//! Ranges that move between two nodes, without sockets: the bytes go from one to the other.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use client::GTStoreClient;
use cluster::durability::Durability;
use cluster::ids::{Address, ManagerLife};
use cluster::limits::Limits;
use cluster::version::COUNTER_BITS;
use cluster::view::{Member, MemberState};
use net_common::frame::HEADER;
use net_common::message::Message;
use net_common::message::list::{List, Listed};
use net_common::message::range::{BucketSet, Cursor, End, RangePage, RangePull};
use proptest::prelude::*;

use super::merge::{Merged, Unmerged};
use super::notes::Notes;
use super::page::Bounds;
use super::*;
use crate::disk::entry::{self, Entry};
use crate::disk::folder::Folder;
use crate::disk::journal::{Ends, LogItem, LogRequest};
use crate::disk::recovery::{Care, recover};
use crate::disk::{self, Disk};
use crate::fetch::confirm::confirm;
use crate::fetch::digest::Digester;
use crate::fetch::job::Job;
use crate::redis::batch::Batch;
use crate::snapshot_log::{LONGEST, snapshot};
use resp::command::Command;
use resp::reply::{Protocol, Replies};
use resp::request::Requests;
use resp::{lookup, request};

const ARCS: usize = 4;
const SOURCE: u16 = 1;
const PULLER: u16 = 2;

fn member(n: u16, state: MemberState) -> Member {
    Member {
        id: NodeId::new(&format!("node{n}")).unwrap(),
        incarnation: Incarnation(n.into()),
        address: Address::new("127.0.0.1", 6000 + n).unwrap(),
        redis_port: 0,
        on_disk: false,
        weight: 1,
        state,
    }
}

/// Both nodes keep everything, the source is everyone's primary.
fn view(epoch: u64, puller: Option<MemberState>) -> View {
    let mut members = vec![member(SOURCE, MemberState::Active)];
    members.extend(puller.map(|state| member(PULLER, state)));
    // Where the puller serves it owns one arc, and so is a replica of all.
    let mut arcs = vec![0; ARCS];
    let mut to_come = None;
    match puller {
        Some(MemberState::Joining) => to_come = Some(vec![0, 1, 0, 0]),
        Some(_) => arcs[1] = 1,
        None => {}
    }
    let fresh = if epoch == 1 { (0..ARCS as u16).collect() } else { Vec::new() };
    let cluster = View::unborn(ClusterId(1), 2, Limits::default());
    let view = View { epoch: Epoch(epoch), members, arcs, fresh, ..cluster };
    View { coming: to_come.map(|arcs| view.with_deal(arcs)), ..view }
}

fn blank(n: u16, incarnation: u64) -> Node {
    let id = NodeId::new(&format!("node{n}")).unwrap();
    Node::new(id, Incarnation(incarnation), Notes::channel().0)
}

/// A data folder with nothing in it.
fn empty(journal: Journal) -> Restored {
    Restored { journal, life: None, starts: Vec::new() }
}

fn with_lease(node: Node) -> Node {
    node.told(Epoch(9));
    let beat = node.send_heartbeat();
    node.heartbeat_answered(beat, 1 << 40, Epoch(9));
    node
}

fn node(n: u16) -> Node {
    with_lease(blank(n, n.into()))
}

/// A node that has adopted these views.
fn at(n: u16, views: impl IntoIterator<Item = View>) -> Node {
    let node = node(n);
    for view in views {
        assert!(node.adopt(view).unwrap());
    }
    node
}

/// One that is synced, and one that has yet to fetch everything and holds some of it from before it was
/// dropped from the view.
fn source_and_returner(held: &[Held], earlier: &[Held]) -> (Node, Node) {
    let active = Some(MemberState::Active);
    let source = at(SOURCE, [view(1, active), view(2, None)]);
    fill(&source, held);
    let puller = at(PULLER, [view(1, active)]);
    fill(&puller, earlier);
    for node in [&source, &puller] {
        assert!(node.adopt(view(3, Some(MemberState::Joining))).unwrap());
    }
    (source, puller)
}

/// A record: its key, a number from which all else of it follows, and its state.
type Held = (u8, u8, State);

/// The same version always stands for the same bytes.
fn with_record<T>(held: &Held, with: impl FnOnce(Record<'_>) -> T) -> T {
    let (key, number, state) = *held;
    let key = [b'k', key];
    let plain = Version::plain(u64::from(number / 2) + 1, 1);
    let version = match number % 2 {
        0 => plain,
        _ => plain.successor(cluster::version::Op { writer: 2, count: number.into() }),
    };
    let bytes = vec![number; usize::from(number % 7)];
    let body = if number % 5 == 0 { Body::Tombstone } else { Body::Value(&bytes) };
    with(Record { key: &key, version, state, body })
}

fn fill(node: &Node, held: &[Held]) {
    let table = node.table().unwrap();
    for held in held {
        with_record(held, |record| table.merge(arc_of_key(record.key, ARCS), [record], 0));
    }
}

/// What a node holds of a key.
type Holds = (Version, State, Option<Vec<u8>>);

/// All that a node shows, by key.
fn contents(node: &Node) -> BTreeMap<Vec<u8>, Holds> {
    contents_of(node.table().unwrap())
}

fn contents_of(table: &Table) -> BTreeMap<Vec<u8>, Holds> {
    let mut contents = BTreeMap::new();
    for arc in 0..table.arcs() {
        let end = table.scan(arc, Cursor::START, usize::MAX, |record| {
            let value = record.body.value().map(<[u8]>::to_vec);
            contents.insert(record.key.to_vec(), (record.version, record.state, value));
            true
        });
        assert_eq!(end, None);
    }
    contents
}

/// Fetches all that is missing. `between` is called after each page.
fn fetch(source: &Node, puller: &Node, bounds: Bounds, mut between: impl FnMut()) -> Merged {
    let (routes, missing) = puller.missing().unwrap();
    let mut job = Job::new(missing.into_iter().map(|arc| puller.part(arc)).collect());
    let digester = Digester::new([9; 16]);
    while !job.is_over() {
        let bytes = ask(source, bounds, &job.pull(routes.epoch(), &digester));
        let page = RangePage::read(&bytes).unwrap();
        job.take(puller, &page).unwrap();
        between();
    }
    let (merged, _, left) = job.end();
    assert!(left.is_empty());
    assert!(puller.missing().is_none(), "all is synced");
    merged
}

fn ask(source: &Node, bounds: Bounds, pull: &RangePull<'_>) -> Vec<u8> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    pull.encode(&mut request);
    source.page_within(bounds, &RangePull::read(&request).unwrap(), &mut reply);
    reply
}

/// What a writer has received, if everything reaches the disk: the keys of the records.
fn keys_handed_in(ends: &Ends) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for LogRequest { item, ack } in &ends.requests {
        if let LogItem::Records(buffer) = item {
            for entry in entry::decode(&buffer, ARCS).unwrap() {
                let Entry::Records(_, records) = entry else { panic!("no records") };
                keys.extend(records.map(|record| record.unwrap().key.to_vec()));
            }
        }
        ack.into_iter().for_each(|ack| ack.send(Ok(())).unwrap());
    }
    keys.sort();
    keys
}

#[test]
fn what_others_have_handed_in_is_not_written_again_in_async() {
    use State::{Committed, Pending};
    let (source, _) = source_and_returner(&[1, 2, 3, 4, 5].map(|key| (key, 4, Committed)), &[]);
    for (durability, want) in [
        // New, pending in the same version, older; but not what is committed, in the same version or a newer one.
        (Durability::Async, vec![b"k\x01", b"k\x02", b"k\x03"]),
        (Durability::Sync, vec![b"k\x01", b"k\x02", b"k\x03", b"k\x04", b"k\x05"]),
    ] {
        let (journal, ends) = Journal::new(None);
        let puller = with_lease(blank(PULLER, PULLER.into()).with_disk(empty(journal)));
        puller.promised(durability);
        puller.adopt(view(3, Some(MemberState::Joining))).unwrap();
        fill(&puller, &[(2, 4, Pending), (3, 2, Committed), (4, 4, Committed), (5, 6, Committed)]);
        std::thread::scope(|scope| {
            let written = scope.spawn(move || keys_handed_in(&ends));
            fetch(&source, &puller, Bounds::OURS, || {});
            drop(puller);
            assert_eq!(written.join().unwrap(), want, "{durability:?}");
        });
    }
}

fn read(node: &Node, epoch: u64, is_fence: bool, key: &[u8]) -> String {
    let batch = ReadBatch { epoch: Epoch(epoch), keys: vec![key] };
    let mut out = Vec::new();
    if is_fence {
        node.fence(&batch, &mut out)
    } else {
        node.read(&batch, &mut out)
    }
    format!("{:?}", ReadAnswers::read(&out).unwrap().answers[0])
}

#[test]
fn a_glance_shows_what_needs_nobody_else() {
    let active = Some(MemberState::Active);
    let seen = |node: &Node, key: u8| {
        let shown = |held: Option<(&[u8], Option<u64>)>| held.map(|(value, _)| value.to_vec());
        node.read_local(|glance| glance.key(&[b'k', key], shown))
    };
    let holder = at(SOURCE, [view(1, active)]);
    fill(&holder, &[(1, 6, State::Committed), (2, 6, State::Pending), (3, 10, State::Committed)]);
    assert_eq!(seen(&holder, 1), Some(Some(vec![6; 6])));
    assert_eq!(seen(&holder, 2), None, "a write-back may be due");
    assert_eq!(seen(&holder, 3), Some(None), "a tombstone");
    assert_eq!(seen(&holder, 4), Some(None), "never there");
    let beyond =
        |node: &Node| node.read_local(|glance| glance.key(&[7; 21], |held| held.is_none()));
    assert_eq!(beyond(&holder), Some(true), "a key beyond the limits does not exist");
    assert!(holder.read_local(|glance| glance.limits()).is_some());
    let mut buffer = b"get k\x01\nget k\x04\n".to_vec();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &request::Limits::KNOWN).unwrap();
    let (mut batch, mut out) = (Batch::default(), Vec::new());
    for args in requests.each(&buffer) {
        batch.add(Command::parse(lookup::find(args).unwrap(), args, 0).unwrap());
    }
    let nobody = || -> Result<Arc<GTStoreClient>, _> {
        unreachable!("no client is needed for what is here")
    };
    batch
        .run(Some(&holder), nobody, &|| 0, &mut Replies::new(&mut out, Protocol::Resp2), |_| Ok(()))
        .unwrap();
    assert_eq!(out, b"$6\r\n\x06\x06\x06\x06\x06\x06\r\n$-1\r\n", "a door looks here first");

    holder.give_up_lease();
    assert_eq!(seen(&holder, 1), None);
    assert_eq!(beyond(&holder), None, "there may be a newer view, with longer keys");
    assert_eq!(holder.read_local(|glance| glance.limits()), None);
    let joiner = at(PULLER, [view(3, Some(MemberState::Joining))]);
    assert_eq!(seen(&joiner, 1), None, "it has yet to fetch");
    assert_eq!(seen(&node(SOURCE), 1), None, "it has seen no view");
}

#[test]
fn l7_a_manager_that_does_not_know_what_was_seen_is_not_followed() {
    let made_by = |life: u64, epoch: u64| {
        let mut view = view(epoch, None);
        view.line.made(Epoch(1), Epoch::NONE, ManagerLife(life));
        view
    };
    let node = at(SOURCE, [made_by(7, 1), made_by(7, 2), made_by(7, 3)]);
    let other = |theirs| NotFollowed::OtherLine { ours: Epoch(3), theirs: Epoch(theirs) };
    node.check_line(&made_by(7, 3)).unwrap();
    assert_eq!(node.check_line(&made_by(7, 2)), Err(other(2)), "an older copy");
    assert_eq!(node.check_line(&made_by(8, 5)), Err(other(5)), "and what it made since");
    assert_eq!(node.adopt(made_by(8, 5)), Err(other(5)));
    assert_eq!(node.adopt(made_by(7, 2)), Ok(false), "a late one is nothing new");
    assert_eq!(node.adopt(made_by(7, 4)), Ok(true));
}

#[test]
fn h3_nobody_is_shown_records_of_an_earlier_life() {
    use State::Pending;
    let earlier = [(1, 2, Pending), (2, 2, State::Committed), (3, 4, Pending)];
    let (source, puller) = source_and_returner(&[], &earlier);
    assert_eq!(puller.size(), Size::default());
    assert_eq!(puller.report().keys, 0);
    for key in 1..=3 {
        assert_eq!(read(&puller, 3, false, &[b'k', key]), "Syncing");
        assert_eq!(read(&puller, 3, true, &[b'k', key]), "BlindAbsent");
        // As a source.
        let (arc, epoch) = (arc_of_key(&[b'k', key], ARCS), Epoch(3));
        let mut job = Job::new(vec![source.part(arc)]);
        let bytes = ask(&puller, Bounds::OURS, &job.pull(epoch, &Digester::new([1; 16])));
        let page = RangePage::read(&bytes).unwrap();
        assert_eq!((page.end, page.records.len(), page.complete), (End::NoSource, 0, 0));
    }
    // Nor finished: not now, and not when the source has said that it has nothing of the kind.
    assert!(puller.settle(10).is_none());
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!(merged, Merged { arcs: ARCS, ..Merged::default() });
    assert_eq!(contents(&puller), BTreeMap::new());
    assert!((0..ARCS).all(|arc| puller.stale_cache.get(arc).is_none()), "all is let go of");
}

#[test]
fn h3_only_what_differs_moves() {
    let all: Vec<Held> = (0..250).map(|key| (key, key, State::Committed)).collect();
    let mut held = all.clone();
    held[7].1 += 10;
    held.remove(99);
    let (source, puller) = source_and_returner(&held, &all);
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!(merged.moved + merged.kept, 249);
    // Two buckets, with about eight records each.
    assert!((1..40).contains(&merged.moved), "{merged:?}");
    assert_eq!(contents(&puller), contents(&source));
    let transfer = puller.transfer();
    assert_eq!((transfer.moved, transfer.kept), (merged.moved as u64, merged.kept as u64));
}

#[test]
fn h3_a_cache_is_let_go_of_arc_by_arc() {
    let held: Vec<Held> = (0..200).map(|key| (key, 2, State::Committed)).collect();
    let (source, puller) = source_and_returner(&held, &held);
    let kept: Vec<_> = (0..ARCS)
        .map(|arc| std::sync::Arc::downgrade(&puller.stale_cache.get(arc).unwrap()))
        .collect();
    let left = || kept.iter().filter(|shard| shard.upgrade().is_some()).count();
    let one_arc = Bounds { records: 1, ..Bounds::OURS };
    let mut seen = Vec::new();
    fetch(&source, &puller, one_arc, || seen.push(left()));
    assert_eq!(seen, [3, 2, 1, 0]);
}

#[test]
fn h3_what_is_pending_at_the_source_is_pending_here_however_it_was_before() {
    let earlier: Vec<Held> = (0..50).map(|key| (key, 2, State::Committed)).collect();
    let held: Vec<Held> = (0..50).map(|key| (key, 2, State::Pending)).collect();
    let (source, puller) = source_and_returner(&held, &earlier);
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (50, 0));
    assert!(contents(&puller).values().all(|(_, state, _)| *state == State::Pending));
    // And the other way round.
    let (source, puller) = source_and_returner(&earlier, &held);
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (0, 50));
    assert!(contents(&puller).values().all(|(_, state, _)| *state == State::Committed));
}

#[test]
fn a_cache_survives_for_as_long_as_it_may_be_of_use() {
    let active = Some(MemberState::Active);
    let joining = Some(MemberState::Joining);
    let kept = |views: Vec<View>| {
        let puller = at(PULLER, [view(1, active)]);
        fill(&puller, &(0..100).map(|key| (key, 1, State::Committed)).collect::<Vec<_>>());
        for view in views {
            puller.adopt(view).unwrap();
        }
        assert_eq!(puller.size().keys, 0);
        (0..ARCS).filter(|&arc| puller.stale_cache.get(arc).is_some()).collect::<Vec<_>>()
    };
    let fresh = |mut view: View| {
        view.fresh = vec![2];
        view
    };
    assert_eq!(kept(vec![view(2, None)]), [0, 1, 2, 3], "dropped");
    assert_eq!(kept(vec![view(2, None), view(3, None), view(4, joining)]), [0, 1, 2, 3], "waits");
    assert_eq!(kept(vec![view(2, None), fresh(view(3, None))]), [0, 1, 3], "an arc begins afresh");
    assert_eq!(kept(vec![view(3, active)]), [0, 1, 2, 3], "a skipped view");
    assert_eq!(kept(vec![fresh(view(3, active))]), [0, 1, 3]);
    let mut alone = view(3, joining);
    alone.copies = 1;
    if let Some(coming) = &mut alone.coming {
        coming.copies = 1;
    }
    assert_eq!(kept(vec![view(2, None), alone]), [1], "the next write set has only this");
}

#[test]
fn r2_a_page_counts_only_under_its_epoch() {
    let held: Vec<Held> = (0..50).map(|key| (key, 2, State::Committed)).collect();
    let (source, puller) = source_and_returner(&held, &held);
    let digester = Digester::new([9; 16]);
    let mut job = Job::new((0..ARCS).map(|arc| puller.part(arc)).collect());
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(3), &digester));
    let page = RangePage::read(&bytes).unwrap();
    assert_eq!(page.complete as usize, ARCS);
    puller.adopt(view(4, Some(MemberState::Joining))).unwrap();
    assert_eq!(job.take(&puller, &page), Err(Unmerged::OtherView));
    assert_eq!(contents(&puller), BTreeMap::new());
    assert_eq!(puller.missing().unwrap().1.len(), ARCS);
    // The source is not there yet, and says so.
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(4), &digester));
    let page = RangePage::read(&bytes).unwrap();
    assert_eq!((page.epoch, page.end), (Epoch(3), End::NoSource));
    source.adopt(view(4, Some(MemberState::Joining))).unwrap();
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (0, 50), "the cache is there for the next try");
    assert_eq!(contents(&puller), contents(&source));
}

#[test]
fn an_arc_goes_on_where_it_was_at_the_same_source_and_anew_at_another() {
    let held: Vec<Held> = (0..200).map(|key| (key, 2, State::Committed)).collect();
    let (source, puller) = source_and_returner(&held, &[]);
    let (other, _) = source_and_returner(&held, &[]);
    let digester = Digester::new([9; 16]);
    let small = Bounds { bytes: 300, ..Bounds::OURS };
    let page = |source: &Node, job: &mut Job| {
        let bytes = ask(source, small, &job.pull(Epoch(3), &digester));
        let page = RangePage::read(&bytes).unwrap();
        job.take(&puller, &page).unwrap();
        page.records.len()
    };
    let mut job = Job::new(vec![puller.part(0)]);
    let per_page = page(&source, &mut job);
    assert!(per_page < 20);
    // The connection ends, and the arc is the next round's.
    job = Job::new(job.end().2);
    page(&source, &mut job);
    assert_eq!(contents(&puller).len(), 2 * per_page);
    // Another source has other places. Nothing of it is missed.
    job = Job::new(job.end().2);
    let mut moved = 0;
    while !job.is_over() {
        moved += page(&other, &mut job);
    }
    assert_eq!(moved, source.table().unwrap().records(0));
    assert_eq!(contents(&puller).len(), moved);
}

#[test]
fn a_source_without_an_arc_costs_only_that_arc() {
    let active = Some(MemberState::Active);
    let source = at(SOURCE, [view(1, active)]);
    let puller = at(PULLER, [view(1, active), view(3, Some(MemberState::Joining))]);
    // This one has missed a view as well, and then fetched all but an arc.
    source.adopt(view(3, Some(MemberState::Joining))).unwrap();
    {
        let mut tenure = source.tenure.write();
        assert!([0, 2, 3].into_iter().all(|arc| tenure.fetched(Epoch(3), arc)));
    }
    let digester = Digester::new([9; 16]);
    let mut job = Job::new((0..ARCS).map(|arc| puller.part(arc)).collect());
    while !job.is_over() {
        let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(3), &digester));
        job.take(&puller, &RangePage::read(&bytes).unwrap()).unwrap();
    }
    let (merged, _, left) = job.end();
    assert_eq!(merged.arcs, 3);
    assert_eq!(left.iter().map(|part| part.arc).collect::<Vec<_>>(), [1]);
    assert_eq!(puller.missing().unwrap().1, [1]);
}

#[test]
fn an_arc_beyond_the_ring_has_no_source() {
    let source = at(SOURCE, [view(1, Some(MemberState::Active))]);
    let mut job = Job::new(vec![source.part(ARCS)]);
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(1), &Digester::new([1; 16])));
    assert_eq!(RangePage::read(&bytes).unwrap().end, End::NoSource);
}

#[test]
fn a_page_that_does_not_answer_its_pull_is_refused() {
    let (_, puller) = source_and_returner(&[], &[(1, 2, State::Committed)]);
    let digester = Digester::new([9; 16]);
    let arc = arc_of_key(b"k\x01", ARCS) as u16;
    let good = RangePage {
        epoch: Epoch(3),
        complete: 0,
        records: Vec::new(),
        same: Vec::new(),
        end: End::Between,
    };
    let broken: [fn(&mut RangePage<'_>, u16); 6] = [
        |_, _| {},
        |page, _| page.complete = 2,
        |page, _| page.complete = u32::MAX,
        |page, _| {
            page.complete = 1;
            page.end = End::Within(Cursor::START);
        },
        |page, arc| page.same = vec![(arc, BucketSet::none(16))],
        |page, arc| page.same = vec![(arc ^ 1, BucketSet::none(8))],
    ];
    for (i, breaks) in broken.iter().enumerate() {
        let mut job = Job::new(vec![puller.part(arc.into())]);
        job.pull(Epoch(3), &digester);
        let mut page = good.clone();
        breaks(&mut page, arc);
        assert_eq!(job.take(&puller, &page), Err(Unmerged::Nonsense), "case {i}");
    }
    assert_eq!(puller.missing().unwrap().1.len(), ARCS);
}

#[test]
fn a_snapshot_line_has_an_end_and_tells_a_long_value_by_its_size() {
    let (node, _) = source_and_returner(&[], &[]);
    let table = node.table().unwrap();
    let keep = |key: &[u8], value: &[u8]| {
        let (version, state) = (Version::plain(node.clock(), 1), State::Committed);
        let record = Record { key, version, state, body: Body::Value(value) };
        table.merge(arc_of_key(key, ARCS), [record], 0);
    };
    keep(b"large", &[b'v'; 1_000_000]);
    keep(b"seed's", &[b'v'; 1024]);
    keep(b"odd\n", b"]\x00");
    let (line, _) = snapshot(&node, 1000);
    let long = "v".repeat(1024);
    let want = format!("[large=(1000000 bytes)] [odd\\n=]\\x00] [seed\\'s={long}]");
    assert_eq!(line, format!("Store snapshot on node1: {want}"));
    // What is told of each is four times as long as it is.
    (0..900).for_each(|n| keep(format!("key{n:03}").as_bytes(), &[0; 1024]));
    let (line, is_summary) = snapshot(&node, 1000);
    assert!(line.len() <= LONGEST && !is_summary, "{}", line.len());
    assert!(line.contains(" [key000=") && line.ends_with("] and 888 keys more"));
    let (line, is_summary) = snapshot(&node, 902);
    assert!(line.starts_with("Store snapshot on node1: 903 keys, ") && is_summary, "{line}");
}

#[test]
fn c6_what_has_expired_is_neither_logged_nor_counted_and_moves_with_its_time() {
    let (source, puller) = source_and_returner(&[], &[]);
    let (table, clock) = (source.table().unwrap(), source.clock());
    let now_ms = clock >> COUNTER_BITS;
    let record = |key, body| Record {
        key,
        version: Version::plain(clock, 1),
        state: State::Committed,
        body,
    };
    let keep = |key: &'static [u8], body| {
        table.merge(arc_of_key(key, ARCS), [record(key, body)], 0);
    };
    keep(b"over", Body::Expiring(b"1", now_ms));
    keep(b"later", Body::Expiring(b"2", now_ms + 1_000_000));
    keep(b"ever", Body::Value(b"3"));
    let (line, _) = snapshot(&source, 10);
    assert_eq!(line, "Store snapshot on node1: [ever=3] [later=2]");
    assert_eq!(source.keys_in_slot(slot::slot(b"over")), 0);
    assert_eq!(source.keys_in_slot(slot::slot(b"later")), 1);
    let list = List { arcs: (0..ARCS as u16).collect(), from: 0, most: 0 };
    let mut out = Vec::new();
    source.list(&list, &mut out);
    assert_eq!(Listed::read(&out[HEADER..]).unwrap().count, 2);
    // The other finds out by itself, and nobody is told before both know.
    fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!(contents(&puller), contents(&source));
    for node in [&source, &puller] {
        assert_eq!(node.expire(), 1);
        let (version, state, body) = contents(node)[&b"over"[..]].clone();
        assert_eq!(version, Version::plain(clock, 1).expired());
        assert_eq!((state, body), (State::Pending, None));
        assert_eq!((node.expire(), node.size().keys), (0, 2));
    }
}

fn held() -> impl Strategy<Value = Held> {
    (0..60u8, 0..12u8, any::<bool>()).prop_map(|(key, number, is_pending)| {
        (key, number, if is_pending { State::Pending } else { State::Committed })
    })
}

fn many(most: usize) -> impl Strategy<Value = Vec<Held>> {
    prop::collection::vec(held(), 0..most)
}

fn committed(held: &[Held]) -> Vec<Held> {
    held.iter().map(|(key, number, _)| (*key, *number, State::Committed)).collect()
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (17usize..300, 1usize..40, 1usize..20, 5usize..80)
        .prop_map(|(bytes, records, slots, compared)| Bounds { bytes, records, slots, compared })
}

/// Writes a record to a node, as a client does.
fn put(node: &Node, held: &Held) {
    with_record(held, |Record { key, version, body, .. }| {
        let write = Write { key, version, born: node.clock(), body, expected: None };
        let batch = WriteBatch { epoch: node.report().epoch, writes: vec![write] };
        node.write(&batch).unwrap();
    });
}

/// A view in which the puller is what it is in turn: active, out, joining.
fn in_turn(epoch: u64) -> View {
    match epoch % 3 {
        0 => view(epoch, Some(MemberState::Joining)),
        1 => view(epoch, Some(MemberState::Active)),
        _ => view(epoch, None),
    }
}

/// H6: after any end of its process a folder has just what the node held, and where it was synced.
#[test]
fn h6_what_is_on_disk_is_what_the_node_held() {
    for seed in 0..12u8 {
        let dir = tempfile::tempdir().unwrap();
        let durability = if seed % 2 == 0 { Durability::Sync } else { Durability::Async };
        let mut settings = disk::Settings::new(dir.path().into());
        // A checkpoint every few writes.
        (settings.segment_bytes, settings.flush) = (1000, Duration::from_millis(1));
        let mut number = seed;
        let source = at(SOURCE, [in_turn(1)]);
        let mut epoch = 1;
        for life in 0..3 {
            // Each start of the process is another.
            let puller = blank(PULLER, 100 + life);
            let (id, incarnation) = (puller.id.clone(), puller.incarnation);
            let in_turn = |epoch| {
                let mut view = View { durability, ..in_turn(epoch) };
                let puller = view.members.iter_mut().find(|m| m.id == id);
                puller.into_iter().for_each(|m| m.incarnation = incarnation);
                view
            };
            let mut disk = Disk::open(settings.clone(), &id).unwrap();
            let puller = Arc::new(with_lease(puller.with_disk(disk.restore(incarnation))));
            puller.promised(durability);
            let journal = disk.journal().clone();
            let _running = disk.start(incarnation, puller.clone()).unwrap();
            puller.adopt(in_turn(epoch)).unwrap();
            for _ in 0..8 {
                for _ in 0..20 {
                    number = number.wrapping_mul(5).wrapping_add(7);
                    let held = (number.wrapping_mul(31) % 64, number, State::Pending);
                    put(&source, &held);
                    put(&puller, &held);
                }
                assert_on_disk(&puller, &journal, &dir);
                if puller.missing().is_some() {
                    // Sometimes only a part of it.
                    let one_arc = Bounds { records: 1, ..Bounds::OURS };
                    let check = || assert_on_disk(&puller, &journal, &dir);
                    fetch(
                        &source,
                        &puller,
                        if number % 2 == 0 { one_arc } else { Bounds::OURS },
                        check,
                    );
                }
                epoch += 1;
                source.adopt(in_turn(epoch)).unwrap();
                puller.adopt(in_turn(epoch)).unwrap();
                assert_on_disk(&puller, &journal, &dir);
            }
        }
    }
}

/// Holds that a process that ended now would leave on disk what the node holds.
fn assert_on_disk(node: &Node, journal: &Journal, dir: &tempfile::TempDir) {
    journal.settle();
    let killed = disk::tests::copy(dir);
    let folder = Folder::take(killed.path(), "node1").unwrap();
    let recovered = recover(&folder, Some(&node.id), Care::Start).unwrap();
    let report = node.report();
    let life = recovered.life.unwrap();
    assert_eq!((life.ledger.epoch(), life.is_whole), (report.epoch, true));
    let synced: Vec<usize> = life.ledger.synced().ones().collect();
    assert_eq!(synced, report.synced.ones().collect::<Vec<_>>());
    let stateless = |contents: BTreeMap<Vec<u8>, Holds>| {
        contents.into_iter().map(|(key, (v, _, value))| (key, v, value)).collect::<Vec<_>>()
    };
    let on_disk = stateless(contents_of(&life.held));
    assert_eq!(on_disk, stateless(contents(node)), "epoch {}", report.epoch);
}

/// F14: with `sync` nobody says of a record that it is held whose own disk may not have it: neither who is asked, nor who
/// asks.
#[test]
fn what_is_on_its_way_to_the_disk_is_not_known_to_be_held() {
    let sync = |view| View { durability: Durability::Sync, ..view };
    let active = || sync(view(1, Some(MemberState::Active)));
    let with_ends = |n: u16| {
        let (journal, ends) = Journal::new(None);
        let node = with_lease(blank(n, n.into()).with_disk(empty(journal)));
        node.promised(Durability::Sync);
        assert!(node.adopt(active()).unwrap());
        (node, ends)
    };
    let digester = Digester::new([7; 16]);
    let routes = Routes::new(active());
    // How many records the asker finds to be held by both.
    let confirmed = |asker: &Node, asked: &Node| {
        let arcs: Vec<usize> = (0..ARCS).collect();
        let ask = |_, pull: &RangePull<'_>, take: &mut dyn FnMut(&RangePage<'_>)| {
            let bytes = ask(asked, Bounds::OURS, pull);
            take(&RangePage::read(&bytes).unwrap());
            Ok(())
        };
        confirm(asker, &routes, &arcs, &digester, ask).committed
    };
    // The disk of one of them waits to be told; the other writes to none.
    for is_asker in [true, false] {
        let (slow, ends) = with_ends(SOURCE);
        let quick = at(PULLER, [active()]);
        let pair = |slow, quick| if is_asker { (slow, quick) } else { (quick, slow) };
        let found = || {
            let (asker, asked) = pair(&slow, &quick);
            confirmed(asker, asked)
        };
        let held = (1, 2, State::Pending);
        put(&quick, &held);
        thread::scope(|scope| {
            let writes = scope.spawn(|| put(&slow, &held));
            let ack = loop {
                let request = ends.requests.recv_timeout(Duration::from_secs(30)).unwrap();
                if let LogRequest { item: LogItem::Records(_), ack } = request {
                    break ack.unwrap();
                }
            };
            assert_eq!(found(), 0, "asks itself: {is_asker}");
            ack.send(Ok(())).unwrap();
            writes.join().unwrap();
        });
        assert_eq!(found(), 1);
        // What has expired goes to the disk without anybody waiting for it.
        let clock = slow.clock();
        let now_ms = clock >> COUNTER_BITS;
        for node in [&slow, &quick] {
            let version = Version::plain(clock, 1);
            let body = Body::Expiring(b"1", now_ms);
            let record = Record { key: b"over", version, state: State::Pending, body };
            node.table().unwrap().merge(arc_of_key(b"over", ARCS), [record], 0);
            assert_eq!(node.expire(), 1);
        }
        assert_eq!(found(), 0);
    }
}

proptest! {
    /// The simpler twin of a comparison is a copy.
    #[test]
    fn a_comparison_ends_as_a_copy_does(
        held in many(80),
        only_earlier in many(20),
        shared in any::<prop::sample::Index>(),
        written in many(10),
        bounds in bounds(),
    ) {
        // Much of it in common, as it will be, and states that differ.
        let shared = &held[..shared.index(held.len() + 1)];
        let earlier: Vec<Held> = [shared, &committed(shared), &only_earlier].concat();
        let (source, compares) = source_and_returner(&held, &earlier);
        let (_, copies) = source_and_returner(&[], &[]);
        // What this incarnation was written since the range entered its write set.
        for puller in [&compares, &copies] {
            fill(puller, &written);
        }
        let copied = fetch(&source, &copies, bounds, || {});
        let compared = fetch(&source, &compares, bounds, || {});
        prop_assert_eq!(contents(&compares), contents(&copies));
        prop_assert_eq!(compares.size(), copies.size());
        prop_assert_eq!(compared.moved + compared.kept, copied.moved);
        prop_assert_eq!(copied.kept, 0);
    }

    /// Writes go to both while one fetches from the other.
    #[test]
    fn what_is_written_meanwhile_is_not_missed(
        held in many(80),
        earlier in many(80),
        meanwhile in many(60),
        bounds in bounds(),
    ) {
        let earlier = [&held[held.len() / 2..], &earlier].concat();
        let (source, puller) = source_and_returner(&held, &earlier);
        let mut writes = meanwhile.iter();
        fetch(&source, &puller, bounds, || {
            if let Some(&(key, number, state)) = writes.next() {
                let write = (key, number, State::Pending);
                fill(&source, &[write]);
                fill(&puller, &[write]);
                if state == State::Committed {
                    // Only one of them has heard of it.
                    fill(&source, &[(key, number, state)]);
                }
            }
        });
        let (ours, theirs) = (contents(&puller), contents(&source));
        prop_assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (key, (version, state, body)) in ours {
            let (at_source, state_there, body_there) = &theirs[&key];
            prop_assert_eq!((&version, &body), (at_source, body_there));
            prop_assert!(state == State::Pending || *state_there == State::Committed);
        }
    }
}
