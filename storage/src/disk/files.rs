//! The few things that a data folder needs of a file system, so that tests can make any of them fail.
//!
//! Only what changes something is here. Reading is done with the standard library: what was read is held
//! against its checksums anyway.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
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
}

/// A file that is being written.
pub trait Output: Send + Sync {
    /// Appends bytes. After an error any part of them may be there.
    ///
    /// # Errors
    /// The system's, as for every method here.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes sure that what was appended is there after a loss of power. After an error nobody knows, and to
    /// ask again would not tell.
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
pub mod faulty {
    //! A file system that fails.

    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// The system's, but for one call, or all from one on.
    #[derive(Debug)]
    pub struct Faulty {
        calls: AtomicU64,
        /// The number of the call that fails, from 0 on.
        fails: u64,
        /// Whether all after it fail as well, until it is mended.
        lasts: bool,
        is_mended: AtomicBool,
    }

    impl Faulty {
        /// The call with this number fails, from 0 on; and those after it, if it lasts, until it is mended.
        /// Appending writes half of the bytes before it fails.
        pub fn at(fails: u64, lasts: bool) -> Arc<Faulty> {
            let (calls, is_mended) = (AtomicU64::new(0), AtomicBool::new(false));
            Arc::new(Faulty { calls, fails, lasts, is_mended })
        }

        /// Nothing fails any more.
        pub fn mend(&self) {
            self.is_mended.store(true, Ordering::SeqCst);
        }

        /// Whether the call that fails has been made.
        pub fn has_failed(&self) -> bool {
            self.calls.load(Ordering::SeqCst) > self.fails
        }

        fn call(&self) -> io::Result<()> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            let fails = call == self.fails || self.lasts && call > self.fails;
            match fails && !self.is_mended.load(Ordering::SeqCst) {
                true => Err(io::Error::from(io::ErrorKind::StorageFull)),
                false => Ok(()),
            }
        }
    }

    struct FaultyOutput {
        faults: Arc<Faulty>,
        output: Arc<dyn Output>,
    }

    impl Files for Arc<Faulty> {
        fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>> {
            self.call()?;
            Ok(Arc::new(FaultyOutput { faults: self.clone(), output: System.create(path)? }))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.call()?;
            System.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.call()?;
            System.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.call()?;
            System.sync_folder(folder)
        }
    }

    impl Output for FaultyOutput {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            if let Err(error) = self.faults.call() {
                self.output.append(&bytes[..bytes.len() / 2])?;
                return Err(error);
            }
            self.output.append(bytes)
        }

        fn sync(&self) -> io::Result<()> {
            self.faults.call()?;
            self.output.sync()
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            self.faults.call()?;
            self.output.cut(length)
        }
    }
}
