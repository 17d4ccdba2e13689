//! FetchRounds of fetching, until nothing is missing or the view changes.

use std::time::Duration;

use cluster::text::Count;
use cluster::view::Routes;
use crossbeam_channel::{Receiver, Sender, select};
use log::{debug, info};

use super::assignment::assign;
use super::job::FetchJob;
use super::progress::FetchProgress;
use super::workers::Workers;
use crate::node::merge::Merged;

/// The pause after a round without progress.
const PAUSE: Duration = Duration::from_millis(20);

/// The fetching thread.
pub struct FetchRounds {
    /// The workers of each round.
    pub workers: Workers,
    /// The state from the round before.
    pub progress: FetchProgress,
}

impl FetchRounds {
    /// Fetches whenever it is woken, and signals arcs that became synced, until it is stopped.
    pub fn run(&mut self, woken: &Receiver<()>, progressed: &Sender<()>) {
        let stop = self.workers.stop.clone();
        loop {
            select! {
                recv(woken) -> word => if word.is_err() { return },
                recv(stop.channel()) -> _ => return,
            }
            let mut merged = Merged::default();
            while let Some((routes, missing)) = self.workers.node.missing()
                && !stop.has_come()
            {
                let got = self.round(&routes, &missing);
                merged.add(got);
                if got.arcs > 0 || got.gathered > 0 {
                    // A signal that still waits stands for this progress too.
                    let _ = progressed.try_send(());
                    continue;
                }
                let FetchRounds { workers, progress } = self;
                if progress.is_somebody_left(&workers.node, &routes, &missing) {
                    continue;
                }
                select! {
                    recv(woken) -> word => if word.is_err() { return },
                    recv(stop.channel()) -> _ => return,
                    default(PAUSE) => {}
                }
            }
            self.workers.confirm();
            self.workers.connections.clear();
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

    /// Asks one source for each missing arc, in parallel.
    fn round(&mut self, routes: &Routes, missing: &[usize]) -> Merged {
        let FetchRounds { workers, progress } = self;
        if progress.begin(routes) {
            workers.connections.clear();
        }
        let mut begun = std::mem::take(&mut progress.begun);
        let sources = |arc| progress.sources(&workers.node, routes, arc);
        let mut arc_fetch = |arc| begun.remove(&arc).unwrap_or_else(|| workers.node.arc_fetch(arc));
        let jobs = assign(missing, sources)
            .into_iter()
            .map(|(source, arcs)| {
                (source, FetchJob::new(arcs.into_iter().map(&mut arc_fetch).collect()))
            })
            .collect();
        // Arcs whose sources have all refused wait for the next round.
        begun.retain(|arc, _| missing.binary_search(arc).is_ok());
        progress.begun = begun;
        let mut merged = Merged::default();
        for (source, job) in workers.work(routes, jobs) {
            let (got, gathered, left) = job.end();
            merged.add(got);
            progress.gathered.extend(gathered.into_iter().map(|arc| (arc, source)));
            for fetch in left {
                progress.refused.note(fetch.arc.into(), source);
                progress.begun.insert(fetch.arc.into(), fetch);
            }
        }
        merged.arcs += self.end_gathering(routes, missing);
        merged
    }

    /// Marks gathered arcs as synced if all members of the write set have answered. Returns how
    /// many.
    fn end_gathering(&self, routes: &Routes, missing: &[usize]) -> usize {
        let FetchRounds { workers, progress } = self;
        let has_answered = |arc, place| progress.gathered.contains(&(arc, place));
        let is_complete = |arc: &usize| {
            workers.node.has_gathered(routes.epoch(), *arc, |place| has_answered(*arc, place))
        };
        let complete: Vec<usize> = missing.iter().copied().filter(is_complete).collect();
        match workers.node.complete(routes.epoch(), &complete) {
            Ok(()) => complete.len(),
            Err(error) => {
                debug!("{error}");
                0
            }
        }
    }
}
