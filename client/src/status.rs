//! A cluster's status, for people and for programs.

use cluster::ids::NodeId;
use comfy_table::{CellAlignment, Table, presets};
use net_common::message::control::{NodeStatus, Status};
use serde_json::{Value, json};

/// A node's share of the ring, 0 to 1.
fn share(status: &Status, node: &NodeStatus) -> f64 {
    f64::from(node.arcs) / f64::from(status.arcs.max(1))
}

/// The table that `--status` prints, and the line of health under it.
pub fn table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "state", "address", "keys", "bytes", "share", "last heartbeat"]);
    for node in &status.nodes {
        table.add_row([
            node.id.to_string(),
            node.state.clone(),
            node.address.to_string(),
            node.keys.to_string(),
            node.bytes.to_string(),
            format!("{:.1} %", 100.0 * share(status, node)),
            format!("{:.1} s", node.silent_ms as f64 / 1000.0),
        ]);
    }
    for column in 3..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let summary = format!("view {}, {} copies of each key", status.epoch, status.copies);
    format!("{}\n{summary}\nhealth: {}", lines.join("\n"), status.health)
}

/// The same for programs.
pub fn json(status: &Status) -> Value {
    let nodes: Vec<Value> = status
        .nodes
        .iter()
        .map(|node| {
            json!({
                "id": node.id.as_str(),
                "state": node.state,
                "address": node.address.to_string(),
                "keys": node.keys,
                "bytes": node.bytes,
                "arcs": node.arcs,
                "share": share(status, node),
                "seconds_since_heartbeat": node.silent_ms as f64 / 1000.0,
            })
        })
        .collect();
    json!({
        "epoch": status.epoch.0,
        "copies": status.copies,
        "arcs": status.arcs,
        "changing": status.changing,
        "health": status.health,
        "nodes": nodes,
    })
}

/// The nodes that serve.
pub fn serving(status: &Status) -> Vec<&NodeId> {
    status.nodes.iter().filter(|n| n.state == "active").map(|n| &n.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ids::{Address, Epoch};

    fn status() -> Status {
        Status {
            epoch: Epoch(3),
            copies: 2,
            arcs: 4096,
            health: "healthy".into(),
            changing: false,
            nodes: vec![NodeStatus {
                id: NodeId::new("node1").unwrap(),
                address: Address::new("127.0.0.1", 6001).unwrap(),
                state: "active".into(),
                keys: 10,
                bytes: 200,
                arcs: 1024,
                silent_ms: 1500,
            }],
        }
    }

    #[test]
    fn people_get_a_table_with_a_line_of_health() {
        let text = table(&status());
        assert!(text.ends_with("\nhealth: healthy"), "{text}");
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let want = ["node1", "active", "127.0.0.1:6001", "10", "200", "25.0", "%", "1.5", "s"];
        assert_eq!(row, want);
    }

    #[test]
    fn programs_get_the_same() {
        let value = json(&status());
        assert_eq!(value["health"], "healthy");
        assert_eq!(value["nodes"][0]["id"], "node1");
        assert_eq!(value["nodes"][0]["share"], 0.25);
    }
}
