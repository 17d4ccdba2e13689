//! The programs as processes: with output that is never read, and with signals.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use client::{Config, GTStoreClient};
use crossbeam_channel::{Receiver, unbounded};
use e2e::{PATIENCE, TestCluster, client_command, program, wait_until, without_settings};
use harness::process::{ChildProcess, Signal};

/// A pipe that is never read.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A device that is always full.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("this is Linux").into()
}

/// The exit code of a command, and its standard error.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn unread_help_is_not_a_failure_but_unwritable_help_is() {
    for name in ["manager", "storage", "client"] {
        for flag in ["--help", "--version"] {
            let with = |out: Stdio| {
                ended(Command::new(program(name)).arg(flag).stdout(out).stderr(Stdio::piped()))
            };
            assert_eq!(with(unread()), (Some(0), String::new()), "{name} {flag}");
            let (code, printed) = with(full());
            assert_eq!(code, Some(1), "{name} {flag}: {printed}");
            assert!(
                printed.starts_with(&format!("{name}: standard output: No space")),
                "{printed}"
            );
        }
        // Nor does it matter whether its errors can be written.
        for err in [unread(), full()] {
            let mut command = Command::new(program(name));
            assert_eq!(ended(command.arg("--bogus").stderr(err)).0, Some(2), "{name}");
        }
    }
}

#[test]
fn a_command_without_a_reader_exits_quietly() {
    let cluster = TestCluster::start(2, 2);
    cluster.client().put(b"key1", &[b'v'; 1000]).unwrap();
    let with = |arguments: &str, out: Stdio| {
        let mut command = client_command(cluster.manager_address());
        ended(command.args(arguments.split_whitespace()).stdout(out).stderr(Stdio::piped()))
    };
    for (arguments, code) in [
        ("--put key2 --val value", 0),
        ("--get key1", 0),
        ("--scan key", 0),
        ("--ttl key1", 0),
        ("--status", 0),
        ("--status --json", 0),
        ("--plan weight node1=2", 0),
        // Half a dump is not a dump.
        ("--dump -", 1),
    ] {
        assert_eq!(with(arguments, unread()), (Some(code), String::new()), "{arguments}");
        let (code, printed) = with(arguments, full());
        assert_eq!(code, Some(1), "{arguments}");
        assert!(printed.contains("No space left on device"), "{arguments}: {printed}");
    }
    // Not even the error can be written.
    for err in [unread(), full()] {
        let mut command = client_command(cluster.manager_address());
        assert_eq!(ended(command.args(["--get", "nothing"]).stderr(err)).0, Some(1));
    }
}

/// A server on a port that the system chooses, and its log.
struct Server {
    running: ChildProcess,
    log: Receiver<String>,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command) -> Server {
        command.args(["--port", "0"]).stderr(Stdio::piped());
        let mut running = ChildProcess::start(&mut command).expect("it runs");
        let stderr = BufReader::new(running.child().stderr.take().expect("it is piped"));
        // Always read, or a full pipe would block it.
        let (lines, log) = unbounded();
        thread::spawn(move || {
            for line in stderr.lines() {
                if lines.send(line.expect("text")).is_err() {
                    return;
                }
            }
        });
        let address = ([0, 0, 0, 0], 0).into();
        let mut server = Server { running, log, address };
        let line = server.line("listening on ");
        let (_, address) = line.split_once("listening on ").expect("it is there");
        server.address = address.trim().parse().expect("an address");
        server
    }

    fn named(name: &str, flags: &[&str]) -> Server {
        let mut command = without_settings(program(name));
        command.args(flags);
        Server::start(command)
    }

    /// The next line of the log that contains this text.
    fn line(&mut self, part: &str) -> String {
        let mut before = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if line.contains(part) {
                return line;
            }
            before.push(line);
        }
        panic!("its log has no {part:?}: {before:#?}")
    }

    fn signal(&self, signal: Signal) {
        self.running.signal(signal).expect("it runs");
    }
}

fn keep(file: &Path, secret: &str) {
    fs::write(file, secret).expect("it can be written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its mode");
}

#[test]
fn servers_survive_signals_that_do_not_ask_them_to_exit() {
    let mut manager = Server::named("manager", &[]);
    let address = manager.address.to_string();
    let mut node = Server::named("storage", &["--label", "node1", "--manager", &address]);
    for server in [&mut manager, &mut node] {
        server.signal(Signal::HUP);
        server.line("SIGHUP: nothing to read again");
        server.signal(Signal::USR1);
        server.line("SIGUSR1 and SIGUSR2 mean nothing here");
        server.signal(Signal::USR2);
        server.line("SIGUSR1 and SIGUSR2 mean nothing here");
    }
    let mut wait = client_command(manager.address);
    assert_eq!(ended(wait.args(["--wait", "1"]).stderr(Stdio::piped())).0, Some(0));
    for (mut server, signal, name) in [(manager, Signal::TERM, "TERM"), (node, Signal::INT, "INT")]
    {
        server.signal(signal);
        server.line(&format!("SIG{name}: stopping"));
        assert_eq!(server.running.wait().expect("a child").code(), Some(0));
    }
}

#[test]
fn single_requests_are_logged_at_debug_level() {
    let debug = "--log-level=debug";
    let mut manager = Server::named("manager", &[debug]);
    let address = manager.address.to_string();
    let mut node = Server::named("storage", &["--label", "node1", "--manager", &address, debug]);
    let client = |arguments: &[&str]| {
        ended(client_command(manager.address).args(arguments).stderr(Stdio::piped())).0
    };
    assert_eq!(client(&["--wait", "1"]), Some(0));
    assert_eq!(client(&["--put", "key1", "--val", "value1"]), Some(0));
    let line = node.line(": ReplPut of ");
    assert!(line.contains("[DEBUG]") && line.contains("127.0.0.1:"), "{line}");
    assert!(!line.contains("key1") && !line.contains("value1"), "{line}");
    manager.line(": ClientHello of ");
}

#[test]
fn a_secret_is_changed_while_the_cluster_serves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let flag = format!("--secret-file={}", file.display());
    keep(&file, "the first of two secrets");
    let mut manager = Server::named("manager", &[&flag]);
    let address = manager.address.to_string();
    let flags = ["--label", "node1", "--manager", &address, &flag];
    let mut node = Server::named("storage", &flags);
    let at = manager.address;
    let client = |arguments: &[&str]| {
        ended(client_command(at).arg(&flag).args(arguments).stderr(Stdio::piped()))
    };
    assert_eq!(client(&["--wait", "1"]), (Some(0), String::new()));
    keep(&file, "the second of two secrets");
    let (code, printed) = client(&["--get", "key1", "--deadline-ms", "3000"]);
    assert!(code == Some(1) && printed.contains("secret"), "{printed}");
    for server in [&mut manager, &mut node] {
        server.signal(Signal::HUP);
        server.line("SIGHUP: another secret");
    }
    assert_eq!(client(&["--put", "key1", "--val", "value1"]), (Some(0), String::new()));
    // An invalid secret is not used.
    keep(&file, "short");
    manager.signal(Signal::HUP);
    manager.line("SIGHUP: the secret has 5 bytes");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    manager.signal(Signal::HUP);
    manager.line("SIGHUP: everybody on this machine may read");
}

#[test]
fn a_file_size_limit_acts_like_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node1");
    let mut manager = Server::named("manager", &["--durability", "sync", "--rep", "1"]);
    // Files of half a megabyte at most, for this process.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 500; exec \"$0\" \"$@\""]).arg(program("storage"));
    command.args(["--label", "node1", "--manager", &manager.address.to_string(), "--data"]);
    let mut node = Server::start({
        command.arg(&data);
        command
    });
    let config = Config {
        deadline: Duration::from_millis(500),
        ..Config::new(manager.address.to_string().parse().unwrap())
    };
    let mut wait = client_command(manager.address);
    assert_eq!(ended(wait.args(["--wait", "1"]).stderr(Stdio::piped())).0, Some(0));
    let client = GTStoreClient::init(config).unwrap();
    // Twice as much as fits into a file: part of it is in the log, and no checkpoint can have all
    // of it.
    let put = |n: usize| client.put(format!("key{n}").as_bytes(), &[b'v'; 1000]);
    let done: Vec<usize> = (0..1000).take_while(|&n| put(n).is_ok()).collect();
    wait_until("the health reports it", || {
        let status = client.status().map_err(|e| e.to_string())?;
        let is_so =
            status.health.text.starts_with("refusing writes: node1 (its disk: File too large")
                || status.health.text.contains("node1 can make no image of its records");
        if is_so { Ok(()) } else { Err(status.health.text) }
    });
    assert!(done.len() > 200, "{}", done.len());
    for n in done {
        assert!(client.get(format!("key{n}").as_bytes()).unwrap().is_some(), "key{n}");
    }
    client.finalize();
    for server in [&mut manager, &mut node] {
        assert!(server.running.ended().unwrap().is_none(), "it has ended");
    }
}
