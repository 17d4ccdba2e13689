//! The replicas that a reader asks, and when it has its answer (rule C3, as far as records are
//! committed).
//!
//! A get goes to the key's primary. If a replica cannot answer (it is still fetching, is in another
//! epoch or cannot be reached), the next one is asked. One synced replica's answer suffices. When
//! all have been asked in vain the view is refreshed and the round begins again.
//!
//! Writing a pending record back is the operation's part: [`crate::operation`].

/// A replica's reply to a read, as far as the round needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadReply {
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
pub enum ReadVerdict {
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
    pub fn first(&self) -> ReadVerdict {
        if self.replicas == 0 { ReadVerdict::Again } else { ReadVerdict::Ask(0) }
    }

    /// Counts the reply of the replica that was asked last, and returns the next step.
    pub fn take(&mut self, reply: ReadReply) -> ReadVerdict {
        self.asked += 1;
        match reply {
            ReadReply::Answered => ReadVerdict::Done,
            // The view is out of date: the other replicas of this list may be wrong as well.
            ReadReply::WrongEpoch => ReadVerdict::Again,
            ReadReply::Syncing | ReadReply::Lost if self.asked < self.replicas => {
                ReadVerdict::Ask(self.asked)
            }
            ReadReply::Syncing | ReadReply::Lost => ReadVerdict::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_then_the_next_then_a_new_view() {
        let mut round = ReadRound::new(3);
        assert_eq!(round.first(), ReadVerdict::Ask(0));
        assert_eq!(round.take(ReadReply::Lost), ReadVerdict::Ask(1));
        assert_eq!(round.take(ReadReply::Syncing), ReadVerdict::Ask(2));
        assert_eq!(round.take(ReadReply::Lost), ReadVerdict::Again);
        assert_eq!(ReadRound::new(3).take(ReadReply::Answered), ReadVerdict::Done);
        assert_eq!(ReadRound::new(3).take(ReadReply::WrongEpoch), ReadVerdict::Again);
        assert_eq!(ReadRound::new(0).first(), ReadVerdict::Again);
    }
}
