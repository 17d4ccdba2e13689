//! The store that executes a batch: the cluster, by the client library, or a map in tests.

use std::sync::Arc;

use client::{BatchItem, GTStoreClient, ItemOutcome};
use cluster::limits::Limits;

/// A store that executes a batch.
pub trait Store {
    /// The longest keys and values that it accepts.
    fn limits(&self) -> Limits;

    /// The same, refreshed: for a caller that would refuse something by the known limits.
    fn newest_limits(&self) -> Limits {
        self.limits()
    }

    /// Runs parts that are independent of each other, in any order, until about `most` bytes have
    /// been read. Each part that has run has its own result. The first part always runs.
    fn run<'p>(&self, parts: Vec<BatchItem<'p>>, most: usize) -> Vec<ItemOutcome<'p>>;
}

impl Store for Arc<GTStoreClient> {
    fn limits(&self) -> Limits {
        GTStoreClient::limits(self)
    }

    fn newest_limits(&self) -> Limits {
        GTStoreClient::newest_limits(self)
    }

    fn run<'p>(&self, parts: Vec<BatchItem<'p>>, most: usize) -> Vec<ItemOutcome<'p>> {
        self.run_within(parts, most)
    }
}
