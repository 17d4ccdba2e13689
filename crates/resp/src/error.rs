//! Errors, in Redis's words.
//!
//! Clients decide by an error's first word (`NOAUTH`, `TRYAGAIN`, `OOM`), and some by the words after
//! it; people search the web for them. So where Redis has an error for something it is Redis's, to the
//! letter; where it has none, it begins with a first word that makes clients do the right thing, and goes
//! on in ours.

use std::fmt;

use cluster::limits::LimitError;

use crate::request::Args;

/// What is wrong with a request, or with carrying it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No command has this name.
    UnknownCommand {
        /// The name, as it was given.
        name: String,
        /// What stood behind it, quoted.
        args: String,
    },
    /// A command has no such subcommand.
    UnknownSubcommand {
        /// The command.
        command: &'static str,
        /// What was given.
        given: String,
    },
    /// A browser speaks: some page makes it send commands to a port that only trusted programs reach.
    Http,
    /// Too many or too few arguments for this command.
    WrongArity(&'static str),
    /// Options that do not exist, or not together.
    Syntax,
    /// No integer, or one out of range.
    NotAnInteger,
    /// No number.
    NotAFloat,
    /// INCR or DECR beyond 64 bits.
    Overflow,
    /// DECRBY by a number that has no negative.
    DecrementOverflow,
    /// INCRBYFLOAT with infinity.
    NotFinite,
    /// A time to live that is not positive or beyond 64 bits of milliseconds, for this command.
    InvalidExpire(&'static str),
    /// EXPIRE NX with XX, GT or LT.
    ExpireNx,
    /// EXPIRE GT with LT.
    ExpireGtLt,
    /// EXPIRE with another option.
    ExpireOption(String),
    /// SCAN from where it cannot have got to.
    InvalidCursor,
    /// SELECT of a database other than 0.
    DatabaseRange,
    /// WAIT with a time that is no integer.
    TimeoutNumber,
    /// WAIT with a time below 0.
    NegativeTimeout,
    /// CLUSTER COUNTKEYSINSLOT of no slot.
    InvalidSlot,
    /// A name with white space or control characters.
    ClientName,
    /// The same in CLIENT SETINFO, for this attribute.
    ClientInfo(&'static str),
    /// CLIENT SETINFO of an unknown attribute.
    UnknownInfo(String),
    /// CLIENT LIST TYPE of no such type.
    ClientType(String),
    /// CLIENT LIST ID with no such number.
    ClientId,
    /// CLIENT KILL ID with no such number.
    KillId,
    /// CLIENT KILL of nobody.
    NoClient,
    /// CLIENT KILL USER of no such user.
    NoUser(String),
    /// CLIENT PAUSE of something else.
    PauseMode,
    /// CLIENT UNBLOCK for something else.
    UnblockReason,
    /// COMMAND GETKEYS of no command.
    NoCommand,
    /// COMMAND GETKEYS of a command without keys.
    NoKeys,
    /// COMMAND GETKEYS of a request that is too short or too long.
    NoSuchArguments,
    /// HELLO with no number.
    ProtocolNumber,
    /// HELLO with a number other than 2 and 3.
    UnsupportedProtocol,
    /// HELLO with another option.
    HelloOption(String),
    /// HELLO before AUTH.
    HelloWithoutAuth,
    /// Anything else before AUTH.
    NoAuth,
    /// AUTH with a wrong name or password.
    WrongPassword,
    /// AUTH where there is no password.
    NoPassword,
    /// FLUSHALL, where the operator has not allowed it.
    FlushForbidden,
    /// EXEC: nothing was done.
    NoTransactions,
    /// EXEC, where something before it was no command.
    ExecSpoilt,
    /// EXEC with an argument; it ends the transaction.
    ExecArity,
    /// EXEC without MULTI.
    ExecWithoutMulti,
    /// MULTI after MULTI.
    NestedMulti,
    /// WATCH after MULTI.
    WatchInMulti,
    /// EVALSHA of a script that is not known.
    NoScript,
    /// EVAL of one.
    NoScripting,
    /// EVAL with fewer than no keys.
    NegativeKeys,
    /// EVAL with more keys than arguments.
    TooManyKeys,
    /// DISCARD without MULTI.
    DiscardWithoutMulti,
    /// A key or value that the cluster does not take.
    Limit(LimitError),
    /// The node may use no more memory.
    OutOfMemory,
    /// Fewer copies would hold it than a write has to have.
    TooFewCopies,
    /// Nobody serves this key: its replicas are gone.
    Unavailable(String),
    /// Not done, and worth trying again.
    TryAgain(String),
    /// It may have been done or not.
    Unknown(String),
    /// Not done, and not to be had by trying again.
    Refused(String),
    /// An answer that is too large for one.
    LargeAnswer,
    /// More connections than the node takes.
    TooManyClients,
}

impl Error {
    /// [`Error::UnknownCommand`] for these arguments, the name first; [`Error::Http`] for how a browser
    /// begins.
    pub fn unknown_command(args: Args<'_>) -> Error {
        let first = args.get(0).unwrap_or_default();
        if [&b"post"[..], b"host:"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return Error::Http;
        }
        let mut quoted = String::new();
        for arg in args.from(1).iter() {
            let Some(room) = QUOTED.checked_sub(quoted.len()).filter(|&room| room > 0) else {
                break;
            };
            quoted.push_str(&format!("'{}' ", text(arg, room)));
        }
        Error::UnknownCommand { name: text(first, QUOTED), args: quoted }
    }

    /// Whether the connection is to be closed at once, before anything else that it sent is read.
    pub fn closes(&self) -> bool {
        matches!(self, Error::Http | Error::TooManyClients)
    }
}

/// How many bytes of what a client sent an error repeats: a name, or all arguments together.
const QUOTED: usize = 128;

/// The beginning of what a client sent.
pub fn text(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
}

impl From<LimitError> for Error {
    fn from(error: LimitError) -> Error {
        Error::Limit(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::UnknownCommand { name, args } => {
                return write!(f, "ERR unknown command '{name}', with args beginning with: {args}");
            }
            Error::UnknownSubcommand { command, given } => {
                let upper = command.to_uppercase();
                return write!(f, "ERR unknown subcommand '{given}'. Try {upper} HELP.");
            }
            Error::Http => "ERR this port does not speak HTTP",
            Error::WrongArity(name) => {
                return write!(f, "ERR wrong number of arguments for '{name}' command");
            }
            Error::Syntax => "ERR syntax error",
            Error::NotAnInteger => "ERR value is not an integer or out of range",
            Error::NotAFloat => "ERR value is not a valid float",
            Error::Overflow => "ERR increment or decrement would overflow",
            Error::DecrementOverflow => "ERR decrement would overflow",
            Error::NotFinite => "ERR increment would produce NaN or Infinity",
            Error::InvalidExpire(name) => {
                return write!(f, "ERR invalid expire time in '{name}' command");
            }
            Error::ExpireNx => {
                "ERR NX and XX, GT or LT options at the same time are not compatible"
            }
            Error::ExpireGtLt => "ERR GT and LT options at the same time are not compatible",
            Error::ExpireOption(given) => return write!(f, "ERR Unsupported option {given}"),
            Error::InvalidCursor => "ERR invalid cursor",
            Error::DatabaseRange => "ERR DB index is out of range",
            Error::TimeoutNumber => "ERR timeout is not an integer or out of range",
            Error::NegativeTimeout => "ERR timeout is negative",
            Error::InvalidSlot => "ERR Invalid slot",
            Error::ClientName => {
                "ERR Client names cannot contain spaces, newlines or special characters."
            }
            Error::ClientInfo(name) => {
                return write!(
                    f,
                    "ERR {name} cannot contain spaces, newlines or special characters."
                );
            }
            Error::UnknownInfo(given) => return write!(f, "ERR Unrecognized option '{given}'"),
            Error::ClientType(given) => return write!(f, "ERR Unknown client type '{given}'"),
            Error::ClientId => "ERR Invalid client ID",
            Error::KillId => "ERR client-id should be greater than 0",
            Error::NoClient => "ERR No such client",
            Error::NoUser(given) => return write!(f, "ERR No such user '{given}'"),
            Error::PauseMode => "ERR CLIENT PAUSE mode must be WRITE or ALL",
            Error::UnblockReason => "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            Error::NoCommand => "ERR Invalid command specified",
            Error::NoKeys => "ERR The command has no key arguments",
            Error::NoSuchArguments => "ERR Invalid number of arguments specified for command",
            Error::ProtocolNumber => "ERR Protocol version is not an integer or out of range",
            Error::UnsupportedProtocol => "NOPROTO unsupported protocol version",
            Error::HelloOption(given) => {
                return write!(f, "ERR Syntax error in HELLO option '{given}'");
            }
            Error::HelloWithoutAuth => {
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                 select the RESP protocol version at the same time"
            }
            Error::NoAuth => "NOAUTH Authentication required.",
            Error::WrongPassword => "WRONGPASS invalid username-password pair or user is disabled.",
            Error::NoPassword => {
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"
            }
            Error::FlushForbidden => {
                "ERR this cluster does not allow FLUSHALL and FLUSHDB; its operator can"
            }
            Error::NoTransactions => {
                "EXECABORT transactions are not supported, nothing of this one was done: each command \
                 is atomic, several together are not. Use SET with NX, XX, IFEQ or GET, INCR, DELIFEQ; \
                 or a pipeline without MULTI (redis-py: pipeline(transaction=False))"
            }
            Error::ExecSpoilt => "EXECABORT Transaction discarded because of previous errors.",
            Error::ExecArity => {
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' \
                 command"
            }
            Error::ExecWithoutMulti => "ERR EXEC without MULTI",
            Error::NestedMulti => "ERR MULTI calls can not be nested",
            Error::WatchInMulti => "ERR WATCH inside MULTI is not allowed",
            Error::NoScript => "NOSCRIPT No matching script. Please use EVAL.",
            Error::NoScripting => {
                "ERR scripts are not supported, except the usual ones that release or prolong a lock. \
                 Use SET with NX, XX, IFEQ or GET, and DELIFEQ"
            }
            Error::NegativeKeys => "ERR Number of keys can't be negative",
            Error::TooManyKeys => "ERR Number of keys can't be greater than number of args",
            Error::DiscardWithoutMulti => "ERR DISCARD without MULTI",
            Error::Limit(error) => return write!(f, "ERR {error}"),
            Error::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Error::TooFewCopies => "NOREPLICAS Not enough good replicas to write.",
            Error::Unavailable(why) => return write!(f, "CLUSTERDOWN {why}"),
            Error::TryAgain(why) => return write!(f, "TRYAGAIN {why}"),
            Error::Unknown(why) => {
                return write!(f, "ERR outcome unknown, it may have taken effect or not: {why}");
            }
            Error::Refused(why) => return write!(f, "ERR {why}"),
            Error::LargeAnswer => "ERR the answer is too large, ask for fewer keys at once",
            Error::TooManyClients => "ERR max number of clients reached",
        })
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_is_repeated_in_part_only() {
        let long = Error::UnknownCommand { name: text(&[b'x'; 1000], QUOTED), args: String::new() };
        assert_eq!(
            long.to_string(),
            format!("ERR unknown command '{}', with args beginning with: ", "x".repeat(128))
        );
    }

    #[test]
    fn a_limit_is_named() {
        let error = Error::from(LimitError::LongKey { got: 30, limit: 20 });
        assert_eq!(error.to_string(), "ERR a key has at most 20 bytes here, this one has 30");
    }

    #[test]
    fn the_first_word_is_one_that_clients_know() {
        for (error, word) in [
            (Error::Syntax, "ERR"),
            (Error::NoAuth, "NOAUTH"),
            (Error::HelloWithoutAuth, "NOAUTH"),
            (Error::WrongPassword, "WRONGPASS"),
            (Error::UnsupportedProtocol, "NOPROTO"),
            (Error::OutOfMemory, "OOM"),
            (Error::TooFewCopies, "NOREPLICAS"),
            (Error::Unavailable("x".into()), "CLUSTERDOWN"),
            (Error::TryAgain("x".into()), "TRYAGAIN"),
            (Error::Unknown("x".into()), "ERR"),
        ] {
            assert_eq!(error.to_string().split(' ').next(), Some(word), "{error}");
        }
    }
}
