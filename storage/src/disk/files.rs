//! The few things that a data folder needs of a file system, so that tests can make any of them
//! fail.
//!
//! Only what changes something is here. Reading is done with the standard library: what was read is
//! held against its checksums anyway.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file system.
pub trait Files: Debug + Send + Sync {
    /// Makes a file that is not there yet.
    ///
    /// # Errors
    /// The system's, as for every method here.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>>;

    /// Gives a file another name, in place of what had that.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes sure that files made, renamed and removed in a folder are so after a loss of power.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Writes bytes at a place of a file, made if it is not there, and makes sure that they are
    /// there after a loss of power. After an error any part of them may be.
    ///
    /// # Errors
    /// The system's.
    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A file that is being written.
pub trait Output: Send + Sync {
    /// Appends bytes. After an error any part of them may be there.
    ///
    /// # Errors
    /// The system's, as for every method here.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes sure that what was appended is there after a loss of power. After an error nobody
    /// knows, and to ask again would not tell.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Lets go of all bytes but the first `length`.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// The system's own.
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
