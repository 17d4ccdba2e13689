//! The report of a run.
//!
//! A *silence* is a time in which no read (or write) of any client on any key was acknowledged. A
//! *wait* is the time that a single operation took. After a kill -9 the wait counts from the kill,
//! over the operations in progress then and those that began within a second. A *calm* kill has no
//! other fault around it; the promised figures are about calm kills.

use std::collections::BTreeMap;
use std::fmt;

use harness::history::{Histories, Kind, Outcome, Record};

use super::fault::{EventKind, PastEvent};
use crate::figures::thousands;

/// Operations that begin within this time after a kill are attributed to it, in nanoseconds.
const AFTERMATH: u64 = 1_000_000_000;

/// The contents of the report.
pub struct ChaosReport<'a> {
    /// The operations of the clients.
    pub histories: &'a Histories,
    /// The faults.
    pub past: &'a [PastEvent],
    /// The errors, by kind.
    pub errors: &'a BTreeMap<String, u64>,
    /// When the load began, on the histories' clock.
    pub started: u64,
    /// When the last fault ended.
    pub faults_end: u64,
    /// When the cluster was healthy again and the load ended.
    pub healed: u64,
}

/// Classes of operations that are reported separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperationClass {
    Read,
    Write,
}

impl OperationClass {
    fn of(record: &Record) -> OperationClass {
        match record.kind {
            Kind::Get(_) => OperationClass::Read,
            Kind::Put(_) | Kind::Delete | Kind::Update(..) => OperationClass::Write,
        }
    }
}

impl fmt::Display for OperationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OperationClass::Read => "read",
            OperationClass::Write => "write",
        })
    }
}

fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

impl ChaosReport<'_> {
    fn records(&self, class: OperationClass) -> impl Iterator<Item = &Record> {
        // Excludes the reads at the end, after the load.
        let all = self.histories.values().flatten();
        all.filter(move |r| OperationClass::of(r) == class && r.invoke <= self.healed)
    }

    fn acknowledged(&self, class: OperationClass) -> impl Iterator<Item = &Record> {
        self.records(class).filter(|record| record.outcome == Outcome::Ok)
    }

    /// The longest time without any acknowledgement.
    fn silence(&self, class: OperationClass) -> u64 {
        let mut ends: Vec<u64> = self.acknowledged(class).map(|record| record.ret).collect();
        ends.push(self.started);
        ends.push(self.healed);
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// The longest wait of an operation that was acknowledged after the kill.
    fn wait(&self, kill: &PastEvent, class: OperationClass) -> u64 {
        self.acknowledged(class)
            .filter(|r| r.invoke < kill.from + AFTERMATH && r.ret > kill.from)
            .map(|r| r.ret - r.invoke.max(kill.from))
            .max()
            .unwrap_or(0)
    }

    /// Operations that were not acknowledged, after the kill.
    fn errors_after(&self, kill: &PastEvent, class: OperationClass) -> usize {
        self.records(class)
            .filter(|r| r.outcome != Outcome::Ok)
            .filter(|r| r.invoke < kill.from + AFTERMATH && r.ret > kill.from)
            .count()
    }

    fn waits(&self, f: &mut fmt::Formatter<'_>, what: &str, kills: &[&PastEvent]) -> fmt::Result {
        if kills.is_empty() {
            return Ok(());
        }
        write!(f, "after {} {what}, slowest", kills.len())?;
        for class in [OperationClass::Write, OperationClass::Read] {
            let mut waits: Vec<u64> = kills.iter().map(|kill| self.wait(kill, class)).collect();
            waits.sort_unstable();
            let errors: usize = kills.iter().map(|kill| self.errors_after(kill, class)).sum();
            write!(
                f,
                " {class}: median {:.0} ms, most {:.0} ms, {errors} not acknowledged{}",
                ms(waits[waits.len() / 2]),
                ms(waits[waits.len() - 1]),
                if class == OperationClass::Read { "\n" } else { ";" },
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for ChaosReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |class| self.records(class).count();
        let (reads, writes) = (count(OperationClass::Read), count(OperationClass::Write));
        let seconds = (self.healed - self.started) as f64 / 1e9;
        writeln!(
            f,
            "operations: {} ({} reads, {} writes) in {seconds:.1} s, {} a second (paced)",
            thousands((reads + writes) as u64),
            thousands(reads as u64),
            thousands(writes as u64),
            thousands(((reads + writes) as f64 / seconds) as u64),
        )?;
        for (what, is_change) in [("faults", false), ("planned changes", true)] {
            let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
            let counts = |past: &&PastEvent| (past.nature == EventKind::Change) == is_change;
            for past in self.past.iter().filter(counts) {
                *kinds.entry(past.kind).or_default() += 1;
            }
            writeln!(f, "{what}: {}", kinds.values().sum::<usize>())?;
            for (kind, times) in kinds {
                writeln!(f, "  {times:>4}  {kind}")?;
            }
        }
        writeln!(
            f,
            "healthy again {:.0} ms after the last fault was mended",
            ms(self.healed - self.faults_end)
        )?;
        for class in [OperationClass::Read, OperationClass::Write] {
            let slowest = self.acknowledged(class).map(|r| r.ret - r.invoke).max().unwrap_or(0);
            writeln!(
                f,
                "{class}s: longest silence {:.0} ms, slowest one acknowledged after {:.0} ms",
                ms(self.silence(class)),
                ms(slowest),
            )?;
        }
        let kills: Vec<&PastEvent> = self.past.iter().filter(|past| past.is_kill()).collect();
        let calm: Vec<&PastEvent> =
            kills.iter().copied().filter(|past| past.nature == EventKind::CalmKill).collect();
        self.waits(f, "kills of a node", &kills)?;
        self.waits(f, "calm kills of a node", &calm)?;
        writeln!(f, "errors: {}", self.errors.values().sum::<u64>())?;
        for (kind, times) in self.errors {
            writeln!(f, "  {times:>4}  {kind}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn silences_and_waits_are_computed() {
        let record = |kind, invoke: u64, ret: u64, outcome| Record {
            client: 1,
            key: "k".into(),
            kind,
            invoke: invoke * 1_000_000,
            ret: ret * 1_000_000,
            outcome,
        };
        let records = vec![
            record(Kind::Put(1), 10, 20, Outcome::Ok),
            record(Kind::Get(None), 10, 20, Outcome::Ok),
            record(Kind::Put(2), 90, 320, Outcome::Ok),
            record(Kind::Delete, 150, 900, Outcome::Unknown),
            record(Kind::Get(Some(2)), 330, 340, Outcome::Ok),
        ];
        let kill = PastEvent {
            kind: "kill -9 of a node, restart",
            what: String::new(),
            from: 100_000_000,
            lasts: Duration::ZERO,
            nature: EventKind::CalmKill,
        };
        let change = |kind| PastEvent { kind, nature: EventKind::Change, ..kill.clone() };
        let past = [kill.clone(), change("leave"), change("leave, refused"), change("leave")];
        let histories = [("k".to_owned(), records)].into();
        let report = ChaosReport {
            histories: &histories,
            past: &past,
            errors: &BTreeMap::new(),
            started: 0,
            faults_end: 300_000_000,
            healed: 400_000_000,
        };
        assert_eq!(report.silence(OperationClass::Write), 300_000_000);
        assert_eq!(report.silence(OperationClass::Read), 320_000_000);
        assert_eq!(
            (report.wait(&kill, OperationClass::Write), report.wait(&kill, OperationClass::Read)),
            (220_000_000, 10_000_000)
        );
        assert_eq!(report.errors_after(&kill, OperationClass::Write), 1);
        let text = report.to_string();
        let counts = "faults: 1\n     1  kill -9 of a node, restart\n\
                      planned changes: 3\n     2  leave\n     1  leave, refused\n";
        assert!(text.contains(counts), "{text}");
        assert!(
            text.contains("after 1 calm kills of a node, slowest write: median 220 ms"),
            "{text}"
        );
    }
}
