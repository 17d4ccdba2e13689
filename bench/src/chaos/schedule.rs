//! Which fault comes when, and which planned change: drawn from the seed, within what the [`Crew`] allows.

use std::fmt;
use std::time::{Duration, Instant};

use client::GTStoreClient;
use rand::RngExt;
use rand::rngs::StdRng;

use super::crew::{Crew, Seen};
use super::fault::{Change, Fault, Past, Wanted};
use super::proxy::{Cut, Cuts, Party};
use super::service::{Ended, Service, name};
use crate::child::ChildError;
use crate::operator::{Answer, Asked, Operator, OperatorError};

/// Faults at one time.
const MOST: usize = 3;

/// Between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..900;

/// Nothing else happens so long after a calm kill, so that what it alone does can be measured.
const CALM: Duration = Duration::from_millis(1_500);

/// So many in a hundred are calm kills. Each waits until all is well, which makes the others fewer.
const CALM_PERCENT: u32 = 8;

/// So many in a hundred are planned changes.
const CHANGE_PERCENT: u32 = 25;

/// So many in a hundred planned changes are taken back …
const CANCEL_PERCENT: u32 = 30;

/// … after so many milliseconds: where there are few keys a change takes no more.
const CANCEL_AFTER: std::ops::Range<u64> = 0..30;

/// Most nodes that are started at once.
const MOST_JOINING: usize = 3;

/// Weights that nodes get.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=3;

/// Why the schedule cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The processes.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The client command.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A process has ended that should not have.
    #[error("{0}")]
    Ended(String),
}

impl From<std::io::Error> for ScheduleError {
    fn from(error: std::io::Error) -> ScheduleError {
        ChildError::from(error).into()
    }
}

struct Active {
    id: u64,
    fault: Fault,
    until: Instant,
}

/// A planned change that the operator was asked for, and has not answered.
struct Open {
    change: Change,
    asked: Asked,
    /// Its place among what has happened.
    past: usize,
}

/// The faults and changes of a run.
pub struct Schedule<'a> {
    rng: StdRng,
    crew: Crew,
    /// K at first, which is not left by more than one.
    copies: usize,
    wanted: Wanted,
    lease: Duration,
    cuts: &'a Cuts,
    operator: Operator,
    next: Instant,
    next_id: u64,
    active: Vec<Active>,
    open: Option<Open>,
    cancel_at: Option<Instant>,
    wants_calm: bool,
    /// What has happened.
    pub past: Vec<Past>,
}

impl<'a> Schedule<'a> {
    /// For a crew that keeps so many copies.
    pub fn new(
        rng: StdRng,
        crew: Crew,
        wanted: Wanted,
        lease: Duration,
        cuts: &'a Cuts,
        operator: Operator,
    ) -> Schedule<'a> {
        Schedule {
            rng,
            copies: crew.copies(),
            crew,
            wanted,
            lease,
            cuts,
            operator,
            next: Instant::now() + Duration::from_millis(500),
            next_id: 0,
            active: Vec::new(),
            open: None,
            cancel_at: None,
            wants_calm: false,
            past: Vec::new(),
        }
    }

    /// Ends what is due and begins what is due. To be called every few milliseconds; `now` is the
    /// histories' clock.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn step(
        &mut self,
        service: &mut Service,
        watcher: &GTStoreClient,
        now: impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        self.bury(service)?;
        self.end_due(service, Instant::now())?;
        self.listen()?;
        if self.cancel_at.is_some_and(|at| at <= Instant::now()) && self.open.is_none() {
            self.cancel_at = None;
            self.change(service, Change::Cancel, &now)?;
        }
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Duration::from_millis(self.rng.random_range(PAUSE));
        let unsettled = self.look(watcher);
        let is_busy = !self.active.is_empty() || self.crew.is_in_doubt();
        if self.wants_calm {
            let settled = self.crew.settled();
            if !is_busy && unsettled == Some(Vec::new()) && !settled.is_empty() {
                self.wants_calm = false;
                self.next = Instant::now() + CALM;
                let fault = Fault::Kill(settled[self.rng.random_range(0..settled.len())]);
                let lasts = self.millis(1_000..2_500);
                return self.begin(service, fault, lasts, true, &now);
            }
            return Ok(());
        }
        if self.rng.random_range(0..100) < CALM_PERCENT {
            self.wants_calm = true;
            return Ok(());
        }
        // A few draws: what is drawn may be forbidden at present.
        for _ in 0..8 {
            if self.rng.random_range(0..100) < CHANGE_PERCENT {
                if let Some(change) = self.draw_change() {
                    return self.change(service, change, &now);
                }
                continue;
            }
            let (fault, lasts) = self.draw();
            if self.is_allowed(&fault, unsettled.as_deref()) {
                return self.begin(service, fault, lasts, false, &now);
            }
        }
        Ok(())
    }

    /// Ends everything now, and waits for what was asked.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn end(&mut self, service: &mut Service) -> Result<(), ScheduleError> {
        let last = self.active.iter().map(|active| active.until).max();
        self.end_due(service, last.unwrap_or_else(Instant::now))?;
        if let Some(Open { change, asked, past }) = self.open.take() {
            let answer = asked.wait()?;
            self.answered(&change, past, &answer);
        }
        Ok(())
    }

    /// Counts those that have ended by themselves.
    ///
    /// # Errors
    /// [`ScheduleError::Ended`] with one that should not have.
    pub fn bury(&mut self, service: &mut Service) -> Result<(), ScheduleError> {
        while let Some(Ended { node, is_well, what }) = service.ended() {
            let was_asked = node.is_some_and(|node| self.crew.left(node));
            if !(is_well && was_asked) {
                return Err(ScheduleError::Ended(what));
            }
        }
        Ok(())
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    fn draw(&mut self) -> (Fault, Duration) {
        // Never fewer than two: more than K-1 are neither killed nor let go.
        let present = self.crew.present();
        let at = self.rng.random_range(0..present.len());
        let other = (at + self.rng.random_range(1..present.len())) % present.len();
        let (node, other) = (present[at], present[other]);
        let (stops_requests, stops_replies) =
            [(true, true), (true, true), (true, false), (false, true)][self.rng.random_range(0..4)];
        let salt: u64 = self.rng.random();
        let half = |of: bool, salt| of.then_some(salt);
        let is_half = self.rng.random_range(0..3) > 0;
        let cut = |from, to, half| Cut { from, to, stops_requests, stops_replies, half };
        let long = self.lease.as_millis() as u64;
        let (client, manager) = (Party::Client, Party::Manager);
        match self.rng.random_range(0..100) {
            0..16 => (Fault::Kill(node), self.millis(100..3_500)),
            16..28 => (Fault::Stop(node), self.millis(50..3 * long)),
            28..32 => (Fault::KillManager, self.millis(50..2_000)),
            32..37 => (Fault::StopManager, self.millis(50..2 * long)),
            37..62 => {
                // Often past the lease: whoever answers then without one is found out.
                let cut = cut(Party::Node(node), manager, None);
                (Fault::Cut(cut), self.millis(long / 2..6 * long))
            }
            62..68 => {
                let cut = cut(Party::Node(node), Party::Node(other), None);
                (Fault::Cut(cut), self.millis(200..3_000))
            }
            68..78 => {
                let cut = cut(client, Party::Node(node), half(is_half, salt));
                (Fault::Cut(cut), self.millis(200..2_000))
            }
            78..95 => {
                let one = cut(client, Party::Node(node), Some(salt));
                let two = cut(client, Party::Node(other), Some(salt.rotate_left(32)));
                (Fault::Halves(one, two), self.millis(400..2_000))
            }
            _ => {
                let cut = cut(client, manager, half(is_half, salt));
                (Fault::Cut(cut), self.millis(200..2_000))
            }
        }
    }

    /// A planned change, if the one that is drawn is wanted and allowed.
    fn draw_change(&mut self) -> Option<Change> {
        let kind = self.rng.random_range(0..100);
        let any: usize = self.rng.random_range(0..usize::MAX);
        let weight = self.rng.random_range(WEIGHTS);
        let settled = self.crew.settled();
        let node = *settled.get(any % settled.len().max(1))?;
        match kind {
            0..35 if self.wanted.join => {
                let mut out = self.crew.out();
                out.truncate(1 + any % MOST_JOINING);
                (!out.is_empty()).then_some(Change::Join(out))
            }
            35..70 if self.wanted.leave => self.crew.may_leave(node).then_some(Change::Leave(node)),
            70..85 if self.wanted.weight => {
                (!self.crew.is_in_doubt()).then_some(Change::Weight(node, weight))
            }
            85..100 if self.wanted.rep => {
                let copies = self.copies - 1 + any % 3;
                self.crew.may_copy(copies).then_some(Change::Copies(copies))
            }
            _ => None,
        }
    }

    fn is_allowed(&self, fault: &Fault, unsettled: Option<&[usize]>) -> bool {
        if self.active.len() >= MOST {
            return false;
        }
        let is_the_managers = |active: &Active| active.fault.is_managers();
        if fault.is_managers() && self.active.iter().any(is_the_managers) {
            return false;
        }
        let Some(node) = fault.risks() else { return true };
        // One at a time on a node: it must not be restarted while it is stopped.
        let is_hit = self.active.iter().any(|active| active.fault.risks() == Some(node));
        !is_hit && self.crew.may_risk(node, matches!(fault, Fault::Kill(_)), unsettled)
    }

    fn begin(
        &mut self,
        service: &mut Service,
        fault: Fault,
        lasts: Duration,
        is_calm_kill: bool,
        now: &impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        let id = self.next_id;
        self.next_id += 2;
        let until = Instant::now() + lasts;
        if let Some(node) = fault.risks() {
            self.crew.risk(node, until);
        }
        self.past.push(Past {
            kind: fault.kind(lasts, self.lease),
            what: fault.to_string(),
            from: now(),
            lasts,
            is_planned: false,
            is_calm_kill,
        });
        match fault {
            Fault::Kill(node) => service.kill_node(node),
            Fault::Stop(node) => service.pause(Party::Node(node), true)?,
            Fault::KillManager => service.kill_manager(),
            Fault::StopManager => service.pause(Party::Manager, true)?,
            Fault::Cut(cut) => self.cuts.cut(id, cut),
            Fault::Halves(one, two) => {
                self.cuts.cut(id, one);
                self.cuts.cut(id + 1, two);
            }
        }
        self.active.push(Active { id, fault, until });
        Ok(())
    }

    fn end_due(&mut self, service: &mut Service, now: Instant) -> Result<(), ScheduleError> {
        let (due, rest) =
            std::mem::take(&mut self.active).into_iter().partition(|active| active.until <= now);
        self.active = rest;
        let due: Vec<Active> = due;
        for Active { id, fault, .. } in due {
            match fault {
                Fault::Kill(node) => service.start_node(node)?,
                Fault::Stop(node) => service.pause(Party::Node(node), false)?,
                Fault::KillManager => service.start_manager()?,
                Fault::StopManager => service.pause(Party::Manager, false)?,
                Fault::Cut(_) => self.cuts.mend(id),
                Fault::Halves(..) => {
                    self.cuts.mend(id);
                    self.cuts.mend(id + 1);
                }
            }
        }
        Ok(())
    }

    /// Begins a planned change.
    fn change(
        &mut self,
        service: &mut Service,
        change: Change,
        now: &impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        self.past.push(Past {
            kind: change.kind(),
            what: change.to_string(),
            from: now(),
            lasts: Duration::ZERO,
            is_planned: true,
            is_calm_kill: false,
        });
        match &change {
            Change::Join(nodes) => {
                self.crew.join(nodes);
                for &node in nodes {
                    service.start_node(node)?;
                }
            }
            Change::Leave(node) => self.crew.ask_to_leave(*node),
            Change::Copies(copies) => self.crew.ask_copies(*copies),
            Change::Weight(..) | Change::Cancel => {}
        }
        if let Some(order) = change.order() {
            self.crew.ask(Instant::now());
            let asked = self.operator.ask(&order)?;
            self.open = Some(Open { change, asked, past: self.past.len() - 1 });
        }
        Ok(())
    }

    /// Takes the operator's answer, if it is there, and stays in doubt as long as there may be more to come.
    fn listen(&mut self) -> Result<(), ScheduleError> {
        let now = Instant::now();
        if self.open.is_some() || self.active.iter().any(|active| active.fault.is_managers()) {
            self.crew.stay_in_doubt(now);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(answer) = open.asked.poll()? else { return Ok(()) };
        if let Some(Open { change, past, .. }) = self.open.take() {
            self.answered(&change, past, &answer);
        }
        Ok(())
    }

    fn answered(&mut self, change: &Change, past: usize, answer: &Answer) {
        match answer {
            Answer::Begun if *change != Change::Cancel && self.wanted.cancel => {
                if self.rng.random_range(0..100) < CANCEL_PERCENT {
                    self.cancel_at = Some(Instant::now() + self.millis(CANCEL_AFTER));
                }
            }
            Answer::Begun => {}
            Answer::Refused(why) => {
                let past = &mut self.past[past];
                past.kind = change.refused();
                past.what = format!("{}: {why}", past.what);
            }
        }
    }

    /// Asks the manager how the cluster is: which nodes do not serve, with those at risk; `None` if it
    /// does not say.
    fn look(&mut self, watcher: &GTStoreClient) -> Option<Vec<usize>> {
        // Not while it cannot answer: that would hold up the schedule.
        if self.active.iter().any(|active| active.fault.is_managers()) {
            return None;
        }
        let at = Instant::now();
        let status = watcher.status().ok()?;
        // One that leaves serves until the others have everything.
        let serves = |node: &usize| {
            let name = name(*node);
            let mut nodes = status.nodes.iter();
            nodes.any(|n| n.id.as_str() == name && matches!(&*n.state, "active" | "leaving"))
        };
        Some(self.crew.see(&Seen {
            at,
            is_well: status.health == "healthy" && !status.changing,
            copies: usize::from(status.copies),
            serving: self.crew.present().into_iter().filter(serves).collect(),
        }))
    }
}

impl fmt::Display for Schedule<'_> {
    /// A line for each fault and change, by time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Past { from, what, lasts, is_planned, .. } in &self.past {
            let seconds = *from as f64 / 1e9;
            match is_planned {
                true => writeln!(f, "{seconds:>9.3} s  {what}")?,
                false => writeln!(f, "{seconds:>9.3} s  {what}, for {lasts:?}")?,
            }
        }
        Ok(())
    }
}
