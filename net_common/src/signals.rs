//! SIGTERM and SIGINT: the polite ways to ask a process to end.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A registration for SIGTERM and SIGINT. Make it before anything that must not be cut short.
pub struct Stop(Signals);

impl Stop {
    /// Starts catching the signals.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn register() -> io::Result<Stop> {
        Signals::new([SIGTERM, SIGINT]).map(Stop)
    }

    /// Blocks until one of them comes, and names it.
    pub fn wait(mut self) -> &'static str {
        match self.0.forever().next() {
            Some(SIGINT) => "SIGINT",
            _ => "SIGTERM",
        }
    }
}
