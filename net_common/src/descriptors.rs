//! File descriptors: each connection needs one, and the usual soft limit is 1,024.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's soft limit on open files to its hard limit and returns it, so that the
/// connection limit is the one that was asked for and not the shell's. `None` means unlimited.
pub fn raise_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Not being allowed to raise it is no reason not to run: the caller compares and warns.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}
