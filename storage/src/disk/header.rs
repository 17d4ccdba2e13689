//! The first bytes of a file in a data folder: its kind, its owner and its place in the log.
//!
//! ```text
//! magic 8 bytes | format u16 | sequence u64 | cluster u64 | incarnation u64 | arcs u32 | salt u32
//! | name: length u16 and bytes | zeros | crc u32
//! ```
//!
//! It always has [`LENGTH`] bytes, and is on the disk before anything follows it. So a file that is
//! longer has a good header or is damaged; a shorter one was being created and is empty.

use cluster::ids::{ClusterId, Incarnation, MAX_NODE_ID, NodeId};
use cluster::ring;
use net_common::codec::{DecodeError, Decoder, Encoder};

/// Bytes of a header.
pub const LENGTH: usize = 128;

/// The format that this program writes, and the only one that it reads.
pub const FORMAT: u16 = 2;

// Everything but the name takes 53 bytes.
const _: () = assert!(53 + MAX_NODE_ID <= LENGTH);

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A segment of the log.
    Log,
    /// A checkpoint: all records of one moment.
    Checkpoint,
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            FileKind::Log => b"GTStoLOG",
            FileKind::Checkpoint => b"GTStoIMG",
        }
    }
}

/// A file's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Its kind.
    pub kind: FileKind,
    /// Its number in the log; for a checkpoint, the first segment that it does not cover.
    pub sequence: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The start of the process that wrote it.
    pub incarnation: Incarnation,
    /// The number of arcs of the cluster's ring.
    pub arcs: usize,
    /// The random number that marks the frames of this file.
    pub salt: u32,
    /// The node.
    pub node: NodeId,
}

impl FileHeader {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.kind.magic().to_vec();
        out.put_u16(FORMAT);
        out.put_u64(self.sequence);
        out.put_u64(self.cluster.0);
        out.put_u64(self.incarnation.0);
        out.put_u32(self.arcs as u32);
        out.put_u32(self.salt);
        out.put_short(self.node.as_str().as_bytes());
        out.resize(LENGTH - 4, 0);
        out.put_u32(crc32fast::hash(&out));
        out
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// [`DecodeError`] with the reason.
    pub fn decode(bytes: &[u8]) -> Result<FileHeader, DecodeError> {
        let mut rest = Decoder::new(bytes);
        let bytes = rest.take(LENGTH).map_err(|_| DecodeError("its header ends too soon"))?;
        let mut rest = Decoder::new(bytes);
        let magic = rest.take(8)?;
        let kinds = [FileKind::Log, FileKind::Checkpoint];
        let kind = kinds.into_iter().find(|kind| kind.magic() == magic);
        let kind = kind.ok_or(DecodeError("it does not begin as a file of ours"))?;
        if rest.u16()? != FORMAT {
            return Err(DecodeError("a format that this program does not read"));
        }
        let (body, crc) = bytes.split_at(LENGTH - 4);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Err(DecodeError("its header's checksum"));
        }
        let header = FileHeader {
            kind,
            sequence: rest.u64()?,
            cluster: ClusterId(rest.u64()?),
            incarnation: Incarnation(rest.u64()?),
            arcs: rest.u32()? as usize,
            salt: rest.u32()?,
            node: NodeId::new(rest.text()?).map_err(|_| DecodeError("a bad name of a node"))?,
        };
        if ring::is_arc_count(header.arcs) {
            Ok(header)
        } else {
            Err(DecodeError("a ring of a size that there is not"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader {
            kind: FileKind::Log,
            sequence: 7,
            cluster: ClusterId(1),
            incarnation: Incarnation(2),
            arcs: 4096,
            salt: 9,
            node: NodeId::new(&"n".repeat(MAX_NODE_ID)).unwrap(),
        }
    }

    #[test]
    fn headers_are_decoded_as_encoded() {
        for header in [header(), FileHeader { kind: FileKind::Checkpoint, ..header() }] {
            assert_eq!(header.encode().len(), LENGTH);
            assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let good = header().encode();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(FileHeader::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(FileHeader::decode(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
