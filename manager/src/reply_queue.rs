//! Operators who wait to hear that what they have asked for is done, that is, saved.

use std::collections::VecDeque;

use crossbeam_channel::Sender;
use net_common::error::Refused;

/// Where the answer goes that somebody waits for.
pub(crate) type ReplySender<T> = Sender<Result<T, Refused>>;

/// Those who wait for one kind of thing. They are answered in the order in which they have asked.
pub(crate) struct ReplyQueue<T>(VecDeque<ReplySender<T>>);

impl<T> ReplyQueue<T> {
    /// Nobody waits.
    pub(crate) fn new() -> ReplyQueue<T> {
        ReplyQueue(VecDeque::new())
    }

    /// One more waits.
    pub(crate) fn push(&mut self, asker: ReplySender<T>) {
        self.0.push_back(asker);
    }

    /// Answers who has waited longest.
    pub(crate) fn answer_first(&mut self, answer: Result<T, Refused>) {
        send(self.0.pop_front(), answer);
    }

    /// Refuses who has just come.
    pub(crate) fn refuse_last(&mut self, why: Refused) {
        send(self.0.pop_back(), Err(why));
    }
}

fn send<T>(asker: Option<ReplySender<T>>, answer: Result<T, Refused>) {
    if let Some(asker) = asker {
        // The connection may have ended meanwhile.
        let _ = asker.send(answer);
    }
}
