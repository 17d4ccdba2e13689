//! Requests: bytes in, arguments out.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`), the same in RESP2 and
//! RESP3, or a line of words ([`inline`]) from somebody at a terminal. [`Requests`] reads as many
//! as a buffer holds, however deep the pipeline, and remembers how far it got into one that is not
//! complete yet, so no byte of it is looked at twice.
//!
//! Nothing is copied: an argument is a [`Span`] of the buffer, and the quotes and escapes of a line
//! are taken out in place. Nothing is allocated by a length that a client announces: what grows is
//! the list of spans, by one for each argument that has arrived.
//!
//! Invariants: spans lie in the bytes read so far, in their order; what [`Requests::done`] counts
//! are whole requests; after a [`ProtocolError`] the stream has lost its framing, and is to be
//! closed once the requests before it are answered.

use crate::args::{Args, Span};
use crate::inline;
use crate::number;

/// What a peer is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments of a request. Beyond it: *invalid multibulk length*.
    pub arguments: usize,
    /// Longest argument in bytes. Beyond it: *invalid bulk length*.
    pub bulk: usize,
    /// Longest line of an inline request in bytes. Beyond it: *too big inline request*.
    pub inline: usize,
    /// Longest request in bytes, complete or not: what a connection's buffer may have to hold.
    /// Beyond it: *request too big*.
    pub request: usize,
    /// Most requests that are read at once. The rest stays in the buffer for the next round.
    pub at_once: usize,
    /// Whether the peer has yet to show a password. Then the errors say so.
    pub stranger: bool,
}

impl Limits {
    /// For whoever may do everything. Redis takes a million arguments and lines of 64 KiB as well;
    /// its 512 MiB for a value are far above what a cluster here can be set to take, so some of
    /// what clusters take by default are enough: a value in between is refused by an answer, not by
    /// closing the connection.
    pub const KNOWN: Limits = Limits {
        arguments: 1 << 20,
        bulk: 8 << 20,
        inline: 64 << 10,
        request: 64 << 20,
        at_once: 1024,
        stranger: false,
    };

    /// The same in a cluster that takes values of so many bytes: an argument and a request may be
    /// as long as one of these needs, and a little longer, to be refused by an answer.
    #[must_use]
    pub fn for_values(self, value_bytes: usize) -> Limits {
        const BESIDES: usize = 1 << 20;
        Limits {
            bulk: self.bulk.max(value_bytes + BESIDES),
            request: self.request.max(value_bytes + 2 * BESIDES),
            ..self
        }
    }

    /// For who has not shown a password yet: enough for HELLO with AUTH and SETNAME, as in Redis.
    /// One request at once, since it may be the one that makes the peer known.
    pub const STRANGER: Limits = Limits {
        arguments: 10,
        bulk: 16 << 10,
        inline: 64 << 10,
        request: 256 << 10,
        at_once: 1,
        stranger: true,
    };
}

/// Longest line that announces a number, without its end: the longest `i64`, and room for nonsense
/// that is to be told apart from a line that has not arrived.
const NUMBER_LINE: usize = 32;

/// Why a stream is no sequence of requests. The words are Redis's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An array's length is no number or out of bounds.
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    /// An array longer than a stranger's may be.
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    StrangersArray,
    /// An array's length does not end.
    #[error("ERR Protocol error: too big mbulk count string")]
    EndlessArrayLength,
    /// A bulk string's length is no number or out of bounds.
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    /// A bulk string longer than a stranger's may be.
    #[error("ERR Protocol error: unauthenticated bulk length")]
    StrangersBulk,
    /// A bulk string's length does not end.
    #[error("ERR Protocol error: too big bulk count string")]
    EndlessBulkLength,
    /// Something else stands where a bulk string should begin.
    #[error("ERR Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    NoBulk(u8),
    /// Something else stands where `\r\n` should.
    #[error("ERR Protocol error: invalid CRLF in request")]
    NoLineEnd,
    /// A line of words that is too long.
    #[error("ERR Protocol error: too big inline request")]
    LongLine,
    /// A line of words with a quote that is not closed, or closed in the middle of a word.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
    /// The whole request is too long.
    #[error("ERR Protocol error: request too big")]
    LongRequest,
}

impl ProtocolError {
    /// Whether the peer speaks the protocol, and sends a request that is too long: it goes on to
    /// send it before it looks for an answer. Anything else is no request, and need not be read to
    /// its end.
    pub fn is_too_long(self) -> bool {
        match self {
            ProtocolError::ArrayLength | ProtocolError::BulkLength | ProtocolError::LongRequest => {
                true
            }
            ProtocolError::StrangersArray
            | ProtocolError::EndlessArrayLength
            | ProtocolError::StrangersBulk
            | ProtocolError::EndlessBulkLength
            | ProtocolError::NoBulk(_)
            | ProtocolError::NoLineEnd
            | ProtocolError::LongLine
            | ProtocolError::Quotes => false,
        }
    }
}

/// Reads requests from a buffer that fills from behind and is emptied from the front.
///
/// In turn: [`read`](Requests::read) what has arrived; answer [`each`](Requests::each);
/// [`forget`](Requests::forget) them, and take as many bytes from the front of the buffer as that
/// says.
#[derive(Debug, Default)]
pub struct Requests {
    /// The arguments of the complete requests, then those of the one under way.
    spans: Vec<Span>,
    /// Where in `spans` each complete request ends.
    ends: Vec<u32>,
    /// How many bytes the complete requests take.
    complete: usize,
    /// How many bytes have been understood.
    at: usize,
    /// How many arguments of the request under way are still to come.
    missing: usize,
    /// How many bytes of a line of words are known not to end it.
    searched: usize,
    /// How many bytes the buffer lacks at least to get on.
    wanted: usize,
}

/// A step that cannot be made before more bytes are there: how many, at least.
struct Wants(usize);

type Step<T> = Result<Result<T, Wants>, ProtocolError>;

impl Requests {
    /// Reads on in a buffer that has all bytes since the last [`Requests::forget`].
    ///
    /// # Errors
    /// [`ProtocolError`]. The requests before it are complete all the same.
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

    /// How many requests have been read.
    pub fn done(&self) -> usize {
        self.ends.len()
    }

    /// How many more bytes the request under way takes at least: worth making room for, no more
    /// than the limits allow.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// The requests that have been read, of the same buffer.
    pub fn each<'b>(&'b self, buffer: &'b [u8]) -> impl ExactSizeIterator<Item = Args<'b>> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let end = end as usize;
            let spans = &self.spans[start..end];
            start = end;
            Args::new(buffer, spans)
        })
    }

    /// Forgets the complete requests. Returns how many bytes they took: these are to go from the
    /// front of the buffer.
    pub fn forget(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.complete);
        self.at -= bytes;
        let spans = self.ends.last().map_or(0, |&end| end as usize);
        self.ends.clear();
        self.spans.drain(..spans);
        for span in &mut self.spans {
            *span = span.forward(bytes);
        }
        // A burst must not hold its memory for good.
        self.spans.shrink_to(SPANS_KEPT);
        bytes
    }

    fn finish(&mut self) {
        self.complete = self.at;
        if self.spans.len() > self.ends.last().map_or(0, |&end| end as usize) {
            self.ends.push(self.spans.len() as u32);
        }
    }

    /// The head of an array. An empty or a negative one is nothing, and gets no answer.
    fn begin(&mut self, buffer: &[u8], limits: &Limits) -> Step<()> {
        let (count, after) = match number_line(buffer, self.at + 1)? {
            Line::Number(count, after) => (count, after),
            Line::Wants => return Ok(Err(Wants(1))),
            Line::Endless => return Err(ProtocolError::EndlessArrayLength),
            Line::NoNumber => return Err(ProtocolError::ArrayLength),
        };
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if count > limits.arguments {
            return Err(if limits.stranger {
                ProtocolError::StrangersArray
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

    /// The bulk strings of the request under way, as many as are there.
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

    /// A line of words.
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

/// Where the bulk string that begins at `at` lies.
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
        return Err(if limits.stranger {
            ProtocolError::StrangersBulk
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
    /// No line of this length is a number.
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
