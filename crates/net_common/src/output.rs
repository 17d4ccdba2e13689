//! Standard output and standard error of the programs: either of them may be closed.
//!
//! The macros of the standard library panic on a closed pipe (`client --help | true`) and on a full
//! disk (`> /dev/full`). Programs use these functions instead; Clippy refuses the macros.

use std::fmt::Display;
use std::io::{self, StdoutLock, Write};

/// Prints all of `text` to standard output. A closed pipe is no failure: its reader needs no more.
///
/// # Errors
/// If it cannot be written.
pub fn print(text: impl Display) -> io::Result<()> {
    let mut out = LenientStdout::lock();
    write!(out, "{text}").and_then(|()| out.flush())
}

/// Prints a line to standard error, and ignores failures.
pub fn print_stderr(text: impl Display) {
    // There is no channel left to report a failure on.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Standard output that ignores a closed pipe: the rest is not printed, and the program continues
/// its work.
pub struct LenientStdout(StdoutLock<'static>);

impl LenientStdout {
    /// Takes standard output.
    pub fn lock() -> LenientStdout {
        LenientStdout(io::stdout().lock())
    }
}

impl Write for LenientStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

fn unless_closed<T>(printed: io::Result<T>, all: T) -> io::Result<T> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        printed => printed,
    }
}
