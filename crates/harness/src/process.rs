//! Child processes. None survives this program: a [`ChildProcess`] kills its child on drop, and a
//! panic hook kills all of them where a panic aborts and drops nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;

use parking_lot::Mutex;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Why a process cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program does not start.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another error of the system.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// All live processes, for the panic hook.
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn kill_all_on_abort() {
    static ONCE: Once = Once::new();
    if cfg!(panic = "unwind") {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Do not block: the panic may have happened while this was locked.
            if let Some(alive) = ALIVE.try_lock() {
                for &pid in alive.iter() {
                    let _ = send(pid, Signal::KILL);
                }
            }
            before(info);
        }));
    });
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("not a process"))?;
    Ok(kill_process(pid, signal)?)
}

/// A process that is killed on drop.
#[derive(Debug)]
pub struct ChildProcess(Child);

impl ChildProcess {
    /// Starts it.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn start(command: &mut Command) -> io::Result<ChildProcess> {
        kill_all_on_abort();
        let child = command.spawn()?;
        ALIVE.lock().push(child.id());
        Ok(ChildProcess(child))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The child, for its input and output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends SIGKILL without waiting for the exit, so that several processes die at once.
    pub fn send_kill(&mut self) {
        // This cannot fail for a child that has not been waited for; otherwise nothing is sent.
        let _ = self.0.kill();
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        send(self.id(), signal)
    }

    /// Its exit status, if it has exited.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.0.try_wait()?;
        if status.is_some() {
            self.forget();
        }
        Ok(status)
    }

    /// Waits for its exit status.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.0.wait()?;
        self.forget();
        Ok(status)
    }

    /// The process id may soon belong to another process.
    fn forget(&self) {
        ALIVE.lock().retain(|&pid| pid != self.id());
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.send_kill();
        let _ = self.wait();
    }
}

/// A program with its flags and its log, running or not.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    running: Option<ChildProcess>,
}

impl Process {
    /// A process that is not started yet. Its output is appended to `log`, whose name is its name.
    pub fn new(program: PathBuf, flags: Vec<String>, log: PathBuf) -> Process {
        Process { program, flags, log, running: None }
    }

    /// Starts it and returns its process id.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start(&mut self) -> Result<u32, SpawnError> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let running = ChildProcess::start(&mut command)
            .map_err(|source| SpawnError::Start { path: self.program.clone(), source })?;
        let pid = running.id();
        self.running = Some(running);
        Ok(pid)
    }

    /// Kills it, if it runs.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Sends SIGKILL without waiting for the exit, so that several processes die at once;
    /// [`Process::kill`] then waits.
    pub fn send_kill(&mut self) {
        if let Some(running) = &mut self.running {
            running.send_kill();
        }
    }

    /// Sends it a signal, if it runs.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| running.signal(signal))
    }

    /// Its exit status, once, if it has exited by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.ended().ok()??;
        self.running = None;
        Some(status)
    }

    /// Whether it was started and was neither killed nor found to have exited.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Its output so far; empty if that cannot be read.
    pub fn printed(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The message about an unexpected exit.
    pub fn exit_report(&self, status: ExitStatus) -> String {
        format!("{} ended by itself: {status}; see {}", self.name(), self.log.display())
    }

    /// Its name: that of its log.
    pub fn name(&self) -> String {
        self.log.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The folder with the programs: `bin`, or that of the running program, which has the others beside
/// it.
///
/// # Errors
/// If the path of the running program is unknown.
pub fn programs(bin: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(bin) = bin {
        return Ok(bin.to_owned());
    }
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new(".")).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(folder: &Path, script: &str) -> Process {
        let flags = vec!["-c".to_owned(), script.to_owned()];
        Process::new("/bin/sh".into(), flags, folder.join("child.log"))
    }

    #[test]
    fn an_exit_is_reported_once() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut process = shell(scratch.path(), "exit 3");
        assert!(!process.is_running());
        process.start().expect("a shell starts");
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(status.code(), Some(3));
        assert!(process.exit_report(status).starts_with("child ended by itself: exit status: 3"));
        assert!(!process.is_running() && process.ended().is_none());
        process.signal(Signal::KILL).expect("nobody is hit");
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut process = shell(scratch.path(), "sleep 1000");
        let pid = process.start().expect("a shell starts");
        assert!(ALIVE.lock().contains(&pid));
        process.send_kill();
        drop(process);
        assert!(!ALIVE.lock().contains(&pid));
        send(pid, Signal::CONT).expect_err("nobody is there");
        let error = Process::new("/nowhere".into(), Vec::new(), scratch.path().join("x.log"))
            .start()
            .expect_err("no program");
        assert!(error.to_string().starts_with("cannot start /nowhere"), "{error}");
    }
}
