//! Limits of peers: sizes, silence, haste and slowness.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use cluster::limits::Limits;
use e2e::{Options, TestCluster, wait_until};
use net_common::server;

use crate::{open, options};

#[test]
fn peers_have_limits() {
    let peers = server::Limits {
        connections: 2,
        idle: Duration::from_secs(2),
        frame: Duration::from_millis(500),
        ..server::Limits::default()
    };
    let redis_idle = Some(peers.idle);
    let cluster =
        TestCluster::with(Options { nodes: 1, copies: 1, peers, redis_idle, ..options() });
    let (mut one, two) = (open(&cluster, 0), open(&cluster, 0));
    assert_eq!(one.ask("PING"), "PONG");
    two.stream().write_all(b"*1\r\n$4\r\nPI").unwrap();
    wait_until("one more is turned away", || {
        let mut three = open(&cluster, 0);
        match three.ask("PING").as_str() {
            "-ERR max number of clients reached" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // Stalls in mid-request, and silence.
    let begin = Instant::now();
    { two }.expect_end();
    one.expect_end();
    assert!(begin.elapsed() < Duration::from_secs(20));
    // A peer that sends requests and never reads.
    let mut deaf = wait_until("there is room again", || {
        let mut node = open(&cluster, 0);
        match node.ask("PING").as_str() {
            "PONG" => Ok(node),
            other => Err(other.to_owned()),
        }
    });
    deaf.send(&["SET", "k", &"x".repeat(1024)]);
    assert_eq!(deaf.reply(), "OK");
    let asked = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(4096);
    deaf.stream().set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = (0..10_000).find_map(|_| deaf.stream().write_all(asked.as_bytes()).err());
    let kind = ended.expect("it is closed").kind();
    assert!(
        !matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{kind:?}"
    );
}

#[test]
fn all_may_be_sent_before_anything_is_read() {
    const GETS: usize = 200_000;
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let value = "x".repeat(200);
    assert_eq!(node.ask(&format!("SET k {value}")), "OK");
    let mut stream = node.stream();
    stream.write_all("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(GETS).as_bytes()).unwrap();
    let answer = format!("$200\r\n{value}\r\n");
    let mut got = vec![0; answer.len() * 1000];
    for _ in 0..GETS / 1000 {
        stream.read_exact(&mut got).unwrap();
        assert!(got == answer.repeat(1000).as_bytes());
    }
    assert_eq!(node.ask("PING"), "PONG");
}

#[test]
fn a_peer_that_sends_or_reads_slowly_but_steadily_is_not_cut() {
    const FRAME: Duration = Duration::from_secs(3);
    let peers = server::Limits { frame: FRAME, ..server::Limits::default() };
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, peers, limits, ..options() });
    let mut node = open(&cluster, 0);
    // A request that takes longer than a stalled one may.
    let begin = Instant::now();
    node.stream().write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n").unwrap();
    let pause = || thread::sleep(FRAME / 16);
    for _ in 0..32 {
        node.stream().write_all(&[b'v'; 1 << 15]).unwrap();
        pause();
    }
    node.stream().write_all(b"\r\n").unwrap();
    assert_eq!(node.reply(), "OK");
    assert!(begin.elapsed() > FRAME);
    // Replies that take longer to read, and exceed the buffers of the sockets.
    let begin = Instant::now();
    for _ in 0..32 {
        node.send(&["GET", "k"]);
    }
    let mut stream = node.stream();
    let mut got = vec![0; "$1048576\r\n\r\n".len() + (1 << 20)];
    for _ in 0..32 {
        pause();
        stream.read_exact(&mut got).unwrap();
        assert!(got.starts_with(b"$1048576\r\nvvv") && got.ends_with(b"vvv\r\n"));
    }
    assert!(begin.elapsed() > FRAME);
    assert_eq!(node.ask("PING"), "PONG");
}

#[test]
fn an_error_arrives_though_its_request_goes_on_for_long() {
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, ..options() });
    let many = |count: usize, argument: &str| {
        let mut request = format!("*{count}\r\n").into_bytes();
        let argument = format!("${}\r\n{argument}\r\n", argument.len());
        request.extend_from_slice(argument.repeat(count).as_bytes());
        request
    };
    let large = "x".repeat(1 << 20);
    for (request, want) in [
        (many(3, &"x".repeat(9_000_000)), "invalid bulk length"),
        (many((1 << 20) + 1, "MGET"), "invalid multibulk length"),
        (many(100, &large), "request too big"),
    ] {
        let mut node = open(&cluster, 0);
        assert_eq!(node.ask("PING"), "PONG");
        node.stream().write_all(&request).unwrap();
        let answer = node.reply();
        assert!(answer.starts_with("-ERR Protocol error: ") && answer.ends_with(want), "{answer}");
        node.expect_end();
    }
    // Garbage is cut off at once, however long it continues.
    for nonsense in [&b"\0"[..], b"*\0", b"$\0"] {
        let mut node = open(&cluster, 0);
        let mut stream = node.stream();
        stream.write_all(nonsense).unwrap();
        while stream.write_all(&[b'A'; 1024]).is_ok() {}
        let answer = node.reply();
        assert!(answer.starts_with("-ERR Protocol error: "), "{answer}");
    }
}

#[test]
fn an_idle_connection_stays_unless_the_operator_wants_it_closed() {
    let short = Duration::from_millis(200);
    let peers = server::Limits { idle: short, frame: short, ..server::Limits::default() };
    let with = |redis_idle| {
        let one = Options { nodes: 1, copies: 1, peers: peers.clone(), ..options() };
        TestCluster::with(Options { redis_idle, ..one })
    };
    let cluster = with(None);
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("CONFIG GET timeout"), "[\"timeout\", \"0\"]");
    // Connections to the native port are closed meanwhile, one after the other.
    for _ in 0..3 {
        let mut native = TcpStream::connect(cluster.node_address(0)).unwrap();
        let _ = native.read(&mut [0; 100]);
    }
    assert_eq!(node.ask("PING"), "PONG");
    let cluster = with(Some(short));
    let mut node = open(&cluster, 0);
    assert_eq!(node.ask("CONFIG GET timeout"), "[\"timeout\", \"1\"]");
    node.expect_end();
}
