//! The scripts `start_service`, `stop_service` and `run.sh`, as a person runs them: real processes,
//! a folder of their own, ports of their own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::ports;
use harness::process::ChildProcess;

use crate::programs::{programs, root, without_settings};
use crate::wait::wait_within;

/// Longest wait for any condition; each takes about a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that a service gets: the manager's, and the following ones for nodes.
pub const PORTS: u16 = 16;

/// Signals that interrupt a script, and the exit code that follows.
pub const INTERRUPTS: [(&str, i32); 3] = [("TERM", 143), ("INT", 130), ("HUP", 129)];

/// Waits for a condition.
///
/// # Panics
/// After [`PATIENCE`].
pub fn wait_until_so(what: &str, mut is_so: impl FnMut() -> bool) {
    let check = || if is_so() { Ok(()) } else { Err("it is not so".to_owned()) };
    wait_within(PATIENCE, what, check);
}

/// Sends a signal to a process; also takes other arguments of `kill`.
///
/// # Panics
/// If there is no such process.
pub fn signal(name: &str, pid: &str) {
    let status = Command::new("bash").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("bash runs").success(), "kill -{name} {pid}");
}

/// The output of a child, once it has exited. A script that does not exit is killed.
///
/// # Panics
/// If it does not exit.
pub fn ended(mut child: Child) -> Output {
    let until = std::time::Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if std::time::Instant::now() > until {
            let _ = child.kill();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

/// The text on standard output.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The text on standard error.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that does not belong to any service.
///
/// # Panics
/// If it does not start.
pub fn unrelated_process() -> ChildProcess {
    ChildProcess::start(Command::new("sleep").arg("600")).expect("sleep runs")
}

/// Whether a process is running.
///
/// # Panics
/// If the system does not report it.
pub fn is_running(process: &mut ChildProcess) -> bool {
    process.ended().expect("a child").is_none()
}

/// A folder with the scripts and everything that they start. It is removed when dropped.
pub struct Place {
    folder: tempfile::TempDir,
    /// The folder of the programs.
    pub bin: PathBuf,
    /// The manager's port; the nodes' ports follow.
    pub port: u16,
}

impl Place {
    /// A folder of its own, with the programs as they are built.
    ///
    /// # Panics
    /// If the disk is full, or the programs do not build.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for script in ["start_service", "stop_service", "run.sh"] {
            fs::copy(root().join(script), folder.path().join(script)).expect("a copy");
        }
        Place { folder, bin: programs().to_owned(), port: ports::in_a_row(PORTS).expect("ports") }
    }

    /// Replaces some programs with stand-ins: shell scripts, by name.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn with_stand_ins(stand_ins: &[(&str, &str)]) -> Place {
        let mut place = Place::new();
        place.bin = place.path("bin");
        fs::create_dir(&place.bin).expect("a folder");
        for name in ["manager", "storage", "client", "bench"] {
            let file = place.bin.join(name);
            match stand_ins.iter().find(|(stand_in, _)| *stand_in == name) {
                None => symlink(programs().join(name), file).expect("a link"),
                Some((_, script)) => {
                    fs::write(&file, format!("#!/usr/bin/env bash\n{script}\n")).expect("a script");
                    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("its mode");
                }
            }
        }
        place
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this place that has not run yet.
    pub fn command(&self, program: impl AsRef<OsStr>, arguments: &str) -> Command {
        let mut command = without_settings(program);
        command
            .args(arguments.split_whitespace())
            .env("GTSTORE_BIN", &self.bin)
            .env("GTSTORE_MANAGER_PORT", self.port.to_string())
            .env("GTSTORE_BASE_PORT", self.port.to_string())
            .env("GTSTORE_REDIS_BASE_PORT", "0")
            // From another folder: the scripts find their own folder themselves.
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a script with these arguments.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn run(&self, script: &str, arguments: &str) -> Output {
        self.command(self.path(script), arguments).output().expect("the script runs")
    }

    /// Runs `start_service`.
    pub fn start(&self, arguments: &str) -> Output {
        self.run("start_service", arguments)
    }

    /// Starts the script so that it can be interrupted: under nohup or in the background of a
    /// script these signals are ignored in this process, and a shell cannot catch signals that it
    /// inherits as ignored.
    ///
    /// # Panics
    /// If it does not start.
    pub fn interruptible(&self, arguments: &str) -> Child {
        let script = self.path("start_service").display().to_string();
        let call = format!("--default-signal=TERM,INT,HUP {script} {arguments}");
        let mut command = self.command("env", &call);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the script runs")
    }

    /// Runs `start_service`, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn started(&self, arguments: &str) -> Output {
        let output = self.start(arguments);
        assert!(output.status.success(), "start_service {arguments}: {output:?}");
        output
    }

    /// Runs `start_service`, which must fail. Returns the exit code and the error text.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn refused(&self, arguments: &str) -> (i32, String) {
        let output = self.start(arguments);
        let code = output.status.code().expect("an exit code");
        assert_ne!(code, 0, "start_service {arguments}: {output:?}");
        assert_eq!(out(&output), "", "start_service {arguments}");
        (code, err(&output))
    }

    /// Runs `stop_service`, which must succeed and leave nothing behind.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(&self) -> Output {
        let output = self.run("stop_service", "");
        assert!(output.status.success(), "{output:?}");
        assert!(!self.path("service_pids.txt").exists());
        assert!(!self.path("service_flags.txt").exists());
        output
    }

    /// Runs the client command.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn client(&self, arguments: &str) -> Output {
        self.command(programs().join("client"), arguments).output().expect("the client runs")
    }

    /// The output of the client command, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn client_output(&self, arguments: &str) -> String {
        let output = self.client(arguments);
        assert!(output.status.success(), "client {arguments}: {output:?}");
        out(&output)
    }

    /// Puts this many keys, one after the other.
    ///
    /// # Panics
    /// If a put is refused.
    pub fn put_keys(&self, count: usize) {
        for n in 0..count {
            self.client_output(&format!("--put key{n} --val value{n}"));
        }
    }

    /// Asserts that these keys exist.
    ///
    /// # Panics
    /// With the first missing key.
    pub fn assert_keys(&self, count: usize) {
        for n in 0..count {
            let got = self.client_output(&format!("--get key{n}"));
            assert!(got.starts_with(&format!("key{n}, value{n}, ")), "{got}");
        }
    }

    /// The lines of `service_pids.txt`: the manager's, then those of nodes.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn pids(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("service_pids.txt")).expect("service_pids.txt");
        text.lines().map(str::to_owned).collect()
    }

    /// The processes whose folder this is, and their command lines.
    ///
    /// # Panics
    /// If they cannot be listed.
    pub fn processes(&self) -> Vec<(String, String)> {
        let folder = self.folder.path().canonicalize().expect("the folder");
        let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
        let mut found = Vec::new();
        for entry in entries {
            if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                found.push((entry.file_name().to_string_lossy().into_owned(), line));
            }
        }
        found
    }

    /// Whether a process of this folder has this in its command line.
    pub fn has_process(&self, part: &str) -> bool {
        self.processes().iter().any(|(_, called)| called.contains(part))
    }

    /// Asserts that nothing runs here, and that no record claims so.
    ///
    /// # Panics
    /// If something does.
    pub fn assert_nothing_runs(&self) {
        assert_eq!(self.processes(), [], "left running");
        assert!(!self.path("service_pids.txt").exists());
        assert!(!self.path("service_flags.txt").exists());
    }

    /// Kills the process on a line of `service_pids.txt`; 0 is the manager.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&self, line: usize) -> String {
        let pid = self.pids().swap_remove(line);
        signal("KILL", &pid);
        wait_until_so("the process is gone", || !self.processes().iter().any(|(p, _)| *p == pid));
        pid
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.run("stop_service", "");
        for (pid, _) in self.processes() {
            signal("KILL", &pid);
        }
    }
}
