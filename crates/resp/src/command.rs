//! What requests mean.
//!
//! [`Command`] sorts commands by what they ask of the store rather than by their names: read one
//! key, write one whatever it holds, change one by what it holds, do so with many. A shell that can
//! do these can do them all, and each has a pure core: [`Read`] and [`Update`] say what the answer
//! is, and what becomes of the key.
//!
//! An expiry is a number of milliseconds since 1970.

use crate::args::Args;
use crate::read::Read;
use crate::update::Update;

mod client;
mod connection;
mod server;

pub use client::{Client, Filter, InfoName, Kill, ReplyMode};
pub use connection::{Connection, Hello};
pub use server::{Cluster, NamesOf, Server};

/// A command, ready to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'b> {
    /// Read at one key.
    Read {
        /// The key.
        key: &'b [u8],
        /// What for.
        read: Read,
    },
    /// Give a key a value, whatever it holds: a plain write. The answer is `OK`. A key whose expiry
    /// has passed already is gone at once.
    Put {
        /// The key.
        key: &'b [u8],
        /// Its value.
        value: &'b [u8],
        /// Until when it lives.
        expiry: Option<u64>,
    },
    /// Change one key by what it holds: a read-modify-write.
    Update {
        /// The key.
        key: &'b [u8],
        /// How.
        update: Update<'b>,
    },
    /// Get many keys. The answer is an array.
    GetMany(Args<'b>),
    /// Put many keys: each stands before its value, and of one key's values the last one stays. The
    /// answer is `OK`.
    PutMany(Args<'b>),
    /// Remove many keys ([`Update::Remove`]). The answer is how many there were.
    RemoveMany(Args<'b>),
    /// Read at many keys ([`Read::Exists`]). The answer is how many there are; one that is named
    /// twice counts twice.
    CountMany(Args<'b>),
    /// List some keys of the cluster.
    Scan(Scan<'b>),
    /// List all keys of the cluster that match a pattern.
    Keys(&'b [u8]),
    /// Pick some key of the cluster.
    RandomKey,
    /// Count the keys of the cluster.
    DbSize,
    /// Remove all keys of the cluster.
    Flush,
    /// How many copies do this connection's writes have beyond the first? There is nothing to wait
    /// for.
    Wait,
    /// About the connection itself.
    Connection(Connection<'b>),
    /// About the node.
    Server(Server<'b>),
    /// About the cluster.
    Cluster(Cluster<'b>),
    /// About several commands together.
    Transaction(Transaction<'b>),
}

/// About several commands together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transaction<'b> {
    /// It begins.
    Multi,
    /// It ends, and counts.
    Exec,
    /// It ends, and does not.
    Discard,
    /// It counts only if these keys do not change.
    Watch(Args<'b>),
    /// It counts in any case.
    Unwatch,
    /// A command is a part of it.
    Queue,
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan<'b> {
    /// Where the last answer said to go on; 0: from the start.
    pub cursor: u64,
    /// What the keys have to match; `None`: anything.
    pub pattern: Option<&'b [u8]>,
    /// About how many keys to look at, at least 1.
    pub count: usize,
    /// Whether keys that hold strings are asked for. All keys here do, so otherwise none is.
    pub strings: bool,
}

impl Command<'_> {
    /// Whether it asks for answers, which is answered in any case.
    pub fn is_reply_on(&self) -> bool {
        matches!(self, Command::Connection(Connection::Client(Client::Reply(ReplyMode::On))))
    }
}
