//! Transcripts of sessions, as redis-cli shows them, in `transcripts/`.
//!
//! The cases are those of Redis's own test suite (`tests/unit`: type/string, type/incr, expire,
//! keyspace, scan, protocol) for the commands that exist here, in our own words; `ours_…` has the
//! cases that Redis 7.0 lacks.
//!
//! A file consists of lines:
//!
//! * `# …`: the subject of the following case;
//! * `> SET k v`: a command, followed by the lines of its reply; `(integer) 5..10` is any integer
//!   between; `sorted>` sorts the elements of an array first;
//! * `wait 1100`: the clock advances by this many milliseconds;
//! * `populate 1000`: `key:0` to `key:999` get a value;
//! * `scan COUNT 5`: the number of distinct keys that a whole scan returns, and of all keys.
//!
//! With `GTSTORE_TEST_REDIS=HOST:PORT` the same commands go to a real Redis, whose data is lost:
//! this verifies the transcripts against Redis itself.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use test_each_file::test_each_path;

use super::keyspace::Keyspace;

test_each_path! { in "./storage/src/redis/tests/transcripts" => run }

/// The server under test.
pub enum Server {
    Ours(Keyspace),
    /// A real Redis, and the exclusive right to use it: all tests share its data.
    Redis {
        stream: TcpStream,
        _alone: MutexGuard<'static, ()>,
    },
}

impl Server {
    /// The real Redis, if there is one.
    pub fn redis() -> Option<Server> {
        static ONE: Mutex<()> = Mutex::new(());
        let address = std::env::var("GTSTORE_TEST_REDIS").ok()?;
        let stream = TcpStream::connect(address).expect("there is a Redis");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("can be set");
        Some(Server::Redis { stream, _alone: ONE.lock() })
    }

    pub fn ask(&mut self, line: &str) -> Reply {
        let sent = format!("{line}\r\n");
        match self {
            Server::Ours(keyspace) => {
                parse(&keyspace.exchange(sent.as_bytes())).expect("a whole reply").0
            }
            Server::Redis { stream, .. } => {
                stream.write_all(sent.as_bytes()).expect("it takes it");
                let mut got = Vec::new();
                loop {
                    if let Some((reply, _)) = parse(&got) {
                        return reply;
                    }
                    let mut more = [0; 4096];
                    let n = stream.read(&mut more).expect("it answers in time");
                    assert!(n > 0, "closed after {line}");
                    got.extend_from_slice(&more[..n]);
                }
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        match self {
            Server::Ours(keyspace) => keyspace.now_ms += ms,
            Server::Redis { .. } => std::thread::sleep(Duration::from_millis(ms)),
        }
    }

    fn scan(&mut self, options: &str) -> Vec<String> {
        let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
        loop {
            let Reply::Array(mut page) = self.ask(&format!("SCAN {cursor} {options}")) else {
                panic!("SCAN answers with an array");
            };
            let (Some(Reply::Array(keys)), Some(Reply::Bulk(next))) = (page.pop(), page.pop())
            else {
                panic!("SCAN answers with a cursor and keys");
            };
            all.extend(keys.into_iter().map(|key| show(&key, false).concat()));
            if next == b"0" {
                break;
            }
            cursor = String::from_utf8(next).expect("a number");
        }
        let different: BTreeSet<&String> = all.iter().collect();
        vec![format!("{} different, {} in all", different.len(), all.len())]
    }
}
fn run(path: &Path) {
    let name = path.file_stem().expect("a file").to_string_lossy();
    play(path, &mut Server::Ours(Keyspace::new(1_900_000_000_000)));
    if name.starts_with("ours_") {
        return;
    }
    match Server::redis() {
        Some(mut redis) => play(path, &mut redis),
        None => println!("SKIPPED: {name} for a real Redis, GTSTORE_TEST_REDIS is not set"),
    }
}

fn play(path: &Path, server: &mut Server) {
    let text = std::fs::read_to_string(path).expect("it can be read");
    server.ask("FLUSHALL");
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let got = match verb {
            "" | "#" => continue,
            ">" => show(&server.ask(rest), false),
            "sorted>" => show(&server.ask(rest), true),
            "wait" => {
                server.wait(rest.parse().expect("milliseconds"));
                continue;
            }
            "populate" => {
                for n in 0..rest.parse().expect("a number") {
                    server.ask(&format!("SET key:{n} x"));
                }
                continue;
            }
            "scan" => server.scan(rest),
            _ => panic!("{}:{}: no line of a transcript: {line}", path.display(), number + 1),
        };
        let mut want = Vec::new();
        let verbs = ["", ">", "sorted>", "#", "wait", "populate", "scan"];
        let is_answer = |line: &str| !verbs.contains(&line.split(' ').next().unwrap_or_default());
        while let Some((_, line)) = lines.next_if(|(_, line)| is_answer(line)) {
            want.push(line);
        }
        let fits =
            got.len() == want.len() && got.iter().zip(&want).all(|(got, want)| is_like(got, want));
        let who = if matches!(server, Server::Ours(_)) { "ours" } else { "Redis" };
        assert!(
            fits,
            "{}:{} ({who}): {line}\nwant {want:#?}\ngot {got:#?}",
            path.display(),
            number + 1
        );
    }
}

fn is_like(got: &str, want: &str) -> bool {
    let number = |text: &str| text.strip_prefix("(integer) ").map(str::to_owned);
    match (number(got), number(want).as_deref().and_then(|want| want.split_once(".."))) {
        (Some(got), Some((least, most))) => {
            let number = |text: &str| text.parse::<i64>().expect("an integer");
            (number(least)..=number(most)).contains(&number(&got))
        }
        _ => got.trim_end() == want.trim_end(),
    }
}

/// A reply of RESP2.
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(String),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

/// The reply at the beginning of some bytes, and the rest; `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    let rest = &bytes[end + 2..];
    let reply = match (bytes[0], line.as_str()) {
        (b'+', _) => Reply::Simple(line),
        (b'-', _) => Reply::Error(line),
        (b':', _) => Reply::Integer(line),
        (_, "-1") => Reply::Null,
        (b'$', len) => {
            let len: usize = len.parse().expect("a length");
            let bulk = rest.get(..len + 2)?;
            return Some((Reply::Bulk(bulk[..len].to_vec()), &rest[len + 2..]));
        }
        (b'*', len) => {
            let (mut elements, mut rest) = (Vec::new(), rest);
            for _ in 0..len.parse().expect("a length") {
                let (element, after) = parse(rest)?;
                elements.push(element);
                rest = after;
            }
            return Some((Reply::Array(elements), rest));
        }
        (kind, _) => panic!("no reply begins with {kind}"),
    };
    Some((reply, rest))
}

/// A reply in lines, as redis-cli shows it.
pub fn show(reply: &Reply, sorted: bool) -> Vec<String> {
    match reply {
        Reply::Simple(text) => vec![text.clone()],
        Reply::Error(text) => vec![format!("(error) {text}")],
        Reply::Integer(number) => vec![format!("(integer) {number}")],
        Reply::Bulk(bytes) => vec![format!("\"{}\"", bytes.escape_ascii())],
        Reply::Null => vec!["(nil)".to_owned()],
        Reply::Array(elements) if elements.is_empty() => vec!["(empty array)".to_owned()],
        Reply::Array(elements) => {
            let mut shown: Vec<Vec<String>> = elements.iter().map(|e| show(e, sorted)).collect();
            if sorted {
                shown.sort();
            }
            let numbered = |(at, lines): (usize, Vec<String>)| {
                let number = format!("{}) ", at + 1);
                let blank = " ".repeat(number.len());
                let prefix =
                    move |(n, line)| format!("{}{line}", if n == 0 { &number } else { &blank });
                lines.into_iter().enumerate().map(prefix).collect::<Vec<_>>()
            };
            shown.into_iter().enumerate().flat_map(numbered).collect()
        }
    }
}
