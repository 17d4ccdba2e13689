//! The thread that owns the membership.
//!
//! It takes events from a channel, one after the other, lets the state machine say what follows, and
//! does that in the order said: save, publish, push. Between events it watches the clock, so that
//! heartbeats which do not come are noticed. Nobody else touches the state; clients read the published
//! view without going through it.
//!
//! When saving fails (a full disk) nothing that depends on it is done: the effects wait, saving is
//! tried again at every tick, and nodes keep their leases under the views that were saved.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::ids::{ClusterId, Epoch, Incarnation};
use cluster::membership::{Answer, Effect, Event, Health, Membership, Saved, Settings};
use cluster::version::clock_at;
use cluster::view::{Routes, View};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fxhash::FxHashMap;
use log::{error, info, warn};
use net_common::clock;
use net_common::logging;
use net_common::message::Message;
use net_common::message::control::{NodeStatus, Status, TablePush};
use parking_lot::RwLock;

use crate::StartError;
use crate::control;
use crate::state::{StateError, StateFile};

/// Events that may wait for the owner. Each comes from a connection that waits for its answer, so the
/// bound is seldom felt; it keeps a storm of registrations from piling up.
const QUEUE: usize = 1024;

/// Frames that may wait for one node. Views supersede each other and heartbeats repeat them, so what
/// does not fit is dropped.
const OUTBOUND: usize = 64;

/// How often a failure to save is reported.
const REPEAT: Duration = Duration::from_secs(5);

/// A frame on its way to a node.
pub type Outbound = Sender<Arc<Vec<u8>>>;

enum Request {
    Event(Event, Sender<Answer>),
    /// A control connection, by number, carries frames to this node from now on.
    Attach(Incarnation, u64, Outbound),
    /// It does so no longer.
    Detach(Incarnation, u64),
    Status(Sender<Status>),
    /// Answered with how many arcs were lost, or why not now.
    AcceptLoss(Sender<Result<usize, String>>),
    Stop,
}

/// The running owner. Stops when dropped.
pub struct Monitor {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// How connections speak to the owner.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<Request>,
    published: Arc<RwLock<Arc<Routes>>>,
    settings: Settings,
}

impl Monitor {
    /// Loads what was saved in `data` and starts the thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings, data: Option<PathBuf>) -> Result<Monitor, StartError> {
        let file = data.as_deref().map(StateFile::open).transpose()?;
        let saved = match file.as_ref().map(StateFile::load).transpose()?.flatten() {
            Some(saved) => {
                info!("continues from view {}", saved.active.epoch);
                saved
            }
            None => Saved { active: unborn(settings)?, coming: None },
        };
        let membership = Membership::new(settings, saved, clock::boot_ms());
        let members: Vec<_> = membership.nodes().map(|node| node.who.clone()).collect();
        let (requests, queue) = bounded(QUEUE);
        let published = Arc::new(RwLock::new(membership.active().clone()));
        let handle = Handle { requests, published: published.clone(), settings };
        let owner = Owner {
            shown: (membership.newest().clone(), membership.active().epoch()),
            membership,
            file,
            published,
            waiting: VecDeque::new(),
            links: FxHashMap::default(),
            complained: None,
        };
        let thread = logging::spawn("manager monitor".into(), move || owner.run(&queue))?;
        control::look_for(handle.clone(), members)?;
        Ok(Monitor { handle, thread: Some(thread) })
    }

    /// A way to speak to the owner.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the thread and waits for it.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If the owner is gone already there is nothing to stop.
            let _ = self.handle.requests.send(Request::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn unborn(settings: Settings) -> Result<View, StartError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(std::io::Error::from)?;
    Ok(View::unborn(ClusterId(u64::from_be_bytes(id)), settings.copies, settings.limits))
}

impl Handle {
    /// Brings an event and waits for the answer. `None` if the manager is stopping.
    pub fn event(&self, event: Event) -> Option<Answer> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Event(event, answer)).ok()?;
        answered.recv().ok()
    }

    /// Lets the control connection of this number carry frames to a node. What comes out of the
    /// returned channel is to be sent.
    pub fn attach(&self, node: Incarnation, number: u64) -> (Outbound, Receiver<Arc<Vec<u8>>>) {
        let (outbound, frames) = bounded(OUTBOUND);
        // If the manager is stopping nothing will be sent, and nothing needs to.
        let _ = self.requests.send(Request::Attach(node, number, outbound.clone()));
        (outbound, frames)
    }

    /// Says that a control connection has ended.
    pub fn detach(&self, node: Incarnation, number: u64) {
        let _ = self.requests.send(Request::Detach(node, number));
    }

    /// How the cluster is. `None` if the manager is stopping.
    pub fn status(&self) -> Option<Status> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::Status(answer)).ok()?;
        answered.recv().ok()
    }

    /// Goes on without what only nodes that are out have held. Says how many arcs begin empty, or why it
    /// cannot be done now. `None` if the manager is stopping.
    pub fn accept_loss(&self) -> Option<Result<usize, String>> {
        let (answer, answered) = bounded(1);
        self.requests.send(Request::AcceptLoss(answer)).ok()?;
        answered.recv().ok()
    }

    /// The active view.
    pub fn published(&self) -> Arc<Routes> {
        self.published.read().clone()
    }

    /// The message that carries a view.
    pub fn table(&self, routes: &Routes, active: Epoch) -> TablePush {
        table(&self.settings, routes, active)
    }
}

fn table(settings: &Settings, routes: &Routes, active: Epoch) -> TablePush {
    TablePush {
        active,
        clock: clock_at(clock::wall_ms()),
        heartbeat_ms: settings.heartbeat_ms as u32,
        lease_ms: settings.lease_ms() as u32,
        view: routes.view().clone(),
    }
}

/// A control connection.
struct Link {
    /// Its number among all connections: a node's newer connection replaces an older one.
    number: u64,
    outbound: Outbound,
}

struct Owner {
    membership: Membership,
    file: Option<StateFile>,
    published: Arc<RwLock<Arc<Routes>>>,
    /// Effects that wait for a save.
    waiting: VecDeque<Effect>,
    /// The newest view that was saved, and the epoch of the one that was active then.
    shown: (Arc<Routes>, Epoch),
    /// The control connection of each node.
    links: FxHashMap<Incarnation, Link>,
    complained: Option<Instant>,
}

impl Owner {
    fn run(mut self, queue: &Receiver<Request>) {
        // Often enough that "out after three missed" is true to a tenth of a heartbeat.
        let tick = Duration::from_millis((self.membership.settings().heartbeat_ms / 10).max(5));
        let mut next_tick = Instant::now() + tick;
        loop {
            match queue.recv_deadline(next_tick) {
                Ok(Request::Event(event, answer)) => {
                    let said = self.step(event);
                    // The connection may have ended while its event waited.
                    let _ = answer.send(said);
                }
                Ok(Request::Attach(node, number, outbound)) => {
                    self.links.insert(node, Link { number, outbound });
                }
                Ok(Request::Detach(node, number)) => self.detach(node, number),
                Ok(Request::Status(answer)) => {
                    let _ = answer.send(self.status());
                }
                Ok(Request::AcceptLoss(answer)) => {
                    let _ = answer.send(self.accept_loss());
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Heartbeats that wait in the queue are read before the clock may judge their senders.
            if Instant::now() >= next_tick && queue.is_empty() {
                self.step(Event::Tick);
                next_tick = Instant::now() + tick;
            }
        }
    }

    fn accept_loss(&mut self) -> Result<usize, String> {
        let lost = match self.membership.health(clock::boot_ms()) {
            Health::Unavailable { arcs, .. } => arcs,
            _ => 0,
        };
        match self.step(Event::AcceptLoss) {
            Answer::Wait(why) => Err(why),
            _ => Ok(lost),
        }
    }

    fn detach(&mut self, node: Incarnation, number: u64) {
        // A newer connection of the same node may have taken over.
        if self.links.get(&node).is_some_and(|link| link.number == number) {
            self.links.remove(&node);
            self.step(Event::Disconnected(node));
        }
    }

    fn step(&mut self, event: Event) -> Answer {
        let (answer, effects) = self.membership.step(clock::boot_ms(), event);
        self.waiting.extend(effects);
        self.carry_out();
        if self.waiting.is_empty() {
            self.shown = (self.membership.newest().clone(), self.membership.active().epoch());
            return answer;
        }
        match answer {
            // Views that are not saved yet must not be seen; leases go on under those that are.
            Answer::Known(..) => Answer::Known(self.shown.0.clone(), self.shown.1),
            answer => answer,
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.waiting.pop_front() {
            match effect {
                Effect::Save => {
                    if let Err(error) = self.save() {
                        self.complain(&error);
                        self.waiting.push_front(Effect::Save);
                        return;
                    }
                }
                Effect::Publish(routes) => *self.published.write() = routes,
                Effect::Push(node, routes, active) => self.push(node, &routes, active),
                Effect::Say(what) => info!("{what}"),
            }
        }
    }

    fn save(&self) -> Result<(), StateError> {
        match &self.file {
            Some(file) => file.save(&self.membership.state()),
            None => Ok(()),
        }
    }

    fn complain(&mut self, error: &StateError) {
        if self.complained.is_none_or(|last| last.elapsed() > REPEAT) {
            error!("{error}; no view changes until it can be saved");
            self.complained = Some(Instant::now());
        }
    }

    fn push(&self, node: Incarnation, routes: &Routes, active: Epoch) {
        if let Some(link) = self.links.get(&node) {
            let mut frame = Vec::new();
            table(self.membership.settings(), routes, active).write(&mut frame);
            if link.outbound.try_send(Arc::new(frame)).is_err() {
                warn!("{node} takes no views; its next heartbeat gets it");
            }
        }
    }

    fn status(&self) -> Status {
        let now = clock::boot_ms();
        let view = self.membership.active().view();
        let owned = |incarnation| {
            let place = view.members.iter().position(|m| m.incarnation == incarnation);
            view.arcs.iter().filter(|&&owner| Some(usize::from(owner)) == place).count()
        };
        let mut nodes: Vec<NodeStatus> = self
            .membership
            .nodes()
            .map(|node| NodeStatus {
                id: node.who.id.clone(),
                address: node.who.address.clone(),
                state: self.membership.state_of(node, now).to_owned(),
                keys: node.report.keys,
                bytes: node.report.bytes,
                arcs: owned(node.who.incarnation) as u32,
                silent_ms: now.saturating_sub(node.heard),
            })
            .collect();
        // node2 before node10: shorter names first is what people expect of numbered names.
        nodes.sort_by(|a, b| {
            let key = |n: &NodeStatus| (n.id.as_str().len(), n.id.clone());
            key(a).cmp(&key(b))
        });
        Status {
            epoch: view.epoch,
            copies: view.copies as u8,
            arcs: view.arcs.len() as u32,
            health: self.membership.health(now).to_string(),
            changing: view.is_changing() || self.membership.newest().epoch() != view.epoch,
            nodes,
        }
    }
}
