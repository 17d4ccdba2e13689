//! Frames: the parts of a file in a data folder, each with a length and a checksum.
//!
//! ```text
//! salt u32 | length u32 | durable u64 | crc u32 | body
//! ```
//!
//! All numbers are big-endian. The salt is random for each file and is part of its header. It marks
//! the beginning of a frame, so that a reader can find the next one behind damage. Clients do not
//! know it, so no value can pass for a frame. `durable` is the number of bytes of this file that
//! were certainly on the disk when the frame was written. The checksum is CRC-32 (of IEEE) over the
//! salt, the frame's own place in the file, length, durable and body: it detects a frame in the
//! wrong place like a wrong byte.
//!
//! **Torn or damaged.** After a loss of power any part of the last writes may be missing. But
//! everything before the `durable` mark of a good frame must be there: if it is not, the disk is
//! faulty, and an operator has to decide. [`FileFrameReader`] returns the good frames, and
//! [`FileFrameReader::durable`] the place up to which all had to be good.
//!
//! Nothing is allocated by a length that was not checked against [`MOST`], nor before the bytes are
//! there.

use std::io::{self, Read};
use std::ops::Range;

use cluster::limits::VALUE_CEILING;
use crc32fast::Hasher;
use net_common::codec::Decoder;

use super::entry::BUFFER_BYTES;

/// Bytes in front of a frame's body.
pub const HEAD: usize = 20;

/// Longest body. The writer stays below: a group of entries ends at a megabyte, and the longest
/// entry has [`BUFFER_BYTES`], one more value for which it vouches, and the writes of one request.
pub const MOST: usize = 160 << 20;

const _: () = assert!(2 * (1 << 20) + BUFFER_BYTES + 2 * VALUE_CEILING < MOST);

/// Bytes that a [`FileFrameReader`] reads at a time: enough to keep some threads busy, and little
/// beside the memory of their records.
const BATCH_BYTES: usize = 8 << 20;

/// Begins a frame at the end of `out`. Append the body, then [`seal`] it.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    start
}

/// Completes the frame that begins at `start`, and that will be at `place` in its file.
pub fn seal(out: &mut [u8], start: usize, place: u64, salt: u32, durable: u64) {
    let (head, body) = out[start..].split_at_mut(HEAD);
    debug_assert!(body.len() <= MOST);
    let crc = checksum(salt, place, durable, body);
    head[..4].copy_from_slice(&salt.to_be_bytes());
    head[4..8].copy_from_slice(&(body.len() as u32).to_be_bytes());
    head[8..16].copy_from_slice(&durable.to_be_bytes());
    head[16..].copy_from_slice(&crc.to_be_bytes());
}

fn checksum(salt: u32, place: u64, durable: u64, body: &[u8]) -> u32 {
    let mut numbers = [0; 24];
    numbers[..4].copy_from_slice(&salt.to_be_bytes());
    numbers[4..12].copy_from_slice(&place.to_be_bytes());
    numbers[12..16].copy_from_slice(&(body.len() as u32).to_be_bytes());
    numbers[16..].copy_from_slice(&durable.to_be_bytes());
    let mut hasher = Hasher::new();
    hasher.update(&numbers);
    hasher.update(body);
    hasher.finalize()
}

/// What some bytes begin with.
enum Front {
    Good {
        durable: u64,
        end: usize,
    },
    /// Possibly a frame; so many bytes are needed to decide.
    Cut(usize),
    Bad,
}

fn front(bytes: &[u8], place: u64, salt: u32) -> Front {
    let mut head = Decoder::new(bytes);
    let (Ok(mark), Ok(length), Ok(durable), Ok(crc)) =
        (head.u32(), head.u32(), head.u64(), head.u32())
    else {
        return Front::Cut(HEAD);
    };
    let length = length as usize;
    if mark != salt || length > MOST {
        return Front::Bad;
    }
    match bytes.get(HEAD..HEAD + length) {
        None => Front::Cut(HEAD + length),
        Some(body) if checksum(salt, place, durable, body) == crc => {
            Front::Good { durable, end: HEAD + length }
        }
        Some(_) => Front::Bad,
    }
}

/// Whether these bytes are one good frame for `place` in its file.
pub fn is_good(bytes: &[u8], place: u64, salt: u32) -> bool {
    matches!(front(bytes, place, salt), Front::Good { end, .. } if end == bytes.len())
}

/// Why a batch has no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnd {
    /// It is large enough: there is more.
    More,
    /// The file ends after the last frame.
    End,
    /// There is no good frame at this place of the file.
    Bad(u64),
}

/// Some frames, and why there are no more.
#[derive(Debug)]
pub struct FrameBatch {
    /// The ranges of their bodies, for [`FileFrameReader::body`].
    pub bodies: Vec<Range<usize>>,
    /// Why there are no more.
    pub end: BatchEnd,
}

/// Reads the frames of a file, in batches.
pub struct FileFrameReader<R> {
    from: R,
    salt: u32,
    bytes: Vec<u8>,
    /// The place of `bytes` in the file.
    place: u64,
    /// The number of `bytes` that were returned.
    at: usize,
    is_read: bool,
    durable: u64,
}

impl<R: Read> FileFrameReader<R> {
    /// A reader that begins at `place` of a file.
    pub fn new(from: R, place: u64, salt: u32) -> FileFrameReader<R> {
        FileFrameReader {
            from,
            salt,
            bytes: Vec::new(),
            place,
            at: 0,
            is_read: false,
            durable: place,
        }
    }

    /// The number of bytes that were on the disk, according to all good frames so far.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// A body of the last batch.
    pub fn body(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// Where a body's frame begins in the file.
    pub fn place(&self, range: &Range<usize>) -> u64 {
        self.place + (range.start - HEAD) as u64
    }

    /// Reads until there are `want` bytes that were not returned yet, or the file ends.
    fn fill(&mut self, want: usize) -> io::Result<()> {
        let short = want.saturating_sub(self.bytes.len() - self.at);
        if short > 0 && !self.is_read {
            let got = (&mut self.from).take(short as u64).read_to_end(&mut self.bytes)?;
            self.is_read = got < short;
        }
        Ok(())
    }

    fn discard_read(&mut self) {
        self.bytes.drain(..self.at);
        self.place += self.at as u64;
        self.at = 0;
    }

    /// The next frames.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn next_batch(&mut self) -> io::Result<FrameBatch> {
        self.discard_read();
        self.fill(BATCH_BYTES)?;
        let mut bodies = Vec::new();
        let stop = loop {
            if self.at == self.bytes.len() && self.is_read {
                break BatchEnd::End;
            }
            let here = self.place + self.at as u64;
            match front(&self.bytes[self.at..], here, self.salt) {
                Front::Good { durable, end } => {
                    self.durable = self.durable.max(durable);
                    bodies.push(self.at + HEAD..self.at + end);
                    self.at += end;
                }
                Front::Cut(_) if !self.is_read && !bodies.is_empty() => break BatchEnd::More,
                Front::Cut(want) if !self.is_read => self.fill(want)?,
                Front::Cut(_) | Front::Bad => break BatchEnd::Bad(here),
            }
        };
        Ok(FrameBatch { bodies, end: stop })
    }

    /// After a bad place, continues at the next good frame. Returns its place, or `None` if there
    /// is none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn resume(&mut self) -> io::Result<Option<u64>> {
        let mark = self.salt.to_be_bytes();
        self.at += 1;
        loop {
            self.at = self.at.min(self.bytes.len());
            self.discard_read();
            self.fill(BATCH_BYTES)?;
            while let Some(next) = find(&self.bytes[self.at..], mark) {
                self.at += next;
                let here = self.place + self.at as u64;
                match front(&self.bytes[self.at..], here, self.salt) {
                    Front::Good { .. } => return Ok(Some(here)),
                    Front::Cut(want) if !self.is_read => self.fill(want)?,
                    Front::Cut(_) | Front::Bad => self.at += 1,
                }
            }
            if self.is_read {
                self.at = self.bytes.len();
                return Ok(None);
            }
            // A salt may be split at the end of the bytes read so far.
            self.at = self.bytes.len() - (mark.len() - 1);
        }
    }
}

fn find(bytes: &[u8], mark: [u8; 4]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 0x5ca1_ab1e;

    fn file(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            let start = begin(&mut out);
            out.extend_from_slice(body);
            seal(&mut out, start, start as u64, SALT, start as u64);
        }
        out
    }

    /// All bodies up to the first bad place, and that place.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, BatchEnd) {
        let mut reader = FileFrameReader::new(bytes, 0, SALT);
        let mut all = Vec::new();
        loop {
            let batch = reader.next_batch().unwrap();
            all.extend(batch.bodies.iter().map(|range| reader.body(range).to_vec()));
            if batch.end != BatchEnd::More {
                return (all, batch.end);
            }
        }
    }

    #[test]
    fn sealed_frames_are_read() {
        let bodies: [&[u8]; 4] = [b"one", b"", &[7; 300], b"four"];
        assert_eq!(read(&file(&bodies)), (bodies.map(<[u8]>::to_vec).to_vec(), BatchEnd::End));
        assert_eq!(read(&[]), (vec![], BatchEnd::End));
    }

    #[test]
    fn a_long_file_is_read_in_batches() {
        let large = vec![1; BATCH_BYTES - 10];
        let bodies: [&[u8]; 4] = [b"a", &large, &vec![2; BATCH_BYTES + BATCH_BYTES / 2], b"z"];
        assert_eq!(read(&file(&bodies)), (bodies.map(<[u8]>::to_vec).to_vec(), BatchEnd::End));
    }

    #[test]
    fn reading_stops_at_the_frame_with_a_flipped_bit_or_a_cut() {
        let bodies: [&[u8]; 3] = [b"first", b"second", b"third"];
        let good = file(&bodies);
        let starts = [0, HEAD + 5, 2 * HEAD + 11];
        for at in 0..good.len() {
            let hit = starts.iter().filter(|&&start| start <= at).count() - 1;
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let (read, stop) = read(&bad);
                assert_eq!(read, bodies[..hit].iter().map(|b| b.to_vec()).collect::<Vec<_>>());
                assert_eq!(stop, BatchEnd::Bad(starts[hit] as u64), "bit {bit} of byte {at}");
            }
            let (read, stop) = read(&good[..at]);
            assert_eq!(read.len(), hit);
            let want = if starts.contains(&at) {
                BatchEnd::End
            } else {
                BatchEnd::Bad(starts[hit] as u64)
            };
            assert_eq!(stop, want, "cut at {at}");
        }
    }

    #[test]
    fn a_reader_resumes_behind_a_bad_frame_and_learns_what_was_durable() {
        let mut bytes = file(&[b"first", b"second", b"third"]);
        bytes[HEAD + 5 + HEAD] ^= 1;
        let mut reader = FileFrameReader::new(&bytes[..], 0, SALT);
        assert_eq!(reader.next_batch().unwrap().end, BatchEnd::Bad(HEAD as u64 + 5));
        assert_eq!(reader.durable(), 0);
        let third = 2 * HEAD as u64 + 11;
        assert_eq!(reader.resume().unwrap(), Some(third));
        let batch = reader.next_batch().unwrap();
        assert_eq!((reader.body(&batch.bodies[0]), batch.end), (&b"third"[..], BatchEnd::End));
        assert_eq!(reader.durable(), third);
        assert_eq!(reader.resume().unwrap(), None);
    }

    #[test]
    fn a_frame_in_the_wrong_place_is_bad() {
        let bytes = file(&[b"first", b"second"]);
        let moved = [&bytes[HEAD + 5..], &bytes[..HEAD + 5]].concat();
        assert_eq!(read(&moved), (vec![], BatchEnd::Bad(0)));
        let mut reader = FileFrameReader::new(&moved[..], 0, SALT);
        reader.next_batch().unwrap();
        assert_eq!(reader.resume().unwrap(), None);
    }

    #[test]
    fn a_reader_resumes_behind_a_long_bad_frame() {
        let mut bytes = file(&[&vec![3; 2 * BATCH_BYTES], b"good"]);
        bytes[HEAD] = 4;
        let mut reader = FileFrameReader::new(&bytes[..], 0, SALT);
        assert_eq!(reader.next_batch().unwrap().end, BatchEnd::Bad(0));
        assert_eq!(reader.resume().unwrap(), Some((HEAD + 2 * BATCH_BYTES) as u64));
    }
}
