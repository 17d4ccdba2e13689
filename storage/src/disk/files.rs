//! The file system operations that a data folder needs, as a trait, so that tests can let each of
//! them fail.
//!
//! Only operations that change something are in it. Reading uses the standard library: its results
//! are verified by checksums anyway.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file system.
pub trait Files: Debug + Send + Sync {
    /// Creates a file that does not exist.
    ///
    /// # Errors
    /// The system's, as for every method here.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>>;

    /// Renames a file, and replaces a file of the new name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Ensures that created, renamed and removed files of a folder survive a loss of power.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Writes bytes at a place of a file, which is created if it does not exist, and ensures that
    /// they survive a loss of power. After an error any part of them may be written.
    ///
    /// # Errors
    /// The system's.
    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A file that is being written.
pub trait Output: Send + Sync {
    /// Appends bytes. After an error any part of them may be written.
    ///
    /// # Errors
    /// The system's, as for every method here.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Ensures that appended bytes survive a loss of power. After an error that is unknown, and a
    /// second call would not show it.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Truncates the file to `length` bytes.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Files for System {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>> {
        Ok(Arc::new(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all_at(bytes, at)?;
        file.sync_data()
    }
}

impl Output for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

#[cfg(test)]
pub mod faulty;
