//! Self-describing values: `k12.w3.s45ttttt` is the 45th value of key 12, by worker 3, padded to
//! length. A reader recognizes a value of another key, a truncated value, and a mixture of two
//! values (whose paddings differ).

use std::io::Write;

/// The description that a value contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The key it was written to.
    pub key_index: u32,
    /// The worker that wrote it.
    pub worker: u32,
    /// Which value of this key it is, from 1.
    pub sequence: u64,
}

impl Stamp {
    /// The value: `value_len` bytes, or as many as the stamp needs if that is
    /// more. It has no `|`, which would split a put of the original protocol.
    pub fn encode(&self, value_len: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(value_len.max(24));
        write!(value, "k{}.w{}.s{}", self.key_index, self.worker, self.sequence)
            .expect("a vector takes all bytes");
        if value.len() < value_len {
            value.resize(value_len, padding(self.sequence));
        }
        value
    }

    /// Decodes a value; `None` unless it is exactly what [`Stamp::encode`] returns for this
    /// `value_len`.
    pub fn decode(value: &[u8], value_len: usize) -> Option<Self> {
        let (key_index, rest) = number(value.strip_prefix(b"k")?)?;
        let (worker, rest) = number(rest.strip_prefix(b".w")?)?;
        let (sequence, rest) = number(rest.strip_prefix(b".s")?)?;
        let length_fits =
            if rest.is_empty() { value.len() >= value_len } else { value.len() == value_len };
        let whole = length_fits && rest.iter().all(|&byte| byte == padding(sequence));
        whole.then_some(Self {
            key_index: u32::try_from(key_index).ok()?,
            worker: u32::try_from(worker).ok()?,
            sequence,
        })
    }
}

/// A letter that differs between a value and the next, and from any digit.
fn padding(sequence: u64) -> u8 {
    b'a' + (sequence % 26) as u8
}

/// The decimal number at the front, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    if digits.len() > 1 && digits[0] == b'0' {
        // A number has one spelling, and this is not it.
        return None;
    }
    let number = str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { key_index: 12, worker: 3, sequence: 45 };

    #[test]
    fn a_value_has_the_documented_text() {
        assert_eq!(STAMP.encode(15), b"k12.w3.s45ttttt");
        assert_eq!(STAMP.encode(10), b"k12.w3.s45");
        assert_eq!(STAMP.encode(0), b"k12.w3.s45", "never cut short");
    }

    #[test]
    fn an_encoded_stamp_is_decoded() {
        for key_index in [0, 1, 10, u32::MAX] {
            for worker in [0, 9, u32::MAX] {
                for sequence in [1, 26, 99, u64::MAX] {
                    let stamp = Stamp { key_index, worker, sequence };
                    for value_len in [0, 8, 16, 64, 1024] {
                        let value = stamp.encode(value_len);
                        assert_eq!(Stamp::decode(&value, value_len), Some(stamp));
                    }
                }
            }
        }
    }

    #[test]
    fn any_byte_lost_added_or_changed_is_noticed() {
        let value = STAMP.encode(16);
        for at in 0..value.len() {
            assert_eq!(Stamp::decode(&value[..at], 16), None);
            for byte in 0..=u8::MAX {
                let mut changed = value.clone();
                changed[at] = byte;
                // A changed digit may make another whole stamp, never this one.
                let decoded = Stamp::decode(&changed, 16);
                assert_eq!(decoded == Some(STAMP), changed == value);
                let mut added = value.clone();
                added.insert(at, byte);
                assert_eq!(Stamp::decode(&added, 16), None);
            }
        }
    }

    #[test]
    fn a_mixture_of_two_values_is_noticed() {
        let next = Stamp { sequence: 46, ..STAMP };
        let (old, new) = (STAMP.encode(64), next.encode(64));
        for cut in 11..64 {
            let torn = [&new[..cut], &old[cut..]].concat();
            assert_eq!(Stamp::decode(&torn, 64), None);
        }
    }

    #[test]
    fn other_texts_are_not_stamps() {
        for text in [
            "",
            "k",
            "k1",
            "k1.w2",
            "k1.w2.s",
            "k.w2.s3",
            "k01.w2.s3",
            "k1.w2.s+3",
            "k4294967296.w2.s3",
            "k1.w2.s18446744073709551616",
            "K1.w2.s3",
        ] {
            assert_eq!(Stamp::decode(text.as_bytes(), 0), None, "{text}");
        }
    }
}
