//! Translates between the client library's types and those of the Redis protocol.

use client::ClientError;
use cluster::limits::{KEY_CEILING, LimitError};
use resp::error::Error;
use resp::glob;
use resp::update::{Current, KeyChange};

const _: () = assert!(glob::LONGEST_KEY >= KEY_CEILING, "a pattern may match the longest key");

/// The content of a key, as the store has found it.
pub fn current(held: client::CurrentValue<'_>) -> Current<'_> {
    Current { value: held.value, expiry: held.expiry }
}

/// The change of a key, for the store.
pub fn change(change: KeyChange) -> client::UpdateAction {
    match change {
        KeyChange::Leave => client::UpdateAction::Leave,
        KeyChange::Remove => client::UpdateAction::Delete,
        KeyChange::Put { value, expiry: None } => client::UpdateAction::Put(value),
        KeyChange::Put { value, expiry: Some(until) } => {
            client::UpdateAction::PutUntil(value, until)
        }
    }
}

/// A key or a value beyond the cluster's limits.
pub fn beyond(error: LimitError) -> Error {
    Error::Refused(error.to_string())
}

/// The client's errors in Redis's words.
pub fn refusal(error: &ClientError) -> Error {
    match error {
        ClientError::BadKey(limit) | ClientError::BadValue(limit) => beyond(*limit),
        ClientError::Unknown { why } => Error::Unknown(why.clone()),
        ClientError::NoManager { .. } | ClientError::Unavailable => {
            Error::Unavailable(error.to_string())
        }
        ClientError::Full(_) => Error::OutOfMemory,
        ClientError::TooFewCopies { .. } => Error::TooFewCopies,
        ClientError::NotEnoughReplicas { .. } | ClientError::Contended { .. } => {
            Error::TryAgain(error.to_string())
        }
        ClientError::BadList(_) | ClientError::Changed { .. } | ClientError::Refused(_) => {
            Error::Refused(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_limit() {
        let error = beyond(LimitError::LongKey { got: 30, limit: 20 });
        assert_eq!(error.to_string(), "ERR a key has at most 20 bytes here, this one has 30");
    }
}
