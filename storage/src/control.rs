//! The connection to the manager: heartbeats out, views in.
//!
//! One thread maintains the connection: it connects, registers, and reads messages. When the
//! connection ends it starts over, after growing pauses, for as long as the node runs. While it is
//! registered a second thread sends heartbeats: one every interval (which the manager may change),
//! and one at once when a view was adopted, when arcs became synced or when the manager asks
//! (PROBE), so that the manager learns of it without delay.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::durability::Durability;
use cluster::ids::{Address, Epoch};
use cluster::membership::{Newcomer, Seen};
use cluster::view::View;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::{debug, error, info, warn};
use net_common::auth::Secret;
use net_common::clock;
use net_common::connection::{Connection, Dial, NetError};
use net_common::error::ErrorWord;
use net_common::frame::{FORMAT_BINARY, Kind, PayloadLimit};
use net_common::message::Message;
use net_common::message::control::{HeartbeatAck, Probe, Register, TablePush};
use net_common::worker::{Stop, Worker};
use parking_lot::Mutex;

use crate::fetch::FetchSignals;
use crate::node::Node;

mod heartbeat;

use heartbeat::{HeartbeatInterval, Heartbeats};

/// Settings of the control connection.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The manager's address.
    pub manager: Address,
    /// The address at which others reach this node.
    pub address: Address,
    /// The port for cluster-aware Redis clients; 0: none.
    pub redis_port: u16,
    /// The weight that its command line asks for.
    pub weight: Option<u32>,
    /// The durability that this node requires of its cluster, if it requires one.
    pub durability: Option<Durability>,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

/// Pauses between attempts to reach the manager: the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// The interval between warnings about a manager that cannot be reached.
const REPEAT: Duration = Duration::from_secs(5);

/// The time-out for the manager's answer to a registration.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a node has left the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// The manager refuses it permanently.
    Refused(String),
    /// It has left on the operator's command: others hold all that it held.
    Left,
}

/// The running threads. Stops when dropped.
pub struct Control {
    /// The present stream, to be shut down on stop.
    stream: Arc<Mutex<Option<TcpStream>>>,
    ended: Receiver<Departure>,
    worker: Worker,
}

impl Control {
    /// Starts to register, and maintains the connection for as long as the node runs.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(
        node: Arc<Node>,
        settings: ControlSettings,
        fetcher: FetchSignals,
    ) -> io::Result<Control> {
        let (end, ended) = bounded(1);
        let stream = Arc::new(Mutex::new(None));
        let name = format!("{} control", node.id());
        let loop_stream = stream.clone();
        let control_loop = |stop| ControlLoop {
            node,
            settings,
            fetcher,
            stop,
            end,
            stream: loop_stream,
            left_with: Cell::new(None),
            shows_view: Cell::new(false),
            was_weighed: Cell::new(false),
            probe: Arc::default(),
        };
        let worker = Worker::spawn(name, move |stop| control_loop(stop).run())?;
        Ok(Control { stream, ended, worker })
    }

    /// Receives why this node has left the cluster, when it does.
    pub fn ended(&self) -> &Receiver<Departure> {
        &self.ended
    }

    /// Stops the connection and the threads.
    pub fn stop(&mut self) {
        self.worker.request_stop();
        if let Some(stream) = self.stream.lock().as_ref() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.worker.stop();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

struct ControlLoop {
    node: Arc<Node>,
    settings: ControlSettings,
    fetcher: FetchSignals,
    stop: Stop,
    end: Sender<Departure>,
    stream: Arc<Mutex<Option<TcpStream>>>,
    /// The view with which the node has left the cluster. The node stays until that view is active,
    /// since its acknowledgement is needed; after that it does not register again.
    left_with: Cell<Option<Epoch>>,
    /// Whether registrations contain the newest view that the node has seen, since the manager has
    /// asked for it.
    shows_view: Cell<bool>,
    /// Whether its weight as a member was checked.
    was_weighed: Cell<bool>,
    /// The number of the last probe on the present connection.
    probe: Arc<AtomicU64>,
}

impl ControlLoop {
    fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut complained: Option<Instant> = None;
        loop {
            let trouble = match self.register() {
                Ok((_, push)) if self.expects_other(&push) => {
                    let (is, asked) = (push.view.durability, self.settings.durability);
                    let asked = asked.map_or_else(String::new, |asked| asked.to_string());
                    let why = format!(
                        "the cluster's durability is {is}, and --durability {asked} was asked for: leave the \
                         flag away, or give the manager of a new cluster the same"
                    );
                    let _ = self.end.try_send(Departure::Refused(why));
                    return;
                }
                Ok((link, push)) => {
                    if complained.take().is_some() {
                        info!("reached the manager at {}", self.settings.manager);
                    }
                    pause = FIRST_PAUSE;
                    self.serve(link, push)
                }
                Err(error) => match error.word() {
                    Some(ErrorWord::Taken | ErrorWord::NoDisk) => {
                        // If nobody receives it, nobody needs it.
                        let _ = self.end.try_send(Departure::Refused(error.to_string()));
                        return;
                    }
                    // This node has seen views that the manager does not know. The next
                    // registration contains the newest.
                    Some(ErrorWord::Older) => {
                        self.shows_view.set(true);
                        error.to_string()
                    }
                    // A running node may find the right manager again. A starting one has the wrong
                    // folder.
                    Some(ErrorWord::OtherCluster) if self.node.routes().is_none() => {
                        let why = format!("its data folder is of another cluster: {error}");
                        let _ = self.end.try_send(Departure::Refused(why));
                        return;
                    }
                    _ => error.to_string(),
                },
            };
            if self.left_with.get().is_some() {
                self.node.give_up_lease();
                let _ = self.end.try_send(Departure::Left);
                return;
            }
            if self.stop.has_come() {
                return;
            }
            if complained.is_none_or(|last| last.elapsed() > REPEAT) {
                warn!("{trouble}; trying again");
                complained = Some(Instant::now());
            }
            if self.stop.wait(pause) {
                return;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn register(&self) -> Result<(Connection, TablePush), NetError> {
        let dial = Dial {
            connect: PATIENCE,
            reply: PATIENCE,
            secret: self.settings.secret.clone(),
            payload: PayloadLimit::default(),
        };
        let mut link = Connection::dial(&self.settings.manager, &dial)?;
        let push = link.call::<TablePush>(&Register {
            who: Newcomer {
                id: self.node.id().clone(),
                incarnation: self.node.incarnation(),
                address: self.settings.address.clone(),
                redis_port: self.settings.redis_port,
                weight: self.settings.weight.unwrap_or(0),
                on_disk: self.node.has_folder(),
            },
            returns: self.node.has_been_member(),
            claim: self.node.claim(),
            seen: self.seen(),
            cluster: self.node.cluster(),
            wall_ms: clock::wall_ms(),
        })?;
        Ok((link, push))
    }

    /// The name of the newest view that the node has seen, with the view itself if the manager has
    /// asked for it.
    fn seen(&self) -> Option<Seen> {
        let name = self.node.seen();
        let view = self.node.routes().filter(|_| self.shows_view.get());
        let view = view.map(|routes| Box::new(routes.view().clone()));
        (name.epoch > Epoch::NONE).then_some(Seen { name, view })
    }

    /// Runs a registered connection until it ends, and returns the reason.
    fn serve(&self, mut link: Connection, push: TablePush) -> String {
        info!("registered with the manager at {}", self.settings.manager);
        let promise = push.view.durability;
        if promise != Durability::None && !self.node.has_folder() {
            warn!(
                "the cluster's durability is {promise}, but this node has no --data: its records are lost \
                 when it exits"
            );
        }
        let interval = HeartbeatInterval::default();
        interval.set(push.heartbeat_ms, &mut link);
        let socket = link.stream().expect("a manager is dialled");
        let prepared = (|| {
            *self.stream.lock() = Some(socket.try_clone()?);
            socket.try_clone()
        })();
        let stream = match prepared {
            Ok(stream) => stream,
            Err(error) => return format!("cannot prepare the connection: {error}"),
        };
        // `stop` may have looked for the stream just before it was set.
        if self.stop.has_come() {
            return "stopping".into();
        }
        let (beat, beats) = bounded(1);
        // Probes of another connection, or another manager, do not count here.
        self.probe.store(0, Ordering::Relaxed);
        let heartbeats = Heartbeats {
            node: self.node.clone(),
            stream,
            interval: interval.clone(),
            beats,
            progress: self.fetcher.progress.clone(),
            probe: self.probe.clone(),
        };
        let name = format!("{} heartbeat", self.node.id());
        let sender = Worker::spawn(name, move |_| heartbeats.send());
        let mut sender = match sender {
            Ok(sender) => sender,
            Err(error) => return format!("cannot start the heartbeat thread: {error}"),
        };
        let trouble = self.receive(&mut link, push, &interval, &beat);
        drop(beat);
        let _ = link.stream().map(|socket| socket.shutdown(Shutdown::Both));
        *self.stream.lock() = None;
        sender.stop();
        trouble
    }

    fn receive(
        &self,
        link: &mut Connection,
        push: TablePush,
        interval: &HeartbeatInterval,
        beat: &Sender<()>,
    ) -> String {
        // The answer to a registration is the manager's newest view.
        if let Err(behind) = self.node.check_line(&push.view) {
            return behind.to_string();
        }
        if let Err(trouble) = self.adopt(push, beat) {
            return trouble;
        }
        loop {
            let frame = match link.receive() {
                Ok(frame) => frame,
                Err(error) => return error.to_string(),
            };
            let mut interval_ms = None;
            let taken = match Kind::from_wire(frame.kind) {
                Some(Kind::TablePush) => {
                    TablePush::read(frame.payload).map_err(|e| e.to_string()).and_then(|push| {
                        interval_ms = Some(push.heartbeat_ms);
                        self.adopt(push, beat)
                    })
                }
                Some(Kind::Probe) => {
                    Probe::read(frame.payload).map_err(|e| e.to_string()).map(|Probe { number }| {
                        self.probe.store(number, Ordering::Relaxed);
                        // A heartbeat that still waits answers this probe too.
                        let _ = beat.try_send(());
                    })
                }
                Some(Kind::HeartbeatAck) => {
                    HeartbeatAck::read(frame.payload).map_err(|e| e.to_string()).and_then(|ack| {
                        debug!(
                            "heartbeat {} acknowledged, view {} is active",
                            ack.sequence, ack.active
                        );
                        let lease_ms = u64::from(ack.lease_ms);
                        self.node.heartbeat_answered(ack.sequence, lease_ms, ack.active);
                        interval_ms = Some(ack.heartbeat_ms);
                        if self.has_left(ack.active) {
                            Err(HAS_LEFT.into())
                        } else if ack.known {
                            self.node.known_to_manager();
                            Ok(())
                        } else {
                            Err("the manager has forgotten us".into())
                        }
                    })
                }
                _ => Err(format!(
                    "type {}, format {} from the manager, {FORMAT_BINARY} expected",
                    frame.kind, frame.format
                )),
            };
            if let Err(trouble) = taken {
                return trouble;
            }
            if let Some(heartbeat_ms) = interval_ms.filter(|&ms| ms != interval.get()) {
                interval.set(heartbeat_ms, link);
                info!("a heartbeat every {heartbeat_ms} ms from now on");
                // The next one may be far away. A heartbeat that still waits stands for this one
                // too.
                let _ = beat.try_send(());
            }
        }
    }

    /// Whether the view with which it has left the cluster is active.
    fn has_left(&self, active: Epoch) -> bool {
        self.left_with.get().is_some_and(|epoch| epoch <= active)
    }

    fn adopt(&self, push: TablePush, beat: &Sender<()>) -> Result<(), String> {
        self.node.note_active(push.active);
        if self.has_left(push.active) {
            // A restarted manager may take the node for a newcomer. It must not start to hold
            // anything, since it is about to exit.
            return Err(HAS_LEFT.into());
        }
        let (epoch, leaves) = (push.view.epoch, self.node.leaves_with(&push.view));
        self.node.set_durability(push.view.durability);
        self.check_weight(&push.view);
        match self.node.adopt(push.view) {
            // The view may have become active.
            Ok(false) => _ = self.fetcher.wake.try_send(()),
            Ok(true) => {
                if leaves {
                    self.left_with.set(Some(epoch));
                }
                // A wake-up or a heartbeat that still waits stands for this one too.
                let _ = self.fetcher.wake.try_send(());
                let _ = beat.try_send(());
            }
            Err(other) => {
                error!("{other}");
                return Err(other.to_string());
            }
        }
        Ok(())
    }

    /// Warns if this node replaces one of another weight, which stays. It is checked once: later an
    /// operator may have changed the weight.
    fn check_weight(&self, view: &View) {
        let Some(member) = view.member(self.node.id(), self.node.incarnation()) else { return };
        let (is, asked) = (member.weight, self.settings.weight);
        if !self.was_weighed.replace(true)
            && let Some(asked) = asked.filter(|asked| *asked != is)
        {
            let id = self.node.id();
            warn!(
                "--weight {asked} is not used: {id} weighs {is}, which stays (client --weight {id}={asked} changes it)"
            );
        }
    }

    fn expects_other(&self, push: &TablePush) -> bool {
        self.settings.durability.is_some_and(|durability| durability != push.view.durability)
    }
}

/// Why a connection ends after this node has left the cluster.
const HAS_LEFT: &str = "has left";
