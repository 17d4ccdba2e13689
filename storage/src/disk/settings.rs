//! Settings of a node's data folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, System};

/// Bytes after which a segment of the log is followed by another: small enough that little remains
/// when a checkpoint replaces the log, large enough that files are rarely created.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How often the log is synced to the disk in `async`: the time at risk when all replicas lose
/// power.
pub const FLUSH: Duration = Duration::from_secs(1);

/// Bytes after which it is synced earlier: under load a second's worth would be much at once, and
/// much at risk.
pub const FLUSH_BYTES: u64 = 4 << 20;

/// The pause between attempts after a failure of the disk: short enough for waiting clients, long
/// enough for a full disk.
pub const RETRY: Duration = Duration::from_secs(1);

/// Settings of a node's data folder.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// Its data folder.
    pub folder: PathBuf,
    /// Whether to keep the sound parts of a damaged folder.
    pub salvage: bool,
    /// Bytes after which a segment of the log is followed by another.
    pub segment_bytes: u64,
    /// How often the log is synced, where answers do not wait for that.
    pub flush: Duration,
    /// Bytes after which it is synced earlier.
    pub flush_bytes: u64,
    /// The pause between attempts after a failure of the disk.
    pub retry: Duration,
    /// The file system.
    pub files: Arc<dyn Files>,
}

impl DiskSettings {
    /// The defaults, for a folder.
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
