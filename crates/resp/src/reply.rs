//! Replies: values in, bytes out.
//!
//! RESP3 has types that RESP2 lacks. The methods of [`Replies`] name the meaning (a map, a null, a
//! text), and each protocol gets what Redis sends for it: in RESP2 a map is a flat array of keys
//! and values, a set an array, and a text a bulk string. Types that no command here replies with
//! have no method.
//!
//! Not checked: lengths. A caller that announces an array of five elements must write five.

use crate::number::write_integer;

/// The version of the protocol that a connection uses since its HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version that a connection starts with.
    #[default]
    Resp2,
    /// With maps, sets, texts and a single null.
    Resp3,
}

impl Protocol {
    /// Its number in HELLO.
    pub fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Appends replies to a buffer.
#[derive(Debug)]
pub struct Replies<'o> {
    out: &'o mut Vec<u8>,
    protocol: Protocol,
}

impl<'o> Replies<'o> {
    /// Appends to `out` in the connection's protocol.
    pub fn new(out: &'o mut Vec<u8>, protocol: Protocol) -> Replies<'o> {
        Replies { out, protocol }
    }

    /// The protocol in use.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Switches to another protocol, as HELLO requests.
    pub fn switch(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The number of bytes in the buffer.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Passes the buffer to a function that may empty it.
    pub fn hand_over<T>(&mut self, to: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        to(self.out)
    }

    /// Discards everything written after this length.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    fn number_line(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        write_integer(number, self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A short constant text without line ends: `OK`.
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.line(text);
    }

    /// `OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error. It begins with the word that clients check, such as `ERR`. Line ends in it, which
    /// a client may have sent, become spaces.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.line(text);
    }

    fn line(&mut self, text: &str) {
        let plain = |b| if matches!(b, b'\r' | b'\n') { b' ' } else { b };
        self.out.extend(text.bytes().map(plain));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.number_line(b':', number);
    }

    /// A count.
    pub fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number_line(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A text, as a byte string.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// A null.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Replies that were written elsewhere, in the same protocol.
    pub fn raw(&mut self, answers: &[u8]) {
        self.out.extend_from_slice(answers);
    }

    /// A byte string, or a null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The head of an array: this many elements follow.
    pub fn array(&mut self, elements: usize) {
        self.number_line(b'*', elements as i64);
    }

    /// The head of a map: this many pairs of a key and a value follow.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(2 * pairs),
            Protocol::Resp3 => self.number_line(b'%', pairs as i64),
        }
    }

    /// The head of a set: this many elements follow, in no order.
    pub fn set(&mut self, elements: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(elements),
            Protocol::Resp3 => self.number_line(b'~', elements as i64),
        }
    }

    /// Text of several lines, for people.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.text(text),
            Protocol::Resp3 => {
                self.number_line(b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Replies<'_>)) -> (String, String) {
        let in_protocol = |protocol| {
            let mut out = Vec::new();
            write(&mut Replies::new(&mut out, protocol));
            String::from_utf8(out).unwrap()
        };
        (in_protocol(Protocol::Resp2), in_protocol(Protocol::Resp3))
    }

    #[test]
    fn replies_that_are_the_same_in_both_protocols() {
        type Write = fn(&mut Replies<'_>);
        for (write, want) in [
            ((|r| r.simple("PONG")) as Write, "+PONG\r\n"),
            (|r| r.ok(), "+OK\r\n"),
            (|r| r.error("ERR no\r\nno"), "-ERR no  no\r\n"),
            (|r| r.integer(-7), ":-7\r\n"),
            (|r| r.count(7), ":7\r\n"),
            (|r| r.bulk(b""), "$0\r\n\r\n"),
            (|r| r.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n"),
            (|r| r.bulk_or_null(Some(b"a")), "$1\r\na\r\n"),
            (|r| r.array(2), "*2\r\n"),
        ] {
            assert_eq!(both(write), (want.to_owned(), want.to_owned()));
        }
    }

    #[test]
    fn types_that_resp2_lacks() {
        type Write = fn(&mut Replies<'_>);
        for (write, resp2, resp3) in [
            ((|r| r.null()) as Write, "$-1\r\n", "_\r\n"),
            (|r| r.bulk_or_null(None), "$-1\r\n", "_\r\n"),
            (|r| r.map(2), "*4\r\n", "%2\r\n"),
            (|r| r.set(2), "*2\r\n", "~2\r\n"),
            (|r| r.verbatim("a\nb"), "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"),
        ] {
            assert_eq!(both(write), (resp2.to_owned(), resp3.to_owned()));
        }
    }
}
