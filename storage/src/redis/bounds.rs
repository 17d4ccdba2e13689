//! How much the Redis server holds, asks for and sends at once.

/// Most operations of a batch, unless a single request has more: what one attempt of the client
/// takes.
pub const OPERATIONS: usize = 4096;

/// Most bytes that a batch may write, unless a single request has more; and that it may hold of
/// what it has read and not answered yet, but for what one look at the nodes brings more. A
/// megabyte for each of a dozen requests: beyond that another round costs little beside what it
/// carries.
pub const BYTES: usize = 16 << 20;

/// Answers of a batch are sent once they have so many bytes, although others are to come. Most
/// batches have fewer.
pub const SENT: usize = 1 << 20;

/// Answers that a session has for requests which are no part of a batch are sent once so many bytes
/// wait.
pub const FLUSH: usize = 64 << 10;

/// Most bytes of a single answer. A request of a megabyte must not make an answer of gigabytes.
pub const ANSWER: usize = 64 << 20;

/// Keys in a page, where all are gone through.
pub const PAGE: usize = 4096;
