//! A server in the same process, called without a socket.
//!
//! A node that coordinates for others is often a replica itself. Frames to itself need neither the
//! kernel nor another thread: the writing thread answers them at once, and reads the answers later.
//! To its users it is a stream like any other.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use cluster::ids::Address;

use crate::frame::{Frame, FrameReader, PayloadLimit};

/// Answers the frames of one connection by appending to the bytes; a frame that needs no answer
/// gets none. It runs in the sender's thread and must not wait for the sender.
pub type AnswerFrame = dyn FnMut(Frame<'_>, &mut Vec<u8>) + Send;

/// Opens another conversation.
pub type OpenConversation = dyn Fn() -> Box<AnswerFrame> + Send + Sync;

/// A server in this process, and the address that others reach it at.
#[derive(Clone)]
pub struct LocalServer {
    /// Its address: requests to it are answered in place.
    pub address: Address,
    /// Opens a conversation with it.
    pub open: Arc<OpenConversation>,
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in place", self.address)
    }
}

/// The most bytes that stay allocated for answers while there are none.
const KEPT: usize = 64 << 10;

/// The two directions of a conversation with it.
pub(crate) struct InPlace {
    answer: Box<AnswerFrame>,
    asked: FrameReader,
    answers: Vec<u8>,
    /// How many bytes of the answers have been read.
    read: usize,
}

impl InPlace {
    pub(crate) fn new(answer: Box<AnswerFrame>, payload: PayloadLimit) -> InPlace {
        InPlace { answer, asked: FrameReader::within(payload), answers: Vec::new(), read: 0 }
    }
}

impl Write for InPlace {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let all = bytes.len();
        while !bytes.is_empty() {
            self.asked.fill(&mut bytes)?;
            while let Some(frame) = self.asked.next_frame().map_err(io::Error::other)? {
                (self.answer)(frame, &mut self.answers);
            }
        }
        Ok(all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the end of the stream once all answers are read: no further answer can arrive.
impl Read for InPlace {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = (&self.answers[self.read..]).read(into)?;
        self.read += n;
        if self.read == self.answers.len() {
            self.read = 0;
            self.answers.clear();
            self.answers.shrink_to(KEPT);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, NetError};
    use crate::frame::{self, FORMAT_BINARY, Kind};
    use crate::message::coordinated::Get;

    /// Answers a GET with a frame whose size depends on the key, and nothing else.
    fn here() -> LocalServer {
        let answer = |frame: Frame<'_>, out: &mut Vec<u8>| {
            if frame.kind == Kind::ClientGet as u16 {
                let size = frame.payload.len() * 10_000;
                frame::write(out, Kind::GetOk, FORMAT_BINARY, |out| {
                    out.resize(out.len() + size, 7)
                });
            }
        };
        let address = Address::new("127.0.0.1", 1).expect("it is one");
        LocalServer { address, open: Arc::new(move || Box::new(answer)) }
    }

    #[test]
    fn frames_are_answered_in_their_order() {
        let mut link = Connection::in_place(&here(), PayloadLimit::default());
        assert!(link.is_usable());
        for key in [&b"k"[..], b"key", b"k"] {
            link.push(&Get(key));
        }
        link.flush().unwrap();
        for times in [0, 2, 0] {
            let payload = link.receive().unwrap().payload.len();
            assert!((10_000 + times * 10_000..60_000 + times * 10_000).contains(&payload));
        }
        assert!(link.is_usable(), "all has been read");
        assert!(matches!(link.receive(), Err(NetError::Lost { .. })), "nothing will come");
    }
}
