//! The result files, as CSV: `perf_throughput.csv`, a line for each
//! measurement, `perf_floor.csv`, the floor that goes with each of them, and
//! `perf_loadbalance.csv`, a line for each storage node.
//!
//! Their columns are an interface that scripts read: names, order and number of decimals stay. A
//! file is replaced atomically.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::StringRecord;
use thiserror::Error;

use crate::files;

/// Name of the file with the throughput measurements.
pub const THROUGHPUT_FILE: &str = "perf_throughput.csv";

/// Name of the file with the floors beside them.
pub const FLOOR_FILE: &str = "perf_floor.csv";

/// Name of the file with the keys on each node.
pub const LOAD_FILE: &str = "perf_loadbalance.csv";

const THROUGHPUT_HEADER: [&str; 9] =
    ["replicas", "ops", "seconds", "ops_per_sec", "mode", "threads", "batch", "p50_us", "p99_us"];

const FLOOR_HEADER: [&str; 3] = ["replicas", "mode", "round_trips_per_sec"];

const LOAD_HEADER: [&str; 2] = ["node_id", "count"];

/// The mode of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One client, one request at a time: latency decides.
    Sequential,
    /// As many clients and as large batches as give the highest throughput.
    Saturated,
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Mode::Sequential => "sequential",
            Mode::Saturated => "saturated",
        })
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Mode::Sequential, Mode::Saturated]
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or(())
    }
}

/// One throughput measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Throughput {
    /// Copies of each key (K).
    pub replicas: u32,
    /// Operations that completed.
    pub ops: u64,
    /// Total time, in seconds.
    pub seconds: f64,
    /// How the cluster was driven.
    pub mode: Mode,
    /// Client threads.
    pub threads: u32,
    /// Operations in one request.
    pub batch: u32,
    /// Median time of a request, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the time of a request, in microseconds.
    pub p99_us: f64,
}

#[cfg(test)]
impl Throughput {
    /// One for tests: so many operations in two seconds.
    pub(crate) fn example(replicas: u32, mode: Mode, ops: u64) -> Throughput {
        let (threads, batch) = (1, 1);
        Throughput { replicas, ops, seconds: 2.0, mode, threads, batch, p50_us: 1.5, p99_us: 2.5 }
    }
}

impl Throughput {
    /// Operations a second; 0 if no time passed.
    pub fn ops_per_sec(&self) -> f64 {
        if self.seconds > 0.0 { self.ops as f64 / self.seconds } else { 0.0 }
    }

    fn record(&self) -> [String; 9] {
        [
            self.replicas.to_string(),
            self.ops.to_string(),
            format!("{:.3}", self.seconds),
            format!("{:.0}", self.ops_per_sec()),
            self.mode.to_string(),
            self.threads.to_string(),
            self.batch.to_string(),
            format!("{:.1}", self.p50_us),
            format!("{:.1}", self.p99_us),
        ]
    }

    /// The inverse of [`Throughput::record`]; `None` for other records.
    fn from_record(record: &StringRecord) -> Option<Self> {
        let (ops, seconds, rate): (u64, f64, f64) =
            (column(record, 1)?, column(record, 2)?, column(record, 3)?);
        Some(Self {
            replicas: column(record, 0)?,
            ops,
            // The rate has more digits than the seconds, so both are the same when they are written
            // again.
            seconds: if rate > 0.0 { ops as f64 / rate } else { seconds },
            mode: column(record, 4)?,
            threads: column(record, 5)?,
            batch: column(record, 6)?,
            p50_us: column(record, 7)?,
            p99_us: column(record, 8)?,
        })
    }
}

/// The floor at the time of one throughput measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloorLine {
    /// Copies of each key in that measurement.
    pub replicas: u32,
    /// Its mode.
    pub mode: Mode,
    /// Bare round trips a second.
    pub per_sec: f64,
}

/// The keys one storage node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLoad {
    /// The node's id, as the cluster calls it.
    pub node_id: String,
    /// Keys on it.
    pub count: u64,
}

/// A result file could not be written; the previous one is unchanged.
#[derive(Debug, Error)]
#[error("cannot write {}", path.display())]
pub struct ReportError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// A result file could not be read.
#[derive(Debug, Error)]
pub enum CsvReadError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A line does not have this program's format.
    #[error("{}: line {line} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// Measurements and floors do not match.
    #[error("{FLOOR_FILE} does not go with {THROUGHPUT_FILE} in {}", .0.display())]
    Mismatch(PathBuf),
}

/// Reads [`THROUGHPUT_FILE`] of `folder`; no rows if there is no such file.
///
/// # Errors
/// [`CsvReadError`].
pub fn read_throughput(folder: &Path) -> Result<Vec<Throughput>, CsvReadError> {
    read(folder.join(THROUGHPUT_FILE), Throughput::from_record)
}

/// Reads [`FLOOR_FILE`] of `folder`; no rows if there is no such file.
///
/// # Errors
/// [`CsvReadError`].
pub fn read_floors(folder: &Path) -> Result<Vec<FloorLine>, CsvReadError> {
    read(folder.join(FLOOR_FILE), |record| {
        let (replicas, mode) = (column(record, 0)?, column(record, 1)?);
        Some(FloorLine { replicas, mode, per_sec: column(record, 2)? })
    })
}

fn read<T>(
    path: PathBuf,
    row: impl Fn(&StringRecord) -> Option<T>,
) -> Result<Vec<T>, CsvReadError> {
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CsvReadError::Io { path, source }),
    };
    let mut rows = Vec::new();
    for (at, record) in csv::Reader::from_reader(text.as_slice()).records().enumerate() {
        match record.ok().as_ref().and_then(&row) {
            Some(row) => rows.push(row),
            // The header has line 1.
            None => return Err(CsvReadError::Damaged { path, line: at as u64 + 2 }),
        }
    }
    Ok(rows)
}

fn column<T: FromStr>(record: &StringRecord, at: usize) -> Option<T> {
    record.get(at)?.parse().ok()
}

/// Writes [`FLOOR_FILE`] into `folder`, which is created if need be, and
/// returns its path.
pub fn write_floors(folder: &Path, lines: &[FloorLine]) -> Result<PathBuf, ReportError> {
    let rows = lines.iter().map(|line| {
        [line.replicas.to_string(), line.mode.to_string(), format!("{:.0}", line.per_sec)]
    });
    write(folder.join(FLOOR_FILE), FLOOR_HEADER, rows)
}

/// Writes [`THROUGHPUT_FILE`] into `folder`, which is created if need be, and
/// returns its path.
pub fn write_throughput(folder: &Path, rows: &[Throughput]) -> Result<PathBuf, ReportError> {
    let rows = rows.iter().map(Throughput::record);
    write(folder.join(THROUGHPUT_FILE), THROUGHPUT_HEADER, rows)
}

/// Writes [`LOAD_FILE`] into `folder`, which is created if need be, and
/// returns its path.
pub fn write_load(folder: &Path, rows: &[NodeLoad]) -> Result<PathBuf, ReportError> {
    let rows = rows.iter().map(|row| [row.node_id.clone(), row.count.to_string()]);
    write(folder.join(LOAD_FILE), LOAD_HEADER, rows)
}

pub(crate) fn write<const N: usize>(
    path: PathBuf,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<PathBuf, ReportError> {
    match csv_bytes(header, rows).and_then(|bytes| files::replace(&path, &bytes)) {
        Ok(()) => Ok(path),
        Err(source) => Err(ReportError { path, source }),
    }
}

fn csv_bytes<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn row(replicas: u32, mode: Mode) -> Throughput {
        Throughput {
            replicas,
            ops: 100_000,
            seconds: 3.0006,
            mode,
            threads: 4,
            batch: 64,
            p50_us: 41.04,
            p99_us: 120.96,
        }
    }

    #[test]
    fn the_throughput_file_has_the_documented_columns() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let folder = scratch.path().join("made/on/demand");
        let rows = [row(1, Mode::Sequential), row(3, Mode::Saturated)];
        let path = write_throughput(&folder, &rows).expect("written");
        assert_eq!(path, folder.join("perf_throughput.csv"));
        assert_eq!(
            fs::read_to_string(path).expect("readable"),
            "replicas,ops,seconds,ops_per_sec,mode,threads,batch,p50_us,p99_us\n\
             1,100000,3.001,33327,sequential,4,64,41.0,121.0\n\
             3,100000,3.001,33327,saturated,4,64,41.0,121.0\n"
        );
    }

    #[test]
    fn the_load_file_has_the_documented_columns() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let rows = [("node1", 14_300), ("odd, \"id\"", 0)]
            .map(|(id, count)| NodeLoad { node_id: id.to_owned(), count });
        let path = write_load(scratch.path(), &rows).expect("written");
        assert_eq!(path, scratch.path().join("perf_loadbalance.csv"));
        assert_eq!(
            fs::read_to_string(path).expect("readable"),
            "node_id,count\nnode1,14300\n\"odd, \"\"id\"\"\",0\n"
        );
    }

    #[test]
    fn a_file_without_rows_has_a_header() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = write_load(scratch.path(), &[]).expect("written");
        assert_eq!(fs::read_to_string(path).expect("readable"), "node_id,count\n");
    }

    #[test]
    fn files_are_read_back_and_damage_is_noticed() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        assert_eq!(read_throughput(scratch.path()).expect("nothing yet"), []);
        let rows = [row(1, Mode::Sequential), row(3, Mode::Saturated)];
        let path = write_throughput(scratch.path(), &rows).expect("written");
        let read = read_throughput(scratch.path()).expect("readable");
        assert_eq!(read.len(), 2);
        // Read and written again it is identical: decimals were cut only once.
        let before = fs::read_to_string(&path).expect("readable");
        write_throughput(scratch.path(), &read).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), before);
        for damaged in [
            before.replace("saturated", "fast"),
            before.replace(",4,64", ",4"),
            before.replace("3,100000", "x,100000"),
        ] {
            fs::write(&path, damaged).expect("written");
            let error = read_throughput(scratch.path()).expect_err("damaged");
            assert!(matches!(error, CsvReadError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn the_rate_without_time_is_zero() {
        let mut row = row(1, Mode::Sequential);
        row.seconds = 0.0;
        assert_eq!(row.ops_per_sec(), 0.0);
    }

    #[test]
    fn a_failure_names_the_file_and_the_cause() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let file = scratch.path().join("file");
        fs::write(&file, b"in the way").expect("written");
        let error = write_load(&file, &[]).expect_err("a file is no folder");
        assert!(error.to_string().contains(LOAD_FILE), "{error}");
        assert!(error.source().is_some());
    }
}
