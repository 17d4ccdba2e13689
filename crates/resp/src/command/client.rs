//! CLIENT: what a client says of its connection, and what operators do to those of others.

use crate::args::Args;
use crate::number;

/// CLIENT …
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Client<'b> {
    /// Which number has the connection?
    Id,
    /// Which name?
    GetName,
    /// Name it; checked. Empty: it has none any more.
    SetName(&'b [u8]),
    /// Which library is speaking; checked.
    SetInfo(InfoName, &'b [u8]),
    /// Describe the connection.
    Info,
    /// Describe all connections, of these.
    List(Filter<'b>),
    /// Which answers is it to hear?
    Reply(ReplyMode),
    /// Close connections.
    Kill(Kill<'b>),
    /// Let requests wait.
    Pause {
        /// For so long.
        ms: u64,
        /// Only those that may change keys.
        writes_only: bool,
    },
    /// Let them go on.
    Unpause,
    /// End another's waiting: there is none.
    Unblock,
}

/// Which answers a connection hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    On,
    /// None.
    Off,
    /// All but that to the next request.
    SkipNext,
}

/// Which connections CLIENT KILL closes: those for which all holds that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill<'b> {
    /// Whether just one is named, by its peer: then the answer is `OK`, or that there is none.
    pub is_one: bool,
    /// Its number.
    pub id: Option<u64>,
    /// Where it comes from.
    pub peer: Option<&'b [u8]>,
    /// Where it goes to.
    pub local: Option<&'b [u8]>,
    /// Whether it may be a normal one: there are no others.
    pub is_normal: bool,
    /// Whether that which asks is spared.
    pub spares_me: bool,
}

/// What a library says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfoName {
    /// Its name.
    Library,
    /// Its version.
    Version,
}

/// Which connections CLIENT LIST is to describe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter<'b> {
    /// All: each is a normal client here.
    All,
    /// None: those of a kind that there is not.
    None,
    /// Those of these numbers, which are numbers.
    Ids(Args<'b>),
}

impl Filter<'_> {
    /// Whether it lets a connection of this number through.
    pub fn lets(&self, id: u64) -> bool {
        match self {
            Filter::All => true,
            Filter::None => false,
            Filter::Ids(ids) => ids.iter().any(|text| number::natural(text) == Some(id)),
        }
    }
}
