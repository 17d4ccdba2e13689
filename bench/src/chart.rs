//! Charts. Bar charts are drawn twice from one description: with block characters for the
//! terminal ([`Chart::text`]) and as SVG for everything else ([`Chart::svg`]).
//!
//! A [`Chart`] is one or more panels side by side. Panels share their unit but
//! not their scale: figures that differ by a factor of ten or more each get a
//! panel in which their bars can be compared, and every bar starts at zero, so
//! that its length is its value. A log axis would allow one panel, but bars
//! have no honest length on it.
//!
//! [`throughput`] and [`load`] describe the two bar charts of this project. A
//! [`Timeline`] is another kind: lines over time, with events.

mod standard;
mod svg;
mod terminal;
mod timeline;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files;

pub use standard::{load, throughput};
pub use timeline::{ChartLane, ChartLine, Mark, Timeline};

/// A bar chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// The finding or the conditions, in one smaller line below; may be empty.
    pub caption: String,
    /// What the bars stand for ("copies (K)").
    pub bar_axis: String,
    /// Unit of all values ("operations/s").
    pub unit: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

/// Bars that share a scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// The heading of this panel; empty if it is the only one.
    pub title: String,
    /// The bars, from left to right.
    pub bars: Vec<Bar>,
    /// A line across all bars to compare them with.
    pub reference: Option<Reference>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its label.
    pub label: String,
    /// Its length, in the chart's unit: finite and not negative. Anything else
    /// is drawn as 0.
    pub value: f64,
}

/// A value that all bars of a panel are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Its label ("mean", "floor").
    pub label: String,
    /// Where it is, in the chart's unit; as for a [`Bar`].
    pub value: f64,
}

/// Why a chart cannot be created.
#[derive(Debug, Error)]
pub enum ChartError {
    /// The drawing library failed.
    #[error("cannot draw the chart: {0}")]
    Draw(String),
    /// The file could not be written; the previous one is unchanged.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Chart {
    /// The chart as plain text without colours, for a terminal or a pipe. About
    /// 80 columns wide unless the labels are long; ends with a newline.
    pub fn text(&self) -> String {
        terminal::draw(self)
    }

    /// The chart as an SVG document.
    pub fn svg(&self) -> Result<String, ChartError> {
        svg::draw(self)
    }

    /// Writes [`Chart::svg`] to `path`, whole or not at all; its folder is
    /// created.
    pub fn write_svg(&self, path: &Path) -> Result<(), ChartError> {
        write(path, &self.svg()?)
    }
}

fn write(path: &Path, document: &str) -> Result<(), ChartError> {
    files::replace(path, document.as_bytes())
        .map_err(|source| ChartError::Write { path: path.to_owned(), source })
}

impl Panel {
    /// The highest value of a bar or the reference, or 1 if all are 0, so that
    /// it can always be divided by.
    fn highest(&self) -> f64 {
        let bars = self.bars.iter().map(|bar| bar.value);
        let all = bars.chain(self.reference.iter().map(|line| line.value));
        let highest = all.map(drawable).fold(0.0, f64::max);
        if highest > 0.0 { highest } else { 1.0 }
    }
}

/// A length that can be drawn; an invalid one becomes 0.
fn drawable(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_is_never_zero() {
        let panel = |values: &[f64]| Panel {
            title: String::new(),
            bars: values.iter().map(|&value| Bar { label: String::new(), value }).collect(),
            reference: Some(Reference { label: "mean".to_owned(), value: 4.0 }),
        };
        assert_eq!(panel(&[1.0, 9.0]).highest(), 9.0);
        assert_eq!(panel(&[1.0, f64::NAN, f64::INFINITY]).highest(), 4.0);
        let mut empty = panel(&[0.0, -1.0]);
        empty.reference = None;
        assert_eq!(empty.highest(), 1.0);
    }

    #[test]
    fn a_chart_is_written_whole_and_a_failure_names_the_file() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let chart = load(&[]);
        let path = scratch.path().join("charts/load.svg");
        chart.write_svg(&path).expect("written");
        let document = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(document, chart.svg().expect("drawn"));
        let error = chart.write_svg(&path.join("inside a file")).expect_err("no");
        assert!(error.to_string().contains("inside a file"));
    }
}
