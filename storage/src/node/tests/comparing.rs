//! Copies and comparisons of arbitrary records, with concurrent writes.

use super::*;

fn held() -> impl Strategy<Value = TestRecord> {
    (0..60u8, 0..12u8, any::<bool>()).prop_map(|(key, number, is_pending)| {
        (key, number, if is_pending { State::Pending } else { State::Committed })
    })
}

fn many(most: usize) -> impl Strategy<Value = Vec<TestRecord>> {
    prop::collection::vec(held(), 0..most)
}

fn committed(held: &[TestRecord]) -> Vec<TestRecord> {
    held.iter().map(|(key, number, _)| (*key, *number, State::Committed)).collect()
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (17usize..300, 1usize..40, 1usize..20, 5usize..80)
        .prop_map(|(bytes, records, slots, compared)| Bounds { bytes, records, slots, compared })
}

proptest! {
    /// A copy is the simple model of a comparison.
    #[test]
    fn a_comparison_gives_the_same_result_as_a_copy(
        held in many(80),
        only_stale in many(20),
        shared in any::<prop::sample::Index>(),
        written in many(10),
        bounds in bounds(),
    ) {
        // Most records are common, as in practice, with different states.
        let shared = &held[..shared.index(held.len() + 1)];
        let stale: Vec<TestRecord> = [shared, &committed(shared), &only_stale].concat();
        let (source, compares) = source_and_returner(&held, &stale);
        let (_, copies) = source_and_returner(&[], &[]);
        // Writes to this incarnation since it is in the write set.
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
    fn writes_during_a_fetch_are_not_missed(
        held in many(80),
        stale in many(80),
        meanwhile in many(60),
        bounds in bounds(),
    ) {
        let stale = [&held[held.len() / 2..], &stale].concat();
        let (source, puller) = source_and_returner(&held, &stale);
        let mut writes = meanwhile.iter();
        fetch(&source, &puller, bounds, || {
            if let Some(&(key, number, state)) = writes.next() {
                let write = (key, number, State::Pending);
                fill(&source, &[write]);
                fill(&puller, &[write]);
                if state == State::Committed {
                    // Only one of them learns of the commit.
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
