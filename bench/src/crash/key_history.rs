//! The writes of one key, and the values that a read may find. Pure: times are passed in.
//!
//! One worker writes a key, one write at a time, with ascending sequence numbers. A read without
//! concurrent writes must find the last acknowledged write, or a later one of unknown outcome.
//! Since the worker's versions ascend too, a write never reappears after a later one was
//! acknowledged.
//!
//! A history begins with the newest *certain* write: the one that was read last. A read drops the
//! writes that it settles, so a history is as short as a round.

use std::time::Instant;

use harness::history::Outcome;

/// The kind of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Stores a value.
    Put,
    /// Deletes the key.
    Delete,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
struct WriteAttempt {
    sequence: u64,
    verb: Verb,
    outcome: Outcome,
    /// The time of the reply, or of a read that found it.
    at: Instant,
}

/// The writes of one key by sequence number, from the newest certain one on.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    writes: Vec<WriteAttempt>,
    next: u64,
}

/// The result of comparing a read with a history.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyVerdict {
    /// A linearizable store can return this.
    Right,
    /// Acknowledged writes are missing: the time of each acknowledgement, the oldest first.
    Missing(Vec<Instant>),
    /// A value that was never written, or whose write certainly failed.
    NeverWritten,
}

impl KeyHistory {
    /// The history of an absent key.
    pub fn new(now: Instant) -> KeyHistory {
        let nothing =
            WriteAttempt { sequence: 0, verb: Verb::Delete, outcome: Outcome::Ok, at: now };
        KeyHistory { writes: vec![nothing], next: 1 }
    }

    /// The sequence number of the next write.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records the outcome of the next write.
    pub fn note(&mut self, verb: Verb, outcome: Outcome, at: Instant) {
        self.writes.push(WriteAttempt { sequence: self.next, verb, outcome, at });
        self.next += 1;
    }

    /// The index of the newest write that explains a read: the value of this sequence number, or
    /// nothing.
    fn explanation(&self, read: Option<u64>) -> Option<usize> {
        let is_it = |write: &WriteAttempt| match read {
            Some(sequence) => write.verb == Verb::Put && write.sequence == sequence,
            None => write.verb == Verb::Delete,
        };
        self.writes.iter().rposition(|write| write.outcome != Outcome::Failed && is_it(write))
    }

    /// Judges a read that found the value of this sequence number, or nothing.
    pub fn judge(&self, read: Option<u64>) -> KeyVerdict {
        let lost = match (self.explanation(read), read) {
            (Some(at), _) => &self.writes[at + 1..],
            // A value from before the history: all of the history is missing.
            (None, None) => &self.writes[..],
            (None, Some(sequence)) if sequence < self.writes[0].sequence => &self.writes[..],
            (None, Some(_)) => return KeyVerdict::NeverWritten,
        };
        let lost = lost.iter().filter(|write| write.outcome == Outcome::Ok);
        let lost: Vec<Instant> = lost.map(|write| write.at).collect();
        if lost.is_empty() { KeyVerdict::Right } else { KeyVerdict::Missing(lost) }
    }

    /// Makes the write that was read the certain one. Later writes of unknown outcome may still
    /// appear.
    pub fn settle(&mut self, read: Option<u64>, now: Instant) {
        let Some(mut at) = self.explanation(read) else {
            // Something is missing or wrong: begin with the present value.
            let verb = if read.is_some() { Verb::Put } else { Verb::Delete };
            let sequence = read.unwrap_or(0);
            self.writes = vec![WriteAttempt { sequence, verb, outcome: Outcome::Ok, at: now }];
            return;
        };
        if read.is_none() {
            // If several deletes explain it, at least the first is certain.
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
        /// A history in which write n was acknowledged n seconds after the start.
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

        /// The seconds at which the missing writes were acknowledged.
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
    fn the_last_acknowledged_write_or_a_later_one_is_right() {
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
    fn a_failed_write_must_not_be_read() {
        let test = Test::new(&[(PUT, Ok), (PUT, Failed), (DELETE, Failed)]);
        assert_eq!(test.lost(Some(1)), NONE);
        assert_eq!(test.lost(Some(2)), [u64::MAX]);
        // The delete has not happened, so this is a loss.
        assert_eq!(test.lost(None), [1]);
    }

    #[test]
    fn a_read_makes_its_write_certain() {
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
    fn the_first_of_two_deletes_is_certain() {
        let mut test =
            Test::new(&[(PUT, Ok), (DELETE, Unknown), (PUT, Unknown), (DELETE, Unknown)]);
        test.settle(None);
        assert_eq!(test.lost(None), NONE);
        assert_eq!(test.lost(Some(3)), NONE, "the second may not have happened yet");
        assert_eq!(test.lost(Some(1)), [4], "one of them has");
        // Writes before an acknowledged one do not count.
        let mut test = Test::new(&[(DELETE, Unknown), (PUT, Ok), (DELETE, Ok), (PUT, Unknown)]);
        test.settle(None);
        assert_eq!(test.lost(Some(4)), NONE);
        assert_eq!(test.lost(Some(2)), [3]);
    }

    #[test]
    fn a_loss_is_reported_once() {
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
