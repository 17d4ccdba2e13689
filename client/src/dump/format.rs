//! The bytes of a dump: a header, blocks of records, and an end block.
//!
//! ```text
//! header: magic 8 bytes | format u16 | cluster u64 | began u64 | salt u32 | crc u32
//! block:  kind u8 | length u32 | crc u32 | body
//! record: flags u8 | expiry u64, only with flag 1 | key: length u16 and bytes | value: length u32 and bytes
//! end:    keys u64 | ended u64
//! ```
//!
//! All numbers are big-endian; `docs/dump.md` explains them. A block's checksum is CRC-32 (of IEEE)
//! over the salt, the block's own place in the file, kind, length and body. So a missing block, a
//! duplicate, a moved one or one from another dump is detected like a wrong byte: it, or the next
//! one, is at a place where its checksum does not match. A dump without an end block was cut off,
//! and nothing may follow that block.
//!
//! [`DumpWriter`] and [`DumpReader`] buffer no more than one block, and the reader checks each
//! length against [`MOST`] before it allocates memory. This module does not know what the blocks
//! are used for.

use std::io::{self, Read, Write};

use cluster::ids::ClusterId;
use cluster::limits::{KEY_CEILING, VALUE_CEILING};
use crc32fast::Hasher;
use net_common::codec::{DecodeError, Decoder, Encoder};

const MAGIC: &[u8; 8] = b"GTStoDMP";

/// The format that this program writes. It reads the one before as well, which had no empty keys,
/// no values above 1 MiB and no blocks above 4 MiB.
pub const FORMAT: u16 = 2;

/// Bytes of a header. Its size and the position of its checksum are the same in all formats, so a
/// newer format is distinguished from a damaged file.
pub const HEADER: usize = 34;

/// Bytes in front of a block's body.
pub const HEAD: usize = 9;

/// Longest body of a block, in bytes; a longer one is damage. The writer ends a block with the
/// record that reaches [`FULL`].
pub const MOST: usize = 68 << 20;

/// A block of so many bytes is full: large enough that the overhead of a block is negligible, small
/// compared with a program's other memory.
pub const FULL: usize = 1 << 20;

const _: () = assert!(FULL + 1 + 8 + 2 + KEY_CEILING + 4 + VALUE_CEILING <= MOST);

const RECORDS: u8 = 1;
const END: u8 = 2;

/// The one flag of a record: it expires.
const EXPIRES: u8 = 1;

/// The start of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The cluster that was dumped.
    pub cluster: ClusterId,
    /// When it was begun, in milliseconds since 1970 by the cluster's clocks.
    pub began: u64,
    /// Random bits that identify the blocks of one dump.
    pub salt: u32,
}

/// The end of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How many records it has.
    pub keys: u64,
    /// When it was over, in milliseconds since 1970 by the cluster's clocks.
    pub ended: u64,
}

/// A key and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpRecord<'a> {
    /// The key: up to [`KEY_CEILING`] bytes.
    pub key: &'a [u8],
    /// Its value: up to [`VALUE_CEILING`] bytes.
    pub value: &'a [u8],
    /// Its expiry time, in milliseconds since 1970; `None`: it never expires.
    pub expiry: Option<u64>,
}

impl<'a> DumpRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.expiry {
            None => out.put_u8(0),
            Some(until) => {
                out.put_u8(EXPIRES);
                out.put_u64(until);
            }
        }
        out.put_short(self.key);
        out.put_long(self.value);
    }

    fn decode(bytes: &mut Decoder<'a>) -> Result<DumpRecord<'a>, DecodeError> {
        let expiry = match bytes.u8()? {
            0 => None,
            EXPIRES => Some(bytes.u64()?),
            _ => return Err(DecodeError("a record with a flag that there is not")),
        };
        let (key, value) = (bytes.short()?, bytes.long()?);
        if key.len() > KEY_CEILING || value.len() > VALUE_CEILING {
            return Err(DecodeError(
                "a record with a key or a value of a length that there is not",
            ));
        }
        Ok(DumpRecord { key, value, expiry })
    }
}

/// Some records, encoded as in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Head and body; the head is filled in when the block is written.
    bytes: Vec<u8>,
    keys: u32,
}

impl Default for Block {
    fn default() -> Block {
        Block { bytes: vec![0; HEAD], keys: 0 }
    }
}

impl Block {
    /// Appends a record, whose key and value are within the bounds that hold for all clusters.
    pub fn push(&mut self, record: &DumpRecord<'_>) {
        debug_assert!(!self.is_full());
        record.encode(&mut self.bytes);
        self.keys += 1;
    }

    /// Whether it takes no more records.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= HEAD + FULL
    }

    /// How many records it has.
    pub fn keys(&self) -> usize {
        self.keys as usize
    }

    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = DumpRecord<'_>> {
        let mut rest = Decoder::new(&self.bytes[HEAD..]);
        // They were pushed, or decoded when the block was read.
        std::iter::from_fn(move || DumpRecord::decode(&mut rest).ok())
    }

    /// A block from a file's bytes.
    fn of(bytes: Vec<u8>) -> Result<Block, DecodeError> {
        let mut rest = Decoder::new(&bytes[HEAD..]);
        let mut keys = 0;
        while rest.left() > 0 {
            DumpRecord::decode(&mut rest)?;
            keys += 1;
        }
        Ok(Block { bytes, keys })
    }
}

fn checksum(salt: u32, place: u64, kind: u8, body: &[u8]) -> u32 {
    let mut numbers = [0; 17];
    numbers[..4].copy_from_slice(&salt.to_be_bytes());
    numbers[4..12].copy_from_slice(&place.to_be_bytes());
    numbers[12] = kind;
    numbers[13..].copy_from_slice(&(body.len() as u32).to_be_bytes());
    let mut hasher = Hasher::new();
    hasher.update(&numbers);
    hasher.update(body);
    hasher.finalize()
}

/// Writes a dump, block by block.
pub struct DumpWriter<W> {
    out: W,
    salt: u32,
    place: u64,
    keys: u64,
}

impl<W: Write> DumpWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// As `out`'s writes; so for every method here.
    pub fn begin(mut out: W, header: &Header) -> io::Result<DumpWriter<W>> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u16(FORMAT);
        bytes.put_u64(header.cluster.0);
        bytes.put_u64(header.began);
        bytes.put_u32(header.salt);
        bytes.put_u32(crc32fast::hash(&bytes));
        out.write_all(&bytes)?;
        Ok(DumpWriter { out, salt: header.salt, place: HEADER as u64, keys: 0 })
    }

    /// Writes records.
    pub fn block(&mut self, block: Block) -> io::Result<()> {
        self.keys += u64::from(block.keys);
        self.seal(RECORDS, block.bytes)
    }

    /// Writes the end. Returns the number of records and of bytes of the whole dump.
    pub fn end(mut self, ended: u64) -> io::Result<(u64, u64)> {
        let mut bytes = vec![0; HEAD];
        bytes.put_u64(self.keys);
        bytes.put_u64(ended);
        self.seal(END, bytes)?;
        self.out.flush()?;
        Ok((self.keys, self.place))
    }

    fn seal(&mut self, kind: u8, mut bytes: Vec<u8>) -> io::Result<()> {
        let (head, body) = bytes.split_at_mut(HEAD);
        debug_assert!(body.len() <= MOST);
        head[0] = kind;
        head[1..5].copy_from_slice(&(body.len() as u32).to_be_bytes());
        head[5..].copy_from_slice(&checksum(self.salt, self.place, kind, body).to_be_bytes());
        self.out.write_all(&bytes)?;
        self.place += bytes.len() as u64;
        Ok(())
    }
}

/// Why a dump cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not give its bytes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins as something else.
    #[error("this is no dump of GT Store")]
    Foreign,
    /// The header is valid and announces another format.
    #[error(
        "a dump of format {0}, and this client reads formats up to {FORMAT}: use a newer client"
    )]
    Newer(u16),
    /// Its bytes are not those that were written.
    #[error("damaged at byte {place}: {what}")]
    Damaged {
        /// Where the header or the block begins that is bad, in bytes from the dump's own
        /// beginning.
        place: u64,
        /// The defect.
        what: &'static str,
    },
}

/// Reads a dump, block by block.
pub struct DumpReader<R> {
    from: R,
    header: Header,
    place: u64,
    keys: u64,
    end: Option<End>,
}

impl<R: Read> DumpReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn begin(mut from: R) -> Result<DumpReader<R>, ReadError> {
        let mut bytes = Vec::with_capacity(HEADER);
        (&mut from).take(HEADER as u64).read_to_end(&mut bytes)?;
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(ReadError::Foreign);
        }
        let damaged = |DecodeError(what)| ReadError::Damaged { place: 0, what };
        let (format, header) = decode_header(&bytes).map_err(damaged)?;
        match format {
            ..=FORMAT => Ok(DumpReader { from, header, place: HEADER as u64, keys: 0, end: None }),
            newer => Err(ReadError::Newer(newer)),
        }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The end block, once everything is read.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// How many bytes have been read and found good.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The next records; `None` when all have been read and nothing is missing.
    ///
    /// # Errors
    /// [`ReadError`]: there is no going on behind it.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let (kind, bytes) = self.frame()?;
        let read = match kind {
            RECORDS => Block::of(bytes).map(Some),
            _ => self.is_over(&bytes[HEAD..]).map(|end| {
                self.end = Some(end);
                None
            }),
        };
        let read = read.map_err(|DecodeError(what)| self.damaged(what))?;
        match &read {
            Some(block) => {
                self.place += block.bytes.len() as u64;
                self.keys += u64::from(block.keys);
            }
            None => {
                self.place += (HEAD + 16) as u64;
                if self.from.by_ref().take(1).read_to_end(&mut Vec::new())? > 0 {
                    return Err(self.damaged("more follows behind its end"));
                }
            }
        }
        Ok(read)
    }

    /// The kind of the next block, and its bytes with its head.
    fn frame(&mut self) -> Result<(u8, Vec<u8>), ReadError> {
        let mut bytes = Vec::with_capacity(HEAD);
        self.from.by_ref().take(HEAD as u64).read_to_end(&mut bytes)?;
        let mut head = Decoder::new(&bytes);
        let (Ok(kind), Ok(length), Ok(crc)) = (head.u8(), head.u32(), head.u32()) else {
            return Err(self.damaged("it ends too soon"));
        };
        let length = length as usize;
        if !matches!(kind, RECORDS | END) || length > MOST {
            return Err(self.damaged("no block begins there"));
        }
        // The allocation is no larger than the bytes that are there.
        if self.from.by_ref().take(length as u64).read_to_end(&mut bytes)? < length {
            return Err(self.damaged("it ends too soon"));
        }
        if checksum(self.header.salt, self.place, kind, &bytes[HEAD..]) != crc {
            return Err(self.damaged("a block with a wrong checksum"));
        }
        Ok((kind, bytes))
    }

    fn is_over(&self, body: &[u8]) -> Result<End, DecodeError> {
        let mut body = Decoder::new(body);
        let end = End { keys: body.u64()?, ended: body.u64()? };
        body.finish()?;
        if end.keys == self.keys {
            Ok(end)
        } else {
            Err(DecodeError("another number of records than its end block states"))
        }
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged { place: self.place, what }
    }
}

fn decode_header(bytes: &[u8]) -> Result<(u16, Header), DecodeError> {
    let (body, crc) = bytes
        .split_last_chunk()
        .filter(|_| bytes.len() == HEADER)
        .ok_or(DecodeError("it ends too soon"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(DecodeError("a header with a wrong checksum"));
    }
    let mut rest = Decoder::new(body);
    rest.take(MAGIC.len())?;
    let format = rest.u16()?;
    if format == 0 {
        return Err(DecodeError("a format that there is not"));
    }
    let (cluster, began, salt) = (ClusterId(rest.u64()?), rest.u64()?, rest.u32()?);
    Ok((format, Header { cluster, began, salt }))
}

#[cfg(test)]
mod tests;
