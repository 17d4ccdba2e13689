//! Handling failures of the log.
//!
//! A log that cannot be written has a gap: the records that were handed in meanwhile are in memory
//! only. The segment is truncated to the part that is certainly on the disk. If that is empty the
//! segment is reused, so that repeated failures do not fill the disk with files; otherwise another
//! is begun. Neither continues the log before the gap: a checkpoint has to lead up to it, and the
//! trouble lasts until that is complete.
//!
//! With `async` a file in the folder marks the gap, also for the next start: some acknowledged
//! writes are missing on disk. Any checkpoint that completes without another failure removes the
//! file, since it has all records.

use std::io;
use std::time::Instant;

use log::{debug, error, info, warn};

use super::retry::Complaints;
use super::state::Debt;
use super::thread::LogWriter;
use crate::disk::folder;
use crate::disk::journal::Trouble;

impl LogWriter {
    /// Handles an error of the disk.
    pub(super) fn fail(&mut self, error: &io::Error) {
        if self.ends.shared.trouble().is_none() {
            self.ends.shared.set_trouble(Some(Trouble { why: error.to_string().into() }));
        }
        // If the mark cannot be written now, it is written before the log continues.
        let _ = self.note_gap();
        self.complain(error);
        self.log.fail(Instant::now());
    }

    pub(super) fn complain(&mut self, error: &io::Error) {
        if self.complaints.is_due() {
            let what = if self.ends.shared.is_sync() {
                "writes are refused"
            } else {
                "new writes are in memory only"
            };
            error!("cannot write the log: {error}; {what} until the disk recovers");
        }
    }

    /// Marks in the folder that the log has a gap: with `async` it lacks acknowledged writes. With
    /// `sync` nothing is acknowledged meanwhile.
    fn note_gap(&mut self) -> io::Result<()> {
        if self.ends.shared.is_sync() {
            return Ok(());
        }
        self.debt = Debt::Gap;
        let files = &self.settings.files;
        match files.create(&folder::gap(self.folder.path())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => files.sync_folder(self.folder.path()),
        }
    }

    fn forget_gap(&mut self) -> io::Result<()> {
        if self.debt != Debt::Gap {
            return Ok(());
        }
        match self.settings.files.remove(&folder::gap(self.folder.path())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.settings.files.sync_folder(self.folder.path())?;
        self.debt = Debt::Nothing;
        Ok(())
    }

    /// Whether the log may be rebuilt now. Not while the flusher may still return a result for the
    /// segment, which is truncated then.
    pub(super) fn may_rebuild(&self) -> bool {
        self.log.has_gap() && self.log.checkpoint().is_none() && !self.flusher.is_busy()
    }

    /// Tries to rebuild the log after a failure of the disk.
    pub(super) fn rebuild(&mut self) {
        self.log.try_again(Instant::now());
        match self.cut().and_then(|()| self.note_gap()) {
            Ok(()) => self.begin_checkpoint(),
            Err(error) => self.fail(&error),
        }
    }

    /// Truncates the segment in which the disk has failed to the part that is certainly on the
    /// disk.
    fn cut(&mut self) -> io::Result<()> {
        let Some(segment) = self.log.broken_mut() else { return Ok(()) };
        debug!("{} is cut at {}", segment.file.display(), segment.durable);
        segment.cut()?;
        if !segment.is_empty() {
            segment.close()?;
            self.log.take_segment();
            return Ok(());
        }
        segment.output.sync()?;
        segment.ledger = self.ledger.clone();
        if let Some(segment) = self.log.take_segment() {
            self.log.begin_segment(segment);
        }
        Ok(())
    }

    /// Handles a complete checkpoint, from which the log continues.
    pub(super) fn rebuilt(&mut self) {
        if let Err(error) = self.forget_gap() {
            if self.log.has_gap() {
                self.fail(&error);
            } else {
                // The debt remains: the next checkpoint tries again.
                warn!("cannot remove the mark that the log had a gap: {error}");
            }
            return;
        }
        if self.log.make_whole() {
            self.complaints = Complaints::default();
            self.ends.shared.set_trouble(None);
            info!("the log is written again");
        }
    }
}
