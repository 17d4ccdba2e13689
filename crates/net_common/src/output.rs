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
    let mut out = Unheard::lock();
    write!(out, "{text}").and_then(|()| out.flush())
}

/// Says a line on standard error, if anybody listens there.
pub fn say(text: impl Display) {
    // There is nobody left to be told that it failed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Standard output of a program whose work counts, whoever reads about it: when the reader has gone
/// the rest is not printed, and nothing fails.
pub struct Unheard(StdoutLock<'static>);

impl Unheard {
    /// Takes standard output.
    pub fn lock() -> Unheard {
        Unheard(io::stdout().lock())
    }
}

impl Write for Unheard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_unheard(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        or_unheard(self.0.flush(), ())
    }
}

fn or_unheard<T>(printed: io::Result<T>, all: T) -> io::Result<T> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        printed => printed,
    }
}
