//! The keys and bytes that a command uses, as far as its arguments show.

use cluster::limits::{LimitError, Limits};
use resp::command::Command;

/// The number of keys that a command uses; one that it names twice counts twice.
pub fn keys(command: &Command<'_>) -> usize {
    match command {
        Command::Read { .. } | Command::Put { .. } | Command::Update { .. } => 1,
        Command::GetMany(keys) | Command::CountMany(keys) | Command::RemoveMany(keys) => keys.len(),
        Command::PutMany(pairs) => pairs.len() / 2,
        _ => 0,
    }
}

/// Each key that a command uses, and whether it writes it.
pub fn each_key<'b>(command: &Command<'b>, mut with: impl FnMut(&'b [u8], bool)) {
    match command {
        Command::Read { key, .. } => with(key, false),
        Command::Put { key, .. } | Command::Update { key, .. } => with(key, true),
        Command::GetMany(keys) | Command::CountMany(keys) => {
            keys.iter().for_each(|key| with(key, false));
        }
        Command::RemoveMany(keys) => keys.iter().for_each(|key| with(key, true)),
        Command::PutMany(pairs) => pairs.pairs().for_each(|(key, _)| with(key, true)),
        _ => {}
    }
}

/// The key of a command with one key, which can be merged with others about that key.
pub fn single_key<'b>(command: &Command<'b>) -> Option<&'b [u8]> {
    match command {
        Command::Read { key, .. } | Command::Put { key, .. } | Command::Update { key, .. } => {
            Some(key)
        }
        Command::RemoveMany(keys) | Command::CountMany(keys) if keys.len() == 1 => {
            keys.iter().next()
        }
        _ => None,
    }
}

/// The number of bytes of values in a command's arguments.
pub fn value_bytes(command: &Command<'_>) -> usize {
    match command {
        Command::Put { value, .. } => value.len(),
        Command::PutMany(pairs) => pairs.pairs().map(|(_, value)| value.len()).sum(),
        _ => 0,
    }
}

/// Whether a command writes only keys and values within the limits. If not, nothing of it is done:
/// a command with many keys must not be half done where that can be known in advance.
pub fn check(command: &Command<'_>, limits: &Limits) -> Result<(), LimitError> {
    match command {
        Command::Put { key, value, .. } => {
            limits.check_key(key)?;
            limits.check_value(value)
        }
        Command::Update { key, update } => {
            limits.check_key(key)?;
            update.given().map_or(Ok(()), |value| limits.check_value(value))
        }
        Command::RemoveMany(keys) => keys.iter().try_for_each(|key| limits.check_key(key)),
        Command::PutMany(pairs) => pairs.pairs().try_for_each(|(key, value)| {
            limits.check_key(key)?;
            limits.check_value(value)
        }),
        _ => Ok(()),
    }
}
