//! Amounts in words, for those who read them.

use std::fmt;

/// A number of bytes as a person would write it: `1.2 GB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            n @ 0..1_000 => write!(f, "{n} bytes"),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_a_person_writes_them() {
        for (bytes, want) in [
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (43_100_000, "43.1 MB"),
            (1_234_000_000, "1.2 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }
}
