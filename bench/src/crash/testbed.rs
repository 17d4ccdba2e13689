//! The cluster under test, and the steps of a round: kill, restart, read.

use std::path::Path;
use std::time::{Duration, Instant};

use client::{Config, GTStoreClient, status};
use harness::health;
use harness::interrupt::Interrupt;
use harness::service::{ClusterSetup, Service};

use super::kill::{KillPlan, KillScope, SecondKill};
use super::load::LoadGate;
use super::{CrashError, CrashSettings};

/// Interval between checks while waiting.
const STEP: Duration = Duration::from_millis(10);

/// How long a client waits for one node: short, so that a dead node delays it little.
const PATIENCE: Duration = Duration::from_millis(300);

/// Deadline of one attempt to read: short, so that exited processes are noticed soon.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Keys that are read in one call: at most half a megabyte with the default values.
const CHUNK: usize = 128;

/// Time after a lease, which is three heartbeats, by which the manager has certainly noticed that a
/// node was away.
const LITTLE: Duration = Duration::from_millis(500);

/// The times of one round.
#[derive(Debug)]
pub struct KillRecord {
    /// Writes in flight just before the kill.
    pub in_flight: usize,
    /// Time of the first kill.
    pub killed: Instant,
    /// Time from the last restart until every key had been read once.
    pub readable: Duration,
}

/// The cluster and its observers.
pub struct CrashTestbed {
    service: Service,
    watcher: GTStoreClient,
    reader: GTStoreClient,
    interrupt: Interrupt,
    kill: KillScope,
    nodes: usize,
    patience: Duration,
    settling: Duration,
    keys: Vec<String>,
    started: Instant,
}

impl CrashTestbed {
    /// Starts a cluster and waits until it is healthy.
    ///
    /// # Errors
    /// [`CrashError`].
    pub fn new(
        settings: &CrashSettings,
        bin: &Path,
        folder: &Path,
    ) -> Result<CrashTestbed, CrashError> {
        let interrupt = Interrupt::watch("crash")?;
        let setup = ClusterSetup {
            manager_flags: vec![
                format!("--heartbeat-ms={}", settings.heartbeat_ms),
                format!("--max-value={}", settings.value_bytes),
            ],
            node_flags: ClusterSetup::no_snapshots(),
            durability: Some(settings.durability),
            ..ClusterSetup::new(bin, folder, settings.copies, settings.nodes)
        };
        let mut service = Service::start(&setup)?;
        let started = Instant::now();
        service.add(&(0..settings.nodes).collect::<Vec<_>>())?;
        let mut config = Config::new(service.manager());
        (config.patience, config.deadline) = (PATIENCE, ATTEMPT);
        let mut testbed = CrashTestbed {
            watcher: health::connect(&config, settings.patience)?,
            reader: health::connect(&config, settings.patience)?,
            service,
            interrupt,
            kill: settings.kill,
            nodes: settings.nodes,
            patience: settings.patience,
            settling: Duration::from_millis(3 * settings.heartbeat_ms) + LITTLE,
            keys: settings.keys(),
            started,
        };
        testbed.settle()?;
        Ok(testbed)
    }

    /// The configuration of clients.
    pub fn config(&self, deadline: Duration) -> Config {
        let mut config = Config::new(self.service.manager());
        (config.patience, config.deadline) = (PATIENCE, deadline);
        config
    }

    /// Fails if a signal has arrived, or if a process has exited by itself.
    fn check_processes(&mut self) -> Result<(), CrashError> {
        if self.interrupt.has_come() {
            return Err(CrashError::Unexpected("interrupted".into()));
        }
        self.service.ended().map_or(Ok(()), |ended| Err(CrashError::Unexpected(ended.what)))
    }

    fn pause(&mut self, time: Duration) -> Result<(), CrashError> {
        let until = Instant::now() + time;
        loop {
            self.check_processes()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STEP));
        }
    }

    fn start(&mut self, plan: &KillPlan) -> Result<(), CrashError> {
        self.started = Instant::now();
        for &victim in &plan.victims {
            self.service.start_again(victim)?;
        }
        Ok(())
    }

    /// Lets the load run, kills and restarts processes, and waits until every key can be read. If
    /// other nodes serve meanwhile, the load continues with fewer keys; otherwise it ends.
    ///
    /// # Errors
    /// [`CrashError`].
    pub fn kill(&mut self, plan: &KillPlan, gate: &LoadGate) -> Result<KillRecord, CrashError> {
        self.pause(plan.load)?;
        let (in_flight, killed) = (gate.in_flight(), Instant::now());
        self.service.kill(&plan.victims);
        match self.kill {
            KillScope::All => gate.stop(),
            KillScope::Fewer => gate.narrow(),
        }
        self.pause(plan.away)?;
        self.start(plan)?;
        if let Some(SecondKill { after, away }) = plan.again {
            self.pause(after)?;
            self.service.kill(&plan.victims);
            self.pause(away)?;
            self.start(plan)?;
        }
        self.read()?;
        let readable = self.started.elapsed();
        if self.kill == KillScope::Fewer {
            self.pause(plan.after)?;
        }
        Ok(KillRecord { in_flight, killed, readable })
    }

    /// Waits until the cluster is healthy and has certainly noticed all absences.
    ///
    /// # Errors
    /// [`CrashError`].
    pub fn settle(&mut self) -> Result<(), CrashError> {
        self.pause((self.started + self.settling).saturating_duration_since(Instant::now()))?;
        let (service, nodes) = (&mut self.service, self.nodes);
        let nodes = || service.ended().map_or(Ok(nodes), |ended| Err(ended.what));
        health::wait(&self.watcher, &self.interrupt, self.patience, nodes)
            .map_err(CrashError::Unexpected)
    }

    /// Reads every key, each until it can be read.
    ///
    /// # Errors
    /// [`CrashError::Unreadable`] if a key cannot be read within the time limit.
    pub fn read(&mut self) -> Result<Vec<Option<Vec<u8>>>, CrashError> {
        let since = Instant::now();
        let mut values = vec![None; self.keys.len()];
        let mut unread: Vec<usize> = (0..self.keys.len()).collect();
        loop {
            self.check_processes()?;
            let mut failed = Vec::new();
            let mut why = String::new();
            for chunk in unread.chunks(CHUNK) {
                let names: Vec<&str> = chunk.iter().map(|&key| self.keys[key].as_str()).collect();
                for (&key, got) in chunk.iter().zip(self.reader.get_many(&names)) {
                    match got {
                        Ok(got) => values[key] = got.map(|got| got.value),
                        Err(error) => {
                            why = error.to_string();
                            failed.push(key);
                        }
                    }
                }
            }
            if failed.is_empty() {
                return Ok(values);
            }
            if since.elapsed() > self.patience {
                let how = self.watcher.status();
                return Err(CrashError::Unreadable {
                    unread: failed.len(),
                    keys: self.keys.len(),
                    patience: self.patience,
                    why,
                    how: how.map_or_else(|error| error.to_string(), |how| status::table(&how)),
                });
            }
            unread = failed;
            std::thread::sleep(STEP);
        }
    }
}
