//! The cluster under test, and the execution of a step: begin it, and wait until the cluster is
//! healthy.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use client::{Config, status};
use harness::interrupt::Interrupt;
use harness::operator::{CommandOutcome, Operator, OperatorCommand};
use harness::party::{Party, node_name};
use harness::service::{ClusterSetup, Service};
use net_common::message::control::Status;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load::ElasticFindings;
use super::meter::Meter;
use super::movement;
use super::plan::{ElasticPlan, Members, PlanStep, StepAction};
use super::report::ElasticEvent;
use super::watch::{self, Watch};
use super::{ElasticError, ElasticSettings};
use crate::figures::thousands;
use crate::summary::Balance;

/// Undisturbed load before each step, for comparison.
const CALM: Duration = Duration::from_secs(3);

/// Time limit for the cluster to become healthy after a step.
const PATIENCE: Duration = Duration::from_secs(180);

/// Time limit for the start of the cluster, and for the exit of a node that has left.
const COMING_UP: Duration = Duration::from_secs(30);

/// Interval between status requests.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The cluster under test and its observers.
pub struct ElasticTestbed {
    /// The processes.
    pub service: Service,
    operator: Operator,
    /// Observes views and health.
    pub watch: Watch,
    members: Members,
    rng: StdRng,
    /// The meter, whose clock the events use.
    pub meter: Arc<Meter>,
    interrupt: Interrupt,
}

impl ElasticTestbed {
    /// Starts a cluster and waits until it is healthy.
    ///
    /// # Errors
    /// [`ElasticError`].
    pub fn new(
        settings: &ElasticSettings,
        bin: &Path,
        folder: &Path,
    ) -> Result<ElasticTestbed, ElasticError> {
        let interrupt = Interrupt::watch("elastic")?;
        let most = settings.plan.most_nodes(settings.nodes);
        let setup = ClusterSetup::new(bin, folder, settings.copies, most);
        let mut service = Service::start(&setup)?;
        let operator = Operator::new(bin, service.manager(), PATIENCE);
        let members = Members::new(settings.nodes);
        service.add(&members.running().iter().copied().collect::<Vec<_>>())?;
        let config = Config::new(service.manager());
        let until = Instant::now() + COMING_UP;
        let watch = loop {
            match Watch::new(&config) {
                Ok(watch) => break watch,
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => thread::sleep(POLL_INTERVAL),
            }
        };
        let rng = StdRng::seed_from_u64(settings.seed);
        let meter = Arc::new(Meter::start());
        let mut testbed =
            ElasticTestbed { service, operator, watch, members, rng, meter, interrupt };
        testbed.wait_until_healthy(&ElasticFindings::default(), &[], COMING_UP)?;
        Ok(testbed)
    }

    /// Runs all steps, with undisturbed load before and after each.
    ///
    /// # Errors
    /// Mostly [`ElasticError::Step`].
    pub fn run_steps(
        &mut self,
        plan: &ElasticPlan,
        findings: &ElasticFindings,
        events: &mut Vec<ElasticEvent>,
        print: &mut impl Write,
    ) -> Result<(), ElasticError> {
        self.calm(findings)?;
        for &step in &plan.0 {
            let event = self.step(step, findings)?;
            self.calm(findings)?;
            writeln!(print, "{}", event.line(&event.figures(&self.meter.tracks())))?;
            print.flush()?;
            events.push(event);
        }
        Ok(())
    }

    fn step(
        &mut self,
        step: PlanStep,
        findings: &ElasticFindings,
    ) -> Result<ElasticEvent, ElasticError> {
        let nothing = || ElasticError::Step("the manager sends no view".to_owned());
        let before = self.watch.keys().copies(self.watch.routes().ok_or_else(nothing)?);
        let fetched = self.watch.fetched();
        let begun = self.meter.now();
        let act = self.members.act(step, &mut self.rng);
        let leaving = self.begin(&act)?;
        self.wait_until_healthy(findings, &leaving, PATIENCE)?;
        let healed = self.meter.now();
        self.wait_for_exits(&leaving)?;
        let (keys, routes) = (self.watch.keys(), self.watch.routes().ok_or_else(nothing)?);
        let ratio =
            |balance: Option<Balance>| balance.map_or(1.0, |balance| balance.max_over_mean());
        Ok(ElasticEvent {
            act,
            calm_since: begun.saturating_sub(CALM),
            begun,
            healed,
            nodes: self.members.running().len(),
            keys_max_over_mean: ratio(keys.keys_balance(routes)),
            copies_max_over_mean: ratio(keys.copies_balance(routes)),
            moved: self.watch.fetched() - fetched,
            least: movement::least(&before, &keys.copies(routes)),
        })
    }

    /// Begins a step; returns the nodes that should exit by themselves.
    fn begin(&mut self, act: &StepAction) -> Result<Vec<usize>, ElasticError> {
        match act {
            StepAction::Kill(nodes) => {
                let victims: Vec<Party> = nodes.iter().copied().map(Party::Node).collect();
                self.service.kill(&victims);
            }
            StepAction::Add(nodes) => self.service.add(nodes)?,
            StepAction::Weight(node, weight) => {
                self.order(&OperatorCommand::Weight(node_name(*node), *weight))?;
            }
            StepAction::Leave(nodes) => {
                for &node in nodes {
                    self.order(&OperatorCommand::Leave(node_name(node)))?;
                }
                return Ok(nodes.clone());
            }
        }
        Ok(Vec::new())
    }

    fn order(&self, order: &OperatorCommand) -> Result<(), ElasticError> {
        match self.operator.ask(order)?.wait()? {
            CommandOutcome::Begun => Ok(()),
            CommandOutcome::Refused(why) => {
                Err(ElasticError::Step(format!("client {order} is refused: {why}")))
            }
        }
    }

    /// Observes the undisturbed cluster for a while.
    fn calm(&mut self, findings: &ElasticFindings) -> Result<(), ElasticError> {
        let until = Instant::now() + CALM;
        while Instant::now() < until {
            self.observe(findings, &[])?;
        }
        Ok(())
    }

    /// Observes until the cluster is healthy and exactly the members serve.
    fn wait_until_healthy(
        &mut self,
        findings: &ElasticFindings,
        leaving: &[usize],
        patience: Duration,
    ) -> Result<(), ElasticError> {
        let names: BTreeSet<String> =
            self.members.running().iter().map(|&number| node_name(number)).collect();
        let until = Instant::now() + patience;
        loop {
            let status = self.observe(findings, leaving)?;
            if status.as_ref().is_some_and(|status| watch::is_healed(status, &names)) {
                return Ok(());
            }
            if Instant::now() > until {
                let how = status.map_or_else(
                    || "the manager does not answer".to_owned(),
                    |status| status::table(&status),
                );
                let why = format!("not healthy after {} s: {how}", patience.as_secs());
                return Err(ElasticError::Step(why));
            }
        }
    }

    /// Waits until the nodes that left have exited.
    fn wait_for_exits(&mut self, leaving: &[usize]) -> Result<(), ElasticError> {
        let until = Instant::now() + COMING_UP;
        while let Some(&node) = leaving.iter().find(|&&node| self.service.is_running(node)) {
            self.check_exits(leaving)?;
            if Instant::now() > until {
                let why = format!("{} has left and does not end", node_name(node));
                return Err(ElasticError::Step(why));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Fails if a process has exited, except for nodes that were asked to leave.
    fn check_exits(&mut self, leaving: &[usize]) -> Result<(), ElasticError> {
        while let Some(ended) = self.service.ended() {
            if !ended.has_left(leaving) {
                return Err(ElasticError::Step(ended.what));
            }
        }
        Ok(())
    }

    fn observe(
        &mut self,
        findings: &ElasticFindings,
        leaving: &[usize],
    ) -> Result<Option<Status>, ElasticError> {
        thread::sleep(POLL_INTERVAL);
        if self.interrupt.has_come() {
            return Err(ElasticError::Step("interrupted".to_owned()));
        }
        if findings.is_stopped() {
            return Err(ElasticError::Step("the load has stopped".to_owned()));
        }
        self.check_exits(leaving)?;
        Ok(self.watch.poll(self.meter.now()))
    }

    /// Checks that the nodes hold exactly the copies that they should.
    ///
    /// # Errors
    /// [`ElasticError::Count`].
    pub fn count(&mut self, due: u64, print: &mut impl Write) -> Result<(), ElasticError> {
        let until = Instant::now() + COMING_UP;
        loop {
            // Nodes drop ranges that they no longer replicate when they adopt the view, which may
            // be happening now.
            let held = self.watch.held()?;
            if held == due {
                writeln!(print, "the nodes hold {} copies, as many as are due", thousands(held))?;
                return Ok(());
            }
            if Instant::now() > until {
                return Err(ElasticError::Count { held, due });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}
