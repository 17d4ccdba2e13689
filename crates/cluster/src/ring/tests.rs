//! The ring against a simpler implementation, and bounds on its imbalance and on moved arcs.

use super::*;
use proptest::prelude::*;

fn names(n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("node{i}")).collect()
}

fn participants(names: &[String]) -> Vec<Participant<'_>> {
    names.iter().map(|name| Participant { name, weight: 1 }).collect()
}

/// A ring grown by joins, one at a time, as a cluster grows.
fn grown(n: usize, arcs: usize) -> Vec<u16> {
    let names = names(n);
    let mut owners = vec![None; arcs];
    for have in 1..=n {
        owners = assign(&owners, &participants(&names[..have])).into_iter().map(Some).collect();
    }
    owners.into_iter().map(Option::unwrap).collect()
}

fn max_over_mean(counts: &[usize]) -> f64 {
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    *counts.iter().max().unwrap() as f64 / mean
}

fn key_counts(owners: &[u16], nodes: usize, copies: usize, keys: usize) -> Vec<usize> {
    let table = walk(owners, copies);
    let width = copies_of(owners, copies);
    let mut counts = vec![0; nodes];
    for key in 0..keys {
        let arc = arc_of_key(format!("lb_key_{key}").as_bytes(), owners.len());
        for &m in &table[arc * width..(arc + 1) * width] {
            counts[usize::from(m)] += 1;
        }
    }
    counts
}

#[test]
fn seven_nodes_share_100_000_keys_evenly() {
    for owners in [grown(7, DEFAULT_ARCS), assign(&[None; DEFAULT_ARCS], &participants(&names(7)))]
    {
        let first = max_over_mean(&key_counts(&owners, 7, 1, 100_000));
        assert!(first <= 1.03, "first copies: {first}");
        let three = max_over_mean(&key_counts(&owners, 7, 3, 100_000));
        assert!(three <= 1.05, "three copies: {three}");
    }
}

#[test]
fn copies_stay_even_for_many_sizes() {
    for nodes in [6, 8, 9, 12, 16] {
        let counts = key_counts(&grown(nodes, DEFAULT_ARCS), nodes, 3, 50_000);
        let ratio = max_over_mean(&counts);
        assert!(ratio <= 1.06, "{nodes} nodes: {ratio} {counts:?}");
    }
}

#[test]
fn arcs_of_slots_are_equal_and_in_order() {
    for arcs in [1, 2, 1024, 4096, 16_384] {
        let mut sizes = vec![0; arcs];
        let mut last = 0;
        for slot in 0..SLOTS {
            let arc = arc_of_slot(slot, arcs);
            assert!(arc >= last);
            last = arc;
            sizes[arc] += 1;
        }
        assert!(sizes.iter().all(|&s| s == usize::from(SLOTS) / arcs));
    }
    assert!(!is_arc_count(3) && !is_arc_count(0) && !is_arc_count(32_768));
}

#[test]
fn neighbouring_arcs_are_one_run_of_slots() {
    assert_eq!(slot_runs(&[0, 1, 3], 4096), [(0, 7), (12, 15)]);
    assert_eq!(slot_runs(&[16_383], 16_384), [(16_383, 16_383)]);
    assert_eq!(slot_runs(&[], 0), []);
}

#[test]
fn golden_assignment() {
    // Saved views outlive a manager's version: a change here would reshuffle existing clusters.
    assert_eq!(grown(3, 16), [1, 2, 0, 1, 2, 1, 1, 2, 0, 1, 0, 0, 0, 2, 0, 2]);
}

#[test]
fn without_weight_the_assignment_is_empty() {
    assert!(assign(&[None; 8], &[]).is_empty());
    assert!(assign(&[None; 8], &[Participant { name: "a", weight: 0 }]).is_empty());
    assert!(fall(&[0, 0], &[true]).is_empty());
}

/// The walk as `docs/protocol.md` defines it: a linear scan.
fn scan(owners: &[u16], arc: usize, copies: usize) -> Vec<u16> {
    let mut found = Vec::new();
    for step in 0..owners.len() {
        let owner = owners[(arc + step) % owners.len()];
        if !found.contains(&owner) && found.len() < copies {
            found.push(owner);
        }
    }
    found
}

proptest! {
    #[test]
    fn the_walk_agrees_with_a_linear_scan(
        owners in prop::collection::vec(0u16..9, 1..80),
        copies in 1usize..12,
    ) {
        let table = walk(&owners, copies);
        let width = copies_of(&owners, copies);
        for arc in 0..owners.len() {
            prop_assert_eq!(&table[arc * width..(arc + 1) * width], &scan(&owners, arc, copies)[..]);
        }
    }

    #[test]
    fn an_assignment_is_even_by_weight_and_moves_the_least(
        before in prop::collection::vec(prop::option::of(0u16..6), 64..65),
        weights in prop::collection::vec(0u32..4, 6..7),
    ) {
        prop_assume!(weights.iter().any(|&w| w > 0));
        let names = names(6);
        let participants: Vec<Participant<'_>> =
            names.iter().zip(&weights).map(|(name, &weight)| Participant { name, weight }).collect();
        let after = assign(&before, &participants);
        let total: u32 = weights.iter().sum();
        let held = count(&before, 6);
        let (mut moved, mut least) = (0, 0);
        for node in 0..6u16 {
            let have = after.iter().filter(|&&o| o == node).count();
            let exact = 64.0 * f64::from(weights[usize::from(node)]) / f64::from(total);
            prop_assert!((have as f64 - exact).abs() < 1.0, "{} of {}", have, exact);
            least += held[usize::from(node)].saturating_sub(have);
        }
        for (arc, owner) in before.iter().enumerate() {
            if owner.is_some_and(|o| o != after[arc]) {
                moved += 1;
            }
        }
        prop_assert_eq!(moved, least);
    }

}

proptest! {
    // Growing a ring is slow in a debug build, and little varies but the sizes.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_join_takes_its_share_and_nothing_moves_between_old_nodes(nodes in 1usize..40) {
        let before = grown(nodes, DEFAULT_ARCS);
        let names = names(nodes + 1);
        let present: Vec<Option<u16>> = before.iter().copied().map(Some).collect();
        let after = assign(&present, &participants(&names));
        let mut moved = 0;
        for (old, new) in before.iter().zip(&after) {
            if old != new {
                prop_assert_eq!(usize::from(*new), nodes, "only the newcomer gains");
                moved += 1;
            }
        }
        prop_assert!(moved as f64 <= 1.1 * DEFAULT_ARCS as f64 / (nodes + 1) as f64);
    }

}

proptest! {
    #[test]
    fn arcs_of_the_dead_fall_to_nodes_that_hold_them(
        owners in prop::collection::vec(0u16..6, 1..60),
        gone in prop::collection::vec(any::<bool>(), 6..7),
    ) {
        let fallen = fall(&owners, &gone);
        let survivors: Vec<u16> =
            owners.iter().copied().filter(|&o| !gone[usize::from(o)]).collect();
        prop_assert_eq!(fallen.is_empty(), survivors.is_empty());
        for arc in 0..fallen.len() {
            let replacements: Vec<u16> = scan(&owners, arc, 6)
                .into_iter()
                .filter(|&o| !gone[usize::from(o)])
                .collect();
            prop_assert_eq!(fallen[arc], replacements[0]);
            // The whole list of survivors keeps its order, so a replica stays one.
            prop_assert_eq!(scan(&fallen, arc, 6), replacements);
        }
    }
}
