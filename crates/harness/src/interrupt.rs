//! Ctrl-C, SIGTERM and SIGHUP as a flag. A run that has started processes polls it, stops the
//! processes and exits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use net_common::logging;
use net_common::signals::StopSignals;

/// Set once a signal has asked the run to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the signals from now on; `name` names the thread.
    ///
    /// # Errors
    /// If the handlers cannot be installed or the thread cannot be started.
    pub fn watch(name: &str) -> io::Result<Interrupt> {
        let interrupt = Interrupt(Arc::default());
        let (stop, is_set) = (StopSignals::for_tool()?, interrupt.0.clone());
        logging::spawn(format!("{name} signals"), move || {
            stop.wait();
            is_set.store(true, Ordering::SeqCst);
        })?;
        Ok(interrupt)
    }

    /// Whether a signal has come.
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
