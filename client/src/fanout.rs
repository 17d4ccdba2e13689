//! One attempt: send every operation of a batch to the nodes it concerns, and collect the answers.
//!
//! Operations are grouped by node, so that a node gets one frame of writes, one of reads and one of
//! fences however many operations there are. All frames are sent before the first answer is waited
//! for: the nodes work in parallel while this one thread blocks on them in turn. (No deadlock: a
//! node reads a whole frame before it answers, and has at most these frames of ours, and a COMMIT,
//! which has no answer.)

use std::borrow::Cow;
use std::collections::VecDeque;

use cluster::ids::Epoch;
use cluster::operation::write::WriteReply;
use cluster::operation::{Found, Need, ReadAnswer, Request};
use cluster::replica::State;
use cluster::version::{Clock, Version};
use cluster::view::Routes;
use log::debug;
use net_common::connection::{Connection, NetError, Waits};
use net_common::error::ErrorWord;
use net_common::message::data::{
    self, Body, Fence, ReadBatch, ReadReply, Write, WriteAcks, WriteBatch,
};

use crate::chunk::{CHUNK_BYTES, RECORD_OVERHEAD};
use crate::commits::CommitQueue;
use crate::connection_pool::ConnectionPool;
use crate::error::ClientError;
use crate::refusal::Refusal;
use crate::task::{Task, Valued};

/// The results of an attempt.
pub(crate) struct Attempt {
    /// The needs of the operations, in order.
    pub(crate) needs: Vec<Need>,
    /// The highest clock that a replica reported.
    pub(crate) clock: u64,
    /// The last failure, if any.
    pub(crate) trouble: Option<String>,
    /// The members that have answered, and whether each is full.
    pub(crate) fullness: Vec<(u16, bool)>,
    /// Whether a member was silent for too long.
    pub(crate) is_silent: bool,
    /// The connections that brought answers, to be returned to the pool.
    pub(crate) used: Vec<(u16, Connection)>,
    /// The last refusal of an operation, and its member. A refusal is an answer, not a failure of
    /// the node.
    pub(crate) refusal: Option<(u16, Refusal)>,
}

impl Attempt {
    /// Nothing has come of it yet, for so many operations.
    fn of(operations: usize) -> Attempt {
        Attempt {
            needs: vec![Need::Nothing; operations],
            clock: 0,
            trouble: None,
            fullness: Vec::new(),
            is_silent: false,
            used: Vec::new(),
            refusal: None,
        }
    }
}

/// One node's part of a batch.
struct NodeRequest {
    place: u16,
    /// Operations, by their place in the batch.
    writes: Vec<usize>,
    reads: Vec<usize>,
    fences: Vec<usize>,
    /// Writes that did not fit the first frame. They are sent when everything else is answered, so
    /// that the client and a node never both wait for the other to read.
    later: VecDeque<usize>,
    link: Option<Connection>,
}

impl NodeRequest {
    fn new(place: u16) -> NodeRequest {
        let (writes, reads, fences) = (Vec::new(), Vec::new(), Vec::new());
        NodeRequest { place, writes, reads, fences, later: VecDeque::new(), link: None }
    }

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

/// How a batch goes out.
pub(crate) struct Fanout<'f> {
    pub(crate) pool: &'f ConnectionPool,
    pub(crate) commits: &'f CommitQueue,
    /// The view that it is routed by.
    pub(crate) routes: &'f Routes,
    /// How each node is waited for.
    pub(crate) waits: Waits,
    /// Whether this client has itself completed a version: a record that its replica still holds as
    /// pending needs no write-back then.
    pub(crate) is_own: &'f dyn Fn(&Version) -> bool,
}

impl Fanout<'_> {
    /// Runs one attempt of all operations that have no result yet.
    pub(crate) fn attempt(&self, batch: &mut [Task<'_>]) -> Attempt {
        let mut attempt = Attempt::of(batch.len());
        let mut collecting = Vec::new();
        let mut requests = requests(self.routes, batch, &mut collecting, &mut attempt);
        // This thread answers requests to a local server itself, so remote nodes are sent theirs
        // first.
        requests.sort_by_key(|to| self.pool.is_here(&self.routes.member(to.place).address));
        for request in &mut requests {
            self.send(batch, request, &mut attempt);
        }
        for request in &mut requests {
            self.receive(batch, request, &mut attempt);
        }
        for i in collecting {
            if batch[i].result.is_none() {
                attempt.needs[i] = batch[i].operation.conclude();
            }
        }
        attempt
    }

    /// Sends a node's frames. A failure is handled here: the request has no connection afterwards.
    fn send(&self, batch: &mut [Task<'_>], request: &mut NodeRequest, attempt: &mut Attempt) {
        let address = &self.routes.member(request.place).address;
        let mut link = match self.pool.take(address) {
            Ok(link) => link,
            Err(error) => {
                self.pool.forget(address);
                return fail(self.routes, batch, request, &error, attempt);
            }
        };
        let epoch = self.routes.epoch();
        link.set_waits(self.waits);
        self.commits.ride(&mut link);
        request.later = std::mem::take(&mut request.writes).into();
        request.push_writes(&mut link, epoch, batch);
        let keys = |tasks: &[usize]| {
            let keys = tasks.iter().map(|&i| batch[i].key).collect();
            ReadBatch { epoch, keys }
        };
        if !request.reads.is_empty() {
            link.push(&keys(&request.reads));
        }
        if !request.fences.is_empty() {
            link.push(&Fence(keys(&request.fences)));
        }
        match link.flush() {
            Ok(()) => request.link = Some(link),
            Err(error) => {
                self.pool.forget(address);
                fail(self.routes, batch, request, &error, attempt);
            }
        }
    }

    /// Takes a node's answers.
    fn receive(&self, batch: &mut [Task<'_>], request: &mut NodeRequest, attempt: &mut Attempt) {
        let Some(mut link) = request.link.take() else { return };
        match self.receive_all(&mut link, batch, request, attempt) {
            Ok(()) => attempt.used.push((request.place, link)),
            Err(error) => {
                self.pool.forget(link.address());
                fail(self.routes, batch, request, &error, attempt);
            }
        }
    }

    fn receive_all(
        &self,
        link: &mut Connection,
        batch: &mut [Task<'_>],
        request: &mut NodeRequest,
        attempt: &mut Attempt,
    ) -> Result<(), NetError> {
        let place = request.place;
        receive_writes(link, batch, place, &mut request.writes, attempt)?;
        self.receive_reads(link, batch, place, &mut request.reads, attempt)?;
        self.receive_reads(link, batch, place, &mut request.fences, attempt)?;
        while !request.later.is_empty() {
            request.push_writes(link, self.routes.epoch(), batch);
            link.flush()?;
            receive_writes(link, batch, place, &mut request.writes, attempt)?;
        }
        Ok(())
    }

    /// Takes the answers to reads or fences of the member at `place`, in the same way.
    fn receive_reads(
        &self,
        link: &mut Connection,
        batch: &mut [Task<'_>],
        place: u16,
        reads: &mut Vec<usize>,
        attempt: &mut Attempt,
    ) -> Result<(), NetError> {
        if reads.is_empty() {
            return Ok(());
        }
        let reply: ReadReply<'_> = match link.receive_as() {
            // The answer would not fit a frame, although it leaves out keys that can be requested
            // again. That cannot happen to requests of some thousand keys. The connection still
            // works, and no other replica could answer either.
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
        attempt.fullness.push((place, reply.shape.is_full));
        let source = Source { epoch: reply.epoch, clock: reply.clock, is_own: self.is_own };
        for (i, answer) in reads.drain(..).zip(reply.answers) {
            let answer = source.read(answer);
            if let Some(refusal) = Refusal::of_read(&answer) {
                attempt.refusal = Some((place, refusal));
            }
            attempt.needs[i] = batch[i].operation.got(place, Some(answer));
        }
        Ok(())
    }
}

/// Groups the operations by node, and notes which of them wait for all replies.
fn requests(
    routes: &Routes,
    batch: &mut [Task<'_>],
    collecting: &mut Vec<usize>,
    attempt: &mut Attempt,
) -> Vec<NodeRequest> {
    let mut requests: Vec<NodeRequest> = Vec::new();
    let mut request_to = vec![usize::MAX; routes.view().members.len()];
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
            let index = &mut request_to[usize::from(place)];
            if *index == usize::MAX {
                *index = requests.len();
                requests.push(NodeRequest::new(place));
            }
            let request = &mut requests[*index];
            match task.operation.request() {
                Request::Write { .. } => request.writes.push(i),
                Request::Read => request.reads.push(i),
                Request::Fence => request.fences.push(i),
            }
        }
    }
    requests
}

/// Receives the answers to the writes, and removes these from the request, so that a later failure
/// does not count them again.
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
                batch[i].operation.wrote(if is_unsent {
                    WriteReply::Unsent
                } else {
                    WriteReply::Lost
                });
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
    attempt.fullness.push((place, acks.shape.is_full));
    for (i, answer) in writes.drain(..).zip(acks.answers) {
        if let Some(refusal) = Refusal::of_write(answer) {
            attempt.refusal = Some((place, refusal));
        }
        batch[i].operation.wrote(WriteReply::Answer(answer));
    }
    Ok(())
}

/// The replica that an answer to a read comes from.
struct Source<'s> {
    epoch: Epoch,
    clock: Clock,
    is_own: &'s dyn Fn(&Version) -> bool,
}

impl Source<'_> {
    /// An answer as the rules take it.
    fn read<'v>(&self, answer: data::KeyReply<'_>) -> ReadAnswer<Valued<'v>> {
        match answer {
            data::KeyReply::Absent => ReadAnswer::Found(self.absent()),
            data::KeyReply::Record(version, state, body) => {
                ReadAnswer::Found(self.found(version, state, body))
            }
            data::KeyReply::BlindAbsent => ReadAnswer::Blind(self.absent()),
            data::KeyReply::Blind(version, state, body) => {
                ReadAnswer::Blind(self.found(version, state, body))
            }
            data::KeyReply::WrongEpoch => ReadAnswer::WrongEpoch,
            data::KeyReply::Syncing => ReadAnswer::Syncing,
            data::KeyReply::NoLease => ReadAnswer::NoLease,
            data::KeyReply::BadKey => ReadAnswer::BadKey,
            data::KeyReply::Later => ReadAnswer::Later,
        }
    }

    fn found<'v>(&self, version: Version, state: State, body: Body<'_>) -> Found<Valued<'v>> {
        let expiry = body.expiry();
        let body = body.value().map(|value| Valued { bytes: Cow::Owned(value.to_vec()), expiry });
        let state = match state {
            State::Pending if (self.is_own)(&version) => State::Committed,
            state => state,
        };
        Found { version, body, state, epoch: self.epoch, clock: self.clock }
    }

    /// A record that never existed needs no confirmation.
    fn absent<'v>(&self) -> Found<Valued<'v>> {
        self.found(Version::ABSENT, State::Committed, Body::Tombstone)
    }
}

fn miscounted(link: &Connection) -> NetError {
    NetError::Protocol {
        address: link.address().clone(),
        what: "a reply with another number of answers than asked for".into(),
    }
}

/// Applies a request's failure to the operations that still wait for it.
fn fail(
    routes: &Routes,
    batch: &mut [Task<'_>],
    request: &mut NodeRequest,
    error: &NetError,
    attempt: &mut Attempt,
) {
    let member = routes.member(request.place);
    debug!("{}: {error}", member.id);
    // A server that refuses a connection has not read its requests.
    let is_unsent =
        error.is_unsent() || matches!(error.word(), Some(ErrorWord::Busy | ErrorWord::Auth));
    for i in request.writes.drain(..) {
        batch[i].operation.wrote(if is_unsent { WriteReply::Unsent } else { WriteReply::Lost });
    }
    for i in request.later.drain(..) {
        batch[i].operation.wrote(WriteReply::Unsent);
    }
    for i in request.reads.drain(..).chain(request.fences.drain(..)) {
        attempt.needs[i] = batch[i].operation.got(request.place, None);
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
    use net_common::in_place::{self, LocalServer};
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

    /// A node that answers fences with an absent record, or with an ERROR of this word. The outcome
    /// of each write is unknown.
    fn pool(address: &Address, word: &Arc<Mutex<Option<ErrorWord>>>) -> ConnectionPool {
        let word = word.clone();
        let answer = move |asked: Frame<'_>, out: &mut Vec<u8>| match word.lock().clone() {
            _ if asked.kind == Kind::ReplPut as u16 => {
                frame::write_error(out, FORMAT_BINARY, ErrorWord::Unsure, "the disk");
            }
            Some(word) => frame::write_error(out, FORMAT_BINARY, word, "for a test"),
            None => {
                let Fence(batch) = Fence::read(asked.payload).unwrap();
                let answers = batch.keys.iter().map(|_| data::KeyReply::Absent).collect();
                let shape = data::Shape { is_full: false };
                ReadReply { epoch: batch.epoch, clock: 1 << 40, shape, answers }.write(out);
            }
        };
        let patience = Duration::from_secs(1);
        let payload = PayloadLimit::default();
        let dial = Dial { connect: patience, reply: patience, secret: None, payload };
        let open = move || -> Box<in_place::AnswerFrame> { Box::new(answer.clone()) };
        ConnectionPool::new(
            dial,
            Some(LocalServer { address: address.clone(), open: Arc::new(open) }),
        )
    }

    /// C1: a write that a member may hold is never reported as *not done*, whatever later answers
    /// are.
    #[test]
    fn an_answer_that_is_too_large_ends_an_update_as_not_done_only_if_nobody_can_hold_it() {
        let address = Address::new("127.0.0.1", 1).unwrap();
        for is_sent in [false, true] {
            let word = Arc::default();
            let pool = pool(&address, &word);
            let commits = CommitQueue::default();
            let operation = Operation::read_modify_write();
            let mut batch = [Task::new(b"k", operation)];
            let go = |batch: &mut [Task<'_>], epoch| {
                let waits = Waits::for_silence_of(Duration::from_secs(1));
                let routes = routes(&address, epoch);
                let (pool, commits, routes) = (&pool, &commits, &routes);
                Fanout { pool, commits, routes, waits, is_own: &|_| false }.attempt(batch).needs[0]
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
