//! The cluster that faults happen to, and those who look at it.

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

/// How long the cluster may take to come up, and to be healthy again in the end.
const RECOVERY: Duration = Duration::from_secs(30);

/// How long the operator's command tries. Shorter than some faults, so that it gives up now and
/// then.
const ORDER: Duration = Duration::from_secs(2);

/// How long a client tries an operation. Longer than most faults, so that few outcomes are unknown.
const DEADLINE: Duration = Duration::from_secs(6);

/// How long it waits for one node.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long the one who looks waits for the manager.
const STATUS_PATIENCE: Duration = Duration::from_millis(300);

/// Nodes that may join beside those that run from the beginning.
const SPARES: usize = 3;

/// The cluster, who looks at it and who changes it.
pub struct ChaosTestbed {
    /// The processes.
    pub service: Service,
    /// Who orders planned changes.
    pub operator: Operator,
    /// Who asks the manager how the cluster is, past all faults.
    pub watcher: GTStoreClient,
    /// Whether a person wants it to end.
    pub interrupt: Interrupt,
}

/// Nodes that there may be.
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

    /// How the clients of the load are to be.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.service.manager_of_clients());
        config.deadline = DEADLINE;
        config.patience = PATIENCE;
        config
    }

    /// Waits until all is well, with as many nodes as `count` says.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn recover(
        &mut self,
        mut count: impl FnMut(&mut Service) -> Result<usize, String>,
    ) -> Result<(), String> {
        let service = &mut self.service;
        health::wait(&self.watcher, &self.interrupt, RECOVERY, || count(service))
    }
}
