//! The bytes of a dump: a header, blocks of records, and a block that ends it.
//!
//! ```text
//! header: magic 8 bytes | format u16 | cluster u64 | began u64 | salt u32 | crc u32
//! block:  kind u8 | length u32 | crc u32 | body
//! record: flags u8 | expiry u64, only with flag 1 | key: length u16 and bytes | value: length u32 and bytes
//! end:    keys u64 | ended u64
//! ```
//!
//! All numbers are big-endian; `docs/dump.md` says what they mean. A block's checksum is CRC-32 (of
//! IEEE) over the salt, the block's own place in the file, kind, length and body. So a block that
//! is missing, there twice, in another's place or from another dump is as bad as a wrong byte: it,
//! or the one behind it, stands where its checksum does not hold. A dump without an end block was
//! cut, and nothing may follow that block.
//!
//! [`DumpWriter`] and [`DumpReader`] hold no more than one block, and the reader allocates nothing by a
//! length that was not held against [`MOST`]. What the blocks are for is not known here.

use std::io::{self, Read, Write};

use cluster::ids::ClusterId;
use cluster::limits::{KEY_CEILING, VALUE_CEILING};
use crc32fast::Hasher;
use net_common::codec::{DecodeError, Decoder, Encoder};

const MAGIC: &[u8; 8] = b"GTStoDMP";

/// The format that this program writes. It reads the one before as well, which had no empty keys,
/// no values above 1 MiB and no blocks above 4 MiB.
pub const FORMAT: u16 = 2;

/// Bytes of a header. The same in all formats, as is where the checksum stands: so a newer format
/// can be told from a damaged file.
pub const HEADER: usize = 34;

/// Bytes in front of a block's body.
pub const HEAD: usize = 9;

/// Longest body of a block, in bytes; a longer one is damage. What is written ends with the record
/// that reaches [`FULL`].
pub const MOST: usize = 68 << 20;

/// A block of so many bytes takes no more records: enough to make the work around a block not
/// count, little beside what a program has anyway.
pub const FULL: usize = 1 << 20;

const _: () = assert!(FULL + 1 + 8 + 2 + KEY_CEILING + 4 + VALUE_CEILING <= MOST);

const RECORDS: u8 = 1;
const END: u8 = 2;

/// The one flag of a record: it expires.
const EXPIRES: u8 = 1;

/// What a dump begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The cluster that it was made of.
    pub cluster: ClusterId,
    /// When it was begun, in milliseconds since 1970 by the cluster's clocks.
    pub began: u64,
    /// Drawn at random for each dump: marks its blocks.
    pub salt: u32,
}

/// What a dump ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How many records it has.
    pub keys: u64,
    /// When it was over, in milliseconds since 1970 by the cluster's clocks.
    pub ended: u64,
}

/// A key and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpRecord<'a> {
    /// The key: up to [`KEY_CEILING`] bytes.
    pub key: &'a [u8],
    /// Its value: up to [`VALUE_CEILING`] bytes.
    pub value: &'a [u8],
    /// Until when it lives, in milliseconds since 1970; `None`: for ever.
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

/// Some records, as they stand in a dump.
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

    /// A block whose bytes came from a file.
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

    /// Writes the end. Returns how many records and how many bytes the whole dump has.
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
    /// It is a good header's word that what follows is to be read in another way.
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
        /// What is wrong with it.
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

    /// What it begins with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it ends with, once all has been read.
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
        // No more than what is there is made room for.
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
            Err(DecodeError("another number of records than its end tells"))
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
