//! The status of the cluster and its nodes, for operators.

use cluster::membership::Gate;
use cluster::ring;
use cluster::time::Millis;
use net_common::message::control::{HealthLine, NodeStatus, Status};

/// The status of the cluster at `now`.
pub(crate) fn status(gate: &Gate, now: Millis) -> Status {
    let membership = gate.membership();
    let view = membership.active().view();
    let place = |incarnation| {
        let place = view.members.iter().position(|m| m.incarnation == incarnation);
        place.map(|place| place as u16)
    };
    let owned = |incarnation| {
        let place = place(incarnation);
        view.arcs.iter().filter(|&&owner| Some(owner) == place).count()
    };
    let mut nodes: Vec<NodeStatus> = membership
        .nodes()
        .map(|node| NodeStatus {
            id: node.who.id.clone(),
            address: node.who.address.clone(),
            state: membership.state_of(node, now),
            weight: place(node.who.incarnation)
                .map_or(node.who.weight, |place| view.members[usize::from(place)].weight),
            keys: node.report.keys,
            bytes: node.report.bytes,
            arcs: owned(node.who.incarnation) as u32,
            behind: place(node.who.incarnation).map_or(0, |p| membership.behind(p)) as u32,
            fetching: node.report.fetching,
            silent_ms: now.saturating_sub(node.heard),
            disk: node.who.on_disk.then(|| node.report.disk.clone()),
            is_full: node.report.is_full,
        })
        .collect();
    // node2 before node10: people expect shorter names first among numbered ones.
    nodes.sort_by(|a, b| {
        let key = |n: &NodeStatus| (n.id.as_str().len(), n.id.clone());
        key(a).cmp(&key(b))
    });
    let health = gate.health(now);
    Status {
        epoch: view.epoch,
        copies: view.copies as u8,
        heartbeat_ms: membership.settings().heartbeat_ms as u32,
        missed: membership.settings().missed,
        longest_ms: membership.longest_ms() as u32,
        durability: view.durability,
        arcs: view.arcs.len() as u32,
        health: HealthLine {
            level: health.level(),
            text: format!("{health}{}{}", membership.refused_writes(now), membership.unreached()),
        },
        changing: view.is_changing() || membership.newest().epoch() != view.epoch,
        change: membership.change(),
        lost: ring::slot_runs(&membership.lost(now), view.arcs.len()),
        loss: membership.loss(now),
        folders: membership.waiting_folders(),
        nodes,
    }
}
