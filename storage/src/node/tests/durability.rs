//! What is logged, and which records count as being on the disk.

use super::*;

/// The keys of the records that a writer receives, while it acknowledges everything.
fn keys_handed_in(ends: &WriterEnds) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for LogRequest { item, ack } in &ends.requests {
        if let LogItem::Records(buffer) = item {
            for entry in entry::decode(&buffer, ARCS).unwrap() {
                let LogEntry::Records(_, records) = entry else { panic!("no records") };
                keys.extend(records.map(|record| record.unwrap().key.to_vec()));
            }
        }
        ack.into_iter().for_each(|ack| ack.send(Ok(())).unwrap());
    }
    keys.sort();
    keys
}

#[test]
fn async_does_not_log_what_another_thread_handed_in() {
    use State::{Committed, Pending};
    let (source, _) = source_and_returner(&[1, 2, 3, 4, 5].map(|key| (key, 4, Committed)), &[]);
    for (durability, want) in [
        // New, pending in the same version, older; but not those that met a committed record of the
        // same version or a newer one.
        (Durability::Async, vec![b"k\x01", b"k\x02", b"k\x03"]),
        (Durability::Sync, vec![b"k\x01", b"k\x02", b"k\x03", b"k\x04", b"k\x05"]),
    ] {
        let (journal, ends) = Journal::new(None);
        let puller = with_lease(blank(PULLER, PULLER.into()).with_disk(empty(journal)));
        puller.set_durability(durability);
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

/// Writes a record to a node as a client does.
fn put(node: &Node, held: &TestRecord) {
    with_record(held, |Record { key, version, body, .. }| {
        let write = Write { key, version, born: node.clock(), body, expected: None };
        let batch = WriteBatch { epoch: node.report().epoch, writes: vec![write] };
        node.write(&batch).unwrap();
    });
}

/// A view in which the puller is, in turn, active, out or joining.
fn in_turn(epoch: u64) -> View {
    match epoch % 3 {
        0 => view(epoch, Some(MemberState::Joining)),
        1 => view(epoch, Some(MemberState::Active)),
        _ => view(epoch, None),
    }
}

/// H6: whenever the process is killed, the folder has exactly the node's records and its synced
/// arcs.
#[test]
fn h6_the_disk_has_what_the_node_held() {
    for seed in 0..12u8 {
        let dir = tempfile::tempdir().unwrap();
        let durability = if seed % 2 == 0 { Durability::Sync } else { Durability::Async };
        let mut settings = disk::DiskSettings::new(dir.path().into());
        // A checkpoint every few writes.
        (settings.segment_bytes, settings.flush) = (1000, Duration::from_millis(1));
        let mut number = seed;
        let source = at(SOURCE, [in_turn(1)]);
        let mut epoch = 1;
        for n in 0..3 {
            // Each start of the process is another incarnation.
            let puller = blank(PULLER, 100 + n);
            let (id, incarnation) = (puller.id.clone(), puller.incarnation);
            let in_turn = |epoch| {
                let mut view = View { durability, ..in_turn(epoch) };
                let puller = view.members.iter_mut().find(|m| m.id == id);
                puller.into_iter().for_each(|m| m.incarnation = incarnation);
                view
            };
            let mut disk = Disk::open(settings.clone(), &id).unwrap();
            let puller = Arc::new(with_lease(puller.with_disk(disk.restore(incarnation))));
            puller.set_durability(durability);
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
                    // Sometimes only a part of the missing arcs.
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

/// Asserts that a process killed now would leave the node's records on disk.
fn assert_on_disk(node: &Node, journal: &Journal, dir: &tempfile::TempDir) {
    journal.settle();
    let killed = data_folder::copy(dir);
    let folder = Folder::take(killed.path(), "node1").unwrap();
    let recovered = recover(&folder, Some(&node.id), DamagePolicy::Start).unwrap();
    let report = node.report();
    let recovered = recovered.recovered.unwrap();
    assert_eq!((recovered.ledger.epoch(), recovered.is_whole), (report.epoch, true));
    let synced: Vec<usize> = recovered.ledger.synced().ones().collect();
    assert_eq!(synced, report.synced.ones().collect::<Vec<_>>());
    let stateless = |contents: BTreeMap<Vec<u8>, Holds>| {
        contents.into_iter().map(|(key, (v, _, value))| (key, v, value)).collect::<Vec<_>>()
    };
    let on_disk = stateless(contents_of(&recovered.records));
    assert_eq!(on_disk, stateless(contents(node)), "epoch {}", report.epoch);
}

/// F14: with `sync` a record counts as held only if the node's own disk has it: at the node that is
/// asked, and at the one that asks.
#[test]
fn a_record_on_its_way_to_the_disk_is_not_reported_as_held() {
    let sync = |view| View { durability: Durability::Sync, ..view };
    let active = || sync(view(1, Some(MemberState::Active)));
    let with_ends = |n: u16| {
        let (journal, ends) = Journal::new(None);
        let node = with_lease(blank(n, n.into()).with_disk(empty(journal)));
        node.set_durability(Durability::Sync);
        assert!(node.adopt(active()).unwrap());
        (node, ends)
    };
    let digester = Digester::new([7; 16]);
    let routes = Routes::new(active());
    // The number of records that the asker finds at both.
    let confirmed = |asker: &Node, asked: &Node| {
        let arcs: Vec<usize> = (0..ARCS).collect();
        let ask = |_, pull: &RangePull<'_>, take: &mut dyn FnMut(&RangePage<'_>)| {
            let bytes = ask(asked, Bounds::OURS, pull);
            take(&RangePage::read(&bytes).unwrap());
            Ok(())
        };
        confirm(asker, &routes, &arcs, &digester, ask).committed
    };
    // The disk of one of them waits for the test; the other has no disk.
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
        // Nobody waits until the tombstone of an expired value is on the disk.
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
