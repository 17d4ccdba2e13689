//! The slot of a key.
//!
//! `slot(key)` is CRC16/XMODEM of the key modulo 16,384: the function of Redis Cluster (its
//! cluster specification, "Key distribution model"), so that cluster-aware Redis clients can route
//! by themselves. A key with a non-empty `{tag}` is placed by its tag, so keys that share a tag
//! share a slot. The values are frozen: processes of different versions must agree, and the tests
//! pin them.

/// Number of slots, fixed for ever.
pub const SLOTS: u16 = 16_384;

/// The slot of a key, below [`SLOTS`].
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

/// The part of a key that is hashed: the text between the first `{` and the next `}`, if that is
/// not empty; else the whole key.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|&b| b == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC16/XMODEM: polynomial 0x1021, start 0, most significant bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The CRC of each byte value, made at compile time.
static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        // CRC16/XMODEM's published check value, and slots that Redis Cluster's CLUSTER KEYSLOT
        // gives.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, want) in [
            ("", 0),
            ("foo", 12_182),
            ("bar", 5_061),
            ("hello", 866),
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("123456789", 12_739),
        ] {
            assert_eq!(slot(key.as_bytes()), want, "{key}");
        }
    }

    #[test]
    fn tags_share_a_slot_as_the_redis_specification_says() {
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(tag(b"foo{bar"), b"foo{bar");
    }

    #[test]
    fn the_table_agrees_with_the_bitwise_definition() {
        let bitwise = |bytes: &[u8]| {
            let mut crc = 0u16;
            for &byte in bytes {
                crc ^= u16::from(byte) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                }
            }
            crc
        };
        for n in 0..2_000u32 {
            let key = format!("key{}", n.wrapping_mul(2_654_435_761));
            assert_eq!(crc16(key.as_bytes()), bitwise(key.as_bytes()));
        }
    }
}
