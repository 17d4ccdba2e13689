//! Commands about the connection itself.

use super::counter::integer;
use super::{Keys, is};
use crate::error::{self, Error};
use crate::number;
use crate::reply::Protocol;
use crate::request::Args;
use crate::spec::{Name, Spec};

/// About the connection itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Connection<'b> {
    /// Are you there?
    Ping(Option<&'b [u8]>),
    /// Say this.
    Echo(&'b [u8]),
    /// Choose the protocol, and say who is speaking.
    Hello(Hello<'b>),
    /// Here is the password.
    Auth {
        /// Whose: `default`, or whoever.
        user: Option<&'b [u8]>,
        /// The password.
        password: &'b [u8],
    },
    /// Use database 0. Any other is refused when it is read.
    Select,
    /// Answer `OK` and close.
    Quit,
    /// Answer `RESET`, and be as at the beginning.
    Reset,
    /// Answer `OK`: any node answers any read. Only who knows of a cluster says so.
    ReadOnly,
    /// Answer `OK`: it makes no difference here.
    Noop,
    /// CLIENT …
    Client(Client<'b>),
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'b> {
    /// The protocol to go on in; `None`: as before.
    pub protocol: Option<Protocol>,
    /// User and password.
    pub auth: Option<(&'b [u8], &'b [u8])>,
    /// The connection's name, checked.
    pub name: Option<&'b [u8]>,
}

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
    Reply(Heard),
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
pub enum Heard {
    /// All.
    All,
    /// None.
    None,
    /// All but that to the next request.
    NotTheNext,
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
    Ids(Keys<'b>),
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

/// Reads what is listed in [`Command::read`](super::Command::read).
pub fn read<'b>(spec: &Spec, args: Args<'b>) -> Result<Connection<'b>, Error> {
    let arg = |place| args.get(place).unwrap_or_default();
    let client = |client| Ok(Connection::Client(client));
    match spec.id {
        Name::Ping if args.len() > 2 => Err(Error::WrongArity(spec.name)),
        Name::Ping => Ok(Connection::Ping(args.get(1))),
        Name::Echo => Ok(Connection::Echo(arg(1))),
        Name::Hello => hello(args).map(Connection::Hello),
        Name::Auth => match args.len() {
            2 => Ok(Connection::Auth { user: None, password: arg(1) }),
            3 => Ok(Connection::Auth { user: Some(arg(1)), password: arg(2) }),
            _ => Err(Error::Syntax),
        },
        Name::Select => match integer(arg(1))? {
            0 => Ok(Connection::Select),
            _ => Err(Error::DatabaseRange),
        },
        Name::Quit => Ok(Connection::Quit),
        Name::Reset => Ok(Connection::Reset),
        Name::ReadOnly => Ok(Connection::ReadOnly),
        Name::ReadWrite => Ok(Connection::Noop),
        Name::ClientId => client(Client::Id),
        Name::ClientGetName => client(Client::GetName),
        Name::ClientSetName => client(Client::SetName(printable(arg(2), Error::ClientName)?)),
        Name::ClientSetInfo => client(set_info(arg(2), arg(3))?),
        Name::ClientInfo => client(Client::Info),
        Name::ClientList => client(Client::List(filter(args.from(2))?)),
        Name::ClientNoEvict | Name::ClientNoTouch => match arg(2) {
            switch if is(switch, "on") || is(switch, "off") => Ok(Connection::Noop),
            _ => Err(Error::Syntax),
        },
        Name::ClientReply => match arg(2) {
            mode if is(mode, "on") => client(Client::Reply(Heard::All)),
            mode if is(mode, "off") => client(Client::Reply(Heard::None)),
            mode if is(mode, "skip") => client(Client::Reply(Heard::NotTheNext)),
            _ => Err(Error::Syntax),
        },
        Name::ClientKill => client(Client::Kill(kill(args.from(2))?)),
        Name::ClientPause => {
            let writes_only = match args.get(3) {
                None => false,
                Some(mode) if is(mode, "all") => false,
                Some(mode) if is(mode, "write") => true,
                Some(_) => return Err(Error::PauseMode),
            };
            let ms = number::integer(arg(2)).ok_or(Error::TimeoutNumber)?;
            let ms = u64::try_from(ms).map_err(|_| Error::NegativeTimeout)?;
            client(Client::Pause { ms, writes_only })
        }
        Name::ClientUnpause => client(Client::Unpause),
        Name::ClientUnblock => {
            integer(arg(2))?;
            match args.get(3) {
                Some(reason) if !is(reason, "timeout") && !is(reason, "error") => {
                    Err(Error::UnblockReason)
                }
                _ => client(Client::Unblock),
            }
        }
        // CLIENT without a subcommand; the others are not ours.
        _ => Err(Error::WrongArity(spec.name)),
    }
}

/// A name has to fit a word of CLIENT LIST.
fn printable(name: &[u8], otherwise: Error) -> Result<&[u8], Error> {
    if name.iter().all(|b| matches!(b, b'!'..=b'~')) { Ok(name) } else { Err(otherwise) }
}

fn hello(args: Args<'_>) -> Result<Hello<'_>, Error> {
    let mut hello = Hello::default();
    let Some(version) = args.get(1) else {
        return Ok(hello);
    };
    hello.protocol = match number::integer(version).ok_or(Error::ProtocolNumber)? {
        2 => Some(Protocol::Resp2),
        3 => Some(Protocol::Resp3),
        _ => return Err(Error::UnsupportedProtocol),
    };
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        let unknown = || Error::HelloOption(error::text(option, 128));
        if is(option, "auth") {
            let (Some(user), Some(password)) = (options.next(), options.next()) else {
                return Err(unknown());
            };
            hello.auth = Some((user, password));
        } else if is(option, "setname") {
            let name = options.next().ok_or_else(unknown)?;
            hello.name = Some(printable(name, Error::ClientName)?);
        } else {
            return Err(unknown());
        }
    }
    Ok(hello)
}

fn set_info<'b>(attribute: &[u8], value: &'b [u8]) -> Result<Client<'b>, Error> {
    let (which, name) = match attribute {
        _ if is(attribute, "lib-name") => (InfoName::Library, "lib-name"),
        _ if is(attribute, "lib-ver") => (InfoName::Version, "lib-ver"),
        _ => return Err(Error::UnknownInfo(error::text(attribute, 128))),
    };
    Ok(Client::SetInfo(which, printable(value, Error::ClientInfo(name))?))
}

/// `ip:port`, or pairs of what must hold and its value.
fn kill(args: Args<'_>) -> Result<Kill<'_>, Error> {
    let all =
        Kill { is_one: false, id: None, peer: None, local: None, is_normal: true, spares_me: true };
    if args.len() == 1 {
        return Ok(Kill { is_one: true, peer: args.get(0), spares_me: false, ..all });
    }
    if !args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let mut kill = all;
    for (what, value) in args.pairs() {
        match what {
            _ if is(what, "id") => {
                let id = number::natural(value).filter(|&id| id > 0);
                kill.id = Some(id.ok_or(Error::KillId)?);
            }
            _ if is(what, "addr") => kill.peer = Some(value),
            _ if is(what, "laddr") => kill.local = Some(value),
            _ if is(what, "type") => kill.is_normal &= is_normal(value)?,
            _ if is(what, "user") => {
                if value != b"default" {
                    return Err(Error::NoUser(error::text(value, 128)));
                }
            }
            _ if is(what, "skipme") && is(value, "yes") => kill.spares_me = true,
            _ if is(what, "skipme") && is(value, "no") => kill.spares_me = false,
            _ => return Err(Error::Syntax),
        }
    }
    Ok(kill)
}

/// Whether a type of connections is the normal one; the others there are none of.
fn is_normal(kind: &[u8]) -> Result<bool, Error> {
    match kind {
        _ if is(kind, "normal") => Ok(true),
        _ if ["master", "slave", "replica", "pubsub"].iter().any(|k| is(kind, k)) => Ok(false),
        _ => Err(Error::ClientType(error::text(kind, 128))),
    }
}

fn filter(options: Args<'_>) -> Result<Filter<'_>, Error> {
    let (option, values) = match options.get(0) {
        None => return Ok(Filter::All),
        Some(option) => (option, options.from(1)),
    };
    if is(option, "id") && !values.is_empty() {
        return if values.iter().all(|text| number::natural(text).is_some()) {
            Ok(Filter::Ids(Keys(values)))
        } else {
            Err(Error::ClientId)
        };
    }
    match (values.len(), values.get(0)) {
        (1, Some(kind)) if is(option, "type") => {
            if is_normal(kind)? {
                Ok(Filter::All)
            } else {
                Ok(Filter::None)
            }
        }
        _ => Err(Error::Syntax),
    }
}
