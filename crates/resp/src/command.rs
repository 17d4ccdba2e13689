//! Typed commands: the meaning of requests.
//!
//! [`Command`] groups commands by the operation that they need from the store rather than by name:
//! read one key, write one key unconditionally, change one key depending on its content, do so with
//! many keys. A server that implements these operations implements all commands. Each has a pure
//! core: [`Read`] and [`Update`] compute the reply, and the key's new content.
//!
//! An expiry is a number of milliseconds since 1970.

use crate::args::Args;
use crate::read::Read;
use crate::update::Update;

mod client;
mod connection;
mod server;

pub use client::{ClientCommand, Filter, InfoName, Kill, ReplyMode};
pub use connection::{ConnectionCommand, Hello};
pub use server::{ClusterCommand, NamesOf, ServerCommand};

/// A command, ready to be executed.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'b> {
    /// Read one key.
    Read {
        /// The key.
        key: &'b [u8],
        /// What to read.
        read: Read,
    },
    /// Give a key a value, whatever it holds: a plain write. The reply is `OK`. A key whose expiry
    /// has already passed is removed at once.
    Put {
        /// The key.
        key: &'b [u8],
        /// Its value.
        value: &'b [u8],
        /// When it expires.
        expiry: Option<u64>,
    },
    /// Change one key depending on its content: a read-modify-write.
    Update {
        /// The key.
        key: &'b [u8],
        /// The change.
        update: Update<'b>,
    },
    /// Get many keys. The reply is an array.
    GetMany(Args<'b>),
    /// Put many keys: keys and values alternate; the last value of a repeated key wins. The reply
    /// is `OK`.
    PutMany(Args<'b>),
    /// Remove many keys ([`Update::Remove`]). The reply is how many existed.
    RemoveMany(Args<'b>),
    /// Test many keys ([`Read::Exists`]). The reply is how many exist; a key named twice counts
    /// twice.
    CountMany(Args<'b>),
    /// List some keys of the cluster.
    Scan(Scan<'b>),
    /// List all keys of the cluster that match a pattern.
    Keys(&'b [u8]),
    /// Return some key of the cluster.
    RandomKey,
    /// Count the keys of the cluster.
    DbSize,
    /// Remove all keys of the cluster.
    Flush,
    /// Return how many further replicas hold this connection's writes. It never blocks: an
    /// acknowledged write is already on all of them.
    Wait,
    /// A command about the connection itself.
    Connection(ConnectionCommand<'b>),
    /// A command about the node.
    Server(ServerCommand<'b>),
    /// A command about the cluster.
    Cluster(ClusterCommand<'b>),
    /// A command about transactions.
    Transaction(TransactionCommand<'b>),
}

/// Commands about transactions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TransactionCommand<'b> {
    /// Begin a transaction.
    Multi,
    /// Execute it.
    Exec,
    /// Discard it.
    Discard,
    /// Execute only if these keys have not changed.
    Watch(Args<'b>),
    /// Forget the watched keys.
    Unwatch,
    /// A command inside a transaction.
    Queue,
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan<'b> {
    /// Where the last reply left off; 0: from the start.
    pub cursor: u64,
    /// The pattern that keys must match; `None`: any key.
    pub pattern: Option<&'b [u8]>,
    /// About how many keys to examine, at least 1.
    pub count: usize,
    /// Whether string keys are asked for. All keys here are strings, so otherwise none match.
    pub strings: bool,
}

impl Command<'_> {
    /// Whether this turns replies on; that is replied to in any mode.
    pub fn is_reply_on(&self) -> bool {
        matches!(
            self,
            Command::Connection(ConnectionCommand::Client(ClientCommand::Reply(ReplyMode::On)))
        )
    }
}
