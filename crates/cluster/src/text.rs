//! Amounts as text for people.

use std::fmt;

/// A number of bytes as a person would write it: `1.2 GB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            n @ 0..1_000 => Count(n, "byte").fmt(f),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

/// So many of something, one of which is called so: `1 key`, `2 keys`, `2 copies`.
#[derive(Debug, Clone, Copy)]
pub struct Count(pub u64, pub &'static str);

/// [`Count`] of what fits in memory.
pub fn count(n: usize, one: &'static str) -> Count {
    Count(n as u64, one)
}

impl Count {
    /// The number and a word that goes with it: `1 arc begins`, `2 arcs begin`.
    pub fn with(self, one: &str, many: &str) -> String {
        format!("{self} {}", if self.0 == 1 { one } else { many })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(n, one) = *self;
        match (n, one.strip_suffix('y')) {
            (1, _) => write!(f, "1 {one}"),
            (_, Some(stem)) if !one.ends_with("key") => write!(f, "{n} {stem}ies"),
            _ => write!(f, "{n} {one}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_a_person_writes_them() {
        for (bytes, want) in [
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (43_100_000, "43.1 MB"),
            (1_234_000_000, "1.2 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }

    #[test]
    fn one_is_no_plural() {
        for (n, one, want) in [
            (0, "key", "0 keys"),
            (1, "key", "1 key"),
            (2, "key", "2 keys"),
            (1, "copy", "1 copy"),
            (3, "copy", "3 copies"),
            (1, "node", "1 node"),
        ] {
            assert_eq!(Count(n, one).to_string(), want);
        }
        assert_eq!(count(1, "arc").with("begins", "begin"), "1 arc begins");
        assert_eq!(count(0, "arc").with("begins", "begin"), "0 arcs begin");
    }
}
