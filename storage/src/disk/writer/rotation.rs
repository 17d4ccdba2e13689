//! Replacing a segment of the log by the next.

use std::io;

use super::segment::Segment;
use super::thread::{LogWriter, Origin};
use crate::disk::folder;
use crate::disk::header::{FileHeader, FileKind};

impl LogWriter {
    /// Begins the next segment, if the cluster is known.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.origin.is_none() {
            return Ok(());
        }
        let files = self.settings.files.clone();
        if let Some(file) = &self.leftover {
            match files.remove(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.leftover = None,
            }
        }
        let header = self.header(FileKind::Log, self.next)?;
        match Segment::begin(&*files, &self.folder, &header, self.ledger.clone()) {
            Ok(segment) => self.log.begin_segment(segment),
            Err(error) => {
                let file = folder::log(self.folder.path(), self.next);
                self.leftover = files.remove(&file).is_err().then_some(file);
                return Err(error);
            }
        }
        self.next += 1;
        Ok(())
    }

    /// The header for a file of this node and incarnation.
    pub(super) fn header(&self, kind: FileKind, sequence: u64) -> io::Result<FileHeader> {
        let Origin { cluster, arcs } = self.origin.ok_or(io::ErrorKind::NotFound)?;
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(io::Error::from)?;
        Ok(FileHeader {
            kind,
            sequence,
            cluster,
            incarnation: self.incarnation,
            arcs,
            salt: u32::from_be_bytes(salt),
            node: self.name.clone(),
        })
    }

    /// Closes the segment, and begins the next.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        if let Some(segment) = self.log.segment_mut() {
            segment.close()?;
            self.log.take_segment();
        }
        self.begin()
    }
}
