//! Bounds on keys, values, copies and members.
//!
//! The key and value bounds belong to a cluster, not to a program: the manager's flags set them and
//! the view carries them to nodes and clients, so all of them refuse the same records with the same
//! messages.

use std::fmt;

/// Most copies of a key (K). Beyond it a write waits for more machines than ever fail together.
pub const MAX_COPIES: usize = 64;

/// Most members of a view. Arcs name their owner in 16 bits; a thousand is the largest we measure.
pub const MAX_MEMBERS: usize = 4096;

/// Largest weight of a node: a thousand times the share of the smallest is beyond any real
/// difference of machines, and keeps sums of weights far from their bounds.
pub const MAX_WEIGHT: u32 = 1000;

/// Longest key that any cluster can allow, in bytes. Keeps a batch of keys far below a frame.
pub const KEY_CEILING: usize = 1024;

/// Longest value that any cluster can allow, in bytes. A record travels in one frame and is one
/// entry of the log, so a machine holds several copies of it for each client that writes or reads
/// one.
pub const VALUE_CEILING: usize = 64 << 20;

/// The bounds on one cluster's keys and values, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest key, 1 to [`KEY_CEILING`].
    pub key_bytes: usize,
    /// Longest value, 0 to [`VALUE_CEILING`].
    pub value_bytes: usize,
}

impl Default for Limits {
    /// Keys of 512 bytes and values of one mebibyte: what programs for other stores commonly use.
    fn default() -> Limits {
        Limits { key_bytes: 512, value_bytes: 1 << 20 }
    }
}

/// Which bound was crossed, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitError {
    /// A key longer than the cluster allows.
    LongKey {
        /// Its length in bytes.
        got: usize,
        /// The cluster's bound.
        limit: usize,
    },
    /// A value longer than the cluster allows.
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
    /// The original's bounds, which format 0 keeps in every cluster.
    pub const ORIGINAL: Limits = Limits { key_bytes: 20, value_bytes: 1024 };

    /// Whether whatever is within `other` is within these.
    pub fn covers(&self, other: &Limits) -> bool {
        self.lower(*other) == *other
    }

    /// For each bound the lower one of two.
    #[must_use]
    pub fn lower(self, other: Limits) -> Limits {
        Limits {
            key_bytes: self.key_bytes.min(other.key_bytes),
            value_bytes: self.value_bytes.min(other.value_bytes),
        }
    }

    /// Whether these bounds are allowed: each at or below its ceiling, and keys of at least one
    /// byte.
    pub fn is_valid(&self) -> bool {
        (1..=KEY_CEILING).contains(&self.key_bytes) && self.value_bytes <= VALUE_CEILING
    }

    /// Checks a key's length. The empty key is a key like any other.
    ///
    /// # Errors
    /// [`LimitError::LongKey`].
    pub fn check_key(&self, key: &[u8]) -> Result<(), LimitError> {
        match key.len() {
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
        let limits = Limits::ORIGINAL;
        assert_eq!(limits.check_key(b""), Ok(()));
        assert_eq!(limits.check_key(&[0; 20]), Ok(()));
        assert_eq!(limits.check_key(&[0; 21]), Err(LimitError::LongKey { got: 21, limit: 20 }));
        assert_eq!(limits.check_value(&[0; 1024]), Ok(()));
        assert!(limits.check_value(&[0; 1025]).is_err());
        assert_eq!(Limits::default(), Limits { key_bytes: 512, value_bytes: 1 << 20 });
        assert!(Limits { key_bytes: KEY_CEILING, value_bytes: VALUE_CEILING }.is_valid());
        assert!(!Limits { key_bytes: 1, value_bytes: VALUE_CEILING + 1 }.is_valid());
        assert!(!Limits { key_bytes: 0, value_bytes: 1 }.is_valid());
        assert!(!Limits { key_bytes: KEY_CEILING + 1, value_bytes: 1 }.is_valid());
    }
}
