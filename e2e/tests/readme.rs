//! The session in README.md, as a newcomer types it: real scripts and programs, in a folder of
//! their own.
//!
//! Ports and primaries differ from run to run, so they are normalized; everything else is compared
//! to the letter.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use e2e::{programs, root};
use harness::ports;

/// The text before the session in README.md.
const MARKER: &str = "<!-- e2e/tests/readme.rs runs this block. -->\n```console\n";

/// Precedes each command.
const PROMPT: &str = "$ ";

/// The session in README.md, without its fence.
fn session() -> String {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, rest) = text.split_once(MARKER).expect("README.md has a session");
    rest.split_once("```").expect("the block ends").0.to_owned()
}

/// A line without the parts that differ from run to run: ports, and the primaries of keys.
fn normal(line: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = word.chars().take_while(char::is_ascii_digit).count();
        if digits >= 4 {
            parts.push(format!("PORT{}", &word[digits..]));
        } else {
            parts.push(word.to_owned());
        }
    }
    let line = parts.concat();
    let names_primary = line.starts_with("OK, node") || line.starts_with("key1, ");
    let digit = |c: char| c.is_ascii_digit();
    if names_primary { line.trim_end_matches(digit).to_owned() } else { line }
}

fn normal_text(text: &str) -> String {
    text.lines().map(|line| normal(line) + "\n").collect()
}

#[test]
fn the_readmes_session_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    for script in ["start_service", "stop_service"] {
        fs::copy(root().join(script), path(script)).expect("a copy");
    }
    fs::create_dir(path("target")).expect("a folder");
    symlink(programs(), path("target/release")).expect("a link");

    let session = session();
    let mut script = String::from("shopt -s expand_aliases\nexec 2>&1\ntrap ./stop_service EXIT\n");
    for line in session.lines().filter_map(|line| line.strip_prefix(PROMPT)) {
        script += &format!("echo '{PROMPT}{}'\n{line}\n", line.replace('\'', r"'\''"));
    }
    fs::write(path("session"), script).expect("a script");

    let mut bash = Command::new("bash");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GTSTORE_") {
            bash.env_remove(name);
        }
    }
    let port = ports::in_a_row(32).expect("some are free");
    let output = bash
        .arg("session")
        .env("GTSTORE_BIN", programs())
        .env("GTSTORE_MANAGER_PORT", port.to_string())
        .env("GTSTORE_BASE_PORT", port.to_string())
        .env("GTSTORE_REDIS_BASE_PORT", (port + 16).to_string())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(normal_text(&printed), normal_text(&session), "{printed}");
}

#[test]
fn ports_and_primaries_are_normalized() {
    for (line, expected) in [
        ("OK, node3", "OK, node"),
        ("key1, value1, node12", "key1, value1, node"),
        ("node2 runs on port 6002", "node2 runs on port PORT"),
        ("manager on 127.0.0.1:5000, 3 nodes", "manager on 127.0.0.1:PORT, 3 nodes"),
        ("health: healthy", "health: healthy"),
    ] {
        assert_eq!(normal(line), expected);
    }
}
