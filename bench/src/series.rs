//! Throughput rows of several clusters, one after another: each run adds its
//! rows to those in the result folder, the report at the end shows them all.
//!
//! Each row goes with the floor that was measured around it. The rows are in
//! [`report::THROUGHPUT_FILE`], whose columns are fixed, so the floors have a
//! file of their own beside it, line by line.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use crate::chart::{self, Chart};
use crate::figures::thousands;
use crate::report::{self, CsvReadError, FloorLine, Mode, ReportError, Throughput};

/// The project's targets: at least this many times the floor.
const PROMISES: [(Mode, u32, f64); 6] = [
    (Mode::Sequential, 1, 0.6),
    (Mode::Sequential, 3, 0.3),
    (Mode::Sequential, 5, 0.2),
    (Mode::Saturated, 1, 8.0),
    (Mode::Saturated, 3, 4.0),
    (Mode::Saturated, 5, 2.5),
];

/// A measurement and its floor.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The measurement.
    pub throughput: Throughput,
    /// Round trips a second of the floor at that time.
    pub floor: f64,
}

impl Row {
    /// Its ratio to the floor; 0 without a floor.
    pub fn ratio(&self) -> f64 {
        if self.floor > 0.0 { self.throughput.ops_per_sec() / self.floor } else { 0.0 }
    }

    /// The target ratio of this row, if there is one.
    pub fn promise(&self) -> Option<f64> {
        let Throughput { mode, replicas, .. } = self.throughput;
        let promise = PROMISES.into_iter().find(|&(m, k, _)| (m, k) == (mode, replicas))?;
        Some(promise.2)
    }
}

/// Rows of one or more clusters, in the order they were measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series(Vec<Row>);

impl Series {
    /// The rows in `folder`; none if it has no files yet.
    ///
    /// # Errors
    /// [`CsvReadError`] for files that are damaged or do not belong together.
    pub fn read(folder: &Path) -> Result<Series, CsvReadError> {
        let rows = report::read_throughput(folder)?;
        let mut floors = report::read_floors(folder)?.into_iter();
        let rows = rows.into_iter().map(|throughput| {
            let floor = floors
                .next()
                .filter(|f| (f.replicas, f.mode) == (throughput.replicas, throughput.mode))
                .ok_or_else(|| CsvReadError::Mismatch(folder.to_owned()))?;
            Ok(Row { throughput, floor: floor.per_sec })
        });
        rows.collect::<Result<_, _>>().map(Series)
    }

    /// Adds rows. They replace rows with the same K and mode.
    pub fn add(&mut self, rows: Vec<Row>) {
        let of = |row: &Row| (row.throughput.replicas, row.throughput.mode);
        for row in rows {
            match self.0.iter_mut().find(|known| of(known) == of(&row)) {
                Some(known) => *known = row,
                None => self.0.push(row),
            }
        }
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// Writes both files into `folder`.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        let floors: Vec<FloorLine> = self
            .0
            .iter()
            .map(|row| FloorLine {
                replicas: row.throughput.replicas,
                mode: row.throughput.mode,
                per_sec: row.floor,
            })
            .collect();
        report::write_throughput(folder, &self.throughputs())?;
        report::write_floors(folder, &floors).map(drop)
    }

    fn throughputs(&self) -> Vec<Throughput> {
        self.0.iter().map(|row| row.throughput.clone()).collect()
    }

    /// All rows with their ratios to the floor, for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header([
            "K", "mode", "threads", "batch", "ops/s", "p50 us", "p99 us", "floor/s", "x floor",
            "promised",
        ]);
        for row in &self.0 {
            let Throughput { replicas, mode, threads, batch, p50_us, p99_us, .. } = row.throughput;
            table.add_row([
                replicas.to_string(),
                mode.to_string(),
                threads.to_string(),
                batch.to_string(),
                thousands(row.throughput.ops_per_sec().round() as u64),
                format!("{p50_us:.1}"),
                format!("{p99_us:.1}"),
                thousands(row.floor.round() as u64),
                format!("{:.2}", row.ratio()),
                row.promise().map_or_else(String::new, |promise| promised(row.ratio(), promise)),
            ]);
        }
        for column in table.column_iter_mut().filter(|column| column.index != 1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// The chart of all rows, with the mean of their floors.
    pub fn chart(&self) -> Chart {
        let sum: f64 = self.0.iter().map(|row| row.floor).sum();
        let floor = (!self.0.is_empty()).then(|| sum / self.0.len() as f64);
        chart::throughput(&self.throughputs(), floor)
    }
}

fn promised(ratio: f64, promise: f64) -> String {
    let verdict = if ratio >= promise { "met" } else { "MISSED" };
    format!("{promise:.1} {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replicas: u32, mode: Mode, ops: u64) -> Row {
        let throughput = Throughput::example(replicas, mode, ops);
        Row { throughput, floor: 100.0 }
    }

    #[test]
    fn rows_of_several_runs_are_collected() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut all = Series::default();
        assert_eq!(Series::read(scratch.path()).expect("nothing yet"), all);
        for row in [row(1, Mode::Sequential, 120), row(1, Mode::Saturated, 1600)] {
            let mut series = Series::read(scratch.path()).expect("readable");
            series.add(vec![row.clone()]);
            series.write(scratch.path()).expect("written");
            all.add(vec![row]);
        }
        assert_eq!(Series::read(scratch.path()).expect("readable"), all);
        all.add(vec![row(1, Mode::Sequential, 90)]);
        let ratios: Vec<f64> = all.rows().iter().map(Row::ratio).collect();
        assert_eq!(ratios, [0.45, 8.0], "replaced, and in its old place");
        assert_eq!(all.chart().panels.len(), 2);
    }

    #[test]
    fn the_table_shows_targets_and_whether_they_are_met() {
        let mut series = Series::default();
        series.add(vec![row(1, Mode::Sequential, 90), row(5, Mode::Saturated, 500)]);
        let table = series.table();
        assert!(table.contains("0.45") && table.contains("0.6 MISSED"), "{table}");
        assert!(table.contains("2.50") && table.contains("2.5 met"), "{table}");
        assert_eq!(row(2, Mode::Sequential, 1).promise(), None);
    }

    #[test]
    fn files_that_do_not_match_are_refused() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut series = Series::default();
        series.add(vec![row(1, Mode::Sequential, 90)]);
        report::write_throughput(scratch.path(), &series.throughputs()).expect("written");
        let error = Series::read(scratch.path()).expect_err("no floors");
        assert!(matches!(error, CsvReadError::Mismatch(_)), "{error}");
    }
}
