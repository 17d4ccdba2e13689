use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::bind;
use crate::frame::{Frame, FrameReader, Kind};

const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

/// Answers every frame with its own payload. Afterwards GET closes, REGISTER takes the connection
/// over and echoes payloads without a frame, and anything else goes on.
struct Echo;

impl Session for Echo {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Next {
        frame::write(out, Kind::GetOk, frame.format, |out| out.extend_from_slice(frame.payload));
        match Kind::from_wire(frame.kind) {
            Some(Kind::ClientGet) => Next::Close,
            Some(Kind::StorageRegister) => Next::TakeOver,
            _ => Next::Go,
        }
    }

    fn take_over(&mut self, stream: Arc<TcpStream>, mut reader: FrameReader) {
        while let Ok(1..) = reader.fill(&mut &*stream) {
            while let Ok(Some(frame)) = reader.next_frame() {
                (&*stream).write_all(frame.payload).unwrap();
            }
        }
    }
}

fn start(limits: Limits) -> Server {
    let listener = bind::listen("127.0.0.1", 0, false).unwrap();
    Server::start("test", listener, limits, None, Box::new(|_| Box::new(Echo))).unwrap()
}

fn quick() -> Limits {
    Limits { connections: 100, idle: SHORT, frame: SHORT, ..Limits::default() }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn request(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, kind, FORMAT_BINARY, |out| out.extend_from_slice(payload));
    out
}

/// The next frame's payload; empty at the end.
fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 8];
    if stream.read_exact(&mut header).is_err() {
        return Vec::new();
    }
    let mut payload = vec![0; u32::from_be_bytes(header[4..].try_into().unwrap()) as usize];
    stream.read_exact(&mut payload).unwrap();
    payload
}

fn text(payload: Vec<u8>) -> String {
    String::from_utf8(payload).unwrap()
}

#[test]
fn it_answers_in_order_and_closes_after_the_last() {
    let server = start(Limits::default());
    let mut stream = connect(&server);
    let put = |text: &[u8]| request(Kind::ClientPut, text);
    let pipeline =
        [put(b"1"), put(b"22"), request(Kind::ClientGet, b"333"), put(b"after the end")].concat();
    stream.write_all(&pipeline).unwrap();
    for want in ["1", "22", "333", ""] {
        assert_eq!(text(receive(&mut stream)), want);
    }
}

#[test]
fn callers_of_another_protocol_are_answered_in_it() {
    let server = start(Limits::default());
    for (sent, begins) in [
        ("GET / HTTP/1.1\r\nHost: here\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("PING\r\n", "-ERR "),
        ("*1\r\n$4\r\nPING\r\n", "-ERR "),
    ] {
        let mut stream = connect(&server);
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(begins), "{answer}");
        assert!(answer.contains("this is GT Store's native port"), "{answer}");
    }
}

#[test]
fn a_last_answer_reaches_a_slow_reader_whole() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Accepted connections inherit it: most of a large answer waits for the peer to read.
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(10).unwrap();
    let open = Box::new(|_| -> Box<dyn Session> { Box::new(Echo) });
    let server = Server::start("test", socket.into(), Limits::default(), None, open).unwrap();
    let mut stream = connect(&server);
    let large = vec![7; frame::MAX_PAYLOAD];
    stream.write_all(&request(Kind::ClientGet, &large)).unwrap();
    // Slower than a connection lingers: what is under test.
    thread::sleep(3 * LINGER);
    assert!(receive(&mut stream) == large);
    assert!(receive(&mut stream).is_empty());
}

#[test]
fn a_connection_that_is_taken_over_is_the_sessions() {
    let server = start(quick());
    let mut stream = connect(&server);
    stream.write_all(&request(Kind::StorageRegister, b"mine")).unwrap();
    assert_eq!(text(receive(&mut stream)), "mine");
    stream.write_all(&request(Kind::ClientGet, b"raw")).unwrap();
    let mut raw = [0; 3];
    stream.read_exact(&mut raw).unwrap();
    assert_eq!(&raw, b"raw");
}

#[test]
fn silence_and_stalls_are_distinguished() {
    let server = start(quick());
    let whole = request(Kind::ClientPut, b"whole");
    for (sent, answers, word) in [
        (vec![], 0, "idle: no request"),
        (whole.clone(), 1, "idle: no request"),
        (vec![0], 0, "slow: no whole frame"),
        (whole[..whole.len() - 1].to_vec(), 0, "slow: no whole frame"),
        ([&whole[..], &[0]].concat(), 1, "slow: no whole frame"),
    ] {
        let mut stream = connect(&server);
        stream.write_all(&sent).unwrap();
        for _ in 0..answers {
            assert_eq!(text(receive(&mut stream)), "whole");
        }
        let answer = text(receive(&mut stream));
        assert!(answer.starts_with(&format!("{word} for 100ms")), "{answer}, after {sent:?}");
        assert!(receive(&mut stream).is_empty());
    }
}

/// Both ways are slow: a frame of twice what a socket holds comes and goes within several frame
/// times.
#[test]
fn the_frame_time_begins_anew_while_bytes_move() {
    let frame = Duration::from_secs(2);
    let server = start(Limits { frame, ..Limits::default() });
    let mut stream = connect(&server);
    let large = vec![7; frame::MAX_PAYLOAD];
    let bytes = request(Kind::ClientGet, &large);
    let steps = 50;
    let piece = bytes.len().div_ceil(steps);
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).unwrap();
        thread::sleep(3 * frame / steps as u32);
    }
    let mut answer = Vec::new();
    while answer.len() < bytes.len() {
        let mut part = vec![0; piece];
        let n = stream.read(&mut part).unwrap();
        assert!(n > 0, "cut after {} bytes", answer.len());
        answer.extend_from_slice(&part[..n]);
        thread::sleep(frame / steps as u32);
    }
    assert!(answer[8..] == large);
}

/// A rate below the lowest one, a byte now and then, counts as silence.
#[test]
fn a_dripping_peer_is_cut_off() {
    let server = start(quick());
    let mut stream = connect(&server);
    let whole = request(Kind::ClientPut, &[7; 10_000]);
    let mut drops = whole.chunks(1);
    let until = Instant::now() + PATIENCE;
    while drops.next().is_some_and(|drop| stream.write_all(drop).is_ok()) {
        assert!(Instant::now() < until, "it is never cut");
        thread::sleep(SHORT / 10);
    }
    assert!(drops.next().is_some(), "all of it was taken");
}

#[test]
fn at_the_limit_new_connections_are_refused_and_the_others_served() {
    let server = start(Limits { connections: 3, ..Limits::default() });
    let mut served: Vec<TcpStream> = (0..3).map(|_| connect(&server)).collect();
    for stream in &mut served {
        stream.write_all(&request(Kind::ClientPut, b"x")).unwrap();
        assert_eq!(text(receive(stream)), "x");
    }
    for _ in 0..3 {
        let answer = text(receive(&mut connect(&server)));
        assert!(answer.starts_with("busy: this server has its 3 connections"), "{answer}");
    }
    assert_eq!(server.connection_count()(), 3);
    for stream in &mut served {
        stream.write_all(&request(Kind::ClientPut, b"y")).unwrap();
        assert_eq!(text(receive(stream)), "y");
    }
}

#[test]
fn an_ended_connection_makes_room() {
    let server = start(Limits { connections: 1, ..Limits::default() });
    for _ in 0..5 {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "there is never room");
            let mut stream = connect(&server);
            // Turned away, it may be closed already.
            let _ = stream.write_all(&request(Kind::ClientPut, b"x"));
            if receive(&mut stream) == b"x" {
                break;
            }
        }
    }
}

#[test]
fn stopping_ends_all_connections_and_the_port() {
    let mut server = start(Limits::default());
    let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    let begin = Instant::now();
    server.stop();
    assert!(begin.elapsed() < FAREWELL);
    for stream in &mut streams {
        assert!(receive(stream).is_empty());
    }
    assert!(TcpStream::connect(server.address()).is_err());
    server.stop();
}

#[test]
fn stopping_does_not_wait_for_an_endless_stream_of_requests() {
    let mut server = start(Limits::default());
    let mut stream = connect(&server);
    let mut sender = stream.try_clone().unwrap();
    let requests = request(Kind::ClientPut, b"more").repeat(1000);
    let asking = thread::spawn(move || while sender.write_all(&requests).is_ok() {});
    let answers = thread::spawn(move || {
        while !receive(&mut stream).is_empty() {}
        // What it could not send any more would be tried again for a minute by the kernel.
        let _ = stream.shutdown(Shutdown::Both);
    });
    let begin = Instant::now();
    server.stop();
    assert!(begin.elapsed() < FAREWELL);
    asking.join().unwrap();
    answers.join().unwrap();
}
