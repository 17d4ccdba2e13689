//! Reads and fences: which record of a key a node returns, and under which view.

use cluster::holdings::{Holdings, Refusal, Standing};
use cluster::ids::Epoch;
use cluster::replica::{self, State};
use cluster::ring::arc_of_key;
use cluster::version::{Clock, Version};
use net_common::message::data::{Body, KeyReply, ReadBatch, ReadReply};

use super::expirations::Expired;
use super::{Node, Serving};

/// A key, and where to look it up in a view.
#[derive(Clone, Copy)]
pub(super) struct KeyLocation<'a> {
    serving: Serving<'a>,
    pub arc: usize,
    key: &'a [u8],
}

impl<'a> KeyLocation<'a> {
    /// The location of a key; `None` if its length is beyond the view's limit.
    pub fn of(serving: Serving<'a>, key: &'a [u8]) -> Option<KeyLocation<'a>> {
        serving.routes.view().limits.check_key(key).ok()?;
        Some(KeyLocation { serving, arc: arc_of_key(key, serving.table.arcs()), key })
    }
}

impl Node {
    /// Answers a batch of reads: appends a READ_REPLY's payload, each record straight from the
    /// table. A small request must not cause an answer of gigabytes: once the frame is full, the
    /// client has to ask for the remaining keys again.
    pub fn read(&self, batch: &ReadBatch<'_>, out: &mut Vec<u8>) {
        self.answer(batch, out, |holdings, clock, key, out| {
            self.read_one(holdings, clock, key, out)
        });
    }

    fn answer(
        &self,
        batch: &ReadBatch<'_>,
        out: &mut Vec<u8>,
        one: impl Fn(&Holdings, Clock, &[u8], &mut Vec<u8>),
    ) {
        let most = out.len() + self.payload.get();
        let clock = self.clock();
        let holdings = self.holdings.read();
        ReadReply::encode_head(holdings.epoch(), clock, self.shape(), batch.keys.len(), out);
        if !self.has_lease() {
            return batch.keys.iter().for_each(|_| KeyReply::NoLease.encode(out));
        }
        let mut is_full = false;
        for (i, key) in batch.keys.iter().enumerate() {
            let start = out.len();
            if !is_full {
                one(&holdings, clock, key, out);
                // Each of the remaining answers takes at least a byte.
                is_full = i > 0 && out.len() + (batch.keys.len() - 1 - i) > most;
            }
            if is_full {
                out.truncate(start);
                KeyReply::Later.encode(out);
            }
        }
        drop(holdings);
        self.hand_in_expired();
    }

    /// Looks a key up where this node is synced. An expired value becomes a pending tombstone, and
    /// is returned as one (C6).
    pub(super) fn look_up<T>(
        &self,
        location: KeyLocation<'_>,
        clock: Clock,
        with: impl FnOnce(Option<(Version, State, Body<'_>)>) -> T,
    ) -> T {
        let KeyLocation { serving: Serving { table, routes }, arc, key } = location;
        let is_due = |at| replica::is_expired(at, clock);
        let mut with = Some(with);
        let mut take = |found: Option<(Version, State, Body<'_>)>| {
            with.take().expect("it is called once")(found)
        };
        let looked = table.read(arc, key, |found| match found {
            Some((.., body)) if body.expiry().is_some_and(is_due) => None,
            found => Some(take(found)),
        });
        looked.unwrap_or_else(|| {
            let alone = self.commits_alone(routes, arc);
            if let Some(version) = table.expire_key(arc, key, clock, alone) {
                let (epoch, key) = (routes.epoch(), key.to_vec());
                self.expirations.add([Expired { epoch, key, version }]);
            }
            table.read(arc, key, take)
        })
    }

    fn read_one(&self, holdings: &Holdings, clock: Clock, key: &[u8], out: &mut Vec<u8>) {
        let Some(serving) = self.serving(holdings) else {
            return KeyReply::WrongEpoch.encode(out);
        };
        let Some(location) = KeyLocation::of(serving, key) else {
            return KeyReply::BadKey.encode(out);
        };
        match holdings.admit_read(location.arc) {
            Err(Refusal::WrongEpoch) => KeyReply::WrongEpoch.encode(out),
            Err(Refusal::Syncing) => KeyReply::Syncing.encode(out),
            Ok(()) => self.look_up(location, clock, |found| match found {
                None => KeyReply::Absent.encode(out),
                Some((version, state, body)) => {
                    KeyReply::Record(version, self.state(&version, state), body).encode(out);
                }
            }),
        }
    }

    /// Answers a fence (C5): appends a READ_REPLY's payload, as [`Node::read`] does. For an arc
    /// that this node is still fetching, the table has only records that this incarnation stored or
    /// merged, never stale ones: an arc is emptied before it is fetched anew (R6).
    pub fn fence(&self, batch: &ReadBatch<'_>, out: &mut Vec<u8>) {
        self.answer(batch, out, |holdings, clock, key, out| {
            self.fence_one(holdings, batch.epoch, clock, key, out);
        });
    }

    fn fence_one(
        &self,
        holdings: &Holdings,
        epoch: Epoch,
        clock: Clock,
        key: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Some(serving) = self.serving(holdings) else {
            return KeyReply::WrongEpoch.encode(out);
        };
        let Some(location) = KeyLocation::of(serving, key) else {
            return KeyReply::BadKey.encode(out);
        };
        match holdings.admit_write(epoch, location.arc) {
            Err(Refusal::WrongEpoch | Refusal::Syncing) => KeyReply::WrongEpoch.encode(out),
            Ok(standing) => {
                // Only at a synced replica do values expire: another's may never have been
                // acknowledged.
                if standing == Standing::Synced {
                    self.look_up(location, clock, |_| ());
                }
                serving.table.read(location.arc, key, |found| {
                    let found = found
                        .map(|(version, state, body)| (version, self.state(&version, state), body));
                    match (standing, found) {
                        (Standing::Synced, None) => KeyReply::Absent,
                        (Standing::Synced, Some((version, state, body))) => {
                            KeyReply::Record(version, state, body)
                        }
                        (Standing::Blind, None) => KeyReply::BlindAbsent,
                        (Standing::Blind, Some((version, state, body))) => {
                            KeyReply::Blind(version, state, body)
                        }
                    }
                    .encode(out);
                })
            }
        }
    }
}
