//! The thread that owns the membership.
//!
//! It takes events from a channel, one after the other, lets the state machine say what follows, and
//! does that in the order said: save, publish, push. Between events it watches the clock, so that
//! heartbeats which do not come are noticed. Nobody else touches the state; clients read the published
//! view without going through it.
//!
//! A second thread saves, since a busy disk may take a second to do so: the owner hands it the state, goes
//! on answering heartbeats, and does what depends on the save when it hears that it is done
//! ([`Gate`] holds that back). When saving fails (a full disk) it is tried again at every tick; meanwhile
//! nodes keep their leases under the views that were saved, and the health says so. A folder in which nothing
//! can be saved is found at the start, by saving there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::ids::{ClusterId, Epoch, Incarnation, ManagerLife, NodeId};
use cluster::membership::wish::{Order, Outline};
use cluster::membership::{Answer, Behind, Effect, Event, Gate, Loss, Newcomer, Saved};
use cluster::tenure::ArcSet;
use cluster::view::Routes;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use fxhash::FxHashMap;
use log::{error, info, warn};
use net_common::clock;
use net_common::error::{ErrorWord, Refused};
use net_common::logging;
use net_common::message::Message;
use net_common::message::control::Probe;
use parking_lot::RwLock;

use crate::config::{Config, StartError};
use crate::handle::{self, Handle, Outbound, Published, QUEUE, Request};
use crate::saver::Saver;
use crate::state::{StateError, StateFile};
use crate::{resume, status};

/// How often a failure to save is reported.
const REPEAT: Duration = Duration::from_secs(5);

/// The running owner. Stops when dropped.
pub struct Monitor {
    handle: Handle,
    /// The members of the view that it went on from.
    members: Vec<Newcomer>,
    ended: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Loads what was saved and starts the thread. What this start asks for is told where the cluster has
    /// something else.
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
        // A folder that takes no state is found now, and not when a node has died. And nobody is told of a lease
        // that the next start would not find there.
        file.as_ref().map_or(Ok(()), |file| file.save(&saved))?;
        let (shown, goes_on) = resume::shown(file.as_ref(), &saved, &config.asked)?;
        let life = ManagerLife(random()?);
        let gate = Gate::new(settings, saved, clock::boot_ms()).in_life(life, shown, goes_on);
        let file = file.map(Arc::new);
        let members: Vec<_> = gate.membership().nodes().map(|node| node.who.clone()).collect();
        let (requests, queue) = bounded(QUEUE);
        let published = Arc::new(RwLock::new(Published {
            active: gate.membership().active().clone(),
            lost: Arc::default(),
            terms: gate.membership().told(),
        }));
        let trusts_refused = config.trusts_refused;
        let handle = Handle { requests, published: published.clone(), trusts_refused };
        let (end, ended) = bounded(1);
        let owner = Owner {
            gate,
            saver: Saver::start(file.clone())?,
            file,
            end,
            published,
            askers: VecDeque::new(),
            adopters: VecDeque::new(),
            orderers: VecDeque::new(),
            links: FxHashMap::default(),
            complained: None,
        };
        let thread = logging::spawn("manager monitor".into(), move || owner.run(&queue))?;
        Ok(Monitor { handle, members, ended, thread: Some(thread) })
    }

    /// Says why the manager is to end, if it comes to that: its folder is an older copy (L7).
    pub fn ended(&self) -> &Receiver<String> {
        &self.ended
    }

    /// The members of the view that it went on from.
    pub fn members(&self) -> &[Newcomer] {
        &self.members
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

/// Draws a number.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Why an operator's order is refused, if it is.
fn refused(answer: Answer) -> Option<Refused> {
    match answer {
        Answer::Done
        | Answer::Known { .. }
        | Answer::Unknown
        | Answer::Aside(_)
        | Answer::Unreached(_) => None,
        // Something else is under way: it can be asked again later.
        Answer::Wait(why) | Answer::Older(why) => Some(Refused::new(ErrorWord::Wait, why)),
        Answer::Taken(why) => Some(Refused::new(ErrorWord::Refused, why)),
        Answer::Changed(now) => Some(Refused::new(ErrorWord::Changed, now)),
    }
}

/// A control connection.
struct Link {
    /// Its number among all connections: a node's newer connection replaces an older one.
    number: u64,
    outbound: Outbound,
}

struct Owner {
    gate: Gate,
    saver: Saver,
    file: Option<Arc<StateFile>>,
    /// Where it says why the manager is to end.
    end: Sender<String>,
    published: Arc<RwLock<Published>>,
    /// Who has accepted a loss and waits to hear that it is done.
    askers: VecDeque<Sender<Result<usize, Refused>>>,
    /// Who goes on with another data folder and waits to hear that it is done.
    adopters: VecDeque<Sender<Result<(), Refused>>>,
    /// Who has ordered a change and waits to hear that it has begun.
    orderers: VecDeque<Sender<Result<Outline, Refused>>>,
    /// The control connection of each node.
    links: FxHashMap<Incarnation, Link>,
    complained: Option<Instant>,
}

impl Owner {
    fn run(mut self, queue: &Receiver<Request>) {
        let mut last_tick = Instant::now();
        loop {
            // Often enough that "out after three missed" is true to a tenth of a heartbeat, of which there may be
            // more from one moment to the next.
            let heartbeat = self.gate.membership().settings().heartbeat_ms;
            let next_tick = last_tick + Duration::from_millis((heartbeat / 10).max(5));
            let wait = next_tick.saturating_duration_since(Instant::now());
            select! {
                recv(queue) -> request => match request {
                    Ok(Request::Stop) | Err(_) => break,
                    Ok(request) => self.take(request),
                },
                recv(self.saver.done) -> result => match result {
                    Ok(result) => self.saved(result),
                    // It panicked, which has been reported.
                    Err(_) => break,
                },
                default(wait) => {}
            }
            // Heartbeats that wait in the queue are read before the clock may judge their senders.
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
                let said = self.step(event);
                // The connection may have ended while its event waited.
                let _ = answer.send(said);
            }
            Request::Attach(node, number, outbound) => {
                // A manager that was stopped may read the registration of an older connection last. Were it
                // to count, the node would get no views and no probes when that connection's end is read.
                if self.links.get(&node).is_none_or(|link| link.number < number) {
                    self.links.insert(node, Link { number, outbound });
                }
            }
            Request::Detach(node, number) => self.detach(node, number),
            Request::Status(answer) => {
                let _ = answer.send(status::status(&self.gate, clock::boot_ms()));
            }
            Request::AcceptLoss(shown, answer) => self.accept_loss(shown, answer),
            Request::AdoptFolder(id, start, answer) => self.adopt_folder(id, start, answer),
            Request::Plan(wish, force, answer) => {
                let membership = self.gate.membership();
                let _ = answer.send(membership.outline(clock::boot_ms(), &wish, force));
            }
            Request::Order(order, answer) => self.order(order, answer),
            Request::Stop => {}
        }
    }

    /// The asker is answered when the loss is accepted for good, that is, when it is saved.
    fn accept_loss(&mut self, shown: Loss, asker: Sender<Result<usize, Refused>>) {
        self.askers.push_back(asker);
        if let Some(why) = refused(self.step(Event::AcceptLoss(shown)))
            && let Some(asker) = self.askers.pop_back()
        {
            let _ = asker.send(Err(why));
        }
    }

    /// The asker is answered when it is saved.
    fn adopt_folder(&mut self, id: NodeId, start: Incarnation, asker: Sender<Result<(), Refused>>) {
        self.adopters.push_back(asker);
        if let Some(why) = refused(self.step(Event::AdoptFolder { id, start }))
            && let Some(asker) = self.adopters.pop_back()
        {
            let _ = asker.send(Err(why));
        }
    }

    /// Whoever orders is answered when what was ordered is saved. Orders are answered one after the other.
    fn order(&mut self, order: Order, orderer: Sender<Result<Outline, Refused>>) {
        self.orderers.push_back(orderer);
        if let Some(why) = refused(self.step(Event::Order(order)))
            && let Some(orderer) = self.orderers.pop_back()
        {
            let _ = orderer.send(Err(why));
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
        let (answer, effects) = self.gate.step(clock::boot_ms(), event);
        self.carry_out(effects);
        self.note_losses();
        answer
    }

    /// Lets clients know which arcs nobody alive holds.
    fn note_losses(&self) {
        let membership = self.gate.membership();
        let lost: ArcSet = membership.given_up(clock::boot_ms()).into_iter().collect();
        if *self.published.read().lost != lost {
            self.published.write().lost = Arc::new(lost);
        }
    }

    /// Lets those who answer nodes know what leases are.
    fn note_terms(&self) {
        let terms = self.gate.membership().told();
        if self.published.read().terms != terms {
            self.published.write().terms = terms;
        }
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
        self.note_terms();
        for effect in effects {
            match effect {
                // If the saver has panicked its channel of results has ended too, and so does the owner.
                Effect::Save => _ = self.saver.states.send(self.gate.membership().state()),
                Effect::Publish(routes) => self.published.write().active = routes,
                Effect::Push(node, routes, active) => self.push(node, &routes, active),
                Effect::Probe(node, number) => self.probe(node, number),
                Effect::Say(what) => info!("{what}"),
                Effect::Stop(behind) => self.stop_behind(behind),
                Effect::FolderAdopted => {
                    if let Some(asker) = self.adopters.pop_front() {
                        // The connection may have ended meanwhile.
                        let _ = asker.send(Ok(()));
                    }
                }
                Effect::LossAccepted(arcs) => {
                    if let Some(asker) = self.askers.pop_front() {
                        // The connection may have ended meanwhile.
                        let _ = asker.send(Ok(arcs));
                    }
                }
                Effect::Told(what) => {
                    if let Some(orderer) = self.orderers.pop_front() {
                        let _ =
                            orderer.send(what.map_err(|why| Refused::new(ErrorWord::Refused, why)));
                    }
                }
            }
        }
    }

    /// What is missing is shown, and that it was is noted: then the operator may go on with it.
    fn stop_behind(&self, behind: Behind) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.show(behind.seen)) {
            error!("{error}; --accept-older will not be used");
        }
        // Only the first word counts.
        let _ = self.end.try_send(behind.what);
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
            handle::table(&self.published.read(), routes, active).write(&mut frame);
            if link.outbound.try_send(Arc::new(frame)).is_err() {
                warn!("{node} takes no views; its next heartbeat gets it");
            }
        }
    }

    fn probe(&self, node: Incarnation, number: u64) {
        if let Some(link) = self.links.get(&node) {
            let mut frame = Vec::new();
            Probe { number }.write(&mut frame);
            // Where it does not fit the node does not read, and will not answer the next one either.
            let _ = link.outbound.try_send(Arc::new(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use cluster::ids::Address;
    use cluster::limits::Limits;
    use cluster::membership::{Report, Settings};
    use cluster::view::{Member, MemberState, View};

    use super::*;
    use crate::asked::Asked;
    use crate::state::{self, Loaded};

    fn settings() -> Settings {
        let limits = Limits::default();
        Settings {
            heartbeat_ms: 100,
            missed: 3,
            arcs: 8,
            copies: 1,
            limits,
            min_copies: 1,
            durability: cluster::durability::Durability::default(),
            rebalance_ms: 300_000,
            return_ms: 5_000,
        }
    }

    fn config(settings: Settings, data: &Path) -> Config {
        Config {
            settings,
            asked: Asked::default(),
            limits: Default::default(),
            secret: None,
            data: Some(data.into()),
            trusts_refused: true,
        }
    }

    fn loaded(data: &Path) -> Saved {
        match StateFile::open(data).unwrap().load().unwrap() {
            Some(Loaded::Whole(saved)) => saved,
            other => panic!("{other:?}"),
        }
    }

    /// Its leases of 300 ms may not be those of the manager before.
    #[test]
    fn a_state_without_leases_is_waited_for_once() {
        let member = Member {
            id: NodeId::new("node1").unwrap(),
            incarnation: Incarnation(1),
            address: Address::new("127.0.0.1", 1).unwrap(),
            redis_port: 0,
            weight: 1,
            state: MemberState::Active,
            on_disk: false,
        };
        let unborn = resume::unborn(settings(), ClusterId(1));
        let view = View { epoch: Epoch(1), members: vec![member], ..unborn };
        for (lease_was_ms, longest_ms) in [(None, 30_000), (Some(20_000), 20_000), (Some(100), 300)]
        {
            let folder = tempfile::tempdir().unwrap();
            let before = Saved::new(view.clone(), settings().terms());
            fs::write(folder.path().join("view"), state::tests::format_4(&before)).unwrap();
            let asked = Asked { lease_was_ms, ..Asked::default() };
            let start = |settings| {
                drop(Monitor::start(&Config { asked, ..config(settings, folder.path()) }).unwrap());
                loaded(folder.path())
            };
            let found = start(settings());
            assert_eq!(found, Saved { longest_ms, ..before.clone() });
            // The next one finds it there, and its own flags do not count.
            let slower = Settings { heartbeat_ms: 60_000, ..settings() };
            assert_eq!(start(slower), found);
        }
    }

    fn beat(handle: &Handle, epoch: Epoch) -> (Epoch, Epoch, bool) {
        let report = Report { epoch, ..Report::default() };
        match handle.event(Event::Heartbeat(Incarnation(1), report)) {
            Some(Answer::Known { newest, active, lease }) => {
                (newest.epoch(), active, lease.is_some())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The disk is full, as it were: the folder is not there.
    #[test]
    fn heartbeats_are_answered_while_nothing_can_be_saved() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut monitor = Monitor::start(&config(settings(), &data)).unwrap();
        let handle = monitor.handle();
        fs::remove_dir_all(&data).unwrap();
        let who = Newcomer {
            id: NodeId::new("node1").unwrap(),
            incarnation: Incarnation(1),
            address: Address::new("127.0.0.1", 1).unwrap(),
            redis_port: 0,
            on_disk: false,
            weight: 1,
        };
        assert!(matches!(
            handle.event(Event::Register {
                who,
                returns: false,
                claim: None,
                seen: None,
                reached: Ok(())
            }),
            Some(Answer::Known { .. })
        ));
        for _ in 0..10 {
            assert_eq!(beat(&handle, Epoch::NONE), (Epoch::NONE, Epoch::NONE, false));
            std::thread::sleep(Duration::from_millis(10));
        }
        let health = || handle.status().unwrap().health.text;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !health().contains("the manager cannot save its views (cannot write") {
            assert!(Instant::now() < deadline, "{}", health());
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::create_dir(&data).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while beat(&handle, Epoch::NONE).0 == Epoch::NONE {
            assert!(Instant::now() < deadline, "it is not tried again");
            std::thread::sleep(Duration::from_millis(10));
        }
        // The view becomes active; that is on the disk when the manager has stopped, if not before.
        beat(&handle, Epoch(1));
        assert_eq!(handle.published().epoch(), Epoch(1));
        assert!(!health().contains("save"), "{}", health());
        monitor.stop();
        let saved = loaded(&data);
        assert_eq!((saved.active.epoch, saved.coming), (Epoch(1), None));
    }

    #[test]
    fn a_folder_that_takes_no_state_is_found_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        // What is saved cannot take its place; root may write anywhere else.
        fs::create_dir_all(data.join("view.new/in the way")).unwrap();
        let error = Monitor::start(&config(settings(), &data)).err().unwrap().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
        fs::remove_dir_all(data.join("view.new")).unwrap();
        // The cluster has its name from now on, but is not born: the flags of its next start count.
        let born = |settings: Settings| {
            let monitor = Monitor::start(&config(settings, &data)).unwrap();
            monitor.handle().published().view().clone()
        };
        let first = born(settings());
        let second = born(Settings { copies: 3, ..settings() });
        assert_eq!((first.cluster, first.copies, second.copies), (second.cluster, 1, 3));
    }
}
