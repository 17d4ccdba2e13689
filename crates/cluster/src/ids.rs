//! Names of things: nodes, their incarnations, clusters, epochs and addresses.
//!
//! Each is a type of its own, so that an epoch cannot be passed where an incarnation is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest node name in bytes. Short enough for a log line and a table column.
pub const MAX_NODE_ID: usize = 64;

/// Longest host name in bytes, as DNS has it (RFC 1035).
pub const MAX_HOST: usize = 255;

/// Why a name from a person or a peer is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty or longer than its limit in bytes.
    Length {
        /// How many bytes it has.
        got: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A character that has a meaning in the text protocol or in a file name.
    Character(char),
    /// A port that is not a number from 1 to 65535, or is missing.
    Port(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Length { got, limit } => {
                write!(f, "a name has 1 to {limit} bytes, this one has {got}")
            }
            NameError::Character(c) => {
                write!(f, "{c:?} is not allowed: use letters, digits, '.', '_' and '-'")
            }
            NameError::Port(text) => {
                write!(f, "{text:?} does not end in a port from 1 to 65535 (want host:port)")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// A node's name, such as `node3`: 1 to [`MAX_NODE_ID`] bytes of letters, digits, `.`, `_`, `-`,
/// the first of them no `.`.
///
/// The narrow alphabet keeps it safe in the text table of format 0 (which separates with `,`, `;`
/// and `#`), in file names and in logs. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`NameError`] where the name is empty, too long or has a character outside the alphabet.
    pub fn new(name: &str) -> Result<NodeId, NameError> {
        check_name(name, MAX_NODE_ID, "._-")?;
        if name.starts_with('.') {
            // It may become a file name.
            return Err(NameError::Character('.'));
        }
        Ok(NodeId(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_name(name: &str, limit: usize, also: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > limit {
        return Err(NameError::Length { got: name.len(), limit });
    }
    match name.chars().find(|&c| !(c.is_ascii_alphanumeric() || also.contains(c))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// Where a process listens: a host name or address, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

impl Address {
    /// Checks and joins a host and a port.
    ///
    /// # Errors
    /// [`NameError`] for an empty or over-long host, one with a character that no host name or
    /// address has, or port 0.
    pub fn new(host: &str, port: u16) -> Result<Address, NameError> {
        check_name(host, MAX_HOST, "._-:%")?;
        if port == 0 {
            return Err(NameError::Port("0".into()));
        }
        Ok(Address { host: host.into(), port })
    }

    /// The host part, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = NameError;

    /// Reads `host:port`; an IPv6 address stands in brackets, `[::1]:5000`.
    fn from_str(text: &str) -> Result<Address, NameError> {
        let bad_port = || NameError::Port(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad_port)?;
        let port = port.parse().map_err(|_| bad_port())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Address::new(bare, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes a `u64` wrapper whose values cannot be mixed up with other numbers.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $format, ")"), self.0)
            }
        }
    };
}

number! {
    /// The number of a view. Each change of members makes the next one; 0 is "no view yet".
    Epoch, "{}"
}

number! {
    /// 64 random bits for one start of a process (L5). A process that restarts is another
    /// incarnation and inherits nothing from the one before.
    Incarnation, "{:016x}"
}

number! {
    /// 64 random bits for one start of a manager; 0 if unknown. The protocol's field is `life`.
    ManagerIncarnation, "{:016x}"
}

number! {
    /// 64 random bits drawn at a cluster's birth; they distinguish clusters that share machines.
    ClusterId, "{:016x}"
}

impl ManagerIncarnation {
    /// The maker of a view of which only the number is known.
    pub const UNKNOWN: ManagerIncarnation = ManagerIncarnation(0);
}

impl Epoch {
    /// Before the first view.
    pub const NONE: Epoch = Epoch(0);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names() {
        for good in ["node1", "a", "rack-1.node_2", &"x".repeat(MAX_NODE_ID)] {
            assert_eq!(NodeId::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "a b",
            "a,b",
            "a;b",
            "a#b",
            "a/b",
            "ä",
            &"x".repeat(MAX_NODE_ID + 1),
        ] {
            assert!(NodeId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:5000", "localhost:1", "[::1]:65535"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", "5000", "host:", ":5000", "host:0", "host:65536", "ho st:5", "a,b:5"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
