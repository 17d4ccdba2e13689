//! Confirming recovered records. They are pending, since some replica may lack them (rule H6).
//! Usually all replicas have them, but to find that out record by record, as reads and housekeeping
//! do (C3, C4), takes a write each. So a node that has become a replacement asks all other members
//! of the write sets which buckets of records they hold as well, by digests
//! ([`crate::fetch::digest`]). Records that all of them hold are committed.
//!
//! Only speed depends on it. Records stay pending if a member is silent or in another view, or,
//! with `sync`, if they may not be on its disk yet.

use std::borrow::Cow;

use cluster::replica::State;
use cluster::version::Version;
use cluster::view::Routes;
use net_common::connection::NetError;
use net_common::message::range::{ArcRequest, BucketSet, Cursor, RangePage, RangePull, Selection};

use crate::fetch::digest::{Digester, buckets_for};
use crate::node::Node;

/// Approximate number of records that are compared at a time: each member reads all of them before
/// it answers.
const COMPARED: usize = 16 << 10;

/// Arcs at a time.
const ARCS: usize = 512;

/// The result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The number of arcs that were covered, from the first on.
    pub arcs: usize,
    /// Records that all members hold.
    pub committed: usize,
    /// Records that stay pending.
    pub pending: usize,
}

/// A snapshot of an arc on this node.
struct ArcSample {
    arc: u16,
    digests: Vec<u64>,
    /// The pending records, with the bucket of each.
    pending: Vec<(usize, Vec<u8>, Version)>,
    looked_at: usize,
    /// The buckets that all members asked so far hold as well.
    common: BucketSet,
}

impl ArcSample {
    fn take(node: &Node, arc: usize, digester: &Digester) -> Option<ArcSample> {
        let table = node.table()?;
        let mut digests = vec![0u64; buckets_for(table.records(arc))];
        let (mut pending, mut looked_at) = (Vec::new(), 0);
        // All at once, in microseconds: in slices a record might be counted twice.
        table.scan(arc, Cursor::START, usize::MAX, |record| {
            let (bucket, hash) = digester.place(&record, digests.len());
            digests[bucket] = digests[bucket].wrapping_add(hash);
            looked_at += 1;
            if record.state == State::Pending && node.vouches_for(&record.version) {
                pending.push((bucket, record.key.to_vec(), record.version));
            }
            true
        });
        let common = BucketSet::none(digests.len()).others();
        Some(ArcSample { arc: arc as u16, digests, pending, looked_at, common })
    }

    fn has_replica(&self, routes: &Routes, place: u16) -> bool {
        routes.write_set(self.arc.into()).contains(&place)
    }

    /// The pending records of the snapshot that all members hold.
    fn held(&self) -> impl Iterator<Item = (&[u8], Version)> {
        let common = self.pending.iter().filter(|(bucket, ..)| self.common.contains(*bucket));
        common.map(|(_, key, version)| (key.as_slice(), *version))
    }
}

/// Finds the records of some arcs that all other members of the write sets hold as well, and marks
/// them as committed. `ask` sends a pull to the member at a place, and passes on the page that
/// answers it. Blocks as long as `ask` does.
pub fn confirm(
    node: &Node,
    routes: &Routes,
    arcs: &[usize],
    digester: &Digester,
    mut ask: impl FnMut(u16, &RangePull<'_>, &mut dyn FnMut(&RangePage<'_>)) -> Result<(), NetError>,
) -> Confirmed {
    let Some(table) = node.table() else { return Confirmed::default() };
    let mut samples: Vec<ArcSample> = Vec::new();
    let mut taken = 0;
    for &arc in arcs.iter().take(ARCS) {
        if taken > 0 && taken + table.records(arc) > COMPARED {
            break;
        }
        let Some(sample) = ArcSample::take(node, arc, digester) else { break };
        taken += sample.looked_at;
        samples.push(sample);
    }
    let others =
        (0..routes.view().members.len() as u16).filter(|&p| routes.member(p).id != *node.id());
    for place in others {
        let asked: Vec<usize> =
            (0..samples.len()).filter(|&n| samples[n].has_replica(routes, place)).collect();
        let mut answered = 0;
        while answered < asked.len() {
            let rest = &asked[answered..];
            let wanted = rest.iter().map(|&n| ArcRequest {
                arc: samples[n].arc,
                ask: Selection::SameDigests(Cow::Owned(samples[n].digests.clone())),
            });
            let pull = RangePull {
                epoch: routes.epoch(),
                seed: digester.seed(),
                from: Cursor::START,
                wanted: wanted.collect(),
            };
            let mut sames = Vec::new();
            let result = ask(place, &pull, &mut |page| {
                if page.epoch == routes.epoch() {
                    sames.extend(page.same.iter().cloned());
                }
            });
            let count = note(&mut samples, rest, sames);
            answered += count;
            if result.is_err() || count == 0 {
                // The member is no replica, or cannot be reached.
                asked[answered..].iter().for_each(|&n| clear_common(&mut samples[n]));
                break;
            }
        }
    }
    let mut confirmed = Confirmed { arcs: samples.len(), ..Confirmed::default() };
    for sample in &samples {
        let mut count = 0;
        // Committed records are shown to everybody, so they have to be on this disk first.
        let is_on_disk = node.is_on_disk(sample.arc.into());
        for (key, version) in sample.held().filter(|_| is_on_disk) {
            table.commit(sample.arc.into(), key, version);
            count += 1;
        }
        confirmed.committed += count;
        confirmed.pending += sample.pending.len() - count;
    }
    confirmed
}

/// Applies an answer to the samples asked for, from the first on. Returns the number of samples
/// that it covers.
fn note(samples: &mut [ArcSample], asked: &[usize], sames: Vec<(u16, BucketSet)>) -> usize {
    let mut count = 0;
    for (&n, (arc, same)) in asked.iter().zip(&sames) {
        let sample = &mut samples[n];
        if sample.arc != *arc || sample.digests.len() != same.buckets() {
            break;
        }
        sample.common.retain(same);
        count += 1;
    }
    count
}

fn clear_common(sample: &mut ArcSample) {
    sample.common = BucketSet::none(sample.digests.len());
}
