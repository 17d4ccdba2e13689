//! The thread that owns the membership.
//!
//! It receives events from a channel, one after the other, passes them to the state machine, and
//! carries out the effects in their order: save, publish, push. Between events it watches the clock
//! for missing heartbeats. No other thread touches the state; clients read the published view
//! without it.
//!
//! A second thread saves, since a busy disk may take a second: this thread hands over the state,
//! continues to answer heartbeats, and carries out the effects that depend on the save once it is
//! done ([`Gate`] holds them back). A failed save (a full disk) is retried at every tick; meanwhile
//! nodes keep their leases under the saved views, and health reports it. A first save at the start
//! detects a folder that is not writable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ids::{ClusterId, ManagerIncarnation};
use cluster::membership::Outline;
use cluster::membership::{Answer, Behind, Effect, Event, Gate, Newcomer, Saved};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{error, info, warn};
use net_common::clock;
use net_common::error::{ErrorWord, Refused};
use net_common::message::control::Probe;
use net_common::worker::{Stop, Worker};

use crate::config::{Config, StartError};
use crate::control_connections::ControlConnections;
use crate::handle::{Handle, QUEUE, Request};
use crate::published::Published;
use crate::reply_queue::{ReplyQueue, ReplySender};
use crate::saver::Saver;
use crate::state::{StateError, StateFile};
use crate::{resume, status};

/// How often a failure to save is reported.
const REPEAT: Duration = Duration::from_secs(5);

/// The running monitor thread. Stops when dropped.
pub struct Monitor {
    handle: Handle,
    /// The members of the view that it continued from.
    members: Vec<Newcomer>,
    ended: Receiver<String>,
    worker: Worker,
}

impl Monitor {
    /// Loads the saved state and starts the thread. Logs a warning for each requested setting that
    /// differs from the cluster's.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Monitor, StartError> {
        let settings = config.settings;
        let file = config.data.as_deref().map(StateFile::open).transpose()?;
        let saved = match &file {
            Some(file) => resume::continued(file, &settings, &config.asked)?,
            None => None,
        };
        let saved = match saved {
            Some(saved) => saved,
            None => Saved::new(resume::unborn(settings, ClusterId(random()?)), settings.terms()),
        };
        // This detects an unwritable folder now, not when a node has died. It also ensures that no
        // lease is granted that the next start would not know of.
        file.as_ref().map_or(Ok(()), |file| file.save(&saved))?;
        let (shown, goes_on) = resume::shown(file.as_ref(), &saved, &config.asked)?;
        let life = ManagerIncarnation(random()?);
        let gate = Gate::new(settings, saved, clock::boot_ms()).in_life(life, shown, goes_on);
        let file = file.map(Arc::new);
        let members: Vec<_> = gate.membership().nodes().map(|node| node.who.clone()).collect();
        let (requests, queue) = bounded(QUEUE);
        let published = Published::of(gate.membership());
        let handle = Handle::new(requests, published.clone(), config.trusts_refused);
        let (end, ended) = bounded(1);
        let thread = MonitorThread {
            gate,
            saver: Saver::start(file.clone())?,
            file,
            end,
            published,
            losses: ReplyQueue::new(),
            folders: ReplyQueue::new(),
            orders: ReplyQueue::new(),
            connections: ControlConnections::default(),
            complained: None,
        };
        let run = move |stop| thread.run(&queue, &stop);
        let worker = Worker::spawn("manager monitor".into(), run)?;
        Ok(Monitor { handle, members, ended, worker })
    }

    /// Receives the reason if the manager has to exit: its folder is an older copy (L7).
    pub fn ended(&self) -> &Receiver<String> {
        &self.ended
    }

    /// The members of the view that it continued from.
    pub fn members(&self) -> &[Newcomer] {
        &self.members
    }

    /// A handle on the thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the thread and waits for it.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}

/// Draws a number.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(u64::from_be_bytes(bytes))
}

/// The reason an admin command is refused, if it is.
fn refused(answer: Answer) -> Option<Refused> {
    match answer {
        Answer::Done
        | Answer::Known { .. }
        | Answer::Unknown
        | Answer::Aside(_)
        | Answer::Unreached(_) => None,
        // Something else is under way: the operator can repeat it later.
        Answer::Wait(why) | Answer::Older(why) => Some(Refused::new(ErrorWord::Wait, why)),
        Answer::Taken(why) => Some(Refused::new(ErrorWord::Refused, why)),
        Answer::Changed(now) => Some(Refused::new(ErrorWord::Changed, now)),
    }
}

struct MonitorThread {
    gate: Gate,
    saver: Saver,
    file: Option<Arc<StateFile>>,
    /// Carries the reason if the manager has to exit.
    end: Sender<String>,
    published: Published,
    /// Operators who have accepted a loss.
    losses: ReplyQueue<usize>,
    /// Operators who have accepted a data folder.
    folders: ReplyQueue<()>,
    /// Operators who have requested a change.
    orders: ReplyQueue<Outline>,
    connections: ControlConnections,
    complained: Option<Instant>,
}

impl MonitorThread {
    fn run(mut self, queue: &Receiver<Request>, stop: &Stop) {
        let mut last_tick = Instant::now();
        loop {
            // Often enough that "out after three missed" is true to a tenth of a heartbeat, of
            // which there may be more from one moment to the next.
            let heartbeat = self.gate.membership().settings().heartbeat_ms;
            let next_tick = last_tick + Duration::from_millis((heartbeat / 10).max(5));
            let wait = next_tick.saturating_duration_since(Instant::now());
            select! {
                recv(queue) -> request => match request {
                    Ok(request) => self.take(request),
                    Err(_) => break,
                },
                recv(self.saver.done()) -> result => match result {
                    Ok(result) => self.saved(result),
                    // It panicked, which has been reported.
                    Err(_) => break,
                },
                recv(stop.channel()) -> _ => {
                    // What was asked before the stop is answered: a node whose heartbeat waited
                    // keeps its lease while the next manager starts.
                    queue.try_iter().take(QUEUE).for_each(|request| self.take(request));
                    break;
                }
                default(wait) => {}
            }
            // Queued heartbeats are processed before the tick may judge their senders.
            if Instant::now() >= next_tick && queue.is_empty() {
                self.step(Event::Tick);
                last_tick = Instant::now();
            }
        }
        let last = self.gate.has_unsaved().then(|| self.gate.membership().state());
        self.saver.stop(last);
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Event(event, answer) => {
                let replied = self.step(event);
                // The connection may have closed while its event waited.
                let _ = answer.send(replied);
            }
            Request::Attach(node, number, outbound) => {
                self.connections.attach(node, number, outbound)
            }
            Request::Detach(node, number) => {
                if self.connections.detach(node, number) {
                    self.step(Event::Disconnected(node));
                }
            }
            Request::Status(answer) => {
                let _ = answer.send(status::status(&self.gate, clock::boot_ms()));
            }
            Request::AcceptLoss(shown, asker) => {
                self.carry(Event::AcceptLoss(shown), asker, |thread| &mut thread.losses);
            }
            Request::AdoptFolder(id, start, asker) => {
                let event = Event::AdoptFolder { id, start };
                self.carry(event, asker, |thread| &mut thread.folders);
            }
            Request::Plan(change, force, answer) => {
                let membership = self.gate.membership();
                let _ = answer.send(membership.outline(clock::boot_ms(), &change, force));
            }
            Request::Order(order, asker) => {
                self.carry(Event::Command(order), asker, |thread| &mut thread.orders);
            }
        }
    }

    /// Processes an operator's request. The answer follows once the result is saved, or at once if
    /// it is refused.
    fn carry<T>(
        &mut self,
        event: Event,
        asker: ReplySender<T>,
        waiting: fn(&mut MonitorThread) -> &mut ReplyQueue<T>,
    ) {
        waiting(self).push(asker);
        if let Some(why) = refused(self.step(event)) {
            waiting(self).refuse_last(why);
        }
    }

    fn step(&mut self, event: Event) -> Answer {
        let (answer, effects) = self.gate.step(clock::boot_ms(), event);
        self.carry_out(effects);
        let lost = self.gate.membership().given_up(clock::boot_ms());
        self.published.note_lost(lost.into_iter().collect());
        answer
    }

    fn saved(&mut self, result: Result<(), StateError>) {
        match result {
            Ok(()) => {
                let effects = self.gate.saved();
                self.carry_out(effects);
            }
            Err(error) => {
                self.gate.not_saved(error.to_string());
                self.complain(&error);
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.published.note_terms(self.gate.membership().durable_terms());
        for effect in effects {
            match effect {
                Effect::Save => self.saver.save(self.gate.membership().state()),
                Effect::Publish(routes) => self.published.publish(routes),
                Effect::Push(node, routes, active) => {
                    if !self.connections.send(node, &self.published.table(&routes, active)) {
                        warn!("the channel to {node} is full; its next heartbeat gets the view");
                    }
                }
                // If it does not fit, the node does not read and would not answer another probe
                // either.
                Effect::Probe(node, number) => _ = self.connections.send(node, &Probe { number }),
                Effect::Log(what) => info!("{what}"),
                Effect::Stop(behind) => self.stop_behind(behind),
                Effect::FolderAdopted => self.folders.answer_first(Ok(())),
                Effect::LossAccepted(arcs) => self.losses.answer_first(Ok(arcs)),
                Effect::CommandOutcome(what) => {
                    let what = what.map_err(|why| Refused::new(ErrorWord::Refused, why));
                    self.orders.answer_first(what);
                }
            }
        }
    }

    /// Reports what the folder lacks, and records that it was reported: only then the operator may
    /// accept it.
    fn stop_behind(&self, behind: Behind) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.show(behind.seen)) {
            error!("{error}; --accept-older will not be used");
        }
        // Only the first reason counts.
        let _ = self.end.try_send(behind.what);
    }

    fn complain(&mut self, error: &StateError) {
        if self.complained.is_none_or(|last| last.elapsed() > REPEAT) {
            error!("{error}; no view changes until it can be saved");
            self.complained = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
