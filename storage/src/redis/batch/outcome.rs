//! The outcome of a batch, besides its replies.

/// Statistics of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// The number of nodes that hold the last write.
    pub copies: Option<usize>,
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
}

impl BatchOutcome {
    /// Counts a read.
    pub fn count_read(&mut self, is_hit: bool) {
        *(if is_hit { &mut self.hits } else { &mut self.misses }) += 1;
    }

    /// The number of reads.
    pub fn reads(&self) -> usize {
        usize::try_from(self.hits + self.misses).unwrap_or(usize::MAX)
    }
}
