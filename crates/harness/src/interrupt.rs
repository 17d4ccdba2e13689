//! Ctrl-C, SIGTERM and SIGHUP as a flag: a run that has started processes looks at it, ends them,
//! and then itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use net_common::logging;
use net_common::signals::StopSignals;

/// Whether we were asked to end.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the signals from now on; `name` is the run's, for its thread.
    ///
    /// # Errors
    /// If the system refuses the handlers or the thread.
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
