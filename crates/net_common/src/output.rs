//! Standard output and standard error, as programs use them: neither of them may be there.
//!
//! The macros of the standard library panic where nobody reads (`client --help | true`) or nothing
//! fits (`> /dev/full`). Programs print by these functions instead; Clippy refuses the macros.

use std::fmt::Display;
use std::io::{self, StdoutLock, Write};

/// Prints to standard output, all of it. A reader who has gone wanted no more: that is no failure.
///
/// # Errors
/// If it cannot be written.
pub fn print(text: impl Display) -> io::Result<()> {
    let mut out = LenientStdout::lock();
    write!(out, "{text}").and_then(|()| out.flush())
}

/// Says a line on standard error, if anybody listens there.
pub fn print_stderr(text: impl Display) {
    // There is nobody left to be told that it failed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Standard output of a program whose work counts, whoever reads about it: when the reader has gone
/// the rest is not printed, and nothing fails.
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
