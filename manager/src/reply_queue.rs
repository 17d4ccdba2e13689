//! Operators' requests that wait until their result is saved.

use std::collections::VecDeque;

use crossbeam_channel::Sender;
use net_common::error::Refused;

/// The channel for the answer to one request.
pub(crate) type ReplySender<T> = Sender<Result<T, Refused>>;

/// The waiting requests of one kind. They are answered in their order.
pub(crate) struct ReplyQueue<T>(VecDeque<ReplySender<T>>);

impl<T> ReplyQueue<T> {
    /// An empty queue.
    pub(crate) fn new() -> ReplyQueue<T> {
        ReplyQueue(VecDeque::new())
    }

    /// Appends a request.
    pub(crate) fn push(&mut self, asker: ReplySender<T>) {
        self.0.push_back(asker);
    }

    /// Answers the oldest request.
    pub(crate) fn answer_first(&mut self, answer: Result<T, Refused>) {
        send(self.0.pop_front(), answer);
    }

    /// Refuses the newest request.
    pub(crate) fn refuse_last(&mut self, why: Refused) {
        send(self.0.pop_back(), Err(why));
    }
}

fn send<T>(asker: Option<ReplySender<T>>, answer: Result<T, Refused>) {
    if let Some(asker) = asker {
        // The connection may have closed meanwhile.
        let _ = asker.send(answer);
    }
}
