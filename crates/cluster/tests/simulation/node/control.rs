//! A node's connection to the manager: registration, heartbeats, views.

use std::sync::Arc;

use cluster::ids::Epoch;
use cluster::membership::{Seen, starts};
use cluster::time::Millis;
use cluster::view::Routes;

use crate::disk::End;
use crate::network::{Dialled, Dir, Frame, LinkId, Party, Pid, User};
use crate::world::{Event, World};

impl World {
    /// A node tries to reach the manager.
    pub fn node_connect(&mut self, pid: Pid) {
        let Some(process) = self.process(pid) else { return };
        if process.control.is_some() {
            return;
        }
        let who = process.who.clone();
        let from = (Party::Node(self.slot_of(pid)), pid);
        match self.dial(from, Party::Manager, User::Control) {
            Dialled::Open(link) => {
                let now = self.now;
                let process = self.process(pid).expect("it runs");
                process.control = Some(link);
                process.probe = 0;
                process.is_registered = false;
                process.last_received = now;
                let claim = process.holdings.claim().cloned();
                let returns = claim.is_some() || process.holdings.has_been_member();
                let routes = process.holdings.routes().filter(|_| process.shows_view);
                let view = routes.map(|routes| Box::new(routes.view().clone()));
                let seen = Seen { name: process.holdings.seen(), view };
                self.send(link, Dir::Up, Frame::Register(who, returns, claim, seen));
                self.after(60_000, Event::NodeTimeout(pid, link));
            }
            Dialled::Refused | Dialled::Silence => self.connect_later(pid),
        }
    }

    /// Connects again after a while. A node that has left the cluster exits instead.
    fn connect_later(&mut self, pid: Pid) {
        if self.process(pid).is_some_and(|process| process.left_with.is_some()) {
            self.counts.left += 1;
            return self.end_node(self.slot_of(pid), End::Quiet);
        }
        let pause = self.rng.within(500, 8_000);
        self.after(pause, Event::NodeConnect(pid));
    }

    /// Gives up a silent control connection.
    pub fn node_times_out(&mut self, pid: Pid, link: LinkId) {
        let now = self.now;
        let Some(process) = self.process(pid).filter(|p| p.control == Some(link)) else { return };
        if now - process.last_received < 60_000 {
            return self.after(20_000, Event::NodeTimeout(pid, link));
        }
        process.control = None;
        self.close(link);
        self.connect_later(pid);
    }

    /// Sends a heartbeat.
    pub fn node_beat(&mut self, pid: Pid, link: LinkId, is_regular: bool) {
        let Some(slot) = self.slots_by_pid.get(&pid).copied() else { return };
        let boot = self.node_now(slot).boot;
        let Some(process) = self.process(pid).filter(|p| p.control == Some(link)) else { return };
        let number = process.lease.send(boot);
        let every = process.heartbeat_ms * 1000;
        let report = process.report();
        self.log(|_| format!("node{slot} heartbeat {number} epoch {}", report.epoch));
        self.send(link, Dir::Up, Frame::Heartbeat(number, report));
        if is_regular {
            self.after(every, Event::NodeBeat(pid, link, true));
        }
    }

    /// The manager sets the heartbeat interval. If it is new the next heartbeat is sent at once: by
    /// the old interval it may be a long time off.
    fn node_paced(&mut self, pid: Pid, link: LinkId, every: Millis) {
        let Some(process) = self.process(pid).filter(|p| p.heartbeat_ms != every) else { return };
        process.heartbeat_ms = every;
        self.after(1, Event::NodeBeat(pid, link, false));
    }

    /// A frame from the manager reaches a node.
    pub fn control_frame(&mut self, party: Party, link: LinkId, frame: Frame) {
        let Party::Node(slot) = party else { return };
        let now = self.now;
        let Some(process) = self.slots[slot].process.as_mut().filter(|p| p.control == Some(link))
        else {
            return;
        };
        process.last_received = now;
        let pid = process.pid;
        if matches!(frame, Frame::Table(..)) && self.slots[slot].copy_of.is_some() {
            return self.copy_is_taken(slot);
        }
        let Some(frame) = self.take_in(slot, link, frame) else { return };
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        match frame {
            // A node that has left must not join again if the manager takes it for a new one.
            Frame::Table(_, active, ..)
                if process.left_with.is_some_and(|epoch| epoch <= active) =>
            {
                process.control = None;
                self.close(link);
                self.connect_later(pid);
            }
            Frame::Table(routes, active, _, every) => {
                self.control_table(slot, link, (routes, active), every);
            }
            Frame::HeartbeatReply(..) => self.control_reply(slot, link, frame),
            Frame::Probe(number) => {
                process.probe = number;
                self.after(1, Event::NodeBeat(pid, link, false));
            }
            Frame::NotNow(is_older) => {
                process.shows_view |= is_older;
                process.control = None;
                self.close(link);
                self.connect_later(pid);
            }
            Frame::Fin => {
                process.control = None;
                self.connect_later(pid);
            }
            other => unreachable!("{other:?} is not sent to nodes"),
        }
    }

    /// A node receives views.
    fn control_table(
        &mut self,
        slot: usize,
        link: LinkId,
        views: (Arc<Routes>, Epoch),
        every: Millis,
    ) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let pid = process.pid;
        let is_first = !std::mem::replace(&mut process.is_registered, true);
        if is_first && self.rng.chance(500) {
            // The thread that sends may be quicker than the one that adopts.
            self.node_beat(pid, link, false);
        }
        self.adopt_pushed(slot, views);
        if is_first {
            self.node_beat(pid, link, true);
        }
        self.node_paced(pid, link, every);
    }

    /// A node receives the reply to a heartbeat.
    fn control_reply(&mut self, slot: usize, link: LinkId, frame: Frame) {
        let Frame::HeartbeatReply(number, is_known, lease, active, every) = frame else { return };
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let pid = process.pid;
        process.active = process.active.max(active);
        if let Some(lease_ms) = lease {
            process.until = process.lease.granted(number, lease_ms);
        }
        let until = process.until;
        self.log(|_| format!("node{slot} heard {number}: lease {lease:?} until {until}"));
        self.node_paced(pid, link, every);
        if is_known {
            starts::anchor(&mut self.slots[slot].starts, &pid);
        }
        let process = self.slots[slot].process.as_mut().expect("it runs");
        let has_left = process.left_with.is_some_and(|epoch| epoch <= active);
        if !is_known || has_left {
            process.control = None;
            self.close(link);
            self.connect_later(pid);
        }
    }
}
