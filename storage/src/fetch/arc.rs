//! An arc that is being fetched, and its progress.

use std::borrow::Cow;
use std::sync::Arc;

use cluster::replica::State;
use net_common::message::data::Record;
use net_common::message::range::{ArcRequest, BucketSet, Cursor, Selection};

use crate::fetch::digest::{Digester, MOST_COMPARED};
use crate::table::Shard;

/// The progress of one arc: nothing yet; or its stale records and their digests; or the buckets
/// that are still wanted, and from where on.
///
/// After an interruption the same source continues where it was, also under the next view, if that
/// is the immediate successor: a page counts under its own epoch, and merged records stay. Another
/// source starts the arc over, except for the buckets that were the same.
pub struct ArcFetch {
    /// The arc.
    pub arc: u16,
    /// The stale records of it.
    stale: Option<Arc<Shard>>,
    /// Their digests.
    digests: Vec<u64>,
    /// The bucket of each of them.
    buckets: Vec<u16>,
    /// The buckets that differed at the source that has compared them.
    pub differing: Option<BucketSet>,
    /// Where to continue.
    pub from: Cursor,
    /// Whether it was lost, and all members of the write set are to be asked for what their disks
    /// had of it (H6).
    pub gathers: bool,
}

impl ArcFetch {
    /// An arc of which nothing was fetched yet.
    pub fn new(arc: usize, stale: Option<Arc<Shard>>) -> ArcFetch {
        let stale = stale.filter(|shard| (1..=MOST_COMPARED).contains(&shard.len()));
        ArcFetch {
            arc: arc as u16,
            stale,
            digests: Vec::new(),
            buckets: Vec::new(),
            differing: None,
            from: Cursor::START,
            gathers: false,
        }
    }

    /// An arc to be gathered from all other members of the write set: this node's own records are
    /// in its table already.
    pub fn to_gather(arc: usize) -> ArcFetch {
        ArcFetch { gathers: true, ..ArcFetch::new(arc, None) }
    }

    /// Frees its records and digests once it is complete.
    pub fn release(&mut self) {
        *self = ArcFetch { gathers: self.gathers, ..ArcFetch::new(self.arc.into(), None) };
    }

    /// The number of records to compare.
    pub fn to_compare(&self) -> usize {
        match (&self.differing, &self.stale) {
            (None, Some(stale)) => stale.len(),
            _ => 0,
        }
    }

    /// Computes the digests, unless they exist.
    pub fn prepare(&mut self, digester: &Digester) {
        if let (None, true, Some(stale)) = (&self.differing, self.digests.is_empty(), &self.stale) {
            (self.digests, self.buckets) = digester.digests(stale.iter(), stale.len());
        }
    }

    /// The request for the rest of it.
    pub fn wanted(&self) -> ArcRequest<'_> {
        let ask = match &self.differing {
            _ if self.gathers => Selection::Gather,
            Some(differing) => Selection::Of(Cow::Borrowed(differing)),
            None if self.digests.is_empty() => Selection::All,
            None => Selection::Differing(Cow::Borrowed(&self.digests)),
        };
        ArcRequest { arc: self.arc, ask }
    }

    /// Whether a source's set of equal buckets answers the request.
    pub fn is_answered_by(&self, same: &BucketSet) -> bool {
        self.differing.is_none() && self.digests.len() == same.buckets()
    }

    /// The stale records in buckets that are the same at the source, as committed, since they are
    /// committed there.
    pub fn confirmed(&self, same: &BucketSet) -> impl Iterator<Item = Record<'_>> {
        let stale = self.stale.iter().flat_map(|shard| shard.iter());
        stale
            .zip(&self.buckets)
            .filter(|(_, bucket)| same.contains(usize::from(**bucket)))
            .map(|(record, _)| Record { state: State::Committed, ..record })
    }
}
