//! Transfers between two nodes without sockets: the bytes are passed directly.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use client::GTStoreClient;
use cluster::durability::Durability;
use cluster::ids::{Address, ManagerIncarnation};
use cluster::limits::Limits;
use cluster::replica::State;
use cluster::ring::arc_of_key;
use cluster::version::{COUNTER_BITS, Version};
use cluster::view::{Member, MemberState, View};
use net_common::frame::HEADER;
use net_common::message::Message;
use net_common::message::data::{Body, ReadBatch, ReadReply, Record, Write, WriteBatch};
use net_common::message::list::{List, Listed};
use net_common::message::range::{BucketSet, Cursor, PageEnd, RangePage, RangePull};
use proptest::prelude::*;

use super::merge::{MergeError, Merged};
use super::notes::Notes;
use super::page::Bounds;
use super::views::NotFollowed;
use super::*;
use crate::disk::entry::{self, LogEntry};
use crate::disk::folder::Folder;
use crate::disk::journal::{LogItem, LogRequest, WriterEnds};
use crate::disk::recovery::{DamagePolicy, recover};
use crate::disk::{self, Disk};
use crate::fetch::confirm::confirm;
use crate::fetch::digest::Digester;
use crate::fetch::job::FetchJob;
use crate::redis::batch::Batch;
use crate::snapshot_log::{LONGEST, snapshot};
use resp::command::Command;
use resp::reply::{Protocol, Replies};
use resp::request::Requests;
use resp::{lookup, request};

mod comparing;
mod data_folder;
mod durability;
mod fetching;
mod following;
mod reading;
mod stale;

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

/// Both nodes are replicas of everything, and the source is the primary of every arc.
fn view(epoch: u64, puller: Option<MemberState>) -> View {
    let mut members = vec![member(SOURCE, MemberState::Active)];
    members.extend(puller.map(|state| member(PULLER, state)));
    // If the puller serves it owns one arc, and so is a replica of all.
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
    View { coming: to_come.map(|arcs| view.with_assignment(arcs)), ..view }
}

fn blank(n: u16, incarnation: u64) -> Node {
    let id = NodeId::new(&format!("node{n}")).unwrap();
    Node::new(id, Incarnation(incarnation), Notes::channel().0)
}

/// The state from an empty data folder.
fn empty(journal: Journal) -> Restored {
    Restored { journal, recovered: None, starts: Vec::new(), anchor: None }
}

fn with_lease(node: Node) -> Node {
    node.note_active(Epoch(9));
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

/// A synced source, and a puller that has to fetch everything and has stale records from before it
/// was dropped from the view.
fn source_and_returner(held: &[TestRecord], stale: &[TestRecord]) -> (Node, Node) {
    let active = Some(MemberState::Active);
    let source = at(SOURCE, [view(1, active), view(2, None)]);
    fill(&source, held);
    let puller = at(PULLER, [view(1, active)]);
    fill(&puller, stale);
    for node in [&source, &puller] {
        assert!(node.adopt(view(3, Some(MemberState::Joining))).unwrap());
    }
    (source, puller)
}

/// A record: its key, a number that determines its version and body, and its state.
type TestRecord = (u8, u8, State);

/// Equal versions always have equal bytes.
fn with_record<T>(held: &TestRecord, with: impl FnOnce(Record<'_>) -> T) -> T {
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

fn fill(node: &Node, held: &[TestRecord]) {
    let table = node.table().unwrap();
    for held in held {
        with_record(held, |record| table.merge(arc_of_key(record.key, ARCS), [record], 0));
    }
}

/// A record of a node, without its key.
type Holds = (Version, State, Option<Vec<u8>>);

/// All records of a node's table, by key.
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
    let mut job = FetchJob::new(missing.into_iter().map(|arc| puller.arc_fetch(arc)).collect());
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

fn read(node: &Node, epoch: u64, is_fence: bool, key: &[u8]) -> String {
    let batch = ReadBatch { epoch: Epoch(epoch), keys: vec![key] };
    let mut out = Vec::new();
    if is_fence {
        node.fence(&batch, &mut out)
    } else {
        node.read(&batch, &mut out)
    }
    format!("{:?}", ReadReply::read(&out).unwrap().answers[0])
}
