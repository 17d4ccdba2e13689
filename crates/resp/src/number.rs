//! Integers as Redis parses and formats them.

/// Parses an integer, strictly: digits with an optional minus, no plus, no white space, no leading
/// zero, no `-0`, and within 64 bits. So each integer has exactly one text, and a value that counts
/// as an integer can be incremented.
#[inline]
pub fn integer(text: &[u8]) -> Option<i64> {
    let (minus, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !minus => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    if digits.len() <= 18 {
        // This cannot overflow.
        let mut number = 0i64;
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + i64::from(digit);
        }
        return Some(if minus { -number } else { number });
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses an integer without a sign, such as a SCAN cursor or an id.
pub fn natural(text: &[u8]) -> Option<u64> {
    match text {
        [b'0', _, ..] | [b'+', ..] => None,
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// Appends an integer as text.
#[inline]
pub fn write_integer(number: i64, out: &mut Vec<u8>) {
    // The longest is -9223372036854775808.
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_integers() {
        for (text, want) in [
            ("0", 0),
            ("1", 1),
            ("-1", -1),
            ("10", 10),
            ("999999999999999999", 999_999_999_999_999_999),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(want), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_integers() {
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "00",
            "-0",
            "-01",
            "1.0",
            "1e3",
            "0x10",
            "a",
            "1a",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999999",
            "-99999999999999999999999",
            "123456789012345678a",
            "12345678901234567890a",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
        assert_eq!(integer(b"1\0"), None);
    }

    #[test]
    fn texts_that_are_natural_numbers() {
        assert_eq!(natural(b"0"), Some(0));
        assert_eq!(natural(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "01", " 1", "18446744073709551616", "abc", "1 "] {
            assert_eq!(natural(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_integers_are_parsed_back(number: i64) {
            let mut text = Vec::new();
            write_integer(number, &mut text);
            prop_assert_eq!(&text, &number.to_string().into_bytes());
            prop_assert_eq!(integer(&text), Some(number));
        }

        #[test]
        fn an_integer_has_one_text(text in "[-+ 0-9a]{0,22}") {
            if let Some(number) = integer(text.as_bytes()) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
