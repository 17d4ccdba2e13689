//! The data folder: a node's records on disk, so that they survive a restart.
//!
//! A thread appends stored and fetched records to a log, in groups, and syncs it to the disk: in
//! `async` about every second, off the path of requests; in `sync` before the answers, where many
//! writers share one wait. When the log has outgrown the records in it, a checkpoint of all records
//! replaces it.
//!
//! * [`frame`], [`header`], [`entry`]: the formats; [`ledger`]: which records count;
//! * [`files`]: access to the file system; [`folder`]: the files of a folder and its owner;
//! * [`journal`]: the queue from the node's threads to the writer; [`writer`]: the thread that
//!   writes the log;
//! * [`checkpoint`]: writing a checkpoint; [`recovery`]: reading a folder, and [`recovered`]: the
//!   result;
//! * [`view_file`]: the newest view, in a file of its own.
//!
//! Recovery does not make a node synced, although it knows where the node was. Recovered records
//! are stale ([`crate::stale_cache`]) until a source confirms them. If no live node can, a view may
//! take the node as its own replacement (rule H6).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cluster::ids::{Incarnation, NodeId};
use log::{info, warn};
use net_common::worker::Worker;

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
mod settings;
pub mod starts;
pub mod view_file;
pub mod writer;

pub use settings::DiskSettings;
pub use starts::Anchor;

use checkpoint::CheckpointSource;
use folder::{DataFolderError, Folder, cannot};
use journal::{Journal, WriterEnds};
use recovered::Recovered;
use recovery::{Contents, DamagePolicy};
use view_file::ViewFile;
use writer::Start;

/// A data folder that has been read and will be written.
pub struct Disk {
    settings: DiskSettings,
    node: NodeId,
    folder: Folder,
    contents: Contents,
    journal: Journal,
    ends: WriterEnds,
}

impl Disk {
    /// Locks a node's folder for this process, and reads it.
    ///
    /// # Errors
    /// [`DataFolderError`].
    pub fn open(settings: DiskSettings, node: &NodeId) -> Result<Disk, DataFolderError> {
        let begun = Instant::now();
        let folder = Folder::take(&settings.folder, node.as_str())?;
        let policy = if settings.salvage { DamagePolicy::Salvage } else { DamagePolicy::Start };
        let contents = recovery::recover(&folder, Some(node), policy)?;
        contents.report.lost.iter().for_each(|lost| warn!("{lost}"));
        let here = settings.folder.display();
        match &contents.recovered {
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
        Ok(Disk { settings, node: node.clone(), folder, contents, journal, ends })
    }

    /// Records a start of the node's process in the folder, and returns what the process takes
    /// over.
    pub fn restore(&mut self, incarnation: Incarnation) -> Restored {
        let starts = starts::note(&*self.settings.files, self.folder.path(), incarnation);
        let files = self.settings.files.clone();
        let anchor = Some(Anchor::new(files, self.folder.path(), incarnation));
        let (journal, recovered) = (self.journal.clone(), self.contents.recovered.take());
        Restored { journal, recovered, starts, anchor }
    }

    /// The journal, which records are handed in to.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Starts the writer for this start of the process. Checkpoints contain the records of
    /// `source`.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(
        self,
        incarnation: Incarnation,
        source: Arc<dyn CheckpointSource>,
    ) -> io::Result<Worker> {
        let Disk { settings, node, folder, contents, ends, .. } = self;
        let Contents { report, next, .. } = contents;
        writer::start(Start { settings, node, incarnation, folder, report, next, ends }, source)
    }
}

/// The state that a start of a node's process takes over from its folder.
pub struct Restored {
    /// The journal for new records.
    pub journal: Journal,
    /// The records and the ledger of the last incarnation; `None` if the folder is empty.
    pub recovered: Option<Recovered>,
    /// The last starts of a process with the folder (L5).
    pub starts: Vec<Incarnation>,
    /// Records that the manager knows this start.
    pub anchor: Option<Anchor>,
}

/// Reads a folder as a starting node does, changes nothing, and returns a summary.
///
/// # Errors
/// [`DataFolderError`], if a node would not start with it.
pub fn check(folder: &Path) -> Result<String, DataFolderError> {
    let folder = Folder::take_present(folder, "storage --check")?;
    let Contents { recovered, report, .. } = recovery::recover(&folder, None, DamagePolicy::Check)?;
    let Some(Recovered { owner, ledger, is_whole, .. }) = recovered else {
        return Ok("empty\n".into());
    };
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
