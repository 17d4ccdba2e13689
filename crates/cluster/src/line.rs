//! The line of views: which manager made which of them.
//!
//! A manager that starts from an older copy of its folder makes views with numbers that others have had before. So the
//! number alone does not tell what a node has seen. Each start of a manager is a *life*, 64 random bits, and each view
//! names the lives that made the views up to it. A view is then told by its number and by who made it
//! ([`ViewName`]), and whoever has seen one can look whether it lies on another's line: the manager, of what a node has
//! seen, and a node, of what a manager gives it. Random, and not a count: two managers that go on from the same
//! copy would count alike.
//!
//! A line may *leap*: where the operator goes on although views are lost, the next one gets a number far above whatever
//! anybody may have seen, so that no two views with one number are ever in use. What has been seen in between is given
//! up for good.
//!
//! Invariants: stretches are in order, each begins above the view before it, and that is of the stretch before or of one
//! that is forgotten.

use crate::ids::{Epoch, ManagerIncarnation};

/// Stretches that are kept, the newest. Each is 24 bytes in every view, and begins with the first view that a start of
/// the manager makes. What came before is forgotten: of these views the number alone is compared.
pub const MAX_STRETCHES: usize = 64;

/// How far the number leaps where views are lost: a manager would make a view a second for twelve days to get there.
pub const LEAP: u64 = 1_000_000;

/// Which view this is, whatever managers there have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewName {
    /// Its number.
    pub epoch: Epoch,
    /// Who made it.
    pub life: ManagerIncarnation,
}

/// Views that one life of a manager made, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// The first of them.
    pub first: Epoch,
    /// The view before that.
    pub before: Epoch,
    /// Who made them.
    pub life: ManagerIncarnation,
}

impl Stretch {
    fn leaps(&self) -> bool {
        self.first > self.before.next()
    }
}

/// Who made the views up to one. The last stretch may begin above that one: it says how the next is numbered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Line(Vec<Stretch>);

impl Line {
    /// One that came from a file or a peer. `None` if it is none.
    pub fn new(stretches: Vec<Stretch>) -> Option<Line> {
        let begins = stretches.iter().all(|stretch| stretch.first > stretch.before);
        let follow = stretches.windows(2).all(|pair| pair[0].first <= pair[1].before);
        (begins && follow && stretches.len() <= MAX_STRETCHES).then_some(Line(stretches))
    }

    /// Its stretches, in order.
    pub fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// How many stretches begin with this view or before it.
    fn begun(&self, epoch: Epoch) -> usize {
        self.0.partition_point(|stretch| stretch.first <= epoch)
    }

    /// The view before one.
    pub fn before(&self, epoch: Epoch) -> Epoch {
        let begins = self.0.iter().find(|stretch| stretch.first == epoch);
        begins.map_or(Epoch(epoch.0.saturating_sub(1)), |stretch| stretch.before)
    }

    /// The number of the view after one that is the newest.
    pub fn next(&self, newest: Epoch) -> Epoch {
        let to_begin = self.0.last().filter(|stretch| stretch.first > newest);
        to_begin.map_or(newest.next(), |stretch| stretch.first)
    }

    /// Who made a view; unknown where that is forgotten.
    pub fn maker(&self, epoch: Epoch) -> ManagerIncarnation {
        let stretch = self.begun(epoch).checked_sub(1).map(|at| self.0[at]);
        stretch.map_or(ManagerIncarnation::UNKNOWN, |stretch| stretch.life)
    }

    /// Whether a view lies on it.
    pub fn has(&self, view: ViewName) -> bool {
        let (maker, unknown) = (self.maker(view.epoch), ManagerIncarnation::UNKNOWN);
        // Beyond a leap's begin there is nothing up to its end.
        let is_over = self.0.get(self.begun(view.epoch)).is_some_and(|s| s.before < view.epoch);
        !is_over && (maker == view.life || maker == unknown || view.life == unknown)
    }

    /// Whether a view that does not lie on it was given up with a leap.
    pub fn has_given_up(&self, view: ViewName) -> bool {
        !self.has(view)
            && self.0.iter().any(|stretch| stretch.leaps() && view.epoch < stretch.first)
    }

    /// Notes that a view was made after another, by `life`.
    pub fn made(&mut self, view: Epoch, before: Epoch, life: ManagerIncarnation) {
        match self.0.last_mut() {
            Some(last) if last.first == view => last.life = life,
            Some(last) if last.life == life && view == before.next() => {}
            _ => self.push(Stretch { first: view, before, life }),
        }
    }

    /// Has the view after the newest be numbered far above it.
    pub fn leap(&mut self, newest: Epoch, life: ManagerIncarnation) {
        self.push(Stretch { first: Epoch(newest.0.saturating_add(LEAP)), before: newest, life });
    }

    fn push(&mut self, stretch: Stretch) {
        // One that was to begin and never did.
        self.0.retain(|old| old.first <= stretch.before);
        if self.0.len() == MAX_STRETCHES {
            self.0.remove(0);
        }
        self.0.push(stretch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(epoch: u64, life: u64) -> ViewName {
        ViewName { epoch: Epoch(epoch), life: ManagerIncarnation(life) }
    }

    /// Views 1 to 3 by life 7, 4 and 5 by 8.
    fn line() -> Line {
        let mut line = Line::default();
        for (epoch, life) in [(1, 7), (2, 7), (3, 7), (4, 8), (5, 8)] {
            line.made(Epoch(epoch), Epoch(epoch - 1), ManagerIncarnation(life));
        }
        line
    }

    #[test]
    fn a_view_is_told_by_its_number_and_its_maker() {
        let line = line();
        assert_eq!(line.stretches().len(), 2);
        for (epoch, life, want) in
            [(3, 7, true), (3, 8, false), (4, 8, true), (5, 9, false), (5, 0, true), (0, 0, true)]
        {
            assert_eq!(line.has(name(epoch, life)), want, "view {epoch} by {life}");
        }
        assert_eq!((line.next(Epoch(5)), line.before(Epoch(4))), (Epoch(6), Epoch(3)));
    }

    #[test]
    fn what_was_seen_where_it_leaps_is_given_up() {
        let mut line = line();
        line.leap(Epoch(5), ManagerIncarnation(9));
        let next = line.next(Epoch(5));
        assert_eq!((next, line.before(next)), (Epoch(5 + LEAP), Epoch(5)));
        // The life that was to make it ended; another does.
        line.made(next, Epoch(5), ManagerIncarnation(10));
        assert_eq!(line.maker(next), ManagerIncarnation(10));
        line.made(next.next(), next, ManagerIncarnation(10));
        assert_eq!(line.next(next.next()), Epoch(7 + LEAP));
        for lost in [name(6, 8), name(7, 0), name(4, 7)] {
            assert!(!line.has(lost) && line.has_given_up(lost), "{lost:?}");
        }
        assert!(!line.has_given_up(name(7 + LEAP, 11)), "that is news");
        assert!(!line.has_given_up(name(5, 8)), "it is not lost");
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut line = Line::default();
        for epoch in 1..=100 {
            line.made(Epoch(epoch), Epoch(epoch - 1), ManagerIncarnation(epoch));
        }
        assert_eq!(line.stretches().len(), MAX_STRETCHES);
        assert!(line.has(name(36, 5)) && !line.has(name(37, 5)));
        assert_eq!(Line::new(line.stretches().to_vec()), Some(line.clone()));
        let mut bad = line.stretches().to_vec();
        bad.swap(3, 4);
        assert_eq!(Line::new(bad), None);
    }
}
