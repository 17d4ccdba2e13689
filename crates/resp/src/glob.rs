//! The patterns of KEYS and SCAN MATCH.
//!
//! `*` matches any bytes, `?` any one byte, `[abc]`, `[a-z]` and `[^a-z]` a byte in or outside a
//! class; `\` makes the byte after it literal; any other byte matches itself. There is no invalid
//! pattern: a class that is not closed extends to the end of the pattern, and a backslash at the
//! end is a backslash.
//!
//! A pattern is compiled once and then matched against millions of keys. Matching goes from star to
//! star and never backtracks behind the last one: once the text after a star has been found, that
//! star need not be tried again, since the next star can match the same bytes as well. So a key of
//! n bytes costs at most n² steps, whatever the pattern. A pattern that needs more bytes than any
//! key has matches nothing, and its steps are not stored.

/// Length in bytes of the longest key that can match; a pattern that needs more bytes matches
/// nothing. It is the longest key that any cluster can allow.
pub const LONGEST_KEY: usize = 1024;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// `None`: it needs more bytes than a key can have.
    steps: Option<Vec<PatternStep>>,
    classes: Vec<ByteClass>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatternStep {
    /// Any number of bytes.
    Star,
    /// Any byte.
    One,
    /// This byte.
    Byte(u8),
    /// A byte of the class with this index.
    Class(u16),
}

/// A set of bytes, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct ByteClass([u64; 4]);

impl ByteClass {
    fn add(&mut self, first: u8, last: u8) {
        for byte in first.min(last)..=first.max(last) {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

impl Pattern {
    /// Compiles a pattern. With `ignore_case` the case of ASCII letters does not matter, as for the
    /// parameter names of CONFIG GET.
    pub fn new(pattern: &[u8], ignore_case: bool) -> Pattern {
        let mut compiled = Pattern { steps: None, classes: Vec::new() };
        let mut steps = Vec::new();
        let mut bytes = 0;
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            let step = match first {
                b'*' if steps.last() == Some(&PatternStep::Star) => continue,
                b'*' => PatternStep::Star,
                b'?' => PatternStep::One,
                b'[' => {
                    let (class, after) = class(rest, ignore_case);
                    rest = after;
                    compiled.classes.push(class);
                    PatternStep::Class(compiled.classes.len() as u16 - 1)
                }
                b'\\' if !rest.is_empty() => {
                    let byte = rest[0];
                    rest = &rest[1..];
                    PatternStep::Byte(byte)
                }
                &byte => PatternStep::Byte(byte),
            };
            steps.push(match step {
                PatternStep::Byte(byte) if ignore_case && byte.is_ascii_alphabetic() => {
                    let mut both = ByteClass::default();
                    both.add(byte.to_ascii_lowercase(), byte.to_ascii_lowercase());
                    both.add(byte.to_ascii_uppercase(), byte.to_ascii_uppercase());
                    compiled.classes.push(both);
                    PatternStep::Class(compiled.classes.len() as u16 - 1)
                }
                step => step,
            });
            bytes += usize::from(step != PatternStep::Star);
            if bytes > LONGEST_KEY {
                return Pattern { steps: None, classes: Vec::new() };
            }
        }
        compiled.steps = Some(steps);
        compiled
    }

    /// Whether a key matches.
    pub fn matches(&self, key: &[u8]) -> bool {
        let Some(steps) = &self.steps else {
            return false;
        };
        let (mut at, mut step) = (0, 0);
        // The step after the last star, and the end of the bytes that the star has matched so far.
        let mut star: Option<(usize, usize)> = None;
        loop {
            match steps.get(step) {
                Some(PatternStep::Star) => {
                    step += 1;
                    if step == steps.len() {
                        return true;
                    }
                    star = Some((step, at));
                    continue;
                }
                Some(&wanted) if at < key.len() && self.fits(wanted, key[at]) => {
                    (at, step) = (at + 1, step + 1);
                    continue;
                }
                None if at == key.len() => return true,
                _ => {}
            }
            // No match: the last star takes one byte more.
            match &mut star {
                Some((after, taken)) if *taken < key.len() => {
                    *taken += 1;
                    (at, step) = (*taken, *after);
                }
                _ => return false,
            }
        }
    }

    fn fits(&self, step: PatternStep, byte: u8) -> bool {
        match step {
            PatternStep::Byte(wanted) => wanted == byte,
            PatternStep::Class(place) => self.classes[usize::from(place)].has(byte),
            PatternStep::One | PatternStep::Star => true,
        }
    }
}

/// Reads a class up to its `]`, or to the end of the pattern. Returns the class and the rest.
fn class(mut rest: &[u8], ignore_case: bool) -> (ByteClass, &[u8]) {
    let mut class = ByteClass::default();
    let negated = rest.first() == Some(&b'^');
    rest = &rest[usize::from(negated)..];
    loop {
        let (first, last, len) = match rest {
            [] => break,
            [b'\\', byte, ..] => (*byte, *byte, 2),
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [first, b'-', last, ..] => (*first, *last, 3),
            [byte, ..] => (*byte, *byte, 1),
        };
        class.add(first, last);
        if ignore_case {
            // As in Redis: the ends of the range are lowercased first, then the range between them
            // is added.
            class.add(first.to_ascii_lowercase(), last.to_ascii_lowercase());
        }
        rest = &rest[len..];
    }
    if ignore_case {
        for letter in b'a'..=b'z' {
            if class.has(letter) {
                class.add(letter.to_ascii_uppercase(), letter.to_ascii_uppercase());
            }
        }
    }
    if negated {
        class.0 = class.0.map(|bits| !bits);
    }
    (class, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern.as_bytes(), false).matches(key.as_bytes())
    }

    #[test]
    fn keys_that_match() {
        for (pattern, key) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("**", "anything"),
            ("foo*", "foo_a"),
            ("foo*", "foo"),
            ("*foo", "afoofoo"),
            ("a*b*c", "a--b--b--c"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            // A range may end with the bracket; then the class is not closed.
            ("[a-]", "_"),
            ("[a-]b", "b"),
            ("[^]", "x"),
            (r"[\]]", "]"),
            (r"[\^a]", "^"),
            (r"[a\-z]", "-"),
            ("[abc", "b"),
            (r"\*", "*"),
            (r"a\", r"a\"),
            (r"\a", "a"),
            ("{a}*", "{a}x"),
            ("*{b}*", "{b}c"),
            ("key:1??", "key:123"),
            ("*?", "a"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, key), "{pattern} {key}");
        }
    }

    #[test]
    fn keys_that_do_not_match() {
        for (pattern, key) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("foo*", "fo"),
            ("*foo", "foox"),
            ("h?llo", "hllo"),
            ("h[ae]llo", "hillo"),
            ("h[^e]llo", "hello"),
            ("[]", "]"),
            ("x[", "x["),
            ("[]a]", "]a]"),
            ("[a-]", "-"),
            (r"[a\-z]", "b"),
            (r"\*", "a"),
            ("a*b", "a"),
            ("*?", ""),
            ("A", "a"),
        ] {
            assert!(!matches(pattern, key), "{pattern} {key}");
        }
    }

    #[test]
    fn case_may_not_matter() {
        let folded = |pattern: &str, key: &str| {
            Pattern::new(pattern.as_bytes(), true).matches(key.as_bytes())
        };
        assert!(folded("SaVe", "save") && folded("save", "SAVE") && folded("MAX*", "maxmemory"));
        assert!(folded("[A-C]x", "bX") && folded("[^a]", "b") && !folded("[^a]", "A"));
        assert!(!folded("saved", "save"));
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = Pattern::new(&b"*?".repeat(50_000), false);
        assert!(!pattern.matches(&[b'a'; LONGEST_KEY]));
        let pattern = Pattern::new(&[b"a*".repeat(LONGEST_KEY - 1), b"b".to_vec()].concat(), false);
        assert!(!pattern.matches(&[b'a'; LONGEST_KEY]));
        let pattern = Pattern::new(b"*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", false);
        assert!(!pattern.matches(&[b'a'; LONGEST_KEY]));
        let half = [b"*".to_vec(), vec![b'a'; LONGEST_KEY / 2], b"b".to_vec()].concat();
        assert!(!Pattern::new(&half, false).matches(&[b'a'; LONGEST_KEY]));
    }

    /// The definition itself, which is slow.
    fn slowly(pattern: &[u8], key: &[u8]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            ([b'*', rest @ ..], key) => (0..=key.len()).any(|n| slowly(rest, &key[n..])),
            (_, []) => false,
            ([b'?', rest @ ..], [_, key @ ..]) => slowly(rest, key),
            ([b'\\', byte, rest @ ..], [first, key @ ..]) => byte == first && slowly(rest, key),
            ([b'[', rest @ ..], [first, key @ ..]) => {
                let (class, rest) = class(rest, false);
                class.has(*first) && slowly(rest, key)
            }
            ([byte, rest @ ..], [first, key @ ..]) => byte == first && slowly(rest, key),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in r"[ab*?\[\]^\\-]{0,12}", key in r"[ab\\\]^-]{0,10}") {
            let ready = Pattern::new(pattern.as_bytes(), false);
            prop_assert_eq!(
                ready.matches(key.as_bytes()),
                slowly(pattern.as_bytes(), key.as_bytes())
            );
        }
    }
}
