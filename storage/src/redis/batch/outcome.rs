//! What came of a batch, beside its answers.

/// What running a batch has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many nodes hold what was written last.
    pub copies: Option<usize>,
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
}

impl Outcome {
    /// Counts a read.
    pub fn count_read(&mut self, is_hit: bool) {
        *(if is_hit { &mut self.hits } else { &mut self.misses }) += 1;
    }

    /// How many reads there were.
    pub fn reads(&self) -> usize {
        usize::try_from(self.hits + self.misses).unwrap_or(usize::MAX)
    }
}
