//! Who carries a batch out: the cluster, by the client library, or a map in tests.

use std::sync::Arc;

use client::{BatchItem, GTStoreClient, ItemOutcome};
use cluster::limits::Limits;

/// Who carries a batch out.
pub trait Store {
    /// The longest keys and values that it takes.
    fn limits(&self) -> Limits;

    /// The same, for who would refuse something by what was known before.
    fn newest_limits(&self) -> Limits {
        self.limits()
    }

    /// Runs parts that are independent of each other, in any order, until about `most` bytes have
    /// been read. Each of those that have run has its own result. The first always has.
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
