//! One request of a batch.

use std::ops::Range;

use resp::command::Command;
use resp::error::Error;
use resp::read::Read;
use resp::update::Update;

use crate::redis::coalesce::Step;

/// One request of a batch.
pub enum PipelineItem<'b> {
    /// An answer that is known already.
    Refused(Error),
    /// The same, as bytes of [`Seen`](super::local::Seen).
    Seen(Range<usize>),
    /// A command, carried out by itself.
    Command(Command<'b>),
    /// The next command of the operation at this place, which several became.
    Coalesced(usize),
}

/// A command about one key, as a part of the operation that it becomes with others.
pub fn step(command: Command<'_>) -> Step<'_> {
    match command {
        Command::Read { read, .. } => Step::Read(read),
        Command::Put { value, expiry, .. } => Step::Put { value, expiry },
        Command::Update { update, .. } => Step::Update(update),
        Command::RemoveMany(_) => Step::Update(Update::Remove),
        _ => Step::Read(Read::Exists),
    }
}
