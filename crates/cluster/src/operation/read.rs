//! The replicas that a reader asks, and when it has its answer (rule C3, as far as records are
//! committed).
//!
//! A get goes to the key's primary. If a replica cannot answer (it is still fetching, is in another
//! epoch or cannot be reached), the next one is asked. One synced replica's answer suffices. When
//! all have been asked in vain the view is refreshed and the round begins again.

/// A replica's reply to a read, as far as the round needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A record, or that there is none.
    Answered,
    /// It is a replica of the key, but is still fetching it.
    Syncing,
    /// It is no replica of the key in the newest view that it knows.
    WrongEpoch,
    /// No answer came.
    Lost,
}

/// The next step of the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer has arrived.
    Done,
    /// Ask the replica at this place of the list.
    Ask(usize),
    /// No replica could answer: refresh the view and start again.
    Again,
}

/// The state of one get under one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadRound {
    replicas: usize,
    asked: usize,
}

impl ReadRound {
    /// A get of a key with this many replicas; the first to ask is the primary, at place 0.
    pub fn new(replicas: usize) -> ReadRound {
        ReadRound { replicas, asked: 0 }
    }

    /// The first step.
    pub fn first(&self) -> Verdict {
        if self.replicas == 0 { Verdict::Again } else { Verdict::Ask(0) }
    }

    /// Counts the reply of the replica that was asked last, and returns the next step.
    pub fn take(&mut self, reply: Reply) -> Verdict {
        self.asked += 1;
        match reply {
            Reply::Answered => Verdict::Done,
            // The view is out of date: the other replicas of this list may be wrong as well.
            Reply::WrongEpoch => Verdict::Again,
            Reply::Syncing | Reply::Lost if self.asked < self.replicas => Verdict::Ask(self.asked),
            Reply::Syncing | Reply::Lost => Verdict::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_then_the_next_then_a_new_view() {
        let mut round = ReadRound::new(3);
        assert_eq!(round.first(), Verdict::Ask(0));
        assert_eq!(round.take(Reply::Lost), Verdict::Ask(1));
        assert_eq!(round.take(Reply::Syncing), Verdict::Ask(2));
        assert_eq!(round.take(Reply::Lost), Verdict::Again);
        assert_eq!(ReadRound::new(3).take(Reply::Answered), Verdict::Done);
        assert_eq!(ReadRound::new(3).take(Reply::WrongEpoch), Verdict::Again);
        assert_eq!(ReadRound::new(0).first(), Verdict::Again);
    }
}
