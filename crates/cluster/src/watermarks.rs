//! Commit watermarks: how far a replica accepts them from one connection (rule N3).
//!
//! A commit watermark says that all plain writes of a writer up to a clock are done. A replica can
//! check that only against the writes that it has received. So it remembers for each connection the
//! writers that sent writes over it, each with its highest clock, and accepts a watermark for these
//! writers up to these clocks. A correct client sends a watermark behind its writes, on the same
//! connection, and loses nothing. A watermark for another client's writer, or for later writes,
//! would mark records as committed that perhaps only one replica holds.
//!
//! A write-back does not count as a write of its version's writer: it is born after its version was
//! drawn.

use crate::mutation::{Mutation, is_on};
use crate::version::{Clock, Version};

/// The most writers that are remembered for one connection. Our client sends a watermark before it
/// writes again over a connection, so the last writer would do. A watermark of a forgotten writer
/// is ignored: its records are committed like those without a watermark.
const MOST: usize = 16;

/// The writers whose writes came over a connection, each with its highest clock, the most recent
/// last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenClocks(Vec<(u64, Clock)>);

impl WrittenClocks {
    /// Notes a write that came over the connection, whatever the answer was.
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

    /// The clock up to which a writer's watermark from this connection counts; `None` if it is
    /// ignored.
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
    fn n3_a_watermark_counts_for_writes_of_its_connection() {
        let mut written = WrittenClocks::default();
        assert_eq!(written.bounded(1, 5), None);
        put(&mut written, 7, 1);
        put(&mut written, 9, 2);
        put(&mut written, 6, 1);
        assert_eq!(written.bounded(1, 5), Some(5));
        assert_eq!(written.bounded(1, u64::MAX), Some(7), "not for later writes");
        assert_eq!(written.bounded(2, u64::MAX), Some(9));
        assert_eq!(written.bounded(3, u64::MAX), None, "not for another client's writer");
    }

    #[test]
    fn n3_a_write_back_does_not_make_its_sender_the_writer() {
        let mut written = WrittenClocks::default();
        let version = Version::plain(7, 1);
        written.note(&version, 8);
        written.note(&version.successor(Op { writer: 2, count: 1 }), 7);
        written.note(&version.expired(), 7);
        assert_eq!(written, WrittenClocks::default());
    }

    #[test]
    fn the_most_recent_writers_are_remembered() {
        let mut written = WrittenClocks::default();
        (1..=MOST as u64).for_each(|writer| put(&mut written, writer, writer));
        put(&mut written, 50, 1);
        put(&mut written, 51, 99);
        assert_eq!(written.0.len(), MOST);
        assert_eq!((written.bounded(1, 60), written.bounded(2, 60)), (Some(50), None));
        assert_eq!(written.bounded(99, 60), Some(51));
    }
}
