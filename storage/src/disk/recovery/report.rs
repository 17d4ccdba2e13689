//! What is told of a folder that was read.

use std::fmt;
use std::path::PathBuf;

use cluster::text::{Count, count};

/// What was found in a folder.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// Files that were read.
    pub files: usize,
    /// Bytes of the segments of the log among them.
    pub log_bytes: u64,
    /// Bytes of the checkpoints.
    pub checkpoint_bytes: u64,
    /// Records in them, all versions counted.
    pub records: u64,
    /// What came of them: keys and tombstones, of the last life and of those before.
    pub kept: usize,
    /// What is missing: a torn end, or what was not sound.
    pub lost: Vec<LostBytes>,
    /// Whether the folder says that its log has a gap.
    pub has_gap: bool,
}

/// Bytes that were not as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBytes {
    /// In which file.
    pub file: PathBuf,
    /// From where on.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// What it was.
    pub what: &'static str,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoveryReport { files, log_bytes, checkpoint_bytes, records, kept, .. } = self;
        let bytes = log_bytes + checkpoint_bytes;
        let (files, bytes) = (count(*files, "file"), Count(bytes, "byte"));
        write!(f, "{files}, {bytes}, {}, {kept} kept", Count(*records, "record"))
    }
}

impl fmt::Display for LostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LostBytes { file, at, bytes, what } = self;
        write!(f, "{}: {bytes} bytes left out from byte {at} on: {what}", file.display())
    }
}
