//! Pages: when they count, and where an arc continues.

use super::*;

#[test]
fn r2_a_page_counts_only_under_its_epoch() {
    let held: Vec<TestRecord> = (0..50).map(|key| (key, 2, State::Committed)).collect();
    let (source, puller) = source_and_returner(&held, &held);
    let digester = Digester::new([9; 16]);
    let mut job = FetchJob::new((0..ARCS).map(|arc| puller.arc_fetch(arc)).collect());
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(3), &digester));
    let page = RangePage::read(&bytes).unwrap();
    assert_eq!(page.complete as usize, ARCS);
    puller.adopt(view(4, Some(MemberState::Joining))).unwrap();
    assert_eq!(job.take(&puller, &page), Err(MergeError::OtherView));
    assert_eq!(contents(&puller), BTreeMap::new());
    assert_eq!(puller.missing().unwrap().1.len(), ARCS);
    // The source has not adopted the view yet, and answers accordingly.
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(4), &digester));
    let page = RangePage::read(&bytes).unwrap();
    assert_eq!((page.epoch, page.end), (Epoch(3), PageEnd::NoSource));
    source.adopt(view(4, Some(MemberState::Joining))).unwrap();
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (0, 50), "the cache is there for the next try");
    assert_eq!(contents(&puller), contents(&source));
}

#[test]
fn an_arc_resumes_at_the_same_source_and_restarts_at_another() {
    let held: Vec<TestRecord> = (0..200).map(|key| (key, 2, State::Committed)).collect();
    let (source, puller) = source_and_returner(&held, &[]);
    let (other, _) = source_and_returner(&held, &[]);
    let digester = Digester::new([9; 16]);
    let small = Bounds { bytes: 300, ..Bounds::OURS };
    let page = |source: &Node, job: &mut FetchJob| {
        let bytes = ask(source, small, &job.pull(Epoch(3), &digester));
        let page = RangePage::read(&bytes).unwrap();
        job.take(&puller, &page).unwrap();
        page.records.len()
    };
    let mut job = FetchJob::new(vec![puller.arc_fetch(0)]);
    let per_page = page(&source, &mut job);
    assert!(per_page < 20);
    // The connection ends, and the next round continues the arc.
    job = FetchJob::new(job.end().2);
    page(&source, &mut job);
    assert_eq!(contents(&puller).len(), 2 * per_page);
    // Another source has other places. Nothing is missed.
    job = FetchJob::new(job.end().2);
    let mut moved = 0;
    while !job.is_over() {
        moved += page(&other, &mut job);
    }
    assert_eq!(moved, source.table().unwrap().records(0));
    assert_eq!(contents(&puller).len(), moved);
}

#[test]
fn a_source_that_lacks_an_arc_delays_only_that_arc() {
    let active = Some(MemberState::Active);
    let source = at(SOURCE, [view(1, active)]);
    let puller = at(PULLER, [view(1, active), view(3, Some(MemberState::Joining))]);
    // The source has missed a view as well, and then fetched all but one arc.
    source.adopt(view(3, Some(MemberState::Joining))).unwrap();
    {
        let mut holdings = source.holdings.write();
        assert!([0, 2, 3].into_iter().all(|arc| holdings.fetched(Epoch(3), arc)));
    }
    let digester = Digester::new([9; 16]);
    let mut job = FetchJob::new((0..ARCS).map(|arc| puller.arc_fetch(arc)).collect());
    while !job.is_over() {
        let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(3), &digester));
        job.take(&puller, &RangePage::read(&bytes).unwrap()).unwrap();
    }
    let (merged, _, left) = job.end();
    assert_eq!(merged.arcs, 3);
    assert_eq!(left.iter().map(|fetch| fetch.arc).collect::<Vec<_>>(), [1]);
    assert_eq!(puller.missing().unwrap().1, [1]);
}

#[test]
fn an_arc_beyond_the_ring_has_no_source() {
    let source = at(SOURCE, [view(1, Some(MemberState::Active))]);
    let mut job = FetchJob::new(vec![source.arc_fetch(ARCS)]);
    let bytes = ask(&source, Bounds::OURS, &job.pull(Epoch(1), &Digester::new([1; 16])));
    assert_eq!(RangePage::read(&bytes).unwrap().end, PageEnd::NoSource);
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
        end: PageEnd::Between,
    };
    let broken: [fn(&mut RangePage<'_>, u16); 6] = [
        |_, _| {},
        |page, _| page.complete = 2,
        |page, _| page.complete = u32::MAX,
        |page, _| {
            page.complete = 1;
            page.end = PageEnd::Within(Cursor::START);
        },
        |page, arc| page.same = vec![(arc, BucketSet::none(16))],
        |page, arc| page.same = vec![(arc ^ 1, BucketSet::none(8))],
    ];
    for (i, breaks) in broken.iter().enumerate() {
        let mut job = FetchJob::new(vec![puller.arc_fetch(arc.into())]);
        job.pull(Epoch(3), &digester);
        let mut page = good.clone();
        breaks(&mut page, arc);
        assert_eq!(job.take(&puller, &page), Err(MergeError::Malformed), "case {i}");
    }
    assert_eq!(puller.missing().unwrap().1.len(), ARCS);
}
