//! Reading a data folder: the newest checkpoint, then the log from there on.
//!
//! [`Recovered`] collects the contents of the files. The result is what the node held in its last
//! incarnation, its newest view, and where it was synced: a cluster without live nodes is restored
//! from that (rule H6). While other nodes live, the records are stale: they are shown to nobody
//! until a source confirms them (H3).
//!
//! The tail of the last segment may be torn: the segment is truncated there and closed, so that all
//! segments are whole before the next begins. Any other deviation is damage, and an error, unless
//! the folder is to be salvaged: then all sound frames are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use cluster::ids::NodeId;
use net_common::codec::DecodeError;

use super::entry;
use super::folder::{self, DataFolderError, Folder, FolderOwner, cannot};
use super::frame::{self, BatchEnd, FileFrameReader};
use super::header::{self, FileHeader, FileKind};
use super::recovered::Recovered;
use super::view_file::{self, SavedView};

mod report;

pub use report::{LostBytes, RecoveryReport};

/// Threads that read records into the table. More would wait for each other and for memory.
const THREADS: usize = 8;

/// How to treat damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagePolicy {
    /// Truncate a torn tail; stop at damage.
    Start,
    /// Report a torn tail; stop at damage; change nothing.
    Check,
    /// Keep all that is sound.
    Salvage,
}

/// The contents of a folder.
pub struct Contents {
    /// The last incarnation in it; `None` if it is empty.
    pub recovered: Option<Recovered>,
    /// The number of the next segment.
    pub next: u64,
    /// The count of the view file.
    pub views: u64,
    /// The report about the folder.
    pub report: RecoveryReport,
}

/// Reads a folder. With a `node`'s name the folder must belong to that node.
///
/// # Errors
/// [`DataFolderError`].
pub fn recover(
    folder: &Folder,
    node: Option<&NodeId>,
    policy: DamagePolicy,
) -> Result<Contents, DataFolderError> {
    let listing = folder.list()?;
    if policy != DamagePolicy::Check {
        for file in &listing.unfinished {
            std::fs::remove_file(file).map_err(cannot("remove", file))?;
        }
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let mut recovery = Recovery {
        folder: folder.path(),
        node,
        policy,
        threads,
        recovered: None,
        report: RecoveryReport { has_gap: listing.has_gap, ..RecoveryReport::default() },
        torn_new: None,
    };
    let logs = recovery.checkpoints(&listing.checkpoints, &listing.logs)?;
    recovery.logs(&logs)?;
    let last = listing.logs.iter().chain(&listing.checkpoints).max().copied().unwrap_or(0);
    let next = recovery.torn_new.unwrap_or(last + 1);
    let saved = view_file::read(folder.path())
        .map_err(cannot("read", &folder::view_file(folder.path())))?;
    let views = saved.as_ref().map_or(0, |(count, _)| *count);
    if let Some((_, saved)) = saved {
        recovery.view_file(saved)?;
    }
    let Recovery { mut recovered, mut report, .. } = recovery;
    if let Some(recovered) = &mut recovered {
        report.kept = recovered.kept();
        recovered.is_whole &=
            !listing.has_gap && (policy != DamagePolicy::Salvage || report.lost.is_empty());
    }
    Ok(Contents { recovered, next, views, report })
}

struct Recovery<'f> {
    folder: &'f Path,
    node: Option<&'f NodeId>,
    policy: DamagePolicy,
    threads: usize,
    recovered: Option<Recovered>,
    report: RecoveryReport,
    /// The number of a last segment that was being created.
    torn_new: Option<u64>,
}

/// A file to be read.
struct Input<'p> {
    path: &'p Path,
    kind: FileKind,
    sequence: u64,
    /// Whether it is the last segment of the log.
    is_last: bool,
}

impl Input<'_> {
    /// Whether its tail may be missing, since it was written just before a loss of power.
    fn may_be_torn(&self) -> bool {
        self.kind == FileKind::Log && self.is_last
    }
}

/// The beginning of a file.
enum FileStart {
    Good(FileHeader, File),
    /// Less than a header, or a bad one and nothing behind it.
    Torn(u64),
    Bad(&'static str),
}

impl Recovery<'_> {
    fn checkpoint(&mut self, file: &Path, sequence: u64) -> Result<(), DataFolderError> {
        self.file(&Input { path: file, kind: FileKind::Checkpoint, sequence, is_last: false })?;
        if let Some(recovered) = &mut self.recovered {
            recovered.end_checkpoint();
        }
        Ok(())
    }

    /// Reads the newest whole checkpoint. Returns the segments that follow it.
    fn checkpoints(
        &mut self,
        checkpoints: &[u64],
        logs: &[u64],
    ) -> Result<Vec<u64>, DataFolderError> {
        if self.policy == DamagePolicy::Salvage {
            for &sequence in checkpoints {
                let file = folder::checkpoint(self.folder, sequence);
                self.checkpoint(&file, sequence)?;
            }
            return Ok(logs.to_vec());
        }
        let mut first = 1;
        let mut broken = None;
        for &sequence in checkpoints.iter().rev() {
            let file = folder::checkpoint(self.folder, sequence);
            if is_whole(&file).map_err(cannot("read", &file))? {
                first = sequence;
                self.checkpoint(&file, sequence)?;
                break;
            }
            broken = broken.or(Some(file));
        }
        let logs: Vec<u64> = logs.iter().copied().filter(|&log| log >= first).collect();
        let are_there = logs.iter().copied().eq(first..first + logs.len() as u64);
        let is_empty = checkpoints.is_empty() && logs.is_empty();
        match broken {
            // An older checkpoint and the log from there on contain the same.
            Some(file) if are_there && !logs.is_empty() => {
                let bytes = file.metadata().map_or(0, |data| data.len());
                let what = "an image that is not whole; the log still has all of it";
                self.report.lost.push(LostBytes { file, at: 0, bytes, what });
            }
            Some(file) => {
                let at = file.metadata().map_or(0, |data| data.len());
                return Err(DataFolderError::Damaged { file, at, why: "its end is missing" });
            }
            None if is_empty || are_there && !logs.is_empty() => {}
            None => {
                let missing = (first..).find(|n| !logs.contains(n)).unwrap_or(first);
                return Err(DataFolderError::Missing(folder::log(self.folder, missing)));
            }
        }
        Ok(logs)
    }

    fn logs(&mut self, logs: &[u64]) -> Result<(), DataFolderError> {
        let mut before = None;
        for (i, &sequence) in logs.iter().enumerate() {
            if let Some(before) = before
                && before + 1 != sequence
            {
                // Only in a salvage: otherwise all are there.
                let file = folder::log(self.folder, before + 1);
                self.report.lost.push(LostBytes { file, at: 0, bytes: 0, what: "a missing file" });
            }
            before = Some(sequence);
            let file = folder::log(self.folder, sequence);
            let is_last = i + 1 == logs.len();
            self.file(&Input { path: &file, kind: FileKind::Log, sequence, is_last })?;
        }
        Ok(())
    }

    fn begin(&self, input: &Input<'_>) -> io::Result<FileStart> {
        let Input { path, kind, sequence, .. } = *input;
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(header::LENGTH);
        (&mut file).take(header::LENGTH as u64).read_to_end(&mut bytes)?;
        Ok(match FileHeader::decode(&bytes) {
            Ok(header) if (header.kind, header.sequence) == (kind, sequence) => {
                FileStart::Good(header, file)
            }
            Ok(_) => FileStart::Bad("it has another file's name"),
            Err(_) if length <= header::LENGTH as u64 => FileStart::Torn(length),
            Err(DecodeError(why)) => FileStart::Bad(why),
        })
    }

    /// Reads a file.
    fn file(&mut self, file: &Input<'_>) -> Result<(), DataFolderError> {
        let path = file.path;
        let length = path.metadata().map_err(cannot("read", path))?.len();
        let (header, opened) = match self.begin(file).map_err(cannot("read", path))? {
            FileStart::Good(header, opened) => (header, opened),
            FileStart::Torn(bytes)
                if file.may_be_torn() && self.policy != DamagePolicy::Salvage =>
            {
                return self.torn_new(file, bytes);
            }
            FileStart::Torn(_) => return self.damaged(path, 0, length, "its header ends too soon"),
            FileStart::Bad(why) => return self.damaged(path, 0, length, why),
        };
        self.belongs(path, &header)?;
        self.report.files += 1;
        match file.kind {
            FileKind::Log => self.report.log_bytes += length,
            FileKind::Checkpoint => self.report.checkpoint_bytes += length,
        }
        let reader = FileFrameReader::new(opened, header::LENGTH as u64, header.salt);
        self.frames(file, &header, reader, length)
    }

    /// Removes a last segment that was being created: it is empty.
    fn torn_new(&mut self, file: &Input<'_>, bytes: u64) -> Result<(), DataFolderError> {
        if self.policy == DamagePolicy::Start {
            std::fs::remove_file(file.path).map_err(cannot("remove", file.path))?;
            self.torn_new = Some(file.sequence);
        }
        let what = "a segment that was being created";
        self.report.lost.push(LostBytes { file: file.path.into(), at: 0, bytes, what });
        Ok(())
    }

    /// Reads the frames of a file up to its end, or to a torn tail.
    fn frames(
        &mut self,
        file: &Input<'_>,
        header: &FileHeader,
        mut reader: FileFrameReader<File>,
        length: u64,
    ) -> Result<(), DataFolderError> {
        let path = file.path;
        let mut is_closed = false;
        loop {
            let batch = reader.next_batch().map_err(cannot("read", path))?;
            for range in &batch.bodies {
                // Nothing may follow the entry that closes a file.
                if is_closed {
                    let at = reader.place(range);
                    self.damaged(path, at, 0, "it goes on behind its end")?;
                }
                is_closed = reader.body(range).first() == Some(&entry::END);
            }
            let bodies: Vec<(u64, &[u8])> = batch
                .bodies
                .iter()
                .map(|range| (reader.place(range), reader.body(range)))
                .collect();
            self.entries(path, &bodies)?;
            match batch.end {
                BatchEnd::More => {}
                BatchEnd::End if is_closed => return Ok(()),
                BatchEnd::End if file.may_be_torn() => {
                    return self.close(path, header.salt, length);
                }
                BatchEnd::End => return self.damaged(path, length, 0, "its end is missing"),
                BatchEnd::Bad(at) if self.policy == DamagePolicy::Salvage => {
                    let next = reader.resume().map_err(cannot("read", path))?;
                    let bytes = next.unwrap_or(length) - at;
                    self.damaged(path, at, bytes, "a bad checksum")?;
                    if next.is_none() {
                        return Ok(());
                    }
                }
                BatchEnd::Bad(at) => {
                    let is_torn = file.may_be_torn() && !is_closed && {
                        let durable = read_on(&mut reader).map_err(cannot("read", path))?;
                        durable <= at
                    };
                    if !is_torn {
                        return self.damaged(path, at, 0, "a bad checksum");
                    }
                    let (bytes, what) = (length - at, "a torn end");
                    self.report.lost.push(LostBytes { file: path.into(), at, bytes, what });
                    return self.close(path, header.salt, at);
                }
            }
        }
    }

    /// Returns an error, or in a salvage adds a line to the report.
    fn damaged(
        &mut self,
        file: &Path,
        at: u64,
        bytes: u64,
        why: &'static str,
    ) -> Result<(), DataFolderError> {
        let file = file.into();
        if self.policy != DamagePolicy::Salvage {
            return Err(DataFolderError::Damaged { file, at, why });
        }
        self.report.lost.push(LostBytes { file, at, bytes, what: why });
        Ok(())
    }

    /// Checks a file's header against the owner of the folder, and begins a new incarnation if the
    /// header has one.
    fn belongs(&mut self, file: &Path, header: &FileHeader) -> Result<(), DataFolderError> {
        let owner = FolderOwner {
            cluster: header.cluster,
            node: header.node.clone(),
            incarnation: header.incarnation,
            arcs: header.arcs,
        };
        let before = self.recovered.as_ref().map(|recovered| &recovered.owner);
        let ours = self.node.or(before.map(|before| &before.node));
        if let Some(ours) = ours.filter(|ours| **ours != owner.node) {
            let (file, ours) = (file.into(), ours.clone());
            return Err(DataFolderError::OtherNode { file, theirs: owner.node, ours });
        }
        if let Some(before) = before
            && (before.cluster, before.arcs) != (owner.cluster, owner.arcs)
        {
            let (file, ours) = (file.into(), before.cluster);
            return Err(DataFolderError::OtherCluster { file, theirs: owner.cluster, ours });
        }
        let threads = self.threads;
        match &mut self.recovered {
            Some(recovered) => recovered.begin(owner),
            recovered @ None => *recovered = Some(Recovered::new(owner, threads)),
        }
        Ok(())
    }

    /// Takes in the view file.
    fn view_file(&mut self, saved: SavedView) -> Result<(), DataFolderError> {
        if let Some(ours) = self.node.filter(|ours| **ours != saved.owner.node) {
            let (file, ours) = (folder::view_file(self.folder), ours.clone());
            return Err(DataFolderError::OtherNode { file, theirs: saved.owner.node, ours });
        }
        let threads = self.threads;
        let recovered =
            self.recovered.get_or_insert_with(|| Recovered::new(saved.owner.clone(), threads));
        recovered.apply_view_file(saved);
        Ok(())
    }

    /// Takes in some frames of a file.
    fn entries(&mut self, file: &Path, bodies: &[(u64, &[u8])]) -> Result<(), DataFolderError> {
        let Some(arcs) = self.recovered.as_ref().map(|recovered| recovered.owner.arcs) else {
            return Ok(());
        };
        let mut all = Vec::new();
        for &(at, body) in bodies {
            match entry::decode(body, arcs) {
                Ok(entries) => all.extend(entries.into_iter().map(|entry| (at, entry))),
                Err(DecodeError(why)) => self.damaged(file, at, body.len() as u64, why)?,
            }
        }
        let Some(recovered) = &mut self.recovered else { return Ok(()) };
        let (records, bad) = recovered.take(all);
        self.report.records += records;
        bad.into_iter().try_for_each(|(at, why)| self.damaged(file, at, 0, why))
    }

    /// Truncates the last segment of a log where it is torn, and closes it.
    fn close(&self, path: &Path, salt: u32, end: u64) -> Result<(), DataFolderError> {
        if self.policy == DamagePolicy::Check {
            return Ok(());
        }
        let close = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.set_len(end)?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(&closing(salt, end))?;
            file.sync_all()
        };
        close().map_err(cannot("close", path))
    }
}

/// The frame that closes a segment.
pub fn closing(salt: u32, place: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    entry::put_end(0, &mut out);
    frame::seal(&mut out, start, place, salt, place);
    out
}

/// Reads the rest of a file only to learn what was durable.
fn read_on(reader: &mut FileFrameReader<File>) -> io::Result<u64> {
    while reader.resume()?.is_some() {
        while reader.next_batch()?.end == BatchEnd::More {}
    }
    Ok(reader.durable())
}

/// Whether a checkpoint is complete: it ends with the end entry.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    (&mut file).take(header::LENGTH as u64).read_to_end(&mut bytes)?;
    let Ok(header) = FileHeader::decode(&bytes) else { return Ok(false) };
    let end = closing(0, 0).len() as u64;
    let Some(place) = length.checked_sub(end).filter(|&at| at >= header::LENGTH as u64) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(place))?;
    bytes.clear();
    file.read_to_end(&mut bytes)?;
    Ok(frame::is_good(&bytes, place, header.salt) && bytes.get(frame::HEAD) == Some(&entry::END))
}
