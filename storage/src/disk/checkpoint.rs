//! Writing a checkpoint: all records of a node in one file, which replaces the log before it.
//!
//! It is written while the node serves. Each arc is read in slices, as a source reads it for a
//! page, so that a request waits for tens of microseconds at most. A record that is stored
//! meanwhile may be in the checkpoint or not. It is in the log from the checkpoint's number on in
//! any case, and recovery takes the higher version of both.
//!
//! The file gets its name when all of it is on the disk, and ends with a count of its records,
//! which a torn file lacks.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use net_common::message::range::Cursor;

use super::entry;
use super::files::{Files, Output};
use super::folder;
use super::frame;
use super::header::{self, FileHeader};
use super::ledger::Ledger;
use crate::stale_cache::StaleCache;
use crate::table::Table;

/// Bytes after which a frame ends.
const FRAME: usize = 256 << 10;

/// Slots of an arc that are read under one lock.
const SLOTS: usize = 1 << 10;

/// Bytes after which the file is synced. To sync everything at the end would delay a log that waits
/// for the disk.
const SYNC: u64 = 8 << 20;

/// The source of a checkpoint's records.
pub trait CheckpointSource: Send + Sync {
    /// The records, once a view has set the number of arcs.
    fn table(&self) -> Option<&Table>;

    /// Stale records, which stay a cache.
    fn stale_cache(&self) -> &StaleCache;
}

/// The contents of a checkpoint.
pub struct Subject<'a> {
    /// The header of the file.
    pub header: &'a FileHeader,
    /// The ledger of the log before the checkpoint's number.
    pub ledger: &'a Ledger,
    /// The records.
    pub table: &'a Table,
    /// Stale records, which stay a cache.
    pub stale: &'a StaleCache,
}

/// Rests after a frame. Its arguments are the fraction of the checkpoint that is done, from 0 to 1,
/// and the time that the frame took. Returns whether to give up.
pub type Rest<'r> = &'r dyn Fn(f64, Duration) -> bool;

/// Writes a checkpoint into a folder, and returns its size in bytes.
///
/// # Errors
/// If the file system refuses, or `rest` gives up ([`io::ErrorKind::Interrupted`]). The file is
/// removed then, unless the file system refuses that too.
pub fn make(
    files: &dyn Files,
    folder: &Path,
    subject: &Subject<'_>,
    rest: Rest<'_>,
) -> io::Result<u64> {
    let sequence = subject.header.sequence;
    let aside = folder::unfinished_checkpoint(folder, sequence);
    let create = || match files.create(&aside) {
        // Left by an earlier attempt, when it could not be removed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files.remove(&aside)?;
            files.create(&aside)
        }
        created => created,
    };
    let made = create().and_then(|output| {
        let mut checkpoint = Checkpoint {
            output: &*output,
            salt: subject.header.salt,
            place: 0,
            synced: 0,
            done: 0.0,
            out: Vec::with_capacity(2 * FRAME),
            records: 0,
            since: Instant::now(),
            rest,
        };
        checkpoint.write(subject)?;
        output.sync()?;
        files.rename(&aside, &folder::checkpoint(folder, sequence))?;
        files.sync_folder(folder)?;
        Ok(checkpoint.place)
    });
    if made.is_err() {
        let _ = files.remove(&aside);
    }
    made
}

struct Checkpoint<'i> {
    output: &'i dyn Output,
    salt: u32,
    /// The place of the next frame.
    place: u64,
    /// The place up to which it is synced.
    synced: u64,
    /// The fraction that is done.
    done: f64,
    out: Vec<u8>,
    records: u64,
    /// When the last frame was done.
    since: Instant,
    rest: Rest<'i>,
}

impl Checkpoint<'_> {
    fn write(&mut self, subject: &Subject<'_>) -> io::Result<()> {
        self.output.append(&subject.header.encode())?;
        self.place = header::LENGTH as u64;
        let mut start = frame::begin(&mut self.out);
        entry::put_ledger(subject.ledger, &mut self.out);
        let arcs = subject.table.arcs();
        for arc in 0..arcs {
            self.done = arc as f64 / arcs as f64;
            let mut from = Some(Cursor::START);
            while let Some(cursor) = from {
                from = self.slice(subject.table, arc, cursor);
                start = self.end_if_full(start)?;
            }
            let Some(stale) = subject.stale.get(arc) else { continue };
            let mut records = stale.iter().peekable();
            while records.peek().is_some() {
                let count = &mut self.records;
                entry::put_arc(arc, true, &mut self.out, |out| {
                    while out.len() < FRAME
                        && let Some(record) = records.next()
                    {
                        entry::encode_record(&record, out);
                        *count += 1;
                    }
                });
                start = self.end_if_full(start)?;
            }
        }
        self.end(start)?;
        let start = frame::begin(&mut self.out);
        entry::put_end(self.records, &mut self.out);
        self.end(start)
    }

    /// Appends some records of an arc. Returns where to continue.
    fn slice(&mut self, table: &Table, arc: usize, from: Cursor) -> Option<Cursor> {
        let (before, count) = (self.out.len(), self.records);
        let mut next = None;
        let records = &mut self.records;
        entry::put_arc(arc, false, &mut self.out, |out| {
            next = table.scan(arc, from, SLOTS, |record| {
                // At least one record: otherwise a frame that is full but for the entry's head
                // would never end.
                if out.len() >= FRAME && *records > count {
                    return false;
                }
                entry::encode_record(&record, out);
                *records += 1;
                true
            });
        });
        if self.records == count {
            self.out.truncate(before);
        }
        next
    }

    fn end_if_full(&mut self, start: usize) -> io::Result<usize> {
        if self.out.len() < FRAME {
            return Ok(start);
        }
        self.end(start)?;
        Ok(frame::begin(&mut self.out))
    }

    /// Seals the frame and writes it.
    fn end(&mut self, start: usize) -> io::Result<()> {
        // A checkpoint with a name is durable as a whole, so its frames need no durable mark.
        frame::seal(&mut self.out, start, self.place, self.salt, 0);
        self.output.append(&self.out)?;
        self.place += self.out.len() as u64;
        self.out.clear();
        if self.place - self.synced >= SYNC {
            self.output.sync()?;
            self.synced = self.place;
        }
        if (self.rest)(self.done, self.since.elapsed()) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.since = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cluster::ids::{ClusterId, Incarnation, NodeId};
    use cluster::replica::State;
    use cluster::version::Version;
    use net_common::message::data::{Body, Record};

    use super::*;
    use crate::disk::files::System;
    use crate::disk::header::FileKind;

    fn checkpoint(value: usize) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let table = Table::new(2);
        let long = vec![1; value];
        let record = |key, value| {
            let version = Version::plain(1, 1);
            Record { key, version, state: State::Committed, body: Body::Value(value) }
        };
        table.merge(0, [record(b"long", &long)], 0);
        table.merge(1, [record(b"short", b"2")], 0);
        let header = FileHeader {
            kind: FileKind::Checkpoint,
            sequence: 1,
            cluster: ClusterId(1),
            incarnation: Incarnation(1),
            arcs: 2,
            salt: 1,
            node: NodeId::new("node1").unwrap(),
        };
        let (ledger, stale) = (Ledger::new(2), StaleCache::default());
        let subject = Subject { header: &header, ledger: &ledger, table: &table, stale: &stale };
        make(&System, dir.path(), &subject, &|_, _| false).unwrap()
    }

    #[test]
    fn a_checkpoint_completes_whatever_the_size_of_its_last_frame() {
        let (results, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            (FRAME - 200..FRAME)
                .for_each(|value| results.send(checkpoint(value)).unwrap_or_default());
        });
        for value in FRAME - 200..FRAME {
            let bytes =
                received.recv_timeout(Duration::from_secs(30)).expect("an endless checkpoint");
            assert!(bytes > value as u64);
        }
    }
}
