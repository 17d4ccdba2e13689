//! A data folder: its owner and its files.
//!
//! ```text
//! lock                        held by the process that uses the folder
//! log-00000000000000000007    segments of the log, in their order
//! image-00000000000000000007  a checkpoint: everything that the segments before this one contain
//! image-….new                 a checkpoint in progress; removed when the node starts
//! starts                      the last starts of a process with the folder
//! view                        the newest view that the node has adopted
//! gap                         empty; present while the log has a gap after a failure of the disk
//! ```
//!
//! Each start begins a new segment, so new records never follow a torn tail. Once a checkpoint is
//! complete, the files that it covers are removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cluster::ids::{ClusterId, Incarnation, NodeId};
use net_common::folder::{self, FolderLock};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The file system refuses, or another process uses the folder.
    #[error(transparent)]
    Unusable(#[from] folder::FolderError),
    /// It belongs to another node.
    #[error("{} belongs to {theirs}, not to {ours}", file.display())]
    OtherNode {
        /// A file in it.
        file: PathBuf,
        /// Its owner.
        theirs: NodeId,
        /// This node.
        ours: NodeId,
    },
    /// Its files belong to different clusters.
    #[error("{} is of cluster {theirs}, the files before it are of {ours}", file.display())]
    OtherCluster {
        /// A file in it.
        file: PathBuf,
        /// Its cluster.
        theirs: ClusterId,
        /// The cluster of the other files.
        ours: ClusterId,
    },
    /// A file is damaged.
    #[error(
        "{} is damaged at byte {at} ({why}): restore it from a copy; or let the node fetch from others, with \
         an empty folder; or keep what is sound, with --salvage",
        file.display()
    )]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Where.
        at: u64,
        /// The kind of damage.
        why: &'static str,
    },
    /// A file is missing.
    #[error(
        "{} is missing: restore it from a copy; or let the node fetch from others, with an empty folder; or keep \
         what is there, with --salvage",
        .0.display()
    )]
    Missing(PathBuf),
}

/// Adds the attempted operation to an error.
pub fn cannot<'f>(
    what: &'static str,
    file: &'f Path,
) -> impl FnOnce(io::Error) -> DataFolderError + 'f {
    move |source| folder::cannot(what, file)(source).into()
}

/// The file that exists while the log has a gap that no checkpoint has filled yet.
const GAP: &str = "gap";

/// The path of that file.
pub fn gap(folder: &Path) -> PathBuf {
    folder.join(GAP)
}

/// The path of the view file.
pub fn view_file(folder: &Path) -> PathBuf {
    folder.join("view")
}

/// A data folder that no other process uses.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: FolderLock,
}

/// The owner of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderOwner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The last incarnation that wrote something.
    pub incarnation: Incarnation,
    /// The number of arcs of its ring.
    pub arcs: usize,
}

/// The files of a folder, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderListing {
    /// Segments of the log.
    pub logs: Vec<u64>,
    /// Checkpoints.
    pub checkpoints: Vec<u64>,
    /// Unfinished checkpoints.
    pub unfinished: Vec<PathBuf>,
    /// Whether the log has a gap that nothing has filled since the disk failed.
    pub has_gap: bool,
}

impl Folder {
    /// Locks a folder for this process, and creates it if it does not exist. `who` names this
    /// process to others that want the folder.
    ///
    /// # Errors
    /// [`DataFolderError::Unusable`].
    pub fn take(path: &Path, who: &str) -> Result<Folder, DataFolderError> {
        Ok(Folder { _lock: FolderLock::take(path, who)?, path: path.into() })
    }

    /// Locks a folder that must exist.
    ///
    /// # Errors
    /// [`DataFolderError::Unusable`].
    pub fn take_present(path: &Path, who: &str) -> Result<Folder, DataFolderError> {
        Ok(Folder { _lock: FolderLock::take_present(path, who)?, path: path.into() })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files.
    ///
    /// # Errors
    /// [`DataFolderError::Unusable`].
    pub fn list(&self) -> Result<FolderListing, DataFolderError> {
        let mut listing = FolderListing::default();
        for entry in fs::read_dir(&self.path).map_err(cannot("read", &self.path))? {
            let entry = entry.map_err(cannot("read", &self.path))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == GAP {
                listing.has_gap = true;
            } else if name.starts_with("image-") && name.ends_with(".new") {
                listing.unfinished.push(entry.path());
            } else if let Some(number) = number(name, "log-") {
                listing.logs.push(number);
            } else if let Some(number) = number(name, "image-") {
                listing.checkpoints.push(number);
            }
        }
        listing.logs.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }
}

fn number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// The path of a segment of the log.
pub fn log(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("log-{sequence:020}"))
}

/// The path of a checkpoint.
pub fn checkpoint(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("image-{sequence:020}"))
}

/// The path of a checkpoint in progress.
pub fn unfinished_checkpoint(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("image-{sequence:020}.new"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn files_are_found_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(&dir.path().join("deep/er"), "node1").unwrap();
        let here = folder.path();
        for file in
            [log(here, 10), log(here, 9), checkpoint(here, 9), unfinished_checkpoint(here, 10)]
        {
            File::create(file).unwrap();
        }
        File::create(here.join("log-7")).unwrap();
        File::create(here.join("notes.txt")).unwrap();
        let want = FolderListing {
            logs: vec![9, 10],
            checkpoints: vec![9],
            unfinished: vec![unfinished_checkpoint(here, 10)],
            has_gap: false,
        };
        assert_eq!(folder.list().unwrap(), want);
    }
}
