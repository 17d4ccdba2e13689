//! One put, get or delete on its way from call to outcome.

use std::time::Duration;

use cluster::ids::NodeId;
use cluster::read_round::{self, ReadRound};
use cluster::replica::WriteAnswer;
use cluster::version::Version;
use cluster::view::Routes;
use cluster::write_round::{self, WriteRound};
use net_common::message::data::{Body, ReadAnswer};

use crate::error::ClientError;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Give a key a value.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Fetch a key's value.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

/// Where a write was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The key's primary.
    pub primary: NodeId,
    /// How many nodes hold it.
    pub copies: usize,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The value.
    pub value: Vec<u8>,
    /// The node that answered: the key's primary, unless that is down.
    pub primary: NodeId,
}

/// What came of an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Of a put or a delete.
    Placed(Placed),
    /// Of a get: the value, or that there is none.
    Got(Option<Got>),
}

/// An operation under way: what it is, and how far its round has come.
pub(crate) struct Operation<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) work: Work<'a>,
    pub(crate) outcome: Option<Result<Done, ClientError>>,
}

/// What an operation has to do, with the state of its round.
pub(crate) enum Work<'a> {
    /// Write this body under this version.
    Write { body: Body<'a>, version: Version, round: WriteRound },
    /// Read from the replica at this place of the key's list.
    Read { round: ReadRound, place: usize },
}

/// What an operation needs after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing more.
    Nothing,
    /// Another attempt at once.
    Attempt,
    /// A newer view, then another attempt.
    View,
    /// A version above this one, then another attempt.
    Version(Version),
}

impl Operation<'_> {
    /// Starts an attempt under a view. Returns the members to send it to, none if it cannot be sent.
    pub(crate) fn begin<'r>(&mut self, routes: &'r Routes) -> &'r [u16] {
        let arc = routes.arc_of(self.key);
        match &mut self.work {
            Work::Write { round, .. } => {
                let members = arc.map_or(&[][..], |arc| routes.write_set(arc));
                round.begin(members.len());
                members
            }
            Work::Read { round, place } => {
                let replicas = arc.map_or(&[][..], |arc| routes.replicas(arc));
                if *place == 0 || *place >= replicas.len() {
                    *round = ReadRound::new(replicas.len());
                    *place = 0;
                }
                replicas.get(*place..=*place).unwrap_or(&[])
            }
        }
    }

    /// Counts one member's reply to a write.
    pub(crate) fn wrote(&mut self, reply: write_round::Reply) {
        if let Work::Write { round, .. } = &mut self.work {
            round.take(reply);
        }
    }

    /// Takes a replica's reply to a read; `None` if none came.
    pub(crate) fn read(&mut self, answer: Option<ReadAnswer<'_>>, from: &NodeId) -> Need {
        let Work::Read { round, place } = &mut self.work else { return Need::Nothing };
        let reply = match answer {
            Some(ReadAnswer::Absent | ReadAnswer::Record(_, Body::Tombstone)) => {
                self.outcome = Some(Ok(Done::Got(None)));
                read_round::Reply::Answered
            }
            Some(ReadAnswer::Record(_, Body::Value(value))) => {
                let got = Got { value: value.to_vec(), primary: from.clone() };
                self.outcome = Some(Ok(Done::Got(Some(got))));
                read_round::Reply::Answered
            }
            Some(ReadAnswer::BadKey) => {
                let why = format!("{from} does not take this key");
                self.outcome = Some(Err(ClientError::Refused(why)));
                read_round::Reply::Answered
            }
            Some(ReadAnswer::WrongEpoch) => read_round::Reply::WrongEpoch,
            Some(ReadAnswer::Syncing) => read_round::Reply::Syncing,
            None => read_round::Reply::Lost,
        };
        match round.take(reply) {
            read_round::Verdict::Done => Need::Nothing,
            read_round::Verdict::Ask(next) => {
                *place = next;
                Need::Attempt
            }
            read_round::Verdict::Again => {
                *place = 0;
                Need::View
            }
        }
    }

    /// Draws the conclusion from a write's replies, once all are counted.
    pub(crate) fn conclude_write(&mut self, routes: &Routes) -> Need {
        let Work::Write { round, .. } = &self.work else { return Need::Nothing };
        let outcome = match round.verdict() {
            write_round::Verdict::Done => {
                let arc = routes.arc_of(self.key).expect("somebody has acknowledged it");
                let primary = routes.member(routes.replicas(arc)[0]).id.clone();
                Ok(Done::Placed(Placed { primary, copies: routes.write_set(arc).len() }))
            }
            write_round::Verdict::Again => return Need::View,
            write_round::Verdict::Fresh(above) => return Need::Version(above),
            write_round::Verdict::NotDone(answer) => {
                Err(ClientError::Refused(refusal(answer).to_owned()))
            }
            write_round::Verdict::Unknown => Err(ClientError::Unknown {
                why: "some replica may hold this write, and newer ones are around".into(),
            }),
        };
        self.outcome = Some(outcome);
        Need::Nothing
    }

    /// Gives up at the deadline.
    pub(crate) fn give_up(&mut self, deadline: Duration, why: &str) {
        let why = why.to_owned();
        self.outcome = Some(Err(match &self.work {
            Work::Write { round, .. } if round.may_exist() => ClientError::Unknown { why },
            _ => ClientError::NotEnoughReplicas { deadline, why },
        }));
    }
}

fn refusal(answer: WriteAnswer) -> &'static str {
    match answer {
        WriteAnswer::BadKey => "the key is longer than the cluster takes",
        WriteAnswer::BadValue => "the value is longer than the cluster takes",
        WriteAnswer::BadVersion => "this client's clock is too far ahead of the replicas'",
        WriteAnswer::Conflict => {
            "another write has the same version: two clients with one identity"
        }
        WriteAnswer::Stored
        | WriteAnswer::Superseded(_)
        | WriteAnswer::BlindStored
        | WriteAnswer::BlindBelow(_)
        | WriteAnswer::WrongEpoch => "unexpected answer",
    }
}
