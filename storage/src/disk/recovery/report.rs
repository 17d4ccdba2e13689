//! The report about a folder that was read.

use std::fmt;
use std::path::PathBuf;

use cluster::text::{Count, count};

/// The report about a folder.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// The number of files that were read.
    pub files: usize,
    /// Bytes of the segments of the log.
    pub log_bytes: u64,
    /// Bytes of the checkpoints.
    pub checkpoint_bytes: u64,
    /// Records in the files, with all versions.
    pub records: u64,
    /// Keys and tombstones that were kept, of the last incarnation and of earlier ones.
    pub kept: usize,
    /// Missing parts: a torn tail, or damage.
    pub lost: Vec<LostBytes>,
    /// Whether the folder is marked to have a gap in its log.
    pub has_gap: bool,
}

/// A damaged or missing part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBytes {
    /// The file.
    pub file: PathBuf,
    /// Its place in the file.
    pub at: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The kind of damage.
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
