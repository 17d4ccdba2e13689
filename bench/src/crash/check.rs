//! Compares the values found in the cluster with the history of each key. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::key_history::{KeyHistory, KeyVerdict};
use super::report::CrashFindings;
use super::value;

/// Checks every key once against the values `found` (`None` for an absent key), and settles its
/// history. `killed` is the time of the kill. `is_promised` returns whether a write that was
/// acknowledged this long before it must survive.
pub fn check<'a>(
    histories: impl Iterator<Item = (&'a str, &'a mut KeyHistory)>,
    found: &HashMap<&str, Option<Vec<u8>>>,
    killed: Instant,
    is_promised: impl Fn(Duration) -> bool,
) -> CrashFindings {
    let mut findings = CrashFindings::default();
    let now = Instant::now();
    for (key, history) in histories {
        let value = found.get(key).and_then(Option::as_ref);
        let read = match value.map(|value| value::decode(key, value)).transpose() {
            Ok(read) => read,
            Err(torn) => {
                findings.torn += 1;
                findings.add_detail(format!("{key}: torn: {torn}"));
                continue;
            }
        };
        match history.judge(read) {
            KeyVerdict::Right => {}
            KeyVerdict::Missing(acknowledged) => {
                let ages = acknowledged.iter().map(|&at| killed.saturating_duration_since(at));
                missing(&mut findings, key, read, &ages.collect::<Vec<_>>(), &is_promised);
            }
            KeyVerdict::NeverWritten => {
                findings.never_written += 1;
                let sequence = read.unwrap_or_default();
                findings
                    .add_detail(format!("{key}: write {sequence} is there, and was never done"));
            }
        }
        history.settle(read, now);
    }
    findings
}

fn missing(
    findings: &mut CrashFindings,
    key: &str,
    read: Option<u64>,
    ages: &[Duration],
    is_promised: &impl Fn(Duration) -> bool,
) {
    let promised = ages.iter().filter(|age| is_promised(**age)).count() as u64;
    let oldest = ages.iter().copied().max().unwrap_or_default();
    findings.missing += ages.len() as u64;
    findings.promised += promised;
    findings.oldest = findings.oldest.max(oldest);
    if promised > 0 {
        findings.add_detail(format!(
            "{key}: {} acknowledged writes are missing, the oldest acknowledged {:.3} s before the kill; found: {}",
            ages.len(),
            oldest.as_secs_f64(),
            read.map_or("nothing".into(), |sequence| format!("write {sequence}")),
        ));
    }
}

#[cfg(test)]
mod tests {
    use harness::history::Outcome;

    use super::*;
    use crate::crash::key_history::Verb;

    /// Three keys with three acknowledged puts each, the last of them three seconds before the
    /// kill.
    fn histories(start: Instant) -> Vec<(&'static str, KeyHistory)> {
        let history = || {
            let mut history = KeyHistory::new(start);
            (1..=3).for_each(|at| {
                history.note(Verb::Put, Outcome::Ok, start + Duration::from_secs(at))
            });
            history
        };
        ["a", "b", "c"].map(|key| (key, history())).into()
    }

    fn check_all(found: [Option<Vec<u8>>; 3], grace: u64) -> CrashFindings {
        let start = Instant::now();
        let mut histories = histories(start);
        let found = ["a", "b", "c"].into_iter().zip(found).collect();
        let histories = histories.iter_mut().map(|(key, history)| (*key, history));
        let killed = start + Duration::from_secs(6);
        check(histories, &found, killed, |age| age >= Duration::from_secs(grace))
    }

    fn value(key: &str, sequence: u64) -> Option<Vec<u8>> {
        Some(value::encode(key, sequence, 100))
    }

    #[test]
    fn a_complete_store_has_no_findings() {
        let all = check_all([value("a", 3), value("b", 3), value("c", 3)], 0);
        assert_eq!((all.missing, all.violations(), all.details), (0, 0, Vec::new()));
    }

    #[test]
    fn missing_writes_are_reported_by_age() {
        let some = || [value("a", 3), value("b", 1), None];
        let all = check_all(some(), 0);
        assert_eq!((all.missing, all.promised, all.violations()), (5, 5, 5));
        assert_eq!(all.oldest, Duration::from_secs(5));
        assert_eq!(
            all.details,
            [
                "b: 2 acknowledged writes are missing, the oldest acknowledged 4.000 s before the kill; found: \
                 write 1",
                "c: 3 acknowledged writes are missing, the oldest acknowledged 5.000 s before the kill; found: \
                 nothing"
            ]
        );
        // One of them is at least five seconds old, none is nine.
        assert_eq!((check_all(some(), 5).missing, check_all(some(), 5).promised), (5, 1));
        let none = check_all(some(), 9);
        assert_eq!((none.missing, none.violations(), none.details.len()), (5, 0, 0));
    }

    #[test]
    fn torn_foreign_and_unwritten_values_are_found() {
        let mut torn = value("a", 3);
        torn.as_mut().expect("a value").pop();
        let all = check_all([torn, value("a", 3), value("c", 4)], 9);
        assert_eq!((all.torn, all.never_written, all.missing, all.violations()), (2, 1, 0, 3));
        assert_eq!(
            all.details,
            [
                "a: torn: 99 bytes that do not fit their checksum",
                "b: torn: the value of a",
                "c: write 4 is there, and was never done"
            ]
        );
    }
}
