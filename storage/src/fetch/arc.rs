//! An arc that is being fetched, and how far it has come.

use std::borrow::Cow;
use std::sync::Arc;

use cluster::replica::State;
use net_common::message::data::Record;
use net_common::message::range::{ArcRequest, BucketSet, Cursor, Selection};

use crate::fetch::digest::{Digester, MOST_COMPARED};
use crate::table::Shard;

/// What is known of one arc: nothing yet; or its records of an earlier life, and their digests; or
/// which of its buckets are still wanted, from where on.
///
/// A source that stops in the middle is taken up again where it was, also under the next view, if
/// that is the very next one: a page counts under the epoch it was read under, and what has been
/// merged stays. Another source begins the arc anew, but for the buckets that were the same.
pub struct ArcFetch {
    /// The arc.
    pub arc: u16,
    /// What this node held of it in an earlier life.
    stale: Option<Arc<Shard>>,
    /// The digests of that.
    digests: Vec<u64>,
    /// The bucket of each of its records.
    buckets: Vec<u16>,
    /// The buckets that were not the same at the source that has compared them.
    pub differing: Option<BucketSet>,
    /// Where to go on.
    pub from: Cursor,
    /// Whether it was lost, and all who keep it are to be asked for what their disks had of it
    /// (H6).
    pub gathers: bool,
}

impl ArcFetch {
    /// An arc of which nothing has come yet.
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

    /// An arc to be gathered from all who keep it: what this node has of it is in its table
    /// already.
    pub fn to_gather(arc: usize) -> ArcFetch {
        ArcFetch { gathers: true, ..ArcFetch::new(arc, None) }
    }

    /// It is complete: what was kept for it is not needed any more.
    pub fn release(&mut self) {
        *self = ArcFetch { gathers: self.gathers, ..ArcFetch::new(self.arc.into(), None) };
    }

    /// How many records there are to compare.
    pub fn to_compare(&self) -> usize {
        match (&self.differing, &self.stale) {
            (None, Some(stale)) => stale.len(),
            _ => 0,
        }
    }

    /// Makes the digests, if that has to be done yet.
    pub fn prepare(&mut self, digester: &Digester) {
        if let (None, true, Some(stale)) = (&self.differing, self.digests.is_empty(), &self.stale) {
            (self.digests, self.buckets) = digester.digests(stale.iter(), stale.len());
        }
    }

    /// How to ask for the rest of it.
    pub fn wanted(&self) -> ArcRequest<'_> {
        let ask = match &self.differing {
            _ if self.gathers => Selection::Gather,
            Some(differing) => Selection::Of(Cow::Borrowed(differing)),
            None if self.digests.is_empty() => Selection::All,
            None => Selection::Differing(Cow::Borrowed(&self.digests)),
        };
        ArcRequest { arc: self.arc, ask }
    }

    /// Whether a source's word on which buckets are the same answers what it was asked.
    pub fn is_answered_by(&self, same: &BucketSet) -> bool {
        self.differing.is_none() && self.digests.len() == same.buckets()
    }

    /// The records of an earlier life in the buckets that are the same at the source: as committed,
    /// since they are that there.
    pub fn confirmed(&self, same: &BucketSet) -> impl Iterator<Item = Record<'_>> {
        let stale = self.stale.iter().flat_map(|shard| shard.iter());
        stale
            .zip(&self.buckets)
            .filter(|(_, bucket)| same.contains(usize::from(**bucket)))
            .map(|(record, _)| Record { state: State::Committed, ..record })
    }
}
