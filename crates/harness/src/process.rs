//! Servers that the bench starts itself. They end with it, whatever happens: a [`Process`] kills its child
//! when it is dropped, and a panic, which in a release build drops nothing, kills all of them from a hook.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

/// Why a process cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
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

fn kill_all_on_panic() {
    static ONCE: Once = Once::new();
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

/// A process that runs, or does not at present.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// One that is yet to be started. What it prints is appended to `log`, by which it is called.
    pub fn new(program: PathBuf, flags: Vec<String>, log: PathBuf) -> Process {
        Process { program, flags, log, child: None }
    }

    /// Starts it, and tells its process id.
    ///
    /// # Errors
    /// [`ChildError`].
    pub fn start(&mut self) -> Result<u32, ChildError> {
        kill_all_on_panic();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|source| ChildError::Start { path: self.program.clone(), source })?;
        let pid = child.id();
        ALIVE.lock().push(pid);
        self.child = Some(child);
        Ok(pid)
    }

    /// Kills it, if it runs.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // Neither can fail for a child that was not waited for.
            let _ = child.kill();
            let _ = child.wait();
            self.forget();
        }
    }

    /// Kills it without waiting for its end, so that several die at once; [`Process::kill`] then waits.
    pub fn strike(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// Sends it a signal, if it runs.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| send(child.id(), signal))
    }

    /// How it ended, if it has just been found to have done so by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        // Its number may be somebody else's soon.
        self.forget();
        Some(status)
    }

    /// Whether it was started and has neither been killed nor found ended.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// What is said of one that should not have ended.
    pub fn obituary(&self, status: ExitStatus) -> String {
        format!("{} ended by itself: {status}; see {}", self.name(), self.log.display())
    }

    /// Its name: that of its log.
    pub fn name(&self) -> String {
        self.log.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn forget(&mut self) {
        if let Some(child) = self.child.take() {
            ALIVE.lock().retain(|&pid| pid != child.id());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the program that runs, where its sisters are.
///
/// # Errors
/// If the system does not tell.
pub fn own_folder() -> io::Result<PathBuf> {
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
        assert!(process.obituary(status).starts_with("child ended by itself: exit status: 3"));
        assert!(!process.is_running() && process.ended().is_none());
        process.signal(Signal::KILL).expect("nobody is hit");
    }

    #[test]
    fn one_that_is_dropped_is_gone() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut process = shell(scratch.path(), "sleep 1000");
        let pid = process.start().expect("a shell starts");
        assert!(ALIVE.lock().contains(&pid));
        process.strike();
        drop(process);
        assert!(!ALIVE.lock().contains(&pid));
        send(pid, Signal::CONT).expect_err("nobody is there");
        let error = Process::new("/nowhere".into(), Vec::new(), scratch.path().join("x.log"))
            .start()
            .expect_err("no program");
        assert!(error.to_string().starts_with("cannot start /nowhere"), "{error}");
    }
}
