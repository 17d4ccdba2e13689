//! The report of a run: a line and a row for each event, a row for each tenth of a second, and the
//! chart.
//!
//! An event's throughput is measured from its start until the cluster was healthy again, at least
//! over [`AFTERMATH`]. Its waits and errors include [`AFTERMATH`] more, since a change may affect
//! clients just after it is done.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::ElasticError;
use super::meter::{Track, Tracks};
use super::plan::StepAction;
use crate::chart::{ChartLane, ChartLine, Mark, Reference, Timeline};
use crate::figures::{ms, thousands};
use crate::report::{self, ReportError};

/// Name of the file of figures over time.
pub const TIME_FILE: &str = "perf_elastic.csv";

/// Name of the file with the events.
pub const EVENTS_FILE: &str = "perf_elastic_events.csv";

/// Name of the chart.
pub const CHART_FILE: &str = "perf_elastic.svg";

/// Time after an event's end that is attributed to it.
pub const AFTERMATH: Duration = Duration::from_secs(1);

/// Target for the longest pause of a key: during a planned change …
const PLANNED_BAR: Duration = Duration::from_millis(200);

/// … and after a kill of nodes whose host refuses connections.
const KILL_BAR: Duration = Duration::from_millis(300);

/// Time of one row of [`TIME_FILE`].
const STEP: Duration = Duration::from_millis(100);

const TIME_HEADER: [&str; 7] = [
    "seconds",
    "ops_per_sec",
    "errors",
    "longest_wait_ms",
    "single_put_ms",
    "single_get_ms",
    "health",
];

const EVENTS_HEADER: [&str; 15] = [
    "event",
    "at_s",
    "heal_s",
    "errors",
    "longest_wait_ms",
    "single_put_ms",
    "single_get_ms",
    "calm_ops_per_sec",
    "ops_per_sec",
    "kept",
    "nodes",
    "keys_max_over_mean",
    "copies_max_over_mean",
    "copies_moved",
    "least_moved",
];

/// An event and its effect on the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ElasticEvent {
    /// The step.
    pub act: StepAction,
    /// Start of the undisturbed load before it.
    pub calm_since: Duration,
    /// Its start.
    pub begun: Duration,
    /// When the cluster was healthy again.
    pub healed: Duration,
    /// Nodes serving then.
    pub nodes: usize,
    /// The fullest node's first copies over the mean, by weight.
    pub keys_max_over_mean: f64,
    /// The fullest node's copies over the mean.
    pub copies_max_over_mean: f64,
    /// Copies that nodes had to fetch.
    pub moved: u64,
    /// Copies that they have more than before.
    pub least: u64,
}

/// The effect of an event on the clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Operations that failed, of load and probes.
    pub errors: u64,
    /// The longest wait of a batch of the load.
    pub load_wait: Duration,
    /// The longest wait of a single put.
    pub put_wait: Duration,
    /// The longest wait of a single get.
    pub get_wait: Duration,
    /// Operations a second before it.
    pub calm_rate: f64,
    /// Operations a second during it.
    pub rate: f64,
}

impl Figures {
    /// The fraction of the throughput that was kept; 1 if there was none before.
    pub fn kept(&self) -> f64 {
        if self.calm_rate > 0.0 { self.rate / self.calm_rate } else { 1.0 }
    }
}

impl ElasticEvent {
    /// Its effect on the clients, computed from these tracks.
    pub fn figures(&self, tracks: &Tracks) -> Figures {
        let (from, to) = (self.begun, self.healed + AFTERMATH);
        let errors = |track: &Track| track.errors(from, to);
        Figures {
            errors: errors(&tracks.load) + errors(&tracks.writes) + errors(&tracks.reads),
            load_wait: tracks.load.longest(from, to),
            put_wait: tracks.writes.longest(from, to),
            get_wait: tracks.reads.longest(from, to),
            calm_rate: tracks.load.rate(self.calm_since, from),
            rate: tracks.load.rate(from, self.healed.max(from + AFTERMATH)),
        }
    }

    /// The target for the wait of single operations.
    pub fn bar(&self) -> Duration {
        if self.act.is_planned() { PLANNED_BAR } else { KILL_BAR }
    }

    fn time_to_heal(&self) -> Duration {
        self.healed - self.begun
    }

    /// One line for people.
    pub fn line(&self, figures: &Figures) -> String {
        let bar = |wait: Duration| if wait > self.bar() { " (over the bar)" } else { "" };
        format!(
            "{:>6.1} s  {}: healthy after {:.2} s, {} errors; longest wait {:.0} ms in the load, \
             single put {:.0} ms{}, single get {:.0} ms{}; {:.0} % of {} operations/s kept; \
             {} copies moved, {} at least",
            self.begun.as_secs_f64(),
            self.act,
            self.time_to_heal().as_secs_f64(),
            figures.errors,
            ms(figures.load_wait),
            ms(figures.put_wait),
            bar(figures.put_wait),
            ms(figures.get_wait),
            bar(figures.get_wait),
            100.0 * figures.kept(),
            thousands(figures.calm_rate as u64),
            thousands(self.moved),
            thousands(self.least),
        )
    }

    fn record(&self, figures: &Figures) -> [String; 15] {
        [
            self.act.to_string(),
            format!("{:.2}", self.begun.as_secs_f64()),
            format!("{:.3}", self.time_to_heal().as_secs_f64()),
            figures.errors.to_string(),
            format!("{:.1}", ms(figures.load_wait)),
            format!("{:.1}", ms(figures.put_wait)),
            format!("{:.1}", ms(figures.get_wait)),
            format!("{:.0}", figures.calm_rate),
            format!("{:.0}", figures.rate),
            format!("{:.3}", figures.kept()),
            self.nodes.to_string(),
            format!("{:.4}", self.keys_max_over_mean),
            format!("{:.4}", self.copies_max_over_mean),
            self.moved.to_string(),
            self.least.to_string(),
        ]
    }
}

/// The contents of the report.
#[derive(Debug)]
pub struct ElasticReport {
    /// The conditions, in a line.
    pub conditions: String,
    /// The events.
    pub events: Vec<ElasticEvent>,
    /// What was measured.
    pub tracks: Tracks,
    /// The health texts, each with the time at which it began.
    pub health: Vec<(Duration, String)>,
    /// When the load ended.
    pub end: Duration,
}

impl fmt::Display for ElasticReport {
    /// A table of the events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "event", "heal s", "errors", "load ms", "put ms", "get ms", "kept", "nodes", "keys",
            "copies", "moved", "least",
        ]);
        for event in &self.events {
            let figures = event.figures(&self.tracks);
            table.add_row([
                event.act.to_string(),
                format!("{:.2}", event.time_to_heal().as_secs_f64()),
                figures.errors.to_string(),
                format!("{:.0}", ms(figures.load_wait)),
                format!("{:.0}", ms(figures.put_wait)),
                format!("{:.0}", ms(figures.get_wait)),
                format!("{:.0} %", 100.0 * figures.kept()),
                event.nodes.to_string(),
                format!("{:.3}", event.keys_max_over_mean),
                format!("{:.3}", event.copies_max_over_mean),
                thousands(event.moved),
                thousands(event.least),
            ]);
        }
        for column in 1..12 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        writeln!(f, "{}", lines.join("\n"))?;
        write!(
            f,
            "ms: longest wait of a batch, a single put, a single get; keys, copies: max/mean over nodes \
             afterwards; moved, least: copies fetched, and copies gained"
        )
    }
}

impl ElasticReport {
    /// The rows of the time file, as pairs of start and end.
    fn steps(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let steps = self.end.as_millis() / STEP.as_millis();
        (0..steps as u32).map(|step| (STEP * step, STEP * (step + 1)))
    }

    fn health_at(&self, at: Duration) -> &str {
        let before = self.health.iter().take_while(|(since, _)| *since <= at);
        before.last().map_or("", |(_, health)| health)
    }

    /// Prints the report, and writes all its files into `folder`.
    ///
    /// # Errors
    /// [`ElasticError`].
    pub fn publish(&self, folder: &Path, print: &mut impl Write) -> Result<(), ElasticError> {
        writeln!(print, "{self}")?;
        let [time, rows] = self.write(folder)?;
        let chart = folder.join(CHART_FILE);
        self.chart().write_svg(&chart)?;
        writeln!(print, "{}, {} and {}", time.display(), rows.display(), chart.display())?;
        Ok(())
    }

    /// Writes both CSV files into `folder`.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, folder: &Path) -> Result<[PathBuf; 2], ReportError> {
        let Tracks { load, writes, reads } = &self.tracks;
        let rows = self.steps().map(|(from, to)| {
            let errors = [load, writes, reads].map(|track| track.errors(from, to)).iter().sum();
            let wait = |track: &Track| format!("{:.1}", ms(track.longest(from, to)));
            [
                format!("{:.1}", from.as_secs_f64()),
                format!("{:.0}", load.rate(from, to)),
                u64::to_string(&errors),
                wait(load),
                wait(writes),
                wait(reads),
                self.health_at(to).to_owned(),
            ]
        });
        let time = report::write(folder.join(TIME_FILE), TIME_HEADER, rows)?;
        let rows = self.events.iter().map(|event| event.record(&event.figures(&self.tracks)));
        Ok([time, report::write(folder.join(EVENTS_FILE), EVENTS_HEADER, rows)?])
    }

    /// Throughput and waits over time, with the events.
    pub fn chart(&self) -> Timeline {
        let points = |of: &dyn Fn(Duration, Duration) -> f64| {
            self.steps().map(|(from, to)| (from.as_secs_f64(), of(from, to))).collect::<Vec<_>>()
        };
        let Tracks { load, writes, reads } = &self.tracks;
        let line = |label: &str, points| ChartLine { label: label.to_owned(), points };
        let marks = self.events.iter().map(|event| Mark {
            label: event.act.to_string(),
            note: format!("healthy in {:.1} s", event.time_to_heal().as_secs_f64()),
            from: event.begun.as_secs_f64(),
            to: event.healed.as_secs_f64(),
            is_bad: !event.act.is_planned(),
        });
        Timeline {
            title: "A cluster that loses, gains and hands over nodes under full load".to_owned(),
            caption: self.conditions.clone(),
            seconds: self.end.as_secs_f64(),
            lanes: vec![
                ChartLane {
                    unit: "operations/s".to_owned(),
                    lines: vec![line("", points(&|from, to| load.rate(from, to)))],
                    reference: None,
                },
                ChartLane {
                    unit: "longest wait, ms".to_owned(),
                    lines: vec![
                        line("single put", points(&|from, to| ms(writes.longest(from, to)))),
                        line("single get", points(&|from, to| ms(reads.longest(from, to)))),
                    ],
                    reference: Some(Reference { label: "bar".to_owned(), value: ms(PLANNED_BAR) }),
                },
            ],
            marks: marks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn event(act: StepAction, begun: f64, healed: f64) -> ElasticEvent {
        ElasticEvent {
            act,
            calm_since: s(begun - 1.0),
            begun: s(begun),
            healed: s(healed),
            nodes: 5,
            keys_max_over_mean: 1.01,
            copies_max_over_mean: 1.02,
            moved: 2_000,
            least: 1_900,
        }
    }

    /// 1,000 operations a second for 10 s, half of that from 4 to 6.
    fn tracks() -> Tracks {
        let mut tracks = Tracks::default();
        for at in 0..1_000 {
            let time = s(f64::from(at) / 100.0 + 0.005);
            let ops = if (400..600).contains(&at) { 5 } else { 10 };
            tracks.load.note(time, s(0.004), ops, 0);
        }
        tracks.writes.note(s(4.25), s(0.35), 1, 0);
        tracks.reads.note(s(4.5), s(0.02), 1, 1);
        tracks
    }

    fn report() -> ElasticReport {
        ElasticReport {
            conditions: "7 nodes".to_owned(),
            events: vec![
                event(StepAction::Kill(vec![1, 2]), 4.0, 6.0),
                event(StepAction::Weight(0, 2), 8.0, 8.1),
            ],
            tracks: tracks(),
            health: vec![(s(0.0), "healthy".into()), (s(4.0), "healing: 3 arcs, a lot".into())],
            end: s(10.0),
        }
    }

    #[test]
    fn an_event_has_its_figures() {
        let report = report();
        let figures = report.events[0].figures(&report.tracks);
        assert_eq!((figures.calm_rate, figures.rate), (1_000.0, 500.0));
        assert_eq!((figures.kept(), figures.errors), (0.5, 1));
        // It had been waiting since 3.9.
        assert_eq!(figures.put_wait, s(0.25));
        let line = report.events[0].line(&figures);
        assert!(line.contains("kill -9 node2 node3: healthy after 2.00 s, 1 errors;"), "{line}");
        assert!(line.contains("50 % of 1,000 operations/s kept"), "{line}");
        assert!(!line.contains("over the bar"), "{line}");
        let planned = ElasticEvent { act: StepAction::Leave(vec![1]), ..report.events[0].clone() };
        assert!(planned.line(&figures).contains("single put 250 ms (over the bar)"));
        // An event that is over at once is still measured for a second.
        let at_once = ElasticEvent { healed: s(3.1), ..event(StepAction::Weight(0, 2), 3.05, 3.1) };
        let figures = at_once.figures(&report.tracks);
        assert_eq!((figures.put_wait, figures.rate), (s(0.35), 975.0));
    }

    #[test]
    fn files_have_the_documented_columns() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let [time, events] = report().write(scratch.path()).expect("written");
        let time = std::fs::read_to_string(time).expect("readable");
        let lines: Vec<&str> = time.lines().collect();
        assert_eq!(
            lines[0],
            "seconds,ops_per_sec,errors,longest_wait_ms,single_put_ms,single_get_ms,health"
        );
        assert_eq!(lines[1], "0.0,1000,0,4.0,0.0,0.0,healthy");
        assert_eq!(lines[44], "4.3,500,0,4.0,0.0,0.0,\"healing: 3 arcs, a lot\"");
        assert_eq!(lines.len(), 1 + 100);
        let events = std::fs::read_to_string(events).expect("readable");
        assert_eq!(
            events.lines().nth(1),
            Some(
                "kill -9 node2 node3,4.00,2.000,1,4.0,250.0,20.0,1000,500,0.500,5,1.0100,1.0200,2000,1900"
            )
        );
        assert_eq!(events.lines().count(), 3);
    }

    #[test]
    fn the_chart_shows_events_at_their_times() {
        let chart = report().chart();
        assert_eq!(chart.seconds, 10.0);
        assert_eq!(chart.marks.len(), 2);
        assert_eq!((chart.marks[0].from, chart.marks[0].to), (4.0, 6.0));
        assert!(chart.marks[0].is_bad && !chart.marks[1].is_bad);
        assert_eq!(chart.marks[0].note, "healthy in 2.0 s");
        assert_eq!(chart.lanes[0].lines[0].points[45], (4.5, 500.0));
        let table = report().to_string();
        assert!(table.lines().nth(1).is_some_and(|row| row.contains("kill -9 node2 node3")));
    }
}
