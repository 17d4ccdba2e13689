//! A folder for the data and logs of the processes of a run. It is removed after a successful run
//! and kept after a failure, for inspection.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is removed on drop, unless it is kept. The user of this type creates it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// A folder `gtstore-NAME-…` in the system's temporary folder. Its name has our process id, so
    /// no two runs share it.
    pub fn temporary(name: &str) -> Scratch {
        let name = format!("gtstore-{name}-{}", std::process::id());
        Scratch { path: std::env::temp_dir().join(name), is_kept: false }
    }

    /// This folder, which is always kept. Leftovers of a previous run are removed: a manager must
    /// not continue from its state.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn at(path: PathBuf) -> io::Result<Scratch> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Scratch { path, is_kept: true }),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // A leftover in the system's temporary folder is not worth an error.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_unless_kept() {
        let mut scratch = Scratch::temporary("scratch-test");
        let path = scratch.path().to_owned();
        fs::create_dir_all(path.join("inside")).expect("created");
        scratch.keep();
        drop(scratch);
        assert!(path.exists());
        drop(Scratch::temporary("scratch-test"));
        assert!(!path.exists());
    }

    #[test]
    fn a_chosen_folder_starts_empty_and_is_kept() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("out");
        drop(Scratch::at(path.clone()).expect("nothing was there"));
        fs::create_dir_all(path.join("old")).expect("created");
        let scratch = Scratch::at(path.clone()).expect("removed");
        assert!(!path.exists());
        fs::create_dir_all(&path).expect("created");
        drop(scratch);
        assert!(path.exists());
    }
}
