//! Requests: bytes in, arguments out.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`), the same in RESP2 and
//! RESP3, or a line of words ([`inline`]) that a person types. [`Requests`] reads all requests in a
//! buffer, however deep the pipeline, and remembers its position in an incomplete one, so that no
//! byte is scanned twice.
//!
//! Nothing is copied: an argument is a [`Span`] of the buffer, and a line is unquoted in place. No
//! announced length causes an allocation: only the list of spans grows, by one for each argument
//! that has arrived.
//!
//! Invariants: spans lie in the bytes read so far, in their order; [`Requests::done`] counts
//! complete requests only; after a [`ProtocolError`] the stream has lost its framing, and must be
//! closed once the requests before it are answered.

use crate::args::{Args, Span};
use crate::inline;
use crate::number;

/// Limits on what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments of a request. Above it: *invalid multibulk length*.
    pub arguments: usize,
    /// Longest argument in bytes. Above it: *invalid bulk length*.
    pub bulk: usize,
    /// Longest line of an inline request in bytes. Above it: *too big inline request*.
    pub inline: usize,
    /// Longest request in bytes, complete or not: a connection's buffer may have to hold as much.
    /// Above it: *request too big*.
    pub request: usize,
    /// Most requests read at once. The rest stays in the buffer for the next round.
    pub at_once: usize,
    /// Whether the peer has authenticated. If not, error texts mention it.
    pub is_authenticated: bool,
}

impl Limits {
    /// Limits for authenticated peers. Redis also accepts a million arguments and lines of 64 KiB;
    /// its 512 MiB for a value are far above what any cluster here allows, so a small multiple of
    /// the default value limit is enough: a value in between is refused by a reply rather than by
    /// closing the connection.
    pub const AUTHENTICATED: Limits = Limits {
        arguments: 1 << 20,
        bulk: 8 << 20,
        inline: 64 << 10,
        request: 64 << 20,
        at_once: 1024,
        is_authenticated: true,
    };

    /// The same in a cluster that accepts values of this length: an argument and a request may be
    /// as long as such a value needs, and a little longer, so that a reply can refuse it.
    #[must_use]
    pub fn for_values(self, value_bytes: usize) -> Limits {
        const BESIDES: usize = 1 << 20;
        Limits {
            bulk: self.bulk.max(value_bytes + BESIDES),
            request: self.request.max(value_bytes + 2 * BESIDES),
            ..self
        }
    }

    /// Limits before authentication: enough for HELLO with AUTH and SETNAME, as in Redis. One
    /// request at once, since that one may authenticate the peer.
    pub const UNAUTHENTICATED: Limits = Limits {
        arguments: 10,
        bulk: 16 << 10,
        inline: 64 << 10,
        request: 256 << 10,
        at_once: 1,
        is_authenticated: false,
    };
}

/// Longest line that announces a number, without the line end: the longest `i64`, and a margin to
/// distinguish an invalid line from an incomplete one.
const NUMBER_LINE: usize = 32;

/// Why a stream is not a sequence of requests. The texts are Redis's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An array's length is not a number or out of range.
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    /// An array longer than allowed before authentication.
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArray,
    /// An array's length is never terminated.
    #[error("ERR Protocol error: too big mbulk count string")]
    EndlessArrayLength,
    /// A bulk string's length is not a number or out of range.
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    /// A bulk string longer than allowed before authentication.
    #[error("ERR Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// A bulk string's length is never terminated.
    #[error("ERR Protocol error: too big bulk count string")]
    EndlessBulkLength,
    /// Something other than a bulk string.
    #[error("ERR Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    NoBulk(u8),
    /// Something other than `\r\n`.
    #[error("ERR Protocol error: invalid CRLF in request")]
    NoLineEnd,
    /// An inline request that is too long.
    #[error("ERR Protocol error: too big inline request")]
    LongLine,
    /// An inline request with a quote that is not closed, or closed in the middle of a word.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
    /// The whole request is too long.
    #[error("ERR Protocol error: request too big")]
    LongRequest,
}

impl ProtocolError {
    /// Whether the peer speaks the protocol, but its request is too long: it sends the rest before
    /// it reads a reply. After any other error the rest need not be read.
    pub fn is_too_long(self) -> bool {
        match self {
            ProtocolError::ArrayLength | ProtocolError::BulkLength | ProtocolError::LongRequest => {
                true
            }
            ProtocolError::UnauthenticatedArray
            | ProtocolError::EndlessArrayLength
            | ProtocolError::UnauthenticatedBulk
            | ProtocolError::EndlessBulkLength
            | ProtocolError::NoBulk(_)
            | ProtocolError::NoLineEnd
            | ProtocolError::LongLine
            | ProtocolError::Quotes => false,
        }
    }
}

/// Reads requests from a buffer that is filled at the end and emptied from the front.
///
/// In turn: [`read`](Requests::read) the bytes that have arrived; answer [`each`](Requests::each)
/// request; [`forget`](Requests::forget) them, and remove as many bytes from the front of the
/// buffer as that returns.
#[derive(Debug, Default)]
pub struct Requests {
    /// The arguments of the complete requests, then those of the incomplete one.
    spans: Vec<Span>,
    /// The end of each complete request in `spans`.
    ends: Vec<u32>,
    /// The length in bytes of the complete requests.
    complete: usize,
    /// How many bytes have been parsed.
    at: usize,
    /// How many arguments of the incomplete request are missing.
    missing: usize,
    /// How many bytes of an inline request are known to contain no line end.
    searched: usize,
    /// The least number of bytes that the buffer lacks to make progress.
    wanted: usize,
}

/// Parsing needs at least this many more bytes.
struct Wants(usize);

type Step<T> = Result<Result<T, Wants>, ProtocolError>;

impl Requests {
    /// Reads on in a buffer that contains all bytes since the last [`Requests::forget`].
    ///
    /// # Errors
    /// [`ProtocolError`]. The requests before it are complete nevertheless.
    pub fn read(&mut self, buffer: &mut [u8], limits: &Limits) -> Result<(), ProtocolError> {
        let reach = buffer.len().min(u32::MAX as usize);
        let buffer = &mut buffer[..reach];
        self.wanted = 1;
        while self.ends.len() < limits.at_once && self.at < buffer.len() {
            let step = match (self.missing, buffer[self.at]) {
                (0, b'*') => self.begin(buffer, limits)?,
                (0, _) => self.line(buffer, limits)?,
                _ => self.bulks(buffer, limits)?,
            };
            if let Err(Wants(bytes)) = step {
                self.wanted = bytes;
                if buffer.len() - self.complete + bytes > limits.request {
                    return Err(ProtocolError::LongRequest);
                }
                break;
            }
        }
        Ok(())
    }

    /// The number of requests that have been read.
    pub fn done(&self) -> usize {
        self.ends.len()
    }

    /// The least number of further bytes of the incomplete request: worth allocating for, and never
    /// above the limits.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// The requests that have been read, from the same buffer.
    pub fn each<'b>(&'b self, buffer: &'b [u8]) -> impl ExactSizeIterator<Item = Args<'b>> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let end = end as usize;
            let spans = &self.spans[start..end];
            start = end;
            Args::new(buffer, spans)
        })
    }

    /// Forgets the complete requests. Returns how many bytes to remove from the front of the
    /// buffer.
    pub fn forget(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.complete);
        self.at -= bytes;
        let spans = self.ends.last().map_or(0, |&end| end as usize);
        self.ends.clear();
        self.spans.drain(..spans);
        for span in &mut self.spans {
            *span = span.forward(bytes);
        }
        // A burst must not hold on to its memory.
        self.spans.shrink_to(SPANS_KEPT);
        bytes
    }

    fn finish(&mut self) {
        self.complete = self.at;
        if self.spans.len() > self.ends.last().map_or(0, |&end| end as usize) {
            self.ends.push(self.spans.len() as u32);
        }
    }

    /// The head of an array. An empty or a negative one is ignored, and gets no reply.
    fn begin(&mut self, buffer: &[u8], limits: &Limits) -> Step<()> {
        let (count, after) = match number_line(buffer, self.at + 1)? {
            Line::Number(count, after) => (count, after),
            Line::Wants => return Ok(Err(Wants(1))),
            Line::Endless => return Err(ProtocolError::EndlessArrayLength),
            Line::NoNumber => return Err(ProtocolError::ArrayLength),
        };
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if count > limits.arguments {
            return Err(if !limits.is_authenticated {
                ProtocolError::UnauthenticatedArray
            } else {
                ProtocolError::ArrayLength
            });
        }
        self.at = after;
        self.missing = count;
        if count == 0 {
            self.finish();
        }
        Ok(Ok(()))
    }

    /// The bulk strings of the incomplete request, as many as have arrived.
    fn bulks(&mut self, buffer: &[u8], limits: &Limits) -> Step<()> {
        while self.missing > 0 {
            let (start, end) = match bulk(buffer, self.at, limits)? {
                Ok(bulk) => bulk,
                Err(wants) => return Ok(Err(wants)),
            };
            self.spans.push(Span::new(start, end));
            self.at = end + 2;
            self.missing -= 1;
        }
        self.finish();
        Ok(Ok(()))
    }

    /// An inline request.
    fn line(&mut self, buffer: &mut [u8], limits: &Limits) -> Step<()> {
        let rest = &mut buffer[self.at..];
        let within = &rest[..rest.len().min(limits.inline)];
        let unseen = within.get(self.searched..).unwrap_or(&[]);
        let Some(end) = unseen.iter().position(|&b| b == b'\n').map(|at| self.searched + at) else {
            self.searched = within.len();
            let is_too_long = within.len() == limits.inline;
            return if is_too_long { Err(ProtocolError::LongLine) } else { Ok(Err(Wants(1))) };
        };
        self.searched = 0;
        let before = self.spans.len();
        let words = rest[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len);
        if !inline::split(&mut rest[..words], self.at, &mut self.spans) {
            self.spans.truncate(before);
            return Err(ProtocolError::Quotes);
        }
        if self.spans.len() - before > limits.arguments {
            self.spans.truncate(before);
            return Err(ProtocolError::ArrayLength);
        }
        self.at += end + 1;
        self.finish();
        Ok(Ok(()))
    }
}

/// Spans kept for the next round: 64 KiB.
const SPANS_KEPT: usize = 8192;

/// The place of the bulk string that begins at `at`.
fn bulk(buffer: &[u8], at: usize, limits: &Limits) -> Step<(usize, usize)> {
    match buffer.get(at) {
        None => return Ok(Err(Wants(1))),
        Some(b'$') => {}
        Some(&byte) => return Err(ProtocolError::NoBulk(byte)),
    }
    let (len, start) = match number_line(buffer, at + 1)? {
        Line::Number(len, start) => (len, start),
        Line::Wants => return Ok(Err(Wants(1))),
        Line::Endless => return Err(ProtocolError::EndlessBulkLength),
        Line::NoNumber => return Err(ProtocolError::BulkLength),
    };
    let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
    if len > limits.bulk {
        return Err(if !limits.is_authenticated {
            ProtocolError::UnauthenticatedBulk
        } else {
            ProtocolError::BulkLength
        });
    }
    let end = start + len;
    match buffer.get(end..end + 2) {
        Some(b"\r\n") => Ok(Ok((start, end))),
        Some(_) => Err(ProtocolError::NoLineEnd),
        None => Ok(Err(Wants(end + 2 - buffer.len()))),
    }
}

enum Line {
    /// A number, and where the bytes after its line begin.
    Number(i64, usize),
    /// The line has not arrived.
    Wants,
    /// A line of this length cannot be a number.
    Endless,
    NoNumber,
}

fn number_line(buffer: &[u8], at: usize) -> Result<Line, ProtocolError> {
    let rest = &buffer[at..];
    let Some(end) = rest.iter().take(NUMBER_LINE).position(|&b| b == b'\r') else {
        return Ok(if rest.len() < NUMBER_LINE { Line::Wants } else { Line::Endless });
    };
    let Some(number) = number::integer(&rest[..end]) else {
        return Ok(Line::NoNumber);
    };
    match rest.get(end + 1) {
        None => Ok(Line::Wants),
        Some(b'\n') => Ok(Line::Number(number, at + end + 2)),
        Some(_) => Err(ProtocolError::NoLineEnd),
    }
}

#[cfg(test)]
mod tests;
