//! Writes: under which view they count, the decision about each, and when they are answered.

use std::sync::Arc;

use cluster::holdings::{Holdings, Refusal, Standing};
use cluster::ids::Epoch;
use cluster::replica::{Decision, State, WriteAnswer};
use cluster::ring::arc_of_key;
use cluster::version::{Clock, Version};
use cluster::view::Routes;
use net_common::message::data::{Record, Write, WriteAcks, WriteBatch};

use super::in_flight::InFlight;
use super::{Node, Serving};
use crate::disk::entry::RecordBuffer;
use crate::disk::journal::Trouble;

/// Why a batch of writes was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteFailure {
    /// Nothing was stored.
    #[error("{0}")]
    Refused(Trouble),
    /// It may have been stored, and may be on the disk.
    #[error("{0}")]
    Unsure(Trouble),
}

impl Node {
    /// Answers a batch of writes.
    ///
    /// # Errors
    /// [`WriteFailure`], where answers wait for the disk (`--durability sync`) and the disk fails.
    pub fn write(&self, batch: &WriteBatch<'_>) -> Result<WriteAcks, WriteFailure> {
        self.journal.check().map_err(WriteFailure::Refused)?;
        let own_clock = self.clock();
        let holdings = self.holdings.read();
        let has_lease = self.has_lease();
        let mut buffer = self.journal.buffer(holdings.epoch());
        let is_sync = self.journal.is_sync();
        let mut flight = self.in_flight.get().filter(|_| is_sync).map(InFlight::begin);
        let mut newest = 0;
        let mut stored = 0;
        let answers: Vec<WriteAnswer> = batch
            .writes
            .iter()
            .map(|write| {
                if !has_lease {
                    return WriteAnswer::NoLease;
                }
                if let (Some(flight), Some(table)) = (&mut flight, self.table.get()) {
                    flight.add(arc_of_key(write.key, table.arcs()));
                }
                let Decision { keep, answer } =
                    self.write_one(&holdings, batch.epoch, write, own_clock);
                if keep {
                    newest = newest.max(write.version.clock);
                    stored += 1;
                    if let Some(buffer) = &mut buffer {
                        let Write { key, version, body, .. } = *write;
                        buffer.push(&Record { key, version, state: State::Pending, body });
                    }
                } else if is_sync && let Some(buffer) = &mut buffer {
                    return self.vouch(write.key, answer, buffer);
                }
                answer
            })
            .collect();
        let (epoch, routes) = (holdings.epoch(), holdings.routes().cloned());
        drop(holdings);
        if stored > 0 {
            self.clock.lock().fold(newest);
            self.notes.wrote(stored);
        }
        self.journal.hand_in(buffer).map_err(WriteFailure::Unsure)?;
        if let Some(flight) = flight {
            flight.land();
        }
        if is_sync {
            self.commit_alone(&routes, batch, &answers);
        }
        Ok(WriteAcks { epoch, clock: own_clock.max(newest), shape: self.shape(), answers })
    }

    /// Whether all records seen in an arc before this call are on the disk, where answers wait for
    /// that. It excludes tombstones of expired values: see [`Node::vouches_for`].
    pub fn is_on_disk(&self, arc: usize) -> bool {
        !self.journal.is_sync() || self.in_flight.get().is_some_and(|all| all.is_none(arc))
    }

    /// Whether a record seen in an arc that is on the disk ([`Node::is_on_disk`]) is on the disk
    /// itself. Nobody waits until the tombstones of expired values are.
    pub fn vouches_for(&self, version: &Version) -> bool {
        !self.journal.is_sync() || !version.is_expiry()
    }

    /// Rule N3 for records whose only replica is this node, once they are on the disk. A replica
    /// added since has fetched them from here: they were in the table before the next view was
    /// adopted.
    fn commit_alone(
        &self,
        routes: &Option<Arc<Routes>>,
        batch: &WriteBatch<'_>,
        answers: &[WriteAnswer],
    ) {
        let (Some(table), Some(routes)) = (self.table.get(), routes) else { return };
        for (write, answer) in batch.writes.iter().zip(answers) {
            let arc = arc_of_key(write.key, table.arcs());
            if *answer == WriteAnswer::Stored && routes.write_set(arc).len() == 1 {
                table.commit(arc, write.key, write.version);
            }
        }
    }

    /// Logs the record that an answer vouches for, if it was stored before: another thread may
    /// still wait until it is on the disk (F14).
    fn vouch(&self, key: &[u8], answer: WriteAnswer, buffer: &mut RecordBuffer) -> WriteAnswer {
        let vouches = matches!(
            answer,
            WriteAnswer::Stored
                | WriteAnswer::Superseded(_)
                | WriteAnswer::BlindStored
                | WriteAnswer::BlindBelow(_)
        );
        let Some(table) = self.table.get().filter(|_| vouches) else { return answer };
        if buffer.is_full() {
            // Large values behind small requests. Nothing was stored for this write: it is sent
            // again.
            return WriteAnswer::NoLease;
        }
        table.read(arc_of_key(key, table.arcs()), key, |found| {
            if let Some((version, state, body)) = found {
                buffer.push(&Record { key, version, state, body });
            }
        });
        answer
    }

    fn write_one(
        &self,
        holdings: &Holdings,
        epoch: Epoch,
        write: &Write<'_>,
        own_clock: Clock,
    ) -> Decision {
        let refuse = |answer| Decision { keep: false, answer };
        let Some(Serving { table, routes }) = self.serving(holdings) else {
            return refuse(WriteAnswer::WrongEpoch);
        };
        let limits = routes.view().limits_for_writes();
        let arc = arc_of_key(write.key, table.arcs());
        match holdings.admit_write(epoch, arc) {
            // Only under the writer's own epoch: otherwise it has to learn of the newer limits
            // first.
            Ok(_) if limits.check_key(write.key).is_err() => refuse(WriteAnswer::BadKey),
            Ok(_) if write.body.value().is_some_and(|value| limits.check_value(value).is_err()) => {
                refuse(WriteAnswer::BadValue)
            }
            // Only the primary swaps, and only when it is synced (C5). A client that asks another
            // node, or too early, has another view.
            Ok(standing)
                if write.expected.is_some()
                    && (standing == Standing::Blind || !holdings.is_primary(arc)) =>
            {
                refuse(WriteAnswer::WrongEpoch)
            }
            Ok(standing) => {
                // Committed records are shown to everybody, so they have to be on the disk first.
                let alone = self.commits_alone(routes, arc);
                table.write(arc, write, own_clock, standing, alone)
            }
            Err(Refusal::WrongEpoch | Refusal::Syncing) => refuse(WriteAnswer::WrongEpoch),
        }
    }
}
