//! The connection to the manager: heartbeats out, views in.
//!
//! One thread keeps the connection: it connects, registers, and reads what comes; when the
//! connection ends it begins again, with growing pauses, for as long as the node lives. While it is
//! registered a second thread sends heartbeats: one every interval (which the manager may change),
//! and one at once when a view was adopted or arcs became synced or the manager asks (PROBE), so
//! that the manager need not wait to learn it.

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

use crate::fetch::Wake;
use crate::node::Node;

mod heartbeat;

use heartbeat::{Heartbeats, Interval};

/// What a control connection needs to know.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// Where the manager is.
    pub manager: Address,
    /// Where others reach this node.
    pub address: Address,
    /// The port that cluster-aware Redis clients are sent to; 0: it has none.
    pub redis_port: u16,
    /// Its share of the ring, if its start asks for one.
    pub weight: Option<u32>,
    /// What the cluster is to promise, if this node is to take part in no other.
    pub durability: Option<Durability>,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

/// Pauses between attempts to reach the manager: the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How often a manager that cannot be reached is complained about.
const REPEAT: Duration = Duration::from_secs(5);

/// How long the manager may take to answer a registration.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a node's part in the cluster is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// The manager will never take it in.
    Refused(String),
    /// It has left, as the operator asked: others hold all that it held.
    Left,
}

/// The running threads. Stops when dropped.
pub struct Control {
    /// The stream in use, to be shut down when stopping.
    stream: Arc<Mutex<Option<TcpStream>>>,
    ended: Receiver<Departure>,
    worker: Worker,
}

impl Control {
    /// Starts registering, and goes on for as long as the node lives.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(node: Arc<Node>, settings: ControlSettings, fetcher: Wake) -> io::Result<Control> {
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

    /// Says why this node's part is over, if it comes to that.
    pub fn ended(&self) -> &Receiver<Departure> {
        &self.ended
    }

    /// Ends the connection and the threads.
    pub fn stop(&mut self) {
        self.worker.request_stop();
        if let Some(stream) = self.stream.lock().as_ref() {
            // Already closed is as good.
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
    fetcher: Wake,
    stop: Stop,
    end: Sender<Departure>,
    stream: Arc<Mutex<Option<TcpStream>>>,
    /// The view with which the node has left the cluster. It stays until that is active, since it
    /// is waited for; after that there is nothing to register for any more.
    left_with: Cell<Option<Epoch>>,
    /// Whether the manager has asked for the newest view that the node has seen.
    shows_view: Cell<bool>,
    /// Whether it has been seen what weight it has as a member.
    was_weighed: Cell<bool>,
    /// The number of the last probe on the connection in use.
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
                        // Nobody may wait for it, but then nobody needs to know.
                        let _ = self.end.try_send(Departure::Refused(error.to_string()));
                        return;
                    }
                    // It has seen what the manager does not know, and tells that when it tries
                    // again.
                    Some(ErrorWord::Older) => {
                        self.shows_view.set(true);
                        error.to_string()
                    }
                    // A node that runs may meet the right manager again. One that starts has the
                    // wrong folder.
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

    /// The newest view that the node has seen, and the view itself if the manager has asked for it.
    fn seen(&self) -> Option<Seen> {
        let name = self.node.seen();
        let view = self.node.routes().filter(|_| self.shows_view.get());
        let view = view.map(|routes| Box::new(routes.view().clone()));
        (name.epoch > Epoch::NONE).then_some(Seen { name, view })
    }

    /// Runs a registered connection until it ends, and says why it did.
    fn serve(&self, mut link: Connection, push: TablePush) -> String {
        info!("registered with the manager at {}", self.settings.manager);
        let promise = push.view.durability;
        if promise != Durability::None && !self.node.has_folder() {
            warn!(
                "the cluster's durability is {promise}, but this node has no --data: what it holds is gone \
                 when it ends"
            );
        }
        let interval = Interval::default();
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
        // Stopping may have looked for the stream just before it was there.
        if self.stop.has_come() {
            return "stopping".into();
        }
        let (beat, beats) = bounded(1);
        // What was asked on another connection, or by another manager, says nothing here.
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
        interval: &Interval,
        beat: &Sender<()>,
    ) -> String {
        // What it gives who registers is the newest that it has.
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
                        // A beat that still waits answers this probe too.
                        let _ = beat.try_send(());
                    })
                }
                Some(Kind::HeartbeatAck) => {
                    HeartbeatAck::read(frame.payload).map_err(|e| e.to_string()).and_then(|ack| {
                        debug!("heartbeat {} heard, view {} is active", ack.sequence, ack.active);
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
                // The next one may be a long time off. A beat that still waits stands for this one
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
            // A manager that has started again may take it for a newcomer meanwhile. It must not
            // begin to hold anything, since it is about to end.
            return Err(HAS_LEFT.into());
        }
        let (epoch, leaves) = (push.view.epoch, self.node.leaves_with(&push.view));
        self.node.set_durability(push.view.durability);
        self.check_weight(&push.view);
        match self.node.adopt(push.view) {
            // It may be active now, which it was not before.
            Ok(false) => _ = self.fetcher.wake.try_send(()),
            Ok(true) => {
                if leaves {
                    self.left_with.set(Some(epoch));
                }
                // A wake-up or a beat that still waits stands for this one too.
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

    /// Says so where this node has taken the place of one that weighed something else: that stays.
    /// Later an operator may have changed it.
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

/// Why a connection to the manager is over when this node has left the cluster.
const HAS_LEFT: &str = "has left";
