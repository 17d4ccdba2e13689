//! What one source is to be asked for: which pull comes next, and what a page has brought. Knows
//! nothing of connections.

use cluster::ids::Epoch;
use net_common::message::range::{Cursor, PageEnd, RangePage, RangePull};

use crate::fetch::arc::ArcFetch;
use crate::fetch::digest::Digester;
use crate::node::Node;
use crate::node::merge::{Merged, Unmerged};

/// Arcs asked for in one request.
const ARCS: usize = 512;

/// Records of an earlier life that are compared in one request. A source looks at them all before
/// it answers.
const COMPARED: usize = 16 << 10;

/// Arcs for one source.
pub struct FetchJob {
    fetches: Vec<ArcFetch>,
    /// How many of them, from the first on, are complete.
    done: usize,
    /// How many of those behind them were asked for last.
    asked: usize,
    /// Those that the source does not have.
    refused: Vec<ArcFetch>,
    merged: Merged,
}

impl FetchJob {
    /// Arcs to be fetched.
    pub fn new(fetches: Vec<ArcFetch>) -> FetchJob {
        FetchJob { fetches, done: 0, asked: 0, refused: Vec::new(), merged: Merged::default() }
    }

    /// Whether there is nothing left to ask this source for.
    pub fn is_over(&self) -> bool {
        self.done == self.fetches.len()
    }

    /// What to ask for next.
    ///
    /// # Panics
    /// If the job is over.
    pub fn pull(&mut self, epoch: Epoch, digester: &Digester) -> RangePull<'_> {
        let mut compared = 0;
        let fits = |&(place, fetch): &(usize, &ArcFetch)| {
            compared += fetch.to_compare();
            // Only the first can go on inside the arc.
            place == 0 || compared <= COMPARED && fetch.from == Cursor::START
        };
        let left = &self.fetches[self.done..];
        self.asked = left.iter().take(ARCS).enumerate().take_while(fits).count();
        let asked = &mut self.fetches[self.done..][..self.asked];
        asked.iter_mut().for_each(|fetch| fetch.prepare(digester));
        RangePull {
            epoch,
            seed: digester.seed(),
            wanted: asked.iter().map(|fetch| fetch.wanted()).collect(),
            from: asked[0].from,
        }
    }

    /// Takes the page that answers the last pull.
    ///
    /// # Errors
    /// [`Unmerged`]; what was merged before stays.
    pub fn take(&mut self, node: &Node, page: &RangePage<'_>) -> Result<(), Unmerged> {
        let asked = &mut self.fetches[self.done..][..self.asked];
        self.merged.add(node.merge(page, asked)?);
        let complete = page.complete as usize;
        // Now, not when the job is over: a node that returns must not need its memory twice.
        asked[..complete].iter_mut().for_each(ArcFetch::release);
        self.done += complete;
        if page.end == PageEnd::NoSource && complete < self.asked {
            // What takes its place is one of those to come.
            self.refused.push(self.fetches.swap_remove(self.done));
        }
        Ok(())
    }

    /// What came of it, the arcs that were gathered from this source, and those that are not
    /// complete.
    pub fn end(mut self) -> (Merged, Vec<usize>, Vec<ArcFetch>) {
        let done = self.fetches.drain(..self.done).filter(|fetch| fetch.gathers);
        let gathered = done.map(|fetch| fetch.arc.into()).collect();
        self.fetches.append(&mut self.refused);
        (self.merged, gathered, self.fetches)
    }
}
