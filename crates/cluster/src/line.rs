//! The line of views: which manager incarnation made which views.
//!
//! A manager that starts from an older copy of its folder makes views with numbers that were used
//! before. So the number alone does not identify a view. Each start of a manager is an incarnation
//! (`life` in the protocol), 64 random bits, and each view has the incarnations that made the views
//! up to it. A view is identified by its number and its maker ([`ViewName`]). A node and the
//! manager can check whether a view lies on the other's line. The bits are random, since two
//! managers that continue from the same copy would count alike.
//!
//! A line may *leap*: where the operator continues although views are lost, the next view gets a
//! number far above any that a node may have seen, so that no two views with one number are ever in
//! use. The views in between are given up.
//!
//! Invariants: stretches are in order; each begins above its predecessor view, which is of the
//! previous stretch or of a forgotten one.

use crate::ids::{Epoch, ManagerIncarnation};

/// The most stretches that are kept, the newest ones. Each takes 24 bytes in every view, and begins
/// with the first view of a manager incarnation. Of views before them only the number is compared.
pub const MAX_STRETCHES: usize = 64;

/// The size of a leap: a manager would need twelve days to get there with a view each second.
pub const LEAP: u64 = 1_000_000;

/// The identity of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewName {
    /// Its number.
    pub epoch: Epoch,
    /// The manager incarnation that made it.
    pub life: ManagerIncarnation,
}

/// Successive views of one manager incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// The first of them.
    pub first: Epoch,
    /// The view before that.
    pub before: Epoch,
    /// The manager incarnation that made them.
    pub life: ManagerIncarnation,
}

impl Stretch {
    fn leaps(&self) -> bool {
        self.first > self.before.next()
    }
}

/// The makers of all views up to one. The last stretch may begin above that view: it gives the
/// number of the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Line(Vec<Stretch>);

impl Line {
    /// Checks a line from a file or a peer. `None` if it is invalid.
    pub fn new(stretches: Vec<Stretch>) -> Option<Line> {
        let begins = stretches.iter().all(|stretch| stretch.first > stretch.before);
        let follow = stretches.windows(2).all(|pair| pair[0].first <= pair[1].before);
        (begins && follow && stretches.len() <= MAX_STRETCHES).then_some(Line(stretches))
    }

    /// Its stretches, in order.
    pub fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// The number of stretches that begin with this view or before it.
    fn begun(&self, epoch: Epoch) -> usize {
        self.0.partition_point(|stretch| stretch.first <= epoch)
    }

    /// The view before one.
    pub fn before(&self, epoch: Epoch) -> Epoch {
        let begins = self.0.iter().find(|stretch| stretch.first == epoch);
        begins.map_or(Epoch(epoch.0.saturating_sub(1)), |stretch| stretch.before)
    }

    /// The number of the view after the newest.
    pub fn next(&self, newest: Epoch) -> Epoch {
        let to_begin = self.0.last().filter(|stretch| stretch.first > newest);
        to_begin.map_or(newest.next(), |stretch| stretch.first)
    }

    /// The maker of a view; unknown where it is forgotten.
    pub fn maker(&self, epoch: Epoch) -> ManagerIncarnation {
        let stretch = self.begun(epoch).checked_sub(1).map(|at| self.0[at]);
        stretch.map_or(ManagerIncarnation::UNKNOWN, |stretch| stretch.life)
    }

    /// Whether a view lies on this line.
    pub fn has(&self, view: ViewName) -> bool {
        let (maker, unknown) = (self.maker(view.epoch), ManagerIncarnation::UNKNOWN);
        // There are no views within a leap.
        let is_over = self.0.get(self.begun(view.epoch)).is_some_and(|s| s.before < view.epoch);
        !is_over && (maker == view.life || maker == unknown || view.life == unknown)
    }

    /// Whether a view that does not lie on this line was given up with a leap.
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

    /// Gives the view after the newest a number far above it.
    pub fn leap(&mut self, newest: Epoch, life: ManagerIncarnation) {
        self.push(Stretch { first: Epoch(newest.0.saturating_add(LEAP)), before: newest, life });
    }

    fn push(&mut self, stretch: Stretch) {
        // Drops a stretch that never began.
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

    /// Views 1 to 3 by incarnation 7, 4 and 5 by 8.
    fn line() -> Line {
        let mut line = Line::default();
        for (epoch, life) in [(1, 7), (2, 7), (3, 7), (4, 8), (5, 8)] {
            line.made(Epoch(epoch), Epoch(epoch - 1), ManagerIncarnation(life));
        }
        line
    }

    #[test]
    fn a_view_is_identified_by_number_and_maker() {
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
    fn views_within_a_leap_are_given_up() {
        let mut line = line();
        line.leap(Epoch(5), ManagerIncarnation(9));
        let next = line.next(Epoch(5));
        assert_eq!((next, line.before(next)), (Epoch(5 + LEAP), Epoch(5)));
        // The incarnation that was to make it has ended; another one makes it.
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
    fn old_stretches_are_forgotten() {
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
