//! Reads, snapshot lines and counts of a node's keys.

use super::*;

#[test]
fn a_local_read_returns_synced_and_committed_records() {
    let active = Some(MemberState::Active);
    let seen = |node: &Node, key: u8| {
        let shown = |held: Option<(&[u8], Option<u64>)>| held.map(|(value, _)| value.to_vec());
        node.read_local(|read| read.key(&[b'k', key], shown))
    };
    let holder = at(SOURCE, [view(1, active)]);
    fill(&holder, &[(1, 6, State::Committed), (2, 6, State::Pending), (3, 10, State::Committed)]);
    assert_eq!(seen(&holder, 1), Some(Some(vec![6; 6])));
    assert_eq!(seen(&holder, 2), None, "a write-back may be due");
    assert_eq!(seen(&holder, 3), Some(None), "a tombstone");
    assert_eq!(seen(&holder, 4), Some(None), "never there");
    let beyond = |node: &Node| node.read_local(|read| read.key(&[7; 21], |held| held.is_none()));
    assert_eq!(beyond(&holder), Some(true), "a key beyond the limits does not exist");
    assert!(holder.read_local(|read| read.limits()).is_some());
    let mut buffer = b"get k\x01\nget k\x04\n".to_vec();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &request::Limits::AUTHENTICATED).unwrap();
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
    assert_eq!(
        out, b"$6\r\n\x06\x06\x06\x06\x06\x06\r\n$-1\r\n",
        "a Redis connection reads here first"
    );

    holder.give_up_lease();
    assert_eq!(seen(&holder, 1), None);
    assert_eq!(beyond(&holder), None, "there may be a newer view, with longer keys");
    assert_eq!(holder.read_local(|read| read.limits()), None);
    let joiner = at(PULLER, [view(3, Some(MemberState::Joining))]);
    assert_eq!(seen(&joiner, 1), None, "it has yet to fetch");
    assert_eq!(seen(&node(SOURCE), 1), None, "it has seen no view");
}

#[test]
fn a_snapshot_line_is_bounded_and_shows_a_long_value_by_its_size() {
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
    // Each value is logged at four times its length, since it is escaped.
    (0..900).for_each(|n| keep(format!("key{n:03}").as_bytes(), &[0; 1024]));
    let (line, is_summary) = snapshot(&node, 1000);
    assert!(line.len() <= LONGEST && !is_summary, "{}", line.len());
    assert!(line.contains(" [key000=") && line.ends_with("] and 888 keys more"));
    let (line, is_summary) = snapshot(&node, 902);
    assert!(line.starts_with("Store snapshot on node1: 903 keys, ") && is_summary, "{line}");
}

#[test]
fn c6_expired_values_are_neither_logged_nor_counted_and_move_with_their_time() {
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
    // The other node expires the value by itself; until both have, no client learns of it.
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
