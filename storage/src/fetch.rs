//! The fetching thread: it makes this node synced in the ranges that it is to keep (rule H1).
//!
//! Woken when a view is adopted, it asks other keepers of each missing arc for its records, page by
//! page, over connections of its own. A keeper that is not in the same view yet, or not synced there
//! itself, says so and another one is asked, until nothing is missing or the view changes.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cluster::ids::Epoch;
use cluster::view::Routes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fxhash::FxHashMap;
use log::{debug, info};
use net_common::auth::Secret;
use net_common::connection::{Connection, Dial, NetError};
use net_common::logging;
use net_common::message::data::{RangePage, RangePull};

use crate::node::Node;

/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a round in which some arc could not be fetched from anybody. Sources adopt a view
/// within milliseconds of each other.
const PAUSE: Duration = Duration::from_millis(20);

/// Arcs asked for in one request.
const ARCS: usize = 512;

/// The running thread. Stops when dropped.
pub struct Fetcher {
    wake: Option<Sender<()>>,
    progress: Receiver<()>,
    thread: Option<JoinHandle<()>>,
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
    /// If the operating system has no more threads.
    pub fn start(node: Arc<Node>, secret: Option<Secret>) -> io::Result<Fetcher> {
        let (wake, woken) = bounded(1);
        let (progressed, progress) = bounded(1);
        let dial = Dial { connect: PATIENCE, reply: PATIENCE, secret };
        let name = format!("{} fetch", node.id());
        let thread = logging::spawn(name, move || run(&node, &dial, &woken, &progressed))?;
        Ok(Fetcher { wake: Some(wake), progress, thread: Some(thread) })
    }

    /// A way to wake it and to hear from it.
    pub fn wake(&self) -> Wake {
        let wake = self.wake.clone().expect("the fetcher runs until it is stopped");
        Wake { wake, progress: self.progress.clone() }
    }

    /// Ends the thread. Blocks for a page at most.
    pub fn stop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(node: &Node, dial: &Dial, woken: &Receiver<()>, progressed: &Sender<()>) {
    let mut links: FxHashMap<u16, Connection> = FxHashMap::default();
    let mut epoch = Epoch::NONE;
    let mut turn = 0;
    while woken.recv().is_ok() {
        let mut fetched = 0;
        while let Some((routes, missing)) = node.missing() {
            if routes.epoch() != epoch {
                // Places in the member list mean other nodes now.
                links.clear();
                epoch = routes.epoch();
            }
            let got = fetch_round(node, dial, &routes, &missing, turn, &mut links);
            fetched += got;
            turn += 1;
            if got > 0 {
                // If word of earlier progress still waits, it stands for this as well.
                let _ = progressed.try_send(());
                continue;
            }
            match woken.recv_timeout(PAUSE) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        links.clear();
        if fetched > 0 {
            info!("synced: {fetched} arcs fetched");
        }
    }
}

/// Asks one source for each missing arc, another one each turn. Returns how many arcs became synced.
fn fetch_round(
    node: &Node,
    dial: &Dial,
    routes: &Routes,
    missing: &[usize],
    turn: usize,
    links: &mut FxHashMap<u16, Connection>,
) -> usize {
    let mut wanted: FxHashMap<u16, Vec<u16>> = FxHashMap::default();
    for &arc in missing {
        let sources: Vec<u16> = routes
            .write_set(arc)
            .iter()
            .copied()
            .filter(|&place| routes.member(place).id != *node.id())
            .collect();
        if let Some(&source) = sources.get(turn % sources.len().max(1)) {
            wanted.entry(source).or_default().push(arc as u16);
        }
    }
    let mut fetched = 0;
    for (source, arcs) in wanted {
        for arcs in arcs.chunks(ARCS) {
            match fetch_from(node, dial, routes, source, arcs, links) {
                Ok(got) => fetched += got,
                Err(error) => {
                    debug!("{}: {error}", routes.member(source).id);
                    links.remove(&source);
                    break;
                }
            }
        }
    }
    fetched
}

/// Fetches arcs from one source until they are complete, the source has no more of them, or the view
/// has changed. Returns how many became synced.
fn fetch_from(
    node: &Node,
    dial: &Dial,
    routes: &Routes,
    source: u16,
    mut arcs: &[u16],
    links: &mut FxHashMap<u16, Connection>,
) -> Result<usize, NetError> {
    let mut link = match links.remove(&source) {
        Some(link) => link,
        None => Connection::dial(&routes.member(source).address, dial)?,
    };
    let mut fetched = 0;
    let mut after = Vec::new();
    while !arcs.is_empty() {
        let pull = RangePull { epoch: routes.epoch(), arcs: arcs.to_vec(), after: &after };
        let page: RangePage<'_> = link.call(&pull)?;
        let complete = (page.complete as usize).min(arcs.len());
        let is_source = complete > 0 || !page.records.is_empty();
        if !is_source || !node.merge(&page, arcs) {
            break;
        }
        let arc_count = node.table().map_or(0, crate::table::Table::arcs);
        // The page may end within an arc: the next one goes on behind its last key.
        let last = page.records.last();
        let next = arcs.get(complete);
        let is_partial = |key: &[u8]| {
            next.is_some_and(|&arc| cluster::ring::arc_of_key(key, arc_count) == usize::from(arc))
        };
        after =
            last.map(|r| r.key).filter(|key| is_partial(key)).map_or(Vec::new(), <[u8]>::to_vec);
        fetched += complete;
        arcs = &arcs[complete..];
    }
    links.insert(source, link);
    Ok(fetched)
}
