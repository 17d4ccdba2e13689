//! Planned changes, requested as an operator does: with the `client` command.
//!
//! An [`OperatorCommand`] becomes flags of the `client` command; its output and exit code give the
//! [`CommandOutcome`]. The command runs as a process of its own, so that the caller is not blocked.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster::ids::Address;

use crate::process::ChildProcess;

/// The requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorCommand {
    /// This node hands over its arcs and exits.
    Leave(String),
    /// This node gets this weight.
    Weight(String, u32),
    /// Each key gets this many copies.
    Copies(usize),
    /// The change in progress is cancelled.
    Cancel,
}

/// The cluster's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The change has begun.
    Begun,
    /// The change was refused, for this reason.
    Refused(String),
}

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The command does not run.
    #[error("cannot run {}: {source}", path.display())]
    Run {
        /// The command.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The command does not support planned changes.
    #[error("{} knows no --{verb}: it is older than this bench", path.display())]
    Lacks {
        /// The command.
        path: PathBuf,
        /// The missing flag.
        verb: &'static str,
    },
    /// The command's output or exit code is unexpected.
    #[error("client {order} ended with {status}: {text}")]
    Unexpected {
        /// The requested change.
        order: String,
        /// Its exit status.
        status: ExitStatus,
        /// Its output.
        text: String,
    },
    /// The command did not exit in time.
    #[error("client {0} still runs {PATIENCE:?} after its deadline")]
    Hangs(String),
}

/// The name of the command.
const COMMAND: &str = "client";

/// How long the command may run beyond its deadline before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two polls in [`RunningCommand::wait`].
const POLL_INTERVAL: Duration = Duration::from_millis(2);

impl OperatorCommand {
    /// The flag of `client` that requests it.
    pub fn verb(&self) -> &'static str {
        match self {
            OperatorCommand::Leave(_) => "leave",
            OperatorCommand::Weight(..) => "weight",
            OperatorCommand::Copies(_) => "rep",
            OperatorCommand::Cancel => "cancel",
        }
    }
}

impl fmt::Display for OperatorCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.verb())?;
        match self {
            OperatorCommand::Leave(node) => write!(f, " {node}"),
            OperatorCommand::Weight(node, weight) => write!(f, " {node}={weight}"),
            OperatorCommand::Copies(copies) => write!(f, " {copies}"),
            OperatorCommand::Cancel => Ok(()),
        }
    }
}

/// The `client` command and its cluster.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    manager: Address,
    deadline: Duration,
}

/// Checks that the command in folder `bin` supports these verbs.
///
/// # Errors
/// [`OperatorError::Lacks`] where it does not.
pub fn check(bin: &Path, verbs: &[&'static str]) -> Result<(), OperatorError> {
    let path = bin.join(COMMAND);
    let help = match Command::new(&path).arg("--help").stdin(Stdio::null()).output() {
        Ok(help) => help.stdout,
        Err(source) => return Err(OperatorError::Run { path, source }),
    };
    match lacking(&String::from_utf8_lossy(&help), verbs) {
        None => Ok(()),
        Some(verb) => Err(OperatorError::Lacks { path, verb }),
    }
}

impl Operator {
    /// The command in folder `bin`, for the cluster of `manager`. It retries until `deadline`,
    /// since the cluster makes one change at a time.
    pub fn new(bin: &Path, manager: Address, deadline: Duration) -> Operator {
        Operator { program: bin.join(COMMAND), manager, deadline }
    }

    /// Starts the command.
    ///
    /// # Errors
    /// [`OperatorError::Run`].
    pub fn ask(&self, order: &OperatorCommand) -> Result<RunningCommand, OperatorError> {
        let arguments = order.to_string();
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--manager={}", self.manager))
            .arg(format!("--deadline-ms={}", self.deadline.as_millis()))
            .args(arguments.split(' '));
        RunningCommand::start(arguments, &mut command, self.deadline)
            .map_err(|source| OperatorError::Run { path: self.program.clone(), source })
    }
}

/// A command in progress.
#[derive(Debug)]
pub struct RunningCommand {
    order: String,
    running: ChildProcess,
    until: Instant,
}

impl RunningCommand {
    fn start(
        order: String,
        command: &mut Command,
        deadline: Duration,
    ) -> io::Result<RunningCommand> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = ChildProcess::start(command)?;
        Ok(RunningCommand { order, running, until: Instant::now() + deadline + PATIENCE })
    }

    /// The outcome, once the command has exited.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn poll(&mut self) -> Result<Option<CommandOutcome>, OperatorError> {
        let status = match self.running.ended() {
            Ok(Some(status)) => status,
            Ok(None) if Instant::now() > self.until => {
                return Err(OperatorError::Hangs(self.order.clone()));
            }
            Ok(None) => return Ok(None),
            Err(source) => return Err(OperatorError::Run { path: COMMAND.into(), source }),
        };
        let (mut out, mut error) = (String::new(), String::new());
        // Each has a line or two, which fit into the pipe. Unreadable output counts as unexpected.
        if let Some(pipe) = &mut self.running.child().stdout {
            let _ = pipe.read_to_string(&mut out);
        }
        if let Some(pipe) = &mut self.running.child().stderr {
            let _ = pipe.read_to_string(&mut error);
        }
        match answer(status.code(), &out, &error) {
            Some(answer) => Ok(Some(answer)),
            None => {
                let text = format!("{out}{error}").trim().to_owned();
                Err(OperatorError::Unexpected { order: self.order.clone(), status, text })
            }
        }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn wait(mut self) -> Result<CommandOutcome, OperatorError> {
        loop {
            if let Some(answer) = self.poll()? {
                return Ok(answer);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// The first verb that is missing in a help text.
fn lacking(help: &str, verbs: &[&'static str]) -> Option<&'static str> {
    verbs.iter().copied().find(|verb| !help.contains(&format!("--{verb} ")))
}

/// The outcome for an exit code and output; `None` if the command never answers like this.
fn answer(code: Option<i32>, out: &str, error: &str) -> Option<CommandOutcome> {
    match code? {
        0 => out.starts_with("OK, ").then_some(CommandOutcome::Begun),
        1 if !error.trim().is_empty() => Some(CommandOutcome::Refused(error.trim().to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> String {
        "node3".into()
    }

    #[test]
    fn commands_become_flags() {
        for (order, text) in [
            (OperatorCommand::Leave(node()), "--leave node3"),
            (OperatorCommand::Weight(node(), 2), "--weight node3=2"),
            (OperatorCommand::Copies(4), "--rep 4"),
            (OperatorCommand::Cancel, "--cancel"),
        ] {
            assert_eq!(order.to_string(), text);
        }
    }

    #[test]
    fn outcomes_are_recognized() {
        assert_eq!(answer(Some(0), "OK, node3 leaves\n", ""), Some(CommandOutcome::Begun));
        let refused = answer(Some(1), "", "client: a change is under way\n");
        assert_eq!(refused, Some(CommandOutcome::Refused("client: a change is under way".into())));
        for (code, out, error) in
            [(Some(0), "", ""), (Some(0), "fine", ""), (Some(1), "", ""), (None, "OK, ", "")]
        {
            assert_eq!(answer(code, out, error), None, "{code:?} {out} {error}");
        }
        assert_eq!(answer(Some(2), "", "client: Unrecognized option: 'leave'"), None);
    }

    #[test]
    fn a_command_without_the_flag_is_reported() {
        let help = "        --leave NODE    it leaves\n        --cancel        what is under way\n";
        assert_eq!(lacking(help, &["leave", "cancel"]), None);
        assert_eq!(lacking(help, &["leave", "rep"]), Some("rep"));
        let error = check(Path::new("/nowhere"), &[]).expect_err("no client");
        assert!(error.to_string().starts_with("cannot run /nowhere/client"), "{error}");
    }

    #[test]
    fn an_outcome_is_awaited() {
        let ask = |script: &str| {
            let mut command = Command::new("/bin/sh");
            RunningCommand::start("--cancel".into(), command.args(["-c", script]), PATIENCE)
                .expect("a shell")
        };
        assert_eq!(ask("echo OK, gone").wait().expect("an answer"), CommandOutcome::Begun);
        let refused = ask("echo no >&2; exit 1").wait().expect("an answer");
        assert_eq!(refused, CommandOutcome::Refused("no".into()));
        let error = ask("echo what >&2; exit 2").wait().expect_err("nonsense");
        assert_eq!(error.to_string(), "client --cancel ended with exit status: 2: what");
    }
}
