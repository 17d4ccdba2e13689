//! Logs: one line for each event on standard error, with the time, the level and the thread.
//!
//! A thread's name starts with the node's name: in tests several nodes share a process, and their
//! lines must be distinguishable. So every thread is started by [`spawn`] or [`spawn_scoped`].

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use log::LevelFilter;
use simplelog::{ConfigBuilder, ThreadLogMode, WriteLogger};

/// The levels that `--log-level` takes.
pub const LEVELS: &str = "error, warn, info, debug or trace";

/// Starts logging to standard error. Later calls in one process change nothing.
pub fn start(level: LevelFilter) {
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Error)
        .set_thread_mode(ThreadLogMode::Names)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    // Standard error is not buffered and the logger writes a line in pieces: gather each into one
    // write.
    let out = io::LineWriter::new(io::stderr());
    // Fails only if a logger is set already, as in a test with several nodes.
    let _ = WriteLogger::init(level, config, out);
}

/// Stack of a thread, in bytes: address space, of which only what is touched costs memory. Ample
/// for our shallow call chains, small enough for ten thousand connections.
const STACK: usize = 512 << 10;

/// Starts a thread that logs as `name`.
///
/// # Errors
/// If the operating system has no more threads to give.
pub fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name).stack_size(STACK).spawn(run)
}

/// Starts a thread of a scope that logs as `name`.
///
/// # Errors
/// If the operating system has no more threads to give.
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    run: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name).stack_size(STACK).spawn_scoped(scope, run)
}

/// Bytes of a peer or a user as they may stand in a log: printable ASCII as it is, `\` and all else
/// escaped, so that nobody can forge lines or send codes to a terminal.
pub fn escaped(bytes: &[u8]) -> impl std::fmt::Display + '_ {
    bytes.escape_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unprintable_gets_into_a_log() {
        assert_eq!(escaped(b"key1=a,b").to_string(), "key1=a,b");
        assert_eq!(escaped(b"a\nb\x1b[0m\xff\\").to_string(), "a\\nb\\x1b[0m\\xff\\\\");
    }
}
