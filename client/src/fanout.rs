//! One attempt: send every operation of a batch to the nodes it concerns, and collect the answers.
//!
//! Operations are grouped by node, so that a node gets one frame of writes, one of reads and one of
//! fences however many operations there are. All frames are sent before the first answer is waited for:
//! the nodes work in parallel while this one thread blocks on them in turn. (No deadlock: a node reads a
//! whole frame before it answers, and has at most these frames of ours, and a COMMIT, which has no answer.)

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use cluster::ids::Epoch;
use cluster::operation::write::Reply;
use cluster::operation::{Found, Need, ReadAnswer, Request};
use cluster::replica::{State, WriteAnswer};
use cluster::version::Version;
use cluster::view::Routes;
use log::debug;
use net_common::connection::{Connection, NetError, Waits};
use net_common::error::ErrorWord;
use net_common::message::data::{
    self, Body, Fence, ReadAnswers, ReadBatch, Write, WriteAcks, WriteBatch,
};

use crate::commits::Commits;
use crate::connection_pool::ConnectionPool;
use crate::error::ClientError;
use crate::operation::{Task, Valued};
use crate::store::{CHUNK_BYTES, RECORD_OVERHEAD};

/// What an attempt came to.
pub(crate) struct Attempt {
    /// What each operation needs, in their order.
    pub(crate) needs: Vec<Need>,
    /// The highest clock that a replica told.
    pub(crate) clock: u64,
    /// What went wrong last, if anything.
    pub(crate) trouble: Option<String>,
    /// Who has answered, and whether it is full.
    pub(crate) told: Vec<(u16, bool)>,
    /// Whether somebody was silent for longer than is waited.
    pub(crate) is_silent: bool,
    /// The connections that answers came over, to be put back.
    pub(crate) used: Vec<(u16, Connection)>,
    /// Who refused an operation last, and why: in an answer, which is no trouble with the node.
    pub(crate) refusal: Option<(u16, Refusal)>,
}

/// Why a replica has not done what it was asked for, and what may be different in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is in another view.
    OtherView,
    /// It holds no lease.
    NoLease,
    /// It has yet to fetch the key.
    Fetching,
    /// The operation took too long (N5).
    TooOld,
    /// It holds something newer than what was to be replaced.
    Changed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::OtherView => "is in another view",
            Refusal::NoLease => "has no lease: it does not reach the manager",
            Refusal::Fetching => "is still fetching this key",
            Refusal::TooOld => "was sent this write too late",
            Refusal::Changed => "had taken another change of the key",
        })
    }
}

impl Refusal {
    fn of(answer: WriteAnswer) -> Option<Refusal> {
        match answer {
            WriteAnswer::WrongEpoch => Some(Refusal::OtherView),
            WriteAnswer::NoLease => Some(Refusal::NoLease),
            WriteAnswer::TooOld => Some(Refusal::TooOld),
            WriteAnswer::BlindStored | WriteAnswer::BlindBelow(_) => Some(Refusal::Fetching),
            WriteAnswer::Differs(_) => Some(Refusal::Changed),
            WriteAnswer::Stored
            | WriteAnswer::Superseded(_)
            | WriteAnswer::Conflict
            | WriteAnswer::BadVersion
            | WriteAnswer::BadKey
            | WriteAnswer::BadValue => None,
        }
    }
}

/// One node's part of a batch.
struct Leg {
    place: u16,
    /// Operations, by their place in the batch.
    writes: Vec<usize>,
    reads: Vec<usize>,
    fences: Vec<usize>,
    /// Writes that did not fit the first frame: they are sent when all else has been answered, so that a node
    /// never waits for us to read what it says while we wait for it to read.
    later: VecDeque<usize>,
    link: Option<Connection>,
}

impl Leg {
    fn new(place: u16) -> Leg {
        let (writes, reads, fences) = (Vec::new(), Vec::new(), Vec::new());
        Leg { place, writes, reads, fences, later: VecDeque::new(), link: None }
    }
}

/// Runs one attempt of all operations that have no result yet, and waits for each node as `waits` says.
///
/// `is_own` says that this client has itself completed a version: a record that its replica still holds as
/// pending needs no write-back then.
pub(crate) fn attempt(
    pool: &ConnectionPool,
    commits: &Commits,
    routes: &Routes,
    batch: &mut [Task<'_>],
    waits: Waits,
    is_own: &dyn Fn(&Version) -> bool,
) -> Attempt {
    let needs = vec![Need::Nothing; batch.len()];
    let (told, used) = (Vec::new(), Vec::new());
    let mut attempt =
        Attempt { needs, clock: 0, trouble: None, told, is_silent: false, used, refusal: None };
    let mut collecting = Vec::new();
    let mut legs = legs(routes, batch, &mut collecting, &mut attempt);
    // What is sent in place is answered by this thread: the others get theirs first.
    legs.sort_by_key(|leg| pool.is_here(&routes.member(leg.place).address));
    for leg in &mut legs {
        send(pool, commits, routes, batch, leg, waits, &mut attempt);
    }
    for leg in &mut legs {
        receive(pool, routes, batch, leg, is_own, &mut attempt);
    }
    for i in collecting {
        if batch[i].result.is_none() {
            attempt.needs[i] = batch[i].operation.conclude();
        }
    }
    attempt
}

/// Groups the operations by node, and notes which of them wait for all replies.
fn legs(
    routes: &Routes,
    batch: &mut [Task<'_>],
    collecting: &mut Vec<usize>,
    attempt: &mut Attempt,
) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    let mut leg_of = vec![usize::MAX; routes.view().members.len()];
    for (i, task) in batch.iter_mut().enumerate() {
        if task.is_over() {
            continue;
        }
        let members = task.operation.begin(routes, task.key);
        if task.operation.outcome().is_some() {
            continue;
        }
        if members.is_empty() {
            attempt.needs[i] = Need::View;
            attempt.trouble = Some("no node serves this key".into());
            continue;
        }
        if task.operation.is_collecting() {
            collecting.push(i);
        }
        for &place in members {
            let leg = &mut leg_of[usize::from(place)];
            if *leg == usize::MAX {
                *leg = legs.len();
                legs.push(Leg::new(place));
            }
            let leg = &mut legs[*leg];
            match task.operation.request() {
                Request::Write { .. } => leg.writes.push(i),
                Request::Read => leg.reads.push(i),
                Request::Fence => leg.fences.push(i),
            }
        }
    }
    legs
}

/// Sends a leg's frames. What fails here is settled here: the leg has no link afterwards.
fn send(
    pool: &ConnectionPool,
    commits: &Commits,
    routes: &Routes,
    batch: &mut [Task<'_>],
    leg: &mut Leg,
    waits: Waits,
    attempt: &mut Attempt,
) {
    let address = &routes.member(leg.place).address;
    let mut link = match pool.take(address) {
        Ok(link) => link,
        Err(error) => {
            pool.forget(address);
            return fail(routes, batch, leg, &error, attempt);
        }
    };
    link.set_waits(waits);
    commits.ride(&mut link);
    leg.later = std::mem::take(&mut leg.writes).into();
    leg.push_writes(&mut link, routes.epoch(), batch);
    let keys = |tasks: &[usize]| ReadBatch {
        epoch: routes.epoch(),
        keys: tasks.iter().map(|&i| batch[i].key).collect(),
    };
    if !leg.reads.is_empty() {
        link.push(&keys(&leg.reads));
    }
    if !leg.fences.is_empty() {
        link.push(&Fence(keys(&leg.fences)));
    }
    match link.flush() {
        Ok(()) => leg.link = Some(link),
        Err(error) => {
            pool.forget(address);
            fail(routes, batch, leg, &error, attempt);
        }
    }
}

impl Leg {
    /// Pushes as many of the writes that are left as one frame takes.
    fn push_writes(&mut self, link: &mut Connection, epoch: Epoch, batch: &[Task<'_>]) {
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while let Some(&i) = self.later.front() {
            let write = write(&batch[i]);
            if let Some(write) = write {
                let value = write.body.value().map_or(0, <[u8]>::len);
                bytes += RECORD_OVERHEAD + write.key.len() + value;
                if !writes.is_empty() && bytes > CHUNK_BYTES {
                    break;
                }
                writes.push(write);
            }
            self.writes.push(i);
            self.later.pop_front();
        }
        if !writes.is_empty() {
            link.push(&WriteBatch { epoch, writes });
        }
    }
}

fn write<'t>(task: &'t Task<'_>) -> Option<Write<'t>> {
    match task.operation.request() {
        Request::Write { version, body, born, expected } => {
            let body = body
                .as_ref()
                .map_or(Body::Tombstone, |value| Body::of_value(&value.bytes, value.expiry));
            Some(Write { key: task.key, version, born, body, expected })
        }
        Request::Read | Request::Fence => None,
    }
}

fn receive(
    pool: &ConnectionPool,
    routes: &Routes,
    batch: &mut [Task<'_>],
    leg: &mut Leg,
    is_own: &dyn Fn(&Version) -> bool,
    attempt: &mut Attempt,
) {
    let Some(mut link) = leg.link.take() else { return };
    let place = leg.place;
    let received = receive_writes(&mut link, batch, place, &mut leg.writes, attempt)
        .and_then(|()| receive_reads(&mut link, batch, place, &mut leg.reads, is_own, attempt))
        .and_then(|()| receive_reads(&mut link, batch, place, &mut leg.fences, is_own, attempt))
        .and_then(|()| {
            while !leg.later.is_empty() {
                leg.push_writes(&mut link, routes.epoch(), batch);
                link.flush()?;
                receive_writes(&mut link, batch, place, &mut leg.writes, attempt)?;
            }
            Ok(())
        });
    match received {
        Ok(()) => attempt.used.push((place, link)),
        Err(error) => {
            pool.forget(link.address());
            fail(routes, batch, leg, &error, attempt);
        }
    }
}

/// Takes the answers to the writes. These are then taken out, so that a failure of what comes after does
/// not count them a second time.
fn receive_writes(
    link: &mut Connection,
    batch: &mut [Task<'_>],
    place: u16,
    writes: &mut Vec<usize>,
    attempt: &mut Attempt,
) -> Result<(), NetError> {
    if writes.is_empty() {
        return Ok(());
    }
    let acks: WriteAcks = match link.receive_as() {
        // It answers whatever else was asked of it: a node that cannot write can be read.
        Err(error) if matches!(error.word(), Some(ErrorWord::Disk | ErrorWord::Unsure)) => {
            let is_unsent = error.word() == Some(&ErrorWord::Disk);
            for i in writes.drain(..) {
                batch[i].operation.wrote(if is_unsent { Reply::Unsent } else { Reply::Lost });
            }
            attempt.trouble = Some(error.to_string());
            return Ok(());
        }
        received => received?,
    };
    if acks.answers.len() != writes.len() {
        return Err(miscounted(link));
    }
    attempt.clock = attempt.clock.max(acks.clock);
    attempt.told.push((place, acks.shape.is_full));
    for (i, answer) in writes.drain(..).zip(acks.answers) {
        if let Some(refusal) = Refusal::of(answer) {
            attempt.refusal = Some((place, refusal));
        }
        batch[i].operation.wrote(Reply::Answer(answer));
    }
    Ok(())
}

/// Takes the answers to reads or fences of the member at `place`, in the same way.
fn receive_reads(
    link: &mut Connection,
    batch: &mut [Task<'_>],
    place: u16,
    reads: &mut Vec<usize>,
    is_own: &dyn Fn(&Version) -> bool,
    attempt: &mut Attempt,
) -> Result<(), NetError> {
    if reads.is_empty() {
        return Ok(());
    }
    let reply: ReadAnswers<'_> = match link.receive_as() {
        // The answer would not fit a frame, though it leaves out what can wait. That cannot happen to who asks for no
        // more keys than some thousand. The connection is as good as before, and no other replica could answer it.
        Err(error) if error.word() == Some(&ErrorWord::TooLarge) => {
            for i in reads.drain(..) {
                batch[i].fail(ClientError::Refused(error.to_string()));
            }
            return Ok(());
        }
        received => received?,
    };
    if reply.answers.len() != reads.len() {
        return Err(miscounted(link));
    }
    attempt.clock = attempt.clock.max(reply.clock);
    attempt.told.push((place, reply.shape.is_full));
    let (epoch, clock) = (reply.epoch, reply.clock);
    let found = |version, state, body| {
        let expiry = Body::expiry(body);
        let body =
            Body::value(body).map(|value| Valued { bytes: Cow::Owned(value.to_vec()), expiry });
        let state = match state {
            State::Pending if is_own(&version) => State::Committed,
            state => state,
        };
        Found { version, body, state, epoch, clock }
    };
    // What was never there needs nobody's confirmation.
    let absent = || found(Version::ABSENT, State::Committed, Body::Tombstone);
    for (i, answer) in reads.drain(..).zip(reply.answers) {
        let answer = match answer {
            data::ReadAnswer::Absent => ReadAnswer::Found(absent()),
            data::ReadAnswer::Record(version, state, body) => {
                ReadAnswer::Found(found(version, state, body))
            }
            data::ReadAnswer::BlindAbsent => ReadAnswer::Blind(absent()),
            data::ReadAnswer::Blind(version, state, body) => {
                ReadAnswer::Blind(found(version, state, body))
            }
            data::ReadAnswer::WrongEpoch => ReadAnswer::WrongEpoch,
            data::ReadAnswer::Syncing => ReadAnswer::Syncing,
            data::ReadAnswer::NoLease => ReadAnswer::NoLease,
            data::ReadAnswer::BadKey => ReadAnswer::BadKey,
            data::ReadAnswer::Later => ReadAnswer::Later,
        };
        let refusal = match &answer {
            ReadAnswer::WrongEpoch => Some(Refusal::OtherView),
            ReadAnswer::NoLease => Some(Refusal::NoLease),
            ReadAnswer::Syncing => Some(Refusal::Fetching),
            ReadAnswer::Found(_)
            | ReadAnswer::Blind(_)
            | ReadAnswer::BadKey
            | ReadAnswer::Later => None,
        };
        if let Some(refusal) = refusal {
            attempt.refusal = Some((place, refusal));
        }
        attempt.needs[i] = batch[i].operation.got(place, Some(answer));
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
    batch: &mut [Task<'_>],
    leg: &mut Leg,
    error: &NetError,
    attempt: &mut Attempt,
) {
    let member = routes.member(leg.place);
    debug!("{}: {error}", member.id);
    // A server that turns a connection away has not looked at what was sent on it.
    let is_unsent =
        error.is_unsent() || matches!(error.word(), Some(ErrorWord::Busy | ErrorWord::Auth));
    for i in leg.writes.drain(..) {
        batch[i].operation.wrote(if is_unsent { Reply::Unsent } else { Reply::Lost });
    }
    for i in leg.later.drain(..) {
        batch[i].operation.wrote(Reply::Unsent);
    }
    for i in leg.reads.drain(..).chain(leg.fences.drain(..)) {
        attempt.needs[i] = batch[i].operation.got(leg.place, None);
    }
    attempt.is_silent |= error.is_silence();
    attempt.trouble = Some(format!("{}: {error}", member.id));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cluster::ids::{Address, ClusterId, Incarnation, NodeId};
    use cluster::limits::Limits;
    use cluster::operation::{Choice, Operation};
    use cluster::version::Op;
    use cluster::view::{Member, MemberState, View};
    use net_common::connection::Dial;
    use net_common::frame::{self, FORMAT_BINARY, Frame, Kind, PayloadLimit};
    use net_common::in_place::{self, Here};
    use net_common::message::Message;
    use parking_lot::Mutex;

    use super::*;

    /// A cluster of one node under a view with this epoch.
    fn routes(address: &Address, epoch: u64) -> Routes {
        let member = Member {
            id: NodeId::new("node1").unwrap(),
            incarnation: Incarnation(1),
            address: address.clone(),
            redis_port: 0,
            weight: 1,
            state: MemberState::Active,
            on_disk: false,
        };
        let unborn = View::unborn(ClusterId(1), 1, Limits::default());
        let (members, arcs) = (vec![member], vec![0; 16]);
        Routes::new(View { epoch: Epoch(epoch), members, arcs, ..unborn })
    }

    /// A node that answers fences with what stands here: nothing is there, or an ERROR of this word; and
    /// of each write it is not known whether it was stored.
    fn pool(address: &Address, word: &Arc<Mutex<Option<ErrorWord>>>) -> ConnectionPool {
        let word = word.clone();
        let answer = move |asked: Frame<'_>, out: &mut Vec<u8>| match word.lock().clone() {
            _ if asked.kind == Kind::ReplPut as u16 => {
                frame::write_error(out, FORMAT_BINARY, ErrorWord::Unsure, "the disk");
            }
            Some(word) => frame::write_error(out, FORMAT_BINARY, word, "for a test"),
            None => {
                let Fence(batch) = Fence::read(asked.payload).unwrap();
                let answers = batch.keys.iter().map(|_| data::ReadAnswer::Absent).collect();
                let shape = data::Shape { is_full: false };
                ReadAnswers { epoch: batch.epoch, clock: 1 << 40, shape, answers }.write(out);
            }
        };
        let patience = Duration::from_secs(1);
        let payload = PayloadLimit::default();
        let dial = Dial { connect: patience, reply: patience, secret: None, payload };
        let open = move || -> Box<in_place::Answer> { Box::new(answer.clone()) };
        ConnectionPool::new(dial, Some(Here { address: address.clone(), open: Arc::new(open) }))
    }

    /// C1: what a member may hold is not called *not done*, whatever a later answer says.
    #[test]
    fn an_answer_that_is_too_large_ends_an_update_as_not_done_only_if_nobody_can_hold_it() {
        let address = Address::new("127.0.0.1", 1).unwrap();
        for is_sent in [false, true] {
            let word = Arc::default();
            let pool = pool(&address, &word);
            let commits = Commits::default();
            let operation = Operation::read_modify_write();
            let mut batch = [Task::new(b"k", operation)];
            let go = |batch: &mut [Task<'_>], epoch| {
                let waits = Waits::for_silence_of(Duration::from_secs(1));
                let routes = routes(&address, epoch);
                attempt(&pool, &commits, &routes, batch, waits, &|_| false).needs[0]
            };
            if is_sent {
                assert_eq!(go(&mut batch, 1), Need::Choice);
                let value = Valued { bytes: Cow::Borrowed(b"v"), expiry: None };
                let op = Op { writer: 7, count: 1 };
                batch[0].operation.choose(op, Choice::Replace(Some(value)));
                // The answer to the swap is lost.
                assert_eq!(go(&mut batch, 1), Need::View);
            }
            *word.lock() = Some(ErrorWord::TooLarge);
            go(&mut batch, 2);
            let error = batch[0].result.take().unwrap().unwrap_err();
            assert_eq!(error.is_unknown(), is_sent, "{error}");
            assert_eq!(matches!(error, ClientError::Refused(_)), !is_sent, "{error}");
        }
    }
}
