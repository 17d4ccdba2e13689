//! Running steps: one after another, or two lists of them side by side.
//!
//! Steps in the foreground write to the task's own output. Those beside them write to a file below
//! `target/xtask`, which is printed when both lists are finished, so that the outputs do not mix.
//! Each list stops at its first failure, and the task names the step.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{policy, scenario};

/// The folder for the output of background steps, in the workspace.
const LOGS: &str = "target/xtask";

/// One thing to do.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name in error messages.
    pub name: &'static str,
    /// Its action.
    pub what: Action,
}

/// The action of a step.
#[derive(Debug, Clone)]
pub enum Action {
    /// Runs a command.
    Run(Line),
    /// Runs a command whose program may be missing: then the step is skipped, with a message.
    RunIfInstalled(Line),
    /// Checks the workspace's dependencies.
    Policy,
    /// Runs a scenario on a cluster of its own.
    Scenario(&'static str),
    /// Runs two lists at once.
    SideBySide {
        /// This one is seen while it runs.
        front: Vec<Step>,
        /// This one is shown afterwards.
        back: Vec<Step>,
    },
}

/// A command line, without anything that a shell would have to look at.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Settings for it alone.
    pub env: &'static [(&'static str, &'static str)],
    /// The program and its arguments, with blanks between.
    pub words: &'static str,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.env {
            write!(f, "{name}='{value}' ")?;
        }
        f.write_str(self.words)
    }
}

/// The step that failed, and how.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Steps that are done, and how long each took.
#[derive(Debug)]
pub struct Times(Vec<(&'static str, Duration)>);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n")?;
        for (name, time) in &self.0 {
            writeln!(f, "{:>7.1} s  {name}", time.as_secs_f32())?;
        }
        Ok(())
    }
}

/// The state of a list of steps: its output, and the start of the task.
#[derive(Debug)]
struct Lane {
    begun: Instant,
    /// None: where the task writes.
    log: Option<File>,
    times: Vec<(&'static str, Duration)>,
}

/// Runs steps until one fails.
///
/// # Errors
/// The first that failed, or one of each list where two ran side by side.
pub fn run_task(steps: &[Step]) -> Result<Times, Failure> {
    let begun = Instant::now();
    let mut lane = Lane { begun, log: None, times: Vec::new() };
    lane.run_all(steps)?;
    lane.times.push(("in all", begun.elapsed()));
    Ok(Times(lane.times))
}

impl Lane {
    fn run_all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            if let Action::SideBySide { front, back } = &step.what {
                self.run_both(step.name, front, back)?;
                continue;
            }
            let begun = Instant::now();
            let title = match &step.what {
                Action::Run(line) | Action::RunIfInstalled(line) => {
                    format!("{}: {line}", step.name)
                }
                _ => step.name.to_owned(),
            };
            self.print(&format!("\n=== {title} (at {} s)", self.begun.elapsed().as_secs()));
            self.run_one(&step.what)
                .map_err(|error| Failure(format!("step \"{}\": {error}", step.name)))?;
            self.print(&format!("--- {} took {:.1} s", step.name, begun.elapsed().as_secs_f32()));
            self.times.push((step.name, begun.elapsed()));
        }
        Ok(())
    }

    fn run_one(&mut self, what: &Action) -> Result<(), Box<dyn Error>> {
        match what {
            Action::Run(line) => self.run_line(*line),
            Action::RunIfInstalled(line) => self.run_if_installed(*line),
            Action::Policy => {
                let summary =
                    policy::check(&mut self.command("cargo")?, &mut self.command("rustc")?)?;
                self.print(&summary);
                Ok(())
            }
            Action::Scenario(name) => {
                scenario::run(name, self.command("./run.sh")?, |t| self.print(t))
            }
            Action::SideBySide { .. } => unreachable!("run_all does these itself"),
        }
    }

    fn run_line(&mut self, line: Line) -> Result<(), Box<dyn Error>> {
        let mut words = line.words.split_whitespace();
        let mut command = self.command(words.next().expect("a program"))?;
        let status = command.args(words).envs(line.env.iter().copied()).status()?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }

    fn run_if_installed(&mut self, line: Line) -> Result<(), Box<dyn Error>> {
        let program = line.words.split_whitespace().next().expect("a program");
        let is_there = |folder: &Path| folder.join(program).is_file();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&paths).any(|folder| is_there(&folder)) {
            return self.run_line(line);
        }
        self.print(&format!("SKIPPED: {program} is not installed"));
        Ok(())
    }

    /// Runs both lists to their end, or each to its first failure: no process keeps running.
    fn run_both(
        &mut self,
        name: &'static str,
        front: &[Step],
        back: &[Step],
    ) -> Result<(), Failure> {
        let folder = crate::workspace().join(LOGS);
        let path = folder.join(format!("{name}.log"));
        let open = || fs::create_dir_all(&folder).and_then(|()| File::create(&path));
        let log = open().map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        let names: Vec<&str> = back.iter().map(|step| step.name).collect();
        self.print(&format!(
            "\n=== {name}: beside what follows run {}, shown after it, until then in {}",
            names.join(", "),
            path.display()
        ));
        let mut behind = Lane { begun: self.begun, log: Some(log), times: Vec::new() };
        let (front, back) = thread::scope(|scope| {
            let back = scope.spawn(|| behind.run_all(back));
            let front = self.run_all(front);
            if let Err(failure) = &front {
                self.print(&format!("\nFAILED: {failure}; what runs beside it goes on to its end"));
            }
            (front, back.join().expect("steps do not panic"))
        });
        self.print(&format!("\n=== {name}: what ran beside it"));
        self.print(&String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()));
        self.times.append(&mut behind.times);
        match (front, back) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(Failure(front)), Err(Failure(back))) => {
                Err(Failure(format!("{front}; and beside it, {back}")))
            }
            (Err(failure), Ok(())) => Err(failure),
            (Ok(()), Err(Failure(back))) => Err(Failure(format!("beside the others, {back}"))),
        }
    }

    /// A command without input, and without the caller's settings.
    fn command(&self, program: &str) -> io::Result<Command> {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GTSTORE_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null());
        if let Some(log) = &self.log {
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        Ok(command)
    }

    fn print(&mut self, text: &str) {
        match &mut self.log {
            // A failure shows as missing output; the exit code does not depend on it.
            Some(log) => _ = writeln!(log, "{text}"),
            None => crate::print(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(words: &'static str) -> Step {
        Step { name: words, what: Action::Run(Line { env: &[], words }) }
    }

    fn names(times: &Times) -> Vec<&'static str> {
        times.0.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn the_first_failure_ends_a_task_and_is_named() {
        let steps = [step("true"), step("false"), step("never-run")];
        let failure = run_task(&steps).unwrap_err().to_string();
        assert_eq!(failure, "step \"false\": it ended with exit status: 1");
        let missing = run_task(&[step("no-such-program")]).unwrap_err().to_string();
        assert!(missing.starts_with("step \"no-such-program\": "), "{missing}");
    }

    #[test]
    fn missing_programs_are_skipped() {
        let line = Line { env: &[], words: "no-such-program --at all" };
        let steps = [Step { name: "absent", what: Action::RunIfInstalled(line) }, step("true")];
        assert_eq!(names(&run_task(&steps).unwrap()), ["absent", "true", "in all"]);
    }

    #[test]
    fn two_lists_run_side_by_side_and_each_failure_is_named() {
        let both = |name, front, back| Step {
            name,
            what: Action::SideBySide { front: vec![step(front)], back: vec![step(back)] },
        };
        let times = run_task(&[both("test-both", "true", "pwd")]).unwrap();
        assert_eq!(names(&times), ["true", "pwd", "in all"]);
        let log = crate::workspace().join(LOGS).join("test-both.log");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("=== pwd: pwd") && log.contains("--- pwd took"), "{log}");
        let failure = run_task(&[both("test-back", "true", "false")]).unwrap_err().to_string();
        assert_eq!(failure, "beside the others, step \"false\": it ended with exit status: 1");
        let failure = run_task(&[both("test-two", "false", "false")]).unwrap_err().to_string();
        assert_eq!(failure.matches("step \"false\"").count(), 2, "{failure}");
    }

    #[test]
    fn commands_get_no_input_and_only_their_own_settings() {
        const ENV: &[(&str, &str)] = &[("GTSTORE_OWN", "1")];
        let lane = Lane { begun: Instant::now(), log: None, times: Vec::new() };
        let mut command = lane.command("cat").unwrap();
        assert!(command.envs(ENV.iter().copied()).output().unwrap().stdout.is_empty());
        let line = Line { env: ENV, words: "printenv GTSTORE_OWN" };
        let own = Step { name: "own", what: Action::Run(line) };
        run_task(&[own]).unwrap();
    }
}
