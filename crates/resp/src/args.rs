//! The arguments of a request, in place in the buffer that it arrived in.
//!
//! Nothing is copied: an argument is a [`Span`] of the buffer, and the keys that a command names
//! stay [`Args`].

/// The place of an argument in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From `start` up to, but not including, `end`.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        // `Requests::read` never looks further than 4 GiB.
        Span { start: start as u32, end: end as u32 }
    }

    /// The place of the same bytes after so many were removed from the front of the buffer.
    pub(crate) fn forward(self, bytes: usize) -> Span {
        Span::new(self.start as usize - bytes, self.end as usize - bytes)
    }

    fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }
}

/// The arguments of one request, the command's name first.
#[derive(Debug, Clone, Copy)]
pub struct Args<'b> {
    buffer: &'b [u8],
    spans: &'b [Span],
}

impl<'b> Args<'b> {
    /// The arguments at these places in a buffer.
    pub(crate) fn new(buffer: &'b [u8], spans: &'b [Span]) -> Args<'b> {
        Args { buffer, spans }
    }

    /// The number of arguments. Never 0 for a request that was read.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at an index, if there is one.
    pub fn get(&self, place: usize) -> Option<&'b [u8]> {
        self.spans.get(place).map(|span| span.of(self.buffer))
    }

    /// The argument at an index; empty if there is none.
    pub fn at(&self, place: usize) -> &'b [u8] {
        self.get(place).unwrap_or_default()
    }

    /// The arguments from an index on.
    #[must_use]
    pub fn from(&self, place: usize) -> Args<'b> {
        Args { buffer: self.buffer, spans: self.spans.get(place..).unwrap_or(&[]) }
    }

    /// All arguments.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'b [u8]> + use<'b> {
        let buffer = self.buffer;
        self.spans.iter().map(move |span| span.of(buffer))
    }

    /// All arguments in pairs, where their number is even.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        let buffer = self.buffer;
        self.spans.chunks_exact(2).map(move |pair| (pair[0].of(buffer), pair[1].of(buffer)))
    }
}

impl PartialEq for Args<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
