//! The unit of time of the manager's rules. The caller reads the clock.

/// Milliseconds on the manager's clock, from any start.
pub type Millis = u64;
