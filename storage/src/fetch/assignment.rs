//! Assigns arcs to sources.

/// Assigns each arc to the one of its possible sources that has the fewest so far, so that all
/// sources work in parallel with similar loads. Arcs without a source are left out.
pub fn assign(arcs: &[usize], sources: impl Fn(usize) -> Vec<u16>) -> Vec<(u16, Vec<usize>)> {
    let mut assigned: Vec<(u16, Vec<usize>)> = Vec::new();
    for &arc in arcs {
        let burden = |source: &u16| {
            assigned.iter().find(|(who, _)| who == source).map_or(0, |(_, arcs)| arcs.len())
        };
        let Some(source) = sources(arc).into_iter().min_by_key(burden) else { continue };
        match assigned.iter_mut().find(|(who, _)| *who == source) {
            Some((_, arcs)) => arcs.push(arc),
            None => assigned.push((source, vec![arc])),
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arc_goes_to_the_least_burdened_of_its_sources() {
        let sources: [&[u16]; 6] = [&[1, 2], &[1, 2], &[1], &[3, 1], &[], &[2, 1]];
        let assigned = assign(&[0, 1, 2, 3, 4, 5], |arc| sources[arc].to_vec());
        assert_eq!(assigned, [(1, vec![0, 2]), (2, vec![1, 5]), (3, vec![3])]);
    }

    #[test]
    fn no_source_has_much_more_than_another() {
        // Like the replicas on a ring of many arcs: neighbours in a walk.
        let arcs: Vec<usize> = (0..1000).collect();
        let assigned =
            assign(&arcs, |arc| vec![(arc * 7 % 10) as u16, (arc * 7 % 10 + 1) as u16 % 10]);
        for (source, arcs) in &assigned {
            assert!((95..=105).contains(&arcs.len()), "{source} has {}", arcs.len());
        }
        assert_eq!(assigned.len(), 10);
    }
}
