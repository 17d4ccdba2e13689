//! A data folder: made so that it outlives a loss of power, and used by one process at a time.
//!
//! Whoever uses a folder holds a lock (`flock`) on the file `lock` in it; the system lets it go
//! when the process ends, however it ends. The file says who holds it, for the message to whoever
//! comes second. All programs lock the same file, so a manager and a node do not share a folder by
//! mistake either.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::handover;

/// The file that is locked.
pub const LOCK: &str = "lock";

/// Bytes that are read of who holds a lock: a name of 64 bytes and a number fit, and a file that is
/// something else does not fill a line.
const HOLDER_BYTES: u64 = 128;

/// Why a folder cannot be used.
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
    #[error("the data folder {} is in use by {by}", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who uses it, as far as that can be said.
        by: String,
    },
}

/// Adds to an error what was tried.
pub fn cannot<'f>(
    what: &'static str,
    file: &'f Path,
) -> impl FnOnce(io::Error) -> FolderError + 'f {
    move |source| FolderError::Io { what, file: file.into(), source }
}

/// The lock on a folder. Let go when it is dropped, also by the end of the process.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes a folder if it is not there, and locks it. `who` is what others are told of this
    /// process.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn take(folder: &Path, who: &str) -> Result<FolderLock, FolderError> {
        make(folder, &|parent| File::open(parent)?.sync_all())?;
        FolderLock::take_present(folder, who)
    }

    /// Locks a folder that must be there. A lock that another process has is tried for up to
    /// [`handover::PATIENCE`]: that process may be ending.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn take_present(folder: &Path, who: &str) -> Result<FolderLock, FolderError> {
        fs::read_dir(folder).map_err(cannot("read", folder))?;
        let path = folder.join(LOCK);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(cannot("open", &path))?;
        let lock = || flock(&file, FlockOperation::NonBlockingLockExclusive);
        match handover::retry(Instant::now(), |error| *error == Errno::WOULDBLOCK, lock) {
            Ok(()) => {
                // Only for the message to others: on a full disk they are told less.
                let _ = file.set_len(0);
                let _ = write!(file, "{who}, process {}", std::process::id());
                Ok(FolderLock { _file: file })
            }
            Err(Errno::WOULDBLOCK) => {
                Err(FolderError::Locked { folder: folder.into(), by: holder(&file) })
            }
            Err(error) => Err(cannot("lock", &path)(error.into())),
        }
    }
}

/// Who says in the file that it holds the lock.
fn holder(file: &File) -> String {
    let mut text = String::new();
    let is_read = file.take(HOLDER_BYTES).read_to_string(&mut text).is_ok();
    let is_plain = !text.is_empty() && !text.chars().any(char::is_control);
    if is_read && is_plain { text } else { "another process".into() }
}

/// Makes a folder with those around it, where they are not there, and has each be so after a loss
/// of power: `sync` is told the folders in which another was made.
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_folder_is_one_process_s_and_the_second_is_told_whose() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(dir.path(), "node1 of a long name").unwrap();
        let own = std::process::id();
        // A second descriptor is as good as a second process.
        let refusal = || FolderLock::take(dir.path(), "manager").unwrap_err().to_string();
        assert!(
            refusal().ends_with(&format!("is in use by node1 of a long name, process {own}")),
            "{}",
            refusal()
        );
        fs::write(dir.path().join(LOCK), b"what is\nthis").unwrap();
        assert!(refusal().ends_with("is in use by another process"), "{}", refusal());
        drop(lock);
        // A shorter name leaves nothing of a longer one.
        let _lock = FolderLock::take_present(dir.path(), "manager").unwrap();
        let text = fs::read_to_string(dir.path().join(LOCK)).unwrap();
        assert_eq!(text, format!("manager, process {own}"));
        assert!(FolderLock::take_present(&dir.path().join("none"), "manager").is_err());
    }
}
