//! Waiting until a cluster is well.

use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient, status};

use crate::interrupt::Interrupt;

/// How often the manager is asked.
const STEP: Duration = Duration::from_millis(10);

/// Connects to a manager that was just started. Blocks until it answers, for so long at most.
///
/// # Errors
/// [`ClientError`] that the last attempt had.
pub fn connect(config: &Config, patience: Duration) -> Result<GTStoreClient, ClientError> {
    let until = Instant::now() + patience;
    loop {
        match GTStoreClient::init(config.clone()) {
            Err(_) if Instant::now() < until => thread::sleep(STEP),
            result => return result,
        }
    }
}

/// Blocks until all is well and as many nodes serve as `nodes` says, for so long at most. Whoever
/// has had a fault just now must first let pass the time after which the manager knows of it.
///
/// # Errors
/// What is wrong, in words: as `nodes` says, or how the cluster is.
pub fn wait(
    watcher: &GTStoreClient,
    interrupt: &Interrupt,
    patience: Duration,
    mut nodes: impl FnMut() -> Result<usize, String>,
) -> Result<(), String> {
    let until = Instant::now() + patience;
    loop {
        let nodes = nodes()?;
        let status = watcher.status();
        if let Ok(status) = &status
            && status.is_settled()
            && status::serving(status).len() == nodes
        {
            return Ok(());
        }
        if interrupt.has_come() {
            return Err("interrupted".into());
        }
        if Instant::now() > until {
            let how = status.map_or_else(|e| e.to_string(), |s| status::table(&s));
            return Err(format!(
                "not healthy {} s after the last fault: {how}",
                patience.as_secs()
            ));
        }
        thread::sleep(STEP);
    }
}
