//! What is too big: the bounds on keys, values, copies and arcs.
//!
//! The key and value bounds belong to a cluster, not to a program: the manager's flags set them and
//! the view carries them to nodes and clients, so all refuse the same things with the same words.

use std::fmt;

/// Most copies of a key (K). Beyond it a write waits on more machines than it protects from.
pub const MAX_COPIES: usize = 64;

/// Most members of a view. Arcs name their owner in 16 bits; a thousand is the largest we measure.
pub const MAX_MEMBERS: usize = 4096;

/// Largest weight of a node: a thousand times the share of the smallest is beyond any real difference of
/// machines, and keeps sums of weights far from their bounds.
pub const MAX_WEIGHT: u32 = 1000;

/// Longest key that any cluster can allow, in bytes. Keeps a batch of keys far below a frame.
pub const KEY_CEILING: usize = 1024;

/// Longest value that any cluster can allow, in bytes: one record always fits in one frame.
pub const VALUE_CEILING: usize = 1 << 20;

/// The bounds on one cluster's keys and values, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest key, 1 to [`KEY_CEILING`].
    pub key_bytes: usize,
    /// Longest value, 0 to [`VALUE_CEILING`].
    pub value_bytes: usize,
}

impl Default for Limits {
    /// The original's: keys of 20 bytes, values of 1024.
    fn default() -> Limits {
        Limits { key_bytes: 20, value_bytes: 1024 }
    }
}

/// Which bound was crossed, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitError {
    /// A key with no bytes names nothing.
    EmptyKey,
    /// A key longer than the cluster takes.
    LongKey {
        /// Its length in bytes.
        got: usize,
        /// The cluster's bound.
        limit: usize,
    },
    /// A value longer than the cluster takes.
    LongValue {
        /// Its length in bytes.
        got: usize,
        /// The cluster's bound.
        limit: usize,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::EmptyKey => f.write_str("a key has at least one byte"),
            LimitError::LongKey { got, limit } => {
                write!(f, "a key has at most {limit} bytes here, this one has {got}")
            }
            LimitError::LongValue { got, limit } => {
                write!(f, "a value has at most {limit} bytes here, this one has {got}")
            }
        }
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    /// Whether these bounds can be had at all (each at or below its ceiling, keys not empty).
    pub fn is_valid(&self) -> bool {
        (1..=KEY_CEILING).contains(&self.key_bytes) && self.value_bytes <= VALUE_CEILING
    }

    /// Checks a key's length.
    ///
    /// # Errors
    /// [`LimitError::EmptyKey`] or [`LimitError::LongKey`].
    pub fn check_key(&self, key: &[u8]) -> Result<(), LimitError> {
        match key.len() {
            0 => Err(LimitError::EmptyKey),
            got if got > self.key_bytes => Err(LimitError::LongKey { got, limit: self.key_bytes }),
            _ => Ok(()),
        }
    }

    /// Checks a value's length.
    ///
    /// # Errors
    /// [`LimitError::LongValue`].
    pub fn check_value(&self, value: &[u8]) -> Result<(), LimitError> {
        match value.len() {
            got if got > self.value_bytes => {
                Err(LimitError::LongValue { got, limit: self.value_bytes })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        let limits = Limits::default();
        assert_eq!(limits.check_key(b""), Err(LimitError::EmptyKey));
        assert_eq!(limits.check_key(&[0; 20]), Ok(()));
        assert_eq!(limits.check_key(&[0; 21]), Err(LimitError::LongKey { got: 21, limit: 20 }));
        assert_eq!(limits.check_value(&[0; 1024]), Ok(()));
        assert!(limits.check_value(&[0; 1025]).is_err());
        assert!(!Limits { key_bytes: 0, value_bytes: 1 }.is_valid());
        assert!(!Limits { key_bytes: KEY_CEILING + 1, value_bytes: 1 }.is_valid());
    }
}
