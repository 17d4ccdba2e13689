//! Detection of peers that speak another protocol.
//!
//! Ports are easily mixed up. A client that sends HTTP or Redis commands to a native port, or
//! receives such answers from a supposed one, gets a readable error instead of a complaint about a
//! meaningless format number.

use std::fmt;

/// Another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// HTTP.
    Http,
    /// Redis: RESP, or a line that somebody typed.
    Redis,
    /// TLS.
    Tls,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Http => "HTTP",
            Foreign::Redis => "the Redis protocol",
            Foreign::Tls => "TLS",
        })
    }
}

/// The methods of HTTP, and the preface of HTTP/2.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];

impl Foreign {
    /// The protocol of a stream that starts with these bytes, be it a request or an answer. Only
    /// for bytes that are no valid frame: a frame has a format of 0 or 2 in its third and fourth
    /// byte, and those bytes are never text.
    pub fn of(bytes: &[u8]) -> Option<Foreign> {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
        let is_request = || {
            let rest = METHODS.iter().find_map(|method| line.strip_prefix(*method));
            // Redis has a GET as well.
            rest.is_some_and(|rest| matches!(rest, [] | [b'/' | b'*', ..]) || has(rest, b" HTTP/"))
        };
        match bytes {
            [0x16, 3, ..] => Some(Foreign::Tls),
            _ if bytes.starts_with(b"HTTP/") || is_request() => Some(Foreign::Http),
            [b'*' | b'$' | b':', digit, ..] if digit.is_ascii_digit() && is_text(line) => {
                Some(Foreign::Redis)
            }
            [b'+' | b'-' | b'A'..=b'Z' | b'a'..=b'z', ..] if is_text(line) => Some(Foreign::Redis),
            _ => None,
        }
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether this is a line of text, at least as long as the shortest command.
fn is_text(line: &[u8]) -> bool {
    line.len() >= 3
        && line.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized_by_their_first_bytes() {
        use Foreign::{Http, Redis, Tls};
        for (bytes, want) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], Some(Http)),
            (b"GET ", Some(Http)),
            (b"GET http://a/ HTTP/1.1\r\n", Some(Http)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Http)),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Some(Http)),
            (b"HTTP/1.1 200 OK\r\n", Some(Http)),
            (b"GET key\r\n", Some(Redis)),
            (b"PING", Some(Redis)),
            (b"PING\r\n", Some(Redis)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Redis)),
            (b"-ERR unknown command\r\n", Some(Redis)),
            (b"+OK\r\n", Some(Redis)),
            (&[0x16, 3, 1, 2, 0, 1], Some(Tls)),
            (&[0, 12, 0, 9, 0, 0, 0, 0], None),
            (&[b'a', 200, 3, 4], None),
            (&[b'*', 200, 3, 4], None),
            (b"a\n\0\0", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(bytes), want, "{}", bytes.escape_ascii());
        }
    }
}
