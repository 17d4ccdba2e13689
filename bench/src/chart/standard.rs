//! The two standard charts, described from the rows of a report.

use super::{Bar, Chart, Panel, Reference};
use crate::figures::thousands;
use crate::report::{Mode, NodeLoad, Throughput};
use crate::summary::Balance;

/// Throughput by number of copies: a panel for each mode that was measured, and
/// in each the `floor` (round trips a second of one blocking client, see
/// [`crate::floor`]) as a line, if it is known.
pub fn throughput(rows: &[Throughput], floor: Option<f64>) -> Chart {
    let panels = [Mode::Sequential, Mode::Saturated]
        .into_iter()
        .filter_map(|mode| mode_panel(rows, mode, floor))
        .collect();
    Chart {
        title: "Throughput by number of copies".to_owned(),
        caption: floor.map_or_else(String::new, |floor| {
            format!(
                "floor: {} bare round trips/s of one blocking client on this machine",
                thousands(floor.round() as u64)
            )
        }),
        bar_axis: "copies (K)".to_owned(),
        unit: "operations/s".to_owned(),
        panels,
    }
}

fn mode_panel(rows: &[Throughput], mode: Mode, floor: Option<f64>) -> Option<Panel> {
    let bars: Vec<Bar> = rows
        .iter()
        .filter(|row| row.mode == mode)
        .map(|row| Bar { label: format!("K={}", row.replicas), value: row.ops_per_sec() })
        .collect();
    let title = match mode {
        Mode::Sequential => "sequential: one request at a time",
        Mode::Saturated => "saturated: threads and batches",
    };
    (!bars.is_empty()).then(|| Panel {
        title: title.to_owned(),
        bars,
        reference: floor.map(|value| Reference { label: "floor".to_owned(), value }),
    })
}

/// Keys on each node, with the mean as a line and the [`Balance`] as caption.
pub fn load(rows: &[NodeLoad]) -> Chart {
    let counts: Vec<u64> = rows.iter().map(|row| row.count).collect();
    let balance = Balance::of(&counts);
    Chart {
        title: "Keys on each storage node".to_owned(),
        caption: balance.map_or_else(|| "no nodes".to_owned(), |balance| balance.to_string()),
        bar_axis: "node".to_owned(),
        unit: "keys".to_owned(),
        panels: vec![Panel {
            title: String::new(),
            bars: rows
                .iter()
                .map(|row| Bar { label: row.node_id.clone(), value: row.count as f64 })
                .collect(),
            reference: balance
                .map(|balance| Reference { label: "mean".to_owned(), value: balance.mean }),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measured_mode_has_a_panel_with_the_floor() {
        let rows = [
            Throughput::example(1, Mode::Sequential, 20),
            Throughput::example(1, Mode::Saturated, 400),
            Throughput::example(3, Mode::Saturated, 200),
        ];
        let chart = throughput(&rows, Some(12_345.6));
        assert!(chart.caption.contains("12,346"));
        let shown: Vec<Vec<(&str, f64)>> = chart
            .panels
            .iter()
            .map(|panel| {
                let bars = panel.bars.iter();
                bars.map(|bar| (bar.label.as_str(), bar.value)).collect()
            })
            .collect();
        assert_eq!(shown, [vec![("K=1", 10.0)], vec![("K=1", 200.0), ("K=3", 100.0)]]);
        for panel in &chart.panels {
            assert_eq!(panel.reference.as_ref().map(|line| line.value), Some(12_345.6));
        }
        assert_eq!(throughput(&rows[..1], None).panels.len(), 1);
    }

    #[test]
    fn the_load_chart_shows_mean_and_balance() {
        let rows =
            [("a", 2), ("b", 4)].map(|(id, count)| NodeLoad { node_id: id.to_owned(), count });
        let chart = load(&rows);
        assert!(chart.caption.starts_with("max/mean 1.333"));
        let panel = &chart.panels[0];
        assert_eq!(panel.reference.as_ref().map(|line| line.value), Some(3.0));
        assert_eq!(panel.bars[1].value, 4.0);
        assert_eq!(load(&[]).panels[0].reference, None);
    }
}
