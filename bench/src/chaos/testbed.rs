//! The cluster under test, and its observers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Config, GTStoreClient};
use harness::health;
use harness::interrupt::Interrupt;
use harness::operator::{self, Operator};
use harness::process;
use harness::proxy::Faults;
use harness::service::{ClusterSetup, Service};

use super::{ChaosError, ChaosSettings};

/// Time limit for the cluster to become healthy at the start and at the end.
const RECOVERY: Duration = Duration::from_secs(30);

/// Deadline of the operator's command. It is shorter than some faults, so the command sometimes
/// gives up.
const ORDER: Duration = Duration::from_secs(2);

/// Deadline of a client's operation. It is longer than most faults, so that few outcomes are
/// unknown.
const DEADLINE: Duration = Duration::from_secs(6);

/// How long a client waits for one node.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long a status request waits for the manager.
const STATUS_PATIENCE: Duration = Duration::from_millis(300);

/// Additional nodes that may join.
const SPARES: usize = 3;

/// The cluster, its observer and its operator.
pub struct ChaosTestbed {
    /// The processes.
    pub service: Service,
    /// Requests planned changes.
    pub operator: Operator,
    /// Requests the status from the manager, bypassing all faults.
    pub watcher: GTStoreClient,
    /// Set when a signal asks the run to stop.
    pub interrupt: Interrupt,
}

/// The largest number of nodes.
pub fn most_nodes(settings: &ChaosSettings) -> usize {
    settings.nodes + if settings.changes.join { SPARES } else { 0 }
}

impl ChaosTestbed {
    /// Starts a cluster in a folder and waits until it is healthy.
    ///
    /// # Errors
    /// [`ChaosError`].
    pub fn start(
        settings: &ChaosSettings,
        folder: &Path,
        faults: &Arc<Faults>,
    ) -> Result<ChaosTestbed, ChaosError> {
        let bin = process::programs(settings.bin.as_deref())?;
        let setup = ClusterSetup {
            manager_flags: vec![format!("--heartbeat-ms={}", settings.heartbeat_ms)],
            node_flags: ClusterSetup::no_snapshots(),
            faults: Some(faults.clone()),
            ..ClusterSetup::new(&bin, folder, settings.copies, most_nodes(settings))
        };
        operator::check(&bin, &settings.changes.verbs())?;
        let interrupt = Interrupt::watch("chaos")?;
        let mut service = Service::start(&setup)?;
        service.add(&(0..settings.nodes).collect::<Vec<_>>())?;
        let operator = Operator::new(&bin, service.manager(), ORDER);
        let mut config = Config::new(service.manager());
        config.patience = STATUS_PATIENCE;
        let watcher = health::connect(&config, RECOVERY)?;
        let testbed = ChaosTestbed { service, operator, watcher, interrupt };
        let nodes = || Ok(settings.nodes);
        health::wait(&testbed.watcher, &testbed.interrupt, RECOVERY, nodes)
            .map_err(ChaosError::Unexpected)?;
        Ok(testbed)
    }

    /// The configuration of the load's clients.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.service.manager_of_clients());
        config.deadline = DEADLINE;
        config.patience = PATIENCE;
        config
    }

    /// Waits until the cluster is healthy with `count` nodes.
    ///
    /// # Errors
    /// A description of the cluster's state.
    pub fn recover(
        &mut self,
        mut count: impl FnMut(&mut Service) -> Result<usize, String>,
    ) -> Result<(), String> {
        let service = &mut self.service;
        health::wait(&self.watcher, &self.interrupt, RECOVERY, || count(service))
    }
}
