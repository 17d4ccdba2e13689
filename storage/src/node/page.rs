//! Pages of an arc, for nodes that fetch it (rules H1 and H3).
//!
//! A page is read in slices: each locks the holdings and one arc for some hundred records, so that
//! a request or a new view waits for tens of microseconds at most, however large the arc. The page
//! is nevertheless of one epoch: each slice checks that the view is still the puller's, and within
//! an epoch nothing is dropped. Records written between two slices reach the puller directly, since
//! it is in the write set.

use std::borrow::Cow;

use cluster::ids::Epoch;
use net_common::message::data::Record;
use net_common::message::range::{BucketSet, Cursor, PageEnd, PageWriter, RangePull, Selection};

use super::Node;
use crate::fetch::digest::{Comparison, Digester, MOST_COMPARED};
use crate::table::Table;

/// The size of pages.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes after which a page ends. Large enough that round trips do not dominate a transfer;
    /// small enough to be built, and merged, in about a millisecond.
    pub bytes: usize,
    /// Records after which it ends, sent or only examined.
    pub records: usize,
    /// Slots of an arc that are examined under one lock.
    pub slots: usize,
    /// Most records of an arc that is compared: nothing is sent before all have been examined.
    pub compared: usize,
}

impl Bounds {
    /// The bounds that nodes use.
    pub const OURS: Bounds =
        Bounds { bytes: 192 << 10, records: 32 << 10, slots: 1 << 10, compared: MOST_COMPARED };
}

impl Node {
    /// Answers a pull: appends a RANGE_PAGE's payload with as many whole arcs as fit, and the first
    /// part of one that does not.
    pub fn page(&self, pull: &RangePull<'_>, out: &mut Vec<u8>) {
        self.page_within(Bounds::OURS, pull, out);
    }

    /// Answers a pull with pages of any size.
    pub fn page_within(&self, bounds: Bounds, pull: &RangePull<'_>, out: &mut Vec<u8>) {
        let epoch = self.holdings.read().epoch();
        let mut page = PageWriter::begin(epoch, out);
        let end = match self.table.get() {
            Some(table) => {
                let digester = Digester::new(pull.seed);
                Paging { node: self, table, digester, bounds, pull, looked_at: 0 }.fill(&mut page)
            }
            None => PageEnd::NoSource,
        };
        page.finish(end);
    }
}

/// A requested arc.
#[derive(Clone, Copy)]
struct AskedArc {
    arc: usize,
    /// Whether all members of the write set are asked for what they hold, synced or not (H6).
    gathers: bool,
}

/// A page in progress.
struct Paging<'p> {
    node: &'p Node,
    table: &'p Table,
    digester: Digester,
    bounds: Bounds,
    pull: &'p RangePull<'p>,
    looked_at: usize,
}

impl Paging<'_> {
    fn fill(&mut self, page: &mut PageWriter<'_>) -> PageEnd {
        let pull = self.pull;
        for (i, wanted) in pull.wanted.iter().enumerate() {
            if i > 0 && self.is_full(page) {
                return PageEnd::Between;
            }
            let arc = usize::from(wanted.arc);
            if arc >= self.table.arcs() {
                return PageEnd::NoSource;
            }
            let gathers = matches!(wanted.ask, Selection::Gather | Selection::SameDigests(_));
            let asked = AskedArc { arc, gathers };
            let buckets = match &wanted.ask {
                Selection::All | Selection::Gather => None,
                Selection::Of(set) => Some(Cow::Borrowed(&**set)),
                Selection::SameDigests(theirs) => {
                    let held = self.compare(asked, theirs, |c| c.held());
                    let Some(held) = held else { return PageEnd::NoSource };
                    // The answer vouches for every bucket that it names. A record that may not be
                    // on the disk yet does not count as held: its writer still waits for the disk
                    // (F14).
                    let held = if self.node.is_on_disk(arc) {
                        held
                    } else {
                        BucketSet::none(theirs.len())
                    };
                    page.same(wanted.arc, &held);
                    page.complete_arc();
                    continue;
                }
                Selection::Differing(theirs) => match self.compare(asked, theirs, |c| c.same()) {
                    Some(same) => {
                        page.same(wanted.arc, &same);
                        Some(Cow::Owned(same.others()))
                    }
                    None => return PageEnd::NoSource,
                },
            };
            let from = if i == 0 { pull.from } else { Cursor::START };
            match self.send(asked, from, buckets.as_deref(), page) {
                Some(None) => page.complete_arc(),
                Some(Some(cursor)) => return PageEnd::Within(cursor),
                None => return PageEnd::NoSource,
            }
        }
        PageEnd::Between
    }

    fn is_full(&self, page: &PageWriter<'_>) -> bool {
        page.size() >= self.bounds.bytes || self.looked_at >= self.bounds.records
    }

    /// The buckets of an arc that equal theirs, by `which` of a comparison. `None`: no source.
    fn compare(
        &mut self,
        asked: AskedArc,
        theirs: &[u64],
        which: fn(&Comparison<'_>) -> BucketSet,
    ) -> Option<BucketSet> {
        if self.table.records(asked.arc) > self.bounds.compared {
            // To compare that many would take so long that the puller takes this node for dead.
            // Whether it is a source is checked when it sends.
            return Some(BucketSet::none(theirs.len()));
        }
        let mut comparison = Comparison::new(&self.digester, theirs);
        let (mut at, mut count) = (Some(Cursor::START), 0);
        while let Some(from) = at {
            // If the table is laid out anew meanwhile, some records count twice, and their buckets
            // differ.
            let node = self.node;
            at = self.slice(asked, from, |record| {
                count += 1;
                comparison.add(&record, node.vouches_for(&record.version));
                true
            })?;
        }
        let same = which(&comparison);
        self.looked_at += count;
        Some(same)
    }

    /// Appends an arc's records, or those of some buckets. Returns where it stopped, if before the
    /// end, or `None` if this node is no source.
    fn send(
        &mut self,
        asked: AskedArc,
        mut from: Cursor,
        buckets: Option<&BucketSet>,
        page: &mut PageWriter<'_>,
    ) -> Option<Option<Cursor>> {
        if buckets.is_some_and(BucketSet::is_empty) {
            // No bucket is wanted, but the puller still has to learn if this is no source.
            return self.is_source(asked.arc).then_some(None);
        }
        loop {
            let mut count = 0;
            let next = self.slice(asked, from, |record| {
                if page.size() >= self.bounds.bytes {
                    return false;
                }
                count += 1;
                if buckets
                    .is_none_or(|set| set.contains(self.digester.bucket(record.key, set.buckets())))
                {
                    page.push(&record);
                }
                true
            })?;
            self.looked_at += count;
            match next {
                Some(next) if !self.is_full(page) => from = next,
                next => return Some(next),
            }
        }
    }

    fn epoch(&self) -> Epoch {
        self.pull.epoch
    }

    fn is_source(&self, arc: usize) -> bool {
        self.node.holdings.read().admit_page(self.epoch(), arc).is_ok()
    }

    /// Reads some slots of an arc. `None`: this node is no source. For gathering, every member of
    /// the write set is one.
    fn slice(
        &self,
        asked: AskedArc,
        from: Cursor,
        mut with: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Option<Cursor>> {
        let AskedArc { arc, gathers } = asked;
        let holdings = self.node.holdings.read();
        let admitted = if gathers {
            holdings.admit_gathering(self.epoch(), arc)
        } else {
            holdings.admit_page(self.epoch(), arc)
        };
        admitted.ok()?;
        Some(self.table.scan(arc, from, self.bounds.slots, |record| {
            let state = self.node.state(&record.version, record.state);
            with(Record { state, ..record })
        }))
    }
}
