//! A chart as text: a row for each bar, with its label, the bar in block
//! characters, and the value.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::{Chart, Panel, drawable};
use crate::figures;

/// Characters of the longest bar. With labels and values about 80 columns.
const BAR_CELLS: usize = 48;

/// Eighths of a character, from one to seven.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const FULL: char = '█';

/// The character of a reference, which differs from that of a bar.
const REFERENCE: char = '╌';

pub(super) fn draw(chart: &Chart) -> String {
    let mut text = format!("{}\n", chart.title);
    if !chart.caption.is_empty() {
        text += &format!("{}\n", chart.caption);
    }
    for panel in &chart.panels {
        text.push('\n');
        if !panel.title.is_empty() {
            text += &format!("{}\n", panel.title);
        }
        text += &table(chart, panel).trim_fmt();
        text.push('\n');
    }
    text
}

fn table(chart: &Chart, panel: &Panel) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(row(&chart.bar_axis, String::new(), &chart.unit));
    let highest = panel.highest();
    for bar in &panel.bars {
        let value = drawable(bar.value);
        let blocks = blocks(value / highest);
        table.add_row(row(&bar.label, blocks, &figures::value(value)));
    }
    if let Some(line) = &panel.reference {
        let value = drawable(line.value);
        let cells = (value / highest * BAR_CELLS as f64).round() as usize;
        let dashes = REFERENCE.to_string().repeat(cells);
        table.add_row(row(&line.label, dashes, &figures::value(value)));
    }
    table
}

fn row(label: &str, bar: String, value: &str) -> [Cell; 3] {
    [Cell::new(label), Cell::new(bar), Cell::new(value).set_alignment(CellAlignment::Right)]
}

/// A bar of this fraction (0 to 1) of the full length, to an eighth of a character. Only 0 is drawn
/// as an empty bar.
fn blocks(part: f64) -> String {
    let eighths = (part * (BAR_CELLS * 8) as f64).round() as usize;
    let eighths = if part > 0.0 { eighths.max(1) } else { 0 };
    let mut bar = FULL.to_string().repeat(eighths / 8);
    if let Some(rest) = (eighths % 8).checked_sub(1) {
        bar.push(PARTS[rest]);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::super::{load, throughput};
    use super::*;
    use crate::report::{Mode, NodeLoad, Throughput};

    #[test]
    fn the_length_of_a_bar_is_its_fraction() {
        let unit = 1.0 / BAR_CELLS as f64;
        assert_eq!(blocks(0.0), "");
        assert_eq!(blocks(1e-9), "▏", "something is never nothing");
        assert_eq!(blocks(unit / 2.0), "▌");
        assert_eq!(blocks(2.0 * unit), "██");
        assert_eq!(blocks(2.875 * unit), "██▉");
        assert_eq!(blocks(1.0).chars().count(), BAR_CELLS);
    }

    #[test]
    fn the_load_histogram_is_readable() {
        let rows = [("node1", 100), ("node2", 50), ("a-long-name", 0)].map(|(id, count)| {
            let node_id = id.to_owned();
            NodeLoad { node_id, count }
        });
        let expected = "\
Keys on each storage node
max/mean 2.000, min/mean 0.000 (150 over 3 nodes: 0 to 100, deviation 40.8)

 node                                                           keys
 node1        ████████████████████████████████████████████████   100
 node2        ████████████████████████                            50
 a-long-name                                                       0
 mean         ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌                            50
";
        assert_eq!(load(&rows).text(), expected);
    }

    #[test]
    fn each_panel_has_its_own_scale() {
        let row = |mode, ops| Throughput {
            replicas: 3,
            ops,
            seconds: 1.0,
            mode,
            threads: 1,
            batch: 1,
            p50_us: 1.0,
            p99_us: 1.0,
        };
        let rows = [row(Mode::Sequential, 500), row(Mode::Saturated, 100_000)];
        let text = throughput(&rows, None).text();
        let full = FULL.to_string().repeat(BAR_CELLS);
        assert_eq!(text.matches(&full).count(), 2, "{text}");
        assert!(text.contains("saturated"), "{text}");
        assert!(text.contains("100,000"), "{text}");
    }
}
