//! A segment of the log: the file that is being written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::files::{Files, Output};
use crate::disk::folder::{self, Folder};
use crate::disk::frame;
use crate::disk::header::{self, FileHeader};
use crate::disk::ledger::Ledger;
use crate::disk::recovery::closing;

/// The segment that is being written, or in which the disk has failed.
pub struct Segment {
    /// Its number.
    pub sequence: u64,
    /// Its file.
    pub file: PathBuf,
    /// The ledger before it, for a checkpoint that leads up to it. It may include views that the
    /// segment has again.
    pub ledger: Ledger,
    /// The file, open.
    pub output: Arc<dyn Output>,
    /// The place of the next frame.
    pub end: u64,
    /// The length that is on the disk.
    pub durable: u64,
    salt: u32,
}

impl Segment {
    /// Creates a segment. It is on the disk afterwards.
    ///
    /// # Errors
    /// The system's. The file may exist in part.
    pub fn begin(
        files: &dyn Files,
        folder: &Folder,
        header: &FileHeader,
        ledger: Ledger,
    ) -> io::Result<Segment> {
        let file = folder::log(folder.path(), header.sequence);
        let output = files.create(&file)?;
        output.append(&header.encode())?;
        output.sync()?;
        files.sync_folder(folder.path())?;
        let (end, durable) = (header::LENGTH as u64, header::LENGTH as u64);
        let (sequence, salt) = (header.sequence, header.salt);
        Ok(Segment { sequence, file, ledger, output, end, durable, salt })
    }

    /// Whether it has nothing but its header.
    pub fn is_empty(&self) -> bool {
        self.end == header::LENGTH as u64
    }

    /// Whether all of it is on the disk.
    pub fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    /// Seals the frame that begins at `start`, and appends it.
    ///
    /// # Errors
    /// The system's. Any part of the frame may be written.
    pub fn append(&mut self, out: &mut [u8], start: usize) -> io::Result<()> {
        frame::seal(out, start, self.end, self.salt, self.durable);
        self.output.append(out)?;
        self.end += out.len() as u64;
        Ok(())
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The system's: which part of the rest is on the disk is unknown then.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.is_durable() {
            self.output.sync()?;
            self.durable = self.end;
        }
        Ok(())
    }

    /// Truncates it to the part that is certainly on the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn cut(&mut self) -> io::Result<()> {
        self.output.cut(self.durable)?;
        self.end = self.durable;
        Ok(())
    }

    /// Writes the end entry, and waits until all of the segment is on the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn close(&mut self) -> io::Result<()> {
        // First, since the end entry must not be on the disk without the rest.
        self.sync()?;
        self.output.append(&closing(self.salt, self.end))?;
        self.output.sync()
    }
}
