//! Whether a key's history is linearizable, by porcupine: is there one order of its operations, each at
//! some moment between its call and its return, in which every get finds the last put or delete?
//!
//! A failed operation must not have happened, so it is left out. An unknown write may happen at any
//! time after its call, or never: it returns at the end of time. (One whose value nobody found is left
//! out: where an order with it is right, so is the same order without it, or with it as the very last.)

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use crate::history::{Histories, Kind, Outcome, Record};

/// How long the checker may think about one key. Histories are kept so short that it takes milliseconds;
/// what is not decided in this time counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A key whose history is not right.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What is wrong.
    pub what: &'static str,
    /// Everything that happened to the key.
    pub history: Vec<Record>,
}

impl fmt::Display for Violation {
    /// The key and its history by time, compactly: times in milliseconds since its first call.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut history: Vec<&Record> = self.history.iter().collect();
        history.sort_by_key(|record| record.invoke);
        let Some(first) = history.first() else { return f.write_str(self.what) };
        writeln!(f, "VIOLATION: key {}: {}", first.key, self.what)?;
        for record in &history {
            let ms = |at: u64| at.saturating_sub(first.invoke) as f64 / 1e6;
            let what = match record.kind {
                Kind::Put(value) => format!("put {value}"),
                Kind::Delete => "delete".into(),
                Kind::Get(Some(value)) => format!("get = {value}"),
                Kind::Get(None) => "get = none".into(),
                Kind::Update(value, Some(found)) => format!("update {found} -> {value}"),
                Kind::Update(value, None) => format!("update none -> {value}"),
            };
            let outcome = match record.outcome {
                Outcome::Ok => "",
                Outcome::Failed => "  FAILED",
                Outcome::Unknown => "  UNKNOWN",
            };
            let (from, to) = (ms(record.invoke), ms(record.ret));
            writeln!(f, "  {from:>10.3} {to:>10.3}  client {:<3} {what}{outcome}", record.client)?;
        }
        Ok(())
    }
}

/// A key: absent, or with a value.
#[derive(Debug, Clone)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = Kind;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, op: &Kind) -> (bool, Option<u64>) {
        match *op {
            Kind::Put(value) => (true, Some(value)),
            Kind::Delete => (true, None),
            Kind::Get(found) => (*state == found, *state),
            Kind::Update(value, found) => (*state == found, Some(value)),
        }
    }
}

/// Checks one key.
///
/// # Errors
/// [`Violation`]; undecided is one.
pub fn key(history: &[Record]) -> Result<(), Violation> {
    let violation = |what| Violation { what, history: history.to_vec() };
    let mut put = HashSet::new();
    let is_double = |record: &Record| match record.kind {
        Kind::Put(value) | Kind::Update(value, _) => !put.insert(value),
        Kind::Get(_) | Kind::Delete => false,
    };
    if history.iter().any(is_double) {
        return Err(violation("a value was put twice: this history proves nothing"));
    }
    let found: HashSet<u64> = history
        .iter()
        .filter_map(|record| match record.kind {
            // What an update was made from it has found, whatever came of it.
            Kind::Get(value) | Kind::Update(_, value) => value,
            Kind::Put(_) | Kind::Delete => None,
        })
        .collect();
    let counts = |record: &&Record| match (record.outcome, record.kind) {
        (Outcome::Ok, _) => true,
        (Outcome::Failed, _) | (Outcome::Unknown, Kind::Get(_)) => false,
        (Outcome::Unknown, Kind::Put(value) | Kind::Update(value, _)) => found.contains(&value),
        (Outcome::Unknown, Kind::Delete) => true,
    };
    let operations: Vec<Operation<Register>> = history
        .iter()
        .filter(counts)
        .map(|record| Operation {
            client_id: Some(record.client),
            call_time: record.invoke as i64,
            return_time: match record.outcome {
                Outcome::Unknown => i64::MAX,
                _ => record.ret as i64,
            },
            op: record.kind,
            metadata: None,
        })
        .collect();
    match check_operations_timeout(&operations, PATIENCE) {
        CheckResult::Ok => Ok(()),
        CheckResult::Illegal => Err(violation("not linearizable")),
        CheckResult::Unknown => Err(violation("the checker did not decide in time")),
    }
}

/// Checks every key.
pub fn all(histories: &Histories) -> Vec<Violation> {
    histories.values().filter_map(|history| key(history).err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{self, HEADER};

    /// Lines without key: CLIENT KIND VALUE INVOKE RETURN OUTCOME.
    fn verdict(lines: &[&str]) -> Result<(), Violation> {
        let mut text = format!("{HEADER}\n");
        for line in lines {
            let (client, rest) = line.split_once(' ').expect("a line has words");
            text += &format!("{client} k {rest}\n");
        }
        key(&history::read(text.as_bytes()).expect("a good history")["k"])
    }

    fn is_wrong(lines: &[&str]) {
        assert_eq!(verdict(lines).expect_err("planted").what, "not linearizable", "{lines:?}");
    }

    fn is_right(lines: &[&str]) {
        verdict(lines).unwrap_or_else(|violation| panic!("{violation}"));
    }

    #[test]
    fn operations_at_the_same_time_may_take_either_order() {
        is_right(&["1 put 1 0 10 ok", "2 put 2 5 15 ok", "3 get 1 20 30 ok"]);
        is_right(&["1 put 1 0 10 ok", "2 put 2 5 15 ok", "3 get 2 20 30 ok"]);
        is_right(&["1 put 1 0 50 ok", "2 get - 5 15 ok", "3 get 1 20 30 ok"]);
    }

    #[test]
    fn a_stale_read_is_found() {
        is_wrong(&["1 put 1 0 10 ok", "1 put 2 20 30 ok", "2 get 1 40 50 ok"]);
        is_wrong(&["1 put 1 0 10 ok", "2 get - 20 30 ok"]);
        // Both read while a write is under way: once it was seen it stays.
        is_wrong(&["1 put 1 0 99 ok", "2 get 1 10 20 ok", "3 get - 30 40 ok"]);
    }

    #[test]
    fn a_lost_update_is_found() {
        is_wrong(&["1 put 1 0 10 ok", "2 put 2 20 30 ok", "3 get 1 40 50 ok", "3 get 1 60 70 ok"]);
        is_wrong(&["1 put 1 0 10 ok", "2 delete - 20 30 ok", "3 get 1 90 91 ok"]);
    }

    #[test]
    fn a_resurrected_delete_is_found() {
        is_wrong(&[
            "1 put 1 0 10 ok",
            "1 delete - 20 30 ok",
            "2 get - 40 50 ok",
            "2 get 1 60 70 ok",
        ]);
    }

    #[test]
    fn two_updates_of_one_value_are_found() {
        is_right(&["1 put 1 0 10 ok", "2 update 2/1 5 30 ok", "3 update 3/2 6 30 ok"]);
        is_wrong(&["1 put 1 0 10 ok", "2 update 2/1 20 30 ok", "3 update 3/1 20 30 ok"]);
        is_right(&["1 put 1 0 10 ok", "2 update 2/1 20 30 unknown", "3 update 3/1 20 30 ok"]);
        is_wrong(&[
            "1 put 1 0 10 ok",
            "2 update 2/1 20 30 unknown",
            "3 update 3/1 20 30 ok",
            "4 get 2 40 50 ok",
        ]);
        is_wrong(&["1 put 1 0 10 ok", "2 update 2/- 20 30 ok"]);
    }

    #[test]
    fn what_failed_must_not_be_seen() {
        is_right(&["1 put 1 0 10 failed", "2 get - 20 30 ok"]);
        is_wrong(&["1 put 1 0 10 failed", "2 get 1 20 30 ok"]);
        is_wrong(&["2 get 9 20 30 ok"]);
    }

    #[test]
    fn what_is_unknown_may_be_seen_late_but_not_early_or_twice() {
        is_right(&["1 put 1 0 10 unknown", "2 get - 20 30 ok", "2 get 1 40 50 ok"]);
        is_right(&["1 put 1 0 10 unknown", "2 get - 20 30 ok"]);
        is_right(&["1 put 1 0 5 ok", "1 delete - 6 10 unknown", "2 get 1 20 30 ok"]);
        is_right(&["1 put 1 0 5 ok", "1 delete - 6 10 unknown", "2 get - 20 30 ok"]);
        is_wrong(&["2 get 1 20 30 ok", "1 put 1 40 50 unknown"]);
        is_wrong(&[
            "1 put 1 0 10 unknown",
            "2 get 1 20 30 ok",
            "3 put 2 40 50 ok",
            "2 get 1 60 70 ok",
        ]);
    }

    #[test]
    fn a_value_put_twice_proves_nothing() {
        let error = verdict(&["1 put 1 0 10 ok", "2 put 1 20 30 ok"]).expect_err("doubled");
        assert!(error.to_string().contains("put twice"), "{error}");
    }

    #[test]
    fn a_long_history_with_unknowns_is_decided() {
        let mut lines = Vec::new();
        for i in 0..96u64 {
            let at = i * 10;
            lines.push(match i % 8 {
                0 => format!("{} put {} {at} {} unknown", i % 10, i + 1, at + 35),
                1 | 2 => format!("{} put {} {at} {} ok", i % 10, i + 1, at + 9),
                _ => format!("{} get {} {at} {} ok", i % 10, i - i % 8 + 3, at + 9),
            });
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        is_right(&lines);
    }
}
