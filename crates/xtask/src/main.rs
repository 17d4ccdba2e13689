//! Development tasks of GT Store.
//!
//! `cargo xtask` lists them, `cargo xtask NAME` runs one: it prints each step, stops at the first
//! one that fails, and finally prints the time of each. `.ci/run` is the task `ci`, which has the
//! steps of the others. A Rust toolchain is enough; further tools are used if they are installed.
//!
//! * `tasks.rs` is the list;
//! * `step.rs` runs steps, one after another or side by side;
//! * `scenario.rs` runs a scenario of `run.sh`;
//! * `policy.rs` checks what the workspace depends on against `deny.toml`.
//!
//! *Invariant*: commands get no input and none of the caller's settings (`GTSTORE_*`).

mod policy;
mod scenario;
mod step;
mod tasks;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// One of the steps has failed.
const FAILED: u8 = 1;
/// There is no such task.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => {
            print(&tasks::list());
            ExitCode::SUCCESS
        }
        [flag] if flag == "--help" || flag == "-h" => {
            print(&tasks::list());
            ExitCode::SUCCESS
        }
        [name] => match tasks::find(name) {
            Some(task) => run(task),
            None => misused(&format!("\"{name}\" is no task")),
        },
        _ => misused("one task at a time"),
    }
}

fn run(task: &tasks::Task) -> ExitCode {
    // Commands name files as seen from the workspace.
    if let Err(error) = std::env::set_current_dir(workspace()) {
        print(&format!("xtask {}: FAILED: {}: {error}", task.name, workspace().display()));
        return ExitCode::from(FAILED);
    }
    match step::run_task(&(task.steps)()) {
        Ok(times) => {
            print(&format!("{times}xtask {}: all is well", task.name));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            print(&format!("\nxtask {}: FAILED: {failure}", task.name));
            ExitCode::from(FAILED)
        }
    }
}

fn misused(why: &str) -> ExitCode {
    // Standard output may be closed; the exit code is the result.
    let _ = writeln!(io::stderr(), "xtask: {why}\n\n{}", tasks::list());
    ExitCode::from(MISUSED)
}

/// Prints a line, and ignores a closed pipe.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The folder of the workspace, wherever it was called from.
fn workspace() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/ holds it");
    crates.parent().expect("the workspace holds crates/")
}
