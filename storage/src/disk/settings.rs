//! How a node keeps what it holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, System};

/// Bytes after which a segment of the log is followed by another: so small that little stays behind
/// when an checkpoint takes its place, so large that files are seldom made.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How often the disk is told to keep what was appended, in `async`: what is at risk when all lose
/// their power.
pub const FLUSH: Duration = Duration::from_secs(1);

/// Bytes after which it is told so before that time is over: under load a second's worth would be
/// much at once, and much at risk.
pub const FLUSH_BYTES: u64 = 4 << 20;

/// How often something is tried again after the disk has failed: soon enough for those who wait,
/// seldom enough for a disk that is full.
pub const RETRY: Duration = Duration::from_secs(1);

/// How a node keeps what it holds.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// Its data folder.
    pub folder: PathBuf,
    /// Whether to keep what is sound of a damaged folder.
    pub salvage: bool,
    /// Bytes after which a segment of the log is followed by another.
    pub segment_bytes: u64,
    /// How often the disk is told to keep what was appended, where answers do not wait for it.
    pub flush: Duration,
    /// Bytes after which it is told before that.
    pub flush_bytes: u64,
    /// How often something is tried again after the disk has failed.
    pub retry: Duration,
    /// The file system.
    pub files: Arc<dyn Files>,
}

impl DiskSettings {
    /// Those of a folder, with what else is usual.
    pub fn new(folder: PathBuf) -> DiskSettings {
        DiskSettings {
            folder,
            salvage: false,
            segment_bytes: SEGMENT_BYTES,
            flush: FLUSH,
            flush_bytes: FLUSH_BYTES,
            retry: RETRY,
            files: Arc::new(System),
        }
    }
}
