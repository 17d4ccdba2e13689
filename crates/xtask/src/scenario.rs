//! Runs a scenario of `run.sh` on free ports; prints the ends of its logs if it fails.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ports that a scenario may need: the nodes' from the manager's on, the Redis ports after them.
const PORTS: u16 = 32;
/// How far after the manager's port the Redis ports begin: more nodes than a scenario has.
const REDIS: u16 = 16;
/// Where the search for ports begins: below those that the system gives to outgoing connections.
const FIRST: u16 = 20_000;
/// Among how many first ports one is drawn, so that two runs seldom meet.
const DRAWN: u16 = 11_000;
/// Draws until one gives up.
const DRAWS: usize = 1_000;
/// Lines that are shown of each log.
const LINES: usize = 40;

/// Runs a scenario: `command` is `run.sh` without arguments, `print` prints a line.
///
/// # Errors
/// It did not start, or failed.
pub fn run(
    name: &str,
    mut command: Command,
    mut print: impl FnMut(&str),
) -> Result<(), Box<dyn Error>> {
    let first = free_ports().ok_or("no ports are free")?;
    let status = command
        .arg(name)
        .env("GTSTORE_MANAGER_PORT", first.to_string())
        .env("GTSTORE_BASE_PORT", first.to_string())
        .env("GTSTORE_REDIS_BASE_PORT", (first + REDIS).to_string())
        .env("GTSTORE_BIN", "target/release")
        .status()?;
    if status.success() {
        return Ok(());
    }
    print_logs(&mut print);
    Err(format!("run.sh {name} ended with {status}").into())
}

/// The first of ports that are free together.
fn free_ports() -> Option<u16> {
    (0..DRAWS).map(|_| drawn()).find(|&first| {
        (first..first + PORTS).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    })
}

/// Different each time, and in each process.
fn drawn() -> u16 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = u64::from(since.subsec_nanos()) / 1000 + u64::from(std::process::id());
    FIRST + (mixed % u64::from(DRAWN)) as u16
}

fn print_logs(print: &mut impl FnMut(&str)) {
    let entries = fs::read_dir("logs").into_iter().flatten().flatten();
    let mut logs: Vec<_> = entries.map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    if logs.is_empty() {
        print("there are no logs");
    }
    for path in logs {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        print(&format!("==> {} <==", path.display()));
        print(&lines[lines.len().saturating_sub(LINES)..].join("\n"));
    }
}
