//! From arguments to commands.
//!
//! [`Command`] sorts commands by what they ask of the store rather than by their names: look at one key,
//! write one whatever it holds, change one by what it holds, do so with many. A shell that can do these
//! can do them all, and each has a pure core: [`Look`] and [`Edit`] say what the answer is, and what
//! becomes of the key.
//!
//! Times to live are made absolute here, by the clock of the node that reads the command; from here on an
//! expiry is a number of milliseconds since 1970.

use crate::edit::Edit;
use crate::error::Error;
use crate::look::Look;
use crate::request::Args;
use crate::spec::{Name, Spec};

mod connection;
mod counter;
mod expiry;
mod recipe;
mod scan;
mod server;
mod set;

#[cfg(test)]
mod tests;

pub use connection::{Client, Connection, Filter, Heard, Hello, InfoName, Kill};
pub use scan::Scan;
pub use server::{Cluster, NamesOf, Server, Transaction};

/// A command, ready to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'b> {
    /// Look at one key.
    Look {
        /// The key.
        key: &'b [u8],
        /// What for.
        look: Look,
    },
    /// Give a key a value, whatever it holds: a plain write. The answer is `OK`. A key whose expiry has
    /// passed already is gone at once.
    Put {
        /// The key.
        key: &'b [u8],
        /// Its value.
        value: &'b [u8],
        /// Until when it lives.
        expiry: Option<u64>,
    },
    /// Change one key by what it holds: a read-modify-write.
    Edit {
        /// The key.
        key: &'b [u8],
        /// How.
        edit: Edit<'b>,
    },
    /// Get many keys. The answer is an array.
    GetMany(Keys<'b>),
    /// Put many keys. The answer is `OK`.
    PutMany(Pairs<'b>),
    /// Remove many keys ([`Edit::Remove`]). The answer is how many there were.
    RemoveMany(Keys<'b>),
    /// Look at many keys ([`Look::Exists`]). The answer is how many there are; one that is named twice
    /// counts twice.
    CountMany(Keys<'b>),
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
    /// How many copies do this connection's writes have beyond the first? There is nothing to wait for.
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

/// Keys that a command names.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'b>(Args<'b>);

impl<'b> Keys<'b> {
    /// How many.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'b [u8]> + use<'b> {
        self.0.iter()
    }
}

impl PartialEq for Keys<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Keys and their values.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'b>(Args<'b>);

impl<'b> Pairs<'b> {
    /// Each of them, in their order: of one key's values the last one stays.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        self.0.pairs()
    }
}

impl PartialEq for Pairs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'b> Command<'b> {
    /// Whether it asks for answers, which is answered in any case.
    pub fn is_reply_on(&self) -> bool {
        matches!(self, Command::Connection(Connection::Client(Client::Reply(Heard::All))))
    }

    /// Reads the arguments of a command that [`find`](crate::spec::find) has found, at a node whose wall
    /// clock shows `now_ms`.
    ///
    /// # Errors
    /// [`Error`] for arguments that the command does not take.
    pub fn read(spec: &Spec, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
        let arg = |place| args.get(place).unwrap_or_default();
        let key = arg(1);
        let look = |look| Ok(Command::Look { key, look });
        let edit = |edit| Ok(Command::Edit { key, edit });
        match spec.id {
            Name::Get => look(Look::Value),
            Name::Set => set::set(args, now_ms),
            Name::SetNx => edit(set::setnx(arg(2))),
            Name::SetEx | Name::PSetEx => set::setex(spec, args, now_ms),
            Name::GetSet => edit(set::getset(arg(2))),
            Name::GetDel => edit(Edit::Take),
            Name::GetEx => set::getex(args, now_ms),
            Name::DelIfEq => edit(Edit::RemoveIf(arg(2))),
            Name::MGet => Ok(Command::GetMany(Keys(args.from(1)))),
            Name::MSet if args.len().is_multiple_of(2) => Err(Error::WrongArity(spec.name)),
            Name::MSet => Ok(Command::PutMany(Pairs(args.from(1)))),
            Name::StrLen => look(Look::Length),
            Name::Append => edit(Edit::Append(arg(2))),
            Name::GetRange => look(counter::range(arg(2), arg(3))?),
            Name::Incr => edit(Edit::Add(1)),
            Name::Decr => edit(Edit::Add(-1)),
            Name::IncrBy => edit(counter::incrby(arg(2))?),
            Name::DecrBy => edit(counter::decrby(arg(2))?),
            Name::IncrByFloat => edit(counter::incrbyfloat(arg(2))?),

            Name::Del | Name::Unlink if args.len() == 2 => edit(Edit::Remove),
            Name::Del | Name::Unlink => Ok(Command::RemoveMany(Keys(args.from(1)))),
            Name::Exists | Name::Touch if args.len() == 2 => look(Look::Exists),
            Name::Exists | Name::Touch => Ok(Command::CountMany(Keys(args.from(1)))),
            Name::Type => look(Look::Type),
            Name::Expire | Name::PExpire | Name::ExpireAt | Name::PExpireAt => {
                edit(expiry::expire(spec, args, now_ms)?)
            }
            Name::Ttl => look(Look::Seconds),
            Name::PTtl => look(Look::Milliseconds),
            Name::ExpireTime => look(Look::ExpirySeconds),
            Name::PExpireTime => look(Look::ExpiryMilliseconds),
            Name::Persist => edit(Edit::Persist),
            Name::Eval | Name::EvalSha => recipe::eval(spec, args, now_ms),
            Name::Scan => scan::scan(args).map(Command::Scan),
            Name::Keys => Ok(Command::Keys(key)),
            Name::RandomKey => Ok(Command::RandomKey),
            Name::DbSize => Ok(Command::DbSize),
            Name::FlushAll | Name::FlushDb => server::flush(args),
            Name::Wait => server::wait(arg(1), arg(2)),

            Name::Multi
            | Name::Exec
            | Name::Discard
            | Name::Watch
            | Name::Unwatch
            | Name::Command
            | Name::CommandCount
            | Name::CommandDocs
            | Name::CommandInfo
            | Name::Config
            | Name::ConfigGet
            | Name::Info
            | Name::CommandGetKeys
            | Name::CommandList
            | Name::CommandHelp
            | Name::ConfigResetStat
            | Name::ConfigHelp
            | Name::ClusterHelp
            | Name::ClientHelp
            | Name::LastSave
            | Name::Module
            | Name::ModuleList
            | Name::ModuleHelp
            | Name::Time
            | Name::Role
            | Name::LolWut
            | Name::Cluster
            | Name::ClusterSlots
            | Name::ClusterShards
            | Name::ClusterNodes
            | Name::ClusterInfo
            | Name::ClusterMyId
            | Name::ClusterKeySlot
            | Name::ClusterCountKeysInSlot => server::read(spec, args),

            Name::Ping
            | Name::Echo
            | Name::Auth
            | Name::Hello
            | Name::Select
            | Name::Quit
            | Name::Reset
            | Name::ReadOnly
            | Name::ReadWrite
            | Name::Client
            | Name::ClientId
            | Name::ClientGetName
            | Name::ClientSetName
            | Name::ClientSetInfo
            | Name::ClientInfo
            | Name::ClientList
            | Name::ClientNoEvict
            | Name::ClientReply
            | Name::ClientKill
            | Name::ClientPause
            | Name::ClientUnpause
            | Name::ClientUnblock
            | Name::ClientNoTouch => connection::read(spec, args).map(Command::Connection),
        }
    }
}

/// Whether an argument is this word, whatever its case.
fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}
