//! Clients of the model: each runs the operations of a script, one after the other, with the real
//! [`Operation`]; the last one is the nodes' finisher (C4).
//!
//! A client receives an answer in the step in which the node sends it: to receive it later is to
//! act later, which it may do anyway. Lost answers are steps of their own.

use std::sync::Arc;

use cluster::mutation::{Mutation, is_on};
use cluster::operation::write::WriteReply;
use cluster::operation::{Choice, Need, Operation, Outcome, ReadAnswer, Request};
use cluster::replica::WriteAnswer;
use cluster::version::{Clock, Op, Version, WriterClock, clock_at};
use cluster::view::Routes;

use crate::node::{ARC, KEY, WALL_MS};
use crate::register::{Id, Value};
use crate::world::{FINISHER, Frame, State};

/// A client's next step in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A put of a value, or a delete (0).
    Write(Value),
    /// A get.
    Read,
    /// A read-modify-write that leaves a value.
    Update(Value),
}

/// Reads a script: a digit puts that value (0 deletes), `a` and `b` replace the present value with
/// 10 and 11, `g` gets.
pub fn step_of(letter: u8) -> Step {
    match letter {
        b'g' => Step::Read,
        digit @ b'0'..=b'9' => Step::Write(digit - b'0'),
        letter @ b'a'..=b'b' => Step::Update(letter - b'a' + 10),
        other => panic!("a script has digits, a, b and g, not {other}"),
    }
}

/// A client between two steps.
#[derive(Debug, Clone, Hash)]
pub struct Client {
    /// The rest of its script.
    pub script: &'static [u8],
    /// The number of operations that it has begun.
    begun: u8,
    /// The one under way.
    pub running: Option<Running>,
    /// The view that it uses.
    pub routes: Arc<Routes>,
    /// How many more times it may try again.
    pub tries: u8,
    /// Its writer.
    writer: u64,
    clock: WriterClock,
    /// Read-modify-writes tried.
    ops: u64,
}

/// An operation under way.
#[derive(Debug, Clone, Hash)]
pub struct Running {
    /// Its name in the register's history.
    pub id: Id,
    /// How many answers the attempt waits for. At 0 it waits for a newer view.
    pub awaited: u8,
    /// The state machine.
    pub op: Operation<Value>,
    /// Its step in the script.
    pub step: Step,
}

impl Client {
    /// A client that has a view and has received a clock.
    pub fn new(number: usize, script: &'static [u8], routes: Arc<Routes>, tries: u8) -> Client {
        let (writer, mut clock) = (number as u64 + 1, WriterClock::default());
        clock.observe(clock_at(WALL_MS));
        Client { script, begun: 0, running: None, routes, tries, writer, clock, ops: 0 }
    }

    /// Observes a server's clock, if it has yet to draw a version: otherwise it makes no
    /// difference.
    fn observe(&mut self, clock: Clock) {
        let will_write = self.script.iter().any(|step| *step != b'g');
        if will_write || self.running.as_ref().is_some_and(|running| running.op.is_collecting()) {
            self.clock.observe(clock);
        }
    }

    /// Ends the operation under way. The state of a client with nothing left to do is cleared.
    fn rest(&mut self, unborn: &Arc<Routes>) -> Option<Running> {
        let running = self.running.take();
        if self.script.is_empty() {
            *self = Client::new(0, self.script, unborn.clone(), 0);
        }
        running
    }
}

impl State {
    /// A client begins the next operation of its script.
    pub fn start(&mut self, client: usize) {
        let Some((&letter, rest)) = self.clients[client].script.split_first() else { return };
        let step = step_of(letter);
        let id = self.clients[client].edit(|c| {
            let op = match step {
                Step::Read => Operation::read(),
                Step::Write(value) => {
                    Operation::write(c.clock.draw(c.writer), Some(value).filter(|v| *v > 0))
                }
                Step::Update(_) => Operation::read_modify_write(),
            };
            c.script = rest;
            c.begun += 1;
            let id = client as Id * 16 + c.begun;
            c.running = Some(Running { id, awaited: 0, op, step });
            id
        });
        self.register.edit(|register| match step {
            Step::Read => register.call_read(id),
            Step::Write(value) => register.call_write(id, value),
            Step::Update(value) => register.call_update(id, value),
        });
        self.attempt(client);
    }

    /// A node completes its pending record.
    pub fn finish(&mut self, slot: usize) {
        let Some(node) = self.nodes[slot].as_ref() else { return };
        let (found, routes) = (node.found(), node.holdings.routes().cloned());
        let Some(routes) = routes else { return };
        self.clients[FINISHER].edit(|c| {
            let (op, step) = (Operation::finish(found), Step::Read);
            c.running = Some(Running { id: 0, awaited: 0, op, step });
            c.routes = routes;
        });
        self.attempt(FINISHER);
    }

    /// Sends an attempt's frames.
    fn attempt(&mut self, client: usize) {
        let mut frames = Vec::new();
        self.clients[client].edit(|c| {
            let Some(running) = &mut c.running else { return };
            let members = running.op.begin(&c.routes, KEY);
            running.awaited = members.len() as u8;
            for &place in members {
                let to = usize::from(c.routes.member(place).address.port() - 6000);
                let from = Some(client);
                frames.push(match running.op.request() {
                    Request::Read | Request::Fence => {
                        let fence = match running.op.request() {
                            Request::Fence => Some((c.routes.epoch(), place)),
                            _ => None,
                        };
                        Frame::Read { to, from: client, fence }
                    }
                    Request::Write { version, body, born, expected } => {
                        let (epoch, body) = (c.routes.epoch(), *body);
                        Frame::Write { to, from, epoch, version, born, body, expected }
                    }
                });
            }
        });
        self.bag.edit(|bag| bag.extend(frames));
    }

    /// Tries again, under the present view.
    pub fn retry(&mut self, client: usize) {
        let published = self.manager.published.clone();
        self.clients[client].edit(|c| {
            c.tries -= 1;
            if published.epoch() > c.routes.epoch() {
                c.routes = published;
            }
        });
        self.attempt(client);
    }

    /// An attempt times out: unanswered requests count as lost, and may still arrive.
    pub fn give_up_waiting(&mut self, client: usize) {
        self.orphan(client);
        let need = self.clients[client].edit(|c| {
            let Some(Running { op, awaited, .. }) = &mut c.running else { return Need::Nothing };
            let missing = std::mem::take(awaited);
            if !op.is_collecting() {
                return op.got(0, None);
            }
            if matches!(op.request(), Request::Write { .. }) {
                (0..missing).for_each(|_| op.wrote(WriteReply::Lost));
            }
            op.conclude()
        });
        self.follow(client, need);
        let is_waiting = self.clients[client].running.as_ref().is_some_and(|r| r.awaited == 0);
        if is_waiting && client != FINISHER && self.clients[client].tries > 0 {
            self.retry(client);
        }
    }

    /// The deadline of a put: the client continues with the next operation. The outcome of this one
    /// is *unknown*, unless certainly no node has stored it.
    pub fn abandon(&mut self, client: usize) {
        self.orphan(client);
        let unborn = self.unborn.clone();
        let Some(mut running) = self.clients[client].edit(|c| c.rest(&unborn)) else { return };
        if matches!(running.op.request(), Request::Write { .. }) {
            (0..running.awaited).for_each(|_| running.op.wrote(WriteReply::Lost));
        }
        self.register.edit(|register| {
            if running.op.may_exist() {
                register.give_up(running.id)
            } else {
                register.refuse_write(running.id)
            }
        });
    }

    /// A client's frames remain under way without it.
    fn orphan(&mut self, client: usize) {
        self.bag.edit(|bag| {
            bag.retain(|frame| !matches!(frame, Frame::Read { from, .. } if *from == client));
            for frame in bag {
                if let Frame::Write { from, .. } | Frame::Admitted { from, .. } = frame {
                    from.take_if(|from| *from == client);
                }
            }
        });
    }

    /// A client receives the answer to a write. `clock` is the node's, if the node answered.
    pub fn wrote(&mut self, client: usize, reply: WriteReply, clock: Option<Clock>) {
        let need = self.clients[client].edit(|c| {
            c.observe(clock.unwrap_or(0));
            let Some(Running { op, awaited, .. }) = &mut c.running else { return None };
            op.wrote(reply);
            *awaited -= 1;
            (*awaited == 0).then(|| op.conclude())
        });
        if let Some(need) = need {
            self.follow(client, need);
        }
    }

    /// A client receives the answer to a read; `None` if no node was there. `fence` is the place of
    /// the member, if it was a fence.
    pub fn got(
        &mut self,
        client: usize,
        answer: Option<(ReadAnswer<Value>, Clock)>,
        fence: Option<u16>,
    ) {
        if let Some(place) = fence {
            let need = self.clients[client].edit(|c| {
                c.observe(answer.as_ref().map_or(0, |(_, clock)| *clock));
                let Some(Running { op, awaited, .. }) = &mut c.running else { return None };
                op.got(place, answer.map(|(answer, _)| answer));
                *awaited -= 1;
                (*awaited == 0).then(|| op.conclude())
            });
            if let Some(need) = need {
                self.follow(client, need);
            }
            return;
        }
        let (need, shown) = self.clients[client].edit(|c| {
            c.observe(answer.as_ref().map_or(0, |(_, clock)| *clock));
            let Some(Running { op, awaited, .. }) = &mut c.running else {
                return (Need::Nothing, Version::ABSENT);
            };
            let version = match &answer {
                Some((ReadAnswer::Found(found), _)) => found.version,
                _ => Version::ABSENT,
            };
            *awaited = 0;
            let need = op.got(0, answer.map(|(answer, _)| answer));
            (need, if op.outcome().is_some() { version } else { Version::ABSENT })
        });
        self.promised = self.promised.max(shown);
        self.follow(client, need);
    }

    /// Handles the operation's need after an attempt.
    fn follow(&mut self, client: usize, need: Need) {
        match need {
            // A finisher makes one attempt.
            _ if client == FINISHER => self.end(client),
            Need::Nothing => self.end(client),
            Need::Attempt | Need::Turn => self.attempt(client),
            Need::View => {}
            Need::Choice => self.choose(client),
            Need::Version(above) => {
                self.clients[client].edit(|c| {
                    c.clock.observe(above.clock);
                    let fresh = c.clock.draw(c.writer);
                    if let Some(running) = &mut c.running {
                        running.op.freshen(fresh);
                    }
                });
                self.attempt(client);
            }
        }
    }

    /// A read-modify-write has read the key: it chooses its own value, perhaps again.
    fn choose(&mut self, client: usize) {
        let (need, update) = self.clients[client].edit(|c| {
            let Some(Running { id, op, step: Step::Update(value), .. }) = &mut c.running else {
                return (Need::Nothing, None);
            };
            let base = op.found().copied().flatten().unwrap_or(0);
            c.ops += 1;
            let name = Op { writer: c.writer, count: c.ops };
            (op.choose(name, Choice::Replace(Some(*value))), Some((*id, base)))
        });
        if let Some((id, base)) = update {
            self.register.edit(|register| register.update_from(id, base));
        }
        self.follow(client, need);
    }

    /// An operation has an outcome.
    fn end(&mut self, client: usize) {
        let (unborn, routes) = (self.unborn.clone(), self.clients[client].routes.clone());
        let Some(Running { id, op, .. }) = self.clients[client].edit(|c| c.rest(&unborn)) else {
            return;
        };
        if let Some(version) = op.committed() {
            self.commit(&routes, version);
            if client != FINISHER {
                self.promised = self.promised.max(version);
            }
        }
        if client == FINISHER {
            return;
        }
        self.register.edit(|register| match op.into_outcome() {
            Some(Outcome::Written) => register.end_write(id),
            Some(Outcome::Got(body, _)) => register.end_read(id, body.unwrap_or(0)),
            Some(Outcome::Refused(_) | Outcome::FewCopies) => register.refuse_write(id),
            Some(Outcome::Unknown) | None => register.give_up(id),
        });
    }

    /// Commits leave, to arrive at any time or never.
    fn commit(&mut self, routes: &Routes, version: Version) {
        let set = routes.write_set(ARC);
        if set.len() > 1 {
            let to = |&place: &u16| usize::from(routes.member(place).address.port() - 6000);
            self.bag.edit(|bag| {
                bag.extend(set.iter().map(to).map(|to| Frame::Commit { to, version }));
            });
        }
    }

    /// A frame reaches a node. With `is_lost`, the writer never receives the answer.
    pub fn deliver(&mut self, frame: Frame, is_lost: bool) {
        match frame {
            Frame::Commit { to, version } => {
                self.nodes[to].edit(|node| node.as_mut().map(|node| node.commit(version)));
            }
            Frame::Read { to, from, fence } => {
                let answer = self.nodes[to].as_ref().map(|node| {
                    let read = fence.map_or_else(|| node.read(), |(epoch, _)| node.fence(epoch));
                    (read, node.clock())
                });
                self.got(from, answer, fence.map(|(_, place)| place));
            }
            Frame::Write { to, from, epoch, version, born, body, expected } => {
                let Some(admitted) =
                    self.nodes[to].as_ref().map(|node| node.admit_write(epoch, expected.is_some()))
                else {
                    // No process runs there.
                    return self.answer(from, WriteReply::Unsent, None);
                };
                match admitted {
                    Err(refusal) => self.receive_write_answer(to, from, refusal, is_lost),
                    Ok(standing) if is_on(Mutation::LateApply) => {
                        let frame =
                            Frame::Admitted { to, from, standing, version, born, body, expected };
                        self.bag.edit(|bag| bag.push(frame));
                    }
                    Ok(standing) => self.store(
                        Frame::Admitted { to, from, standing, version, born, body, expected },
                        is_lost,
                    ),
                }
            }
            admitted @ Frame::Admitted { .. } => self.store(admitted, is_lost),
        }
    }

    fn store(&mut self, frame: Frame, is_lost: bool) {
        let Frame::Admitted { to, from, standing, version, born, body, expected } = frame else {
            return;
        };
        let answer = self.nodes[to].edit(|node| {
            node.as_mut().map(|node| node.store(standing, version, born, body, expected))
        });
        if let Some(answer) = answer {
            self.has_conflict |= answer == WriteAnswer::Conflict;
            self.receive_write_answer(to, from, answer, is_lost);
        }
    }

    fn receive_write_answer(
        &mut self,
        node: usize,
        from: Option<usize>,
        answer: WriteAnswer,
        is_lost: bool,
    ) {
        if is_lost {
            return self.answer(from, WriteReply::Lost, None);
        }
        let clock = self.nodes[node].as_ref().map(|node| node.clock());
        self.answer(from, WriteReply::Answer(answer), clock);
    }

    fn answer(&mut self, from: Option<usize>, reply: WriteReply, clock: Option<Clock>) {
        if let Some(client) = from {
            self.wrote(client, reply, clock);
        }
    }
}
