//! The data folder: what a node has on disk, so that it has it again after a restart.
//!
//! A thread of its own appends what the node stores and fetches to a log, in groups, and has the
//! disk told to keep it: in `async` about every second, off the path of requests; in `sync` before
//! anybody is answered, many writers sharing one wait. When the log outgrows what it tells, a
//! checkpoint of all records takes its place.
//!
//! * [`frame`], [`header`], [`entry`]: the formats, bytes to meaning; [`ledger`]: which records
//!   count;
//! * [`files`]: what is asked of the file system; [`folder`]: the files of a folder, and whose it
//!   is;
//! * [`journal`]: where the node's threads hand in what they store; [`writer`]: the thread that
//!   writes it;
//! * [`checkpoint`]: making a checkpoint; [`recovery`]: reading it all again, and [`recovered`],
//!   what that comes to;
//! * [`view_file`]: the newest view, in a file of its own.
//!
//! What it does not do: it does not make a node synced, though it knows where the node was. What it
//! has read is an earlier life's ([`crate::stale_cache`]), and a source has to confirm it; but
//! where nobody lives who could, a view may take the node for its own replacement (rule H6).

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
use recovery::{Care, Contents};
use view_file::ViewFile;
use writer::Start;

/// A data folder that has been read, and is to be written.
pub struct Disk {
    settings: DiskSettings,
    node: NodeId,
    folder: Folder,
    contents: Contents,
    journal: Journal,
    ends: WriterEnds,
}

impl Disk {
    /// Takes a node's folder for this process, and reads it.
    ///
    /// # Errors
    /// [`DataFolderError`].
    pub fn open(settings: DiskSettings, node: &NodeId) -> Result<Disk, DataFolderError> {
        let begun = Instant::now();
        let folder = Folder::take(&settings.folder, node.as_str())?;
        let care = if settings.salvage { Care::Salvage } else { Care::Start };
        let contents = recovery::recover(&folder, Some(node), care)?;
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

    /// Notes a start of the node's process in the folder, and gives what that takes over from those
    /// before it.
    pub fn restore(&mut self, incarnation: Incarnation) -> Restored {
        let starts = starts::note(&*self.settings.files, self.folder.path(), incarnation);
        let files = self.settings.files.clone();
        let anchor = Some(Anchor::new(files, self.folder.path(), incarnation));
        let (journal, recovered) = (self.journal.clone(), self.contents.recovered.take());
        Restored { journal, recovered, starts, anchor }
    }

    /// Where to hand in what is stored.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Starts to write what this start of the process hands in. Checkpoints are made of what
    /// `source` has.
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

/// What a start of a node's process takes over from its folder.
pub struct Restored {
    /// Where to hand in what it stores.
    pub journal: Journal,
    /// What the folder has of the last life; `None` if it is empty.
    pub recovered: Option<Recovered>,
    /// The last starts of a process with the folder (L5).
    pub starts: Vec<Incarnation>,
    /// Where it notes that the manager has heard of it.
    pub anchor: Option<Anchor>,
}

/// Reads a folder as a node does that starts with it, changes nothing, and says what is in it.
///
/// # Errors
/// [`DataFolderError`], if a node would not start with it.
pub fn check(folder: &Path) -> Result<String, DataFolderError> {
    let folder = Folder::take_present(folder, "storage --check")?;
    let Contents { recovered, report, .. } = recovery::recover(&folder, None, Care::Check)?;
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
