//! A chart as SVG. Sizes are in pixels of the document, which scales freely.
//!
//! Text cannot be measured here (that would take font files), so where it must
//! not overlap, its width is estimated from its number of characters.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Chart, ChartError, Panel, drawable};
use crate::figures;

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 960;
const HEIGHT: u32 = 520;

/// Height of the strip with title and caption.
const HEAD: u32 = 84;

/// Height of the strip with a panel's title.
const PANEL_HEAD: u32 = 34;

/// Space around everything.
pub(super) const MARGIN: u32 = 16;

/// Space left of a panel for the values of its axis and the unit.
const LEFT_AXIS: u32 = 72;

/// Space below a panel for the labels of the bars and of their axis.
const BOTTOM_AXIS: u32 = 60;

/// Space right of a panel for the label of its reference.
const REFERENCE_SPACE: u32 = 76;

/// Free height above the highest bar for its value, as a fraction of it.
const HEADROOM: f64 = 0.12;

/// Fraction of its slot that a bar fills.
const BAR_FILL: f64 = 0.62;

pub(super) const TITLE_SIZE: u32 = 24;
const PANEL_TITLE_SIZE: u32 = 16;
pub(super) const TEXT_SIZE: u32 = 14;

/// Width of a character as a fraction of its height: digits and small letters of the usual
/// sans-serif fonts, rounded up.
const CHARACTER_WIDTH: f64 = 0.62;

pub(super) const INK: RGBColor = RGBColor(38, 44, 54);
pub(super) const FAINT_INK: RGBColor = RGBColor(96, 104, 116);
pub(super) const GRID: RGBColor = RGBColor(226, 230, 236);

/// Colours of the panels, which colour-blind people can distinguish too.
pub(super) const COLOURS: [RGBColor; 4] = [
    RGBColor(66, 121, 178),
    RGBColor(230, 134, 42),
    RGBColor(76, 153, 112),
    RGBColor(150, 98, 164),
];

pub(super) fn draw(chart: &Chart) -> Result<String, ChartError> {
    let mut document = String::new();
    {
        let canvas = SVGBackend::with_string(&mut document, (WIDTH, HEIGHT)).into_drawing_area();
        draw_chart(chart, &canvas)?;
        canvas.present().map_err(failed)?;
    }
    Ok(document)
}

fn draw_chart(chart: &Chart, canvas: &Canvas<'_>) -> Result<(), ChartError> {
    canvas.fill(&WHITE).map_err(failed)?;
    let middle = WIDTH as i32 / 2;
    let style = text(TITLE_SIZE, INK, HPos::Center, VPos::Center);
    canvas.draw_text(&chart.title, &style, (middle, 32)).map_err(failed)?;
    let style = text(TEXT_SIZE, FAINT_INK, HPos::Center, VPos::Center);
    canvas.draw_text(&chart.caption, &style, (middle, 62)).map_err(failed)?;
    let body = canvas.margin(HEAD, MARGIN, MARGIN, MARGIN);
    let areas = body.split_evenly((1, chart.panels.len().max(1)));
    for (at, (panel, area)) in chart.panels.iter().zip(&areas).enumerate() {
        draw_panel(chart, panel, COLOURS[at % COLOURS.len()], canvas, area)?;
    }
    Ok(())
}

fn draw_panel(
    chart: &Chart,
    panel: &Panel,
    colour: RGBColor,
    canvas: &Canvas<'_>,
    area: &Canvas<'_>,
) -> Result<(), ChartError> {
    let top = if panel.title.is_empty() { 0 } else { PANEL_HEAD };
    let right = panel.reference.as_ref().map_or(MARGIN, |_| REFERENCE_SPACE);
    let slots = panel.bars.len().max(1);
    let highest = panel.highest() * (1.0 + HEADROOM);
    let mut plot = ChartBuilder::on(area)
        .margin_top(top)
        .margin_right(right)
        .set_label_area_size(LabelAreaPosition::Left, LEFT_AXIS)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM_AXIS)
        .build_cartesian_2d(0.0..slots as f64, 0.0..highest)
        .map_err(failed)?;
    plot.configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT_INK)
        .y_labels(6)
        .y_label_formatter(&|value| figures::short(*value))
        .label_style(text(TEXT_SIZE, FAINT_INK, HPos::Left, VPos::Top))
        .y_desc(&chart.unit)
        .axis_desc_style(text(TEXT_SIZE, FAINT_INK, HPos::Left, VPos::Top))
        .draw()
        .map_err(failed)?;

    let bars = panel.bars.iter().enumerate().map(|(at, bar)| {
        let left = at as f64 + (1.0 - BAR_FILL) / 2.0;
        let corners = [(left, 0.0), (left + BAR_FILL, drawable(bar.value))];
        Rectangle::new(corners, colour.filled())
    });
    plot.draw_series(bars).map_err(failed)?;
    if let Some(line) = &panel.reference {
        let value = drawable(line.value);
        let ends = [(0.0, value), (slots as f64, value)];
        let dashes = DashedLineSeries::new(ends, 7, 4, INK.stroke_width(2));
        plot.draw_series(dashes).map_err(failed)?;
    }

    let place = |x: f64, y: f64| plot.backend_coord(&(x, y));
    annotate(chart, panel, colour, canvas, &place)
}

/// Writes the texts of a panel. Their positions refer to its plot; `place` converts them to pixels,
/// mostly outside of the plot.
fn annotate(
    chart: &Chart,
    panel: &Panel,
    colour: RGBColor,
    canvas: &Canvas<'_>,
    place: &dyn Fn(f64, f64) -> (i32, i32),
) -> Result<(), ChartError> {
    let write = |content: &str, style: &TextStyle<'_>, at: (i32, i32)| {
        canvas.draw_text(content, style, at).map_err(failed)
    };
    let slots = panel.bars.len().max(1);
    let (left, bottom) = place(0.0, 0.0);
    let (right, _) = place(slots as f64, 0.0);
    let middle = (left + right) / 2;
    let slot_width = f64::from(right - left) / slots as f64;

    let style = text(TEXT_SIZE, INK, HPos::Center, VPos::Center);
    let labels: Vec<&str> = panel.bars.iter().map(|bar| bar.label.as_str()).collect();
    for (at, label) in every_fitting(&labels, slot_width) {
        let (x, _) = place(at as f64 + 0.5, 0.0);
        write(label, &style, (x, bottom + 16))?;
    }
    let values: Vec<String> =
        panel.bars.iter().map(|bar| figures::value(drawable(bar.value))).collect();
    // Show all values or none: single ones would be useless.
    if values.iter().all(|value| fits(value, slot_width)) {
        for (at, value) in values.iter().enumerate() {
            let (x, y) = place(at as f64 + 0.5, drawable(panel.bars[at].value));
            // On white, since a line may cross the text.
            let half = (width(value) / 2.0) as i32 - 4;
            let behind = Rectangle::new([(x - half, y - 19), (x + half, y - 3)], WHITE.filled());
            canvas.draw(&behind).map_err(failed)?;
            write(value, &style, (x, y - 11))?;
        }
    }
    let style = text(TEXT_SIZE, FAINT_INK, HPos::Center, VPos::Center);
    write(&chart.bar_axis, &style, (middle, bottom + 44))?;
    if !panel.title.is_empty() {
        let style = text(PANEL_TITLE_SIZE, colour, HPos::Center, VPos::Center);
        write(&panel.title, &style, (middle, HEAD as i32 + 12))?;
    }
    if let Some(line) = &panel.reference {
        let (x, y) = place(slots as f64, drawable(line.value));
        let style = text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
        write(&line.label, &style, (x + 8, y - 8))?;
        let value = figures::value(drawable(line.value));
        write(&value, &style, (x + 8, y + 8))?;
    }
    Ok(())
}

/// As many labels as fit, evenly chosen, with their positions.
fn every_fitting<'a>(
    labels: &'a [&'a str],
    slot_width: f64,
) -> impl Iterator<Item = (usize, &'a str)> {
    let widest = labels.iter().map(|label| width(label)).fold(0.0, f64::max);
    let step = (widest / slot_width).ceil().max(1.0) as usize;
    labels.iter().copied().enumerate().step_by(step)
}

fn fits(label: &str, slot_width: f64) -> bool {
    width(label) <= slot_width
}

/// Estimated width of a label, with some space beside it.
pub(super) fn width(label: &str) -> f64 {
    (label.chars().count() as f64 + 1.0) * f64::from(TEXT_SIZE) * CHARACTER_WIDTH
}

pub(super) fn text(
    size: u32,
    colour: RGBColor,
    horizontal: HPos,
    vertical: VPos,
) -> TextStyle<'static> {
    TextStyle {
        font: ("sans-serif", size).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(horizontal, vertical),
    }
}

/// Keeps the text of a library error, since the error borrows from the drawing.
pub(super) fn failed(error: impl Display) -> ChartError {
    ChartError::Draw(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Reference};
    use super::*;

    fn chart(labels: impl IntoIterator<Item = String>) -> Chart {
        let bars = labels.into_iter().zip(1_001_u32..);
        Chart {
            title: "Title <1>".to_owned(),
            caption: "Caption".to_owned(),
            bar_axis: "node".to_owned(),
            unit: "keys".to_owned(),
            panels: vec![Panel {
                title: "Panel".to_owned(),
                bars: bars.map(|(label, value)| Bar { label, value: value.into() }).collect(),
                reference: Some(Reference { label: "mean".to_owned(), value: 1_500.5 }),
            }],
        }
    }

    /// The texts of a document, in the order in which they were drawn.
    fn texts(document: &str) -> Vec<&str> {
        document
            .split("</text>")
            .filter_map(|part| part.rsplit('>').next())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect()
    }

    #[test]
    fn everything_described_is_written() {
        let document = draw(&chart(["a".to_owned(), "b & c".to_owned()])).expect("drawn");
        let texts = texts(&document);
        for text in [
            "Title &lt;1&gt;",
            "Caption",
            "Panel",
            "node",
            "keys",
            "a",
            "b &amp; c",
            "1,001",
            "1,002",
            "mean",
            "1,501",
        ] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
    }

    #[test]
    fn labels_without_space_are_left_out() {
        let document = draw(&chart((0..100).map(|at| format!("node-{at}")))).expect("drawn");
        let texts = texts(&document);
        let labels = texts.iter().filter(|text| text.starts_with("node-"));
        assert!((5..20).contains(&labels.count()), "{texts:?}");
        assert!(texts.contains(&"node-0"));
        assert!(!texts.contains(&"1,001"), "all values or none");
    }

    #[test]
    fn empty_and_invalid_values_are_drawn() {
        let mut odd = chart(["x".to_owned(), "y".to_owned()]);
        odd.panels[0].bars[0].value = f64::NAN;
        odd.panels[0].bars[1].value = f64::INFINITY;
        let document = draw(&odd).expect("drawn");
        assert!(!document.contains("NaN") && !document.contains("inf"));
        odd.panels.clear();
        draw(&odd).expect("drawn without panels");
        draw(&chart([])).expect("drawn without bars");
    }
}
