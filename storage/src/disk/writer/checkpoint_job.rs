//! The thread that writes a checkpoint, and exits.

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

/// Bytes of the log that neither a checkpoint nor one in progress covers: counted by the writer,
/// and read by the thread that writes a checkpoint.
pub type Logged = Arc<AtomicU64>;

/// A checkpoint to be written.
pub struct CheckpointJob {
    /// The file system.
    pub files: Arc<dyn Files>,
    /// The folder.
    pub folder: PathBuf,
    /// The header of the file.
    pub header: FileHeader,
    /// The ledger of the log before it.
    pub ledger: Ledger,
    /// The records.
    pub source: Arc<dyn CheckpointSource>,
    /// The speed.
    pub pacing: Pacing,
    /// The growth of the log meanwhile.
    pub logged: Logged,
    /// The length of the segment when this began.
    pub before: u64,
}

impl CheckpointJob {
    /// Starts a thread that writes it. The size in bytes is received; nothing if the thread gave up
    /// because the node stops.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(self, name: String, stop: Stop) -> io::Result<Receiver<io::Result<u64>>> {
        let (result, made) = bounded(1);
        logging::spawn(name, move || match self.make(&stop) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // If the receiver is gone, the node stops.
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
