//! The report of a run: a row for each round, and the sums.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CrashSettings;
use super::kill::{GRACE, is_promised};
use super::load::WriteCounts;
use crate::figures::{ms, thousands};
use crate::report::{self, ReportError};

/// Name of the file with a row for each round.
pub const FILE: &str = "crash.csv";

/// Number of findings of a round that are kept as text.
const WORDS: usize = 10;

const HEADER: [&str; 14] = [
    "round",
    "load_ms",
    "in_flight",
    "killed",
    "kills",
    "acknowledged",
    "unknown",
    "failed",
    "readable_ms",
    "missing",
    "missing_promised",
    "oldest_missing_ms",
    "torn",
    "never_written",
];

/// The findings of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashFindings {
    /// Missing acknowledged writes.
    pub missing: u64,
    /// Those of them that were promised.
    pub promised: u64,
    /// Time between the acknowledgement of the oldest missing write and the kill.
    pub oldest: Duration,
    /// Keys whose value is torn or belongs to another key.
    pub torn: u64,
    /// Keys with a value that was never written, or whose write certainly failed.
    pub never_written: u64,
    /// Descriptions of the first few.
    pub details: Vec<String>,
}

impl CrashFindings {
    /// The number of violations of the promise.
    pub fn violations(&self) -> u64 {
        self.promised + self.torn + self.never_written
    }

    /// Adds the findings of `other`.
    pub fn add(&mut self, other: &CrashFindings) {
        self.missing += other.missing;
        self.promised += other.promised;
        self.oldest = self.oldest.max(other.oldest);
        self.torn += other.torn;
        self.never_written += other.never_written;
        self.details.extend_from_slice(&other.details);
    }

    /// Adds a description, unless there are enough.
    pub fn add_detail(&mut self, details: String) {
        if self.details.len() < WORDS {
            self.details.push(details);
        }
    }
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
    /// Duration of the load before the kill.
    pub load: Duration,
    /// Writes in flight just before the kill.
    pub in_flight: usize,
    /// The killed processes.
    pub killed: String,
    /// Number of kills: one or two.
    pub kills: u32,
    /// The outcomes of the writes.
    pub counts: WriteCounts,
    /// From the last start until every key had been read.
    pub readable: Duration,
    /// The findings.
    pub findings: CrashFindings,
}

/// Whole milliseconds.
fn whole(time: Duration) -> String {
    format!("{:.0}", ms(time))
}

impl Round {
    fn record(&self) -> [String; 14] {
        let CrashFindings { missing, promised, oldest, torn, never_written, .. } = &self.findings;
        [
            self.number.to_string(),
            whole(self.load),
            self.in_flight.to_string(),
            self.killed.clone(),
            self.kills.to_string(),
            self.counts.acknowledged().to_string(),
            self.counts.unknown.to_string(),
            self.counts.failed.to_string(),
            whole(self.readable),
            missing.to_string(),
            promised.to_string(),
            whole(*oldest),
            torn.to_string(),
            never_written.to_string(),
        ]
    }
}

/// All rounds.
#[derive(Debug)]
pub struct CrashReport<'a> {
    /// The settings.
    pub settings: &'a CrashSettings,
    /// The rounds, in order.
    pub rounds: &'a [Round],
}

impl CrashReport<'_> {
    fn counts(&self) -> WriteCounts {
        let mut sum = WriteCounts::default();
        self.rounds.iter().for_each(|round| sum.add(&round.counts));
        sum
    }

    fn findings(&self) -> CrashFindings {
        let mut sum = CrashFindings::default();
        self.rounds.iter().for_each(|round| sum.add(&round.findings));
        sum
    }

    /// The last line: whether the promise was kept.
    pub fn summary(&self) -> String {
        let CrashFindings { missing, torn, never_written, .. } = self.findings();
        format!(
            "violations: {} in {} of {} rounds; of {} acknowledged writes {} are missing; {} values are torn, {} \
             were never written",
            thousands(self.findings().violations()),
            thousands(self.rounds.len() as u64),
            thousands(u64::from(self.settings.rounds)),
            thousands(self.counts().acknowledged()),
            thousands(missing),
            thousands(torn),
            thousands(never_written),
        )
    }

    /// Writes [`FILE`] into `folder`.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
        report::write(folder.join(FILE), HEADER, self.rounds.iter().map(Round::record))
    }

    /// The note about missing writes that were not promised.
    fn grace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashFindings { missing, promised, oldest, .. } = self.findings();
        let hit = self.rounds.iter().filter(|round| round.findings.missing > 0).count();
        write!(f, "missing: {} acknowledged writes, in {hit} rounds", thousands(missing))?;
        if missing > 0 {
            let when = oldest.as_secs_f64();
            write!(f, ", the oldest acknowledged {when:.3} s before the kill")?;
        }
        writeln!(f, "; older than {} s, and so promised: {}", GRACE.as_secs(), thousands(promised))
    }
}

impl fmt::Display for CrashReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashSettings { nodes, copies, durability, kill, clients, keys, value_bytes, .. } =
            self.settings;
        writeln!(f, "seed {}", self.settings.seed)?;
        writeln!(
            f,
            "{nodes} nodes, K={copies}, durability {durability}, kill {kill}, {clients} clients, {} keys, values of up \
             to {} bytes",
            thousands(u64::from(*keys)),
            thousands(*value_bytes as u64),
        )?;
        let of = |wanted: &dyn Fn(&Round) -> bool| self.rounds.iter().filter(|r| wanted(r)).count();
        writeln!(
            f,
            "rounds: {}; with writes in flight at the kill {}, with a second kill while they came up {}",
            self.rounds.len(),
            of(&|round| round.in_flight > 0),
            of(&|round| round.kills > 1),
        )?;
        let counts = self.counts();
        writeln!(
            f,
            "writes: {} acknowledged ({} puts, {} deletes), {} of unknown outcome, {} certainly not done",
            thousands(counts.acknowledged()),
            thousands(counts.puts),
            thousands(counts.deletes),
            thousands(counts.unknown),
            thousands(counts.failed),
        )?;
        let mut times: Vec<Duration> = self.rounds.iter().map(|round| round.readable).collect();
        times.sort_unstable();
        if let Some(longest) = times.last() {
            let median = times[times.len() / 2];
            writeln!(
                f,
                "from start until every key was read: median {} ms, most {} ms",
                whole(median),
                whole(*longest)
            )?;
        }
        if !is_promised(*kill, *durability, Duration::ZERO) {
            self.grace(f)?;
        }
        self.findings().details.iter().try_for_each(|details| writeln!(f, "{details}"))
    }
}

#[cfg(test)]
mod tests {
    use cluster::durability::Durability;

    use super::*;

    fn round(number: u32, readable_ms: u64, findings: CrashFindings) -> Round {
        Round {
            number,
            load: Duration::from_millis(700),
            in_flight: number as usize - 1,
            killed: "manager node1".into(),
            kills: 1 + number % 2,
            counts: WriteCounts { puts: 1_000, deletes: 100, unknown: 3, failed: 2 },
            readable: Duration::from_millis(readable_ms),
            findings,
        }
    }

    #[test]
    fn the_summary_has_all_sums() {
        let settings = CrashSettings { seed: 7, ..CrashSettings::default() };
        let rounds = [
            round(1, 300, CrashFindings::default()),
            round(2, 900, CrashFindings::default()),
            round(3, 400, CrashFindings::default()),
        ];
        let report = CrashReport { settings: &settings, rounds: &rounds };
        assert_eq!(
            report.to_string(),
            "seed 7\n\
             3 nodes, K=2, durability sync, kill all, 16 clients, 2,000 keys, values of up to 4,096 bytes\n\
             rounds: 3; with writes in flight at the kill 2, with a second kill while they came up 2\n\
             writes: 3,300 acknowledged (3,000 puts, 300 deletes), 9 of unknown outcome, 6 certainly not done\n\
             from start until every key was read: median 400 ms, most 900 ms\n"
        );
        assert_eq!(
            report.summary(),
            "violations: 0 in 3 of 100 rounds; of 3,300 acknowledged writes 0 are missing; 0 values are torn, \
             0 were never written"
        );
        let report = CrashReport { settings: &settings, rounds: &[] };
        assert!(
            report.summary().starts_with("violations: 0 in 0 of 100 rounds; of 0 acknowledged")
        );
        assert!(!report.to_string().contains("median"));
    }

    #[test]
    fn findings_are_reported() {
        let wrong = CrashFindings {
            missing: 5,
            promised: 1,
            oldest: Duration::from_millis(2_345),
            torn: 2,
            never_written: 1,
            details: vec!["c1: torn".into()],
        };
        assert_eq!(wrong.violations(), 4);
        let few = CrashFindings {
            missing: 1,
            oldest: Duration::from_millis(5),
            ..CrashFindings::default()
        };
        let settings = CrashSettings { durability: Durability::Async, ..CrashSettings::default() };
        let rounds =
            [round(1, 300, few), round(2, 300, CrashFindings::default()), round(3, 1, wrong)];
        let report = CrashReport { settings: &settings, rounds: &rounds };
        let text = report.to_string();
        let grace = "missing: 6 acknowledged writes, in 2 rounds, the oldest acknowledged 2.345 s before the \
                     kill; older than 2 s, and so promised: 1\nc1: torn\n";
        assert!(text.ends_with(grace), "{text}");
        assert!(
            report.summary().starts_with(
                "violations: 4 in 3 of 100 rounds; of 3,300 acknowledged writes 6 are missing; 2 values are torn, 1 \
                 were never written"
            ),
            "{}",
            report.summary()
        );
    }

    #[test]
    fn descriptions_are_limited() {
        let mut findings = CrashFindings::default();
        (0..100).for_each(|key| findings.add_detail(key.to_string()));
        assert_eq!((findings.details.len(), findings.details[9].as_str()), (WORDS, "9"));
    }

    #[test]
    fn a_row_for_each_round() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let settings = CrashSettings::default();
        let rounds = [round(1, 300, CrashFindings::default())];
        let report = CrashReport { settings: &settings, rounds: &rounds };
        let text = std::fs::read_to_string(report.write(scratch.path()).expect("written"));
        assert_eq!(
            text.expect("readable"),
            "round,load_ms,in_flight,killed,kills,acknowledged,unknown,failed,readable_ms,missing,\
             missing_promised,oldest_missing_ms,torn,never_written\n\
             1,700,0,manager node1,2,1100,3,2,300,0,0,0,0,0\n"
        );
    }
}
