//! Numbers with a fraction, for INCRBYFLOAT.
//!
//! Redis adds in the machine's `long double` and prints 17 digits after the point, without trailing
//! zeros: on x86 1000.1 + 0 gives 1000.09999999999999998, elsewhere something else. Here the sum of
//! two decimal texts is their exact decimal sum, rounded once to 17 digits after the point: 1000.1.
//! Where Redis's reply shows no rounding error of its own (up to about 18 digits in all) the two
//! agree.
//!
//! Not supported: hexadecimal floats, which C also reads.

/// Digits kept after the point.
const PLACES: usize = 17;

/// Largest power of ten; above it Redis's `long double` (x86) is infinite.
const MOST_EXPONENT: i64 = 4932;

/// Longest text that is read as a number, in bytes; as in Redis.
const LONGEST: usize = 5 * 1024;

/// A decimal number: digits, the most significant first, and how many of them are before the point
/// (below 0: zeros that come first after the point).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// A parsed number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// A number.
    Finite(Decimal),
    /// `inf` or `infinity`, with or without a sign.
    Infinite,
}

impl Number {
    /// The sum; `None` where it is infinite or not a number.
    pub fn plus(&self, other: &Number) -> Option<Decimal> {
        match (self, other) {
            (Number::Finite(one), Number::Finite(other)) => one.plus(other),
            _ => None,
        }
    }
}

/// Parses a text: a sign, digits with or without a point, an exponent. `None` if it is not a
/// number, or one that is too large or too small.
pub fn parse(text: &[u8]) -> Option<Number> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Some(Number::Infinite);
    }
    let (digits, point) = finite(rest, text.len())?;
    Some(Number::Finite(Decimal { negative, digits, point }.trimmed()))
}

fn finite(text: &[u8], len: usize) -> Option<(Vec<u8>, i64)> {
    if len > LONGEST {
        return None;
    }
    let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        None => (text, 0),
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
    };
    let mut parts = mantissa.splitn(2, |&b| b == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits: Vec<u8> = digits.iter().map(|b| b - b'0').collect();
    let point = whole.len() as i64 + exponent;
    let first = digits.iter().position(|&d| d != 0).map(|at| point - at as i64);
    match first {
        Some(size) if size.abs() > MOST_EXPONENT => None,
        Some(_) => Some((digits, point)),
        None => Some((Vec::new(), 0)),
    }
}

fn exponent(text: &[u8]) -> Option<i64> {
    let digits = match text {
        [b'-' | b'+', digits @ ..] => digits,
        digits => digits,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // An exponent this long is out of range whatever the digits are, unless they are zeros.
    let text = std::str::from_utf8(text).ok()?;
    Some(text.parse().unwrap_or(i64::MAX / 2))
}

impl Decimal {
    /// Parses a number, in tests.
    #[cfg(test)]
    pub(crate) fn of(text: &[u8]) -> Decimal {
        match parse(text) {
            Some(Number::Finite(number)) => number,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// The number without zeros at either end.
    fn trimmed(mut self) -> Decimal {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|&&d| d == 0).count();
        self.digits.drain(..zeros);
        self.point -= zeros as i64;
        if self.digits.is_empty() {
            return Decimal { negative: false, digits: Vec::new(), point: 0 };
        }
        self
    }

    /// The digit at 10 to the power of `power`.
    fn digit(&self, power: i64) -> u8 {
        let place = self.point - 1 - power;
        usize::try_from(place).ok().and_then(|place| self.digits.get(place)).copied().unwrap_or(0)
    }

    /// The sum, rounded to the digits that are kept; `None` where it is too large.
    pub fn plus(&self, other: &Decimal) -> Option<Decimal> {
        let top = self.point.max(other.point);
        let last = |n: &Decimal| n.point - n.digits.len() as i64;
        let bottom = last(self).min(last(other)).min(0);
        let column = |n: &Decimal, power| {
            let digit = i16::from(n.digit(power));
            if n.negative { -digit } else { digit }
        };
        // From the least significant column; a column is at most the difference of two digits.
        let mut columns: Vec<i16> =
            (bottom..top).map(|power| column(self, power) + column(other, power)).collect();
        let negative = columns.iter().rev().find(|&&c| c != 0).is_some_and(|&c| c < 0);
        if negative {
            columns.iter_mut().for_each(|c| *c = -*c);
        }
        let mut carry = 0;
        for column in &mut columns {
            let sum = *column + carry;
            *column = sum.rem_euclid(10);
            carry = sum.div_euclid(10);
        }
        columns.push(carry);
        let digits = columns.iter().rev().map(|&c| c as u8).collect();
        let sum = Decimal { negative, digits, point: top + 1 }.trimmed().rounded();
        (sum.point <= MOST_EXPONENT).then_some(sum)
    }

    /// The number rounded to the digits that are kept, half to even.
    fn rounded(mut self) -> Decimal {
        let kept = self.point + PLACES as i64;
        if self.digits.len() as i64 <= kept {
            return self;
        }
        if kept < 0 {
            return Decimal { negative: false, digits: Vec::new(), point: 0 };
        }
        let cut = self.digits.split_off(kept as usize);
        let is_odd = self.digits.last().is_some_and(|d| d % 2 == 1);
        let goes_up = match cut[0].cmp(&5) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => cut[1..].iter().any(|&d| d != 0) || is_odd,
        };
        if goes_up {
            self.digits.insert(0, 0);
            self.point += 1;
            let nines = self.digits.iter().rev().take_while(|&&d| d == 9).count();
            let at = self.digits.len() - nines;
            self.digits[at..].fill(0);
            // There is at least the 0 in front.
            self.digits[at - 1] += 1;
        }
        self.trimmed()
    }

    /// Its text: no exponent, no trailing zeros, no minus before 0.
    pub fn to_text(&self) -> Vec<u8> {
        let number = self.clone().rounded();
        let mut text = Vec::new();
        if number.negative {
            text.push(b'-');
        }
        for power in (0..number.point.max(1)).rev() {
            text.push(b'0' + number.digit(power));
        }
        let behind = number.digits.len() as i64 - number.point;
        if behind > 0 {
            text.push(b'.');
            text.extend((1..=behind).map(|place| b'0' + number.digit(-place)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::of(text.as_bytes())
    }

    fn sum(one: &str, other: &str) -> String {
        let sum = decimal(one).plus(&decimal(other)).expect("not too large");
        String::from_utf8(sum.to_text()).unwrap()
    }

    #[test]
    fn sums_have_the_format_of_redis() {
        // Verified with Redis 7.0.15 on x86-64.
        for (one, other, want) in SUMS_OF_REDIS {
            assert_eq!(sum(one, other), want, "{one} + {other}");
        }
    }

    const SUMS_OF_REDIS: [(&str, &str, &str); 31] = [
        ("0", "1", "1"),
        ("1", "0.25", "1.25"),
        ("1.5", "1.5", "3"),
        ("17179869184", "1.5", "17179869185.5"),
        ("17179869184", "17179869184", "34359738368"),
        ("1", "-1.1", "-0.1"),
        ("0.1", "0.2", "0.3"),
        ("0", "1e-17", "0.00000000000000001"),
        ("0", "1e-18", "0"),
        ("0", "4e-18", "0"),
        ("3.0e3", "200", "3200"),
        ("5.0e3", "2.0e2", "5200"),
        ("-0.5", "0.5", "0"),
        ("10.50", "0.1", "10.6"),
        ("0", "+5", "5"),
        ("0", ".5", "0.5"),
        ("0", "5.", "5"),
        ("0", "1E3", "1000"),
        ("0", "-1e-5", "-0.00001"),
        ("0.1", "-0.1", "0"),
        ("99.99", "0.01", "100"),
        ("0", "3.14159265358979", "3.14159265358979"),
        ("-1.25", "-1.25", "-2.5"),
        ("0", "007", "7"),
        ("9007199254740993", "0", "9007199254740993"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "0", "18446744073709551615"),
        ("1e18", "1", "1000000000000000001"),
        ("0", "0.00001", "0.00001"),
        ("123456789.5", "0.25", "123456789.75"),
        ("1", "1e-19", "1"),
    ];

    #[test]
    fn sums_that_are_exact_where_redis_rounds() {
        for (one, other, want) in [
            // Redis: 1000.09999999999999998, 1000.29999999999999999.
            ("1000.1", "0", "1000.1"),
            ("1000.1", "0.2", "1000.3"),
            ("1e400", "0", &format!("1{}", "0".repeat(400))),
            ("12345678901234567890.5", "0", "12345678901234567890.5"),
        ] {
            assert_eq!(sum(one, other), want, "{one} + {other}");
        }
    }

    #[test]
    fn rounding() {
        for (text, want) in [
            ("0.000000000000000005", "0"),
            ("0.0000000000000000050001", "0.00000000000000001"),
            ("0.000000000000000015", "0.00000000000000002"),
            ("0.000000000000000025", "0.00000000000000002"),
            ("0.999999999999999999", "1"),
            ("99.999999999999999999", "100"),
            ("-0.999999999999999999", "-1"),
            ("-0.000000000000000001", "0"),
            ("1e-4000", "0"),
        ] {
            assert_eq!(sum(text, "0"), want, "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_numbers() {
        for text in [
            "",
            " ",
            "abc",
            "1 ",
            " 1",
            "1.1.1",
            ".",
            "-",
            "+",
            "e5",
            "1e",
            "1e+",
            "1e5.0",
            "--1",
            "nan",
            "0x10",
            "1\0",
            "1e5000",
            "1e-5000",
            "1e99999999999999999999",
            "1,5",
            "infinit",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(&[b'1'; LONGEST + 1]), None);
    }

    #[test]
    fn texts_that_are_infinite() {
        for text in ["inf", "+inf", "-inf", "INF", "Infinity", "-infinity"] {
            assert_eq!(parse(text.as_bytes()), Some(Number::Infinite), "{text}");
        }
        let largest = decimal("9e4931");
        assert_eq!(largest.plus(&largest), None);
    }

    proptest! {
        #[test]
        fn sums_of_integers_match_integer_addition(one in -1_000_000_000_000i64..1_000_000_000_000, other: i32, places in 0u32..9) {
            let other = i64::from(other);
            let scale = 10i64.pow(places);
            let text = |n: i64| {
                let sign = if n < 0 { "-" } else { "" };
                let (whole, part) = (n.abs() / scale, n.abs() % scale);
                format!("{sign}{whole}.{part:0width$}", width = places as usize)
            };
            let got = sum(&text(one), &text(other));
            prop_assert_eq!(decimal(&got), decimal(&text(one + other)));
            prop_assert!(got == "0" || !got.contains('.') || !got.ends_with('0'));
            prop_assert!(got != "-0" && !got.ends_with('.'));
        }

        #[test]
        fn nothing_panics(one in r"[-+.e0-9]{0,12}", other in r"[-+.e0-9]{0,12}") {
            if let (Some(one), Some(other)) =
                (parse(one.as_bytes()), parse(other.as_bytes()))
                && let Some(sum) = one.plus(&other)
            {
                sum.to_text();
            }
        }
    }
}
