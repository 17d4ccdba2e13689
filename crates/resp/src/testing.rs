//! What tests of several files need.

use crate::args::Args;
use crate::request::{Limits, Requests};

/// Hands over the arguments that a line of words has.
pub fn with_args<T>(line: &str, with: impl FnOnce(Args<'_>) -> T) -> T {
    let mut buffer = format!("{line}\n").into_bytes();
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::KNOWN).unwrap();
    let args = requests.each(&buffer).next().unwrap();
    with(args)
}
