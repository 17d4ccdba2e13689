//! When a checkpoint is made, and what comes of it.
//!
//! A checkpoint that cannot be made, since there is no room for it beside the log, say, is no trouble of the log: that
//! goes on and gets longer, and the checkpoint is tried again, with pauses that grow. Only when the log has a gap does
//! everything wait for a checkpoint (`failure`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use log::{debug, info, warn};
use net_common::{clock, logging};

use super::Writer;
use super::pacing::Pacing;
use crate::disk::checkpoint::{self, Subject};
use crate::disk::folder;
use crate::disk::header::Kind;

/// The longest pause between two tries: no longer than somebody waits who has made space.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A segment that is shorter than this part of a full one is not closed for a checkpoint: that leads up to it as it is.
const SHORT: u64 = 8;

/// A checkpoint that is being made, of so many bytes in the end.
pub struct Checkpointing {
    sequence: u64,
    /// Bytes of the log that it covers.
    covers: u64,
    made: Receiver<io::Result<u64>>,
}

/// When to try a checkpoint again that could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    at: Instant,
    length: Duration,
}

impl Pause {
    /// The one after this, or the first.
    fn after(before: Option<Pause>, first: Duration) -> Pause {
        let length = before.map_or(first, |before| (before.length * 2).min(LONGEST_PAUSE));
        Pause { at: Instant::now() + length, length }
    }

    /// How long it still is.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

impl Checkpointing {
    /// Where to hear what came of it. If nothing does it gave up, since the node stops.
    pub fn made(&self) -> &Receiver<io::Result<u64>> {
        &self.made
    }
}

impl Writer {
    /// Whether a checkpoint is to be made, unless there is a pause.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let room = Pacing::new(self.settings.segment_bytes, self.checkpoint_bytes);
        self.failed.is_none()
            && self.checkpointing.is_none()
            && (self.wants_checkpoint || self.logged.load(Ordering::Relaxed) >= room.before)
    }

    /// Begins the next segment, or a checkpoint, if that is due.
    pub(super) fn advance(&mut self) {
        let Some(segment) = &self.segment else { return };
        let is_paused = self.pause.is_some_and(|pause| !pause.left().is_zero());
        if self.is_checkpoint_due() && !is_paused {
            self.begin_checkpoint();
        } else if segment.end >= self.settings.segment_bytes
            && let Err(error) = self.rotate()
        {
            self.fail(&error);
        }
    }

    /// Begins a checkpoint, and the segment that it leads up to if that is not there.
    pub(super) fn begin_checkpoint(&mut self) {
        let is_short = |end: u64| end < self.settings.segment_bytes / SHORT;
        let has_segment = self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.is_empty() || is_short(segment.end));
        if !has_segment && let Err(error) = self.rotate() {
            return self.fail(&error);
        }
        if let Err(error) = self.start_checkpoint() {
            self.checkpoint_failed(&error);
        }
    }

    /// Starts the thread that makes a checkpoint which leads up to the segment.
    fn start_checkpoint(&mut self) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let (sequence, own) = (segment.sequence, segment.end);
        // What the log has told since is in it, and tells it again.
        let ledger = segment.ledger.clone();
        let header = self.header(Kind::Checkpoint, sequence)?;
        let (tell, made) = bounded(1);
        let (files, folder) = (self.settings.files.clone(), self.folder.path().to_owned());
        let (node, stopped) = (self.node.clone(), self.stopped.clone());
        let room = Pacing::new(self.settings.segment_bytes, self.checkpoint_bytes);
        let logged = self.logged.clone();
        logging::spawn(format!("{} image", node.id()), move || {
            let rest = |done, took| {
                let grown = logged.load(Ordering::Relaxed).saturating_sub(own);
                let time = room.rest(done, grown, took);
                stopped.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
            };
            let Some(table) = node.table() else { return };
            let (header, ledger) = (&header, &ledger);
            let subject = Subject { header, ledger, table, earlier: node.earlier() };
            match checkpoint::make(&*files, &folder, &subject, &rest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // If nobody waits for it any more the node stops.
                made => drop(tell.send(made)),
            }
        })?;
        let covers = self.logged.swap(own, Ordering::Relaxed).saturating_sub(own);
        self.checkpointing = Some(Checkpointing { sequence, covers, made });
        self.ends.shared.tell_checkpointing();
        Ok(())
    }

    /// What came of a checkpoint, if anything did.
    pub(super) fn checkpointed(&mut self, made: Option<io::Result<u64>>) {
        let Some(Checkpointing { sequence, covers, .. }) = self.checkpointing.take() else {
            return;
        };
        let is_made = matches!(made, Some(Ok(_)));
        self.ends.shared.tell_checkpointed(is_made.then(|| clock::wall_ms() / 1000));
        let bytes = match made {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                self.logged.fetch_add(covers, Ordering::Relaxed);
                return self.checkpoint_failed(&error);
            }
            None => return,
        };
        if self.pause.take().is_some() {
            info!("an image was made again");
            self.ends.shared.tell_strain(None);
        }
        self.checkpoint_bytes = bytes;
        self.wants_checkpoint = false;
        // If the segment has failed since, there is a new gap.
        if self.failed.is_none() || self.segment.is_some() {
            self.mended();
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

    /// A checkpoint could not be made: it is tried again.
    fn checkpoint_failed(&mut self, error: &io::Error) {
        if self.failed.is_some() {
            self.complain(error);
            self.failed = Some(Instant::now());
            return;
        }
        let pause = Pause::after(self.pause, self.settings.retry);
        self.pause = Some(pause);
        self.ends.shared.tell_strain(Some(error.to_string()));
        if self.checkpoint_complaints.is_due() {
            warn!(
                "no image can be made: {error}; the log goes on, and gets longer; next try in {:?}",
                pause.length
            );
        }
    }

    /// Removes what a checkpoint covers. Returns how many files.
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

/// Bytes of the log that no checkpoint covers, or is made to cover: counted by the writer, and looked at by whoever makes an
/// checkpoint.
pub type Logged = Arc<AtomicU64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let first = Pause::after(None, Duration::from_secs(1));
        let lengths = std::iter::successors(Some(first), |&before| {
            Some(Pause::after(Some(before), Duration::from_secs(1)))
        });
        let lengths: Vec<u64> = lengths.map(|pause| pause.length.as_secs()).take(8).collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
