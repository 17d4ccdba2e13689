//! A cluster's status, for people and for programs.

use std::fmt::Write;

use cluster::durability::Durability;
use cluster::ids::NodeId;
use cluster::membership::{DiskHealth, Loss, NodeState};
use cluster::membership::{Move, Outline};
use cluster::text::{Bytes, Count, count};
use comfy_table::{CellAlignment, Table, presets};
use net_common::message::control::{NodeStatus, Status};
use serde_json::{Value, json};

/// A node's share of the ring, 0 to 1.
fn share(status: &Status, node: &NodeStatus) -> f64 {
    f64::from(node.arcs) / f64::from(status.arcs.max(1))
}

/// Runs of lost slots that people are shown; programs get all of them.
const SHOWN_RUNS: usize = 16;

/// The table that `--status` prints, followed by the change under way, the lost slots and the
/// health line.
pub fn table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "node",
        "state",
        "address",
        "keys",
        "bytes",
        "share",
        "behind",
        "fetching",
        "last heartbeat",
    ]);
    for node in &status.nodes {
        table.add_row([
            node.id.to_string(),
            node.state.to_string(),
            node.address.to_string(),
            node.keys.to_string(),
            node.bytes.to_string(),
            format!("{:.1} %", 100.0 * share(status, node)),
            node.behind.to_string(),
            match node.fetching {
                0 => "-".to_owned(),
                rate => format!("{}/s", Bytes(rate)),
            },
            format!("{:.1} s", node.silent_ms as f64 / 1000.0),
        ]);
    }
    for column in 3..=8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut text = lines.join("\n");
    let Status { epoch, copies, durability, .. } = status;
    let copies = Count((*copies).into(), "copy");
    _ = write!(text, "\nview {epoch}, {copies} of each key\n");
    _ = writeln!(text, "durability: {durability}{}", disks(status));
    let lease_ms = u64::from(status.heartbeat_ms) * u64::from(status.missed);
    if u64::from(status.longest_ms) > lease_ms {
        _ = writeln!(
            text,
            "leases: {lease_ms} ms; those that are out may last {} ms",
            status.longest_ms
        );
    }
    if let Some(change) = &status.change {
        _ = writeln!(text, "under way: {change}");
    }
    for folder in &status.folders {
        _ = writeln!(text, "held back: {folder}");
    }
    if !status.lost.is_empty() {
        _ = writeln!(text, "lost slots: {}", runs(&status.lost));
    }
    _ = write!(text, "health: {}", status.health);
    text
}

/// What accepting the loss gives up, in one line.
pub fn loss(loss: &Loss) -> String {
    let some = loss.arcs.len() - loss.empty.len();
    match some {
        0 => begin_empty(loss.empty.len()),
        _ => format!(
            "{}, {some} {} on with what is on the disks that are there",
            begin_empty(loss.empty.len()),
            if some == 1 { "goes" } else { "go" }
        ),
    }
}

/// `2 arcs begin empty`.
pub(crate) fn begin_empty(arcs: usize) -> String {
    count(arcs, "arc").with("begins empty", "begin empty")
}

/// Whose records do not reach a disk, where the cluster promises that they do.
fn disks(status: &Status) -> String {
    if status.durability == Durability::None {
        return String::new();
    }
    let without = status.nodes.iter().filter(|node| node.disk.is_none());
    let without: Vec<&str> = without.map(|node| node.id.as_str()).collect();
    let mut text = match without.as_slice() {
        [] => String::new(),
        all if all.len() == status.nodes.len() => ", but no node has a data folder".into(),
        some => format!(", but {} without a data folder", some.join(", ")),
    };
    for NodeStatus { id, disk, .. } in &status.nodes {
        _ = match disk {
            None | Some(DiskHealth::Sound) => Ok(()),
            Some(DiskHealth::Strained(why)) => {
                write!(text, "\ndisk of {id}: no image of its records can be made: {why}")
            }
            Some(DiskHealth::Failing(why)) => write!(text, "\ndisk of {id}: in trouble: {why}"),
        };
    }
    text
}

/// `0-7, 12-15 and 3 more runs, see --json`.
fn runs(lost: &[(u16, u16)]) -> String {
    let shown: Vec<String> =
        lost.iter().take(SHOWN_RUNS).map(|(first, last)| format!("{first}-{last}")).collect();
    match lost.len().saturating_sub(SHOWN_RUNS) {
        0 => shown.join(", "),
        more => format!("{} and {more} more runs, see --json", shown.join(", ")),
    }
}

/// Node by node in the order of the status: node2 before node10.
fn by_name(outline: &Outline) -> Vec<&Move> {
    let mut moves: Vec<&Move> = outline.moves.iter().collect();
    moves.sort_by_key(|m| (m.id.as_str().len(), &m.id));
    moves
}

/// What a planned change moves, by node and in total.
pub fn outline(outline: &Outline) -> String {
    if outline.moves.is_empty() {
        return moved(outline);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "owns", "keeps", "fetches"]);
    let change = |(now, then): (usize, usize)| {
        if now == then { now.to_string() } else { format!("{now} → {then}") }
    };
    for m in by_name(outline) {
        table.add_row([m.id.to_string(), change(m.owns), change(m.keeps), m.fetches.to_string()]);
    }
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n{}", lines.join("\n"), moved(outline))
}

/// What a planned change moves, in one line.
pub fn moved(outline: &Outline) -> String {
    let Outline { what, arcs, moves, amount } = outline;
    // What leases are is nothing that is kept anywhere.
    if moves.is_empty() {
        return what.clone();
    }
    if *arcs == 0 && outline.copies() == 0 {
        return format!("{what}: nothing moves");
    }
    format!(
        "{what}: {}, {} ({} at least), about {}, {}",
        count(*arcs, "arc").with("changes its owner", "change their owner"),
        count(outline.copies(), "copy").with("of an arc moves", "of arcs move"),
        outline.least(),
        Count(amount.keys, "key"),
        Bytes(amount.bytes)
    )
}

/// The same for programs.
pub fn outline_json(outline: &Outline) -> Value {
    let nodes: Vec<Value> = by_name(outline)
        .into_iter()
        .map(|m| {
            json!({
                "id": m.id.as_str(),
                "owns": [m.owns.0, m.owns.1],
                "keeps": [m.keeps.0, m.keeps.1],
                "fetches": m.fetches,
            })
        })
        .collect();
    json!({
        "change": outline.what,
        "arcs": outline.arcs,
        "copies": outline.copies(),
        "least_copies": outline.least(),
        "keys": outline.amount.keys,
        "bytes": outline.amount.bytes,
        "nodes": nodes,
    })
}

/// The same for programs.
pub fn json(status: &Status) -> Value {
    let nodes: Vec<Value> = status
        .nodes
        .iter()
        .map(|node| {
            json!({
                "id": node.id.as_str(),
                "state": node.state.as_str(),
                "address": node.address.to_string(),
                "keys": node.keys,
                "bytes": node.bytes,
                "weight": node.weight,
                "arcs": node.arcs,
                "behind": node.behind,
                "transfer_bytes_per_second": node.fetching,
                "share": share(status, node),
                "seconds_since_heartbeat": node.silent_ms as f64 / 1000.0,
                "disk": match &node.disk {
                    None => "no",
                    Some(DiskHealth::Sound | DiskHealth::Strained(_)) => "yes",
                    Some(DiskHealth::Failing(why)) => why,
                },
                "disk_strain": match &node.disk {
                    Some(DiskHealth::Strained(why)) => Some(why),
                    _ => None,
                },
                "full": node.is_full,
            })
        })
        .collect();
    let folders: Vec<Value> = status
        .folders
        .iter()
        .map(|folder| {
            json!({
                "id": folder.id.as_str(),
                "address": folder.address.to_string(),
                "is_copy": folder.is_copy,
            })
        })
        .collect();
    json!({
        "epoch": status.epoch.0,
        "copies": status.copies,
        "heartbeat_ms": status.heartbeat_ms,
        "missed": status.missed,
        "longest_lease_ms": status.longest_ms,
        "durability": status.durability.to_string(),
        "arcs": status.arcs,
        "changing": status.changing,
        "change": status.change.as_deref().unwrap_or_default(),
        "lost_slots": status.lost,
        "begin_empty": status.loss.as_ref().map_or(0, |loss| loss.empty.len()),
        "health": status.health.text,
        "level": status.health.level.to_string(),
        "held_back_folders": folders,
        "nodes": nodes,
    })
}

/// The nodes that serve.
pub fn serving(status: &Status) -> Vec<&NodeId> {
    status.nodes.iter().filter(|n| n.state == NodeState::Active).map(|n| &n.id).collect()
}

#[cfg(test)]
mod tests {
    use cluster::ids::{Address, Epoch};
    use cluster::membership::Level;
    use net_common::message::control::HealthLine;

    use super::*;

    fn status() -> Status {
        Status {
            epoch: Epoch(3),
            copies: 2,
            heartbeat_ms: 2000,
            missed: 3,
            longest_ms: 6000,
            durability: Durability::Async,
            arcs: 4096,
            health: HealthLine { level: Level::Healthy, text: "healthy".into() },
            changing: true,
            change: Some("node2 leaving".into()),
            lost: vec![(0, 7), (12, 15)],
            loss: None,
            folders: Vec::new(),
            nodes: vec![NodeStatus {
                id: NodeId::new("node1").unwrap(),
                address: Address::new("127.0.0.1", 6001).unwrap(),
                state: NodeState::Active,
                weight: 1,
                keys: 10,
                bytes: 200,
                arcs: 1024,
                behind: 7,
                fetching: 1_500_000,
                silent_ms: 1500,
                disk: Some(DiskHealth::Sound),
                is_full: false,
            }],
        }
    }

    #[test]
    fn people_get_a_table_with_a_line_of_health() {
        let text = table(&status());
        let want = "under way: node2 leaving\nlost slots: 0-7, 12-15\nhealth: healthy";
        assert!(text.ends_with(want), "{text}");
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let want = "node1 active 127.0.0.1:6001 10 200 25.0 % 7 1.5 MB/s 1.5 s";
        assert_eq!(row.join(" "), want);
    }

    #[test]
    fn the_status_names_nodes_whose_records_reach_no_disk() {
        let line = |how, disk| {
            let mut status = status();
            status.durability = how;
            status.nodes[0].disk = disk;
            let text = table(&status);
            let (_, rest) = text.split_once("\ndurability: ").unwrap();
            rest.split_once("\nunder way").unwrap().0.to_owned()
        };
        assert_eq!(line(Durability::Async, Some(DiskHealth::Sound)), "async");
        assert_eq!(line(Durability::None, None), "none");
        assert_eq!(line(Durability::Async, None), "async, but no node has a data folder");
        let failing = Some(DiskHealth::Failing("no".into()));
        assert_eq!(line(Durability::Sync, failing), "sync\ndisk of node1: in trouble: no");
        let strained = Some(DiskHealth::Strained("too large".into()));
        let want = "sync\ndisk of node1: no image of its records can be made: too large";
        assert_eq!(line(Durability::Sync, strained), want);
    }

    #[test]
    fn programs_get_the_same() {
        let value = json(&status());
        assert_eq!(value["health"], "healthy");
        assert_eq!(value["level"], "healthy");
        assert_eq!(value["nodes"][0]["id"], "node1");
        assert_eq!(value["nodes"][0]["share"], 0.25);
        assert_eq!(value["nodes"][0]["behind"], 7);
        assert_eq!(value["lost_slots"][1][0], 12);
    }
}
