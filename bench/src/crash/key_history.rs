//! What was written to one key, and what may be found there. Pure: times are passed in.
//!
//! One worker writes a key, one write after the other, with sequence numbers that go up. A read
//! that nothing is concurrent with must find the last acknowledged write, or one of unknown outcome
//! that was tried after it. Since the worker's versions go up too, a write never comes to light
//! again after a later one was acknowledged.
//!
//! A history begins with the newest write that is *certain*: the one that was read last. What a
//! read settles is forgotten, so that a history stays as short as a round.

use std::time::Instant;

use harness::history::Outcome;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It gives the key a value.
    Put,
    /// It takes it away.
    Delete,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
struct WriteAttempt {
    sequence: u64,
    verb: Verb,
    outcome: Outcome,
    /// When the answer came, or a read that found it.
    at: Instant,
}

/// The writes of one key, by sequence, from the newest that is certain on.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    writes: Vec<WriteAttempt>,
    next: u64,
}

/// What a read makes of a history.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyVerdict {
    /// It may be so.
    Right,
    /// Acknowledged writes are gone: when each of them was acknowledged, the oldest first.
    Missing(Vec<Instant>),
    /// A value that nobody wrote, or whose writer was told that it is certainly not written.
    NeverWritten,
}

impl KeyHistory {
    /// Of a key that is not there.
    pub fn new(now: Instant) -> KeyHistory {
        let nothing =
            WriteAttempt { sequence: 0, verb: Verb::Delete, outcome: Outcome::Ok, at: now };
        KeyHistory { writes: vec![nothing], next: 1 }
    }

    /// The sequence number of the next write.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What came of the next write, at this time.
    pub fn note(&mut self, verb: Verb, outcome: Outcome, at: Instant) {
        self.writes.push(WriteAttempt { sequence: self.next, verb, outcome, at });
        self.next += 1;
    }

    /// Where the newest write stands that explains what was read: the value of this sequence, or
    /// nothing.
    fn explanation(&self, read: Option<u64>) -> Option<usize> {
        let is_it = |write: &WriteAttempt| match read {
            Some(sequence) => write.verb == Verb::Put && write.sequence == sequence,
            None => write.verb == Verb::Delete,
        };
        self.writes.iter().rposition(|write| write.outcome != Outcome::Failed && is_it(write))
    }

    /// Whether a read may have found the value of this sequence, or nothing.
    pub fn judge(&self, read: Option<u64>) -> KeyVerdict {
        let lost = match (self.explanation(read), read) {
            (Some(at), _) => &self.writes[at + 1..],
            // From before the history: all of it is gone.
            (None, None) => &self.writes[..],
            (None, Some(sequence)) if sequence < self.writes[0].sequence => &self.writes[..],
            (None, Some(_)) => return KeyVerdict::NeverWritten,
        };
        let lost = lost.iter().filter(|write| write.outcome == Outcome::Ok);
        let lost: Vec<Instant> = lost.map(|write| write.at).collect();
        if lost.is_empty() { KeyVerdict::Right } else { KeyVerdict::Missing(lost) }
    }

    /// From now on what was read is certain. Writes of unknown outcome after it may still come to
    /// light.
    pub fn settle(&mut self, read: Option<u64>, now: Instant) {
        let Some(mut at) = self.explanation(read) else {
            // Something was lost or is wrong: begin with what is there.
            let verb = if read.is_some() { Verb::Put } else { Verb::Delete };
            let sequence = read.unwrap_or(0);
            self.writes = vec![WriteAttempt { sequence, verb, outcome: Outcome::Ok, at: now }];
            return;
        };
        if read.is_none() {
            // Of several deletes that explain it the first is certain at least.
            let same = |write: &WriteAttempt| {
                write.verb == Verb::Delete && write.outcome != Outcome::Failed
            };
            let last = self.writes[..=at].iter().rposition(|write| write.outcome == Outcome::Ok);
            let from = last.unwrap_or(0);
            at = self.writes[from..=at].iter().position(same).map_or(at, |first| from + first);
        }
        self.writes.drain(..at);
        let certain = &mut self.writes[0];
        if certain.outcome == Outcome::Unknown {
            (certain.outcome, certain.at) = (Outcome::Ok, now);
        }
        let first = certain.sequence;
        self.writes.retain(|write| write.sequence == first || write.outcome == Outcome::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    use Outcome::{Failed, Ok, Unknown};

    const PUT: Verb = Verb::Put;
    const DELETE: Verb = Verb::Delete;

    const NONE: [u64; 0] = [];

    struct Test {
        start: Instant,
        history: KeyHistory,
    }

    impl Test {
        /// A history in which write n was answered n seconds after the start.
        fn new(writes: &[(Verb, Outcome)]) -> Test {
            let start = Instant::now();
            let mut test = Test { start, history: KeyHistory::new(start) };
            test.go_on(writes);
            test
        }

        fn go_on(&mut self, writes: &[(Verb, Outcome)]) {
            for &(verb, outcome) in writes {
                let at = self.start + Duration::from_secs(self.history.next());
                self.history.note(verb, outcome, at);
            }
        }

        /// The seconds of the acknowledged that are gone.
        fn lost(&self, read: Option<u64>) -> Vec<u64> {
            match self.history.judge(read) {
                KeyVerdict::Right => Vec::new(),
                KeyVerdict::Missing(lost) => {
                    lost.iter().map(|at| (*at - self.start).as_secs()).collect()
                }
                KeyVerdict::NeverWritten => vec![u64::MAX],
            }
        }

        fn settle(&mut self, read: Option<u64>) {
            self.history.settle(read, self.start + Duration::from_secs(self.history.next() - 1));
        }
    }

    #[test]
    fn the_last_acknowledged_or_a_later_one() {
        let test =
            Test::new(&[(PUT, Ok), (PUT, Unknown), (PUT, Ok), (PUT, Unknown), (PUT, Unknown)]);
        for (read, lost) in [
            (Some(3), vec![]),
            (Some(4), vec![]),
            (Some(5), vec![]),
            (Some(2), vec![3]),
            (Some(1), vec![3]),
            (None, vec![1, 3]),
            (Some(6), vec![u64::MAX]),
        ] {
            assert_eq!(test.lost(read), lost, "{read:?}");
        }
    }

    #[test]
    fn a_delete_is_a_write() {
        let test = Test::new(&[(PUT, Ok), (DELETE, Ok)]);
        assert_eq!(test.lost(None), NONE);
        assert_eq!(test.lost(Some(1)), [2], "it is back");
        assert_eq!(test.lost(Some(2)), [u64::MAX], "a delete has no value");
        let test = Test::new(&[(PUT, Ok), (DELETE, Unknown), (PUT, Unknown)]);
        for read in [None, Some(1), Some(3)] {
            assert_eq!(test.lost(read), NONE, "{read:?}");
        }
        let test = Test::new(&[(PUT, Ok), (DELETE, Unknown), (PUT, Ok)]);
        assert_eq!(test.lost(None), [3]);
        assert_eq!(Test::new(&[]).lost(None), NONE, "nothing was written");
    }

    #[test]
    fn what_failed_must_not_be_seen() {
        let test = Test::new(&[(PUT, Ok), (PUT, Failed), (DELETE, Failed)]);
        assert_eq!(test.lost(Some(1)), NONE);
        assert_eq!(test.lost(Some(2)), [u64::MAX]);
        // The delete has not happened, so this is a loss and no delete.
        assert_eq!(test.lost(None), [1]);
    }

    #[test]
    fn what_was_read_is_certain() {
        let mut test = Test::new(&[(PUT, Ok), (PUT, Unknown), (PUT, Unknown)]);
        test.settle(Some(2));
        assert_eq!(test.lost(Some(2)), NONE);
        assert_eq!(test.lost(Some(3)), NONE, "it may still come to light");
        assert_eq!(test.lost(Some(1)), [3], "what was read is gone");
        assert_eq!(test.lost(None), [3]);
        test.go_on(&[(PUT, Ok)]);
        assert_eq!(test.lost(Some(3)), [4], "too late for it");
        test.settle(Some(4));
        assert_eq!(test.lost(Some(4)), NONE);
        assert_eq!((test.history.writes.len(), test.history.next()), (1, 5));
    }

    #[test]
    fn of_two_deletes_the_first_is_certain() {
        let mut test =
            Test::new(&[(PUT, Ok), (DELETE, Unknown), (PUT, Unknown), (DELETE, Unknown)]);
        test.settle(None);
        assert_eq!(test.lost(None), NONE);
        assert_eq!(test.lost(Some(3)), NONE, "the second may not have happened yet");
        assert_eq!(test.lost(Some(1)), [4], "one of them has");
        // After an acknowledged one those before do not count.
        let mut test = Test::new(&[(DELETE, Unknown), (PUT, Ok), (DELETE, Ok), (PUT, Unknown)]);
        test.settle(None);
        assert_eq!(test.lost(Some(4)), NONE);
        assert_eq!(test.lost(Some(2)), [3]);
    }

    #[test]
    fn a_loss_is_told_once() {
        for (read, lost) in [(Some(1), vec![2, 3]), (None, vec![1, 2, 3])] {
            let mut test = Test::new(&[(PUT, Ok), (PUT, Ok), (PUT, Ok)]);
            test.settle(Some(3));
            test.settle(Some(3));
            let mut fresh = Test::new(&[(PUT, Ok), (PUT, Ok), (PUT, Ok)]);
            assert_eq!(fresh.lost(read), lost);
            fresh.settle(read);
            assert_eq!(fresh.lost(read), NONE);
            assert_eq!(fresh.history.next(), 4);
            // Older than the history.
            assert_eq!(test.lost(read), [3]);
            test.settle(read);
            assert_eq!(test.lost(read), NONE);
        }
    }
}
