//! When a checkpoint is written, and what follows from its result.
//!
//! A failed checkpoint, for lack of space beside the log, say, is no failure of the log: the log
//! continues and grows, and the checkpoint is tried again, after growing pauses. Only when the log
//! has a gap does everything wait for a checkpoint (`failure`).

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use log::{debug, info, warn};
use net_common::clock;

use super::checkpoint_job::CheckpointJob;
use super::pacing::Pacing;
use super::retry::RetryPause;
use super::state::Debt;
use super::thread::{Checkpointing, LogWriter};
use crate::disk::folder;
use crate::disk::header::FileKind;

/// A segment shorter than this fraction of a full one is not closed for a checkpoint: the
/// checkpoint leads up to it as it is.
const SHORT: u64 = 8;

impl LogWriter {
    /// Whether a checkpoint is due, apart from a pause.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        !self.log.has_gap()
            && self.log.checkpoint().is_none()
            && (self.debt != Debt::Nothing
                || self.logged.load(Ordering::Relaxed) >= self.pacing().before)
    }

    fn pacing(&self) -> Pacing {
        Pacing::new(self.settings.segment_bytes, self.checkpoint_bytes)
    }

    /// Begins a checkpoint or the next segment, if one is due.
    pub(super) fn advance(&mut self) {
        let Some(segment) = self.log.segment() else { return };
        let is_paused = self.pause.is_some_and(|pause| !pause.left().is_zero());
        if self.is_checkpoint_due() && !is_paused {
            self.begin_checkpoint();
        } else if segment.end >= self.settings.segment_bytes
            && let Err(error) = self.rotate()
        {
            self.fail(&error);
        }
    }

    /// Begins a checkpoint, and if necessary the segment that it leads up to.
    pub(super) fn begin_checkpoint(&mut self) {
        let is_short = |end: u64| end < self.settings.segment_bytes / SHORT;
        let has_segment =
            self.log.segment().is_some_and(|segment| segment.is_empty() || is_short(segment.end));
        if !has_segment && let Err(error) = self.rotate() {
            return self.fail(&error);
        }
        if let Err(error) = self.start_checkpoint() {
            self.checkpoint_failed(&error);
        }
    }

    /// Starts the thread that writes a checkpoint which leads up to the segment.
    fn start_checkpoint(&mut self) -> io::Result<()> {
        let Some(segment) = self.log.segment() else { return Ok(()) };
        let (sequence, before) = (segment.sequence, segment.end);
        let job = CheckpointJob {
            files: self.settings.files.clone(),
            folder: self.folder.path().to_owned(),
            header: self.header(FileKind::Checkpoint, sequence)?,
            // Later view entries are in the segment, and are applied again.
            ledger: segment.ledger.clone(),
            source: self.source.clone(),
            pacing: self.pacing(),
            logged: self.logged.clone(),
            before,
        };
        let made = job.start(format!("{} checkpoint", self.name), self.stop.clone())?;
        let covers = self.logged.swap(before, Ordering::Relaxed).saturating_sub(before);
        self.log.begin_checkpoint(Checkpointing { sequence, covers, made });
        self.ends.shared.checkpoint_began();
        Ok(())
    }

    /// Takes the result of a checkpoint; `None` if it gave up.
    pub(super) fn checkpointed(&mut self, made: Option<io::Result<u64>>) {
        let Some(Checkpointing { sequence, covers, .. }) = self.log.end_checkpoint() else {
            return;
        };
        let is_made = matches!(made, Some(Ok(_)));
        self.ends.shared.checkpoint_ended(is_made.then(|| clock::wall_ms() / 1000));
        match made {
            Some(Ok(bytes)) => self.checkpoint_made(sequence, covers, bytes),
            Some(Err(error)) => {
                self.logged.fetch_add(covers, Ordering::Relaxed);
                self.checkpoint_failed(&error);
            }
            None => {}
        }
    }

    fn checkpoint_made(&mut self, sequence: u64, covers: u64, bytes: u64) {
        if self.pause.take().is_some() {
            info!("an image was made again");
            self.ends.shared.set_strain(None);
        }
        self.checkpoint_bytes = bytes;
        if self.debt == Debt::Damage {
            self.debt = Debt::Nothing;
        }
        // If the log has failed meanwhile, there is a new gap.
        if !self.log.has_failed() {
            self.rebuilt();
        }
        let grown = self.logged.load(Ordering::Relaxed);
        match self.remove_before(sequence) {
            Ok(files) => debug!(
                "image {sequence}, {bytes} bytes, in place of {files} files; {covers} bytes of the log are \
                 in it, {grown} came meanwhile"
            ),
            Err(error) => warn!("cannot remove what image {sequence} covers: {error}"),
        }
    }

    /// Handles a failed checkpoint: it is tried again.
    fn checkpoint_failed(&mut self, error: &io::Error) {
        if self.log.has_gap() {
            self.complain(error);
            return self.log.try_again(Instant::now());
        }
        let pause = RetryPause::after(self.pause, self.settings.retry);
        self.pause = Some(pause);
        self.ends.shared.set_strain(Some(error.to_string()));
        if self.checkpoint_complaints.is_due() {
            warn!(
                "no image can be made: {error}; the log goes on, and gets longer; next try in {:?}",
                pause.length()
            );
        }
    }

    /// Removes the files that a checkpoint covers. Returns their number.
    fn remove_before(&self, sequence: u64) -> io::Result<usize> {
        let here = self.folder.path();
        let listing = self.folder.list().map_err(io::Error::other)?;
        let checkpoints = listing.checkpoints.into_iter().filter(|&n| n < sequence);
        let logs = listing.logs.into_iter().filter(|&n| n < sequence);
        let checkpoints = checkpoints.map(|n| folder::checkpoint(here, n));
        let files: Vec<PathBuf> = checkpoints.chain(logs.map(|n| folder::log(here, n))).collect();
        for file in &files {
            self.settings.files.remove(file)?;
        }
        self.settings.files.sync_folder(here)?;
        Ok(files.len())
    }
}
