//! Checks that a key's history is linearizable: that its operations can be ordered, each at some
//! moment between its call and its return, so that every get finds the last put or delete.
//!
//! There are two checks. The search is complete; it needs the feature `porcupine`, since the crate
//! of that name has some sixty dependencies. The [zones](Check::Zones) are always available and
//! fast for a history of any length. What they report is certainly a violation, but they miss some.
//! The tests compare the two.

#[cfg(any(test, feature = "porcupine"))]
mod search;
mod zones;

use std::collections::HashSet;
use std::fmt;

use crate::history::{Histories, Kind, Outcome, Record};

/// A way to check a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Finds only certain violations.
    Zones,
    /// Searches for an order; complete.
    #[cfg(any(test, feature = "porcupine"))]
    Search,
}

impl Check {
    /// The complete check, if this build has it.
    pub fn complete() -> Option<Check> {
        #[cfg(any(test, feature = "porcupine"))]
        return Some(Check::Search);
        #[cfg(not(any(test, feature = "porcupine")))]
        None
    }

    /// The best check of this build.
    pub fn best() -> Check {
        Check::complete().unwrap_or(Check::Zones)
    }

    /// Checks one key.
    ///
    /// # Errors
    /// [`HistoryViolation`]; an undecided history counts as one.
    pub fn key(self, history: &[Record]) -> Result<(), HistoryViolation> {
        self.verdict(history).map_err(|what| HistoryViolation { what, history: history.to_vec() })
    }

    /// Checks every key.
    pub fn all(self, histories: &Histories) -> Vec<HistoryViolation> {
        histories.values().filter_map(|history| self.key(history).err()).collect()
    }

    fn verdict(self, history: &[Record]) -> Result<(), &'static str> {
        let mut written = HashSet::new();
        if !history.iter().filter_map(Record::written).all(|value| written.insert(value)) {
            return Err("a value was put twice: this history proves nothing");
        }
        match self {
            Check::Zones => zones::check(history),
            #[cfg(any(test, feature = "porcupine"))]
            Check::Search => search::check(history),
        }
    }
}

/// A key whose history is not linearizable.
#[derive(Debug, Clone)]
pub struct HistoryViolation {
    /// The violation.
    pub what: &'static str,
    /// All operations on the key.
    pub history: Vec<Record>,
}

impl fmt::Display for HistoryViolation {
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

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::history::{self, HEADER};

    const CHECKS: [Check; 2] = [Check::Zones, Check::Search];

    /// Parses lines without a key: CLIENT KIND VALUE INVOKE RETURN OUTCOME.
    fn history(lines: &[&str]) -> Vec<Record> {
        let mut text = format!("{HEADER}\n");
        for line in lines {
            let (client, rest) = line.split_once(' ').expect("a line has words");
            text += &format!("{client} k {rest}\n");
        }
        history::read(text.as_bytes()).expect("a good history").remove("k").expect("it is there")
    }

    fn is_wrong(lines: &[&str]) {
        for check in CHECKS {
            let violation = check.key(&history(lines)).expect_err("planted");
            assert!(violation.what.starts_with("not linearizable"), "{check:?}: {violation}");
        }
    }

    fn is_right(lines: &[&str]) {
        for check in CHECKS {
            check.key(&history(lines)).unwrap_or_else(|wrong| panic!("{check:?}: {wrong}"));
        }
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
        // Both read during a write: once one has seen it, the next must see it.
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
    fn a_failed_write_must_not_be_read() {
        is_right(&["1 put 1 0 10 failed", "2 get - 20 30 ok"]);
        is_wrong(&["1 put 1 0 10 failed", "2 get 1 20 30 ok"]);
        is_wrong(&["2 get 9 20 30 ok"]);
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_but_not_early_or_twice() {
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
        for check in CHECKS {
            let doubled = history(&["1 put 1 0 10 ok", "2 put 1 20 30 ok"]);
            let error = check.key(&doubled).expect_err("doubled");
            assert!(error.to_string().contains("put twice"), "{error}");
        }
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

    /// A linearizable history of a few clients, in which the result of one read is then changed.
    fn random_history(rng: &mut StdRng) -> Vec<Record> {
        let (mut value, mut history) = (None, Vec::new());
        for at in 1..=rng.random_range(4..24) {
            let (now, number) = (at * 10, history.len() as u64 + 1);
            let kind = match rng.random_range(0..10) {
                0..3 => Kind::Put(number),
                3..5 => Kind::Update(number, value),
                5 => Kind::Delete,
                _ => Kind::Get(value),
            };
            let outcome = match rng.random_range(0..8) {
                0 => Outcome::Unknown,
                1 => Outcome::Failed,
                _ => Outcome::Ok,
            };
            let is_done = outcome == Outcome::Ok || outcome == Outcome::Unknown && rng.random();
            match kind {
                Kind::Put(new) | Kind::Update(new, _) if is_done => value = Some(new),
                Kind::Delete if is_done => value = None,
                _ => {}
            }
            let invoke = now - rng.random_range(0..now.min(40));
            let ret = now + rng.random_range(0..40);
            let client = history.len() as u32;
            history.push(Record { client, key: "k".into(), kind, invoke, ret, outcome });
        }
        let any = rng.random_range(0..history.len());
        let other = (rng.random_range(0..4) > 0)
            .then(|| rng.random_range(0..=history.len() as u64))
            .filter(|&number| number > 0);
        match &mut history[any].kind {
            Kind::Get(found) | Kind::Update(_, found) => *found = other,
            Kind::Put(_) | Kind::Delete => {}
        }
        history
    }

    #[test]
    fn zones_have_no_false_alarm_and_find_most_violations() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut wrong, mut found) = (0, 0);
        for _ in 0..4_000 {
            let history = random_history(&mut rng);
            let (zones, search) = (Check::Zones.key(&history), Check::Search.key(&history));
            wrong += usize::from(search.is_err());
            found += usize::from(zones.is_err());
            if let (Err(alarm), Ok(())) = (&zones, &search) {
                panic!("a false alarm: {alarm}");
            }
        }
        assert!(wrong > 1_000, "{wrong}");
        assert!(found * 100 >= wrong * 90, "of {wrong} wrong histories {found} are found");
    }
}
