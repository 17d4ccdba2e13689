//! Stale records (rule H3).

use super::*;

#[test]
fn h3_stale_records_are_never_shown() {
    use State::Pending;
    let stale = [(1, 2, Pending), (2, 2, State::Committed), (3, 4, Pending)];
    let (source, puller) = source_and_returner(&[], &stale);
    assert_eq!(puller.size(), Size::default());
    assert_eq!(puller.report().keys, 0);
    for key in 1..=3 {
        assert_eq!(read(&puller, 3, false, &[b'k', key]), "Syncing");
        assert_eq!(read(&puller, 3, true, &[b'k', key]), "BlindAbsent");
        // As a source.
        let (arc, epoch) = (arc_of_key(&[b'k', key], ARCS), Epoch(3));
        let mut job = FetchJob::new(vec![source.arc_fetch(arc)]);
        let bytes = ask(&puller, Bounds::OURS, &job.pull(epoch, &Digester::new([1; 16])));
        let page = RangePage::read(&bytes).unwrap();
        assert_eq!((page.end, page.records.len(), page.complete), (PageEnd::NoSource, 0, 0));
    }
    // Nor are they finished, now or after the source has answered that it lacks them.
    assert!(puller.settle(10).is_none());
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!(merged, Merged { arcs: ARCS, ..Merged::default() });
    assert_eq!(contents(&puller), BTreeMap::new());
    assert!((0..ARCS).all(|arc| puller.stale_cache.get(arc).is_none()), "all are dropped");
}

#[test]
fn h3_only_differing_buckets_move() {
    let all: Vec<TestRecord> = (0..250).map(|key| (key, key, State::Committed)).collect();
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
fn h3_the_cache_is_freed_arc_by_arc() {
    let held: Vec<TestRecord> = (0..200).map(|key| (key, 2, State::Committed)).collect();
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
fn h3_a_fetched_record_has_the_state_it_has_at_the_source() {
    let stale: Vec<TestRecord> = (0..50).map(|key| (key, 2, State::Committed)).collect();
    let held: Vec<TestRecord> = (0..50).map(|key| (key, 2, State::Pending)).collect();
    let (source, puller) = source_and_returner(&held, &stale);
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (50, 0));
    assert!(contents(&puller).values().all(|(_, state, _)| *state == State::Pending));
    // And vice versa.
    let (source, puller) = source_and_returner(&stale, &held);
    let merged = fetch(&source, &puller, Bounds::OURS, || {});
    assert_eq!((merged.moved, merged.kept), (0, 50));
    assert!(contents(&puller).values().all(|(_, state, _)| *state == State::Committed));
}

#[test]
fn a_stale_arc_is_cached_while_it_may_be_useful() {
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
