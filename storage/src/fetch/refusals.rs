//! Sources that lack arcs, under one view.
//!
//! A source that refuses an arc, is silent or is dead is not asked for it again while there are
//! others to ask. When no source is left, the list of the arc starts over: a member may have become
//! a source meanwhile.

use fxhash::FxHashSet;

/// Arcs, each with the place of a member that did not send it.
#[derive(Default)]
pub struct Refusals(FxHashSet<(usize, u16)>);

impl Refusals {
    /// Notes that the member at a place has not sent an arc.
    pub fn note(&mut self, arc: usize, place: u16) {
        self.0.insert((arc, place));
    }

    /// Whether the member at a place may have an arc.
    pub fn may_have(&self, arc: usize, place: u16) -> bool {
        !self.0.contains(&(arc, place))
    }

    /// Forgets all of them, since another view is in force.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the refusals of arcs without a source left. Returns whether any other arc has one
    /// left.
    pub fn begin_anew(
        &mut self,
        missing: &[usize],
        is_left: impl Fn(&Refusals, usize) -> bool,
    ) -> bool {
        let (others, exhausted): (Vec<usize>, Vec<usize>) =
            missing.iter().partition(|&&arc| is_left(self, arc));
        self.0.retain(|(arc, _)| exhausted.binary_search(arc).is_err());
        !others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::assignment::assign;
    use super::*;

    /// The sources that a fetcher asks for these arcs, round after round, if all of them refuse.
    fn asked(sources: &[&[u16]], rounds: usize) -> Vec<Vec<(u16, Vec<usize>)>> {
        let arcs: Vec<usize> = (0..sources.len()).collect();
        let mut refusals = Refusals::default();
        let left = |refusals: &Refusals, arc: usize| -> Vec<u16> {
            sources[arc].iter().copied().filter(|&place| refusals.may_have(arc, place)).collect()
        };
        let round = |_| {
            let assigned = assign(&arcs, |arc| left(&refusals, arc));
            for (source, arcs) in &assigned {
                arcs.iter().for_each(|&arc| refusals.note(arc, *source));
            }
            refusals.begin_anew(&arcs, |refusals, arc| !left(refusals, arc).is_empty());
            assigned
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn a_refusing_source_is_asked_again_only_after_all_others() {
        let of_one = |place: u16| vec![(place, vec![0])];
        assert_eq!(asked(&[&[1, 2]], 4), [of_one(1), of_one(2), of_one(1), of_one(2)]);
        // An arc with one source is asked for in every round; the other one continues meanwhile.
        let rounds = asked(&[&[1], &[1, 2, 3]], 3);
        let of_the_other = |round: &Vec<(u16, Vec<usize>)>| {
            round.iter().find(|(_, arcs)| arcs.contains(&1)).map(|(source, _)| *source)
        };
        let mut all: Vec<u16> = rounds.iter().filter_map(of_the_other).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert!(rounds.iter().flatten().all(|(source, arcs)| *source == 1 || !arcs.contains(&0)));
    }

    #[test]
    fn it_reports_whether_a_source_is_left() {
        let mut refusals = Refusals::default();
        refusals.note(0, 1);
        refusals.note(1, 1);
        let is_left = |refusals: &Refusals, arc: usize| arc == 1 || refusals.may_have(arc, 1);
        assert!(refusals.begin_anew(&[0, 1], is_left));
        assert!(refusals.may_have(0, 1) && !refusals.may_have(1, 1));
        assert!(!refusals.begin_anew(&[], is_left));
    }
}
