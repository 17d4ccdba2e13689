//! Self-describing values: key, sequence number, checksum.
//!
//! | bytes | what |
//! |---|---|
//! | u32 | CRC-32 of all that follows |
//! | u64 | the sequence number: which write of this key it is |
//! | u16, bytes | the key |
//! | bytes | filler that follows from the sequence number, up to the wanted length |
//!
//! All big-endian. A truncated value, or a mixture of two, does not match its checksum; a value
//! under a wrong key is recognized by the key in it.

/// Bytes of a value besides its key.
const HEADER: usize = 4 + 8 + 2;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// No client wrote these bytes.
    #[error("{0} bytes that do not fit their checksum")]
    Checksum(usize),
    /// It was written to another key.
    #[error("the value of {0}")]
    Foreign(String),
}

/// Encodes the value of this write: `len` bytes, or as many as the header and the key (1 to 65,535
/// bytes) need.
pub fn encode(key: &str, sequence: u64, len: usize) -> Vec<u8> {
    let key_len = u16::try_from(key.len()).expect("the keys here have a few bytes");
    let mut value = Vec::with_capacity(len.max(HEADER + key.len()));
    value.extend([0; 4]);
    value.extend(sequence.to_be_bytes());
    value.extend(key_len.to_be_bytes());
    value.extend(key.as_bytes());
    // Xorshift is enough: the filler only has to differ between values.
    let mut state = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while value.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.push(state as u8);
    }
    let checksum = crc32fast::hash(&value[4..]);
    value[..4].copy_from_slice(&checksum.to_be_bytes());
    value
}

/// Decodes the sequence number of a value of this key.
///
/// # Errors
/// [`Torn`].
pub fn decode(key: &str, value: &[u8]) -> Result<u64, Torn> {
    let torn = || Torn::Checksum(value.len());
    let (checksum, rest) = value.split_first_chunk::<4>().ok_or_else(torn)?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*checksum) {
        return Err(torn());
    }
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or_else(torn)?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(torn)?;
    let whose = rest.get(..usize::from(u16::from_be_bytes(*len))).ok_or_else(torn)?;
    if whose != key.as_bytes() {
        return Err(Torn::Foreign(String::from_utf8_lossy(whose).into_owned()));
    }
    Ok(u64::from_be_bytes(*sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_value_is_decoded() {
        for len in [0, 1, 50, 4096] {
            for sequence in [0, 1, u64::MAX] {
                let value = encode("c3.17", sequence, len);
                assert_eq!(value.len(), len.max(HEADER + 5));
                assert_eq!(decode("c3.17", &value), Ok(sequence));
            }
        }
        assert_ne!(encode("k", 1, 100)[20..], encode("k", 2, 100)[20..], "the filler differs");
    }

    #[test]
    fn any_byte_lost_added_or_changed_is_noticed() {
        let value = encode("c3.17", 9, 60);
        for at in 0..value.len() {
            assert_eq!(decode("c3.17", &value[..at]), Err(Torn::Checksum(at)));
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert_eq!(decode("c3.17", &changed), Err(Torn::Checksum(60)));
            let mut added = value.clone();
            added.insert(at, 0);
            assert_eq!(decode("c3.17", &added), Err(Torn::Checksum(61)));
        }
    }

    #[test]
    fn mixed_and_foreign_values_are_noticed() {
        let (old, new) = (encode("c3.17", 9, 4000), encode("c3.17", 10, 4000));
        for cut in [1, 4, 12, 19, 512, 3999] {
            let torn = [&new[..cut], &old[cut..]].concat();
            assert_eq!(decode("c3.17", &torn), Err(Torn::Checksum(4000)), "{cut}");
        }
        let error = decode("c3.18", &old).expect_err("another key's");
        assert_eq!(error.to_string(), "the value of c3.17");
        // A value with a matching checksum may still be malformed.
        let mut bad = [[0; 4].as_slice(), &[0; 8], &[255; 3]].concat();
        let checksum = crc32fast::hash(&bad[4..]);
        bad[..4].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(decode("c3.17", &bad), Err(Torn::Checksum(15)));
    }
}
