//! What is done when the log cannot be written.
//!
//! Then it has a gap: what was handed in meanwhile is in memory only. The segment is cut to what is
//! known to be on the disk. If that is nothing the segment is used again, so that a disk that fails
//! every time does not fill up with files; else another is begun. Neither follows from what was
//! before: a checkpoint has to lead up to it, and until that is complete the trouble lasts.
//!
//! With `async` a file in the folder says so meanwhile, also to the next start: what was
//! acknowledged is not all there. It goes with any checkpoint that is complete while there is no
//! other trouble, since that has everything.

use std::io;
use std::time::Instant;

use log::{debug, error, info, warn};

use super::retry::Complaints;
use super::state::Debt;
use super::thread::LogWriter;
use crate::disk::folder;
use crate::disk::journal::Trouble;

impl LogWriter {
    /// The disk has failed.
    pub(super) fn fail(&mut self, error: &io::Error) {
        if self.ends.shared.trouble().is_none() {
            self.ends.shared.set_trouble(Some(Trouble { why: error.to_string().into() }));
        }
        // What cannot be written now is written before the log goes on.
        let _ = self.note_gap();
        self.complain(error);
        self.log.fail(Instant::now());
    }

    pub(super) fn complain(&mut self, error: &io::Error) {
        if self.complaints.is_due() {
            let what = if self.ends.shared.is_sync() {
                "writes are refused"
            } else {
                "what is stored now is lost if the node ends"
            };
            error!("the log cannot be written: {error}; {what} until that is mended");
        }
    }

    /// Leaves word in the folder that the log has a gap: with `async` what was acknowledged
    /// meanwhile is not there. With `sync` nothing is.
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

    /// Whether to try to make the log whole. Not while the flusher may still speak of the segment
    /// that is cut then.
    pub(super) fn may_rebuild(&self) -> bool {
        self.log.has_gap() && self.log.checkpoint().is_none() && !self.flusher.is_busy()
    }

    /// Tries to begin anew after the disk has failed.
    pub(super) fn rebuild(&mut self) {
        self.log.try_again(Instant::now());
        match self.cut().and_then(|()| self.note_gap()) {
            Ok(()) => self.begin_checkpoint(),
            Err(error) => self.fail(&error),
        }
    }

    /// Lets go of the segment in which the disk has failed, but for what is known to be on the
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

    /// A checkpoint is complete, and the log goes on from it.
    pub(super) fn rebuilt(&mut self) {
        if let Err(error) = self.forget_gap() {
            if self.log.has_gap() {
                self.fail(&error);
            } else {
                // The debt is still there: the next checkpoint tries again.
                warn!("cannot remove the word that the log had a gap: {error}");
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
