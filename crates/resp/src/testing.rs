//! Helpers for the tests of several files.

use crate::args::Args;
use crate::request::{Limits, Requests};

/// Passes the arguments of a line of words to a function.
pub fn with_args<T>(line: &str, with: impl FnOnce(Args<'_>) -> T) -> T {
    let mut buffer = format!("{line}\n").into_bytes();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    let args = requests.each(&buffer).next().unwrap();
    with(args)
}
