//! Numbers and byte strings to bytes and back, big-endian.
//!
//! [`Decoder`] borrows from the payload and hands out slices of it: decoding copies nothing and
//! allocates nothing. Every length is checked against the bytes that are left before it is used.

use byteorder::{BigEndian, ByteOrder, WriteBytesExt};

/// A payload that does not have the expected fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed payload: {0}")]
pub struct DecodeError(pub &'static str);

/// Reads a payload from front to back.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError`] where fewer are left, as in every method here.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DecodeError("it ends too soon"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// One byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("a flag that is neither 0 nor 1")),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(BigEndian::read_u16(self.take(2)?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(BigEndian::read_u32(self.take(4)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(BigEndian::read_u64(self.take(8)?))
    }

    /// A byte string with its length in front in two bytes.
    pub fn short(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    /// A byte string with its length in front in four bytes.
    pub fn long(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    /// UTF-8 text with its length in front in two bytes.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.short()?).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    /// UTF-8 text with its length in front in four bytes.
    pub fn long_text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.long()?).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    /// A count of items of which each has at least `least` bytes, so that a list of that capacity
    /// is never larger than the payload that announces it.
    pub fn count(&mut self, least: usize) -> Result<usize, DecodeError> {
        let n = self.u32()? as usize;
        if n > self.left() / least.max(1) {
            return Err(DecodeError("it announces more items than it has room for"));
        }
        Ok(n)
    }

    /// A list: its [`Decoder::count`], then the items.
    pub fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        (0..self.count(least)?).map(|_| item(self)).collect()
    }

    /// An optional value: a flag, and the value where the flag is 1.
    pub fn option<T>(
        &mut self,
        some: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag()? { some(self).map(Some) } else { Ok(None) }
    }

    /// Finishes: no bytes may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError("it has bytes left over")) }
    }
}

/// The writing side: appends what [`Decoder`] reads to a buffer.
pub trait Encoder {
    /// One byte.
    fn put_u8(&mut self, n: u8);
    /// Two bytes.
    fn put_u16(&mut self, n: u16);
    /// Four bytes.
    fn put_u32(&mut self, n: u32);
    /// Eight bytes.
    fn put_u64(&mut self, n: u64);
    /// A byte string of at most 65,535 bytes, its length in front in two bytes.
    fn put_short(&mut self, bytes: &[u8]);
    /// A byte string of less than 4 GiB, its length in front in four bytes.
    fn put_long(&mut self, bytes: &[u8]);
    /// One byte, 0 or 1.
    fn put_flag(&mut self, flag: bool);
    /// A list: the number of items, then the items.
    fn put_list<T>(&mut self, items: &[T], put: impl FnMut(&T, &mut Self));
    /// An optional value: a flag, and the value where there is one.
    fn put_option<T>(&mut self, value: Option<&T>, put: impl FnOnce(&T, &mut Self));
}

const INFALLIBLE: &str = "a Vec takes every write";

impl Encoder for Vec<u8> {
    fn put_u8(&mut self, n: u8) {
        self.push(n);
    }

    fn put_u16(&mut self, n: u16) {
        self.write_u16::<BigEndian>(n).expect(INFALLIBLE);
    }

    fn put_u32(&mut self, n: u32) {
        self.write_u32::<BigEndian>(n).expect(INFALLIBLE);
    }

    fn put_u64(&mut self, n: u64) {
        self.write_u64::<BigEndian>(n).expect(INFALLIBLE);
    }

    fn put_short(&mut self, bytes: &[u8]) {
        self.put_u16(u16::try_from(bytes.len()).expect("keys and names are below 64 KiB"));
        self.extend_from_slice(bytes);
    }

    fn put_long(&mut self, bytes: &[u8]) {
        self.put_u32(u32::try_from(bytes.len()).expect("values are below 4 GiB"));
        self.extend_from_slice(bytes);
    }

    fn put_flag(&mut self, flag: bool) {
        self.put_u8(u8::from(flag));
    }

    fn put_list<T>(&mut self, items: &[T], mut put: impl FnMut(&T, &mut Self)) {
        self.put_u32(u32::try_from(items.len()).expect("a list has below 2^32 items"));
        items.iter().for_each(|item| put(item, self));
    }

    fn put_option<T>(&mut self, value: Option<&T>, put: impl FnOnce(&T, &mut Self)) {
        self.put_flag(value.is_some());
        if let Some(value) = value {
            put(value, self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_values_decode_to_themselves() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(2);
        out.put_u32(3);
        out.put_u64(4);
        out.put_short(b"key");
        out.put_long(b"value");
        out.put_flag(true);
        out.put_list(&[5, 6], |n, out| out.put_u16(*n));
        out.put_option(Some(&7), |n, out| out.put_u32(*n));
        out.put_option(None, |n, out| out.put_u32(*n));
        let mut d = Decoder::new(&out);
        assert_eq!((d.u8(), d.u16(), d.u32(), d.u64()), (Ok(1), Ok(2), Ok(3), Ok(4)));
        assert_eq!((d.text(), d.long(), d.flag()), (Ok("key"), Ok(&b"value"[..]), Ok(true)));
        assert_eq!(d.list(2, Decoder::u16), Ok(vec![5, 6]));
        assert_eq!((d.option(Decoder::u32), d.option(Decoder::u32)), (Ok(Some(7)), Ok(None)));
        d.finish().unwrap();
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!(Decoder::new(&[0xff, 0xff, 1]).short().is_err());
        assert!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 1]).long().is_err());
        assert!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 1]).count(1).is_err());
        assert!(Decoder::new(&[0, 2, 0xff, 0xfe]).text().is_err());
        assert!(Decoder::new(&[1]).finish().is_err());
    }
}
