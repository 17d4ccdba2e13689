use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::*;

/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(30);

/// A socket and its peer.
fn pair(patience: Duration) -> (ClientSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    peer.set_write_timeout(Some(LONG)).unwrap();
    let stream = Arc::new(listener.accept().unwrap().0);
    (ClientSocket::new(stream, patience, patience).unwrap(), peer)
}

/// Varied bytes.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// More than both sockets hold.
const MUCH: usize = 24 << 20;

#[test]
fn input_that_arrives_while_sending_is_kept_in_order() {
    let (mut socket, mut peer) = pair(LONG);
    let reader = thread::spawn(move || {
        peer.write_all(&bytes(MUCH)).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert!(got == bytes(MUCH));
    });
    socket.send(&mut bytes(MUCH), 2 * MUCH).unwrap();
    assert!(socket.ahead() > 0, "it was all sent before anything was read");
    let mut inbox = Inbox::default();
    while socket.fill(&mut inbox, 1).unwrap() > 0 {}
    assert!(inbox.bytes() == bytes(MUCH));
    drop(socket);
    reader.join().unwrap();
}

#[test]
fn input_is_kept_up_to_the_limit_only() {
    const LIMIT: usize = 1 << 20;
    let (mut socket, peer) = pair(Duration::from_secs(1));
    let (mut sending, much) = (peer.try_clone().unwrap(), bytes(MUCH));
    let mut answer = much.clone();
    let sender = thread::spawn(move || sending.write_all(&much));
    let mut inbox = Inbox::default();
    socket.fill(&mut inbox, 1).unwrap();
    // It never reads.
    let error = socket.send(&mut answer, LIMIT).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((LIMIT..LIMIT + CHUNK).contains(&socket.ahead()), "{}", socket.ahead());
    drop(socket);
    sender.join().unwrap().unwrap_err();
    drop(peer);
}

#[test]
fn a_final_reply_arrives_although_the_peer_keeps_sending() {
    let (mut socket, mut peer) = pair(LONG);
    let sender = thread::spawn(move || {
        peer.write_all(&bytes(3 * MUCH)).unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        got
    });
    let mut inbox = Inbox::default();
    socket.fill(&mut inbox, 1).unwrap();
    socket.send_last(&mut b"-ERR too much\r\n".to_vec()).unwrap();
    assert_eq!(socket.ahead(), 0);
    drop(socket);
    assert_eq!(sender.join().unwrap(), "-ERR too much\r\n");
}

#[test]
fn a_peer_that_has_stopped_sending_takes_its_answers() {
    let (mut socket, mut peer) = pair(LONG);
    peer.write_all(b"ask").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), MUCH);
    });
    socket.send(&mut bytes(MUCH), MUCH).unwrap();
    let mut inbox = Inbox::default();
    while socket.fill(&mut inbox, 1).unwrap() > 0 {}
    assert_eq!(inbox.bytes(), b"ask");
    drop(socket);
    reader.join().unwrap();
}

#[test]
fn an_inbox_is_emptied_from_the_front_and_filled_from_behind() {
    let (mut inbox, all) = (Inbox::default(), bytes(4 << 20));
    let (mut source, mut gone) = (&all[..], 0);
    for step in 0.. {
        if inbox.read(&mut source, 1 + step * 7919 % 50_000).unwrap() == 0 {
            break;
        }
        assert!(inbox.bytes() == &all[gone..all.len() - source.len()]);
        let taken = inbox.len().min(step * 104_729 % 60_000);
        inbox.forget(taken);
        gone += taken;
        assert!(inbox.bytes() == &all[gone..all.len() - source.len()]);
    }
    inbox.forget(inbox.len());
    assert!(inbox.is_empty() && inbox.buffer.len() <= KEPT);
}
