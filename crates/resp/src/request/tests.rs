use proptest::prelude::*;

use super::*;

fn args(request: Args<'_>) -> Vec<Vec<u8>> {
    request.iter().map(<[u8]>::to_vec).collect()
}

/// All requests in some bytes, and the error at their end.
fn read(bytes: &[u8], limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    read_in_pieces(bytes, bytes.len().max(1), limits)
}

/// The same, as the bytes arrive in pieces.
fn read_in_pieces(
    bytes: &[u8],
    piece: usize,
    limits: &Limits,
) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut requests = Requests::default();
    let (mut buffer, mut all) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let error = requests.read(&mut buffer, limits).err();
            all.extend(requests.each(&buffer).map(args));
            let done = requests.done();
            let bytes = requests.forget();
            buffer.drain(..bytes);
            if error.is_some() {
                return (all, error);
            }
            if done < limits.at_once {
                break;
            }
        }
    }
    (all, None)
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn arrays_and_lines_in_one_pipeline() {
    let mut bytes = request(&[b"SET", b"k", b"a\r\nb\0"]);
    bytes.extend_from_slice(b"get k\r\n\r\n*0\r\n*-10\r\nPING\n");
    bytes.extend(request(&[b"GET", b""]));
    let want: [&[&[u8]]; 4] =
        [&[b"SET", b"k", b"a\r\nb\0"], &[b"get", b"k"], &[b"PING"], &[b"GET", b""]];
    for piece in [1, 2, 3, 7, 1000] {
        let (got, error) = read_in_pieces(&bytes, piece, &Limits::AUTHENTICATED);
        assert_eq!(error, None);
        assert_eq!(got, want, "in pieces of {piece}");
    }
}

#[test]
fn requests_before_a_protocol_error_are_read() {
    let long_line = "x".repeat(Limits::AUTHENTICATED.inline);
    let cases: [(&str, ProtocolError, &str); 18] = [
        ("*20000000\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*3000000000\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*99999999999999999999\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*abc\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*3x\n$3\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*\r\n", ProtocolError::ArrayLength, "invalid multibulk length"),
        ("*3\rx", ProtocolError::NoLineEnd, "invalid CRLF in request"),
        ("*1\r\nfoo\r\n", ProtocolError::NoBulk(b'f'), "expected '$', got 'f'"),
        ("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", ProtocolError::NoBulk(b'f'), "got 'f'"),
        ("*1\r\n$-10\r\n", ProtocolError::BulkLength, "invalid bulk length"),
        ("*1\r\n$2000000000\r\n", ProtocolError::BulkLength, "invalid bulk length"),
        ("*1\r\n$blabla\r\n", ProtocolError::BulkLength, "invalid bulk length"),
        ("*1\r\n$3\r\nSETxx", ProtocolError::NoLineEnd, "invalid CRLF in request"),
        ("*1\r\n$3\r\nSET\rx", ProtocolError::NoLineEnd, "invalid CRLF in request"),
        ("set foo 'b'a'r\r\n", ProtocolError::Quotes, "unbalanced quotes in request"),
        (&long_line, ProtocolError::LongLine, "too big inline request"),
        (
            "*1111111111111111111111111111111111",
            ProtocolError::EndlessArrayLength,
            "too big mbulk count string",
        ),
        (
            "*1\r\n$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            ProtocolError::EndlessBulkLength,
            "too big bulk count string",
        ),
    ];
    for (bytes, want, words) in cases {
        let bytes = [b"PING\r\n", bytes.as_bytes()].concat();
        for piece in [1, 5, bytes.len()] {
            let (got, error) = read_in_pieces(&bytes, piece, &Limits::AUTHENTICATED);
            assert_eq!(error, Some(want));
            assert_eq!(got, [[b"PING"]]);
            assert!(want.to_string().starts_with("ERR Protocol error: "));
            assert!(want.to_string().ends_with(words), "{want}");
        }
    }
}

#[test]
fn an_unauthenticated_peer_may_not_send_much() {
    let (got, error) = read(b"*11\r\n", &Limits::UNAUTHENTICATED);
    assert!(got.is_empty());
    assert_eq!(error, Some(ProtocolError::UnauthenticatedArray));
    let (_, error) = read(b"*1\r\n$16385\r\n", &Limits::UNAUTHENTICATED);
    assert_eq!(error, Some(ProtocolError::UnauthenticatedBulk));
    let pipeline = [request(&[b"AUTH", b"x"]), b"*20\r\n".to_vec()].concat();
    let mut requests = Requests::default();
    let mut buffer = pipeline.clone();
    requests.read(&mut buffer, &Limits::UNAUTHENTICATED).unwrap();
    assert_eq!(requests.done(), 1, "one at once, since it may make the peer known");
    let bytes = requests.forget();
    buffer.drain(..bytes);
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    assert_eq!((requests.done(), requests.wanted()), (0, 1));
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let limits = Limits { request: 100, ..Limits::AUTHENTICATED };
    let (_, error) = read(b"*9\r\n$40\r\n", &limits);
    assert_eq!(error, None);
    let (_, error) = read(b"*9\r\n$95\r\n", &limits);
    assert_eq!(error, Some(ProtocolError::LongRequest));
    let endless = [b"*1000\r\n".to_vec(), b"$0\r\n\r\n".repeat(20)].concat();
    assert_eq!(read(&endless, &limits).1, Some(ProtocolError::LongRequest));
    let many = request(&[b"PING"]).repeat(100);
    assert_eq!(read(&many, &limits).0.len(), 100, "but not the pipeline");
}

#[test]
fn missing_bytes_are_counted() {
    let mut requests = Requests::default();
    let mut buffer = b"*2\r\n$3\r\nSET\r\n$1000\r\n12345".to_vec();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    assert_eq!((requests.done(), requests.wanted()), (0, 997));
    buffer.extend([b'x'; 500]);
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    assert_eq!((requests.done(), requests.wanted()), (0, 497));
}

#[test]
fn a_round_is_bounded_and_nothing_is_lost_between_rounds() {
    let limits = Limits { at_once: 3, ..Limits::AUTHENTICATED };
    let numbers: Vec<Vec<u8>> = (0..10).map(|n: u32| n.to_string().into_bytes()).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| request(&[b"GET", n])).collect();
    let (got, _) = read(&bytes, &limits);
    assert!(got.iter().map(|request| &request[1]).eq(&numbers));
}

#[test]
fn announced_lengths_allocate_nothing() {
    let mut requests = Requests::default();
    let mut buffer = b"*1000000\r\n$8000000\r\nabc".to_vec();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    assert!(requests.spans.capacity() <= 4);
}

#[test]
fn arguments_by_place_and_in_pairs() {
    let mut buffer = request(&[b"MSET", b"a", b"1", b"b", b"2"]);
    let mut requests = Requests::default();
    requests.read(&mut buffer, &Limits::AUTHENTICATED).unwrap();
    let args = requests.each(&buffer).next().unwrap();
    assert_eq!((args.len(), args.get(0), args.get(5)), (5, Some(&b"MSET"[..]), None));
    let pairs: Vec<_> = args.from(1).pairs().collect();
    assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"2")]);
    assert!(args.from(9).is_empty());
}

fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)
}

proptest! {
    #[test]
    fn requests_are_read_in_pieces_of_any_size(
        pipeline in prop::collection::vec(words(), 0..8),
        piece in 1usize..50,
        at_once in 1usize..4,
    ) {
        let bytes: Vec<u8> = pipeline
            .iter()
            .flat_map(|words| request(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        let limits = Limits { at_once, ..Limits::AUTHENTICATED };
        let (got, error) = read_in_pieces(&bytes, piece, &limits);
        prop_assert_eq!(error, None);
        prop_assert_eq!(got, pipeline);
    }

    #[test]
    fn noise_never_panics_and_pieces_make_no_difference(
        bytes in r"([*$\r\n0-9a'\x22\\x -]|\*1\r\n|\$1\r\n|\r\n){0,60}",
        piece in 1usize..9,
    ) {
        let whole = read(bytes.as_bytes(), &Limits::AUTHENTICATED);
        prop_assert_eq!(read_in_pieces(bytes.as_bytes(), piece, &Limits::AUTHENTICATED), whole);
    }
}
