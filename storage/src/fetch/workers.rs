//! The threads that each fetch from one source, one page at a time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::text::Count;
use cluster::view::Routes;
use log::{debug, info};
use net_common::connection::NetError;
use net_common::logging;
use net_common::message::range::{RangePage, RangePull};
use net_common::worker::Stop;
use parking_lot::Mutex;

use super::confirm::{Confirmed, confirm};
use super::connections::SourceConnections;
use super::digest::Digester;
use super::job::FetchJob;
use super::rate_limit::RateLimit;
use crate::node::Node;
use crate::node::merge::MergeError;

/// The pause before a source that has not adopted this view yet is asked again, and the number of
/// attempts: nodes adopt a view within milliseconds of each other.
const BEHIND: Duration = Duration::from_millis(2);
const AGAIN: usize = 100;

/// The number of sources that are used at the same time. For each, one page is being built, sent or
/// merged, so four keep a fast link and the fetching node busy; more would only take processors
/// from requests.
const WORKERS: usize = 4;

/// The rest of a worker after a page, as a multiple of the time that the page took: it leaves three
/// quarters of the time of the processors, here and at the source, to requests, and more when they
/// are busy. A million small records from one source still take only about two seconds.
const REST: u32 = 3;

/// The longest rest. A page that took much longer did not wait for a processor.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// The state that all workers share.
pub struct Workers {
    /// The node that they fetch for.
    pub node: Arc<Node>,
    /// Connections to sources.
    pub connections: SourceConnections,
    /// Computes digests.
    pub digester: Digester,
    /// The limit for all of them together.
    pub rate_limit: Mutex<RateLimit>,
    /// The start of the rate limit's time.
    pub started: Instant,
    /// When to stop.
    pub stop: Stop,
}

impl Workers {
    /// Runs all jobs, each with the source beside it, and returns them.
    pub fn work(&self, routes: &Routes, jobs: Vec<(u16, FetchJob)>) -> Vec<(u16, FetchJob)> {
        let workers = jobs.len().min(WORKERS);
        let done = Mutex::new(Vec::with_capacity(jobs.len()));
        let jobs = Mutex::new(jobs.into_iter());
        let work = || {
            loop {
                let Some((source, mut job)) = jobs.lock().next() else { return };
                if let Err(error) = self.fetch(routes, source, &mut job) {
                    debug!("{}: {error}", routes.member(source).id);
                }
                done.lock().push((source, job));
            }
        };
        thread::scope(|scope| {
            for n in 1..workers {
                let name = format!("{} fetch {}", self.node.id(), n + 1);
                if let Err(error) = logging::spawn_scoped(scope, name, work) {
                    debug!("with {n} workers only: {error}");
                    break;
                }
            }
            // This thread is one of them.
            work();
        });
        done.into_inner()
    }

    /// Runs a job until it is over, the view changes, or this node stops.
    fn fetch(&self, routes: &Routes, source: u16, job: &mut FetchJob) -> Result<(), NetError> {
        let mut link = self.connections.take(routes, source)?;
        let mut again = AGAIN;
        while !job.is_over() {
            let begun = Instant::now();
            let (page, bytes) = {
                let pull = job.pull(routes.epoch(), &self.digester);
                link.call_sized::<RangePage<'_>>(&pull)?
            };
            self.node.count_page(bytes);
            if page.epoch != routes.epoch() {
                let is_behind = page.epoch < routes.epoch();
                if !is_behind || again == 0 || self.stop.wait(BEHIND) {
                    break;
                }
                again -= 1;
                continue;
            }
            match job.take(&self.node, &page) {
                Ok(()) => {}
                Err(MergeError::OtherView) => break,
                Err(MergeError::NotWritten(trouble)) => {
                    debug!("{trouble}");
                    break;
                }
                Err(error @ MergeError::Malformed) => {
                    let address = link.address().clone();
                    return Err(NetError::Protocol { address, what: error.to_string() });
                }
            }
            let price = self.rate_limit.lock().pay(self.started.elapsed(), bytes);
            let rest = (begun.elapsed() * REST).min(LONGEST_REST);
            if !job.is_over() && self.stop.wait(rest.max(price)) {
                break;
            }
        }
        self.connections.keep(source, link);
        Ok(())
    }

    /// Confirms the recovered records that all other replicas hold as well.
    pub fn confirm(&self) {
        let Some((routes, arcs)) = self.node.take_from_disk() else { return };
        let ask = |place, pull: &RangePull<'_>, take: &mut dyn FnMut(&RangePage<'_>)| {
            let mut link = self.connections.take(&routes, place)?;
            let mut again = AGAIN;
            loop {
                let page = link.call::<RangePage<'_>>(pull)?;
                // The member may adopt the view soon.
                if page.epoch >= routes.epoch() || again == 0 || self.stop.wait(BEHIND) {
                    take(&page);
                    break;
                }
                again -= 1;
            }
            self.connections.keep(place, link);
            Ok(())
        };
        let mut sum = Confirmed::default();
        while sum.arcs < arcs.len() && !self.stop.has_come() {
            let got = confirm(&self.node, &routes, &arcs[sum.arcs..], &self.digester, ask);
            sum.committed += got.committed;
            sum.pending += got.pending;
            sum.arcs += got.arcs.max(1);
        }
        let Confirmed { committed, pending, .. } = sum;
        info!(
            "from disk: {} held by all replicas, {pending} still pending",
            Count(committed as u64, "record").with("is", "are")
        );
    }
}
