//! The operator: orders changes at random moments, sometimes two at once, and waits for their
//! outcome; and where K replicas or more were lost, accepts the loss.

use std::collections::VecDeque;

use cluster::ids::NodeId;
use cluster::lease::Terms;
use cluster::membership::{AdminCommand, Reconfiguration};
use cluster::membership::{Answer, Event as Happening, Loss};

use crate::world::{Event, HEARTBEAT_MS, World};

/// The lengths of ordered leases: from the usual one to twice that.
const TERMS: [Terms; 4] = [
    Terms { heartbeat_ms: HEARTBEAT_MS, missed: 3 },
    Terms { heartbeat_ms: HEARTBEAT_MS, missed: 6 },
    Terms { heartbeat_ms: 2 * HEARTBEAT_MS, missed: 2 },
    Terms { heartbeat_ms: 2 * HEARTBEAT_MS, missed: 3 },
];

/// The operator's open requests.
#[derive(Default)]
pub struct Operator {
    /// Orders that were accepted and have no outcome yet. Outcomes come in the same order.
    orders: VecDeque<AdminCommand>,
    /// How many accepted losses have no reply yet.
    askers: usize,
    /// The loss that was shown.
    shown: Option<Loss>,
    /// The synced copies that a new write certainly has: the confirmed number, unless fewer have
    /// been ordered since.
    least: usize,
}

impl Operator {
    /// The operator of a cluster that is born with so many least copies.
    pub fn new(least: usize) -> Operator {
        Operator { least, ..Operator::default() }
    }

    /// The synced copies that are promised to a new write.
    pub fn least(&self) -> usize {
        self.least
    }

    /// Whether a request is open.
    pub fn waits(&self) -> bool {
        !self.orders.is_empty() || self.askers > 0
    }

    /// The manager has ended, and with it the connections of open requests.
    pub fn hang_up(&mut self) {
        *self = Operator::new(self.least);
    }
}

impl World {
    /// Perhaps orders a change, and plans the next time.
    pub fn operate(&mut self) {
        if self.is_calm {
            return;
        }
        let gap = self.rng.within(1_000, self.plan.orders);
        self.after(gap, Event::Operate);
        let Some(membership) = self.manager.membership() else { return };
        if self.manager.paused_until > self.now {
            return;
        }
        let loss = membership.loss(self.now / 1000);
        if self.plan.loses && self.operator.shown.is_some() && self.rng.chance(100) {
            // The loss that was shown then; there may be another by now, or none.
            return self.accept_loss();
        }
        if self.plan.loses && loss.is_some() && self.rng.chance(200) {
            self.operator.shown = loss;
            return;
        }
        let is_changing = membership.newest().view().is_changing() || self.operator.waits();
        if is_changing && self.rng.chance(300) {
            return self.order(AdminCommand::Cancel);
        }
        if is_changing && self.rng.chance(800) {
            return;
        }
        let change = self.change();
        self.order(AdminCommand::Reconfigure { change, force: false });
    }

    /// A random change. Not every one makes sense.
    fn change(&mut self) -> Reconfiguration {
        if self.plan.terms > 0 && self.rng.chance(self.plan.terms) {
            let Terms { heartbeat_ms, missed } = self.rng.pick(&TERMS);
            return Reconfiguration::Terms {
                heartbeat_ms: Some(heartbeat_ms),
                missed: Some(missed),
            };
        }
        if self.plan.min_orders > 0 && self.rng.chance(self.plan.min_orders) {
            return Reconfiguration::MinCopies(self.rng.pick(&[1, 2, 2, 3]));
        }
        let slot = self.rng.below(self.slots.len() as u64);
        let id = NodeId::new(&format!("node{slot}")).expect("a valid name");
        match self.rng.below(100) {
            n if n < 45 => Reconfiguration::Leave(id),
            n if n < 70 => Reconfiguration::Weight(id, self.rng.within(1, 3) as u32),
            _ => Reconfiguration::Copies(self.rng.pick(&[1, 2, 2, 3, 3, 4])),
        }
    }

    fn order(&mut self, order: AdminCommand) {
        self.counts.orders += 1;
        self.log(|_| format!("operator: {order:?}"));
        if let Some(least) = least_of(&order) {
            self.operator.least = self.operator.least.min(least);
        }
        self.operator.orders.push_back(order.clone());
        if let Some(Answer::Wait(why)) = self.manager_step(Happening::Command(order)) {
            self.operator.orders.pop_back();
            self.log(|_| format!("operator is to wait: {why}"));
        }
    }

    /// The oldest open order has an outcome.
    pub fn told(&mut self, what: &Result<String, String>) {
        self.log(|_| format!("operator receives: {what:?}"));
        match (self.operator.orders.pop_front(), what) {
            (None, _) => {
                self.fail(format!("nobody has asked for an outcome, but there is one: {what:?}"))
            }
            (Some(AdminCommand::Cancel), Ok(_)) => self.counts.cancelled += 1,
            (Some(order), Ok(_)) => {
                self.counts.granted += 1;
                if let Some(least) = least_of(&order) {
                    let others = self.operator.orders.iter().filter_map(least_of);
                    self.operator.least = others.fold(least, usize::min);
                    self.counts.least_orders += 1;
                }
            }
            (Some(_), Err(_)) => {}
        }
    }

    /// Looks at the loss, and accepts it.
    pub fn look_and_accept(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        self.operator.shown = membership.loss(self.now / 1000);
        self.accept_loss();
    }

    /// Accepts the loss that was shown.
    fn accept_loss(&mut self) {
        let Some(shown) = self.operator.shown.take() else { return };
        self.log(|_| format!("operator accepts what is lost: {shown:?}"));
        self.operator.askers += 1;
        let answer = self.manager_step(Happening::AcceptLoss(shown));
        if answer.as_ref().is_some_and(Answer::is_refusal) {
            self.operator.askers -= 1;
            self.counts.changed += u64::from(matches!(answer, Some(Answer::Changed(_))));
        }
    }

    /// An accepted loss is confirmed.
    pub fn loss_accepted(&mut self, arcs: usize) {
        self.log(|_| format!("operator receives: {arcs} arcs were lost"));
        self.counts.accepted += u64::from(arcs > 0);
        match self.operator.askers.checked_sub(1) {
            Some(left) => self.operator.askers = left,
            None => self.fail("nobody has accepted a loss, but one is reported as accepted".into()),
        }
    }
}

/// The least copies in an order, if it is about them.
fn least_of(order: &AdminCommand) -> Option<usize> {
    match order {
        AdminCommand::Reconfigure { change: Reconfiguration::MinCopies(least), .. } => Some(*least),
        _ => None,
    }
}
