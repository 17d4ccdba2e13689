//! Programs that we start ourselves. They end with us, whatever happens: a [`ChildProcess`] kills its
//! child when it is dropped, and a panic that aborts, and so drops nothing, kills all of them from
//! a hook.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;

use parking_lot::Mutex;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Why a process cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// It does not start.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// Its program.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else that the system refuses.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// All processes that are alive, for the hook.
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn kill_all_on_abort() {
    static ONCE: Once = Once::new();
    if cfg!(panic = "unwind") {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Not waited for: the panic may have come while this was locked.
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

/// A process that is killed when this is dropped.
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

    /// The child, for what it reads and writes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Kills it without waiting for its end, so that several die at once.
    pub fn send_kill(&mut self) {
        // It cannot fail for a child that was not waited for; one that was is left alone.
        let _ = self.0.kill();
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        send(self.id(), signal)
    }

    /// How it has ended, if it has.
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

    /// How it ends.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.0.wait()?;
        self.forget();
        Ok(status)
    }

    /// Its number may be somebody else's soon.
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

/// A program with its flags and its log, which runs or does not at present.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    running: Option<ChildProcess>,
}

impl Process {
    /// One that is yet to be started. What it prints is appended to `log`, by which it is called.
    pub fn new(program: PathBuf, flags: Vec<String>, log: PathBuf) -> Process {
        Process { program, flags, log, running: None }
    }

    /// Starts it, and tells its process id.
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

    /// Kills it without waiting for its end, so that several die at once; [`Process::kill`] then
    /// waits.
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

    /// How it ended, if it has just been found to have done so by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.ended().ok()??;
        self.running = None;
        Some(status)
    }

    /// Whether it was started and has neither been killed nor found ended.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What it has printed so far; nothing if that cannot be read.
    pub fn printed(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What is said of one that should not have ended.
    pub fn exit_report(&self, status: ExitStatus) -> String {
        format!("{} ended by itself: {status}; see {}", self.name(), self.log.display())
    }

    /// Its name: that of its log.
    pub fn name(&self) -> String {
        self.log.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The folder with the programs: this one, or the one of the program that runs, where its sisters
/// are.
///
/// # Errors
/// If the system does not tell.
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
    fn one_that_ends_is_found_once() {
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
    fn one_that_is_dropped_is_gone() {
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
