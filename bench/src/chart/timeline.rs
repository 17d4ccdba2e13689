//! Figures over time, one above the other on the same axis, with events marked across all of them.
//! As SVG only: a terminal is too coarse for it.
//!
//! An event is a line where it began, a shade until it was over, and a label above the plots;
//! labels that would overlap go into rows below one another.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::svg::{
    COLOURS, Canvas, FAINT_INK, GRID, INK, MARGIN, TEXT_SIZE, TITLE_SIZE, failed, text, width,
};
use super::{ChartError, Reference, drawable, write};
use crate::figures;

/// A chart over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The title.
    pub title: String,
    /// The conditions, in one smaller line below.
    pub caption: String,
    /// Length of the run.
    pub seconds: f64,
    /// The plots, from top to bottom; the first is the highest.
    pub lanes: Vec<ChartLane>,
    /// The events, in order.
    pub marks: Vec<Mark>,
}

/// One plot.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartLane {
    /// The unit of its values.
    pub unit: String,
    /// Its lines.
    pub lines: Vec<ChartLine>,
    /// A value to compare with.
    pub reference: Option<Reference>,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartLine {
    /// Its label; empty if it is the only one.
    pub label: String,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The event.
    pub label: String,
    /// Its result, on a second line.
    pub note: String,
    /// Its start, in seconds.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// An injected fault: marked in another colour.
    pub is_bad: bool,
}

const WIDTH: u32 = 1_280;

/// Height of title and caption.
const HEAD: u32 = 84;

/// Height of one row of event labels.
const ROW: u32 = 42;

/// Height of the first plot, and of each that follows.
const FIRST: u32 = 380;
const OTHERS: u32 = 190;

/// Height of the axis of time.
const TIME_AXIS: u32 = 56;

/// Space left of the plots for their values and units.
const LEFT_AXIS: u32 = 72;

/// Space right of them for the label of a reference.
const RIGHT: u32 = 84;

/// Height between two plots, in which the labels of the lower one's lines stand.
const GAP: u32 = 34;

/// Free height above the highest value, as a fraction of it.
const HEADROOM: f64 = 0.08;

const BAD: RGBColor = RGBColor(192, 57, 43);
const PLANNED: RGBColor = RGBColor(76, 153, 112);

impl Timeline {
    /// The chart as an SVG document.
    ///
    /// # Errors
    /// [`ChartError`].
    pub fn svg(&self) -> Result<String, ChartError> {
        let rows = self.rows();
        let height = self.top(&rows) + self.lane_heights().sum::<u32>() + TIME_AXIS + MARGIN;
        let mut document = String::new();
        {
            let backend = SVGBackend::with_string(&mut document, (WIDTH, height));
            let canvas = backend.into_drawing_area();
            self.draw(&canvas, &rows)?;
            canvas.present().map_err(failed)?;
        }
        Ok(document)
    }

    /// Writes [`Timeline::svg`] to `path`, whole or not at all; its folder is created.
    ///
    /// # Errors
    /// [`ChartError`].
    pub fn write_svg(&self, path: &Path) -> Result<(), ChartError> {
        write(path, &self.svg()?)
    }

    fn lane_heights(&self) -> impl Iterator<Item = u32> {
        (0..self.lanes.len()).map(|at| if at == 0 { FIRST } else { OTHERS })
    }

    /// The top of the first plot.
    fn top(&self, rows: &[usize]) -> u32 {
        HEAD + ROW * rows.iter().max().map_or(0, |last| *last as u32 + 1)
    }

    /// The position of a time, in pixels from the left.
    fn x(&self, seconds: f64) -> i32 {
        let plot = f64::from(WIDTH - MARGIN - LEFT_AXIS - RIGHT);
        (f64::from(MARGIN + LEFT_AXIS) + plot * seconds / self.span()) as i32
    }

    /// The length of the axis of time.
    fn span(&self) -> f64 {
        if self.seconds > 0.0 && self.seconds.is_finite() { self.seconds } else { 1.0 }
    }

    /// The row of each event's label, from 0: the first with enough space.
    fn rows(&self) -> Vec<usize> {
        let mut ends: Vec<f64> = Vec::new();
        self.marks
            .iter()
            .map(|mark| {
                let from = self.label_at(mark);
                let row = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
                if row == ends.len() {
                    ends.push(0.0);
                }
                ends[row] = from + mark.width();
                row
            })
            .collect()
    }

    /// The left end of an event's label: at its line, or so that it ends within the picture.
    fn label_at(&self, mark: &Mark) -> f64 {
        (f64::from(self.x(mark.from)) + 4.0).min(f64::from(WIDTH) - mark.width())
    }

    fn draw(&self, canvas: &Canvas<'_>, rows: &[usize]) -> Result<(), ChartError> {
        canvas.fill(&WHITE).map_err(failed)?;
        let write = |content: &str, style: &TextStyle<'_>, at: (i32, i32)| {
            canvas.draw_text(content, style, at).map_err(failed)
        };
        let middle = WIDTH as i32 / 2;
        let style = text(TITLE_SIZE, INK, HPos::Center, VPos::Center);
        write(&self.title, &style, (middle, 30))?;
        let style = text(TEXT_SIZE, FAINT_INK, HPos::Center, VPos::Center);
        write(&self.caption, &style, (middle, 58))?;

        let top = self.top(rows) as i32;
        let bottom = top + self.lane_heights().sum::<u32>() as i32;
        // Behind everything: the shades of the events.
        for mark in &self.marks {
            let corners = [(self.x(mark.from), top), (self.x(mark.to), bottom)];
            let shade = Rectangle::new(corners, mark.colour().mix(0.12).filled());
            canvas.draw(&shade).map_err(failed)?;
        }
        let mut from = top;
        for (at, (lane, height)) in self.lanes.iter().zip(self.lane_heights()).enumerate() {
            let to = from + height as i32;
            self.draw_lane(lane, canvas, (from, to), [at == 0, at + 1 == self.lanes.len()])?;
            from = to;
        }
        for (mark, row) in self.marks.iter().zip(rows) {
            let (x, label) = (self.x(mark.from), self.label_at(mark) as i32);
            let y = (HEAD + ROW * *row as u32) as i32;
            let line = PathElement::new([(x, y), (x, bottom)], mark.colour().stroke_width(1));
            canvas.draw(&line).map_err(failed)?;
            let style = text(TEXT_SIZE, mark.colour(), HPos::Left, VPos::Center);
            write(&mark.label, &style, (label, y + 9))?;
            let style = text(TEXT_SIZE, FAINT_INK, HPos::Left, VPos::Center);
            write(&mark.note, &style, (label, y + 26))?;
        }
        Ok(())
    }

    fn draw_lane(
        &self,
        lane: &ChartLane,
        canvas: &Canvas<'_>,
        (from, to): (i32, i32),
        [is_first, is_last]: [bool; 2],
    ) -> Result<(), ChartError> {
        let bottom = if is_last { TIME_AXIS as i32 } else { 0 };
        let area =
            canvas.clone().shrink((MARGIN, from), (WIDTH - MARGIN, (to - from + bottom) as u32));
        let mut plot = ChartBuilder::on(&area)
            .margin_top(if is_first { 0 } else { GAP })
            .margin_right(RIGHT - MARGIN)
            .set_label_area_size(LabelAreaPosition::Left, LEFT_AXIS)
            .set_label_area_size(LabelAreaPosition::Bottom, bottom)
            .build_cartesian_2d(0.0..self.span(), 0.0..lane.highest() * (1.0 + HEADROOM))
            .map_err(failed)?;
        let style = text(TEXT_SIZE, FAINT_INK, HPos::Left, VPos::Top);
        let mut mesh = plot.configure_mesh();
        mesh.disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FAINT_INK)
            .x_labels(16)
            .y_labels(if is_last { 4 } else { 6 })
            .y_label_formatter(&|value| figures::short(*value))
            .label_style(style.clone())
            .axis_desc_style(style)
            .y_desc(&lane.unit);
        if is_last {
            mesh.x_desc("seconds").x_label_formatter(&|value| figures::short(*value));
        }
        mesh.draw().map_err(failed)?;

        for (at, line) in lane.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let points = line.points.iter().map(|&(x, y)| (x, drawable(y)));
            let series = LineSeries::new(points, colour.stroke_width(2));
            plot.draw_series(series).map_err(failed)?;
        }
        if let Some(reference) = &lane.reference {
            let value = drawable(reference.value);
            let ends = [(0.0, value), (self.span(), value)];
            let dashes = DashedLineSeries::new(ends, 7, 4, INK.stroke_width(1));
            plot.draw_series(dashes).map_err(failed)?;
            let (x, y) = plot.backend_coord(&(self.span(), value));
            let style = text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
            let label = format!("{} {}", reference.label, figures::value(value));
            canvas.draw_text(&label, &style, (x + 4, y)).map_err(failed)?;
        }
        // The labels of the lines, above them.
        let mut x = self.x(0.0) + 8;
        for (at, line) in lane.lines.iter().enumerate().filter(|(_, line)| !line.label.is_empty()) {
            let style = text(TEXT_SIZE, COLOURS[at % COLOURS.len()], HPos::Left, VPos::Center);
            canvas.draw_text(&line.label, &style, (x, from + GAP as i32 / 2)).map_err(failed)?;
            x += width(&line.label) as i32 + 8;
        }
        Ok(())
    }
}

impl ChartLane {
    /// The highest value, or 1 if all are 0.
    fn highest(&self) -> f64 {
        let values = self.lines.iter().flat_map(|line| &line.points).map(|&(_, value)| value);
        let all = values.chain(self.reference.iter().map(|line| line.value));
        let highest = all.map(drawable).fold(0.0, f64::max);
        if highest > 0.0 { highest } else { 1.0 }
    }
}

impl Mark {
    fn colour(&self) -> RGBColor {
        if self.is_bad { BAD } else { PLANNED }
    }

    fn width(&self) -> f64 {
        width(&self.label).max(width(&self.note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(label: &str, from: f64) -> Mark {
        let (label, note) = (label.to_owned(), "healthy in 1.5 s".to_owned());
        Mark { label, note, from, to: from + 1.5, is_bad: true }
    }

    fn chart(marks: Vec<Mark>) -> Timeline {
        let line = |label: &str| ChartLine {
            label: label.to_owned(),
            points: (0..100).map(|at| (f64::from(at), f64::from(at * 100))).collect(),
        };
        Timeline {
            title: "Title <1>".to_owned(),
            caption: "Caption".to_owned(),
            seconds: 100.0,
            lanes: vec![
                ChartLane { unit: "operations/s".into(), lines: vec![line("")], reference: None },
                ChartLane {
                    unit: "ms".into(),
                    lines: vec![line("puts"), line("gets")],
                    reference: Some(Reference { label: "bar".into(), value: 200.0 }),
                },
            ],
            marks,
        }
    }

    #[test]
    fn everything_described_is_written() {
        let document = chart(vec![mark("kill & more", 10.0)]).svg().expect("drawn");
        for text in [
            "Title &lt;1&gt;",
            "Caption",
            "operations/s",
            "puts",
            "gets",
            "bar 200",
            "seconds",
            "kill &amp; more",
            "healthy in 1.5 s",
        ] {
            assert!(document.contains(text), "{text}");
        }
    }

    #[test]
    fn labels_that_would_overlap_go_into_rows() {
        let near = chart(vec![mark("a", 10.0), mark("b", 12.0), mark("c", 14.0), mark("d", 40.0)]);
        assert_eq!(near.rows(), [0, 1, 2, 0]);
        let far = chart(vec![mark("a", 10.0), mark("b", 40.0)]);
        assert_eq!(far.rows(), [0, 0]);
        assert!(near.top(&near.rows()) > far.top(&far.rows()));
        // The last one ends within the picture.
        let late = chart(vec![mark("a long label of an event", 99.0)]);
        assert!(late.label_at(&late.marks[0]) < f64::from(late.x(99.0)));
        assert!(chart(Vec::new()).rows().is_empty());
    }

    #[test]
    fn empty_and_invalid_values_are_drawn() {
        let mut odd = chart(Vec::new());
        odd.lanes[0].lines[0].points[3].1 = f64::NAN;
        odd.lanes[1].lines.clear();
        odd.seconds = 0.0;
        let document = odd.svg().expect("drawn");
        assert!(!document.contains("NaN"));
        odd.lanes.clear();
        odd.svg().expect("drawn without lanes");
    }
}
