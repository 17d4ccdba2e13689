//! A data folder: whose it is, and which files are in it.
//!
//! ```text
//! lock                        held by the process that uses the folder
//! log-00000000000000000007    segments of the log, in their order
//! image-00000000000000000007  everything that the segments before this one have told
//! image-….new                 one that is being made; removed when the node starts
//! view                        the newest view that the node has adopted
//! gap                         empty; there while something is missing in the log, since the disk has failed
//! ```
//!
//! A node begins a new segment with each start, so that what it writes never stands behind a torn tail. Once an
//! image is complete, what it covers is removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cluster::ids::{ClusterId, NodeId};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system.
    #[error("cannot {what} {}: {source}", file.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("the data folder {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// It is another node's.
    #[error("{} belongs to {theirs}, not to {ours}", file.display())]
    OtherNode {
        /// A file in it.
        file: PathBuf,
        /// Whose it is.
        theirs: NodeId,
        /// Whose it should be.
        ours: NodeId,
    },
    /// Its files are of different clusters.
    #[error("{} is of cluster {theirs}, the files before it are of {ours}", file.display())]
    OtherCluster {
        /// A file in it.
        file: PathBuf,
        /// Its cluster.
        theirs: ClusterId,
        /// The others'.
        ours: ClusterId,
    },
    /// A file is not what was written.
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
        /// What is wrong.
        why: &'static str,
    },
    /// A file is not there.
    #[error(
        "{} is missing: restore it from a copy; or let the node fetch from others, with an empty folder; or keep \
         what is there, with --salvage",
        .0.display()
    )]
    Missing(PathBuf),
}

/// Adds to an error what was tried.
pub fn cannot<'f>(
    what: &'static str,
    file: &'f Path,
) -> impl FnOnce(io::Error) -> FolderError + 'f {
    move |source| FolderError::Io { what, file: file.into(), source }
}

/// The file that says so while the log has a gap that no image has filled yet.
const GAP: &str = "gap";

/// Where that stands.
pub fn gap(folder: &Path) -> PathBuf {
    folder.join(GAP)
}

/// Where the newest view stands.
pub fn newest(folder: &Path) -> PathBuf {
    folder.join("view")
}

/// A data folder that no other process uses.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Unlocked when it is closed, also by the end of the process.
    _lock: File,
}

/// The files of a folder, by their numbers, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Segments of the log.
    pub logs: Vec<u64>,
    /// Images.
    pub images: Vec<u64>,
    /// What was never finished.
    pub unfinished: Vec<PathBuf>,
    /// Whether the disk has failed, and nothing has filled the gap since.
    pub has_gap: bool,
}

impl Folder {
    /// Takes a folder for this process, and makes it if it is not there.
    ///
    /// # Errors
    /// [`FolderError::Locked`], [`FolderError::Io`].
    pub fn take(path: &Path) -> Result<Folder, FolderError> {
        make(path, &|parent| File::open(parent)?.sync_all())?;
        Folder::lock(path)
    }

    /// Takes one that must be there.
    ///
    /// # Errors
    /// [`FolderError::Locked`], [`FolderError::Io`].
    pub fn take_present(path: &Path) -> Result<Folder, FolderError> {
        fs::read_dir(path).map_err(cannot("read", path))?;
        Folder::lock(path)
    }

    fn lock(path: &Path) -> Result<Folder, FolderError> {
        let file = path.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(cannot("open", &file))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Folder { path: path.into(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(FolderError::Locked(path.into())),
            Err(error) => Err(cannot("lock", &file)(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn list(&self) -> Result<Listing, FolderError> {
        let mut listing = Listing::default();
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
                listing.images.push(number);
            }
        }
        listing.logs.sort_unstable();
        listing.images.sort_unstable();
        Ok(listing)
    }
}

/// Makes a folder with those around it, where they are not there, and has each be so after a loss of power: `sync` is
/// told the folders in which another was made.
fn make(path: &Path, sync: &dyn Fn(&Path) -> io::Result<()>) -> Result<(), FolderError> {
    let made: Vec<&Path> = path.ancestors().take_while(|folder| !is_there(folder)).collect();
    fs::create_dir_all(path).map_err(cannot("create", path))?;
    for folder in made {
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync(parent).map_err(cannot("sync", parent))?;
    }
    Ok(())
}

/// The empty path is where the process is.
fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.exists()
}

fn number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// The name of a segment of the log.
pub fn log(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("log-{sequence:020}"))
}

/// The name of an image.
pub fn image(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("image-{sequence:020}"))
}

/// The name of an image that is being made.
pub fn unfinished_image(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("image-{sequence:020}.new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(&dir.path().join("deep/er")).unwrap();
        let here = folder.path();
        for file in [log(here, 10), log(here, 9), image(here, 9), unfinished_image(here, 10)] {
            File::create(file).unwrap();
        }
        File::create(here.join("log-7")).unwrap();
        File::create(here.join("notes.txt")).unwrap();
        let want = Listing {
            logs: vec![9, 10],
            images: vec![9],
            unfinished: vec![unfinished_image(here, 10)],
            has_gap: false,
        };
        assert_eq!(folder.list().unwrap(), want);
    }

    #[test]
    fn the_folders_in_which_one_was_made_are_told_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let synced = std::cell::RefCell::new(Vec::new());
        let note = |folder: &Path| {
            synced.borrow_mut().push(folder.to_owned());
            Ok(())
        };
        make(&dir.path().join("deep/er"), &note).unwrap();
        assert_eq!(synced.take(), [dir.path().join("deep"), dir.path().into()]);
        make(&dir.path().join("deep/er"), &note).unwrap();
        assert!(synced.take().is_empty());
        let refuse = |_: &Path| Err(io::ErrorKind::StorageFull.into());
        assert!(make(&dir.path().join("other"), &refuse).is_err());
    }

    #[test]
    fn a_folder_is_one_process_s() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(dir.path()).unwrap();
        // A second descriptor is as good as a second process.
        let error = Folder::take(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("is in use by another process"), "{error}");
        drop(folder);
        Folder::take_present(dir.path()).unwrap();
        assert!(Folder::take_present(&dir.path().join("none")).is_err());
    }
}
