//! How much the Redis server holds, requests and sends at once.

/// Most operations of a batch, unless a single request has more: as many as one attempt of the
/// client accepts.
pub const OPERATIONS: usize = 4096;

/// Most bytes that a batch may write, unless a single request has more. Also the most bytes of
/// unanswered reads that a batch may hold, though one round may overshoot. A megabyte for each of a
/// dozen requests: above that another round costs little compared with the data that it carries.
pub const BYTES: usize = 16 << 20;

/// Replies of a batch are sent once they have this many bytes, although others are to come. Most
/// batches have fewer.
pub const SENT: usize = 1 << 20;

/// Replies to requests outside a batch are sent once this many bytes wait.
pub const FLUSH: usize = 64 << 10;

/// Most bytes of a single reply. A request of a megabyte must not produce a reply of gigabytes.
pub const ANSWER: usize = 64 << 20;

/// Keys in a page of a complete listing.
pub const PAGE: usize = 4096;
