//! Clusters of real processes, faults that are injected into them, and histories of their clients.
//!
//! A [`service`] is a manager and nodes, each a [`process`] on [`ports`] of its own, with its log
//! in a [`scratch`] folder. A [`proxy`] in front of each of them can cut single links. An
//! [`operator`] requests planned changes, [`health`] waits until the cluster is healthy, and an
//! [`interrupt`] stops the run. A [`recorder`] writes the operations of clients and their outcomes
//! to a [`history`]; [`linearizable`] checks it.
//!
//! For `bench` and the tests; no server uses it. The caller decides which fault happens when.

pub mod health;
pub mod history;
pub mod interrupt;
pub mod linearizable;
pub mod operator;
pub mod party;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod recorder;
pub mod scratch;
pub mod service;
