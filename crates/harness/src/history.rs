//! Histories: the operations of clients with their outcomes, one per line.
//!
//! The format, for files and for people: a first line that names it, then for each operation
//!
//! ```text
//! CLIENT KEY KIND VALUE INVOKE RETURN OUTCOME
//! 3 c7.0 put 118 5012345 5345678 ok
//! 4 c7.0 get - 5112345 5145678 ok
//! ```
//!
//! separated by single spaces. CLIENT is a number; KIND is `put`, `get`, `delete` or `update`;
//! VALUE is the number that was put or found (all puts have different numbers), `-` for none, and
//! for an update the number that it put, a slash, and the number that it replaced (`118/97`,
//! `118/-`); INVOKE and RETURN are nanoseconds on one monotonic clock; OUTCOME is `ok`, `failed`
//! (certainly not done) or `unknown` (may have been done, or be done later). Lines that begin with
//! `#` are remarks. The order of lines is free.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::str::FromStr;

/// The first line of a history.
pub const HEADER: &str = "# GT Store history 1: CLIENT KEY KIND VALUE INVOKE RETURN OUTCOME";

/// The operation, with the value that it found if it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Put this number.
    Put(u64),
    /// Delete the key.
    Delete,
    /// Read the key, and found this.
    Get(Option<u64>),
    /// Replace the value by this number, atomically; the second is the value that was replaced.
    Update(u64, Option<u64>),
}

/// The outcome that the client received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Certainly not done.
    Failed,
    /// Done, not done, or yet to happen.
    Unknown,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The client's number.
    pub client: u32,
    /// The key.
    pub key: String,
    /// The operation.
    pub kind: Kind,
    /// Time of the call, in nanoseconds.
    pub invoke: u64,
    /// Time of the return.
    pub ret: u64,
    /// The outcome.
    pub outcome: Outcome,
}

impl Record {
    /// The value that it writes.
    pub fn written(&self) -> Option<u64> {
        match self.kind {
            Kind::Put(value) | Kind::Update(value, _) => Some(value),
            Kind::Get(_) | Kind::Delete => None,
        }
    }

    /// The value that it found, whatever its outcome.
    pub fn found(&self) -> Option<u64> {
        match self.kind {
            Kind::Get(found) | Kind::Update(_, found) => found,
            Kind::Put(_) | Kind::Delete => None,
        }
    }
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Reading the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first line is not [`HEADER`].
    #[error("this is no history: the first line is not {HEADER:?}")]
    Header,
    /// This line is malformed.
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.client, self.key)?;
        let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
        match self.kind {
            Kind::Put(value) => write!(f, "put {value}")?,
            Kind::Delete => f.write_str("delete -")?,
            Kind::Get(value) => write!(f, "get {}", number(value))?,
            Kind::Update(value, found) => write!(f, "update {value}/{}", number(found))?,
        }
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        };
        write!(f, " {} {} {outcome}", self.invoke, self.ret)
    }
}

impl FromStr for Record {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Record, &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        let [client, key, kind, value, invoke, ret, outcome] = words[..] else {
            return Err("an operation has seven words");
        };
        let number = |text: &str| match text {
            "-" => Ok(None),
            number => number.parse().map(Some).map_err(|_| "a value is a number or -"),
        };
        let (value, found) = value.split_once('/').unwrap_or((value, "-"));
        let kind = match (kind, number(value)?, number(found)?) {
            ("update", Some(value), found) => Kind::Update(value, found),
            ("put", Some(value), None) => Kind::Put(value),
            ("delete", None, None) => Kind::Delete,
            ("get", value, None) => Kind::Get(value),
            _ => return Err("put with a value, delete with none, get, or update with VALUE/FOUND"),
        };
        let outcome = match outcome {
            "ok" => Outcome::Ok,
            "failed" => Outcome::Failed,
            "unknown" => Outcome::Unknown,
            _ => return Err("an outcome is ok, failed or unknown"),
        };
        let time = |text: &str| text.parse::<u64>().map_err(|_| "a time is a number");
        let (invoke, ret) = (time(invoke)?, time(ret)?);
        if ret < invoke {
            return Err("it returned before it was called");
        }
        let client = client.parse().map_err(|_| "a client is a number")?;
        Ok(Record { client, key: key.into(), kind, invoke, ret, outcome })
    }
}

/// Operations by key.
pub type Histories = BTreeMap<String, Vec<Record>>;

/// Writes histories as lines.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut impl Write, histories: &Histories) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for record in histories.values().flatten() {
        writeln!(out, "{record}")?;
    }
    out.flush()
}

/// Reads histories.
///
/// # Errors
/// [`HistoryError`] with the first line that is wrong.
pub fn read(input: impl BufRead) -> Result<Histories, HistoryError> {
    let mut histories = Histories::new();
    for (at, line) in input.lines().enumerate() {
        let line = line?;
        if at == 0 && line != HEADER {
            return Err(HistoryError::Header);
        }
        if line.starts_with('#') {
            continue;
        }
        let record: Record = line.parse().map_err(|why| HistoryError::Line(at + 1, why))?;
        histories.entry(record.key.clone()).or_default().push(record);
    }
    if histories.is_empty() {
        // An empty or truncated file: passing it would report a check that never happened.
        return Err(HistoryError::Header);
    }
    Ok(histories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_history_is_read() {
        let lines = "1 a put 7 10 20 ok\n2 a get - 11 12 ok\n3 b get 7 5 9 failed\n\
                     4 b update 8/7 10 20 ok\n5 b update 9/- 10 20 unknown\n\
                     1 b delete - 30 90 unknown\n";
        let text = format!("{HEADER}\n{lines}");
        let histories = read(text.as_bytes()).expect("a good history");
        assert_eq!((histories["a"].len(), histories["b"].len()), (2, 4));
        assert_eq!(histories["a"][1].kind, Kind::Get(None));
        let mut out = Vec::new();
        write(&mut out, &histories).expect("memory takes everything");
        assert_eq!(String::from_utf8(out).expect("text"), text);
    }

    #[test]
    fn errors_name_the_line() {
        for (line, want) in [
            ("1 a put 7 10 20", "line 2: an operation has seven words"),
            ("1 a put - 10 20 ok", "line 2: put with a value"),
            ("1 a delete 3 10 20 ok", "line 2: put with a value"),
            ("1 a get x 10 20 ok", "line 2: a value is"),
            ("1 a get 1 20 10 ok", "line 2: it returned before"),
            ("1 a get 1 10 20 fine", "line 2: an outcome is"),
            ("", "line 2: an operation has seven words"),
        ] {
            let error = read(format!("{HEADER}\n{line}\n").as_bytes()).expect_err(line);
            assert!(error.to_string().starts_with(want), "{line}: {error}");
        }
        for none in ["", "1 a put 7 10 20 ok\n", &format!("{HEADER}\n")] {
            assert!(matches!(read(none.as_bytes()), Err(HistoryError::Header)), "{none:?}");
        }
    }
}
