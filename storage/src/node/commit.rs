//! Records that are known to be committed (rule N3), and those that a dead writer left (rule C4).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::finish::Abandoned;
use cluster::operation::Found;
use cluster::replica::State;
use cluster::ring::arc_of_key;
use cluster::version::Version;
use cluster::view::Routes;
use cluster::watermarks::WrittenClocks;
use net_common::message::data::{CommitNotice, Record};

use super::{Node, Serving};

/// Bytes of values that are handed out at once to be finished: a few frames. The rest follows at
/// the next call.
const SETTLED: usize = 16 << 20;

impl Node {
    /// Notes that versions are committed (rule N3). This is a fact, so it counts in any epoch, with
    /// or without a lease. Watermarks count for the writes of their own connection, `written`.
    pub fn commit(&self, commits: &CommitNotice<'_>, written: &WrittenClocks) {
        for (writer, clock) in &commits.watermarks {
            if let Some(clock) = written.bounded(*writer, *clock) {
                self.watermarks.take(*writer, clock);
            }
        }
        if commits.versions.is_empty() {
            return;
        }
        let holdings = self.holdings.read();
        let Some(Serving { table, .. }) = self.serving(&holdings) else { return };
        for (key, version) in &commits.versions {
            table.commit(arc_of_key(key, table.arcs()), key, *version);
        }
    }

    /// The state of a record, from its own mark and its writer's watermark.
    pub(super) fn state(&self, version: &Version, noted: State) -> State {
        match noted {
            State::Pending if self.watermarks.cover(version) => State::Committed,
            noted => noted,
        }
    }

    /// Forgets the watermarks of writers that have been silent for long.
    pub fn rotate_watermarks(&self) {
        self.watermarks.rotate();
    }

    /// Marks the records that are committed by now. Returns records that have been pending for long
    /// in arcs where this node is synced, at most `most` or some megabytes, with the view, if that
    /// is active: their writers must have died (C4). Only a synced replica finishes records (R3),
    /// and only under the active view (F4).
    pub fn settle(&self, most: usize) -> Option<(Arc<Routes>, Vec<Abandoned>)> {
        let clock = self.clock();
        let (table, routes) = (self.table.get()?, self.routes()?);
        let epoch = routes.epoch();
        let may_finish = epoch.0 == self.active.load(Ordering::SeqCst) && self.has_lease();
        let (mut found, mut bytes) = (Vec::new(), 0);
        for arc in 0..table.arcs() {
            // Arc by arc: a new view must not wait for all of it.
            let holdings = self.holdings.read();
            let is_mine = holdings.epoch() == epoch && holdings.synced().contains(arc);
            let most = if may_finish && is_mine { most - found.len() } else { 0 };
            table.settle(
                arc,
                clock,
                |version| self.watermarks.cover(version),
                most,
                |record| {
                    if bytes >= SETTLED {
                        return;
                    }
                    bytes += record.body.value().map_or(0, <[u8]>::len);
                    let expiry = record.body.expiry();
                    let body = record.body.value().map(|value| (value.to_vec(), expiry));
                    let Record { version, state, .. } = record;
                    found.push((record.key.to_vec(), Found { version, body, state, epoch, clock }));
                },
            );
        }
        (!found.is_empty()).then_some((routes, found))
    }
}
