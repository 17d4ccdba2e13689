//! Inline requests: lines of words, as a person types them at a terminal.
//!
//! Words are separated by white space. A word, or a part of it, may be quoted: in double quotes
//! `\n`, `\r`, `\t`, `\b`, `\a` and `\xhh` are escapes for a byte, and any other `\c` is `c`; in
//! single quotes only `\'` is an escape. A closing quote must end its word.

use crate::args::Span;

/// Splits a line into words, in place: unquoting only ever removes bytes, so each word is moved to
/// where it began. Pushes each word as a span, shifted by `offset`. Returns `false` if a quote is
/// not closed, or a closing quote is not followed by white space.
pub fn split(line: &mut [u8], offset: usize, words: &mut Vec<Span>) -> bool {
    let mut read = 0;
    loop {
        while line.get(read).is_some_and(|&b| is_space(b)) {
            read += 1;
        }
        if read == line.len() {
            return true;
        }
        let start = read;
        let mut write = start;
        while let Some(&byte) = line.get(read)
            && !is_space(byte)
        {
            if byte != b'"' && byte != b'\'' {
                line[write] = byte;
                (read, write) = (read + 1, write + 1);
                continue;
            }
            match unquote(line, read, write) {
                Some(moved) => (read, write) = moved,
                None => return false,
            }
            if line.get(read).is_some_and(|&b| !is_space(b)) {
                return false;
            }
        }
        words.push(Span::new(offset + start, offset + write));
    }
}

/// Unquotes the word at `read`, and moves it to `write`. Returns the ends of both.
fn unquote(line: &mut [u8], mut read: usize, mut write: usize) -> Option<(usize, usize)> {
    let quote = line[read];
    read += 1;
    loop {
        let byte = *line.get(read)?;
        if byte == quote {
            return Some((read + 1, write));
        }
        let (meant, len) = match byte {
            b'\\' if quote == b'"' => escaped(&line[read + 1..]),
            b'\\' if line.get(read + 1) == Some(&b'\'') => (b'\'', 2),
            _ => (byte, 1),
        };
        line[write] = meant;
        (read, write) = (read + len, write + 1);
    }
}

/// The byte that an escape sequence stands for, and the length of the sequence.
fn escaped(after: &[u8]) -> (u8, usize) {
    let digit = |&b: &u8| (b as char).to_digit(16).map(|d| d as u8);
    match after {
        [b'x', high, low, ..] if digit(high).is_some() && digit(low).is_some() => {
            (digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0), 4)
        }
        [b'n', ..] => (b'\n', 2),
        [b'r', ..] => (b'\r', 2),
        [b't', ..] => (b'\t', 2),
        [b'b', ..] => (0x08, 2),
        [b'a', ..] => (0x07, 2),
        [other, ..] => (*other, 2),
        [] => (b'\\', 1),
    }
}

/// White space as defined by C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;

    fn words(line: &str) -> Option<Vec<String>> {
        let (mut buffer, mut spans) = (line.as_bytes().to_vec(), Vec::new());
        let text = |word: &[u8]| word.escape_ascii().to_string();
        split(&mut buffer, 0, &mut spans)
            .then(|| Args::new(&buffer, &spans).iter().map(text).collect())
    }

    #[test]
    fn words_and_quotes() {
        for (line, want) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("get a", &["get", "a"]),
            (" set  a\tb ", &["set", "a", "b"]),
            (r#"set a "b c""#, &["set", "a", "b c"]),
            (r#"set a """#, &["set", "a", ""]),
            (r"set a ''", &["set", "a", ""]),
            (r#""a\nb\r\t\b\a\\\"\q""#, &[r#"a\nb\r\t\x08\x07\\\"q"#]),
            (r#""\x00\xfF\xg0""#, &[r"\x00\xffxg0"]),
            (r#"'a\'b\n"c'"#, &[r#"a\'b\\n\"c"#]),
            (r#"pre"fix ed" next"#, &["prefix ed", "next"]),
            (r"back\slash", &[r"back\\slash"]),
            ("ä", &[r"\xc3\xa4"]),
        ] {
            assert_eq!(words(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn quotes_that_do_not_balance() {
        for line in [r#"""#, "'", r#"set a "b"#, r#"set a "b"c"#, r#""a""b""#, "'b'a'r", r#""a\"#] {
            assert_eq!(words(line), None, "{line}");
        }
    }
}
