//! Frames: the boundaries of messages in a byte stream.
//!
//! A frame is an 8-byte header, big-endian: `type: u16`, `format: u16`, `payload_size: u32`, and
//! then the payload. [`FrameReader`] buffers a stream and returns frames from it without copying.
//! Its buffer grows with the bytes that have arrived, never with the size that a header announces.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use byteorder::{BigEndian, ByteOrder};
use cluster::limits::Limits;

use crate::codec::Encoder;
use crate::error::{ErrorWord, Refused};
pub use crate::foreign::Foreign;

/// Bytes of a header.
pub const HEADER: usize = 8;

/// The largest accepted payload in bytes, unless the cluster's values need more: a view of a
/// thousand nodes fits, or a batch of thousands of small operations. A larger one is answered with
/// an error, and the connection is closed.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// The allowance in bytes for what a frame carries besides one value: its key, a page's other
/// records, and some thousand short answers.
const BESIDES: usize = 1 << 20;

/// The largest accepted payload: [`MAX_PAYLOAD`], or what one value needs where the cluster allows
/// longer ones. All connections of a process share it. It never shrinks: a frame that is under way
/// when the limits are lowered must still be read, to be refused with the right error.
#[derive(Debug, Clone, Default)]
pub struct PayloadLimit(Arc<AtomicUsize>);

impl PayloadLimit {
    /// The limit now, in bytes.
    pub fn get(&self) -> usize {
        MAX_PAYLOAD.max(self.0.load(Ordering::Relaxed))
    }

    /// Raises the limit for values of up to these limits.
    pub fn allow(&self, limits: &Limits) {
        self.0.fetch_max(limits.value_bytes + BESIDES, Ordering::Relaxed);
    }
}

/// The original's text payloads, one request a connection.
pub const FORMAT_TEXT: u16 = 0;

/// Our binary payloads; connections stay open and replies come in order.
pub const FORMAT_BINARY: u16 = 2;

/// The type of a message. Numbers 1 to 12 are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Store a value; the receiving node coordinates.
    ClientPut = 1,
    /// Fetch a value; the receiving node coordinates.
    ClientGet = 2,
    /// A put was acknowledged.
    PutOk = 3,
    /// The answer to a get.
    GetOk = 4,
    /// The request failed; the payload is text in every format: a word, then why.
    Error = 5,
    /// A batch of writes for one replica.
    ReplPut = 6,
    /// A replica's answers to a batch of writes.
    ReplAck = 7,
    /// A node is alive.
    Heartbeat = 8,
    /// The manager received the heartbeat.
    HeartbeatAck = 9,
    /// A view.
    TablePush = 10,
    /// A node asks to be a member.
    StorageRegister = 11,
    /// A client asks for the view.
    ClientHello = 12,
    /// A batch of reads for one replica.
    Read = 13,
    /// A replica's answers to a batch of reads.
    ReadReply = 14,
    /// A node requests the records of arcs that it has yet to fetch.
    RangePull = 15,
    /// Records of arcs.
    RangePage = 16,
    /// Remove a key; the receiving node coordinates.
    ClientDelete = 17,
    /// A delete was acknowledged.
    DeleteOk = 18,
    /// Request for the state of the cluster.
    Status = 19,
    /// The state of the cluster.
    StatusReply = 20,
    /// Request for a node's identity and load.
    NodeInfo = 21,
    /// A node's identity and load.
    NodeInfoReply = 22,
    /// The operator accepts a loss.
    AcceptLoss = 23,
    /// The result.
    AcceptLossReply = 24,
    /// Opens a handshake: the caller's challenge.
    AuthHello = 25,
    /// The answerer's challenge.
    AuthChallenge = 26,
    /// The caller's proof.
    AuthProof = 27,
    /// The answerer's proof; the connection is open.
    AuthOk = 28,
    /// Versions that every replica holds. There is no reply.
    Commit = 29,
    /// The manager requests a heartbeat at once.
    Probe = 30,
    /// A batch of reads under one epoch, for every member of the keys' write sets.
    Fence = 31,
    /// An operator requests a planned change, or cancels one.
    Change = 32,
    /// Request for what a change would move.
    ChangePlan = 33,
    /// What a change moves.
    ChangeReply = 34,
    /// Request for the keys in these arcs.
    List = 35,
    /// Keys, or how many there are.
    ListReply = 36,
    /// The operator accepts a data folder that is held back.
    AdoptFolder = 37,
    /// The folder is accepted.
    AdoptFolderReply = 38,
}

impl Kind {
    /// All kinds, in order of their numbers, which have no gaps.
    pub const ALL: [Kind; 38] = [
        Kind::ClientPut,
        Kind::ClientGet,
        Kind::PutOk,
        Kind::GetOk,
        Kind::Error,
        Kind::ReplPut,
        Kind::ReplAck,
        Kind::Heartbeat,
        Kind::HeartbeatAck,
        Kind::TablePush,
        Kind::StorageRegister,
        Kind::ClientHello,
        Kind::Read,
        Kind::ReadReply,
        Kind::RangePull,
        Kind::RangePage,
        Kind::ClientDelete,
        Kind::DeleteOk,
        Kind::Status,
        Kind::StatusReply,
        Kind::NodeInfo,
        Kind::NodeInfoReply,
        Kind::AcceptLoss,
        Kind::AcceptLossReply,
        Kind::AuthHello,
        Kind::AuthChallenge,
        Kind::AuthProof,
        Kind::AuthOk,
        Kind::Commit,
        Kind::Probe,
        Kind::Fence,
        Kind::Change,
        Kind::ChangePlan,
        Kind::ChangeReply,
        Kind::List,
        Kind::ListReply,
        Kind::AdoptFolder,
        Kind::AdoptFolderReply,
    ];

    /// The kind with this number on the wire.
    pub fn from_wire(number: u16) -> Option<Kind> {
        Kind::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// One frame, borrowed from a reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type as received; [`Kind::from_wire`] maps it to a known one.
    pub kind: u16,
    /// [`FORMAT_TEXT`], [`FORMAT_BINARY`], or something unknown.
    pub format: u16,
    /// The payload.
    pub payload: &'a [u8],
}

/// The reason a stream's framing is lost: the connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A header announces a payload that is too large.
    TooLarge {
        /// The announced size of its payload, in bytes.
        size: u32,
        /// The limit, in bytes.
        most: usize,
    },
    /// An unknown format: the bytes that follow cannot be interpreted.
    UnknownFormat(u16),
    /// The stream speaks another protocol from its first byte on.
    Foreign(Foreign),
}

impl FrameError {
    /// The error word that is sent to the peer.
    pub fn refused(&self) -> Refused {
        match self {
            FrameError::TooLarge { size, most } => Refused::new(
                ErrorWord::TooLarge,
                format!("a frame of {size} bytes, at most {most} are taken"),
            ),
            FrameError::UnknownFormat(format) => Refused::new(
                ErrorWord::Unknown,
                format!("format {format}, formats 0 and 2 are spoken here"),
            ),
            FrameError::Foreign(foreign) => Refused::new(
                ErrorWord::Unknown,
                format!(
                    "that is {foreign}; this is GT Store's native port, and speaks its own protocol"
                ),
            ),
        }
    }
}

impl std::error::Error for FrameError {}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refused().fmt(f)
    }
}

/// Appends a frame to `out`, its payload written by `payload`. Where the peer determines the
/// length, as in an answer to a batch, the caller checks it against the [`PayloadLimit`].
pub fn write(out: &mut Vec<u8>, kind: Kind, format: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u16(kind as u16);
    out.put_u16(format);
    out.put_u32(0);
    payload(out);
    let size = out.len() - start - HEADER;
    BigEndian::write_u32(&mut out[start + 4..start + HEADER], size as u32);
}

/// Appends an ERROR. The payload is text in every format, so that any peer and any person can read
/// it.
pub fn write_error(out: &mut Vec<u8>, format: u16, word: ErrorWord, why: &str) {
    // The original's programs know single words.
    let why = if format == FORMAT_TEXT { "" } else { why };
    let text = Refused::new(word, why).to_string();
    write(out, Kind::Error, format, |out| out.extend_from_slice(text.as_bytes()));
}

/// First size of a read buffer. Small, so that ten thousand idle connections cost little.
const FIRST_BUFFER: usize = 1 << 10;

/// A buffer larger than this is freed once it is empty: one large frame must not occupy memory
/// until the connection closes.
const KEPT_BUFFER: usize = 64 << 10;

/// Splits a stream into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// The position of the first byte that was not returned yet.
    start: usize,
    /// The end of the received bytes; the buffer is zeroed up to its length.
    end: usize,
    limit: PayloadLimit,
    /// Whether a frame was returned: the stream speaks our protocol.
    is_ours: bool,
}

impl FrameReader {
    /// An empty reader.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// An empty reader with a shared limit.
    pub fn within(limit: PayloadLimit) -> FrameReader {
        FrameReader { limit, ..FrameReader::default() }
    }

    /// The number of received bytes that were not returned yet, mostly of an incomplete frame.
    pub fn arrived(&self) -> usize {
        self.end - self.start
    }

    /// Frees the buffer if it is large and empty, for a reader that may be idle for long.
    pub fn rest(&mut self) {
        if self.start == self.end && self.buffer.len() > KEPT_BUFFER {
            (self.buffer, self.start, self.end) = (Vec::new(), 0, 0);
        }
    }

    /// Whether the stream stands between two frames.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end
    }

    /// The next complete frame, if any.
    ///
    /// # Errors
    /// [`FrameError`]: the stream cannot be used any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(whole) = self.whole_frame()? else { return Ok(None) };
        let frame = &self.buffer[self.start..self.start + whole];
        self.start += whole;
        self.is_ours = true;
        Ok(Some(Frame {
            kind: BigEndian::read_u16(frame),
            format: BigEndian::read_u16(&frame[2..]),
            payload: &frame[HEADER..],
        }))
    }

    /// Whether [`FrameReader::next_frame`] would return a frame.
    ///
    /// # Errors
    /// As [`FrameReader::next_frame`].
    pub fn has_frame(&self) -> Result<bool, FrameError> {
        self.whole_frame().map(|whole| whole.is_some())
    }

    /// The size of the next frame with its header, once all of it has arrived.
    fn whole_frame(&self) -> Result<Option<usize>, FrameError> {
        let arrived = &self.buffer[self.start..self.end];
        // Other protocols have lines that are shorter than a header.
        if arrived.len() < HEADER / 2 {
            return Ok(None);
        }
        let format = BigEndian::read_u16(&arrived[2..]);
        if format != FORMAT_TEXT && format != FORMAT_BINARY {
            let foreign = if self.is_ours { None } else { Foreign::of(arrived) };
            return Err(foreign.map_or(FrameError::UnknownFormat(format), FrameError::Foreign));
        }
        if arrived.len() < HEADER {
            return Ok(None);
        }
        let size = BigEndian::read_u32(&arrived[4..]);
        if size as usize > MAX_PAYLOAD {
            let most = self.limit.get();
            if size as usize > most {
                return Err(FrameError::TooLarge { size, most });
            }
        }
        let whole = HEADER + size as usize;
        Ok((arrived.len() >= whole).then_some(whole))
    }

    /// Reads once from `stream`. Returns the number of bytes; 0 is the end of the stream.
    ///
    /// # Errors
    /// As the stream's `read`.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let n = stream.read(&mut self.buffer[self.end..])?;
        self.end += n;
        Ok(n)
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.rest();
        } else if self.start > 0 && self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            // Everything allocated so far has been filled by the peer: only then double it.
            let size = (2 * self.buffer.len()).clamp(FIRST_BUFFER, HEADER + self.limit.get());
            self.buffer.resize(size, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_have_their_numbers() {
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, i + 1);
            assert_eq!(Kind::from_wire(*kind as u16), Some(*kind));
        }
        assert_eq!(Kind::from_wire(0), None);
        assert_eq!(Kind::from_wire(Kind::ALL.len() as u16 + 1), None);
        assert_eq!(Kind::ClientHello as u16, 12);
    }

    /// A stream that returns its bytes in pieces of the given sizes.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else { return Ok(0) };
            let n = piece.len().min(buffer.len());
            buffer[..n].copy_from_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                self.0.remove(0);
            }
            Ok(n)
        }
    }

    fn read_all(mut stream: impl Read) -> Result<Vec<(u16, Vec<u8>)>, FrameError> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = reader.next_frame()? {
                frames.push((frame.kind, frame.payload.to_vec()));
            }
            if reader.fill(&mut stream).unwrap() == 0 {
                return Ok(frames);
            }
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut reader = FrameReader::new();
        let header = [0, 1, 0, 2, 0, 0x3f, 0xff, 0xff];
        reader.fill(&mut &header[..]).unwrap();
        assert_eq!(reader.next_frame(), Ok(None));
        assert_eq!(reader.buffer.len(), FIRST_BUFFER);
        let mut reader = FrameReader::new();
        reader.fill(&mut &[0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff][..]).unwrap();
        let too_large = FrameError::TooLarge { size: u32::MAX, most: MAX_PAYLOAD };
        assert_eq!(reader.next_frame(), Err(too_large));
    }

    #[test]
    fn frames_are_as_long_as_one_value_needs() {
        let limit = PayloadLimit::default();
        let header = |size: usize| [&[0, 1, 0, 2][..], &(size as u32).to_be_bytes()].concat();
        let taken = |size: usize| {
            let mut reader = FrameReader::within(limit.clone());
            reader.fill(&mut &header(size)[..]).unwrap();
            reader.next_frame().map(|frame| frame.is_none()).unwrap_or(false)
        };
        limit.allow(&Limits::default());
        assert_eq!((taken(MAX_PAYLOAD), taken(MAX_PAYLOAD + 1)), (true, false), "as ever");
        limit.allow(&Limits { value_bytes: 64 << 20, ..Limits::default() });
        assert_eq!((taken(65 << 20), taken((65 << 20) + 1)), (true, false));
        limit.allow(&Limits::ORIGINAL);
        assert!(taken(65 << 20), "what is under way can be refused in words");
    }

    #[test]
    fn a_long_frame_costs_its_size_only_while_it_is_read() {
        let limit = PayloadLimit::default();
        limit.allow(&Limits { value_bytes: 8 << 20, ..Limits::default() });
        let mut reader = FrameReader::within(limit);
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Read, FORMAT_BINARY, |out| out.resize(HEADER + (8 << 20), 7));
        let mut stream = &bytes[..];
        while reader.next_frame().unwrap().is_none() {
            assert!(reader.fill(&mut stream).unwrap() > 0);
            assert!(reader.buffer.len() <= 2 * (reader.arrived() + FIRST_BUFFER));
        }
        reader.rest();
        assert_eq!(reader.buffer.capacity(), 0);
    }

    #[test]
    fn unknown_formats_lose_the_framing() {
        let mut reader = FrameReader::new();
        reader.fill(&mut &[0, 1, 0, 9, 0, 0, 0, 0][..]).unwrap();
        assert_eq!(reader.next_frame(), Err(FrameError::UnknownFormat(9)));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
            cuts in prop::collection::vec(1usize..700, 1..40),
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                write(&mut bytes, Kind::Read, FORMAT_BINARY, |out| out.extend_from_slice(payload));
            }
            let mut pieces = Vec::new();
            let mut cuts = cuts.iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let n = (*cuts.next().unwrap()).min(rest.len());
                pieces.push(rest[..n].to_vec());
                rest = &rest[n..];
            }
            let got = read_all(Pieces(pieces)).unwrap();
            let want: Vec<_> = payloads.into_iter().map(|p| (Kind::Read as u16, p)).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read_all(&bytes[..]);
        }
    }

    #[test]
    fn other_protocols_are_detected_at_the_start_of_a_stream_only() {
        let mut reader = FrameReader::new();
        reader.fill(&mut &b"PING"[..]).unwrap();
        assert_eq!(reader.next_frame(), Err(FrameError::Foreign(Foreign::Redis)));
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::ClientGet, FORMAT_BINARY, |_| ());
        bytes.extend_from_slice(b"PING");
        let mut reader = FrameReader::new();
        reader.fill(&mut &bytes[..]).unwrap();
        assert!(matches!(reader.next_frame(), Ok(Some(_))));
        assert!(matches!(reader.next_frame(), Err(FrameError::UnknownFormat(_))));
    }
}
