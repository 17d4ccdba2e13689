//! Formats numbers for people: `1234567` as `1,234,567`, and as `1.2M` where space is short. Files
//! for programs (the CSVs) never use these.

use std::time::Duration;

/// Groups the digits by thousands: `12345` becomes `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Milliseconds, with their fraction.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A figure of a chart: whole and grouped from 100 up, with one decimal below,
/// where a rounded unit would be a visible error.
pub(crate) fn value(number: f64) -> String {
    if number >= 100.0 || number.fract() == 0.0 {
        thousands(number.round() as u64)
    } else {
        format!("{number:.1}")
    }
}

/// A mark of an axis, in as few characters as will do: `250`, `2.5k`, `3M`.
pub(crate) fn short(number: f64) -> String {
    let (scaled, suffix) = match number {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    // Two decimals, without trailing zeros.
    let text = format!("{scaled:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (123_456, "123,456"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn small_values_keep_a_decimal() {
        assert_eq!(value(14_285.71), "14,286");
        assert_eq!(value(99.94), "99.9");
        assert_eq!(value(7.0), "7");
    }

    #[test]
    fn axis_labels_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (250.0, "250"),
            (2_500.0, "2.5k"),
            (100_000.0, "100k"),
            (3e6, "3M"),
            (2e9, "2G"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
