//! The fetching threads: they make this node synced in the ranges that it is to keep (rule H1).
//!
//! Woken when a view is adopted, the fetcher goes round by round until nothing is missing or the
//! view changes. In a round every missing arc is assigned to one of the other nodes that keep it
//! ([`assignment`]), and some workers fetch from a source each, over connections of their own, one
//! page at a time: whoever is slow to make pages or to merge them is asked for less. A source that
//! refuses an arc, or dies, is not asked for it again while others may have it; what has come
//! stays.
//!
//! An arc that nobody alive held is gathered (H6): whoever has its own disk's part of it asks *all*
//! others who keep it, one after the other, and has it when all have answered in the same view.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::ids::Epoch;
use cluster::text::Count;
use cluster::view::Routes;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use fxhash::{FxHashMap, FxHashSet};
use log::{debug, info};
use net_common::auth::Secret;
use net_common::connection::{Connection, Dial, NetError};
use net_common::logging;
use net_common::message::range::{RangePage, RangePull};
use net_common::worker::{Stop, Worker};
use parking_lot::Mutex;

use crate::node::Node;
use crate::node::merge::{Merged, Unmerged};

pub mod arc;
pub mod assignment;
pub mod confirm;
pub mod digest;
pub mod job;
pub mod rate_limit;
pub mod refusals;
pub mod stats;

use arc::ArcFetch;
use assignment::assign;
use confirm::{Confirmed, confirm};
use digest::Digester;
use job::Job;
use rate_limit::RateLimit;
use refusals::Refusals;

/// How long one page may take, or connecting. A thousand times what it takes: whoever does not
/// answer by then holds up the round, and another source may have the arcs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause when nothing has come from anybody.
const PAUSE: Duration = Duration::from_millis(20);

/// The pause before a source that is not in this view yet is asked again, and how often it is:
/// nodes adopt a view within milliseconds of each other.
const BEHIND: Duration = Duration::from_millis(2);
const AGAIN: usize = 100;

/// Sources that are fetched from at the same time. Each has a page of ours in the making, in flight
/// or being merged, so that four keep a fast link and the fetching node busy; more would only take
/// processors from those who serve.
const WORKERS: usize = 4;

/// How long a worker rests after a page, in times of what the page took: three quarters of the time
/// it leaves the processors, here and at the source, to requests, and the busier they are the
/// longer. A million small records from one source come in about two seconds all the same.
const REST: u32 = 3;

/// The longest rest. A page that took much longer was not waiting for a processor.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// The running threads. Stop when dropped.
pub struct Fetcher {
    wake: Sender<()>,
    progress: Receiver<()>,
    worker: Worker,
}

/// How the fetcher is told of views, and tells of what it has fetched.
pub struct Wake {
    /// Send to make it look at the view.
    pub wake: Sender<()>,
    /// Receives when arcs became synced.
    pub progress: Receiver<()>,
}

impl Fetcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no more threads, or no random numbers.
    pub fn start(
        node: Arc<Node>,
        rate_limit: RateLimit,
        secret: Option<Secret>,
    ) -> io::Result<Fetcher> {
        let (wake, woken) = bounded(1);
        let (progressed, progress) = bounded(1);
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(io::Error::from)?;
        let name = format!("{} fetch", node.id());
        let payload = node.payload_limit().clone();
        let fetching = move |stop| Fetching {
            node,
            dial: Dial { connect: PATIENCE, reply: PATIENCE, secret, payload },
            digester: Digester::new(seed),
            rate_limit: Mutex::new(rate_limit),
            started: Instant::now(),
            stop,
            links: Mutex::default(),
        };
        let worker = Worker::spawn(name, move |stop| fetching(stop).run(&woken, &progressed))?;
        Ok(Fetcher { wake, progress, worker })
    }

    /// A way to wake it and to hear from it.
    pub fn wake(&self) -> Wake {
        Wake { wake: self.wake.clone(), progress: self.progress.clone() }
    }

    /// Ends the threads. Blocks for a page at most.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}

/// What all workers share.
struct Fetching {
    node: Arc<Node>,
    dial: Dial,
    digester: Digester,
    rate_limit: Mutex<RateLimit>,
    /// What the rate limit counts its time from.
    started: Instant,
    stop: Stop,
    /// Connections that nobody uses at the moment, by the source's place in the present view.
    links: Mutex<FxHashMap<u16, Connection>>,
}

/// What one round leaves to the next.
#[derive(Default)]
struct Progress {
    epoch: Epoch,
    /// Arcs that have begun to come.
    begun: FxHashMap<usize, ArcFetch>,
    /// Arcs with sources that did not have them.
    refused: Refusals,
    /// Arcs with those who have told all that their disks had of them.
    gathered: FxHashSet<(usize, u16)>,
}

impl Fetching {
    fn run(&self, woken: &Receiver<()>, progressed: &Sender<()>) {
        let mut progress = Progress::default();
        loop {
            select! {
                recv(woken) -> word => if word.is_err() { return },
                recv(self.stop.channel()) -> _ => return,
            }
            let mut merged = Merged::default();
            while let Some((routes, missing)) = self.node.missing()
                && !self.stop.has_come()
            {
                let got = self.round(&routes, &missing, &mut progress);
                merged.add(got);
                if got.arcs > 0 || got.gathered > 0 {
                    // If word of earlier progress still waits, it stands for this as well.
                    let _ = progressed.try_send(());
                    continue;
                }
                if self.is_somebody_left(&routes, &missing, &mut progress) {
                    continue;
                }
                select! {
                    recv(woken) -> word => if word.is_err() { return },
                    recv(self.stop.channel()) -> _ => return,
                    default(PAUSE) => {}
                }
            }
            self.confirm();
            self.links.lock().clear();
            let Merged { arcs, moved, kept, .. } = merged;
            if arcs > 0 {
                info!(
                    "synced: {} fetched, {} moved, {kept} kept by comparison",
                    Count(arcs as u64, "arc"),
                    Count(moved as u64, "record")
                );
            }
        }
    }

    /// Finds out what of that which has come from disk all others hold as well.
    fn confirm(&self) {
        let Some((routes, arcs)) = self.node.take_from_disk() else { return };
        let ask = |place, pull: &RangePull<'_>, take: &mut dyn FnMut(&RangePage<'_>)| {
            let mut link = self.link(&routes, place)?;
            let mut again = AGAIN;
            loop {
                let page = link.call::<RangePage<'_>>(pull)?;
                // It may adopt the view in a moment.
                if page.epoch >= routes.epoch() || again == 0 || self.stop.wait(BEHIND) {
                    take(&page);
                    break;
                }
                again -= 1;
            }
            self.links.lock().insert(place, link);
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
            "from disk: {} held by all who keep them, of {pending} it is not known",
            Count(committed as u64, "record").with("is", "are")
        );
    }

    /// A connection to the member at a place.
    fn link(&self, routes: &Routes, place: u16) -> Result<Connection, NetError> {
        let kept = self.links.lock().remove(&place);
        match kept {
            Some(link) => Ok(link),
            None => Connection::dial(&routes.member(place).address, &self.dial),
        }
    }

    /// After a round in which nothing came: whether somebody is left to be asked for an arc that is
    /// missing. Of arcs that all have refused all are asked again.
    fn is_somebody_left(
        &self,
        routes: &Routes,
        missing: &[usize],
        progress: &mut Progress,
    ) -> bool {
        let Progress { refused, gathered, .. } = progress;
        let is_left =
            |refused: &Refusals, arc| !self.sources(routes, arc, refused, gathered).is_empty();
        refused.begin_anew(missing, is_left)
    }

    /// Asks one source for each missing arc.
    fn round(&self, routes: &Routes, missing: &[usize], progress: &mut Progress) -> Merged {
        if routes.epoch() != progress.epoch {
            // Places in the member list mean other nodes now.
            self.links.lock().clear();
            progress.refused.clear();
            // Who is waited for may be another by now.
            progress.gathered.clear();
            progress.begun.retain(|_, part| !part.gathers);
            if routes.view().before() != progress.epoch {
                // An arc may have been lost and found again since.
                progress.begun.clear();
            }
            progress.epoch = routes.epoch();
        }
        let mut begun = std::mem::take(&mut progress.begun);
        let Progress { refused, gathered, .. } = &*progress;
        let sources = |arc| self.sources(routes, arc, refused, gathered);
        let mut part = |arc| begun.remove(&arc).unwrap_or_else(|| self.node.arc_fetch(arc));
        let jobs = assign(missing, sources)
            .into_iter()
            .map(|(source, arcs)| (source, Job::new(arcs.into_iter().map(&mut part).collect())))
            .collect();
        // Those whose sources have all refused wait for the next round.
        begun.retain(|arc, _| missing.binary_search(arc).is_ok());
        progress.begun = begun;
        let mut merged = Merged::default();
        for (source, job) in self.work(routes, jobs) {
            let (got, gathered, left) = job.end();
            merged.add(got);
            progress.gathered.extend(gathered.into_iter().map(|arc| (arc, source)));
            for part in left {
                progress.refused.note(part.arc.into(), source);
                progress.begun.insert(part.arc.into(), part);
            }
        }
        merged.arcs += self.end_gathering(routes, missing, progress);
        merged
    }

    /// Notes arcs as synced of which all who keep them have told what they had. Returns how many.
    fn end_gathering(&self, routes: &Routes, missing: &[usize], progress: &Progress) -> usize {
        let has_told = |arc, place| progress.gathered.contains(&(arc, place));
        let is_complete = |arc: &usize| {
            self.node.has_gathered(routes.epoch(), *arc, |place| has_told(*arc, place))
        };
        let complete: Vec<usize> = missing.iter().copied().filter(is_complete).collect();
        match self.node.complete(routes.epoch(), &complete) {
            Ok(()) => complete.len(),
            Err(error) => {
                debug!("{error}");
                0
            }
        }
    }

    /// All others who keep an arc.
    fn others(&self, routes: &Routes, arc: usize) -> Vec<u16> {
        let is_other = |place: &u16| routes.member(*place).id != *self.node.id();
        routes.write_set(arc).iter().copied().filter(is_other).collect()
    }

    /// Who may have an arc: the other nodes that serve it, but for those that have refused; else
    /// those that are to keep it, who may have fetched it already. Of what a stray alone holds
    /// nobody else has anything. Where it is gathered: all who have not told what they had.
    fn sources(
        &self,
        routes: &Routes,
        arc: usize,
        refused: &Refusals,
        gathered: &FxHashSet<(usize, u16)>,
    ) -> Vec<u16> {
        if self.node.gathers(arc) {
            let mut others = self.others(routes, arc);
            others
                .retain(|&place| refused.may_have(arc, place) && !gathered.contains(&(arc, place)));
            return others;
        }
        let among = |places: &[u16]| -> Vec<u16> {
            let may_have = |place: &u16| {
                routes.member(*place).id != *self.node.id() && refused.may_have(arc, *place)
            };
            places.iter().copied().filter(may_have).collect()
        };
        let strays = routes.replicas(arc).iter().copied();
        let strays: Vec<u16> =
            strays.filter(|&place| routes.view().stray(place.into()).is_some()).collect();
        if !strays.is_empty() {
            return among(&strays);
        }
        let serving = among(routes.replicas(arc));
        if serving.is_empty() { among(routes.write_set(arc)) } else { serving }
    }

    /// Has workers do all jobs, each for the source beside it, and returns these with what came of
    /// them.
    fn work(&self, routes: &Routes, jobs: Vec<(u16, Job)>) -> Vec<(u16, Job)> {
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

    /// Does a job until it is over, or the view has changed, or this node stops.
    fn fetch(&self, routes: &Routes, source: u16, job: &mut Job) -> Result<(), NetError> {
        let mut link = self.link(routes, source)?;
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
                Err(Unmerged::OtherView) => break,
                Err(Unmerged::Unwritten(trouble)) => {
                    debug!("{trouble}");
                    break;
                }
                Err(error @ Unmerged::Nonsense) => {
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
        self.links.lock().insert(source, link);
        Ok(())
    }
}
