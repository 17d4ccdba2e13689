//! Clusters of real processes, the faults that happen to them, and what their clients saw.
//!
//! A [`service`] is a manager and nodes, each a [`process`] on [`ports`] of its own, with its log
//! in a [`scratch`] folder. A [`proxy`] in front of each of them can cut single links. An
//! [`operator`] orders planned changes, [`health`] tells when all is well, an [`interrupt`] ends
//! the run. What clients did and were told is a [`history`], noted by a [`recorder`], and
//! [`linearizable`] says whether it can have been so.
//!
//! For `bench` and the tests; no program that serves uses it. It does not decide what goes wrong
//! when: that is up to who uses it.

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
