//! Planned changes, asked for as an operator does: with the `client` command.
//!
//! An [`OperatorCommand`] becomes flags of the command; what it prints and its exit code are the [`CommandOutcome`].
//! The command runs as a process of its own, so that who asked may look after other things
//! meanwhile.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster::ids::Address;

use crate::process::ChildProcess;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorCommand {
    /// This node is to hand over what it keeps, and to end.
    Leave(String),
    /// This node's share is to be so large in proportion to the others'.
    Weight(String, u32),
    /// So many copies of each key are to be kept.
    Copies(usize),
    /// The change that is under way is to be taken back.
    Cancel,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It has begun.
    Begun,
    /// It was refused, for this reason.
    Refused(String),
}

/// Why nothing can be asked for.
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
    /// The command is from before planned changes.
    #[error("{} knows no --{verb}: it is older than this bench", path.display())]
    Lacks {
        /// The command.
        path: PathBuf,
        /// The flag that it lacks.
        verb: &'static str,
    },
    /// The command said what it never says.
    #[error("client {order} ended with {status}: {text}")]
    Unexpected {
        /// What was asked for.
        order: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        text: String,
    },
    /// The command neither ended nor gave up.
    #[error("client {0} still runs {PATIENCE:?} after its deadline")]
    Hangs(String),
}

/// The command's name.
const COMMAND: &str = "client";

/// How long the command may go on after its deadline; beyond it something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`RunningCommand::wait`] looks whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

impl OperatorCommand {
    /// The flag of `client` that asks for it.
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

/// The `client` command and the cluster that it is about.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    manager: Address,
    deadline: Duration,
}

/// Makes sure that the command in folder `bin` knows these verbs.
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
    /// The command in folder `bin`, for the cluster of `manager`. It tries for so long, since the
    /// cluster does one thing after the other.
    pub fn new(bin: &Path, manager: Address, deadline: Duration) -> Operator {
        Operator { program: bin.join(COMMAND), manager, deadline }
    }

    /// Asks for something.
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

/// A command that runs.
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

    /// The answer, if it is there.
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
        // A line or two each, so they fit into their pipes; what cannot be read is not what is
        // expected.
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

    /// The answer, once it is there.
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

/// The first of the verbs that a help text does not have.
fn lacking(help: &str, verbs: &[&'static str]) -> Option<&'static str> {
    verbs.iter().copied().find(|verb| !help.contains(&format!("--{verb} ")))
}

/// What an exit code and the words with it mean; `None` if that is not how the command answers.
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
    fn orders_are_flags_of_the_command() {
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
    fn begun_refused_and_nonsense() {
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
    fn an_old_command_is_named() {
        let help = "        --leave NODE    it leaves\n        --cancel        what is under way\n";
        assert_eq!(lacking(help, &["leave", "cancel"]), None);
        assert_eq!(lacking(help, &["leave", "rep"]), Some("rep"));
        let error = check(Path::new("/nowhere"), &[]).expect_err("no client");
        assert!(error.to_string().starts_with("cannot run /nowhere/client"), "{error}");
    }

    #[test]
    fn an_answer_is_waited_for() {
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
