//! A data folder: created so that it survives a loss of power, and used by one process at a time.
//!
//! The process that uses a folder holds a lock (`flock`) on its file `lock`. The system releases
//! the lock when the process exits, even after a kill. The file names the holder, for the error
//! message of a second process. All programs lock the same file, so a manager and a node cannot
//! share a folder by mistake.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::handover;

/// The file that is locked.
pub const LOCK: &str = "lock";

/// The most bytes that are read of the holder's name: a name of 64 bytes and a number fit, and an
/// unrelated file cannot flood the message.
const HOLDER_BYTES: u64 = 128;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system.
    #[error("cannot {what} {}: {source}", file.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("the data folder {} is in use by {by}", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The holder, as far as it is known.
        by: String,
    },
}

/// Adds the operation and the file to an error.
pub fn cannot<'f>(
    what: &'static str,
    file: &'f Path,
) -> impl FnOnce(io::Error) -> FolderError + 'f {
    move |source| FolderError::Io { what, file: file.into(), source }
}

/// The lock on a folder. Dropping it, or the exit of the process, releases it.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Creates a folder if needed, and locks it. `who` names this process to others.
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
                // Only for other processes' error messages: with a full disk these have less
                // detail.
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

/// The holder that the lock file names.
fn holder(file: &File) -> String {
    let mut text = String::new();
    let is_read = file.take(HOLDER_BYTES).read_to_string(&mut text).is_ok();
    let is_plain = !text.is_empty() && !text.chars().any(char::is_control);
    if is_read && is_plain { text } else { "another process".into() }
}

/// Creates a folder and its missing parents, so that they survive a loss of power: `sync` is called
/// for each folder in which another was created.
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
    fn parents_of_created_folders_are_synced() {
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
    fn a_folder_has_one_user_and_the_second_learns_who() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(dir.path(), "node1 of a long name").unwrap();
        let own = std::process::id();
        // A second descriptor acts like a second process.
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
