//! One attempt: send every operation of a batch to the nodes it concerns, and collect the answers.
//!
//! Operations are grouped by node, so that a node gets one frame of writes and one of reads however
//! many operations there are. All frames are sent before the first answer is waited for: the nodes work
//! in parallel while this one thread blocks on them in turn. (No deadlock: a node reads a whole frame
//! before it answers, and has at most these two frames of ours.)

use cluster::view::Routes;
use cluster::write_round::Reply;
use log::debug;
use net_common::connection::{Connection, NetError};
use net_common::message::data::{ReadAnswers, ReadBatch, Record, WriteAcks, WriteBatch};

use crate::links::Links;
use crate::operation::{Need, Operation, Work};

/// What an attempt came to.
pub(crate) struct Outcome {
    /// What each operation needs, in their order.
    pub(crate) needs: Vec<Need>,
    /// The highest clock that a replica told.
    pub(crate) clock: u64,
    /// What went wrong last, if anything.
    pub(crate) trouble: Option<String>,
}

/// One node's part of a batch.
struct Leg {
    place: u16,
    /// Operations, by their place in the batch.
    writes: Vec<usize>,
    reads: Vec<usize>,
    link: Option<Connection>,
}

/// Runs one attempt of all operations that have no outcome yet.
pub(crate) fn attempt(links: &Links, routes: &Routes, batch: &mut [Operation<'_>]) -> Outcome {
    let mut outcome = Outcome { needs: vec![Need::Nothing; batch.len()], clock: 0, trouble: None };
    let mut legs = legs(routes, batch, &mut outcome);
    for leg in &mut legs {
        send(links, routes, batch, leg, &mut outcome);
    }
    for leg in &mut legs {
        receive(links, routes, batch, leg, &mut outcome);
    }
    for (operation, need) in batch.iter_mut().zip(&mut outcome.needs) {
        if operation.outcome.is_none() && matches!(operation.work, Work::Write { .. }) {
            *need = operation.conclude_write(routes);
        }
    }
    outcome
}

fn legs(routes: &Routes, batch: &mut [Operation<'_>], outcome: &mut Outcome) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    let mut leg_of = vec![usize::MAX; routes.view().members.len()];
    for (i, operation) in batch.iter_mut().enumerate() {
        if operation.outcome.is_some() {
            continue;
        }
        let members = operation.begin(routes);
        if members.is_empty() {
            outcome.needs[i] = Need::View;
            outcome.trouble = Some("no node serves this key".into());
        }
        for &place in members {
            let leg = &mut leg_of[usize::from(place)];
            if *leg == usize::MAX {
                *leg = legs.len();
                legs.push(Leg { place, writes: Vec::new(), reads: Vec::new(), link: None });
            }
            match operation.work {
                Work::Write { .. } => legs[*leg].writes.push(i),
                Work::Read { .. } => legs[*leg].reads.push(i),
            }
        }
    }
    legs
}

/// Sends a leg's frames. What fails here is settled here: the leg has no link afterwards.
fn send(
    links: &Links,
    routes: &Routes,
    batch: &mut [Operation<'_>],
    leg: &mut Leg,
    outcome: &mut Outcome,
) {
    let address = &routes.member(leg.place).address;
    let mut link = match links.take(address) {
        Ok(link) => link,
        Err(error) => {
            links.forget(address);
            return fail(routes, batch, leg, &error, outcome);
        }
    };
    if !leg.writes.is_empty() {
        let records = leg.writes.iter().filter_map(|&i| record(&batch[i])).collect();
        link.push(&WriteBatch { epoch: routes.epoch(), records });
    }
    if !leg.reads.is_empty() {
        let keys = leg.reads.iter().map(|&i| batch[i].key).collect();
        link.push(&ReadBatch { epoch: routes.epoch(), keys });
    }
    match link.flush() {
        Ok(()) => leg.link = Some(link),
        Err(error) => {
            links.forget(address);
            fail(routes, batch, leg, &error, outcome);
        }
    }
}

fn record<'a>(operation: &Operation<'a>) -> Option<Record<'a>> {
    match operation.work {
        Work::Write { body, version, .. } => Some(Record { key: operation.key, version, body }),
        Work::Read { .. } => None,
    }
}

fn receive(
    links: &Links,
    routes: &Routes,
    batch: &mut [Operation<'_>],
    leg: &mut Leg,
    outcome: &mut Outcome,
) {
    let Some(mut link) = leg.link.take() else { return };
    let address = &routes.member(leg.place).address;
    let received = receive_writes(&mut link, batch, leg, outcome)
        .and_then(|()| receive_reads(&mut link, routes, batch, leg, outcome));
    match received {
        Ok(()) => links.put_back(link),
        Err(error) => {
            links.forget(address);
            fail(routes, batch, leg, &error, outcome);
        }
    }
}

fn receive_writes(
    link: &mut Connection,
    batch: &mut [Operation<'_>],
    leg: &mut Leg,
    outcome: &mut Outcome,
) -> Result<(), NetError> {
    if leg.writes.is_empty() {
        return Ok(());
    }
    let acks: WriteAcks = link.receive_as()?;
    if acks.answers.len() != leg.writes.len() {
        return Err(miscounted(link));
    }
    outcome.clock = outcome.clock.max(acks.clock);
    // Emptied, so that a failure of the reads after it does not count these a second time.
    for (i, answer) in leg.writes.drain(..).zip(acks.answers) {
        batch[i].wrote(Reply::Answer(answer));
    }
    Ok(())
}

fn receive_reads(
    link: &mut Connection,
    routes: &Routes,
    batch: &mut [Operation<'_>],
    leg: &mut Leg,
    outcome: &mut Outcome,
) -> Result<(), NetError> {
    if leg.reads.is_empty() {
        return Ok(());
    }
    let reply: ReadAnswers<'_> = link.receive_as()?;
    if reply.answers.len() != leg.reads.len() {
        return Err(miscounted(link));
    }
    outcome.clock = outcome.clock.max(reply.clock);
    let from = &routes.member(leg.place).id;
    for (i, answer) in leg.reads.drain(..).zip(reply.answers) {
        outcome.needs[i] = batch[i].read(Some(answer), from);
    }
    Ok(())
}

fn miscounted(link: &Connection) -> NetError {
    NetError::Protocol {
        address: link.address().clone(),
        what: "a reply with another number of answers than asked for".into(),
    }
}

/// Settles what a leg's failure means for the operations that still wait on it.
fn fail(
    routes: &Routes,
    batch: &mut [Operation<'_>],
    leg: &mut Leg,
    error: &NetError,
    outcome: &mut Outcome,
) {
    let member = routes.member(leg.place);
    debug!("{}: {error}", member.id);
    // A server that turns a connection away has not looked at what was sent on it.
    let is_unsent = error.is_unsent() || matches!(error.word(), Some("busy" | "auth"));
    for i in leg.writes.drain(..) {
        batch[i].wrote(if is_unsent { Reply::Unsent } else { Reply::Lost });
    }
    for i in leg.reads.drain(..) {
        outcome.needs[i] = batch[i].read(None, &member.id);
    }
    outcome.trouble = Some(format!("{}: {error}", member.id));
}
