//! Licence expressions (SPDX): `MIT`, `(A OR B) AND C`, `A WITH an-exception`, and cargo's older
//! `A/B`.
//!
//! `AND` binds tighter than `OR`. A licence with an exception is one of its own: it is allowed by
//! that whole name.

/// Whether the licences that `may` be used satisfy an expression.
///
/// # Errors
/// The text is no expression; the error shows where.
pub fn is_met(text: &str, may: impl Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, may: &may };
    match (reader.either(), reader.words) {
        (Some(is_met), []) => Ok(is_met),
        _ => Err(format!("\"{text}\" is no licence expression")),
    }
}

/// The rest of an expression.
struct Reader<'a> {
    words: &'a [&'a str],
    may: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn either(&mut self) -> Option<bool> {
        let mut is_met = self.all()?;
        while self.takes("OR") {
            is_met |= self.all()?;
        }
        Some(is_met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut is_met = self.one()?;
        while self.takes("AND") {
            is_met &= self.one()?;
        }
        Some(is_met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let is_met = self.either()?;
            return self.takes(")").then_some(is_met);
        }
        let name = self.name()?;
        if self.takes("WITH") {
            let exception = self.name()?;
            return Some((self.may)(&format!("{name} WITH {exception}")));
        }
        Some((self.may)(name))
    }

    fn name(&mut self) -> Option<&'a str> {
        let (&name, rest) = self.words.split_first()?;
        let is_name = !["(", ")", "AND", "OR", "WITH"].contains(&name);
        self.words = rest;
        is_name.then_some(name)
    }

    fn takes(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        let may = |licence: &str| ["MIT", "Zlib", "A WITH e"].contains(&licence);
        let table = [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Zlib", true),
            ("MIT OR GPL-3.0 AND BSL-1.0", true),
            ("(MIT OR GPL-3.0) AND BSL-1.0", false),
            ("A WITH e", true),
            ("A", false),
            ("MIT WITH e", false),
        ];
        for (text, want) in table {
            assert_eq!(is_met(text, may), Ok(want), "{text}");
        }
    }

    #[test]
    fn malformed_expressions_are_refused() {
        for text in ["", "MIT OR", "(MIT", "MIT)", "MIT Zlib", "AND", "MIT WITH", "OR MIT"] {
            assert!(is_met(text, |_| true).is_err(), "{text}");
        }
    }
}
