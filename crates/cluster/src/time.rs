//! The time as the manager's rules count it. Whoever hands it in reads the clock.

/// Milliseconds on the manager's clock, from any start.
pub type Millis = u64;
