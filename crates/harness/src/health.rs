//! Waits until a cluster is healthy.

use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient, status};

use crate::interrupt::Interrupt;

/// Time between two requests to the manager.
const STEP: Duration = Duration::from_millis(10);

/// Connects to a manager that was just started. Blocks until it answers, at most for `patience`.
///
/// # Errors
/// The [`ClientError`] of the last attempt.
pub fn connect(config: &Config, patience: Duration) -> Result<GTStoreClient, ClientError> {
    let until = Instant::now() + patience;
    loop {
        match GTStoreClient::init(config.clone()) {
            Err(_) if Instant::now() < until => thread::sleep(STEP),
            result => return result,
        }
    }
}

/// Blocks until the cluster is healthy and `nodes` nodes serve, at most for `patience`. After a
/// fault the caller must first wait until the manager has certainly noticed it.
///
/// # Errors
/// A description: the error of `nodes`, or the state of the cluster.
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
