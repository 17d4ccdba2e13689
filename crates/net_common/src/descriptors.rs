//! Limits and permissions of files: how many a process may open, and who may read the files that it
//! creates.

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};

/// Makes all files that this process creates readable by its user only: stored data is private.
pub fn keep_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// The most bytes that a file of this process may have (`ulimit -f`); `None` means as many as fit.
pub fn largest_file() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Raises this process's soft limit on open files to its hard limit and returns it, so that the
/// connection limit is the one that was asked for and not the shell's. `None` means unlimited.
///
/// Each connection needs one, and the usual soft limit is 1,024.
pub fn raise_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Not being allowed to raise it is no reason not to run: the caller compares and warns.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}
