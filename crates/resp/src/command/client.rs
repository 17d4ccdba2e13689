//! CLIENT: a client describes its connection, and operators list, close and pause connections.

use crate::args::Args;
use crate::number;

/// CLIENT …
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClientCommand<'b> {
    /// Return the connection's number.
    Id,
    /// Return its name.
    GetName,
    /// Name it; validated. Empty: remove the name.
    SetName(&'b [u8]),
    /// Set the client library's name or version; validated.
    SetInfo(InfoName, &'b [u8]),
    /// Describe the connection.
    Info,
    /// Describe all connections that the filter admits.
    List(Filter<'b>),
    /// Choose which replies are sent.
    Reply(ReplyMode),
    /// Close connections.
    Kill(Kill<'b>),
    /// Make requests wait.
    Pause {
        /// For this long.
        ms: u64,
        /// Only those that may change keys.
        writes_only: bool,
    },
    /// Let them continue.
    Unpause,
    /// Unblock another connection: none is ever blocked.
    Unblock,
}

/// Which replies a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// All replies.
    On,
    /// No replies.
    Off,
    /// All replies except the next one.
    SkipNext,
}

/// Which connections CLIENT KILL closes: those that meet every condition given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill<'b> {
    /// Whether exactly one is named, by its peer: then the reply is `OK` or "No such client".
    pub is_one: bool,
    /// Its number.
    pub id: Option<u64>,
    /// The peer's address.
    pub peer: Option<&'b [u8]>,
    /// The node's address.
    pub local: Option<&'b [u8]>,
    /// Whether normal connections are meant; there are no others.
    pub is_normal: bool,
    /// Whether the calling connection is skipped.
    pub skips_caller: bool,
}

/// An attribute of the client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfoName {
    /// The library's name.
    Library,
    /// The library's version.
    Version,
}

/// Which connections CLIENT LIST describes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter<'b> {
    /// All connections: each is a normal client here.
    All,
    /// None: a type of connection that does not exist here.
    None,
    /// The connections with these numbers; validated.
    Ids(Args<'b>),
}

impl Filter<'_> {
    /// Whether the filter admits the connection with this number.
    pub fn admits(&self, id: u64) -> bool {
        match self {
            Filter::All => true,
            Filter::None => false,
            Filter::Ids(ids) => ids.iter().any(|text| number::natural(text) == Some(id)),
        }
    }
}
