//! One request of a batch.

use std::ops::Range;

use resp::command::Command;
use resp::error::Error;
use resp::read::Read;
use resp::update::Update;

use crate::redis::coalesce::Step;

/// One request of a batch.
pub enum PipelineItem<'b> {
    /// A reply that is already known.
    Refused(Error),
    /// The same, as a range of bytes in [`LocalReplies`](super::local::LocalReplies).
    Local(Range<usize>),
    /// A command, executed by itself.
    Command(Command<'b>),
    /// The next command of the merged operation with this index.
    Coalesced(usize),
}

/// A command about one key, as a step of a merged operation.
pub fn step(command: Command<'_>) -> Step<'_> {
    match command {
        Command::Read { read, .. } => Step::Read(read),
        Command::Put { value, expiry, .. } => Step::Put { value, expiry },
        Command::Update { update, .. } => Step::Update(update),
        Command::RemoveMany(_) => Step::Update(Update::Remove),
        _ => Step::Read(Read::Exists),
    }
}
