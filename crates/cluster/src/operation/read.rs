//! Whom a reader asks, and when it has its answer (rule C3, as far as records are committed).
//!
//! A get goes to the key's primary; a replica that cannot answer (still fetching, another epoch, no
//! connection) is passed over for the next. Any synced replica's answer is the answer. When all have
//! been asked in vain the view is refreshed and the round begins anew.

/// What one replica did with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A record, or that there is none.
    Answered,
    /// It keeps the key but is still fetching it.
    Syncing,
    /// It does not keep the key in the newest view it knows.
    WrongEpoch,
    /// No answer came.
    Lost,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is there.
    Done,
    /// Ask the replica at this place of the list.
    Ask(usize),
    /// Nobody could answer: refresh the view and start again.
    Again,
}

/// The state of one get under one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadRound {
    replicas: usize,
    asked: usize,
}

impl ReadRound {
    /// A get of a key that `replicas` nodes keep; the first to ask is the primary, at place 0.
    pub fn new(replicas: usize) -> ReadRound {
        ReadRound { replicas, asked: 0 }
    }

    /// Whom to ask first.
    pub fn first(&self) -> Verdict {
        if self.replicas == 0 { Verdict::Again } else { Verdict::Ask(0) }
    }

    /// Counts the reply of the replica that was asked last.
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
