//! The schedule of faults and planned changes: drawn from the seed ([`Draw`]), within the limits of
//! the [`Roster`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::GTStoreClient;
use cluster::membership::NodeState;
use harness::operator::{CommandOutcome, Operator, OperatorError, RunningCommand};
use harness::party::{Party, node_name};
use harness::process::SpawnError;
use harness::proxy::Faults;
use harness::service::{ProcessEnd, Service};
use rand::rngs::StdRng;

use super::draw::Draw;
use super::fault::{ChaosFault, EventKind, PastEvent, PlannedChange, WantedChanges};
use super::roster::{Roster, StatusSample};

/// Most faults at one time.
const MOST: usize = 3;

/// Pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..900;

/// Pause after a calm kill, so that its effect alone can be measured.
const CALM: Duration = Duration::from_millis(1_500);

/// Percentage of calm kills. Each waits until the cluster is healthy, which makes the others fewer.
const CALM_PERCENT: u32 = 8;

/// Percentage of planned changes.
const CHANGE_PERCENT: u32 = 25;

/// Percentage of planned changes that are cancelled …
const CANCEL_PERCENT: u32 = 30;

/// … after this many milliseconds: with few keys a change takes no longer.
const CANCEL_AFTER: std::ops::Range<u64> = 0..30;

/// Why the schedule cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The processes.
    #[error(transparent)]
    Child(#[from] SpawnError),
    /// The client command.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A process has exited unexpectedly.
    #[error("{0}")]
    Ended(String),
}

impl From<std::io::Error> for ScheduleError {
    fn from(error: std::io::Error) -> ScheduleError {
        SpawnError::from(error).into()
    }
}

/// A fault that begins now.
struct ScheduledFault {
    fault: ChaosFault,
    lasts: Duration,
    nature: EventKind,
}

struct ActiveFault {
    id: u64,
    fault: ChaosFault,
    until: Instant,
}

/// A planned change whose command has not returned yet.
struct PendingChange {
    change: PlannedChange,
    asked: RunningCommand,
    /// Its index in the list of past events.
    past: usize,
}

/// The faults and changes of a run.
pub struct Schedule {
    draw: Draw,
    roster: Roster,
    wanted: WantedChanges,
    lease: Duration,
    faults: Arc<Faults>,
    operator: Operator,
    next: Instant,
    next_id: u64,
    active: Vec<ActiveFault>,
    open: Option<PendingChange>,
    cancel_at: Option<Instant>,
    wants_calm: bool,
    /// All events so far.
    pub past: Vec<PastEvent>,
}

impl Schedule {
    /// A schedule for this roster.
    pub fn new(
        rng: StdRng,
        roster: Roster,
        wanted: WantedChanges,
        lease: Duration,
        faults: Arc<Faults>,
        operator: Operator,
    ) -> Schedule {
        Schedule {
            draw: Draw::new(rng, wanted, roster.copies(), lease),
            roster,
            wanted,
            lease,
            faults,
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

    /// Ends and begins faults that are due. Call it every few milliseconds; `now` is the histories'
    /// clock.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn step(
        &mut self,
        service: &mut Service,
        watcher: &GTStoreClient,
        now: impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        self.count_ended(service)?;
        self.end_due(service, Instant::now())?;
        self.poll_operator()?;
        if self.cancel_at.is_some_and(|at| at <= Instant::now()) && self.open.is_none() {
            self.cancel_at = None;
            self.change(service, PlannedChange::Cancel, &now)?;
        }
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + self.draw.millis(PAUSE);
        let unsettled = self.poll_status(watcher);
        let is_busy = !self.active.is_empty() || self.roster.is_in_doubt();
        if self.wants_calm {
            if is_busy || unsettled != Some(Vec::new()) {
                return Ok(());
            }
            let Some(node) = self.draw.one_of(&self.roster.settled()) else { return Ok(()) };
            self.wants_calm = false;
            self.next = Instant::now() + CALM;
            let (lasts, nature) = (self.draw.millis(1_000..2_500), EventKind::CalmKill);
            return self.begin(
                service,
                ScheduledFault { fault: ChaosFault::Kill(node), lasts, nature },
                &now,
            );
        }
        if self.draw.percent(CALM_PERCENT) {
            self.wants_calm = true;
            return Ok(());
        }
        // Several attempts: a drawn fault may not be allowed at present.
        for _ in 0..8 {
            if self.draw.percent(CHANGE_PERCENT) {
                if let Some(change) = self.draw.change(&self.roster) {
                    return self.change(service, change, &now);
                }
                continue;
            }
            let (fault, lasts) = self.draw.fault(&self.roster);
            if self.is_allowed(&fault, unsettled.as_deref()) {
                return self.begin(
                    service,
                    ScheduledFault { fault, lasts, nature: EventKind::Fault },
                    &now,
                );
            }
        }
        Ok(())
    }

    /// Ends all faults now, and waits for the pending change.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn end(&mut self, service: &mut Service) -> Result<(), ScheduleError> {
        let last = self.active.iter().map(|active| active.until).max();
        self.end_due(service, last.unwrap_or_else(Instant::now))?;
        if let Some(PendingChange { change, asked, past }) = self.open.take() {
            let answer = asked.wait()?;
            self.answered(&change, past, &answer);
        }
        Ok(())
    }

    /// Counts processes that have exited by themselves.
    ///
    /// # Errors
    /// [`ScheduleError::Ended`] with an unexpected one.
    pub fn count_ended(&mut self, service: &mut Service) -> Result<(), ScheduleError> {
        while let Some(ProcessEnd { party, is_well, what }) = service.ended() {
            let was_asked = matches!(party, Party::Node(node) if self.roster.left(node));
            if !(is_well && was_asked) {
                return Err(ScheduleError::Ended(what));
            }
        }
        Ok(())
    }

    fn is_allowed(&self, fault: &ChaosFault, unsettled: Option<&[usize]>) -> bool {
        if self.active.len() >= MOST {
            return false;
        }
        let is_the_managers = |active: &ActiveFault| active.fault.is_managers();
        if fault.is_managers() && self.active.iter().any(is_the_managers) {
            return false;
        }
        let Some(node) = fault.risks() else { return true };
        // One at a time on a node: it must not be restarted while it is stopped.
        let is_hit = self.active.iter().any(|active| active.fault.risks() == Some(node));
        !is_hit && self.roster.may_risk(node, matches!(fault, ChaosFault::Kill(_)), unsettled)
    }

    fn begin(
        &mut self,
        service: &mut Service,
        ScheduledFault { fault, lasts, nature }: ScheduledFault,
        now: &impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        let id = self.next_id;
        self.next_id += 2;
        let until = Instant::now() + lasts;
        if let Some(node) = fault.risks() {
            self.roster.risk(node, until);
        }
        self.past.push(PastEvent {
            kind: fault.kind(lasts, self.lease),
            what: fault.to_string(),
            from: now(),
            lasts,
            nature,
        });
        match fault {
            ChaosFault::Kill(node) => service.kill(&[Party::Node(node)]),
            ChaosFault::Stop(node) => service.suspend(Party::Node(node))?,
            ChaosFault::KillManager => service.kill(&[Party::Manager]),
            ChaosFault::StopManager => service.suspend(Party::Manager)?,
            ChaosFault::Cut(cut) => self.faults.cut(id, cut),
            ChaosFault::Halves(one, two) => {
                self.faults.cut(id, one);
                self.faults.cut(id + 1, two);
            }
        }
        self.active.push(ActiveFault { id, fault, until });
        Ok(())
    }

    fn end_due(&mut self, service: &mut Service, now: Instant) -> Result<(), ScheduleError> {
        let (due, rest) =
            std::mem::take(&mut self.active).into_iter().partition(|active| active.until <= now);
        self.active = rest;
        let due: Vec<ActiveFault> = due;
        for ActiveFault { id, fault, .. } in due {
            match fault {
                ChaosFault::Kill(node) => service.start_again(Party::Node(node))?,
                ChaosFault::Stop(node) => service.resume(Party::Node(node))?,
                ChaosFault::KillManager => service.start_again(Party::Manager)?,
                ChaosFault::StopManager => service.resume(Party::Manager)?,
                ChaosFault::Cut(_) => self.faults.mend(id),
                ChaosFault::Halves(..) => {
                    self.faults.mend(id);
                    self.faults.mend(id + 1);
                }
            }
        }
        Ok(())
    }

    /// Begins a planned change.
    fn change(
        &mut self,
        service: &mut Service,
        change: PlannedChange,
        now: &impl Fn() -> u64,
    ) -> Result<(), ScheduleError> {
        self.past.push(PastEvent {
            kind: change.kind(),
            what: change.to_string(),
            from: now(),
            lasts: Duration::ZERO,
            nature: EventKind::Change,
        });
        match &change {
            PlannedChange::Join(nodes) => {
                self.roster.join(nodes);
                service.add(nodes)?;
            }
            PlannedChange::Leave(node) => self.roster.ask_to_leave(*node),
            PlannedChange::Copies(copies) => self.roster.ask_copies(*copies),
            PlannedChange::Weight(..) | PlannedChange::Cancel => {}
        }
        if let Some(order) = change.order() {
            self.roster.ask(Instant::now());
            let asked = self.operator.ask(&order)?;
            self.open = Some(PendingChange { change, asked, past: self.past.len() - 1 });
        }
        Ok(())
    }

    /// Takes the outcome of the pending change, if there is one, and extends the doubt while a
    /// change may still take effect.
    fn poll_operator(&mut self) -> Result<(), ScheduleError> {
        let now = Instant::now();
        if self.open.is_some() || self.active.iter().any(|active| active.fault.is_managers()) {
            self.roster.stay_in_doubt(now);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(answer) = open.asked.poll()? else { return Ok(()) };
        if let Some(PendingChange { change, past, .. }) = self.open.take() {
            self.answered(&change, past, &answer);
        }
        Ok(())
    }

    fn answered(&mut self, change: &PlannedChange, past: usize, answer: &CommandOutcome) {
        match answer {
            CommandOutcome::Begun if *change != PlannedChange::Cancel && self.wanted.cancel => {
                if self.draw.percent(CANCEL_PERCENT) {
                    self.cancel_at = Some(Instant::now() + self.draw.millis(CANCEL_AFTER));
                }
            }
            CommandOutcome::Begun => {}
            CommandOutcome::Refused(why) => {
                let past = &mut self.past[past];
                past.kind = change.refused();
                past.what = format!("{}: {why}", past.what);
            }
        }
    }

    /// Requests the status: the nodes that do not serve, and those at risk; `None` without a reply.
    fn poll_status(&mut self, watcher: &GTStoreClient) -> Option<Vec<usize>> {
        // Not while the manager cannot reply: that would delay the schedule.
        if self.active.iter().any(|active| active.fault.is_managers()) {
            return None;
        }
        let at = Instant::now();
        let status = watcher.status().ok()?;
        // A leaving node serves until the others have all its records.
        let serves = |node: &usize| {
            let name = node_name(*node);
            let mut nodes = status.nodes.iter();
            nodes.any(|n| {
                n.id.as_str() == name && matches!(n.state, NodeState::Active | NodeState::Leaving)
            })
        };
        Some(self.roster.update(&StatusSample {
            at,
            is_well: status.is_settled(),
            copies: usize::from(status.copies),
            serving: self.roster.present().into_iter().filter(serves).collect(),
        }))
    }
}

impl fmt::Display for Schedule {
    /// A line for each fault and change, by time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PastEvent { from, what, lasts, nature, .. } in &self.past {
            write!(f, "{:>9.3} s  {what}", *from as f64 / 1e9)?;
            if *nature != EventKind::Change {
                write!(f, ", for {lasts:?}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
