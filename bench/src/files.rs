//! Writes result files atomically: under a temporary name first, then renamed. A reader never sees
//! half a report, and an interrupted run leaves the previous one in place.
//!
//! There is no fsync: a report lost in a power failure can be measured again.

use std::fs;
use std::io;
use std::path::Path;

/// Writes `bytes` to `path`, replacing an existing file; the folder is created.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path does not end in a file name",
        ));
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // In the same folder, since a rename does not cross file systems; with our
    // process id, so that two runs at once do not write into one another.
    let mut temporary = name.to_os_string();
    temporary.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let result = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report; a leftover is harmless.
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_folders_replaces_and_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = scratch.path().join("a/b/report.csv");
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("replaced");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        let folder = path.parent().expect("has a parent");
        assert_eq!(fs::read_dir(folder).expect("listed").count(), 1);
    }

    #[test]
    fn a_failure_keeps_the_previous_file_and_cleans_up() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = scratch.path().join("taken");
        fs::create_dir(&path).expect("a folder in the way");
        fs::write(path.join("inside"), b"x").expect("written");
        replace(&path, b"one").expect_err("a file cannot replace a full folder");
        assert!(path.join("inside").exists());
        assert_eq!(fs::read_dir(scratch.path()).expect("listed").count(), 1);
        replace(Path::new("/"), b"one").expect_err("no file name");
    }
}
