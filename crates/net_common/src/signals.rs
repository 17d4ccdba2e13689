//! Signals that ask a process to exit, and signals that it has to survive.
//!
//! * SIGTERM and SIGINT stop any program. SIGHUP, sent when a terminal closes, stops a tool too,
//!   except under `nohup`, which makes it ignored.
//! * A server survives its terminal: on SIGHUP it re-reads its secret. It ignores SIGUSR1 and
//!   SIGUSR2, which make other servers reopen log files or print statistics.
//! * SIGXFSZ, which comes with a write beyond the limit on the size of a file (`ulimit -f`), is
//!   caught in every program: the write then fails as it does on a full disk.
//!
//! SIGPIPE is ignored by Rust itself.

use std::fs;
use std::io;
use std::sync::Arc;

use log::{info, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::auth::Secret;

/// A registration for the signals that ask a process to exit. Create it before starting anything
/// that must not be interrupted.
pub struct StopSignals {
    signals: Signals,
    /// The secret that a server re-reads on SIGHUP; `None` for a tool, which exits.
    server: Option<Option<Secret>>,
}

impl StopSignals {
    /// Starts catching the signals for a tool, which exits with its terminal.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn for_tool() -> io::Result<StopSignals> {
        let mut caught = vec![SIGTERM, SIGINT];
        if !is_ignored(SIGHUP) {
            caught.push(SIGHUP);
        }
        Ok(StopSignals { signals: Signals::new(caught)?, server: None })
    }

    /// Starts catching the signals for a server, which re-reads its secret on SIGHUP.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn for_server(secret: Option<Secret>) -> io::Result<StopSignals> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
        Ok(StopSignals { signals, server: Some(secret) })
    }

    /// Blocks until a signal asks the process to exit, and returns its name.
    pub fn wait(mut self) -> &'static str {
        for signal in self.signals.forever() {
            match (signal, &self.server) {
                (SIGINT, _) => return "SIGINT",
                (SIGHUP, None) => return "SIGHUP",
                (SIGHUP, Some(secret)) => read_again(secret.as_ref()),
                (SIGUSR1 | SIGUSR2, _) => info!("SIGUSR1 and SIGUSR2 mean nothing here"),
                _ => break,
            }
        }
        "SIGTERM"
    }
}

/// Re-reads the settings that may change while a server runs.
fn read_again(secret: Option<&Secret>) {
    match secret.map(Secret::read_again) {
        None => info!("SIGHUP: nothing to read again, and flags count from a start on"),
        Some(Ok(true)) => info!("SIGHUP: another secret; new connections have to prove it"),
        Some(Ok(false)) => info!("SIGHUP: the secret is the same as before"),
        Some(Err(error)) => warn!("SIGHUP: {error}; the secret stays what it was"),
    }
}

/// Makes a write beyond the file size limit fail (`EFBIG`) instead of killing the process.
///
/// # Errors
/// If the operating system refuses the handler.
pub fn outlive_file_limits() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Whether this process was started with a signal ignored. If the system does not report it, the
/// answer is no.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_detected() {
        // Rust's own start has every process ignore this one.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(SIGTERM));
    }
}
