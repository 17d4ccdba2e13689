//! The thread that makes a checkpoint, and ends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, bounded};
use net_common::logging;
use net_common::worker::Stop;

use super::pacing::Pacing;
use crate::disk::checkpoint::{self, CheckpointSource, Subject};
use crate::disk::files::Files;
use crate::disk::header::FileHeader;
use crate::disk::ledger::Ledger;

/// Bytes of the log that no checkpoint covers, or is made to cover: counted by the writer, and
/// looked at by whoever makes a checkpoint.
pub type Logged = Arc<AtomicU64>;

/// A checkpoint to be made.
pub struct CheckpointJob {
    /// The file system, and the folder.
    pub files: Arc<dyn Files>,
    /// Where.
    pub folder: PathBuf,
    /// What the file says of itself.
    pub header: FileHeader,
    /// What the log has told before.
    pub ledger: Ledger,
    /// The records.
    pub source: Arc<dyn CheckpointSource>,
    /// How fast.
    pub pacing: Pacing,
    /// How long the log becomes meanwhile.
    pub logged: Logged,
    /// How long the segment was when this began.
    pub before: u64,
}

impl CheckpointJob {
    /// Has a thread make it. What comes of it is received, in bytes; nothing if the thread gave up,
    /// since the node stops.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(self, name: String, stop: Stop) -> io::Result<Receiver<io::Result<u64>>> {
        let (result, made) = bounded(1);
        logging::spawn(name, move || match self.make(&stop) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // If nobody waits for it any more the node stops.
            made => drop(result.send(made)),
        })?;
        Ok(made)
    }

    fn make(&self, stop: &Stop) -> io::Result<u64> {
        let rest = |done, took| {
            let grown = self.logged.load(Ordering::Relaxed).saturating_sub(self.before);
            stop.wait(self.pacing.rest(done, grown, took))
        };
        let Some(table) = self.source.table() else {
            return Err(io::ErrorKind::Interrupted.into());
        };
        let subject = Subject {
            header: &self.header,
            ledger: &self.ledger,
            table,
            stale: self.source.stale_cache(),
        };
        checkpoint::make(&*self.files, &self.folder, &subject, &rest)
    }
}
