//! How far a repair or a planned change has come: what is left to copy, and for how long.

use crate::membership::Membership;
use crate::membership::outline::Amount;
use crate::time::Millis;

/// What was to be copied since all was last as it should be, and what is left of it, in copies of
/// arcs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    began: Millis,
    /// All that was to be copied: what more came up on the way is added.
    all: usize,
    left: usize,
}

impl Progress {
    /// Looks again: `left` copies are to be made now. `None` where there are none.
    pub(super) fn look(before: Option<Progress>, left: usize, now: Millis) -> Option<Progress> {
        (left > 0).then(|| match before {
            None => Progress { began: now, all: left, left },
            Some(p) => Progress { all: p.all + left.saturating_sub(p.left), left, ..p },
        })
    }

    /// All that was or is to be copied, in copies of arcs.
    pub fn all(&self) -> usize {
        self.all
    }

    /// How much of it is done, in percent.
    pub fn percent(&self) -> u8 {
        ((self.all - self.left) * 100 / self.all.max(1)) as u8
    }

    /// How long it will take at the speed so far, in milliseconds. `None` where nothing is done
    /// yet.
    pub fn left_ms(&self, now: Millis) -> Option<Millis> {
        let done = (self.all - self.left) as u64;
        let took = now.saturating_sub(self.began);
        (done > 0).then(|| took * self.left as u64 / done)
    }
}

impl Membership {
    /// Copies of arcs that a member is to hold and has yet to fetch, by its place in the active
    /// view.
    pub fn behind(&self, place: u16) -> usize {
        let kept = self.active.arcs_of(place);
        let node = self.nodes.get(&self.active.member(place).incarnation);
        node.filter(|n| !n.is_unreported()).map_or(0, |n| kept.difference(&n.report.synced).count())
    }

    /// The same for all members.
    pub(super) fn all_behind(&self) -> usize {
        (0..self.active.view().members.len() as u16).map(|place| self.behind(place)).sum()
    }

    /// About what so many copies of arcs hold: their share of what all members hold. Members that
    /// have ended count only where no other is left: their last report is not renewed.
    pub fn amount_of(&self, copies: usize) -> Amount {
        let members = self.active.view().members.iter();
        let nodes: Vec<_> = members.filter_map(|m| self.nodes.get(&m.incarnation)).collect();
        let all_gone = nodes.iter().all(|n| n.is_gone());
        let (mut keys, mut bytes, mut held) = (0, 0, 0);
        for report in nodes.iter().filter(|n| all_gone || !n.is_gone()).map(|n| &n.report) {
            keys += report.keys;
            bytes += report.bytes;
            held += report.synced.count_ones(..) as u64;
        }
        let part = |sum: u64| (u128::from(sum) * copies as u128 / u128::from(held.max(1))) as u64;
        Amount { keys: part(keys), bytes: part(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_up_on_the_way_is_added() {
        let began = Progress::look(None, 100, 1_000).unwrap();
        assert_eq!((began.all(), began.percent(), began.left_ms(1_500)), (100, 0, None));
        let half = Progress::look(Some(began), 50, 2_000).unwrap();
        assert_eq!((half.all(), half.percent(), half.left_ms(2_000)), (100, 50, Some(1_000)));
        // Another node dies: 150 are left now, 100 of them new.
        let more = Progress::look(Some(half), 150, 3_000).unwrap();
        assert_eq!((more.all(), more.percent()), (200, 25));
        assert_eq!(Progress::look(Some(more), 0, 4_000), None);
    }
}
