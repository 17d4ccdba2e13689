//! What the word of one connection counts for (rule N3).
//!
//! A *mark* says of a writer that all its plain writes up to a clock are done. Nobody can hold that against anything
//! but what he has seen: so of each connection a replica remembers who has put something over it, and up to which clock,
//! and a mark counts for these writers and up to there. It comes behind the writes that it speaks of, on the connection
//! that brought them, and so loses nothing by that; but a mark of another's writer, or of writes that are still
//! to come, would show as committed what perhaps one replica holds.
//!
//! A write that was passed on (a write-back: it was born after its version was drawn) makes nobody its writer.

use crate::mutation::{Mutation, is_on};
use crate::version::{Clock, Version};

/// Writers that are remembered of one connection. A client tells a mark before it writes again over the connection, so
/// the last one is enough for ours. A mark of one that is forgotten counts for nothing: its records are
/// committed as those are of whom no mark is told.
const MOST: usize = 16;

/// Who has put something over a connection, and the highest clock of that; those who did last come last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenClocks(Vec<(u64, Clock)>);

impl WrittenClocks {
    /// A write came over the connection, whatever became of it.
    pub fn note(&mut self, version: &Version, born: Clock) {
        if !version.is_plain() || born != version.clock {
            return;
        }
        match self.0.iter().rposition(|(writer, _)| *writer == version.writer) {
            Some(at) if at + 1 == self.0.len() => self.0[at].1 = version.clock.max(self.0[at].1),
            Some(at) => {
                let (writer, clock) = self.0.remove(at);
                self.0.push((writer, version.clock.max(clock)));
            }
            None => {
                if self.0.len() == MOST {
                    self.0.remove(0);
                }
                self.0.push((version.writer, version.clock));
            }
        }
    }

    /// Up to which clock a mark of a writer counts that came over the connection; `None` if it counts for nothing.
    pub fn bounded(&self, writer: u64, clock: Clock) -> Option<Clock> {
        if is_on(Mutation::AnyWatermark) {
            return Some(clock);
        }
        let written = self.0.iter().rfind(|(other, _)| *other == writer)?;
        Some(clock.min(written.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Op;

    fn put(written: &mut WrittenClocks, clock: Clock, writer: u64) {
        written.note(&Version::plain(clock, writer), clock);
    }

    #[test]
    fn n3_a_mark_counts_for_what_its_connection_has_put() {
        let mut written = WrittenClocks::default();
        assert_eq!(written.bounded(1, 5), None);
        put(&mut written, 7, 1);
        put(&mut written, 9, 2);
        put(&mut written, 6, 1);
        assert_eq!(written.bounded(1, 5), Some(5));
        assert_eq!(written.bounded(1, u64::MAX), Some(7), "not for what is still to come");
        assert_eq!(written.bounded(2, u64::MAX), Some(9));
        assert_eq!(written.bounded(3, u64::MAX), None, "not for another's writer");
    }

    #[test]
    fn n3_who_passes_a_record_on_is_not_its_writer() {
        let mut written = WrittenClocks::default();
        let version = Version::plain(7, 1);
        written.note(&version, 8);
        written.note(&version.successor(Op { writer: 2, count: 1 }), 7);
        written.note(&version.expired(), 7);
        assert_eq!(written, WrittenClocks::default());
    }

    #[test]
    fn it_remembers_those_who_wrote_last() {
        let mut written = WrittenClocks::default();
        (1..=MOST as u64).for_each(|writer| put(&mut written, writer, writer));
        put(&mut written, 50, 1);
        put(&mut written, 51, 99);
        assert_eq!(written.0.len(), MOST);
        assert_eq!((written.bounded(1, 60), written.bounded(2, 60)), (Some(50), None));
        assert_eq!(written.bounded(99, 60), Some(51));
    }
}
