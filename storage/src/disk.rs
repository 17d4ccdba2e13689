//! The data folder: what a node has on disk, so that it has it again after a restart.
pub mod entry;
pub mod frame;
pub mod header;
pub mod ledger;
