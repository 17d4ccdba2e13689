//! The arcs to be fetched from one source: the next pull, and the progress by each page. It knows
//! nothing of connections.

use cluster::ids::Epoch;
use net_common::message::range::{Cursor, PageEnd, RangePage, RangePull};

use crate::fetch::arc::ArcFetch;
use crate::fetch::digest::Digester;
use crate::node::Node;
use crate::node::merge::{MergeError, Merged};

/// Most arcs in one request.
const ARCS: usize = 512;

/// Most stale records that are compared in one request. A source reads them all before it answers.
const COMPARED: usize = 16 << 10;

/// Arcs for one source.
pub struct FetchJob {
    fetches: Vec<ArcFetch>,
    /// The number of complete ones, from the first on.
    done: usize,
    /// The number of those behind them in the last request.
    asked: usize,
    /// Arcs that the source does not have.
    refused: Vec<ArcFetch>,
    merged: Merged,
}

impl FetchJob {
    /// A job for these arcs.
    pub fn new(fetches: Vec<ArcFetch>) -> FetchJob {
        FetchJob { fetches, done: 0, asked: 0, refused: Vec::new(), merged: Merged::default() }
    }

    /// Whether nothing is left to be fetched from this source.
    pub fn is_over(&self) -> bool {
        self.done == self.fetches.len()
    }

    /// The next request.
    ///
    /// # Panics
    /// If the job is over.
    pub fn pull(&mut self, epoch: Epoch, digester: &Digester) -> RangePull<'_> {
        let mut compared = 0;
        let fits = |&(place, fetch): &(usize, &ArcFetch)| {
            compared += fetch.to_compare();
            // Only the first arc can continue in its middle.
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

    /// Merges the page that answers the last pull.
    ///
    /// # Errors
    /// [`MergeError`]; records merged so far stay.
    pub fn take(&mut self, node: &Node, page: &RangePage<'_>) -> Result<(), MergeError> {
        let asked = &mut self.fetches[self.done..][..self.asked];
        self.merged.add(node.merge(page, asked)?);
        let complete = page.complete as usize;
        // At once, not at the end of the job: a returning node must not need twice the memory.
        asked[..complete].iter_mut().for_each(ArcFetch::release);
        self.done += complete;
        if page.end == PageEnd::NoSource && complete < self.asked {
            // An arc that was not requested yet takes its place.
            self.refused.push(self.fetches.swap_remove(self.done));
        }
        Ok(())
    }

    /// The result, the arcs that were gathered from this source, and those that are not complete.
    pub fn end(mut self) -> (Merged, Vec<usize>, Vec<ArcFetch>) {
        let done = self.fetches.drain(..self.done).filter(|fetch| fetch.gathers);
        let gathered = done.map(|fetch| fetch.arc.into()).collect();
        self.fetches.append(&mut self.refused);
        (self.merged, gathered, self.fetches)
    }
}
