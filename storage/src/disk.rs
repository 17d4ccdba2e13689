//! The data folder: what a node has on disk, so that it has it again after a restart.
//!
//! A thread of its own appends what the node stores and fetches to a log, in groups, and has the disk told to
//! keep it: in `async` about every second, off the path of requests; in `sync` before anybody is answered, many
//! writers sharing one wait. When the log outgrows what it tells, a checkpoint of all records takes its place.
//!
//! * [`frame`], [`header`], [`entry`]: the formats, bytes to meaning; [`ledger`]: which records count;
//! * [`files`]: what is asked of the file system; [`folder`]: the files of a folder, and whose it is;
//! * [`journal`]: where the node's threads hand in what they store; [`writer`]: the thread that writes it;
//! * [`checkpoint`]: making a checkpoint; [`recovery`]: reading it all again, and [`recovered`], what that comes to;
//! * [`view_file`]: the newest view, in a file of its own.
//!
//! What it does not do: it does not make a node synced, though it knows where the node was. What it has read is an
//! earlier life's ([`crate::stale_cache`]), and a source has to confirm it; but where nobody lives who could, a view
//! may take the node for its own heir (rule H6).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ids::NodeId;
use cluster::text::{Count, count};
use log::{info, warn};

pub mod checkpoint;
pub mod entry;
pub mod files;
pub mod folder;
pub mod frame;
pub mod header;
pub mod journal;
pub mod ledger;
pub mod recovered;
pub mod recovery;
pub mod starts;
pub mod view_file;
pub mod writer;

use files::{Files, System};
use folder::{Folder, FolderError, cannot};
use journal::{Ends, Journal};
use recovered::Recovered;
use recovery::{Care, Contents, Lost, Report};
use view_file::ViewFile;
use writer::Running;

use crate::node::Node;

/// Bytes after which a segment of the log is followed by another: so small that little stays behind when an
/// checkpoint takes its place, so large that files are seldom made.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How often the disk is told to keep what was appended, in `async`: what is at risk when all lose their power.
pub const FLUSH: Duration = Duration::from_secs(1);

/// Bytes after which it is told so before that time is over: under load a second's worth would be much at once, and much
/// at risk.
pub const FLUSH_BYTES: u64 = 4 << 20;

/// How often something is tried again after the disk has failed: soon enough for those who wait, seldom enough
/// for a disk that is full.
pub const RETRY: Duration = Duration::from_secs(1);

/// How a node keeps what it holds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its data folder.
    pub folder: PathBuf,
    /// Whether to keep what is sound of a damaged folder.
    pub salvage: bool,
    /// Bytes after which a segment of the log is followed by another.
    pub segment_bytes: u64,
    /// How often the disk is told to keep what was appended, where answers do not wait for it.
    pub flush: Duration,
    /// Bytes after which it is told before that.
    pub flush_bytes: u64,
    /// How often something is tried again after the disk has failed.
    pub retry: Duration,
    /// The file system.
    pub files: Arc<dyn Files>,
}

impl Settings {
    /// Those of a folder, with what else is usual.
    pub fn new(folder: PathBuf) -> Settings {
        Settings {
            folder,
            salvage: false,
            segment_bytes: SEGMENT_BYTES,
            flush: FLUSH,
            flush_bytes: FLUSH_BYTES,
            retry: RETRY,
            files: Arc::new(System),
        }
    }
}

/// A data folder that has been read, and is to be written.
pub struct Disk {
    settings: Settings,
    folder: Folder,
    contents: Contents,
    journal: Journal,
    ends: Ends,
}

impl Disk {
    /// Takes a node's folder for this process, and reads it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(settings: Settings, node: &NodeId) -> Result<Disk, FolderError> {
        let begun = Instant::now();
        let folder = Folder::take(&settings.folder, node.as_str())?;
        let care = if settings.salvage { Care::Salvage } else { Care::Start };
        let contents = recovery::recover(&folder, Some(node), care)?;
        contents.report.lost.iter().for_each(|lost| warn!("{lost}"));
        let here = settings.folder.display();
        match &contents.life {
            None => info!("the data folder {here} is empty"),
            Some(Recovered { owner, ledger, .. }) => info!(
                "the data folder {here} of cluster {}: {} in {:.2?}; synced in {} arcs of view {}",
                owner.cluster,
                contents.report,
                begun.elapsed(),
                ledger.synced().count_ones(..),
                ledger.epoch().0,
            ),
        }
        let (files, here) = (settings.files.clone(), folder.path());
        let view_file = ViewFile::start(node, here, files, contents.views)
            .map_err(cannot("start a thread for", here))?;
        let (journal, ends) = Journal::new(Some(view_file));
        Ok(Disk { settings, folder, contents, journal, ends })
    }

    /// Notes the node's start in the folder, and gives it what was read, and where to hand in what it stores.
    pub fn give_to(&mut self, node: Node) -> Node {
        let folder = self.folder.path();
        let starts = starts::note(self.settings.files.as_ref(), folder, node.incarnation());
        node.with_disk(self.journal.clone(), self.contents.life.take(), starts)
    }

    /// Where to hand in what is stored.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Starts to write.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(self, node: Arc<Node>) -> io::Result<Running> {
        let Contents { report, next, .. } = &self.contents;
        writer::start(self.settings, self.folder, (report, *next), self.ends, node)
    }
}

/// Reads a folder as a node does that starts with it, changes nothing, and says what is in it.
///
/// # Errors
/// [`FolderError`], if a node would not start with it.
pub fn check(folder: &Path) -> Result<String, FolderError> {
    let folder = Folder::take_present(folder, "storage --check")?;
    let Contents { life, report, .. } = recovery::recover(&folder, None, Care::Check)?;
    let Some(Recovered { owner, ledger, is_whole, .. }) = life else { return Ok("empty\n".into()) };
    let mut text = format!(
        "{} of cluster {}: {report}; synced in {} of {} arcs of view {}\n",
        owner.node,
        owner.cluster,
        ledger.synced().count_ones(..),
        owner.arcs,
        ledger.epoch().0,
    );
    if !is_whole {
        text += "what was stored last is missing: the disk had failed\n";
    }
    for lost in &report.lost {
        text += &format!("{lost}\n");
    }
    Ok(text)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { files, log_bytes, checkpoint_bytes, records, kept, .. } = self;
        let bytes = log_bytes + checkpoint_bytes;
        let (files, bytes) = (count(*files, "file"), Count(bytes, "byte"));
        write!(f, "{files}, {bytes}, {}, {kept} kept", Count(*records, "record"))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { file, at, bytes, what } = self;
        write!(f, "{}: {bytes} bytes left out from byte {at} on: {what}", file.display())
    }
}

#[cfg(test)]
pub mod tests;
