//! Schedules as text for people.

use crate::world::{Action, Frame, State, World};

/// The steps of a schedule, one per line, and the states after them.
pub fn describe(world: &World, schedule: &[Action]) -> String {
    let mut state = world.initial();
    let mut lines = vec![format!("     {}", nodes(&state))];
    for (i, &action) in schedule.iter().enumerate() {
        let what = describe_step(&state, action);
        let Some(next) = world.next(&state, action) else {
            lines.push(format!("{:>3}. {what}: out of bounds", i + 1));
            break;
        };
        lines.push(format!("{:>3}. {what}", i + 1));
        if nodes(&next) != nodes(&state) {
            lines.push(format!("     {}", nodes(&next)));
        }
        if let Some(why) = world.violation(&next) {
            lines.push(format!("     {why} is broken"));
        }
        state = next;
    }
    lines.push(format!("{schedule:?}"));
    lines.join("\n")
}

fn name(slot: usize) -> char {
    char::from(b'A' + slot as u8)
}

fn nodes(state: &State) -> String {
    let views = (state.manager.published.epoch(), state.manager.newest().epoch());
    let mut text = format!("active {}, newest {};", views.0, views.1);
    for (slot, node) in state.nodes.iter().enumerate() {
        let Some(node) = node.as_ref() else { continue };
        let held = node.held.as_ref().map_or("-".into(), |held| {
            let value = held.body.map_or("deleted".into(), |value| value.to_string());
            let clock = held.version.clock & 0xffff;
            format!("{value}@{clock}.{} {:?}", held.version.writer, held.state)
        });
        let synced = if node.is_synced() { "synced" } else { "blind" };
        let lease = if node.has_lease { "" } else { " no lease" };
        let page = if node.page.is_some() { " +page" } else { "" };
        let epoch = node.holdings.epoch();
        text += &format!("  {}[{epoch} {synced}{lease}{page}: {held}]", name(slot));
    }
    text
}

fn describe_step(state: &State, action: Action) -> String {
    let node = |slot: u8| name(usize::from(slot));
    let frame = |i: u8| match &state.bag[usize::from(i)] {
        Frame::Write { to, from, epoch, version, body, .. } => {
            let clock = version.clock & 0xffff;
            let whose = from.map_or("abandoned".into(), |client| format!("client {client}'s"));
            let (to, writer) = (name(*to), version.writer);
            format!("{whose} WRITE {body:?}@{clock}.{writer} under {epoch} arrives at {to}")
        }
        Frame::Read { to, from, fence } => {
            let what = if fence.is_some() { "FENCE" } else { "READ" };
            format!("client {from}'s {what} arrives at {}", name(*to))
        }
        Frame::Commit { to, version } => {
            let clock = version.clock & 0xffff;
            format!("COMMIT {clock}.{} arrives at {}", version.writer, name(*to))
        }
        Frame::Admitted { to, version, .. } => {
            let clock = version.clock & 0xffff;
            format!("{} carries out WRITE {clock}.{}", name(*to), version.writer)
        }
    };
    match action {
        Action::Begin => "nothing".into(),
        Action::Start(client) => format!("client {client} calls its next operation"),
        Action::Retry(client) => format!("client {client} tries again"),
        Action::GiveUp(client) => format!("client {client} waits no longer"),
        Action::Abandon(client) => format!("client {client} reaches its deadline"),
        Action::Deliver(i) => frame(i),
        Action::LoseReply(i) => format!("{}, the answer is lost", frame(i)),
        Action::Finish(slot) => format!("{} finishes what it holds", node(slot)),
        Action::Crash(slot) => format!("{} is killed", node(slot)),
        Action::Restart(slot) => format!("{} is started again", node(slot)),
        Action::Notice(slot) => format!("the manager notices that {} has ended", node(slot)),
        Action::Register(slot) => format!("{} registers", node(slot)),
        Action::Lapse(slot) => format!("the lease of {} runs out", node(slot)),
        Action::Beat(slot) => format!("heartbeat of {}", node(slot)),
        Action::Adopt(slot, epoch) => format!("{} adopts view {epoch}", node(slot)),
        Action::Pull(slot, source) => format!("{} reads {}'s page", node(slot), node(source)),
        Action::Order => format!("the operator's order {}", state.spent.orders + 1),
        Action::End(slot) => format!("{} has left, and its process ends", node(slot)),
        Action::Merge(slot) => format!("{} merges the page", node(slot)),
    }
}
