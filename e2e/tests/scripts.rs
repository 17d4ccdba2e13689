//! `start_service` and `stop_service`, as a person calls them: real processes, a folder of their own,
//! ports of their own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use client::{Config, GTStoreClient};
use e2e::Resp;
use net_common::connection::{Connection, Dial};
use net_common::frame::PayloadLimit;
use net_common::message::coordinated::Get;

/// Longest wait for anything; what is waited for takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that a service gets: the manager's, and those after it for nodes.
const PORTS: u16 = 16;

/// Where ports are looked for: below those that Linux gives to outgoing connections.
const PORT_RANGE: std::ops::Range<u16> = 20_000..32_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the workspace")
}

/// The folder with the programs, built in this test's own profile.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its program");
        // target/<profile>/deps/<test>
        let folder = test.ancestors().nth(2).expect("cargo's layout");
        let profile = match folder.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "manager", "-p", "storage", "-p", "client"])
            .args(["--bins", "--profile", profile, "--target-dir"])
            .arg(folder.parent().expect("cargo's layout"))
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the programs do not build");
        folder.to_owned()
    })
}

/// The first of [`PORTS`] free ports in a row that no other test here has.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let slots = (PORT_RANGE.end - PORT_RANGE.start) / PORTS;
    // Test processes at the same time begin at different places.
    let begin = (std::process::id() % u32::from(slots)) as u16;
    for _ in 0..slots {
        let slot = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % slots;
        let first = PORT_RANGE.start + slot * PORTS;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + PORTS).all(is_free) {
            return first;
        }
    }
    panic!("no free ports")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("bash").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("bash runs").success(), "kill -{name} {pid}");
}

/// Signals that a person or a system ends a script with, and the exit code that follows.
const INTERRUPTS: [(&str, i32); 3] = [("TERM", 143), ("INT", 130), ("HUP", 129)];

/// What a child has said, once it has ended. A script that does not end is killed.
fn ended(mut child: Child) -> Output {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with the scripts, and what they start in it. All of it is gone after a drop.
struct Place {
    folder: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for script in ["start_service", "stop_service", "run.sh"] {
            fs::copy(root().join(script), folder.path().join(script)).expect("a copy");
        }
        Place { folder, bin: programs().to_owned(), port: free_ports() }
    }

    /// Uses stand-ins for some programs: shell scripts, by name.
    fn with_stand_ins(stand_ins: &[(&str, &str)]) -> Place {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: impl AsRef<OsStr>, arguments: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GTSTORE_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments.split_whitespace())
            .env("GTSTORE_BIN", &self.bin)
            .env("GTSTORE_MANAGER_PORT", self.port.to_string())
            .env("GTSTORE_BASE_PORT", self.port.to_string())
            .env("GTSTORE_REDIS_BASE_PORT", "0")
            // From elsewhere: the scripts find their folder themselves.
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, script: &str, arguments: &str) -> Output {
        self.command(self.path(script), arguments).output().expect("the script runs")
    }

    fn start(&self, arguments: &str) -> Output {
        self.run("start_service", arguments)
    }

    /// Starts the script so that it can be interrupted: under nohup or in a script's background these signals
    /// come to us ignored, and a shell cannot catch what it inherits as ignored.
    fn interruptible(&self, arguments: &str) -> Child {
        let script = self.path("start_service").display().to_string();
        let call = format!("--default-signal=TERM,INT,HUP {script} {arguments}");
        let mut command = self.command("env", &call);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the script runs")
    }

    fn started(&self, arguments: &str) -> Output {
        let output = self.start(arguments);
        assert!(output.status.success(), "start_service {arguments}: {output:?}");
        output
    }

    /// Starts in vain: the exit code, and what was said.
    fn refused(&self, arguments: &str) -> (i32, String) {
        let output = self.start(arguments);
        let code = output.status.code().expect("an exit code");
        assert_ne!(code, 0, "start_service {arguments}: {output:?}");
        assert_eq!(out(&output), "", "start_service {arguments}");
        (code, err(&output))
    }

    fn stop(&self) -> Output {
        let output = self.run("stop_service", "");
        assert!(output.status.success(), "{output:?}");
        assert!(!self.path("service_pids.txt").exists());
        assert!(!self.path("service_flags.txt").exists());
        output
    }

    fn client(&self, arguments: &str) -> Output {
        self.command(programs().join("client"), arguments).output().expect("the client runs")
    }

    fn answers(&self, arguments: &str) -> String {
        let output = self.client(arguments);
        assert!(output.status.success(), "client {arguments}: {output:?}");
        out(&output)
    }

    fn pids(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("service_pids.txt")).expect("service_pids.txt");
        text.lines().map(str::to_owned).collect()
    }

    /// The processes that have this folder as theirs, and how they were called.
    fn processes(&self) -> Vec<(String, String)> {
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

    /// Whether a process of this folder was called so.
    fn calls(&self, part: &str) -> bool {
        self.processes().iter().any(|(_, called)| called.contains(part))
    }

    fn assert_nothing_runs(&self) {
        assert_eq!(self.processes(), [], "left running");
        assert!(!self.path("service_pids.txt").exists());
        assert!(!self.path("service_flags.txt").exists());
    }

    /// Kills the process on a line of `service_pids.txt`; 0 is the manager.
    fn kill(&self, line: usize) -> String {
        let pid = self.pids().swap_remove(line);
        signal("KILL", &pid);
        wait_until("the process is gone", || !self.processes().iter().any(|(p, _)| *p == pid));
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

/// A process that has nothing to do with any service. Ends when dropped.
struct Stranger(Child);

impl Stranger {
    fn new() -> Stranger {
        Stranger(Command::new("sleep").arg("600").spawn().expect("sleep runs"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It has ended already if a test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_starts_answers_and_stops() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh --heartbeat-ms=500 --log-level debug");
    let pids = place.pids();
    assert_eq!(pids.len(), 4);
    for (line, pid) in pids.iter().enumerate() {
        let processes = place.processes();
        let (_, called) = processes.iter().find(|(p, _)| p == pid).expect("it runs");
        let who = if line == 0 { "manager".into() } else { format!("--label node{line} ") };
        assert!(called.contains(&who), "line {line}: {called}");
        assert_eq!(called.contains("--heartbeat-ms=500"), line == 0, "{called}");
        assert!(called.contains("--log-level=debug"), "{called}");
    }
    for log in ["manager", "node1", "node2", "node3"] {
        assert!(place.path(&format!("logs/{log}.log")).exists(), "{log}");
    }
    assert!(place.path("data/manager").is_dir());
    assert!(place.answers("--put key1 --val value1").starts_with("OK, node"));
    assert!(place.answers("--get key1").starts_with("key1, value1, node"));
    let status = place.answers("--status");
    assert!(
        status.contains("2 copies of each key\ndurability: async\nhealth: healthy"),
        "{status}"
    );

    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3\n");
    place.assert_nothing_runs();
    let again = place.stop();
    assert_eq!((out(&again), err(&again)), (String::new(), String::new()));

    // And once more, on the data that is there.
    place.started("--nodes 3 --rep 2");
    assert!(place.answers("--put key1 --val value2").starts_with("OK, node"));
}

#[test]
fn what_the_cluster_was_born_with_stays_and_is_what_is_told() {
    let place = Place::new();
    let told = out(&place.started("--nodes 2 --rep 2 --fresh --heartbeat-ms 500"));
    assert!(told.contains("2 copies of each key"), "{told}");
    place.stop();
    let again = place.started("--nodes 2 --rep 1 --heartbeat-ms 300");
    assert!(out(&again).contains("2 copies of each key"), "{again:?}");
    for line in [
        "manager: --rep 1 is not used: the cluster has 2, which stays; client --rep 1 changes it\n",
        "manager: --heartbeat-ms 300 is not used: the cluster has 500, which stays; client --heartbeat-ms 300",
    ] {
        assert!(err(&again).contains(line), "{again:?}");
    }
    // Whoever comes back is told as well.
    assert!(place.answers("--weight node2=3").starts_with("OK, "));
    place.answers("--wait 2");
    place.stop();
    let third = place.started("--nodes 2 --rep 2 --heartbeat-ms 500 --weight 1");
    let line = "node2: --weight 1 is not used: node2 weighs 3, which stays (client --weight node2=1 changes it)";
    assert_eq!(err(&third).trim_end(), line);
}

#[test]
fn what_a_service_writes_is_its_users_alone() {
    let place = Place::new();
    let script = "umask 022; ./start_service --nodes 2 --rep 1 --durability sync";
    let mut command = place.command("bash", "-c");
    let output = command.arg(script).current_dir(place.folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    place.answers("--put key1 --val value1");
    let mut left: Vec<PathBuf> =
        ["logs", "data", "service_pids.txt", "service_flags.txt"].map(|n| place.path(n)).into();
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 12, "{seen}");

    // Nor does it take the script for that.
    place.stop();
    let script = "umask 022; exec \"$GTSTORE_BIN\"/manager --port 0 --data alone";
    let mut command = place.command("bash", "-c");
    let child = command.arg(script).current_dir(place.folder.path()).stderr(Stdio::null()).spawn();
    let _running = Stranger(child.unwrap());
    let view = place.path("alone/view");
    wait_until("the manager has saved", || view.exists());
    for path in [&view, &place.path("alone")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }
}

#[test]
fn nodes_speak_the_redis_protocol_on_ports_of_their_own() {
    let place = Place::new();
    let base = place.port + PORTS / 2;
    let start = |arguments, base: u16| {
        let mut command = place.command(place.path("start_service"), arguments);
        command.env("GTSTORE_REDIS_BASE_PORT", base.to_string()).output().expect("it runs")
    };
    let clash = start("--nodes 2 --rep 2", place.port + 1);
    assert_eq!(clash.status.code(), Some(2));
    assert!(err(&clash).contains("GTSTORE_REDIS_BASE_PORT"), "{clash:?}");
    let started = start("--nodes 2 --rep 2 --fresh", base);
    let told = format!(", Redis protocol on {} to {}\n", base + 1, base + 2);
    assert!(out(&started).ends_with(&told), "{started:?}");
    // Whoever is added later keeps to the rule, without being told again.
    place.kill(2);
    place.started("--add node2");
    place.started("--add node3");
    for n in 1..=3 {
        let mut redis = Resp::open(([127, 0, 0, 1], base + n).into());
        assert_eq!(redis.ask(&format!("SET key{n} value")), "OK");
    }
}

#[test]
fn a_second_start_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh");
    place.answers("--put key1 --val value1");
    let before = place.pids();
    let (code, words) = place.refused("--nodes 2 --rep 2 --fresh");
    assert_eq!(code, 2);
    assert!(words.contains("runs here already"), "{words}");
    for arguments in ["--add node2", "--add node3 node2 node4", "--add node3 manager"] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2);
        assert!(words.contains("it runs already"), "{words}");
    }
    assert_eq!(place.refused("--nodes 2 --rep 99").0, 2);
    assert_eq!(place.pids(), before);
    assert!(place.answers("--get key1").starts_with("key1, value1, "));
    assert_eq!(place.processes().len(), 3);
}

#[test]
fn a_taken_port_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    for (offset, whose) in [(0, "manager"), (2, "node2")] {
        let port = place.port + offset;
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (code, words) = place.refused("--nodes 3 --rep 2 --fresh");
        assert_eq!(code, 2, "{words}");
        assert!(words.contains(&format!("port {port}, for {whose}, is taken")), "{words}");
        place.assert_nothing_runs();
        assert!(place.path("data").exists(), "wiped before it was sure to start");
    }
    place.started("--nodes 2 --rep 1");
    let file = place.path("service_flags.txt");
    let record = fs::read_to_string(&file).unwrap();
    fs::write(&file, record.replace("redis=0\n", "redis=65533\n")).unwrap();
    let (code, words) = place.refused("--add node3");
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("port 65536, and the highest is 65535"), "{words}");
}

#[test]
fn bad_arguments_are_refused_before_anything_is_touched() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    for (arguments, want) in [
        ("", "give --nodes N and --rep K"),
        ("--nodes 3", "give --nodes N and --rep K"),
        ("--nodes 0 --rep 1", "--nodes 0: it takes 1 to"),
        ("--nodes x --rep 1", "--nodes x: it takes 1 to"),
        ("--nodes 1 --rep 0", "--rep 0: it takes 1 to 64"),
        ("--nodes 1 --rep=65", "--rep 65: it takes 1 to 64"),
        ("--nodes 1 --rep", "--rep needs a value"),
        ("--nodes 1 --rep 1 --fresh --bogus 3", "--bogus: neither manager nor storage knows"),
        ("--nodes 1 --rep 1 --fresh --weight", "--weight needs a value"),
        ("--nodes 1 --rep 1 --fresh --port 7000", "--port is not for you to give"),
        ("--nodes 1 --rep 1 --fresh extra", "extra belongs to no flag"),
        ("--nodes 1 --rep 1 --fresh --bind 0.0.0.0", "--bind 0.0.0.0: also give --advertise"),
        ("--add", "--add needs a value"),
        ("--add node1 node2 node1", "--add node1: it is there twice"),
        ("--add node1 --add=node1", "--add node1: it is there twice"),
        ("--add node1 ../x node2", "--add ../x: a name has"),
        ("--add ../x", "--add ../x: a name has"),
        ("--add node1 --weight 2", "--add takes the flags that the service was started with"),
        ("--add node1", "--add node1: no service was started here"),
    ] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2, "{arguments}: {words}");
        assert!(words.starts_with(&format!("start_service: {want}")), "{arguments}: {words}");
        place.assert_nothing_runs();
        assert!(place.path("data").exists(), "{arguments}");
    }
    assert_eq!(place.run("stop_service", "--all").status.code(), Some(2));
}

#[test]
fn what_a_program_refuses_is_told_in_its_words() {
    let place = Place::new();
    for (arguments, want) in [
        ("--nodes 2 --rep 1 --weight 0", "--weight 0: it takes 1 to 1000"),
        ("--nodes 2 --rep 1 --arcs=100", "--arcs 100: it takes a power of two"),
        ("--nodes 2 --rep 1 --bind 0.0.0.0 --advertise 127.0.0.1", "--secret-file FILE"),
    ] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2, "{words}");
        assert!(words.contains(want), "{arguments}: {words}");
        place.assert_nothing_runs();
    }
}

#[test]
fn a_process_that_dies_at_the_start_ends_it_at_once() {
    let storage = programs().join("storage");
    let storage = storage.display();
    let script = format!("[[ $1 != --help ]] || exec {storage} --help\necho is broken; exit 3");
    let place = Place::with_stand_ins(&[("storage", &script)]);
    let since = Instant::now();
    let (code, words) = place.refused("--nodes 2 --rep 1");
    assert_eq!(code, 1);
    assert!(words.contains("ended with exit code 3"), "{words}");
    assert!(words.contains("is broken"), "{words}");
    // Well before the 30 s that a cluster is given to come up.
    assert!(since.elapsed() < Duration::from_secs(25));
    place.assert_nothing_runs();
}

#[test]
fn an_interrupted_start_leaves_nothing() {
    // A client for whom the cluster never comes up.
    let place = Place::with_stand_ins(&[("client", "exec sleep 600")]);
    // When it has begun to start processes, and when it waits for them: what it is about to call last.
    for last in ["--rep 1 --data ", "sleep 600"] {
        for (name, want) in INTERRUPTS {
            let start = place.interruptible("--nodes 2 --rep 1");
            wait_until("it starts the cluster", || place.calls(last));
            signal(name, &start.id().to_string());
            assert_eq!(ended(start).status.code(), Some(want), "{name} at {last}");
            place.assert_nothing_runs();
        }
    }
}

#[test]
fn a_killed_node_comes_back_on_its_line_and_a_new_one_is_appended() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh --weight 2");
    for n in 0..20 {
        place.answers(&format!("--put key{n} --val value{n}"));
    }
    let before = place.pids();
    place.kill(2);
    place.started("--add node2");
    let after = place.pids();
    assert_ne!(after[2], before[2]);
    assert_eq!((&after[..2], &after[3..]), (&before[..2], &before[3..]));

    assert!(out(&place.started("--add node4")).contains(&format!("{}", place.port + 4)));
    place.started("--add=spare");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..4]), (6, &after[..]));
    let processes = place.processes();
    let called = |line: usize| &processes.iter().find(|(p, _)| *p == pids[line]).unwrap().1;
    for (line, want) in [
        (2, format!("--label node2 --manager 127.0.0.1:{} --weight=2", place.port)),
        (2, format!("--port {} ", place.port + 2)),
        (4, format!("--label node4 --manager 127.0.0.1:{} --weight=2", place.port)),
        (5, format!("--port {} ", place.port + 5)),
    ] {
        assert!(called(line).contains(&want), "{want}: {}", called(line));
    }
    for n in 0..20 {
        let got = place.answers(&format!("--get key{n}"));
        assert!(got.starts_with(&format!("key{n}, value{n}, ")), "{got}");
    }
    let status = place.answers("--status");
    assert_eq!(status.matches(" active ").count(), 5, "{status}");
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3 node4 spare\n");
    place.assert_nothing_runs();
}

#[test]
fn an_add_that_fails_leaves_the_service_as_it_was() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    place.kill(3);
    let before = place.pids();
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    // The kernel may take a moment to close what the killed process had open.
    let mut taken = None;
    wait_until("the port is free", || {
        taken = TcpListener::bind(("127.0.0.1", place.port + 3)).ok();
        taken.is_some()
    });
    let (code, words) = place.refused("--add node3");
    assert_eq!(code, 2);
    assert!(words.contains("is taken"), "{words}");
    assert_eq!(place.pids(), before);
    assert_eq!(fs::read_to_string(place.path("service_flags.txt")).unwrap(), record);
    assert_eq!(place.processes().len(), 3);
    // Nor does any of several start.
    assert_eq!(place.refused("--add node4 node3 node5").0, 2);
    assert_eq!(place.pids(), before);
    assert_eq!(place.processes().len(), 3);
    drop(taken);
    place.started("--add node3");
}

/// A client that tells the status as the script `how` has it, and passes on the rest.
fn client_that_tells(how: &str) -> String {
    let client = programs().join("client");
    let client = client.display();
    format!(
        "[[ \"$*\" == *--status* ]] || exec {client} \"$@\"\ntruth() {{ {client} \"$@\"; }}\n{how}"
    )
}

#[test]
fn several_join_at_once() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh");
    for n in 0..20 {
        place.answers(&format!("--put key{n} --val value{n}"));
    }
    let before = place.pids();
    let said = out(&place.started("--add node3 spare --add node5"));
    let said: BTreeSet<&str> = said.lines().collect();
    let port = |n| place.port + n;
    let want = [("node3", port(3)), ("spare", port(4)), ("node5", port(5))]
        .map(|(name, port)| format!("{name} runs on port {port}"));
    assert_eq!(said, want.iter().map(String::as_str).collect());
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..3]), (6, &before[..]));
    let processes = place.processes();
    for (line, name) in [(3, "node3"), (4, "spare"), (5, "node5")] {
        let (_, called) = processes.iter().find(|(p, _)| *p == pids[line]).expect("it runs");
        assert!(called.contains(&format!("--label {name} ")), "line {line}: {called}");
    }
    let status = place.answers("--status");
    assert_eq!(status.matches(" active ").count(), 5, "{status}");
    for n in 0..20 {
        let got = place.answers(&format!("--get key{n}"));
        assert!(got.starts_with(&format!("key{n}, value{n}, ")), "{got}");
    }
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3 spare node5\n");
}

#[test]
fn who_drains_is_waited_for_and_who_runs_is_not() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh --max-value 1000000");
    let manager = format!("127.0.0.1:{}", place.port).parse().unwrap();
    let client = GTStoreClient::init(Config::new(manager)).unwrap();
    client.put(b"large", &[b'v'; 1_000_000]).unwrap();
    // A node that is told to end finishes what it is at: to answer somebody who does not listen.
    let node = format!("127.0.0.1:{}", place.port + 2).parse().unwrap();
    let dial =
        Dial { connect: PATIENCE, reply: PATIENCE, secret: None, payload: PayloadLimit::default() };
    let mut deaf = Connection::dial(&node, &dial).unwrap();
    for _ in 0..100 {
        deaf.push(&Get(b"large"));
    }
    deaf.flush().unwrap();
    let first = deaf.receive().unwrap().payload.len();
    assert!(first > 1_000_000);
    let before = place.pids();
    signal("TERM", &before[2]);
    place.started("--add node2");
    assert_ne!(place.pids()[2], before[2]);
    let (code, words) = place.refused("--add node2");
    assert!(code == 2 && words.contains("it runs already"), "{words}");
}

#[test]
fn a_name_that_begins_as_an_answer_is_none() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    place.started("--add waiter");
    let mut command =
        place.command(programs().join("client"), "--weight waiter=1 --deadline-ms 3600000");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = ended(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(err(&output), "client: refused: waiter weighs 1 already\n");
}

#[test]
fn fewer_nodes_on_old_data_are_told_who_is_missing_before_a_wipe_is_named() {
    let place = Place::new();
    place.started("--nodes 3 --rep 1 --fresh --durability sync");
    place.started("--add spare");
    for n in 0..40 {
        place.answers(&format!("--put key{n} --val value{n}"));
    }
    place.stop();
    let script = place.path("start_service");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, text.replace("readonly wait_ms=30000 ", "readonly wait_ms=2000 ")).unwrap();
    let (code, words) = place.refused("--nodes 2 --rep 1");
    assert_eq!(code, 1);
    let lines: Vec<&str> = words.lines().collect();
    let at = |part: &str| {
        lines
            .iter()
            .position(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part}: {words}"))
    };
    let order = [
        at("bring back node3, spare"),
        at("in which there was node3 spare too"),
        at("./start_service --nodes 3 starts up to node3"),
        at("start spare by hand"),
        at("--fresh wipes it"),
    ];
    assert!(order.is_sorted(), "{words}");
    place.assert_nothing_runs();
}

#[test]
fn what_is_missing_to_start_is_told() {
    let place = Place::new();
    // No cargo, and nothing that is built.
    let mut command = place.command(place.path("start_service"), "--nodes 1 --rep 1");
    let paths = "/usr/bin:/bin";
    if paths.split(':').any(|folder| Path::new(folder).join("cargo").exists()) {
        eprintln!("SKIPPED: there is a cargo in {paths}");
    } else {
        let output = command.env_remove("GTSTORE_BIN").env("PATH", paths).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let words = err(&output);
        assert!(words.contains("https://rustup.rs") && words.contains("GTSTORE_BIN"), "{words}");
    }
    // No room.
    let can_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare is missing or refused: this needs root");
        return;
    }
    let script = "set -e; mkdir -p data; mount -t tmpfs -o size=1m tmpfs data
        head -c 2M /dev/zero >data/ballast 2>/dev/null || true
        ./start_service --nodes 1 --rep 1";
    let mut command = place.command("unshare", "-m bash -c");
    let output = command.arg(script).current_dir(place.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let want = "nothing can be written in data: No space left on device";
    assert!(err(&output).contains(want), "{output:?}");
    place.assert_nothing_runs();
}

#[test]
fn the_folder_of_the_programs_may_be_called_as_it_likes() {
    let mut place = Place::new();
    let odd = place.path(" the programs=");
    symlink(programs(), &odd).unwrap();
    place.bin = odd;
    let started = place.started("--nodes 1 --rep 1 --fresh");
    let told = format!("1 node on port {}, 1 copy of each key\n", place.port + 1);
    assert!(out(&started).ends_with(&told), "{started:?}");
    let mut command = place.command(place.path("start_service"), "--add node2");
    let output = command.env_remove("GTSTORE_BIN").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_manager_and_its_nodes_come_back_together() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    for line in [0, 3] {
        place.kill(line);
    }
    let said = out(&place.started("--add node3 node4 manager"));
    assert!(said.starts_with(&format!("manager runs on port {}\n", place.port)), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[1..3]), (5, &before[1..3]));
}

#[test]
fn where_one_of_several_fails_the_others_go_on() {
    let storage = programs().join("storage");
    let storage = storage.display();
    let script = format!(
        "[[ $* != *--label?bad* ]] || {{ echo is broken; exit 3; }}\nexec {storage} \"$@\""
    );
    let place = Place::with_stand_ins(&[("storage", &script)]);
    place.started("--nodes 2 --rep 1 --fresh");
    let output = place.start("--add bad node3");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(out(&output), format!("node3 runs on port {}\n", place.port + 4));
    let words = err(&output);
    assert!(words.contains("bad ended with exit code 3") && words.contains("is broken"), "{words}");
    assert_eq!(place.pids().len(), 4);
    assert_eq!(place.processes().len(), 4);
    // Nothing is left of it.
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    assert!(record.contains("node3") && !record.contains("bad"), "{record}");

    // What the program refuses has the exit code of a refusal, as when the service starts.
    let script = script.replace("exit 3", "exit 2");
    fs::write(place.bin.join("storage"), format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
    assert_eq!(place.refused("--add bad").0, 2);
    assert_eq!(place.pids().len(), 4);
}

#[test]
fn an_add_is_done_when_its_nodes_serve_however_the_rest_is() {
    let how = "truth \"$@\" | sed 's/^health: .*/health: degraded: no word from node1/'";
    let place = Place::with_stand_ins(&[("client", &client_that_tells(how))]);
    place.started("--nodes 2 --rep 1 --fresh");
    let since = Instant::now();
    place.started("--add node3");
    // Well before the 30 s in which nothing may change.
    assert!(since.elapsed() < Duration::from_secs(25));
}

#[test]
fn an_add_waits_while_something_moves_and_no_longer() {
    // It joins, and has one key more each time that somebody asks, up to 100; then it is active.
    let how = "[[ -e logs/node3.log ]] || exit 0; n=$(($(cat asked) + 1)); echo $n >asked\n\
        ((n < 100)) && state=joining || state=$(cat then)\n\
        echo \"node3 $state 127.0.0.1:1 $((n < 100 ? n : 100)) 0\"; echo 'health: healing: 9 arcs to copy'";
    let place = Place::with_stand_ins(&[("client", &client_that_tells(how))]);
    let script = place.path("start_service");
    let text = fs::read_to_string(&script).unwrap();
    let impatient = text.replace("readonly wait_ms=30000 ", "readonly wait_ms=2000 ");
    assert_ne!(text, impatient);
    place.started("--nodes 2 --rep 1 --fresh");
    fs::write(&script, impatient).unwrap();

    fs::write(place.path("asked"), "0").unwrap();
    fs::write(place.path("then"), "active").unwrap();
    let since = Instant::now();
    place.started("--add node3");
    assert!(since.elapsed() > Duration::from_secs(2), "the machine is too fast for this test");

    place.kill(3);
    fs::write(place.path("asked"), "99").unwrap();
    fs::write(place.path("then"), "down").unwrap();
    let output = place.start("--add node3");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let words = err(&output);
    assert!(words.contains("node3 runs, but does not serve yet; client --status"), "{words}");
    // Better there and waiting than gone.
    assert_eq!((place.pids().len(), place.processes().len()), (4, 4));
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3\n");
}

#[test]
fn an_interrupted_add_lets_run_what_runs() {
    // Nothing ever serves; but the manager must not seem to know of an earlier life.
    let how = "truth \"$@\" | sed 's/ active / down   /'";
    let place = Place::with_stand_ins(&[("client", &client_that_tells(how))]);
    place.started("--nodes 1 --rep 1 --fresh");
    for (n, (name, want)) in INTERRUPTS.into_iter().enumerate() {
        let (one, two) = (format!("node{}", 2 * n + 2), format!("node{}", 2 * n + 3));
        let start = place.interruptible(&format!("--add {one} {two}"));
        wait_until("it starts both", || place.calls(&format!("--label {two} ")));
        signal(name, &start.id().to_string());
        let output = ended(start);
        assert_eq!(output.status.code(), Some(want), "{output:?}");
        let words = err(&output);
        for node in [&one, &two] {
            assert!(words.contains(&format!("{node} runs, but does not serve yet")), "{words}");
            assert!(place.calls(&format!("--label {node} ")), "{node}");
        }
        assert_eq!(place.pids().len(), 2 * n + 4);
    }
    let said = out(&place.stop());
    assert_eq!(said, "stopped manager node1 node2 node3 node4 node5 node6 node7\n");
    place.assert_nothing_runs();
}

#[test]
fn a_node_that_has_left_is_missed_by_nobody_and_may_come_back() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    let leaves = |line: usize, name: &str| {
        let pid = place.pids().swap_remove(line);
        place.answers(&format!("--leave {name}"));
        wait_until("it ends", || !place.processes().iter().any(|(p, _)| *p == pid));
    };
    leaves(3, "node3");
    place.started("--add node4");
    place.started("--add node3");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..3]), (5, &before[..3]));
    assert_ne!(pids[3], before[3]);
    leaves(3, "node3");
    let stopped = place.stop();
    assert_eq!(out(&stopped), "stopped manager node1 node2 node4\n");
    assert_eq!(err(&stopped), "");
    place.assert_nothing_runs();
}

#[test]
fn a_killed_manager_comes_back_and_clients_go_on() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let manager = format!("127.0.0.1:{}", place.port).parse().unwrap();
    let client = GTStoreClient::init(Config::new(manager)).unwrap();
    client.put(b"key1", b"value1").unwrap();
    let before = place.pids();
    place.kill(0);
    let (code, words) = place.refused("--add node4");
    assert_eq!(code, 2);
    assert!(words.contains("the manager is down"), "{words}");
    place.started("--add manager");
    let after = place.pids();
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
    client.put(b"key2", b"value2").unwrap();
    for (key, want) in [("key1", "value1"), ("key2", "value2")] {
        let got = client.get(key.as_bytes()).unwrap().expect("it was stored");
        assert_eq!(got.value, want.as_bytes());
        assert!(place.answers(&format!("--get {key}")).starts_with(&format!("{key}, {want}, ")));
    }
    client.finalize();
    wait_until("all nodes have registered again", || {
        let status = place.answers("--status");
        status.ends_with("health: healthy\n") && status.matches(" active ").count() == 3
    });
}

#[test]
fn stop_is_quiet_after_a_crash_and_where_nothing_ever_ran() {
    let place = Place::new();
    let never = place.stop();
    assert_eq!((out(&never), err(&never)), (String::new(), String::new()));
    place.started("--nodes 2 --rep 1 --fresh");
    for line in 0..3 {
        place.kill(line);
    }
    let crashed = place.stop();
    assert_eq!((out(&crashed), err(&crashed)), (String::new(), String::new()));

    // A start clears what a crash has left, too.
    place.started("--nodes 2 --rep 1 --fresh");
    for line in 0..3 {
        place.kill(line);
    }
    place.started("--nodes 2 --rep 1 --fresh");
}

#[test]
fn stop_ends_a_process_that_does_not_listen() {
    let place = Place::new();
    place.started("--nodes 2 --rep 1 --fresh");
    signal("STOP", &place.pids()[2]);
    place.stop();
    place.assert_nothing_runs();
}

#[test]
fn stop_leaves_strangers_alone() {
    let place = Place::new();
    let mut stranger = Stranger::new();
    let pid = stranger.pid();

    // A file that somebody else has written, without a record.
    fs::write(place.path("service_pids.txt"), format!("{pid}\n")).unwrap();
    let output = place.stop();
    assert!(err(&output).contains(&format!("process {pid}")), "{output:?}");
    assert!(stranger.lives());

    // A stranger's pid in the place of one of ours.
    place.started("--nodes 2 --rep 1 --fresh");
    let pids = place.pids();
    fs::write(place.path("service_pids.txt"), format!("{}\n{pid}\n{}\n", pids[0], pids[2]))
        .unwrap();
    place.stop();
    place.assert_nothing_runs();
    assert!(stranger.lives());

    // A pid that the system has given to somebody else since: another start time, and then
    // (which is not to be had without luck) the same time but another program.
    place.started("--nodes 2 --rep 1 --fresh");
    let node1 = place.pids().swap_remove(1);
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    let line = record.lines().find(|line| line.starts_with("process=node1 ")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap();
    let old_ticks = line.rsplit(' ').next().unwrap();
    for ticks in [old_ticks, ticks] {
        let other = format!("process=node1 {} {pid} {ticks}", place.port + 1);
        fs::write(place.path("service_flags.txt"), record.replace(line, &other)).unwrap();
        place.stop();
        assert!(stranger.lives());
    }
    let left: BTreeSet<String> = place.processes().into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(left, BTreeSet::from([node1]), "only the one that the record has lost");
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    // In the middle, and when all is over and the cluster is being stopped, which takes a while: a node hangs.
    let hang = "kill -STOP \"$(sed -n 2p service_pids.txt)\"";
    let signals = [("INT", 130), ("HUP", 129), ("QUIT", 131), ("TERM", 143)];
    for (bench, last, signals) in
        [("exec sleep 600", "sleep 600", &signals[..]), (hang, "stop_service", &signals[..2])]
    {
        for &(name, want) in signals {
            let place = Place::with_stand_ins(&[("bench", bench)]);
            let script = place.path("run.sh").display().to_string();
            let call = format!("--default-signal=TERM,INT,HUP,QUIT {script} single");
            let mut command = place.command("env", &call);
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
            let run = command.spawn().expect("it runs");
            wait_until("it is so far", || place.calls(last));
            // As a terminal does it: all of them get it.
            signal(name, &format!("-- -{}", run.id()));
            assert_eq!(ended(run).status.code(), Some(want), "{name} at {last}");
            place.assert_nothing_runs();
        }
    }
}

#[test]
fn a_copy_of_the_folder_has_nothing_to_do_with_the_originals_service() {
    let place = Place::new();
    place.started("--nodes 2 --rep 1 --fresh");
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    let copy = Place::new();
    for file in ["service_flags.txt", "service_pids.txt"] {
        fs::copy(place.path(file), copy.path(file)).unwrap();
    }
    // It starts a service of its own, and stops no other.
    copy.started("--nodes 2 --rep 1 --fresh");
    assert_eq!(out(&copy.stop()), "stopped manager node1 node2\n");
    fs::write(copy.path("service_flags.txt"), &record).unwrap();
    let stopped = copy.stop();
    assert_eq!(out(&stopped), "");
    let words = err(&stopped);
    assert!(words.contains("node1, process ") && words.contains(": left alone"), "{words}");
    assert!(place.answers("--status").ends_with("health: healthy\n"));

    // A folder that was moved is the one that it was.
    let moved = tempfile::tempdir().unwrap();
    let (from, to) = (place.folder.path(), moved.path().join("moved"));
    fs::rename(from, &to).unwrap();
    let output = place.command(to.join("stop_service"), "").output().unwrap();
    fs::rename(&to, from).unwrap();
    assert_eq!(out(&output), "stopped manager node1 node2\n", "{output:?}");
}

#[test]
fn a_folder_that_machines_share_is_stopped_on_the_one_that_started_it() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    let file = place.path("service_flags.txt");
    let record = fs::read_to_string(&file).unwrap();
    let machine = record.lines().find(|line| line.starts_with("machine=")).expect("it is told");
    let elsewhere = record.replace(machine, "machine=other-host other-boot pid:[1]");
    fs::write(&file, &elsewhere).unwrap();
    for (script, arguments) in
        [("stop_service", ""), ("start_service", "--nodes 1 --rep 1"), ("start_service", "--add x")]
    {
        let output = place.run(script, arguments);
        assert_eq!(output.status.code(), Some(2), "{script} {arguments}: {output:?}");
        let want = "was started on other-host, which shares this folder: stop it there";
        assert!(err(&output).contains(want), "{script} {arguments}: {output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), elsewhere);
    }
    // A copy of it is another folder.
    let folder = record.lines().find(|line| line.starts_with("folder=")).expect("it is told");
    fs::write(&file, elsewhere.replace(folder, "folder=1")).unwrap();
    assert_eq!(out(&place.stop()), "stopped manager node1\n");
}

#[test]
fn who_may_not_end_a_service_does_not_let_go_of_it() {
    let as_other = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let is_root = Command::new("setpriv").args(as_other).arg("true").status();
    if !is_root.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: setpriv is missing or refused: this needs root");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    place.started("--nodes 2 --rep 1 --fresh");
    let record = place.path("service_flags.txt");
    // Who may read the record sees no processes, and who may not does not even know of any.
    for mode in [0o644, 0o600] {
        fs::set_permissions(&record, fs::Permissions::from_mode(mode)).unwrap();
        for script in ["stop_service", "start_service --nodes 1 --rep 1"] {
            let call = format!("{} {}", as_other.join(" "), place.path(script).display());
            let output = place.command("setpriv", &call).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{call}: {output:?}");
            let words = err(&output);
            assert!(words.contains("root's, ") && words.contains("may not"), "{words}");
        }
    }
    assert_eq!(out(&place.stop()), "stopped manager node1 node2\n");
    place.assert_nothing_runs();
}

#[test]
fn some_of_a_service_may_be_stopped_and_started_again() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    for name in ["node9", "node2 node9", "node2 --all"] {
        let output = place.run("stop_service", name);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert_eq!(place.processes().len(), 4);
    assert_eq!(out(&place.run("stop_service", "node2")), "stopped node2\n");
    assert_eq!(place.processes().len(), 3);
    let again = place.run("stop_service", "node2");
    assert!(again.status.success() && again.stdout.is_empty(), "{again:?}");
    place.started("--add node2");
    let after = place.pids();
    assert_ne!(after[2], before[2]);
    assert_eq!((&after[..2], &after[3..]), (&before[..2], &before[3..]));
    assert_eq!(out(&place.run("stop_service", "node3 manager")), "stopped manager node3\n");
    assert_eq!(out(&place.stop()), "stopped node1 node2\n");
    place.assert_nothing_runs();
}

#[test]
fn fresh_wipes_logs_and_data_and_nothing_else() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    place.stop();
    let old = ["data/old", "data/manager/old", "logs/old.log"];
    let kept = ["logs/perf_throughput.csv", "notes.txt"];
    for file in old.iter().chain(&kept) {
        fs::write(place.path(file), "old").unwrap();
    }
    let log = |place: &Place| fs::read_to_string(place.path("logs/node1.log")).unwrap().len();
    let before = log(&place);
    place.started("--nodes 1 --rep 1");
    assert!(old.iter().all(|file| place.path(file).exists()));
    assert!(log(&place) > before, "the log goes on");
    place.stop();
    place.started("--nodes 1 --rep 1 --fresh");
    assert!(!old.iter().any(|file| place.path(file).exists()));
    assert!(kept.iter().all(|file| place.path(file).exists()));
}

/// Whether a folder holds nothing.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn fresh_empties_what_lies_on_other_disks_and_leaves_it_there() {
    let place = Place::new();
    let disk = tempfile::tempdir().unwrap();
    let on_disk = |name: &str| disk.path().join(name);
    for folder in ["data", "node1", "elsewhere", "data/node2/lost+found"] {
        fs::create_dir_all(on_disk(folder)).unwrap();
    }
    for file in ["data/old", "data/node2/old", "node1/old", "node1.log", "elsewhere/kept"] {
        fs::write(on_disk(file), "old").unwrap();
    }
    fs::create_dir(place.path("logs")).unwrap();
    let links = [
        ("data", place.path("data")),
        ("node1", on_disk("data/node1")),
        ("not mounted", on_disk("data/node3")),
        ("node1.log", place.path("logs/node1.log")),
    ];
    for (to, from) in &links {
        symlink(on_disk(to), from).unwrap();
    }
    symlink(on_disk("elsewhere"), on_disk("node1/strange")).unwrap();
    place.started("--nodes 1 --rep 1 --fresh");
    for (to, from) in &links {
        assert_eq!(fs::read_link(from).unwrap(), on_disk(to));
    }
    for gone in ["data/old", "data/node2/old", "node1/old", "node1/strange"] {
        assert!(fs::symlink_metadata(on_disk(gone)).is_err(), "{gone}");
    }
    assert!(on_disk("elsewhere/kept").exists(), "a link far down was followed");
    assert!(on_disk("data/node2/lost+found").exists());
    assert!(!is_empty(&on_disk("node1")) && on_disk("data/manager/view").exists());
    let log = fs::read_to_string(on_disk("node1.log")).unwrap();
    assert!(!log.starts_with("old") && log.contains("listening on"), "{log}");
}

#[test]
fn fresh_empties_mount_points_and_leaves_them() {
    // A mount of our own, which ends with the processes that see it.
    let can_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare is missing or refused: this needs root");
        return;
    }
    for mounted in ["data", "data/node1"] {
        let place = Place::new();
        let script = format!(
            "set -e; mkdir -p {mounted}; mount -t tmpfs -o size=50m tmpfs {mounted}; echo >{mounted}/old
            ./start_service --nodes 1 --rep 1 --fresh; ./stop_service
            ./start_service --nodes 1 --rep 1 --fresh; ./stop_service
            mountpoint -q {mounted}; [[ ! -e {mounted}/old ]]"
        );
        let mut command = place.command("unshare", "-m bash -c");
        let output = command.arg(script).current_dir(place.folder.path()).output().unwrap();
        assert!(output.status.success(), "{mounted}: {output:?}");
    }
}

#[test]
fn a_secret_reaches_every_program() {
    let place = Place::new();
    let secret = place.path("our secret");
    fs::write(&secret, "a secret that is long enough for anybody\n").unwrap();
    // A path as seen from where the caller is, with a space in it.
    let start = |arguments: &[&str]| {
        let mut command = place.command(place.path("start_service"), "");
        command.current_dir(place.path("data")).args(arguments).output().expect("the script runs")
    };
    fs::create_dir(place.path("data")).unwrap();
    let flags = ["--nodes", "2", "--rep", "2", "--secret-file", "../our secret"];
    let bind = ["--bind", "0.0.0.0", "--advertise", "127.0.0.1"];
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = start(&flags);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(err(&refused).contains("chmod 600 it"), "{refused:?}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let output = start(&[&flags[..], &bind[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let refused = place.client("--get key1");
    assert!(err(&refused).contains("secret"), "{refused:?}");
    let output = start(&["--add", "node3"]);
    assert!(output.status.success(), "{output:?}");
    let status = place
        .command(programs().join("client"), "--status")
        .env("GTSTORE_SECRET_FILE", &secret)
        .output()
        .unwrap();
    assert_eq!(out(&status).matches(" active ").count(), 3, "{status:?}");
}
