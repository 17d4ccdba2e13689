//! Errors, in Redis's words.
//!
//! Clients decide by an error's first word (`NOAUTH`, `TRYAGAIN`, `OOM`), and some by the words
//! after it; people search the web for them. So where Redis has an error for a case, its text is
//! used to the letter. Where it has none, the error begins with a first word that makes clients
//! react correctly, and continues in our own words.

use crate::args::Args;
use crate::spec::Name;

/// Why a request is invalid or could not be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No command has this name.
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    UnknownCommand {
        /// The name, as it was given.
        name: String,
        /// Its arguments, quoted.
        args: String,
    },
    /// A command does not have this subcommand.
    #[error("ERR unknown subcommand '{given}'. Try {} HELP.", .command.text().to_uppercase())]
    UnknownSubcommand {
        /// The command.
        command: Name,
        /// The subcommand, as it was given.
        given: String,
    },
    /// The client is a browser: some page makes it send commands to a port that only trusted
    /// programs should reach.
    #[error("ERR this port does not speak HTTP")]
    Http,
    /// Too many or too few arguments for this command.
    #[error("ERR wrong number of arguments for '{}' command", .0.text())]
    WrongArity(Name),
    /// Options that do not exist, or exclude each other.
    #[error("ERR syntax error")]
    Syntax,
    /// Not an integer, or one out of range.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// Not a number.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// INCR or DECR beyond 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// DECRBY by a number that has no negative.
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    /// INCRBYFLOAT with infinity.
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    /// A time to live that is not positive, or exceeds 64 bits of milliseconds, for this command.
    #[error("ERR invalid expire time in '{}' command", .0.text())]
    InvalidExpire(Name),
    /// EXPIRE NX with XX, GT or LT.
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    ExpireNx,
    /// EXPIRE GT with LT.
    #[error("ERR GT and LT options at the same time are not compatible")]
    ExpireGtLt,
    /// EXPIRE with another option.
    #[error("ERR Unsupported option {0}")]
    ExpireOption(String),
    /// SCAN with a cursor that no reply contains.
    #[error("ERR invalid cursor")]
    InvalidCursor,
    /// SELECT of a database other than 0.
    #[error("ERR DB index is out of range")]
    DatabaseRange,
    /// WAIT with a time-out that is not an integer.
    #[error("ERR timeout is not an integer or out of range")]
    TimeoutNumber,
    /// WAIT with a negative time-out.
    #[error("ERR timeout is negative")]
    NegativeTimeout,
    /// CLUSTER COUNTKEYSINSLOT of a slot that does not exist.
    #[error("ERR Invalid slot")]
    InvalidSlot,
    /// A name with white space or control characters.
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    /// The same in CLIENT SETINFO, for this attribute.
    #[error("ERR {0} cannot contain spaces, newlines or special characters.")]
    ClientInfo(&'static str),
    /// CLIENT SETINFO of an unknown attribute.
    #[error("ERR Unrecognized option '{0}'")]
    UnknownInfo(String),
    /// CLIENT LIST TYPE of an unknown type.
    #[error("ERR Unknown client type '{0}'")]
    ClientType(String),
    /// CLIENT LIST ID with an invalid number.
    #[error("ERR Invalid client ID")]
    ClientId,
    /// CLIENT KILL ID with an invalid number.
    #[error("ERR client-id should be greater than 0")]
    KillId,
    /// CLIENT KILL of a connection that does not exist.
    #[error("ERR No such client")]
    NoClient,
    /// CLIENT KILL USER of an unknown user.
    #[error("ERR No such user '{0}'")]
    NoUser(String),
    /// CLIENT PAUSE with another mode.
    #[error("ERR CLIENT PAUSE mode must be WRITE or ALL")]
    PauseMode,
    /// CLIENT UNBLOCK with another reason.
    #[error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")]
    UnblockReason,
    /// COMMAND GETKEYS of an unknown command.
    #[error("ERR Invalid command specified")]
    NoCommand,
    /// COMMAND GETKEYS of a command without keys.
    #[error("ERR The command has no key arguments")]
    NoKeys,
    /// COMMAND GETKEYS of a request that has too few or too many arguments.
    #[error("ERR Invalid number of arguments specified for command")]
    NoSuchArguments,
    /// HELLO with something that is not a number.
    #[error("ERR Protocol version is not an integer or out of range")]
    ProtocolNumber,
    /// HELLO with a number other than 2 and 3.
    #[error("NOPROTO unsupported protocol version")]
    UnsupportedProtocol,
    /// HELLO with an unknown option.
    #[error("ERR Syntax error in HELLO option '{0}'")]
    HelloOption(String),
    /// HELLO before AUTH.
    #[error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
         HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client \
         and select the RESP protocol version at the same time"
    )]
    HelloWithoutAuth,
    /// Any other command before AUTH.
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    /// AUTH with a wrong name or password.
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    /// AUTH where no password is set.
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. \
         Are you sure your configuration is correct?"
    )]
    NoPassword,
    /// FLUSHALL, unless the operator has allowed it.
    #[error("ERR this cluster does not allow FLUSHALL and FLUSHDB; its operator can")]
    FlushForbidden,
    /// EXEC: nothing was done.
    #[error(
        "EXECABORT transactions are not supported, nothing of this one was done: each \
         command is atomic, several together are not. Use SET with NX, XX, IFEQ or GET, \
         INCR, DELIFEQ; or a pipeline without MULTI (redis-py: \
         pipeline(transaction=False))"
    )]
    NoTransactions,
    /// EXEC, where a command before it was invalid.
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecSpoilt,
    /// EXEC with an argument; it terminates the transaction.
    #[error(
        "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' \
         command"
    )]
    ExecArity,
    /// EXEC without MULTI.
    #[error("ERR EXEC without MULTI")]
    ExecWithoutMulti,
    /// MULTI after MULTI.
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    /// WATCH after MULTI.
    #[error("ERR WATCH inside MULTI is not allowed")]
    WatchInMulti,
    /// EVALSHA of an unknown script.
    #[error("NOSCRIPT No matching script. Please use EVAL.")]
    NoScript,
    /// EVAL of an unknown script.
    #[error(
        "ERR scripts are not supported, except the usual ones that release or prolong a \
         lock. Use SET with NX, XX, IFEQ or GET, and DELIFEQ"
    )]
    NoScripting,
    /// EVAL with a negative number of keys.
    #[error("ERR Number of keys can't be negative")]
    NegativeKeys,
    /// EVAL with more keys than arguments.
    #[error("ERR Number of keys can't be greater than number of args")]
    TooManyKeys,
    /// DISCARD without MULTI.
    #[error("ERR DISCARD without MULTI")]
    DiscardWithoutMulti,
    /// The node has reached its memory limit.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// Fewer synced copies than a write must reach.
    #[error("NOREPLICAS Not enough good replicas to write.")]
    TooFewCopies,
    /// No node serves this key: its replicas are gone.
    #[error("CLUSTERDOWN {0}")]
    Unavailable(String),
    /// Not done, and worth a retry.
    #[error("TRYAGAIN {0}")]
    TryAgain(String),
    /// Done or not done: the outcome is unknown.
    #[error("ERR outcome unknown, it may have taken effect or not: {0}")]
    Unknown(String),
    /// Not done, and a retry would not help.
    #[error("ERR {0}")]
    Refused(String),
    /// A reply that would be too large.
    #[error("ERR the answer is too large, ask for fewer keys at once")]
    LargeAnswer,
    /// More connections than the node accepts.
    #[error("ERR max number of clients reached")]
    TooManyClients,
}

impl Error {
    /// [`Error::UnknownCommand`] for these arguments, the name first; [`Error::Http`] for the
    /// beginning of an HTTP request.
    pub fn unknown_command(args: Args<'_>) -> Error {
        let first = args.at(0);
        if [&b"post"[..], b"host:"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return Error::Http;
        }
        let mut beginning = String::new();
        for arg in args.from(1).iter() {
            let Some(room) = QUOTED.checked_sub(beginning.len()).filter(|&room| room > 0) else {
                break;
            };
            beginning.push_str(&format!("'{}' ", text(arg, room)));
        }
        Error::UnknownCommand { name: quoted(first), args: beginning }
    }

    /// Whether to close the connection at once, without reading anything else that it sent.
    pub fn closes(&self) -> bool {
        matches!(self, Error::Http | Error::TooManyClients)
    }
}

/// Most bytes of client input that an error repeats: a name, or all arguments together.
const QUOTED: usize = 128;

/// Client input as an error repeats it: truncated if it is long.
pub fn quoted(bytes: &[u8]) -> String {
    text(bytes, QUOTED)
}

/// The beginning of some client input.
fn text(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_quote_long_input_truncated() {
        let long = Error::UnknownCommand { name: quoted(&[b'x'; 1000]), args: String::new() };
        assert_eq!(
            long.to_string(),
            format!("ERR unknown command '{}', with args beginning with: ", "x".repeat(128))
        );
    }

    #[test]
    fn errors_begin_with_a_word_that_clients_know() {
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
