//! How a client behaves.

use std::time::Duration;

use cluster::ids::Address;
use net_common::auth::Secret;
use net_common::in_place::LocalServer;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the manager is.
    pub manager: Address,
    /// How long an operation is tried before it fails, and a manager waited for at the start; 10 s.
    /// `Duration::MAX`: no deadline.
    pub deadline: Duration,
    /// The longest silence of a node before the next attempt; 1 s. While bytes move the client
    /// waits, until the deadline.
    pub patience: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// The node that this client is a part of, if it is part of one: it is spoken to in place.
    pub here: Option<LocalServer>,
}

impl Config {
    /// The defaults, for a manager at `manager`.
    pub fn new(manager: Address) -> Config {
        Config {
            manager,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(1),
            secret: None,
            here: None,
        }
    }
}
